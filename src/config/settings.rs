//! Every setting: its name, what it means, how it is read, what it may be, how it is shown.
//!
//! # Invariants
//!
//! * One name in three spellings: `log_bytes_max` in the file, `TIDINGS_LOG_BYTES_MAX` in the
//!   environment, `--log-bytes-max` on the command line.
//! * What is shown is read back as the same value. Secrets are not shown.

use std::net::SocketAddr;

use crate::config::signing;
use crate::config::units::{duration, show_size, size};
use crate::config::values::{
    Shown, app_id, certificate_files, duration_within, file, http_certificate_files, http_listen,
    longer_than_zero, number, path, size_within, yes_or_no,
};
use crate::config::{Config, WEBHOOKS_DIR, webhook_settings};
use crate::id::IdError;
use crate::limits::{
    CONNECTIONS_SETTING_MAX, DEVICES_PER_ALIAS_SETTING_MAX, DEVICES_PER_PEER_MAX,
    DRAIN_TIMEOUT_MAX, GROUP_MEMBERS_SETTING_MAX, HANDSHAKES_SETTING_MAX, INBOX_MESSAGES_MAX,
    PRESENCE_GRACE_SETTING_MAX, RECALL_WITHIN_SETTING_MAX, SEGMENT_BYTES_SETTING_MAX,
    SEGMENT_BYTES_SETTING_MIN, SHARDS_MAX, WINDOW_AGE_SETTING_MAX,
};

/// One thing that can be set.
#[derive(Debug)]
pub struct Setting {
    /// Its name in a configuration file.
    pub name: &'static str,
    /// What its value is, in one word.
    pub value: &'static str,
    /// What it means, in one sentence.
    pub help: &'static str,
    /// Checks the text of a value and sets it, or says what is wrong with it.
    pub(super) apply: fn(&mut Config, &str) -> Result<(), String>,
    /// The value in force.
    pub(super) shown: fn(&Config) -> Shown,
}

impl Setting {
    /// Its name on the command line, without the dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Its name in the environment.
    pub fn variable(&self) -> String {
        format!("TIDINGS_{}", self.name.to_uppercase())
    }
}

/// All settings, in the order in which they are shown.
pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "data",
        value: "FOLDER",
        help: "Folder of everything that lasts: the log, the state, the keys.",
        apply: |config, text| {
            config.store.dir = path(text)?;
            config.net.keys_dir = config.store.dir.join("keys");
            config.http.keys_dir = config.net.keys_dir.clone();
            config.webhook.dir = config.store.dir.join(WEBHOOKS_DIR);
            Ok(())
        },
        shown: |config| Shown::path(&config.store.dir),
    },
    Setting {
        name: "listen",
        value: "ADDRESS",
        help: "Address and UDP port for QUIC; port 0 takes a free one.",
        apply: |config, text| {
            let bad = |_| format!("{text:?} is not an address such as 0.0.0.0:7400 or [::]:7400");
            config.net.listen = text.parse::<SocketAddr>().map_err(bad)?;
            Ok(())
        },
        shown: |config| Shown::Text(config.net.listen.to_string()),
    },
    Setting {
        name: "certificate",
        value: "FILE",
        help: "Certificate chain (PEM); one is made and kept in the data folder if none is set.",
        apply: |config, text| {
            certificate_files(config).chain = file(text)?;
            Ok(())
        },
        shown: |config| Shown::file(config.net.certificate.as_ref().map(|files| &*files.chain)),
    },
    Setting {
        name: "key",
        value: "FILE",
        help: "Private key of the certificate (PEM).",
        apply: |config, text| {
            certificate_files(config).key = file(text)?;
            Ok(())
        },
        shown: |config| Shown::file(config.net.certificate.as_ref().map(|files| &*files.key)),
    },
    Setting {
        name: "http_listen",
        value: "ADDRESS",
        help: "Address and TCP port of the HTTP API for back ends; port 0 takes a free one; off.",
        apply: |config, text| {
            config.http.listen = http_listen(text)?;
            Ok(())
        },
        shown: |config| {
            Shown::Text(config.http.listen.map_or("off".into(), |address| address.to_string()))
        },
    },
    Setting {
        name: "http_certificate",
        value: "FILE",
        help: "Certificate chain (PEM) of the HTTP API; without one it speaks no TLS.",
        apply: |config, text| {
            http_certificate_files(config).chain = file(text)?;
            Ok(())
        },
        shown: |config| Shown::file(config.http.certificate.as_ref().map(|files| &*files.chain)),
    },
    Setting {
        name: "http_key",
        value: "FILE",
        help: "Private key (PEM) of the certificate of the HTTP API.",
        apply: |config, text| {
            http_certificate_files(config).key = file(text)?;
            Ok(())
        },
        shown: |config| Shown::file(config.http.certificate.as_ref().map(|files| &*files.key)),
    },
    Setting {
        name: "app_id",
        value: "ID",
        help: "The app that this server serves; clients that name another are refused.",
        apply: |config, text| {
            config.hub.app_id = app_id(text)?;
            Ok(())
        },
        shown: |config| match config.hub.app_id.as_str() {
            "" => Shown::Nothing,
            id => Shown::Text(id.into()),
        },
    },
    Setting {
        name: "signatures",
        value: "WHEN",
        help: "Signatures of the app's back end: off, optional (checked if there) or enforced.",
        apply: |config, text| {
            config.hub.signatures = signing::signatures(text)?;
            Ok(())
        },
        shown: |config| Shown::Text(signing::show_signatures(config.hub.signatures).into()),
    },
    Setting {
        name: "signing_key",
        value: "SECRET",
        help: "Key that the app's back end signs with; others can read a command line.",
        apply: |config, text| config.signing.set_current(text),
        shown: |config| Shown::secret(config.signing.current.is_some()),
    },
    Setting {
        name: "signing_key_previous",
        value: "SECRET",
        help: "Key that was the signing key before, and is good for some time still.",
        apply: |config, text| config.signing.set_previous(text),
        shown: |config| Shown::secret(config.signing.previous.is_some()),
    },
    Setting {
        name: "signing_key_previous_until",
        value: "TIME",
        help: "UTC time from which the previous key is refused, such as 2026-01-31T00:00:00Z.",
        apply: |config, text| config.signing.set_previous_until(text),
        shown: |config| config.signing.show_previous_until(),
    },
    Setting {
        name: "watch_before_send",
        value: "BOOL",
        help: "Whether a peer must watch those it sends to, where signatures are enforced.",
        apply: |config, text| {
            config.hub.watch_before_send = yes_or_no(text)?;
            Ok(())
        },
        shown: |config| Shown::Flag(config.hub.watch_before_send),
    },
    Setting {
        name: "presence_grace",
        value: "DURATION",
        help: "How long a peer that lost its last session still counts as online.",
        apply: |config, text| {
            config.hub.presence_grace = duration_within(text, PRESENCE_GRACE_SETTING_MAX)?;
            Ok(())
        },
        shown: |config| Shown::duration(config.hub.presence_grace),
    },
    Setting {
        name: "presence_restart_grace",
        value: "DURATION",
        help: "How long after a start those who were online before it still count as online.",
        apply: |config, text| {
            config.hub.presence_restart_grace = duration_within(text, PRESENCE_GRACE_SETTING_MAX)?;
            Ok(())
        },
        shown: |config| Shown::duration(config.hub.presence_restart_grace),
    },
    Setting {
        name: "window_messages",
        value: "NUMBER",
        help: "Messages kept for a peer from the time that it is away.",
        apply: |config, text| {
            config.store.window_messages = number(text, 1..=INBOX_MESSAGES_MAX)?;
            Ok(())
        },
        shown: |config| Shown::Number(config.store.window_messages as u64),
    },
    Setting {
        name: "window_age",
        value: "DURATION",
        help: "How long an unacknowledged message is kept.",
        apply: |config, text| {
            config.store.window_age = match longer_than_zero(text)? {
                age if age > WINDOW_AGE_SETTING_MAX => return Err("at most 49 days".into()),
                age => age,
            };
            Ok(())
        },
        shown: |config| Shown::duration(config.store.window_age),
    },
    Setting {
        name: "away_after",
        value: "DURATION",
        help: "How long after its last session a peer counts as away.",
        apply: |config, text| {
            config.store.away_after = duration(text)?;
            Ok(())
        },
        shown: |config| Shown::duration(config.store.away_after),
    },
    Setting {
        name: "history_age",
        value: "DURATION",
        help: "How long history is kept; 0 keeps only what inboxes still need.",
        apply: |config, text| {
            config.store.history_age = duration(text)?;
            Ok(())
        },
        shown: |config| Shown::duration(config.store.history_age),
    },
    Setting {
        name: "recall_within",
        value: "DURATION",
        help: "How long a sender may recall a message; 0 for not at all.",
        apply: |config, text| {
            config.store.recall_within = duration_within(text, RECALL_WITHIN_SETTING_MAX)?;
            Ok(())
        },
        shown: |config| Shown::duration(config.store.recall_within),
    },
    Setting {
        name: "group_members_max",
        value: "NUMBER",
        help: "Members of a group.",
        apply: |config, text| {
            config.store.group_members_max = number(text, 1..=GROUP_MEMBERS_SETTING_MAX)?;
            Ok(())
        },
        shown: |config| Shown::Number(config.store.group_members_max as u64),
    },
    Setting {
        name: "devices_per_peer_max",
        value: "NUMBER",
        help: "Devices of a peer; opening one more forgets the one not seen for longest.",
        apply: |config, text| {
            config.store.devices_max = number(text, 1..=DEVICES_PER_PEER_MAX)?;
            Ok(())
        },
        shown: |config| Shown::Number(config.store.devices_max as u64),
    },
    Setting {
        name: "devices_per_alias_max",
        value: "NUMBER",
        help: "Devices that may have the same alias.",
        apply: |config, text| {
            let allowed = 1..=DEVICES_PER_ALIAS_SETTING_MAX;
            config.store.devices_per_alias_max = number(text, allowed)?;
            Ok(())
        },
        shown: |config| Shown::Number(config.store.devices_per_alias_max as u64),
    },
    Setting {
        name: "client_aliases",
        value: "BOOL",
        help: "Whether a client may bind an alias to its device, or only the back end.",
        apply: |config, text| {
            config.hub.client_aliases = yes_or_no(text)?;
            Ok(())
        },
        shown: |config| Shown::Flag(config.hub.client_aliases),
    },
    Setting {
        name: "system_peer",
        value: "PEER",
        help: "Who the back end's messages are from when it names nobody; no client can open it.",
        apply: |config, text| {
            config.hub.system = text.parse().map_err(|error: IdError| error.to_string())?;
            Ok(())
        },
        shown: |config| Shown::Text(config.hub.system.as_str().to_owned()),
    },
    webhook_settings::WEBHOOK_URL,
    webhook_settings::WEBHOOK_DIALECT,
    webhook_settings::WEBHOOK_SECRET,
    webhook_settings::WEBHOOK_NETWORKS,
    webhook_settings::WEBHOOK_CA,
    webhook_settings::PUSH_TEXT,
    webhook_settings::HOOK_URL,
    webhook_settings::HOOK_DIALECT,
    webhook_settings::HOOK_SECRET,
    webhook_settings::HOOK_TIMEOUT,
    webhook_settings::HOOK_ON_TIMEOUT,
    webhook_settings::HOOK_ON_ERROR,
    webhook_settings::HOOK_IN_FLIGHT,
    Setting {
        name: "log_bytes_max",
        value: "SIZE",
        help: "Bytes that the log may take; history gives way first, then sends are refused.",
        apply: |config, text| {
            config.store.log_bytes_max = size(text)?;
            Ok(())
        },
        shown: |config| Shown::Text(show_size(config.store.log_bytes_max)),
    },
    Setting {
        name: "segment_bytes_max",
        value: "SIZE",
        help: "Bytes at which a segment of the log is closed and the next one begins.",
        apply: |config, text| {
            let range = SEGMENT_BYTES_SETTING_MIN..=SEGMENT_BYTES_SETTING_MAX;
            config.store.segment_bytes_max = size_within(text, &range)?;
            Ok(())
        },
        shown: |config| Shown::Text(show_size(config.store.segment_bytes_max)),
    },
    Setting {
        name: "shards",
        value: "NUMBER",
        help: "Parts of the router, a power of two.",
        apply: |config, text| {
            let shards: usize = number(text, 1..=SHARDS_MAX)?;
            if !shards.is_power_of_two() {
                return Err(format!("{shards} is not a power of two"));
            }
            config.hub.shards = shards;
            Ok(())
        },
        shown: |config| Shown::Number(config.hub.shards as u64),
    },
    Setting {
        name: "connections_max",
        value: "NUMBER",
        help: "Connections at once.",
        apply: |config, text| {
            config.net.connections_max = number(text, 1..=CONNECTIONS_SETTING_MAX)?;
            Ok(())
        },
        shown: |config| Shown::Number(config.net.connections_max as u64),
    },
    Setting {
        name: "connections_per_address_max",
        value: "NUMBER",
        help: "Connections at once from one IPv4 address, or from 64 bits of an IPv6 address.",
        apply: |config, text| {
            config.net.connections_per_address_max = number(text, 1..=CONNECTIONS_SETTING_MAX)?;
            Ok(())
        },
        shown: |config| Shown::Number(config.net.connections_per_address_max as u64),
    },
    Setting {
        name: "handshakes_max",
        value: "NUMBER",
        help: "Handshakes at once, half of them of one address at the most; above three in four of \
               both, addresses must first be proven.",
        apply: |config, text| {
            config.net.handshakes_max = number(text, 1..=HANDSHAKES_SETTING_MAX)?;
            Ok(())
        },
        shown: |config| Shown::Number(config.net.handshakes_max as u64),
    },
    Setting {
        name: "drain_timeout",
        value: "DURATION",
        help: "How long a drain may take before the sessions that are left are cut.",
        apply: |config, text| {
            config.net.drain_timeout = duration_within(text, DRAIN_TIMEOUT_MAX)?;
            Ok(())
        },
        shown: |config| Shown::duration(config.net.drain_timeout),
    },
    Setting {
        name: "metrics_file",
        value: "FILE",
        help: "File that is written anew with the server's metrics every second.",
        apply: |config, text| {
            config.metrics_file = Some(path(text)?);
            Ok(())
        },
        shown: |config| Shown::file(config.metrics_file.as_deref()),
    },
];
