//! The configuration: what was written becomes one checked [`Config`], or all mistakes at once.
//!
//! # Invariants
//!
//! * A later source overrides an earlier one: file, environment, command line.
//! * Every mistake of every source is reported, also where another source overrides it.
//! * Each layer declares its own options; this module composes them, and no layer knows it.

mod settings;
mod units;

pub use settings::{SETTINGS, Setting};

use std::fmt::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::config::settings::Shown;
use crate::config::units::show_size;
use crate::limits::LOG_SEGMENTS_MIN;
use crate::{hub, net, store};

/// The UDP port that the server listens on unless told otherwise.
pub const LISTEN_PORT: u16 = 7400;

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
    /// Where the metrics are written.
    pub metrics_file: Option<PathBuf>,
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
    /// Everything at its default, with all data below `data`.
    pub fn new(data: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        let data = data.into();
        let keys_dir = data.join("keys");
        Self {
            store: store::Options::new(data),
            hub: hub::Options::default(),
            net: net::Options::new(listen, keys_dir),
            metrics_file: None,
        }
    }

    /// Reads all sources.
    ///
    /// # Errors
    ///
    /// All [`Mistakes`] of all sources.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut written = Vec::new();
        if let Some(path) = &sources.file {
            read_file(path, &mut written, &mut mistakes);
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
        if named("certificate") != named("key") {
            mistakes.push("certificate and key: set both or none".into());
        }
        let mut config = Self::default();
        for Written { place, setting, text } in written {
            if let Err(problem) = (setting.apply)(&mut config, &text) {
                mistakes.push(format!("{place}: {problem}"));
            }
        }
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

    /// What is in force, as a configuration file.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for setting in SETTINGS {
            let name = setting.name;
            let line = match (setting.shown)(self) {
                Shown::Nothing => format!("# {name} is not set"),
                Shown::Number(number) => format!("{name} = {number}"),
                Shown::Text(text) => format!("{name} = {}", toml::Value::String(text)),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# {}\n{line}\n", setting.help);
        }
        out.truncate(out.trim_end().len() + 1);
        out
    }
}

impl Default for Config {
    /// Data in `./tidings-data`, QUIC on port 7400 of every IPv4 address.
    fn default() -> Self {
        Self::new("./tidings-data", (Ipv4Addr::UNSPECIFIED, LISTEN_PORT).into())
    }
}

fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

fn read_file(path: &Path, written: &mut Vec<Written>, mistakes: &mut Vec<String>) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return mistakes.push(format!("cannot read {}: {error}", path.display())),
    };
    let place = |at: usize| {
        let line = text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count();
        format!("{}:{}", path.display(), line + 1)
    };
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        mistakes.push(format!("{}: {}", place(at), error.message()));
    }
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in entries {
        let place = place(name.span().start);
        let name = name.get_ref();
        match (setting(name), value_text(value.get_ref())) {
            (None, _) => mistakes.push(format!("{place}: {name} is not a setting")),
            (Some(_), None) => {
                mistakes.push(format!("{place}: {name} must be a string or a whole number"));
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
mod tests {
    use std::time::Duration;

    use super::*;

    fn pairs(values: &[(&str, &str)]) -> Vec<(String, String)> {
        values.iter().map(|(name, text)| (String::from(*name), String::from(*text))).collect()
    }

    fn file(folder: &tempfile::TempDir, text: &str) -> Option<PathBuf> {
        let path = folder.path().join("tidings.toml");
        std::fs::write(&path, text).unwrap();
        Some(path)
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let config = Config::load(&Sources::default()).unwrap();
        assert_eq!(config.net.listen.to_string(), "0.0.0.0:7400");
        assert_eq!(config.store.dir, Path::new("./tidings-data"));
        assert_eq!(config.net.keys_dir, Path::new("./tidings-data/keys"));
        assert!(config.net.certificate.is_none());
    }

    #[test]
    fn the_command_line_overrides_the_environment_and_that_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let sources = Sources {
            file: file(&folder, "window_age = '1d'\naway_after = '1m'\nshards = 4\n"),
            environment: pairs(&[("TIDINGS_AWAY_AFTER", "2m"), ("TIDINGS_SHARDS", "8")]),
            flags: vec![("shards", "16".into())],
        };
        let config = Config::load(&sources).unwrap();
        assert_eq!(config.store.window_age, Duration::from_secs(86_400));
        assert_eq!(config.store.away_after, Duration::from_secs(120));
        assert_eq!(config.hub.shards, 16);
    }

    #[test]
    fn every_mistake_of_every_source_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let text = "shards = 3\nwindow_mesages = 50\n\n[store]\nx = 1\n[listen]\n";
        let sources = Sources {
            file: file(&folder, text),
            environment: pairs(&[
                ("HOME", "/root"),
                ("TIDINGS_WINDOW_AGE", "0"),
                ("TIDINGS_CERTIFICATE", "/no/such/file"),
                ("TIDINGS_SPEED", "full"),
                ("TIDINGS_CONFIG", "is no setting"),
                ("TIDINGS_PORT_7400_UDP", "udp://10.0.0.1:7400"),
            ]),
            flags: vec![
                ("listen", "localhost".into()),
                ("log_bytes_max", "1GiB".into()),
                ("segment_bytes_max", "256MiB".into()),
            ],
        };
        let path = sources.file.clone().unwrap();
        let mistakes = Config::load(&sources).unwrap_err().0;
        let expected = [
            format!("{}:2: window_mesages is not a setting", path.display()),
            format!("{}:4: store is not a setting", path.display()),
            format!("{}:6: listen must be a string or a whole number", path.display()),
            "TIDINGS_SPEED is not a setting".into(),
            "certificate and key: set both or none".into(),
            format!("{}:1: shards: 3 is not a power of two", path.display()),
            "TIDINGS_WINDOW_AGE: the duration must be longer than 0".into(),
            "TIDINGS_CERTIFICATE: cannot read /no/such/file: No such file or directory (os error \
             2)"
            .into(),
            "--listen: \"localhost\" is not an address such as 0.0.0.0:7400 or [::]:7400".into(),
            "log_bytes_max: 1GiB is less than 8 segments, 2GiB".into(),
        ];
        assert_eq!(mistakes, expected);
    }

    #[test]
    fn a_file_that_is_no_toml_is_reported_with_its_other_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder, "shards = \nwindow_messages = 0\n");
        let mistakes = Config::load(&Sources { file, ..Sources::default() }).unwrap_err().0;
        assert!(mistakes[0].contains("tidings.toml:1: "), "{mistakes:?}");
        assert!(mistakes.iter().any(|m| m.contains("0 is not within 1 to 10000")), "{mistakes:?}");
        let missing = Sources { file: Some("/no/such.toml".into()), ..Sources::default() };
        assert!(Config::load(&missing).unwrap_err().to_string().contains("/no/such.toml"));
    }

    #[test]
    fn what_is_shown_is_read_back_as_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let pem = folder.path().join("a \"quoted\" name.pem");
        std::fs::write(&pem, "").unwrap();
        let text_of = |setting: &Setting| match setting.name {
            "certificate" | "key" => pem.to_str().unwrap(),
            "data" | "metrics_file" => "some\\where \"else\"",
            "listen" => "[::1]:0",
            "app_id" => "app",
            "log_bytes_max" => "40GiB",
            "segment_bytes_max" => "24MiB",
            "window_age" | "away_after" | "history_age" | "drain_timeout" => "90500ms",
            _ => "64",
        };
        let flags = SETTINGS.iter().map(|s| (s.name, text_of(s).into())).collect();
        let set = Config::load(&Sources { flags, ..Sources::default() }).unwrap();
        let shown = set.to_toml();
        assert!(!shown.contains("is not set"), "every setting is set:\n{shown}");
        let file = file(&folder, &shown);
        let read = Config::load(&Sources { file, ..Sources::default() }).unwrap();
        assert_eq!(read.to_toml(), shown);
        assert_eq!(Config::default().to_toml().matches("is not set").count(), 4);
    }
}
