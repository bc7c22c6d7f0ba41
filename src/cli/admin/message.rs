//! A message to be sent.
//!
//! # Invariants
//!
//! * It is for exactly one of peers, a group, an alias and a device.

use std::io::Read;
use std::time::Duration;

use clap::{ArgGroup, Args};
use reqwest::header::HeaderName;

use super::call::{Call, given};
use super::history::duration;
use super::usage;
use crate::cli::Failure;

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("audience").required(true).args(["to", "group", "alias", "device"])))]
pub(super) struct SendArgs {
    /// To this peer; give it again for more.
    #[arg(long, value_name = "PEER")]
    to: Vec<String>,
    /// To the members of this group.
    #[arg(long, value_name = "ID")]
    group: Option<String>,
    /// To the devices that have this alias.
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    /// To this device.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Who sends it; the system if it is left out.
    #[arg(long, value_name = "PEER")]
    from: Option<String>,
    /// For those online now; it is never stored.
    #[arg(long)]
    transient: bool,
    /// The peer that sends it is to hear of its delivery.
    #[arg(long, requires = "from")]
    receipt: bool,
    /// How long it is worth delivering, such as 10m.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    /// Names this request: the same one again is the same message.
    #[arg(long, value_name = "NAME")]
    idempotency_key: Option<String>,
    /// What it says; `-` reads the standard input, without the line feed at its end.
    text: String,
}

impl SendArgs {
    /// The request.
    ///
    /// # Errors
    ///
    /// The standard input is no text.
    pub(super) fn call(self) -> Result<Call, Failure> {
        let mut to = given([("group", self.group), ("alias", self.alias), ("device", self.device)]);
        if !self.to.is_empty() {
            to.insert("peers".into(), self.to.into());
        }
        let text = if self.text == "-" { standard_input()? } else { self.text };
        let mut body = given([("from", self.from), ("body", Some(text))]);
        body.insert("to".into(), to.into());
        body.insert("transient".into(), self.transient.into());
        body.insert("receipt".into(), self.receipt.into());
        if let Some(ttl) = self.ttl {
            let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            // 0 is for ever.
            body.insert("ttl_ms".into(), ttl_ms.max(1).into());
        }
        let mut call = Call::post("/v1/messages").json(&body)?;
        let name = HeaderName::from_static("idempotency-key");
        call.headers.extend(self.idempotency_key.map(|key| (name, key)));
        Ok(call)
    }
}

/// The text of the standard input, without the line feed at its end.
fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().read_to_string(&mut text);
    read.map_err(|error| usage(format!("the standard input: {error}")))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}
