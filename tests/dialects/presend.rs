//! What back ends are asked about a message, and what they may answer.

use bytes::Bytes;
use serde_json::{Value, json};

use tidings::id::{ConversationId, DeviceFlag};
use tidings::presend::{Question, Verdict};
use tidings::webhook::dialect::{BadAnswer, Dialect, question, verdict};

use crate::receivers::{decode, easemob};
use crate::samples::{AT_MS, SECRET, device, peer, style};

fn asked(body: &'static [u8]) -> Question {
    Question {
        id: "q-1".into(),
        at_ms: AT_MS,
        from: peer("alice"),
        device: device("phone"),
        flag: DeviceFlag::Web,
        client: "acme/1.2".into(),
        address: "192.0.2.7:4433".into(),
        conversation: ConversationId::of_peers([&peer("alice"), &peer("bob")]),
        to: vec![peer("bob")],
        transient: false,
        receipt: true,
        ttl_ms: 1_000,
        client_msg_no: "n-1".into(),
        body: Bytes::from_static(body),
    }
}

fn answer(dialect: Dialect, status: u16, body: Value) -> Result<Verdict, BadAnswer> {
    verdict(dialect, &asked(b"hi"), status, body.to_string().as_bytes())
}

fn refused(code: &str) -> Result<Verdict, BadAnswer> {
    Ok(Verdict::Refuse(code.into()))
}

#[test]
fn our_question_says_what_is_known_of_the_send() {
    let outgoing = question(&style(Dialect::Tidings), &asked(b"hi"));
    assert_eq!((&*outgoing.query, outgoing.content_type), ("", "application/json"));
    let conversation = asked(b"").conversation.to_string();
    assert_eq!(
        decode::<Value>(&outgoing.body),
        json!({
            "id": "q-1", "type": "message.ask", "timestamp": "2026-01-01T00:00:00.123Z",
            "data": {
                "conversation": conversation, "from": "alice", "to": ["bob"], "device": "phone",
                "flag": "web", "client": "acme/1.2", "address": "192.0.2.7:4433",
                "transient": false, "receipt": true, "ttl_ms": 1000, "client_msg_no": "n-1",
                "text": "hi",
            },
        })
    );
}

#[test]
fn wukongims_question_is_the_documented_object() {
    let outgoing = question(&style(Dialect::Wukongim), &asked(b"hi"));
    assert_eq!(outgoing.query, "event=msg.before_send");
    assert_eq!(
        decode::<Value>(&outgoing.body),
        json!({
            "client_msg_no": "n-1", "channel_id": "bob", "channel_type": 1, "from_uid": "alice",
            "payload": "aGk=",
        })
    );
}

#[test]
fn easemobs_question_is_a_callback_without_a_type() {
    let outgoing = question(&style(Dialect::Easemob), &asked(b"hi"));
    let mut asked: Value = decode(&outgoing.body);
    assert_eq!(asked.get("eventType"), None);
    asked["eventType"] = json!("none");
    let asked: easemob::Callback = decode(asked.to_string().as_bytes());
    assert_eq!(asked.security, easemob::security(&asked.call_id, SECRET, AT_MS));
    assert_eq!((&*asked.call_id, &*asked.chat_type), ("acme#chat_q-1", "chat"));
    assert_eq!((&*asked.from, &*asked.to), ("alice", "bob"));
    assert_eq!(asked.payload.bodies[0].msg.as_deref(), Some("hi"));
}

#[test]
fn our_answer_allows_replaces_or_refuses() {
    let ours = |status, body| answer(Dialect::Tidings, status, body);
    let replaced = |body: &'static [u8]| Ok(Verdict::Replace(Bytes::from_static(body)));
    assert_eq!(ours(200, json!({"allow": true})), Ok(Verdict::Allow));
    assert_eq!(ours(202, json!({"allow": true, "more": 1})), Ok(Verdict::Allow));
    assert_eq!(ours(200, json!({"allow": true, "text": "ho"})), replaced(b"ho"));
    assert_eq!(ours(200, json!({"allow": true, "base64": "/wA="})), replaced(b"\xff\0"));
    assert_eq!(ours(200, json!({"allow": false, "code": "rude"})), refused("rude"));
    assert_eq!(ours(200, json!({"allow": false})), refused(""));
    for code in [json!(null), json!(42), json!(["rude"])] {
        let said = json!({"allow": false, "code": code, "text": 1, "base64": "?"});
        assert_eq!(ours(200, said), refused(""), "{code}");
        assert_eq!(ours(200, json!({"allow": true, "code": code})), Ok(Verdict::Allow), "{code}");
    }
    let long = "\u{e4}".repeat(200);
    assert_eq!(ours(200, json!({"allow": false, "code": long})), refused(&long[..200]));
    assert_eq!(ours(500, json!({"allow": true})), Err(BadAnswer::Status(500)));
    assert_eq!(ours(302, json!({"allow": true})), Err(BadAnswer::Status(302)));
    let long = "a".repeat(5121);
    assert_eq!(ours(200, json!({"allow": true, "text": long})), Err(BadAnswer::TooLong(5121)));
    for wrong in [
        json!({}),
        json!([true]),
        json!({"allow": 1}),
        json!({"allow": null, "code": "rude"}),
        json!({"allow": true, "text": 1}),
        json!({"allow": true, "text": "a", "base64": "YQ=="}),
        json!({"allow": true, "base64": "YQ"}),
    ] {
        assert!(matches!(ours(200, wrong.clone()), Err(BadAnswer::Body(_))), "{wrong}");
    }
    let nothing = verdict(Dialect::Tidings, &asked(b"hi"), 204, b"");
    assert!(matches!(nothing, Err(BadAnswer::Body(_))));
}

#[test]
fn wukongims_answer_has_a_code_of_its_range() {
    let its = |status, body| answer(Dialect::Wukongim, status, body);
    assert_eq!(its(200, json!({"allow": true})), Ok(Verdict::Allow));
    let replaced = Ok(Verdict::Replace(Bytes::from_static(b"ho")));
    assert_eq!(its(200, json!({"allow": true, "payload": "aG8="})), replaced);
    assert_eq!(its(200, json!({"allow": false, "reason_code": 128})), refused("128"));
    assert_eq!(its(200, json!({"allow": false, "reason_code": 255})), refused("255"));
    assert_eq!(its(200, json!({"allow": false})), refused(""));
    for code in [json!(0), json!(127), json!(256), json!(-1), json!("130"), json!(null)] {
        let said = json!({"allow": false, "reason_code": code, "payload": 1});
        assert_eq!(its(200, said), refused(""), "{code}");
        let said = json!({"allow": true, "reason_code": code, "payload": "aG8="});
        assert_eq!(its(200, said), replaced, "{code}");
    }
    for wrong in [json!({"allow": 1}), json!({}), json!({"allow": true, "payload": 1})] {
        assert!(matches!(its(200, wrong.clone()), Err(BadAnswer::Body(_))), "{wrong}");
    }
    assert_eq!(its(201, json!({"allow": true})), Err(BadAnswer::Status(201)));
}

#[test]
fn easemobs_answer_replaces_texts_as_they_were() {
    let its = |status, body| answer(Dialect::Easemob, status, body);
    assert_eq!(its(200, json!({"valid": true})), Ok(Verdict::Allow));
    assert_eq!(its(200, json!({"valid": true, "code": "x"})), Ok(Verdict::Allow));
    assert_eq!(its(200, json!({"valid": false, "code": "rude"})), refused("rude"));
    assert_eq!(its(200, json!({"valid": false})), refused("custom logic denied"));
    for code in [json!(null), json!(1)] {
        let said = json!({"valid": false, "code": code, "payload": 1});
        assert_eq!(its(200, said), refused("custom logic denied"), "{code}");
        assert_eq!(its(200, json!({"valid": true, "code": code})), Ok(Verdict::Allow), "{code}");
    }
    let blocked = refused("Message blocked by external logic");
    assert_eq!(its(200, json!({"valid": false, "code": ""})), blocked);
    assert_eq!(its(202, json!({"valid": true})), Err(BadAnswer::Status(202)));
    assert!(matches!(its(200, json!({"code": "x"})), Err(BadAnswer::Body(_))));
    let payload = json!({"bodies": [{"type": "txt", "msg": "ho"}], "ext": {}});
    let answer = json!({"valid": true, "payload": payload}).to_string();
    for (body, becomes) in [
        (&b"hi"[..], "ho"),
        (br#"{"type":"txt","msg":"hi","n":1}"#, r#"{"msg":"ho","n":1,"type":"txt"}"#),
        (br#"{"type":1}"#, "ho"),
    ] {
        let verdict = verdict(Dialect::Easemob, &asked(body), 200, answer.as_bytes());
        assert_eq!(verdict, Ok(Verdict::Replace(becomes.into())));
    }
    let plain = its(200, json!({"valid": true, "payload": "ho"}));
    assert_eq!(plain, Ok(Verdict::Replace("ho".into())));
    for wrong in [json!({"bodies": []}), json!({"bodies": [{"type": "img"}]}), json!(1)] {
        let verdict = its(200, json!({"valid": true, "payload": wrong}));
        assert!(matches!(verdict, Err(BadAnswer::Body(_))), "{wrong}");
    }
}
