//! Bodies that receivers have had: they never change, and new ones are added.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use tidings::group::GroupChange;
use tidings::id::MessageId;
use tidings::store::{Ending, Entry, Placed};
use tidings::webhook::dialect::{Dialect, Style};
use tidings::webhook::event::{events, gap};

use crate::samples::{
    AT_MS, ID, bodies, changed, created, delivered, device, ended, message, opened, placed, read,
    recalled, stored, style, told, unacknowledged, upstream,
};

const JSON_TEXT: &[u8] = br#"{"type":"txt","msg":"hi \"bob\"","note":1,"deep":{"a":[1,2]}}"#;

/// Fails unless the bodies, each behind a line with its query, are those of the file.
fn check(name: &str, style: &Style, entries: &[Entry], found: &[Placed]) {
    check_bodies(name, &bodies(style, &told(style, entries, found)));
}

fn check_bodies(name: &str, bodies: &[(String, Bytes)]) {
    let mut all = Vec::new();
    for (query, body) in bodies {
        all.extend_from_slice(format!("?{query}\n").as_bytes());
        all.extend_from_slice(body);
        all.push(b'\n');
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let kept = fs::read(folder.join(format!("webhook-{name}.txt"))).unwrap();
    let (all, kept) = (String::from_utf8(all).unwrap(), String::from_utf8(kept).unwrap());
    assert_eq!(all, kept, "{name}");
}

/// A message of alice with nothing left out.
fn full() -> Entry {
    let mut message = message(&["bob"], JSON_TEXT);
    message.sequence = 1;
    message.receipt = true;
    message.expires_ms = AT_MS + 1_500;
    message.devices = vec![device("bobs-phone")];
    stored(message, &[])
}

/// A message of the group, and the peers that are away.
fn waiting() -> Entry {
    stored(message(&[], b"hi \xf0\x9f\x98\x80"), &[("bob", 3), ("dave-1", 1)])
}

/// A message that does not hold text.
fn binary() -> Entry {
    stored(message(&["bob", "carol"], b"\xff\0"), &[])
}

#[test]
fn tidings_tells_everything_as_it_always_has() {
    let style = style(Dialect::Tidings);
    let found = [placed(stored(message(&["bob"], b"hi"), &[]))];
    for (name, entries) in [
        ("message", vec![full()]),
        ("offline", vec![waiting()]),
        ("late", vec![unacknowledged()]),
        ("binary", vec![binary()]),
        ("delivered", vec![delivered()]),
        ("read", vec![read()]),
        ("recalled", vec![recalled()]),
        ("session", vec![opened(), ended(Ending::Lost)]),
        ("group", vec![created(), changed(GroupChange::Kicked, &["bob"])]),
        ("group-edited", vec![changed(GroupChange::Edited, &[])]),
        ("upstream", vec![upstream()]),
    ] {
        check(&format!("tidings-{name}"), &style, &entries, &found);
    }
    let gap = gap(MessageId(5), ID, AT_MS);
    check_bodies("tidings-gap", &bodies(&style, &style.fragments(&gap)));
}

#[test]
fn wukongim_tells_what_it_always_has() {
    let plain = style(Dialect::Wukongim);
    let found = [placed(stored(message(&["bob"], b"hi"), &[]))];
    for (name, entries) in [
        ("notify", vec![full(), binary(), stored(message(&[], b""), &[])]),
        ("offline", vec![waiting()]),
        ("late", vec![unacknowledged()]),
        ("status", vec![opened(), ended(Ending::Closed)]),
    ] {
        check(&format!("wukongim-{name}"), &plain, &entries, &found);
    }
    let array = Style { offline_array: true, ..plain };
    check("wukongim-offline-array", &array, &[waiting()], &[]);
}

#[test]
fn easemob_tells_what_it_always_has() {
    let style = style(Dialect::Easemob);
    let found = [placed(stored(message(&["bob"], b"hi"), &[]))];
    for (name, entries) in [
        ("chat", vec![full()]),
        ("groupchat", vec![binary()]),
        ("offline", vec![waiting()]),
        ("late", vec![unacknowledged()]),
        ("read", vec![read()]),
        ("recalled", vec![recalled()]),
        ("status", vec![opened(), ended(Ending::Replaced)]),
        ("group", vec![created(), changed(GroupChange::Kicked, &["bob"])]),
        ("group-deleted", vec![changed(GroupChange::Deleted, &["bob"])]),
    ] {
        check(&format!("easemob-{name}"), &style, &entries, &found);
    }
    let nested = Style { nested_ext: true, ..style };
    check("easemob-nested", &nested, &[full()], &[]);
}

#[test]
fn getui_tells_what_it_always_has() {
    let style = style(Dialect::Getui);
    check("getui-delivered", &style, &[delivered()], &[]);
    check("getui-upstream", &style, &[upstream()], &[]);
}

#[test]
fn a_ping_is_what_it_always_was() {
    for dialect in Dialect::ALL {
        let ping = style(dialect).ping(AT_MS);
        check_bodies(&format!("{dialect}-ping"), &[(ping.query, ping.body)]);
    }
}

#[test]
fn a_dialect_makes_fragments_of_the_kinds_that_it_speaks_and_no_others() {
    let entries = [
        full(),
        waiting(),
        delivered(),
        read(),
        recalled(),
        opened(),
        ended(Ending::Lost),
        created(),
        upstream(),
    ];
    for dialect in Dialect::ALL {
        let style = style(dialect);
        for event in entries.iter().flat_map(|entry| events(&placed(entry.clone()), &[])) {
            let says_it = !style.fragments(&event).is_empty();
            assert_eq!(says_it, dialect.speaks(event.kind), "{dialect} {}", event.kind);
        }
    }
}
