//! What back ends answer to a question about a message.
//!
//! The first byte of an input says in which dialect, the second what the message was.
//!
//! # Invariants
//!
//! * A body that replaces another is no longer than a message may be, and a code no longer than
//!   the text of a reason.
//! * What has a status that is no success is no answer.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidings::id::{ConversationId, DeviceFlag, DeviceId, PeerId};
use tidings::limits::{BODY_BYTES_MAX, REASON_TEXT_BYTES_MAX};
use tidings::presend::{Question, Verdict};
use tidings::webhook::dialect::{Dialect, verdict};

const DIALECTS: [Dialect; 4] =
    [Dialect::Tidings, Dialect::Wukongim, Dialect::Easemob, Dialect::Getui];
const BODIES: [&str; 3] = ["hi", r#"{"type":"txt","msg":"hi"}"#, r#"{"type":"img"}"#];

fuzz_target!(|input: &[u8]| {
    let [dialect, body, answer @ ..] = input else { return };
    let dialect = DIALECTS[usize::from(*dialect) % DIALECTS.len()];
    let question = question(BODIES[usize::from(*body) % BODIES.len()]);
    assert!(verdict(dialect, &question, 500, answer).is_err());
    let Ok(said) = verdict(dialect, &question, 200, answer) else { return };
    match &said {
        Verdict::Replace(body) => assert!(body.len() <= BODY_BYTES_MAX),
        Verdict::Refuse(code) => assert!(code.len() <= REASON_TEXT_BYTES_MAX),
        Verdict::Allow => {}
        Verdict::Unasked => panic!("an answer that was read is one"),
    }
    assert_eq!(verdict(dialect, &question, 200, answer), Ok(said), "it is read the same again");
});

fn question(body: &'static str) -> Question {
    let [alice, bob] = ["alice", "bob"].map(|name| PeerId::new(name).unwrap());
    Question {
        id: "q".into(),
        at_ms: 1_767_225_600_000,
        conversation: ConversationId::of_peers([&alice, &bob]),
        from: alice,
        to: vec![bob],
        device: DeviceId::new("phone").unwrap(),
        flag: DeviceFlag::App,
        client: String::new(),
        address: String::new(),
        transient: false,
        receipt: false,
        ttl_ms: 0,
        client_msg_no: String::new(),
        body: Bytes::from_static(body.as_bytes()),
    }
}
