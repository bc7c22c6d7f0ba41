//! Endpoints: what of their definitions is in force.
//!
//! # Invariants
//!
//! * An [`Endpoint`] was checked once, when it was made: its URLs are http or https, name no
//!   forbidden address, and hold no user and no password.
//! * Secrets are not in what is shown, neither are the values in a URL's query.

use std::fmt::{self, Write};
use std::time::Duration;

use reqwest::Url;
use ring::digest::{SHA256, digest};

use super::addresses::{Network, literal, may_reach};
use super::definition::{Definition, DefinitionError};
use super::dialect::{Dialect, Style};
use super::event::Kind;
use super::sign::{Secret, hex};
use crate::id::EndpointId;
use crate::limits::{
    WEBHOOK_IN_FLIGHT, WEBHOOK_IN_FLIGHT_MAX, WEBHOOK_INTERVAL, WEBHOOK_INTERVAL_MAX,
    WEBHOOK_INTERVAL_MIN, WEBHOOK_SECRETS_MAX, WEBHOOK_TIMEOUT, WEBHOOK_TIMEOUT_MAX,
    WEBHOOK_URL_BYTES_MAX, WEBHOOK_URLS_MAX,
};

/// What all endpoints share.
#[derive(Clone, Debug, Default)]
pub(super) struct House {
    /// Networks that webhooks may go to although they are private.
    pub(super) allowed: Vec<Network>,
    /// The id of the app.
    pub(super) app_id: String,
    /// What a push service is to show, unless a message says it.
    pub(super) push_text: String,
}

/// An endpoint in force.
pub(super) struct Endpoint {
    pub(super) id: EndpointId,
    pub(super) urls: Vec<Url>,
    /// The URLs as they may be shown.
    pub(super) shown: Vec<String>,
    /// One bit for each kind of event that it hears.
    kinds: u16,
    pub(super) secrets: Vec<Secret>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) in_flight: usize,
    pub(super) style: Style,
    /// A digest of all that a body depends on beside the log.
    pub(super) shape: String,
}

impl fmt::Debug for Endpoint {
    /// Shows its id, and where it is without the values in the queries of URLs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Endpoint");
        shown.field("id", &self.id).field("urls", &self.shown).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Checks a definition.
    ///
    /// # Errors
    ///
    /// [`DefinitionError`] says what cannot be.
    pub(super) fn new(definition: &Definition, house: &House) -> Result<Self, DefinitionError> {
        let urls = definition.url.iter().chain(&definition.urls);
        let urls: Vec<Url> =
            urls.map(|url| check(url, &house.allowed)).collect::<Result<_, _>>()?;
        if !(1..=WEBHOOK_URLS_MAX).contains(&urls.len()) {
            return Err(DefinitionError::Urls);
        }
        let dialect = definition.dialect()?;
        if house.app_id.is_empty() && matches!(dialect, Dialect::Easemob | Dialect::Getui) {
            return Err(DefinitionError::AppId(dialect));
        }
        let kinds = kinds(dialect, &definition.events)?;
        let secrets = definition.secret.iter().chain(&definition.secrets);
        let secrets: Vec<Secret> = secrets
            .map(|secret| secret.0.parse().map_err(DefinitionError::Secret))
            .collect::<Result<_, _>>()?;
        if secrets.len() > WEBHOOK_SECRETS_MAX {
            return Err(DefinitionError::Secrets);
        }
        let in_flight = definition.in_flight.unwrap_or(WEBHOOK_IN_FLIGHT);
        if !(1..=WEBHOOK_IN_FLIGHT_MAX).contains(&in_flight) {
            return Err(DefinitionError::InFlight);
        }
        let style = Style {
            dialect,
            app_id: house.app_id.clone(),
            push_text: house.push_text.clone(),
            secret: secrets.last().map(|secret| secret.bytes().to_vec()).unwrap_or_default(),
            gzip_over: definition.gzip_over,
            offline_array: definition.offline_array,
            nested_ext: definition.nested_ext,
        };
        let (interval, timeout) = (&definition.interval, &definition.timeout);
        Ok(Self {
            id: EndpointId::new(&definition.id).map_err(DefinitionError::Id)?,
            shown: urls.iter().map(shown).collect(),
            urls,
            kinds,
            secrets,
            interval: duration("interval", interval, WEBHOOK_INTERVAL, WEBHOOK_INTERVAL_MAX)?,
            timeout: duration("timeout", timeout, WEBHOOK_TIMEOUT, WEBHOOK_TIMEOUT_MAX)?,
            in_flight,
            shape: shape(&style, dialect.version(), kinds),
            style,
        })
    }

    /// Whether it hears of this kind of event.
    pub(super) fn hears(&self, kind: Kind) -> bool {
        self.kinds & 1 << kind as u16 != 0
    }
}

impl Definition {
    /// Checks that it can be an endpoint of the app with this id, where webhooks may go to these
    /// networks too.
    ///
    /// # Errors
    ///
    /// [`DefinitionError`] says what cannot be.
    pub fn check(&self, app_id: &str, allowed: &[Network]) -> Result<(), DefinitionError> {
        let (allowed, app_id) = (allowed.to_vec(), app_id.to_owned());
        let house = House { allowed, app_id, push_text: String::new() };
        Endpoint::new(self, &house).map(drop)
    }

    /// Its dialect.
    ///
    /// # Errors
    ///
    /// [`DefinitionError::Dialect`] if there is no such dialect.
    pub(super) fn dialect(&self) -> Result<Dialect, DefinitionError> {
        let name = self.dialect.as_deref().unwrap_or(Dialect::default().name());
        name.parse().map_err(DefinitionError::Dialect)
    }
}

/// The bits of the kinds with these names.
fn kinds(dialect: Dialect, names: &[String]) -> Result<u16, DefinitionError> {
    let bit = |kind: Kind| 1 << kind as u16;
    if names.is_empty() {
        let spoken = Kind::ALL.into_iter().filter(|kind| dialect.speaks(*kind));
        return Ok(spoken.fold(0, |kinds, kind| kinds | bit(kind)));
    }
    names.iter().try_fold(0, |kinds, name| {
        let kind = name.parse().map_err(DefinitionError::Kind)?;
        let mute = DefinitionError::Mute { dialect, kind };
        dialect.speaks(kind).then_some(kinds | bit(kind)).ok_or(mute)
    })
}

/// Reads a URL to which requests may go.
///
/// # Errors
///
/// [`DefinitionError`] says why they may not.
pub(super) fn check(text: &str, allowed: &[Network]) -> Result<Url, DefinitionError> {
    let wrong = DefinitionError::Url;
    if text.len() > WEBHOOK_URL_BYTES_MAX {
        return Err(wrong("it is too long"));
    }
    let url = Url::parse(text).map_err(|_| wrong("it is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it holds a user or a password; requests are signed instead"));
    }
    let host = url.host_str().unwrap_or_default();
    match literal(host) {
        Some(address) if !may_reach(address, allowed) => Err(DefinitionError::Address(address)),
        None if host.is_empty() => Err(wrong("it names no host")),
        _ => Ok(url),
    }
}

/// A URL without the values in its query, which may be secrets.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_fragment(None);
    let Some(query) = url.query() else { return shown.into() };
    let hide = |pair: &str| match pair.split_once('=') {
        Some((name, _)) => format!("{name}=***"),
        None => "***".to_owned(),
    };
    let hidden: Vec<String> = query.split('&').map(hide).collect();
    shown.set_query(Some(&hidden.join("&")));
    shown.into()
}

fn duration(
    name: &'static str,
    text: &Option<String>,
    default: Duration,
    max: Duration,
) -> Result<Duration, DefinitionError> {
    let Some(text) = text else { return Ok(default) };
    let min = if name == "interval" { WEBHOOK_INTERVAL_MIN } else { Duration::from_millis(1) };
    let is_good = |duration: &Duration| (min..=max).contains(duration);
    humantime::parse_duration(text).ok().filter(is_good).ok_or(DefinitionError::Duration {
        name,
        min,
        max,
    })
}

/// What tells bodies of one shape from those of another.
fn shape(style: &Style, version: u32, kinds: u16) -> String {
    let Style { dialect, app_id, push_text, secret, gzip_over, offline_array, nested_ext } = style;
    // What signs a request is not in its body, but for the dialects with a proof of their own.
    let proof: &[u8] = match dialect {
        Dialect::Tidings | Dialect::Wukongim => &[],
        Dialect::Easemob | Dialect::Getui => secret,
    };
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{dialect}{version}|{app_id:?}|{push_text:?}|{gzip_over:?}|{offline_array}|{nested_ext}|\
         {kinds}|{}",
        hex(digest(&SHA256, proof).as_ref()),
    );
    hex(&digest(&SHA256, text.as_bytes()).as_ref()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Endpoint, DefinitionError> {
        let definition: Definition = serde_json::from_str(json).unwrap();
        Endpoint::new(&definition, &House { app_id: "acme".into(), ..House::default() })
    }

    #[test]
    fn a_dialect_that_says_the_id_of_the_app_needs_one() {
        for (dialect, needs) in
            [("tidings", false), ("wukongim", false), ("easemob", true), ("getui", true)]
        {
            let json = format!(r#"{{"id":"a","url":"http://a.example","dialect":"{dialect}"}}"#);
            let definition: Definition = serde_json::from_str(&json).unwrap();
            assert_eq!(definition.check("", &[]).is_err(), needs, "{dialect}");
            assert_eq!(definition.check("acme", &[]), Ok(()), "{dialect}");
        }
    }

    #[test]
    fn a_definition_has_only_to_say_who_and_where() {
        let endpoint = of(r#"{"id":"a","url":"https://example.org/hook?token=geheim&x"}"#).unwrap();
        assert_eq!(endpoint.shown, ["https://example.org/hook?token=***&***"]);
        assert!(!format!("{endpoint:?}").contains("geheim"), "{endpoint:?}");
        assert_eq!((endpoint.interval, endpoint.timeout), (WEBHOOK_INTERVAL, WEBHOOK_TIMEOUT));
        assert_eq!(endpoint.in_flight, WEBHOOK_IN_FLIGHT);
        assert!(Kind::ALL.into_iter().all(|kind| endpoint.hears(kind)));
        let chosen =
            of(r#"{"id":"a","urls":["http://a.example/","http://b.example/"],"dialect":"wukongim",
            "events":["message.sent"],"interval":"1s","timeout":"250ms","in_flight":64,
            "secrets":["one","two"]}"#)
            .unwrap();
        let heard: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| chosen.hears(*kind)).collect();
        assert_eq!((heard, chosen.urls.len()), (vec![Kind::MessageSent], 2));
        // Of two proofs there can be one: of the secret that the receiver had before.
        assert_eq!((chosen.secrets.len(), chosen.style.secret.as_slice()), (2, &b"two"[..]));
    }

    #[test]
    fn what_cannot_be_is_refused_and_told_without_secrets() {
        for (json, about) in [
            (r#"{"id":"","url":"http://a.example"}"#, "id"),
            (r#"{"id":"a:b","url":"http://a.example"}"#, "id"),
            (r#"{"id":"a"}"#, "url"),
            (r#"{"id":"a","url":"ftp://a.example"}"#, "url"),
            (r#"{"id":"a","url":"file:///etc/passwd"}"#, "url"),
            (r#"{"id":"a","url":"geheim"}"#, "url"),
            (r#"{"id":"a","url":"http://u:geheim@a.example"}"#, "url"),
            (r#"{"id":"a","url":"http://geheim@a.example"}"#, "url"),
            (r#"{"id":"a","url":"http://127.0.0.1:80/"}"#, "url"),
            (r#"{"id":"a","url":"http://0x7f.1/"}"#, "url"),
            (r#"{"id":"a","url":"http://[::ffff:169.254.169.254]/"}"#, "url"),
            (r#"{"id":"a","url":"http://a.example","dialect":"klingon"}"#, "dialect"),
            (r#"{"id":"a","url":"http://a.example","events":["x"]}"#, "events"),
            (
                r#"{"id":"a","url":"http://a","dialect":"getui","events":["message.sent"]}"#,
                "events",
            ),
            (r#"{"id":"a","url":"http://a.example","secret":"whsec_geheim"}"#, "secret"),
            (r#"{"id":"a","url":"http://a.example","secret":""}"#, "secret"),
            (r#"{"id":"a","url":"http://a.example","interval":"2m"}"#, "interval"),
            (r#"{"id":"a","url":"http://a.example","interval":"9ms"}"#, "interval"),
            (r#"{"id":"a","url":"http://a.example","timeout":"0s"}"#, "timeout"),
            (r#"{"id":"a","url":"http://a.example","in_flight":0}"#, "in_flight"),
            (r#"{"id":"a","url":"http://a.example","in_flight":65}"#, "in_flight"),
        ] {
            let said = of(json).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{about}: ")), "{json}: {said}");
            assert!(!said.contains("geheim"), "{said}");
        }
        let unknown = r#"{"id":"a","url":"http://a.example","retries":3}"#;
        assert!(serde_json::from_str::<Definition>(unknown).is_err());
    }

    #[test]
    fn a_body_of_another_shape_is_told_apart_and_a_rotated_key_is_not() {
        let with = |rest: &str| of(&format!(r#"{{"id":"a","url":"http://a.example"{rest}}}"#));
        let shape = |rest: &str| with(rest).unwrap().shape;
        assert_eq!(shape(""), shape(r#","secret":"geheim","interval":"1s""#));
        for other in [
            r#","dialect":"wukongim""#,
            r#","dialect":"easemob""#,
            r#","dialect":"easemob","secret":"geheim""#,
            r#","events":["message.sent"]"#,
        ] {
            assert_ne!(shape(""), shape(other), "{other}");
        }
        assert_ne!(shape(r#","dialect":"easemob""#), shape(r#","dialect":"easemob","secret":"g""#));
        let (style, version) = (Style::default(), Dialect::Tidings.version());
        assert_ne!(super::shape(&style, version, 1), super::shape(&style, version + 1, 1));
    }
}
