//! The configuration: what was written becomes one checked [`Config`], or all mistakes at once.
//!
//! # Invariants
//!
//! * A later source overrides an earlier one: file, environment, command line.
//! * Every mistake of every source is reported, also where another source overrides it.
//! * Each layer declares its own options; this module composes them, and no layer knows it.

mod settings;
mod signing;
mod units;
mod values;
mod webhook_settings;
mod webhooks;

pub use settings::{SETTINGS, Setting};

use std::fmt::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::config::signing::Signing;
use crate::config::units::show_size;
use crate::config::values::Shown;
use crate::config::webhooks::{Flat, WrittenEndpoint};
use crate::limits::LOG_SEGMENTS_MIN;
use crate::{http, hub, net, store, webhook};

/// The UDP port that the server listens on unless told otherwise.
pub const LISTEN_PORT: u16 = 7400;

/// The TCP port of this machine's own address on which the HTTP API listens unless told otherwise.
pub const HTTP_PORT: u16 = 7480;

/// Where in the data folder endpoints are kept.
const WEBHOOKS_DIR: &str = "webhooks";

/// What every environment variable that is a setting begins with.
const VARIABLE_PREFIX: &str = "TIDINGS_";

/// Variables with that beginning that are no settings: the path of the file, the filter of the
/// log, and those that Kubernetes sets for a service of this name.
const NO_SETTINGS: &[&str] = &["TIDINGS_CONFIG", "TIDINGS_LOG", "TIDINGS_SERVICE_", "TIDINGS_PORT"];

/// A complete and checked configuration of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The log and the state.
    pub store: store::Options,
    /// The router.
    pub hub: hub::Options,
    /// The QUIC endpoint.
    pub net: net::Options,
    /// The HTTP API.
    pub http: http::Options,
    /// Webhooks.
    pub webhook: webhook::Options,
    /// Whom to ask about a message before it is sent.
    pub hook: webhook::HookOptions,
    /// Where the metrics are written.
    pub metrics_file: Option<PathBuf>,
    /// What the keys of the hub are made of.
    signing: Signing,
    /// What the endpoint without a table is made of.
    flat_endpoint: Flat,
}

/// Where settings may be written.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables, of which those that begin with `TIDINGS_` matter.
    pub environment: Vec<(String, String)>,
    /// Names of settings and what the command line says for them.
    pub flags: Vec<(&'static str, String)>,
}

/// A setting as it was written somewhere.
#[derive(Debug)]
struct Written {
    /// Where: a file and line, a variable or a flag.
    place: String,
    setting: &'static Setting,
    text: String,
}

/// What is wrong with a configuration, for the one who wrote it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistakes(Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "the configuration has {} mistake{plural}", self.0.len())?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for Mistakes {}

impl Config {
    /// Everything at its default, with all data below `data`; the HTTP API is off until
    /// [`http::Options::listen`] is set.
    pub fn new(data: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        let data = data.into();
        let (keys_dir, webhooks_dir) = (data.join("keys"), data.join(WEBHOOKS_DIR));
        Self {
            store: store::Options::new(data),
            hub: hub::Options::default(),
            net: net::Options::new(listen, keys_dir.clone()),
            http: http::Options::new(keys_dir),
            webhook: webhook::Options { dir: webhooks_dir, ..webhook::Options::default() },
            hook: webhook::HookOptions::default(),
            metrics_file: None,
            signing: Signing::default(),
            flat_endpoint: Flat::default(),
        }
    }

    /// Reads all sources.
    ///
    /// # Errors
    ///
    /// All [`Mistakes`] of all sources.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let (mut written, mut endpoints) = (Vec::new(), Vec::new());
        if let Some(path) = &sources.file {
            read_file(path, &mut written, &mut endpoints, &mut mistakes);
        }
        read_environment(&sources.environment, &mut written, &mut mistakes);
        for (name, text) in &sources.flags {
            match setting(name) {
                Some(setting) => {
                    let place = format!("--{}", setting.flag());
                    written.push(Written { place, setting, text: text.clone() });
                }
                None => mistakes.push(format!("--{name} is not a setting")),
            }
        }
        let named = |name| written.iter().any(|one: &Written| one.setting.name == name);
        for (certificate, key) in [("certificate", "key"), ("http_certificate", "http_key")] {
            if named(certificate) != named(key) {
                mistakes.push(format!("{certificate} and {key}: set both or none"));
            }
        }
        let mut config = Self::default();
        for Written { place, setting, text } in written {
            if let Err(problem) = (setting.apply)(&mut config, &text) {
                mistakes.push(format!("{place}: {problem}"));
            }
        }
        config.signing.complete(&mut config.hub, &mut mistakes);
        webhooks::complete(&mut config, endpoints, &mut mistakes);
        config.check_together(&mut mistakes);
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }

    /// Checks what no setting can see alone.
    fn check_together(&self, mistakes: &mut Vec<String>) {
        let log_bytes_min = self.store.segment_bytes_max.saturating_mul(LOG_SEGMENTS_MIN);
        if self.store.log_bytes_max < log_bytes_min {
            mistakes.push(format!(
                "log_bytes_max: {} is less than {LOG_SEGMENTS_MIN} segments, {}",
                show_size(self.store.log_bytes_max),
                show_size(log_bytes_min)
            ));
        }
    }

    /// What is in force, as a configuration file; that secrets are set, but not which.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for setting in SETTINGS {
            let name = setting.name;
            let line = match (setting.shown)(self) {
                Shown::Nothing => format!("# {name} is not set"),
                Shown::Secret => format!("# {name} is set, and not shown"),
                Shown::Number(number) => format!("{name} = {number}"),
                Shown::Flag(flag) => format!("{name} = {flag}"),
                Shown::Text(text) => format!("{name} = {}", toml::Value::String(text)),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# {}\n{line}\n", setting.help);
        }
        out.truncate(out.trim_end().len() + 1);
        webhooks::show_tables(self, &mut out);
        out
    }
}

impl Default for Config {
    /// Data in `./tidings-data`, QUIC on port 7400 of every IPv4 address, HTTP on port 7480 of
    /// this machine alone.
    fn default() -> Self {
        let mut config = Self::new("./tidings-data", (Ipv4Addr::UNSPECIFIED, LISTEN_PORT).into());
        config.http.listen = Some((Ipv4Addr::LOCALHOST, HTTP_PORT).into());
        config
    }
}

fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

fn read_file(
    path: &Path,
    written: &mut Vec<Written>,
    endpoints: &mut Vec<WrittenEndpoint>,
    mistakes: &mut Vec<String>,
) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return mistakes.push(format!("cannot read {}: {error}", path.display())),
    };
    let place_of = |at: usize| {
        let line = text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count();
        format!("{}:{}", path.display(), line + 1)
    };
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        mistakes.push(format!("{}: {}", place_of(at), error.message()));
    }
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in entries {
        let place = place_of(name.span().start);
        let name = name.get_ref();
        if *name == webhooks::TABLES {
            let read = webhooks::read_tables(value.get_ref(), &place_of, endpoints, mistakes);
            if read.is_none() {
                mistakes.push(format!("{place}: {name} is a list of tables: [[{name}]]"));
            }
            continue;
        }
        match (setting(name), value_text(value.get_ref())) {
            (None, _) => mistakes.push(format!("{place}: {name} is not a setting")),
            (Some(_), None) => {
                let may_be = "a string, a whole number, true or false";
                mistakes.push(format!("{place}: {name} must be {may_be}"));
            }
            (Some(setting), Some(text)) => {
                written.push(Written { place: format!("{place}: {name}"), setting, text });
            }
        }
    }
}

/// The text of a TOML value that can be one of a setting.
fn value_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        _ => None,
    }
}

fn read_environment(
    variables: &[(String, String)],
    written: &mut Vec<Written>,
    mistakes: &mut Vec<String>,
) {
    for (variable, text) in variables {
        let Some(name) = variable.strip_prefix(VARIABLE_PREFIX) else { continue };
        if let Some(setting) = setting(&name.to_lowercase()) {
            written.push(Written { place: variable.clone(), setting, text: text.clone() });
        } else if !NO_SETTINGS.iter().any(|known| variable.starts_with(known)) {
            mistakes.push(format!("{variable} is not a setting"));
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
