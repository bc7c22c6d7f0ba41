//! What a configuration is made of, and what is wrong with it.

use std::time::Duration;

use super::*;
use crate::limits::GROUP_MEMBERS_SETTING_MAX;
use crate::signature::{Claim, Signatures, sign_open};

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
    assert_eq!(config.http.listen.unwrap().to_string(), "127.0.0.1:7480");
    assert_eq!(config.http.keys_dir, Path::new("./tidings-data/keys"));
    assert_eq!(loaded("http_listen = 'off'").unwrap().http.listen, None);
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
            ("http_listen", "on".into()),
            ("http_key", "/no/such/key".into()),
            ("log_bytes_max", "1GiB".into()),
            ("segment_bytes_max", "256MiB".into()),
        ],
    };
    let path = sources.file.clone().unwrap();
    let mistakes = Config::load(&sources).unwrap_err().0;
    let expected = [
        format!("{}:2: window_mesages is not a setting", path.display()),
        format!("{}:4: store is not a setting", path.display()),
        format!("{}:6: listen must be a string, a whole number, true or false", path.display()),
        "TIDINGS_SPEED is not a setting".into(),
        "certificate and key: set both or none".into(),
        "http_certificate and http_key: set both or none".into(),
        format!("{}:1: shards: 3 is not a power of two", path.display()),
        "TIDINGS_WINDOW_AGE: the duration must be longer than 0".into(),
        "TIDINGS_CERTIFICATE: cannot read /no/such/file: No such file or directory (os error \
         2)"
        .into(),
        "--listen: \"localhost\" is not an address such as 0.0.0.0:7400 or [::]:7400".into(),
        "--http-listen: \"on\" is neither off nor an address such as 127.0.0.1:7480".into(),
        "--http-key: cannot read /no/such/key: No such file or directory (os error 2)".into(),
        "log_bytes_max: 1GiB is less than 10 segments, 2560MiB".into(),
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
        "certificate" | "key" | "http_certificate" | "http_key" => pem.to_str().unwrap(),
        "data" | "metrics_file" => "some\\where \"else\"",
        "listen" | "http_listen" => "[::1]:0",
        "app_id" => "app",
        "webhook_ca" => pem.to_str().unwrap(),
        "webhook_url" | "hook_url" => "http://127.0.0.1:9/x?a=\"b\"",
        "webhook_dialect" | "hook_dialect" => "wukongim",
        "webhook_secret" | "hook_secret" => "never shown",
        "webhook_networks" => "127.0.0.0/8,fd00::/8",
        "push_text" => "Look \"here\"",
        "hook_on_timeout" | "hook_on_error" => "refuse",
        "log_bytes_max" => "40GiB",
        "segment_bytes_max" => "24MiB",
        "window_age"
        | "away_after"
        | "history_age"
        | "drain_timeout"
        | "recall_within"
        | "presence_grace"
        | "presence_restart_grace" => "90500ms",
        "hook_timeout" => "1500ms",
        "signatures" => "off",
        "signing_key" | "signing_key_previous" => "never shown",
        "signing_key_previous_until" => "2030-06-01T12:00:00.250Z",
        "watch_before_send" | "client_aliases" => "false",
        "devices_per_peer_max" => "2",
        _ => "64",
    };
    let flags = SETTINGS.iter().map(|s| (s.name, text_of(s).into())).collect();
    let set = Config::load(&Sources { flags, ..Sources::default() }).unwrap();
    let shown = set.to_toml();
    assert!(!shown.contains("is not set"), "every setting is set:\n{shown}");
    let file = file(&folder, &shown);
    // Secrets alone have to be set again.
    const SECRETS: &[&str] =
        &["signing_key", "signing_key_previous", "webhook_secret", "hook_secret"];
    let is_secret = |name: &str| SECRETS.contains(&name);
    let secrets = SETTINGS.iter().filter(|setting| is_secret(setting.name));
    let flags = secrets.map(|setting| (setting.name, "never shown".into())).collect();
    let read = Config::load(&Sources { file, flags, ..Sources::default() }).unwrap();
    assert_eq!(read.to_toml(), shown);
    assert_eq!(Config::default().to_toml().matches("is not set").count(), 17);
}

/// What `file` makes of the configuration, or its mistakes.
fn loaded(text: &str) -> Result<Config, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources { file: file(&folder, text), ..Sources::default() };
    let place = format!("{}:", sources.file.as_ref().unwrap().display());
    Config::load(&sources)
        .map_err(|mistakes| mistakes.0.iter().map(|mistake| mistake.replace(&place, "")).collect())
}

#[test]
fn a_secret_is_shown_nowhere() {
    let text = "app_id = 'chat'\nsignatures = 'enforced'\nsigning_key = 'geheim-1'\n\
                signing_key_previous = 'geheim-0'\n\
                signing_key_previous_until = '2030-01-31T00:00:00Z'\n";
    let config = loaded(text).unwrap();
    let shown = config.to_toml();
    assert!(shown.contains("\n# signing_key is set, and not shown\n"), "{shown}");
    assert!(shown.contains("\n# signing_key_previous is set, and not shown\n"), "{shown}");
    assert!(shown.contains("\nsigning_key_previous_until = \"2030-01-31T00:00:00Z\"\n"));
    assert!(!shown.contains("geheim"), "{shown}");
    assert!(!format!("{config:?}").contains("geheim"), "{config:?}");
    let mistakes = loaded(&text.replace("signing_key_previous_until", "until")).unwrap_err();
    assert!(!mistakes.concat().contains("geheim"), "{mistakes:?}");
}

#[test]
fn endpoints_are_tables_and_one_may_be_flat() {
    let text = "webhook_url = 'http://127.0.0.1:9/'\nwebhook_secret = 'geheim-0'\n\
                webhook_networks = '127.0.0.0/8'\napp_id = 'chat'\n\
                [[endpoint]]\nid = 'a'\nurls = ['https://a.example/', 'https://b.example/']\n\
                dialect = 'wukongim'\nevents = ['message.sent']\ninterval = '1s'\n\
                secrets = ['geheim-1', 'geheim-2']\ngzip_over = 100\n\
                [[endpoint]]\nid = 'b'\nurl = 'http://127.0.0.1:10/'\n";
    let config = loaded(text).unwrap();
    let ids: Vec<&str> = config.webhook.configured.iter().map(|one| &*one.id).collect();
    assert_eq!(ids, ["default", "a", "b"]);
    assert_eq!(config.webhook.app_id, "chat");
    let shown = config.to_toml();
    assert!(!shown.contains("geheim"), "{shown}");
    assert!(!format!("{config:?}").contains("geheim"), "{config:?}");
    let read = loaded(&shown).unwrap();
    assert_eq!(read.webhook.configured.len(), 3);
    let without = |shown: &str| shown.replace(", and not shown", "").replace(" is set", "");
    let hidden = "# secret is set, and not shown\n";
    let flat = "# webhook_secret is set, and not shown";
    let expected = shown.replace(hidden, "").replace(flat, "# webhook_secret is not set");
    assert_eq!(without(&read.to_toml()), without(&expected));
}

#[test]
fn every_mistake_in_a_table_is_told_with_its_line() {
    let text = "webhook_dialect = 'getui'\nhook_url = 'http://10.0.0.1/'\n\
                [[endpoint]]\nid = 'a'\nurl = 'http://127.0.0.1/'\n\
                [[endpoint]]\nid = 'b'\nurl = 'https://b.example/'\nretries = 3\n\
                [[endpoint]]\nid = 'c'\nurl = 'https://c.example/'\nsecret = 1234\n\
                [[endpoint]]\nid = 'd'\nurl = 'https://d.example/'\nevents = ['x']\n\
                [[endpoint]]\nid = 'd'\nurl = 'https://d.example/'\n\
                [[endpoint]]\nid = 'e'\nurl = 'https://e.example/'\ninterval = '61s'\n\
                [[endpoint]]\nid = 'f'\ndialect = 'easemob'\nurl = 'https://f.example/'\n";
    let mistakes = loaded(text).unwrap_err();
    for (at, about) in [
        ("9: endpoint: ", "retries"),
        ("13: endpoint: secret must be a string", ""),
        ("hook_url: 10.0.0.1", ""),
        ("webhook_dialect: there is no webhook_url", ""),
        ("5: endpoint \"a\": url: 127.0.0.1", ""),
        ("17: endpoint \"d\": events: ", ""),
        ("19: endpoint \"d\": id: another endpoint has it", ""),
        ("24: endpoint \"e\": interval: ", ""),
        ("27: endpoint \"f\": dialect: easemob says the app's id", ""),
    ] {
        let is_told = |mistake: &String| mistake.starts_with(at) && mistake.contains(about);
        assert!(mistakes.iter().any(is_told), "{at} in {mistakes:#?}");
    }
    assert_eq!(mistakes.len(), 9, "{mistakes:#?}");
    assert!(!mistakes.concat().contains("1234"), "{mistakes:#?}");
    for (line, problem) in [
        ("webhook_url = 'ftp://a.example/'", "it is neither http nor https"),
        ("webhook_networks = '10.0.0.0'", ""),
        ("webhook_networks = 'here'", "\"here\" is not a network such as 10.0.0.0/8 or fd00::/8"),
        ("hook_dialect = 'getui'", "\"getui\" is none of tidings, wukongim and easemob"),
        ("hook_timeout = '0'", "0 is not within 1ms to 5s"),
        ("hook_on_error = 'deny'", "\"deny\" is neither allow nor refuse"),
        ("hook_in_flight = 0", "0 is not within 1 to 4096"),
        ("webhook_secret = 'whsec_x'", "behind whsec_ a secret has base64 of 24 to 64 bytes"),
    ] {
        let (name, _) = line.split_once(" =").unwrap();
        match loaded(line) {
            Ok(_) => assert_eq!(problem, "", "{line}"),
            Err(mistakes) => assert_eq!(mistakes[0], format!("1: {name}: {problem}")),
        }
    }
    assert!(loaded("endpoint = 'a'").unwrap_err()[0].contains("is a list of tables"));
}

#[test]
fn the_keys_are_those_that_were_set() {
    let peer = "ann".parse().unwrap();
    let until_ms = 1_900_000_000_000;
    let checked = |config: &Config, key: &str, now_ms: i64| {
        let timestamp = now_ms as u64;
        let signature = sign_open(key.as_bytes(), "chat", &peer, &[], timestamp, "n");
        let claim = Claim { nonce: "n", timestamp, signature: &signature };
        config.hub.keys.as_ref().unwrap().check_open(&peer, &[], claim, now_ms).is_ok()
    };
    // The app id may stand anywhere, for the keys are made at the end.
    let text = "signing_key = 'new'\nsigning_key_previous = 'old'\n\
                signing_key_previous_until = '2030-03-17T17:46:40Z'\n\
                signatures = 'optional'\napp_id = 'chat'\n";
    let config = loaded(text).unwrap();
    assert_eq!(config.hub.signatures, Signatures::Optional);
    assert!(checked(&config, "new", until_ms));
    assert!(checked(&config, "old", until_ms - 1));
    assert!(!checked(&config, "old", until_ms));
    assert!(!checked(&config, "other", until_ms - 1));
    let config = loaded("app_id = 'chat'\nsigning_key = 'new'\n").unwrap();
    assert_eq!(config.hub.signatures, Signatures::Off);
    assert!(checked(&config, "new", until_ms));
    assert!(Config::default().hub.keys.is_none());
}

#[test]
fn signatures_without_what_they_need_are_refused() {
    let check = |text: &str, expected: &[&str]| {
        assert_eq!(loaded(text).unwrap_err(), expected, "{text}");
    };
    check(
        "signatures = 'enforced'",
        &[
            "signatures: enforced needs signing_key",
            "signatures: enforced needs app_id, which is signed too",
        ],
    );
    check("app_id = 'chat'\nsignatures = 'optional'", &["signatures: optional needs signing_key"]);
    check(
        "signatures = 'optional'\nsigning_key = 'k'",
        &["signatures: optional needs app_id, which is signed too"],
    );
    let both = "signing_key_previous and signing_key_previous_until: set both or none";
    check("signing_key = 'k'\nsigning_key_previous = 'j'", &[both]);
    check("signing_key_previous_until = '2030-01-31T00:00:00Z'", &[both]);
    check(
        "signing_key_previous = 'j'\nsigning_key_previous_until = '2030-01-31T00:00:00Z'",
        &["signing_key_previous: there is no signing_key after it"],
    );
    check("signing_key = ''", &["1: signing_key: the key is empty"]);
    check("signatures = 'on'", &["1: signatures: \"on\" is none of off, optional and enforced"]);
}

#[test]
fn a_time_that_is_not_in_utc_is_refused() {
    for text in ["", "2030-01-31", "2030-01-31T00:00:00", "2030-01-31T00:00:00+01:00", "soon"] {
        let mistakes = loaded(&format!("signing_key_previous_until = '{text}'")).unwrap_err();
        let bad = format!(
            "1: signing_key_previous_until: {text:?} is not a UTC time such as \
             2026-01-31T00:00:00Z"
        );
        assert_eq!(mistakes[0], bad);
    }
}

#[test]
fn what_the_back_end_may_be_called_and_bind_can_be_set() {
    let text = "system_peer = 'office'\nclient_aliases = false\ndevices_per_alias_max = 1000\n";
    let config = loaded(text).unwrap();
    assert_eq!(config.hub.system.as_str(), "office");
    assert!(!config.hub.client_aliases);
    assert_eq!(config.store.devices_per_alias_max, 1000);
    for (line, problem) in [
        ("system_peer = 'a:b'", "an id must not contain ':'"),
        ("client_aliases = 1", "\"1\" is neither true nor false"),
        ("devices_per_alias_max = 1001", "1001 is not within 1 to 1000"),
    ] {
        let (name, _) = line.split_once(" =").unwrap();
        assert_eq!(loaded(line).unwrap_err(), [format!("1: {name}: {problem}")]);
    }
}

#[test]
fn what_groups_presence_and_recall_can_be_set_to_is_bounded() {
    let config = loaded(
        "watch_before_send = false\npresence_grace = 0\npresence_restart_grace = '10m'\n\
         recall_within = '366d'\ngroup_members_max = 1\ndevices_per_peer_max = 16\n",
    );
    let config = config.unwrap();
    assert!(!config.hub.watch_before_send);
    assert_eq!(config.hub.presence_grace, Duration::ZERO);
    assert_eq!(config.hub.presence_restart_grace, Duration::from_secs(600));
    assert_eq!(config.store.recall_within, Duration::from_secs(366 * 86_400));
    assert_eq!((config.store.group_members_max, config.store.devices_max), (1, 16));
    let members = GROUP_MEMBERS_SETTING_MAX;
    for (line, problem) in [
        ("watch_before_send = 1", "\"1\" is neither true nor false".into()),
        ("presence_grace = '601s'", "601s exceeds 10m".into()),
        ("presence_restart_grace = '601s'", "601s exceeds 10m".into()),
        ("recall_within = '367d'", "367d exceeds 366d".into()),
        ("group_members_max = 0", format!("0 is not within 1 to {members}")),
        ("devices_per_peer_max = 0", "0 is not within 1 to 16".into()),
        ("devices_per_peer_max = 17", "17 is not within 1 to 16".into()),
    ] {
        let (name, _) = line.split_once(" =").unwrap();
        assert_eq!(loaded(line).unwrap_err(), [format!("1: {name}: {problem}")]);
    }
    let one_more = loaded(&format!("group_members_max = {}", members + 1)).unwrap_err();
    assert!(one_more[0].contains("is not within"), "{one_more:?}");
}
