//! Any text as the definition of a webhook endpoint: JSON, or a table of TOML.
//!
//! # Invariants
//!
//! * A definition is kept as it was read, in either form.
//! * Neither debugging nor what is said of a mistake shows a secret.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::webhook::{Definition, Network};

fuzz_target!(|input: &str| {
    if let Ok(definition) = serde_json::from_str(input) {
        check(definition);
    }
    if let Ok(definition) = toml::from_str(input) {
        check(definition);
    }
});

fn check(definition: Definition) {
    let json = serde_json::to_string(&definition).unwrap();
    assert!(serde_json::from_str::<Definition>(&json).unwrap() == definition, "{json}");
    if let Ok(table) = toml::to_string(&definition) {
        assert!(toml::from_str::<Definition>(&table).unwrap() == definition, "{table}");
    }
    let everywhere: Vec<Network> =
        ["0.0.0.0/0", "::/0"].iter().map(|network| network.parse().unwrap()).collect();
    let strict = definition.check("app", &[]);
    let lax = definition.check("app", &everywhere);
    assert!(strict.is_err() || lax.is_ok(), "what may go nowhere private may go anywhere");
    let said = format!("{definition:?} {strict:?} {lax:?}");
    for secret in definition.secret.iter().chain(&definition.secrets) {
        let is_telling =
            secret.0.len() > 12 && !json.replacen(&secret.0, "", 1).contains(&secret.0);
        assert!(!is_telling || !said.contains(&secret.0), "{said}");
    }
}
