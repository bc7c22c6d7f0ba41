//! The settings of webhooks, and the tables `[[endpoint]]` of a configuration file.
//!
//! # Invariants
//!
//! * A secret is never shown: not by `--print-config`, not in a mistake, not by `Debug`.
//! * A mistake in a table is told with the line of what is wrong.

use std::fmt::{Display, Write};
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::Config;
use crate::config::units::{duration, show_duration};
use crate::config::values::Shown;
use crate::limits::{ENDPOINTS_MAX, HOOK_TIMEOUT_MAX, PUSH_TEXT_BYTES_MAX};
use crate::webhook;

/// What the tables of endpoints are called.
pub(super) const TABLES: &str = "endpoint";

/// The id of the endpoint that the flat settings make.
const DEFAULT: &str = "default";

/// An endpoint as it was written.
#[derive(Debug)]
pub(super) struct WrittenEndpoint {
    /// Where its table begins.
    place: String,
    definition: webhook::Definition,
    /// The fields of its table, and where each is.
    places: Vec<(String, String)>,
}

/// What was written of the endpoint that has no table.
#[derive(Clone, Debug, Default)]
pub(super) struct Flat {
    pub(super) url: Option<String>,
    pub(super) dialect: Option<String>,
    pub(super) secret: Option<webhook::SecretText>,
}

/// Reads the tables of a file; `place` tells the file and line of an offset.
pub(super) fn read_tables(
    tables: &DeValue<'_>,
    place: &dyn Fn(usize) -> String,
    written: &mut Vec<WrittenEndpoint>,
    mistakes: &mut Vec<String>,
) -> Option<()> {
    for table in tables.as_array()?.iter() {
        let fields = table.get_ref().as_table()?;
        match read_table(table, fields, place) {
            Ok(endpoint) => written.push(endpoint),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    Some(())
}

fn read_table(
    table: &Spanned<DeValue<'_>>,
    fields: &DeTable<'_>,
    place: &dyn Fn(usize) -> String,
) -> Result<WrittenEndpoint, String> {
    for (name, value) in fields.iter() {
        let is_text = |value: &DeValue<'_>| matches!(value, DeValue::String(_));
        let is_good = match name.get_ref().as_ref() {
            "secret" => is_text(value.get_ref()),
            "secrets" => value
                .get_ref()
                .as_array()
                .is_some_and(|texts| texts.iter().all(|text| is_text(text.get_ref()))),
            _ => true,
        };
        if !is_good {
            // The mistake of a deserializer would repeat it.
            let (place, name) = (place(name.span().start), name.get_ref());
            return Err(format!("{place}: {TABLES}: {name} must be a string, or a list of them"));
        }
    }
    let definition = webhook::Definition::deserialize(table.clone().into_deserializer());
    let definition = definition.map_err(|error| {
        let at = error.span().unwrap_or(table.span()).start;
        format!("{}: {TABLES}: {}", place(at), error.message())
    })?;
    let places = fields.keys().map(|name| (name.get_ref().to_string(), place(name.span().start)));
    let places = places.collect();
    Ok(WrittenEndpoint { place: place(table.span().start), definition, places })
}

impl WrittenEndpoint {
    /// A mistake, where the field stands whose name it begins with.
    fn mistake(&self, problem: &impl Display) -> String {
        let problem = problem.to_string();
        let about = problem.split(':').next().unwrap_or_default();
        let is_about = |name: &str| name == about || name.strip_suffix('s') == Some(about);
        let place = self.places.iter().find(|(name, _)| is_about(name));
        let place = place.map_or(&self.place, |(_, place)| place);
        format!("{place}: {TABLES} {:?}: {problem}", self.definition.id)
    }
}

/// Checks what was written about webhooks when all of it has been read.
pub(super) fn complete(
    config: &mut Config,
    written: Vec<WrittenEndpoint>,
    mistakes: &mut Vec<String>,
) {
    let flat = config.flat_endpoint.clone();
    let webhooks = &mut config.webhook;
    webhooks.app_id.clone_from(&config.hub.app_id);
    if let Err(problem) = config.hook.check(&webhooks.allowed) {
        mistakes.push(format!("hook_{problem}"));
    }
    if let Some(url) = flat.url {
        let (url, id) = (Some(url), DEFAULT.to_owned());
        let (dialect, secret) = (flat.dialect, flat.secret);
        let definition = webhook::Definition { id, url, dialect, secret, ..Default::default() };
        if let Err(problem) = definition.check(&webhooks.app_id, &webhooks.allowed) {
            mistakes.push(format!("webhook_{problem}"));
        }
        webhooks.configured.push(definition);
    } else {
        let without = [("dialect", flat.dialect.is_some()), ("secret", flat.secret.is_some())];
        let without = without.iter().filter(|(_, is_set)| *is_set);
        mistakes
            .extend(without.map(|(name, _)| format!("webhook_{name}: there is no webhook_url")));
    }
    for endpoint in written {
        let id = &endpoint.definition.id;
        if webhooks.configured.iter().any(|other| other.id == *id) {
            mistakes.push(endpoint.mistake(&"id: another endpoint has it"));
        } else if let Err(problem) = endpoint.definition.check(&webhooks.app_id, &webhooks.allowed)
        {
            mistakes.push(endpoint.mistake(&problem));
        }
        webhooks.configured.push(endpoint.definition);
    }
    if webhooks.configured.len() > ENDPOINTS_MAX {
        mistakes.push(format!("there are more than {ENDPOINTS_MAX} endpoints"));
    }
}

/// The endpoints that have a table, as tables; that secrets are set, but not which.
pub(super) fn show_tables(config: &Config, out: &mut String) {
    let has_flat = config.flat_endpoint.url.is_some();
    for definition in config.webhook.configured.iter().skip(usize::from(has_flat)) {
        let has_secret = definition.secret.is_some() || !definition.secrets.is_empty();
        let shown = webhook::Definition { secret: None, secrets: Vec::new(), ..definition.clone() };
        // A definition is texts, numbers and flags, which TOML has all of.
        let fields = toml::to_string(&shown).unwrap_or_default();
        let secret = if has_secret { "# secret is set, and not shown\n" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(out, "\n[[{TABLES}]]\n{fields}{secret}");
    }
}

/// Any URL of http or https; whether it may be asked is known when all has been read.
pub(super) fn url(text: &str) -> Result<String, String> {
    let (url, id) = (Some(text.to_owned()), DEFAULT.to_owned());
    let everywhere = networks("0.0.0.0/0,::/0")?;
    let definition = webhook::Definition { id, url, ..Default::default() };
    definition.check("", &everywhere).map_err(|error| unnamed(&error))?;
    Ok(text.to_owned())
}

pub(super) fn secret(text: &str) -> Result<webhook::SecretText, String> {
    signer(text).map(|_| webhook::SecretText(text.to_owned()))
}

pub(super) fn signer(text: &str) -> Result<webhook::Secret, String> {
    text.parse().map_err(|error: webhook::SecretError| error.to_string())
}

pub(super) fn dialect(text: &str) -> Result<webhook::Dialect, String> {
    text.parse().map_err(|_| format!("{text:?} is none of tidings, wukongim, easemob and getui"))
}

pub(super) fn hook_dialect(text: &str) -> Result<webhook::Dialect, String> {
    let bad = || format!("{text:?} is none of tidings, wukongim and easemob");
    text.parse().ok().filter(|dialect: &webhook::Dialect| dialect.asks()).ok_or_else(bad)
}

pub(super) fn policy(text: &str) -> Result<webhook::Policy, String> {
    text.parse().map_err(|_| format!("{text:?} is neither allow nor refuse"))
}

pub(super) fn networks(text: &str) -> Result<Vec<webhook::Network>, String> {
    let some = text.split(',').map(str::trim).filter(|network| !network.is_empty());
    some.map(|network| network.parse().map_err(|error: webhook::NetworkError| error.to_string()))
        .collect()
}

pub(super) fn show_networks(networks: &[webhook::Network]) -> Shown {
    if networks.is_empty() {
        return Shown::Nothing;
    }
    let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
    Shown::Text(networks.join(","))
}

pub(super) fn push_text(text: &str) -> Result<String, String> {
    if text.len() > PUSH_TEXT_BYTES_MAX {
        return Err(format!("a text of {} bytes exceeds {PUSH_TEXT_BYTES_MAX}", text.len()));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("a text must not contain {c:?}")),
        None => Ok(text.to_owned()),
    }
}

pub(super) fn hook_timeout(text: &str) -> Result<Duration, String> {
    const ALLOWED: RangeInclusive<Duration> = Duration::from_millis(1)..=HOOK_TIMEOUT_MAX;
    let timeout = duration(text)?;
    if !ALLOWED.contains(&timeout) {
        let (from, to) = (show_duration(*ALLOWED.start()), show_duration(*ALLOWED.end()));
        return Err(format!("{text} is not within {from} to {to}"));
    }
    Ok(timeout)
}

pub(super) fn text(text: &str) -> Shown {
    if text.is_empty() { Shown::Nothing } else { Shown::Text(text.to_owned()) }
}

/// A problem without the name of the field, which stands before it anyway.
fn unnamed(problem: &impl Display) -> String {
    let problem = problem.to_string();
    problem.split_once(": ").map_or(problem.clone(), |(_, behind)| behind.to_owned())
}
