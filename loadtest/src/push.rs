//! Open loop over the HTTP API: a back end pushes to devices by their aliases.
//!
//! # Invariants
//!
//! * All pushes to one device go over one connection, one after another, so they have an order.
//! * A push counts from the time at which it should have been asked for, so a server that makes its
//!   back end wait is found out.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tidings::limits::HTTP_BATCH_MAX;
use tokio::task::JoinSet;

use crate::chat;
use crate::counters::{self, Compared};
use crate::fleet::Fleet;
use crate::http::{Answer, Line};
use crate::metrics::Metrics;
use crate::names::Names;
use crate::options::Push;
use crate::peer::Work;
use crate::rate;
use crate::run::{Mail, Phase, Run};
use crate::scenario::{Outcome, Stage};
use crate::stamp::Stamp;

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(stage: &Stage<'_>, push: &Push) -> Result<Outcome, String> {
    let (fleet, api) = (&stage.fleet, stage.server.api()?);
    let mut line = api.open().await?;
    let before = counters::read(&mut line).await?;
    let opening = stage.open(0..push.devices, Work::Listen).await?;
    stage.progress.begin("binding", u64::from(push.devices));
    bind(&mut line, &fleet.run.names, push.devices, |bound| stage.progress.reach(bound)).await?;

    let mails: Arc<[Mail]> = (0..push.connections).map(|_| Mail::default()).collect();
    let mut pushers = JoinSet::new();
    for index in 0..push.connections {
        let own = (index..push.devices).step_by(push.connections as usize).collect();
        let pusher = Pusher::new(fleet.run.clone(), api.open().await?, own);
        let mails = mails.clone();
        pushers.spawn(async move { pusher.run(&mails[index as usize]).await });
    }
    let from_ns = chat::plan(fleet, &push.talk.timing);
    fleet.run.enter(Phase::Send);
    let mut random = fastrand::Rng::new();
    let connections = push.connections as usize;
    rate::pace(&fleet.run, push.rate, move |_, due_ns| {
        mails[random.usize(0..connections)].ask(due_ns);
    })?;
    let spent = chat::measure(stage, from_ns, &push.talk.timing).await?;
    fleet.settle(stage.progress).await;
    let after = counters::read(&mut line).await?;
    let counters = Some(compare(fleet, &before, &after));
    Ok(Outcome { spent, opening: Some(opening), counters, ..Outcome::default() })
}

/// Compares the server's figures with what was counted.
fn compare(fleet: &Fleet, before: &Metrics, after: &Metrics) -> Vec<Compared> {
    let (run, counts) = (&fleet.run, fleet.run.records.counts());
    let came = counts.delivered + counts.duplicated + counts.duplicated_on_wire;
    let counted = [
        ("tidings_messages_total", counts.acked),
        ("tidings_deliveries_total", came + counts.misdelivered),
        ("tidings_api_sends_total", counts.acked),
        (
            "tidings_http_requests_total{route=\"/v1/messages\",method=\"POST\",status=\"2xx\"}",
            counts.acked,
        ),
        ("tidings_sessions", run.open.load(std::sync::atomic::Ordering::Relaxed)),
    ];
    counters::compare(before, after, &counted)
}

/// The alias of a device.
fn alias(names: &Names, device: u32) -> String {
    format!("alias-of-{}", names.peer(device))
}

#[derive(Serialize)]
struct Bindings {
    bindings: Vec<Binding>,
}

#[derive(Serialize)]
struct Binding {
    alias: String,
    device: String,
}

#[derive(Deserialize)]
struct Bound {
    results: Vec<Status>,
}

#[derive(Deserialize)]
struct Status {
    status: u16,
}

/// Binds an alias to each device.
async fn bind(
    line: &mut Line,
    names: &Names,
    devices: u32,
    reached: impl Fn(u64),
) -> Result<(), String> {
    let devices: Vec<u32> = (0..devices).collect();
    let mut bound = 0;
    for some in devices.chunks(HTTP_BATCH_MAX) {
        // A device of the generator has the name of its peer.
        let binding = |device: &u32| Binding {
            alias: alias(names, *device),
            device: names.peer(*device).to_string(),
        };
        let bindings = Bindings { bindings: some.iter().map(binding).collect() };
        let body = serde_json::to_vec(&bindings).map_err(|error| error.to_string())?;
        let answer = line.ask(Method::POST, "/v1/aliases", body).await?;
        let results = answer.read::<Bound>(StatusCode::OK)?.results;
        if results.len() != some.len() || results.iter().any(|result| result.status >= 300) {
            return Err(format!("aliases were not bound: {}", answer.problem()));
        }
        bound += some.len() as u64;
        reached(bound);
    }
    Ok(())
}

/// Who pushes over one connection.
struct Pusher {
    run: Arc<Run>,
    line: Line,
    random: fastrand::Rng,
    /// The devices that it pushes to, and the number of the last push to each.
    devices: Vec<(u32, u64)>,
}

impl Pusher {
    fn new(run: Arc<Run>, line: Line, devices: Vec<u32>) -> Self {
        let devices = devices.into_iter().map(|device| (device, 0)).collect();
        Self { run, line, random: fastrand::Rng::new(), devices }
    }

    /// Pushes whenever the mail says so, until the run ends or the connection breaks.
    async fn run(mut self, mail: &Mail) {
        while let Some(due_ns) = mail.next_due(&self.run).await {
            if let Err(why) = self.push(due_ns).await {
                return self.run.broke(why);
            }
        }
    }

    async fn push(&mut self, intended_ns: u64) -> Result<(), String> {
        let run = &self.run;
        let at = self.random.usize(0..self.devices.len());
        let (device, number) = &mut self.devices[at];
        *number += 1;
        let stamp = Stamp { sender: *device, number: *number, intended_ns };
        let body = message(&alias(&run.names, *device), &stamp.text(run.payload));
        {
            let counts = &mut run.records.own().counts;
            counts.sent += 1;
            counts.sent_measured += u64::from(run.is_measured(intended_ns));
        }
        let answer = self.line.ask(Method::POST, "/v1/messages", body).await?;
        let now_ns = run.now_ns();
        match check(&answer, run.names.peer(*device).as_str()) {
            Ok(()) => {
                run.ledger.acked(*device, *number, *device);
                let record = &mut run.records.own();
                record.counts.due += 1;
                record.answered(intended_ns, now_ns, run);
            }
            Err(why) => {
                run.records.own().counts.refused += 1;
                run.trouble(format!("a push was refused: {why}"));
            }
        }
        Ok(())
    }
}

/// The JSON of a push; neither the alias nor the body has a character that JSON escapes.
fn message(alias: &str, body: &str) -> Bytes {
    format!("{{\"to\":{{\"alias\":\"{alias}\"}},\"body\":\"{body}\"}}").into()
}

#[derive(Deserialize)]
struct Posted<'a> {
    messages: Vec<Repeated>,
    #[serde(borrow)]
    recipients: Vec<Recipient<'a>>,
    online: u64,
    offline: u64,
    ignored: u64,
}

#[derive(Deserialize)]
struct Repeated {
    repeated: bool,
}

#[derive(Deserialize)]
struct Recipient<'a> {
    peer: &'a str,
    device: Option<&'a str>,
    outcome: &'a str,
}

/// One new message for the one device, which is online.
fn check(answer: &Answer, name: &str) -> Result<(), String> {
    let posted: Posted<'_> = answer.read(StatusCode::CREATED)?;
    let [Repeated { repeated: false }] = posted.messages[..] else {
        return Err(format!("{} messages were stored", posted.messages.len()));
    };
    match &posted.recipients[..] {
        [Recipient { peer, device: Some(device), outcome: "online" }]
            if *peer == name && *device == name => {}
        _ => return Err("it is not for the one device that has the alias, and is online".into()),
    }
    match (posted.online, posted.offline, posted.ignored) {
        (1, 0, 0) => Ok(()),
        counts => Err(format!("online, offline and ignored were {counts:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"messages":[{"id":"7","sequence":1,"at_ms":5,"conversation":"00",
        "repeated":false}],"recipients":[{"peer":"ann","device":"ann","outcome":"online",
        "message":"7"}],"online":1,"offline":0,"ignored":0}"#;

    fn judged(status: StatusCode, body: &str) -> Result<(), String> {
        check(&Answer { status, body: Bytes::copy_from_slice(body.as_bytes()) }, "ann")
    }

    #[test]
    fn a_push_is_json_with_its_stamp() {
        let stamp = Stamp { sender: 1, number: 2, intended_ns: 3 };
        let json = message("alias-of-x", &stamp.text(64));
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["to"]["alias"], "alias-of-x");
        let body = json["body"].as_str().unwrap();
        assert_eq!((body.len(), Stamp::of_text(body.as_bytes())), (64, Some(stamp)));
    }

    #[test]
    fn an_answer_must_name_one_new_message_for_the_one_device() {
        assert_eq!(judged(StatusCode::CREATED, GOOD), Ok(()));
        assert!(judged(StatusCode::OK, GOOD).is_err(), "a repeat");
        for (said, instead) in [
            ("\"repeated\":false", "\"repeated\":true"),
            ("\"device\":\"ann\",", ""),
            ("\"device\":\"ann\"", "\"device\":\"bob\""),
            ("\"outcome\":\"online\"", "\"outcome\":\"offline\""),
            ("\"online\":1", "\"online\":0"),
            ("\"ignored\":0", "\"ignored\":1"),
        ] {
            assert!(judged(StatusCode::CREATED, &GOOD.replace(said, instead)).is_err(), "{said}");
        }
    }
}
