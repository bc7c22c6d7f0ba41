//! The arguments that make a configuration, and `tidings check-config`.
//!
//! # Invariants
//!
//! * Each setting is a flag; the list of settings is the only one there is.

use std::io::Write;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use tidings::config::{Config, SETTINGS, Sources};

use super::{Exit, Failure, Outcome};

/// Where a configuration comes from.
#[derive(Args, Debug)]
pub(super) struct ConfigArgs {
    /// Configuration file (TOML). Each setting may also come from the environment, such as
    /// TIDINGS_LISTEN, or from its flag; the flag wins.
    #[arg(long, value_name = "FILE", env = "TIDINGS_CONFIG")]
    config: Option<PathBuf>,
    /// Print the configuration in force (TOML) and exit. Secrets are left out, but not what stands
    /// in the query of a URL: look before you show it to others.
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

/// The settings that were given as flags, unchecked.
#[derive(Debug)]
struct SettingFlags(Vec<(&'static str, String)>);

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name| matches.get_one::<String>(name).cloned().map(|text| (name, text));
        Ok(Self(SETTINGS.iter().filter_map(|setting| given(setting.name)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let flag = |setting: &tidings::config::Setting| {
            Arg::new(setting.name)
                .long(setting.flag())
                .value_name(setting.value)
                .help(setting.help)
                .help_heading("Settings")
        };
        command.args(SETTINGS.iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl ConfigArgs {
    /// Reads and checks everything. `None`: it was to be printed only, and has been.
    pub(super) fn load(self) -> Result<Option<Config>, Failure> {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        let sources = Sources {
            file: self.config,
            environment: environment.collect(),
            flags: self.settings.0,
        };
        let config =
            Config::load(&sources).map_err(|mistakes| Failure::new(Exit::BadUsage, mistakes))?;
        if self.print_config {
            std::io::stdout().write_all(config.to_toml().as_bytes())?;
            return Ok(None);
        }
        Ok(Some(config))
    }

    /// `tidings check-config`.
    pub(super) fn check(self) -> Outcome {
        if self.load()?.is_some() {
            writeln!(std::io::stdout(), "the configuration has no mistakes")?;
        }
        Ok(Exit::Done)
    }
}
