//! Whatever is said, by whomever: receivers parse what they are told, and find it unchanged.

use proptest::prelude::*;

use tidings::id::{ConversationId, DeviceFlag, MessageId};
use tidings::limits::{ENDPOINT_LANES, EVENT_PEERS_MAX, LETTER_BYTES_MAX};
use tidings::store::{Absent, Counts, Entry, Message, Placed};
use tidings::webhook::dialect::{Dialect, Fragment, Style};
use tidings::webhook::event::events;

use crate::receivers::{decode, decoded, easemob, getui, ours, wukongim};
use crate::samples::{
    GROUP, ID, SECRET, bodies, device, message, opened, peer, placed, read, stored, style, told,
};

fn id() -> impl Strategy<Value = String> {
    prop_oneof!["[^:\\p{Cc}]{1,16}", "[-\"\\\\a{}]{1,16}"]
}

/// A body: any bytes, any text, or an object with fields that contents have, of any value.
fn said() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        (-1e300..1e300).prop_map(|number: f64| serde_json::json!(number).to_string()),
        "\\PC{0,8}".prop_map(|text| serde_json::json!(text).to_string()),
        Just("null".to_owned()),
        Just(r#"{"width":10,"height":99999999999}"#.to_owned()),
        Just(r#"[{"a":{"b":1}}]"#.to_owned()),
    ];
    let name = prop::sample::select(vec![
        "msg",
        "url",
        "secret",
        "filename",
        "file_length",
        "size",
        "length",
        "thumb",
        "lat",
        "lng",
        "addr",
        "action",
        "customEvent",
        "customExts",
        "ext",
        "own",
    ]);
    let kind = prop::sample::select(vec![
        "txt", "img", "audio", "video", "file", "loc", "cmd", "custom", "other",
    ]);
    let must = r#""msg":"m","url":"u","lat":1.5,"lng":2,"action":"a","customEvent":"c""#;
    let object = (kind, any::<bool>(), prop::collection::vec((name, value), 0..6)).prop_map(
        move |(kind, complete, fields)| {
            let mut text = format!(r#"{{"type":"{kind}""#);
            if complete {
                text = format!("{text},{must}");
            }
            for (name, value) in fields {
                text = format!(r#"{text},"{name}":{value}"#);
            }
            format!("{text}}}").into_bytes()
        },
    );
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        "\\PC{0,64}".prop_map(String::into_bytes),
        ".{0,64}".prop_map(String::into_bytes),
        object,
    ]
}

fn any_message() -> impl Strategy<Value = Message> {
    let peers = prop::collection::btree_set(id(), 0..4);
    let ids = (id(), peers, prop::collection::vec(id(), 0..3), ".{0,16}");
    let numbers = (1..i64::MAX, 1..u32::MAX, 0..i64::MAX, any::<bool>(), 0..i64::MAX);
    (ids, numbers, said()).prop_map(|((from, to, devices, number), numbers, body)| {
        let (id, sequence, at_ms, receipt, expires_ms) = numbers;
        let (from, to) = (peer(&from), to.iter().map(|to| peer(to)).collect::<Vec<_>>());
        let conversation = match to.is_empty() {
            true => ConversationId::Group(GROUP),
            false => ConversationId::of_peers(to.iter().chain([&from])),
        };
        let devices = devices.iter().map(|text| device(text)).collect();
        Message {
            id: MessageId(id),
            conversation,
            from,
            to,
            devices,
            sequence,
            at_ms,
            expires_ms,
            receipt,
            client_msg_no: number.into(),
            body: body.into(),
        }
    })
}

fn any_absent() -> impl Strategy<Value = Vec<(String, u32)>> {
    let peers = prop::collection::btree_map(id(), any::<u32>(), 1..5);
    peers.prop_map(|peers| peers.into_iter().collect())
}

/// The message, and for whom it waits.
fn entry(message: &Message, absent: &[(String, u32)]) -> Placed {
    let absent: Vec<_> = absent.iter().map(|(peer, n)| (peer.as_str(), *n)).collect();
    let at_ms = message.at_ms;
    Placed { id: message.id, at_ms, entry: stored(message.clone(), &absent) }
}

/// What is told of an entry; twice the same.
fn told_of(style: &Style, placed: &Placed) -> Vec<Fragment> {
    let tell = || -> Vec<Fragment> {
        events(placed, &[]).iter().flat_map(|event| style.fragments(event)).collect()
    };
    let fragments = tell();
    assert_eq!(fragments, tell());
    for pair in fragments.windows(2) {
        assert!(pair[0].position < pair[1].position);
        assert_ne!(pair[0].event, pair[1].event);
    }
    assert!(fragments.iter().all(|fragment| usize::from(fragment.lane) < ENDPOINT_LANES));
    fragments
}

/// What our own dialect says that a message said.
fn said_by(data: &serde_json::Value) -> Vec<u8> {
    match (data.get("text"), data.get("base64")) {
        (Some(text), None) => text.as_str().unwrap().as_bytes().to_vec(),
        (None, Some(text)) => decoded(text.as_str().unwrap()),
        _ => panic!("not one of text and base64: {data}"),
    }
}

proptest! {
    #[test]
    fn ours_are_read_as_they_were_said(message in any_message(), absent in any_absent()) {
        let style = style(Dialect::Tidings);
        let fragments = told_of(&style, &entry(&message, &absent));
        let [(query, body)] = &bodies(&style, &fragments)[..] else { panic!("one request") };
        prop_assert_eq!(query, "");
        let told: ours::Events = decode(body);
        prop_assert_eq!(told.kind, "events");
        prop_assert!(told.timestamp.ends_with('Z'));
        let [first, .., last] = &told.events[..] else { panic!("two events") };
        prop_assert_eq!((&*first.kind, &*last.kind), ("message.sent", "message.offline"));
        prop_assert_eq!(&first.id, &format!("{}-0", message.id));
        prop_assert_eq!(&last.id, &format!("{}-2", message.id));
        for event in [first, last] {
            prop_assert_eq!(&event.version, &message.id.to_string());
            prop_assert_eq!(event.at_ms, message.at_ms);
            prop_assert_eq!(event.data["from"].as_str(), Some(message.from.as_str()));
            prop_assert_eq!(said_by(&event.data), message.body.to_vec());
        }
        for (told, (peer, waiting)) in
            last.data["recipients"].as_array().unwrap().iter().zip(&absent)
        {
            prop_assert_eq!(told["peer"].as_str(), Some(&**peer));
            prop_assert_eq!(told["badge"].as_u64(), Some(u64::from(*waiting)));
        }
    }

    #[test]
    fn receivers_of_wukongim_read_what_was_said(
        message in any_message(), absent in any_absent(), over in prop::option::of(0..4_usize),
    ) {
        let style = Style { gzip_over: over, ..style(Dialect::Wukongim) };
        let fragments = told_of(&style, &entry(&message, &absent));
        let [(notify, one), (offline, other)] = &bodies(&style, &fragments)[..] else {
            panic!("two requests")
        };
        prop_assert_eq!((&**notify, &**offline), ("event=msg.notify", "event=msg.offline"));
        let told: Vec<wukongim::Message> = decode(one);
        let waiting: wukongim::Offline = decode(other);
        let recipients: Vec<String> = absent.iter().map(|(peer, _)| peer.clone()).collect();
        prop_assert_eq!(waiting.recipients(), recipients);
        let compresses = over.is_some_and(|over| over > 0 && absent.len() > over);
        prop_assert_eq!(waiting.is_compressed(), compresses);
        prop_assert_eq!(waiting.source_id, 1);
        for told in [&told[0], &waiting.message] {
            prop_assert_eq!(told.message_id, message.id.0);
            prop_assert_eq!(&told.message_idstr, &message.id.to_string());
            prop_assert_eq!(told.client_msg_no.as_bytes(), &*message.client_msg_no);
            prop_assert_eq!(told.message_seq, message.sequence);
            prop_assert_eq!(&told.from_uid, message.from.as_str());
            prop_assert_eq!(&told.payload, &message.body.to_vec());
            let (channel, kind) = match &message.to[..] {
                [only] => (only.to_string(), 1),
                _ => (message.conversation.to_string(), 2),
            };
            prop_assert_eq!((&told.channel_id, told.channel_type), (&channel, kind));
            prop_assert_eq!(told.setting, if message.receipt { 128 } else { 0 });
            let header = [told.header.no_persist, told.header.red_dot, told.header.sync_once];
            prop_assert_eq!(header, [0, 1, 0]);
            prop_assert_eq!(told.expire == 0, message.expires_ms == 0);
            let seconds = message.at_ms / 1000;
            prop_assert_eq!(i64::from(told.timestamp), seconds.min(i64::from(i32::MAX)));
        }
    }

    #[test]
    fn a_status_is_read_from_the_right(
        who in id(), flag in 0_u8..3, same in any::<u32>(), all in any::<u32>(),
    ) {
        let Entry::Opened { mut opening, .. } = opened() else { unreachable!() };
        (opening.peer, opening.flag) = (peer(&who), DeviceFlag::from_number(flag).unwrap());
        let counts = Counts { same_flag: same, all };
        let style = style(Dialect::Wukongim);
        let fragments = told_of(&style, &placed(Entry::Opened { opening, counts }));
        let (_, body) = &bodies(&style, &fragments)[0];
        let [text] = &decode::<Vec<String>>(body)[..] else { panic!("one status") };
        let numbers = [flag.into(), 1, ID.0, same.into(), all.into()];
        prop_assert_eq!(wukongim::status(text), (who, numbers));
    }

    #[test]
    fn receivers_of_easemob_parse_whatever_was_said(
        message in any_message(), absent in any_absent(), app in "\\PC{0,16}",
    ) {
        let style = Style { app_id: app.clone(), ..style(Dialect::Easemob) };
        let fragments = told_of(&style, &entry(&message, &absent));
        let bodies = bodies(&style, &fragments);
        prop_assert_eq!(bodies.len(), 1 + absent.len());
        for (index, (query, body)) in bodies.iter().enumerate() {
            prop_assert_eq!(query, "");
            let told: easemob::Callback = decode(body);
            let start = format!("{app}_");
            prop_assert!(told.call_id.starts_with(&start));
            let security = easemob::security(&told.call_id, SECRET, told.timestamp);
            prop_assert_eq!(told.security, security);
            prop_assert_eq!(told.payload.bodies.len(), 1);
            prop_assert_eq!(&told.from, message.from.as_str());
            prop_assert_eq!(&told.msg_id, &message.id.to_string());
            let is_chat = matches!(&message.to[..], [_]);
            prop_assert_eq!(&told.chat_type, if is_chat { "chat" } else { "groupchat" });
            prop_assert_eq!(told.group_id.is_empty(), is_chat);
            match index.checked_sub(1) {
                None => prop_assert_eq!(&told.event_type, "chat"),
                Some(index) => {
                    prop_assert_eq!(&told.event_type, "chat_offline");
                    prop_assert_eq!(&told.to, &absent[index].0);
                }
            }
        }
    }

    #[test]
    fn receivers_of_getui_know_the_line_of_a_delivery(
        app in "[^\\p{Cc}]{0,16}", who in id(), cid in id(), ids in 1..i64::MAX,
    ) {
        let style = Style { app_id: app.clone(), ..style(Dialect::Getui) };
        let delivered = Entry::Delivered {
            to: peer("alice"),
            by: peer(&who),
            device: device(&cid),
            conversation: ConversationId::Group(GROUP),
            sequence: 9,
            messages: vec![MessageId(ids), MessageId(1)],
        };
        let fragments = told_of(&style, &placed(delivered));
        let (_, body) = &bodies(&style, &fragments)[0];
        let lines = getui::lines(body, SECRET);
        prop_assert_eq!(lines.len(), 2);
        let line = &lines[0];
        prop_assert_eq!((&line.appid, &line.cid, &line.peer), (&app, &cid, &who));
        prop_assert_eq!((&line.msgid, &line.taskid), (&ids.to_string(), &ids.to_string()));
        prop_assert_eq!((&*line.code, &*line.desc, &*line.action_id), ("200", "ok", "0"));
        prop_assert_eq!(line.recvtime, crate::samples::AT_MS);
    }
}

#[test]
fn what_a_client_says_to_the_back_end_is_read_as_it_was_said() {
    for body in [&b"a\nb"[..], b"\xff\0"] {
        let new = tidings::store::NewUpstream {
            from: peer("alice"),
            number: crate::samples::number(),
            body: bytes::Bytes::copy_from_slice(body),
        };
        let entry = placed(Entry::Upstream(new));
        let getui = style(Dialect::Getui);
        let fragments = told_of(&getui, &entry);
        assert_eq!(fragments[0].upstream, Some(ID));
        let line = &getui::lines(&bodies(&getui, &fragments)[0].1, SECRET)[0];
        assert_eq!((&*line.action_id, &*line.peer), ("90000", "alice"));
        let said = line.text.clone().map(String::into_bytes);
        assert_eq!(said.unwrap_or_else(|| decoded(line.base64.as_ref().unwrap())), body);
        let ours = style(Dialect::Tidings);
        let fragments = told_of(&ours, &entry);
        assert_eq!(fragments[0].upstream, Some(ID));
        let told: ours::Events = decode(&bodies(&ours, &fragments)[0].1);
        assert_eq!(said_by(&told.events[0].data), body);
    }
}

#[test]
fn receivers_of_easemob_read_media_and_statuses() {
    let style = style(Dialect::Easemob);
    let video = br#"{"type":"video","url":"u","secret":"s","filename":"f","file_length":4000000000,
        "length":10,"size":{"width":1,"height":2},"thumb":"t","thumb_secret":"ts",
        "ext":{"a":1,"b":[1]},"c":true}"#;
    let fragments = told(&style, &[stored(message(&["bob"], video), &[])], &[]);
    let told: easemob::Callback = decode(&bodies(&style, &fragments)[0].1);
    let [body] = &told.payload.bodies[..] else { panic!("one body") };
    let texts = [&body.url, &body.secret, &body.filename, &body.thumb, &body.thumb_secret];
    assert_eq!(texts.map(Option::as_deref), ["u", "s", "f", "t", "ts"].map(Some));
    assert_eq!((&*body.kind, &body.msg, &body.action), ("video", &None, &None));
    // Four gigabytes do not fit, and are left out.
    assert_eq!((body.length, body.file_length), (10, 0));
    let size = body.size.as_ref().unwrap();
    assert_eq!((size.width, size.height), (1, 2));
    let ext = &told.payload.ext;
    assert_eq!(ext["a"], easemob::Scalar::Whole(1));
    assert_eq!(ext["b"], easemob::Scalar::Text("[1]".into()));
    assert_eq!(ext["c"], easemob::Scalar::Truth(true));
    assert_eq!(ext.len(), 3);

    let fragments = crate::samples::told(&style, &[opened()], &[]);
    let told: easemob::Status = decode(&bodies(&style, &fragments)[0].1);
    assert_eq!(told.security, easemob::security(&told.call_id, SECRET, told.timestamp));
    assert_eq!(told.user, "acme#chat_alice@easemob.com/web_phone");
    let texts = [told.reason, told.status, told.os, told.ip, told.appkey, told.version];
    assert_eq!(texts, ["login", "online", "web", "192.0.2.7:4433", "acme#chat", "acme/1.2"]);
    assert_eq!(told.host, "tidings");

    let fragments = crate::samples::told(&style, &[read()], &[]);
    let told: easemob::Callback = decode(&bodies(&style, &fragments)[0].1);
    assert_eq!((&*told.event_type, &*told.chat_type), ("chat", "read_ack"));
}

#[test]
fn no_event_is_longer_than_a_dead_letter_may_be() {
    let peers: Vec<String> = (0..1000).map(|n| format!("{n:04}{}", "\"".repeat(60))).collect();
    let mut long = message(&[], &[1; 5120]);
    long.client_msg_no = vec![1; 64].into();
    let absent: Vec<Absent> =
        peers.iter().map(|text| Absent { peer: peer(text), waiting: u32::MAX }).collect();
    let Entry::Message { message, origin, hash, .. } = stored(long, &[]) else { unreachable!() };
    let push = vec![1; 256].into();
    let entry = placed(Entry::Message { message, origin, hash, push, absent });
    for dialect in Dialect::ALL {
        let style = style(dialect);
        let fragments = told_of(&style, &entry);
        let events = match dialect {
            Dialect::Tidings | Dialect::Wukongim => 1 + 1000_usize.div_ceil(EVENT_PEERS_MAX),
            Dialect::Easemob => 1001,
            Dialect::Getui => 0,
        };
        assert_eq!(fragments.len(), events, "{dialect}");
        for fragment in fragments {
            let body = style.body(&[fragment]).body;
            assert!(body.len() < LETTER_BYTES_MAX, "{dialect}: {}", body.len());
        }
    }
}
