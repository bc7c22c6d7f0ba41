//! The settings of webhooks and of the pre-send hook.
//!
//! # Invariants
//!
//! * Secrets are not shown.

use crate::config::settings::Setting;
use crate::config::values::{Shown, file, number};
use crate::config::webhooks;
use crate::limits::HOOK_IN_FLIGHT_MAX;

pub(super) const WEBHOOK_URL: Setting = Setting {
    name: "webhook_url",
    value: "URL",
    help: "Where webhooks go: the endpoint `default`; a file may have more as [[endpoint]].",
    apply: |config, text| {
        config.flat_endpoint.url = Some(webhooks::url(text)?);
        Ok(())
    },
    shown: |config| webhooks::text(config.flat_endpoint.url.as_deref().unwrap_or_default()),
};

pub(super) const WEBHOOK_DIALECT: Setting = Setting {
    name: "webhook_dialect",
    value: "DIALECT",
    help: "How webhooks are told: tidings, wukongim, easemob or getui.",
    apply: |config, text| {
        config.flat_endpoint.dialect = Some(webhooks::dialect(text)?.name().into());
        Ok(())
    },
    shown: |config| webhooks::text(config.flat_endpoint.dialect.as_deref().unwrap_or_default()),
};

pub(super) const WEBHOOK_SECRET: Setting = Setting {
    name: "webhook_secret",
    value: "SECRET",
    help: "What webhooks are signed with: whsec_ and base64, or any text.",
    apply: |config, text| {
        config.flat_endpoint.secret = Some(webhooks::secret(text)?);
        Ok(())
    },
    shown: |config| Shown::secret(config.flat_endpoint.secret.is_some()),
};

pub(super) const WEBHOOK_NETWORKS: Setting = Setting {
    name: "webhook_networks",
    value: "NETWORKS",
    help: "Private networks that webhooks may go to, such as 10.0.0.0/8,127.0.0.0/8.",
    apply: |config, text| {
        config.webhook.allowed = webhooks::networks(text)?;
        Ok(())
    },
    shown: |config| webhooks::show_networks(&config.webhook.allowed),
};

pub(super) const WEBHOOK_CA: Setting = Setting {
    name: "webhook_ca",
    value: "FILE",
    help: "Certificates (PEM) of authorities that webhooks trust beside those of the system.",
    apply: |config, text| {
        config.webhook.ca = Some(file(text)?);
        Ok(())
    },
    shown: |config| Shown::file(config.webhook.ca.as_deref()),
};

pub(super) const PUSH_TEXT: Setting = Setting {
    name: "push_text",
    value: "TEXT",
    help: "What a push is to show for a message that waits, unless the message says it.",
    apply: |config, text| {
        config.webhook.push_text = webhooks::push_text(text)?;
        Ok(())
    },
    shown: |config| webhooks::text(&config.webhook.push_text),
};

pub(super) const HOOK_URL: Setting = Setting {
    name: "hook_url",
    value: "URL",
    help: "Where a back end is asked about each message of a client before it is sent.",
    apply: |config, text| {
        config.hook.url = Some(webhooks::url(text)?);
        Ok(())
    },
    shown: |config| webhooks::text(config.hook.url.as_deref().unwrap_or_default()),
};

pub(super) const HOOK_DIALECT: Setting = Setting {
    name: "hook_dialect",
    value: "DIALECT",
    help: "How it is asked: tidings, wukongim or easemob.",
    apply: |config, text| {
        config.hook.dialect = webhooks::hook_dialect(text)?;
        Ok(())
    },
    shown: |config| Shown::Text(config.hook.dialect.name().into()),
};

pub(super) const HOOK_SECRET: Setting = Setting {
    name: "hook_secret",
    value: "SECRET",
    help: "What the questions are signed with: whsec_ and base64, or any text.",
    apply: |config, text| {
        config.hook.secret = Some(webhooks::signer(text)?);
        Ok(())
    },
    shown: |config| Shown::secret(config.hook.secret.is_some()),
};

pub(super) const HOOK_TIMEOUT: Setting = Setting {
    name: "hook_timeout",
    value: "DURATION",
    help: "How long the answer may take; only the session that sends waits for it.",
    apply: |config, text| {
        config.hook.timeout = webhooks::hook_timeout(text)?;
        Ok(())
    },
    shown: |config| Shown::duration(config.hook.timeout),
};

pub(super) const HOOK_ON_TIMEOUT: Setting = Setting {
    name: "hook_on_timeout",
    value: "POLICY",
    help: "What becomes of a message when the answer takes longer: allow or refuse.",
    apply: |config, text| {
        config.hook.on_timeout = webhooks::policy(text)?;
        Ok(())
    },
    shown: |config| Shown::Text(config.hook.on_timeout.name().into()),
};

pub(super) const HOOK_ON_ERROR: Setting = Setting {
    name: "hook_on_error",
    value: "POLICY",
    help: "What becomes of a message when nobody answers, or nothing useful: allow or refuse.",
    apply: |config, text| {
        config.hook.on_error = webhooks::policy(text)?;
        Ok(())
    },
    shown: |config| Shown::Text(config.hook.on_error.name().into()),
};

pub(super) const HOOK_IN_FLIGHT: Setting = Setting {
    name: "hook_in_flight",
    value: "NUMBER",
    help: "Questions on their way at once; one more counts as an error.",
    apply: |config, text| {
        config.hook.in_flight = number(text, 1..=HOOK_IN_FLIGHT_MAX)?;
        Ok(())
    },
    shown: |config| Shown::Number(config.hook.in_flight as u64),
};
