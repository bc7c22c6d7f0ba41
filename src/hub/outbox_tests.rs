//! What the outbox promises to senders that must not wait and to a reader that may be slow.

use super::*;
use crate::id::ConversationId;
use crate::limits::{FEED_MESSAGES_MAX, MARKS_WAITING_MAX};
use crate::wire::{Decoder, ServerFrame};

const HEAD: MessageId = MessageId(1_000_000);

/// An outbox of an open session that has caught up with an empty log.
fn live() -> Outbox {
    let outbox = Outbox::default();
    outbox.open(MessageId::NONE, None);
    outbox.feed(std::iter::empty(), MessageId::NONE, Some(MessageId::NONE));
    outbox
}

fn frame(id: i64) -> Vec<u8> {
    format!("{id},").into_bytes()
}

/// Delivers; what matters to the caller shows in what is written.
fn put(outbox: &Outbox, id: i64) {
    let _ = deliver(outbox, id);
}

fn deliver(outbox: &Outbox, id: i64) -> Pushed {
    outbox.deliver(MessageId(id), &frame(id))
}

fn feed(outbox: &Outbox, ids: &[i64], last: i64, caught_up: Option<i64>) {
    let frames: Vec<_> = ids.iter().map(|id| (MessageId(*id), frame(*id))).collect();
    let frames = frames.iter().map(|(id, frame)| (*id, frame.as_slice()));
    outbox.feed(frames, MessageId(last), caught_up.map(MessageId));
}

/// All that there is to write, as text.
fn written(outbox: &Outbox) -> String {
    let mut all = Vec::new();
    while let Next::Write(bytes) = outbox.next() {
        all.extend_from_slice(&bytes);
    }
    String::from_utf8(all).unwrap()
}

fn feeds_after(outbox: &Outbox) -> Option<i64> {
    match outbox.next() {
        Next::Feed(after) => Some(after.0),
        _ => None,
    }
}

#[test]
fn frames_leave_in_the_order_in_which_they_were_pushed() {
    let outbox = live();
    assert_eq!(deliver(&outbox, 1), Pushed::Wake);
    assert_eq!(outbox.push(false, |buffer| buffer.extend_from_slice(b"answer,")), Pushed::Quiet);
    assert_eq!(deliver(&outbox, 2), Pushed::Quiet);
    assert_eq!(written(&outbox), "1,answer,2,");
    assert!(matches!(outbox.next(), Next::Wait));
    assert_eq!(deliver(&outbox, 3), Pushed::Wake);
}

#[test]
fn a_session_that_opens_reads_its_inbox_from_its_cursor_before_anything_live() {
    let outbox = Outbox::default();
    assert_eq!(deliver(&outbox, 1), Pushed::Passed, "nothing goes to a session that is not open");
    outbox.open(MessageId(7), None);
    assert_eq!(feeds_after(&outbox), Some(7));
    assert_eq!(deliver(&outbox, 10), Pushed::Passed);
    feed(&outbox, &[8, 9, 10], 10, Some(10));
    assert_eq!(written(&outbox), "8,9,10,");
    assert_eq!(deliver(&outbox, 10), Pushed::Passed, "the inbox has given it already");
    assert_eq!(deliver(&outbox, 11), Pushed::Wake);
    assert_eq!(written(&outbox), "11,");
}

#[test]
fn a_session_stays_behind_until_its_feeder_has_passed_what_the_dispatcher_handed_out() {
    let outbox = Outbox::default();
    outbox.open(MessageId::NONE, None);
    put(&outbox, 20);
    feed(&outbox, &[10], 10, Some(15));
    written(&outbox);
    assert_eq!(feeds_after(&outbox), Some(15));
    assert_eq!(deliver(&outbox, 30), Pushed::Passed);
    feed(&outbox, &[20, 30], 30, Some(30));
    assert_eq!(written(&outbox), "20,30,");
    assert_eq!(deliver(&outbox, 31), Pushed::Wake);
}

#[test]
fn a_page_that_is_not_the_last_keeps_the_session_behind() {
    let outbox = Outbox::default();
    outbox.open(MessageId::NONE, None);
    feed(&outbox, &[1, 2], 2, None);
    written(&outbox);
    assert_eq!(feeds_after(&outbox), Some(2));
}

#[test]
fn ids_never_fall_nor_repeat_whatever_is_fed() {
    let outbox = Outbox::default();
    outbox.open(MessageId::NONE, None);
    feed(&outbox, &[1, 2, 3], 3, None);
    feed(&outbox, &[2, 3, 4], 4, Some(4));
    assert_eq!(written(&outbox), "1,2,3,4,");
}

#[test]
fn a_full_outbox_takes_256_messages_and_passes_over_the_next_without_waiting() {
    let outbox = live();
    for id in 1..=OUTBOX_FRAMES_MAX as i64 {
        assert_ne!(deliver(&outbox, id), Pushed::Passed);
    }
    let one_over = OUTBOX_FRAMES_MAX as i64 + 1;
    assert_eq!(deliver(&outbox, one_over), Pushed::Passed);
    let text = written(&outbox);
    assert_eq!(text.split_terminator(',').count(), OUTBOX_FRAMES_MAX);
    assert_eq!(feeds_after(&outbox), Some(one_over - 1), "what was passed over is in the inbox");
    feed(&outbox, &[one_over], one_over, Some(one_over));
    assert_eq!(written(&outbox), format!("{one_over},"));
    assert_eq!(deliver(&outbox, one_over + 1), Pushed::Wake);
}

#[test]
fn an_outbox_holds_no_byte_more_than_its_bound() {
    let outbox = live();
    let half = vec![b'x'; OUTBOX_BYTES_MAX / 2];
    assert_eq!(outbox.deliver(MessageId(1), &half), Pushed::Wake);
    assert_eq!(outbox.deliver(MessageId(2), &half), Pushed::Quiet);
    assert_eq!(outbox.deliver(MessageId(3), b"x"), Pushed::Passed);
    assert_eq!(written(&outbox).len(), OUTBOX_BYTES_MAX);
}

#[test]
fn transient_messages_do_without_a_place_in_a_full_outbox_and_leave_it_live() {
    let outbox = live();
    for _ in 0..OUTBOX_FRAMES_MAX {
        assert_ne!(outbox.transient(b"t"), Pushed::Passed);
    }
    assert_eq!(outbox.transient(b"t"), Pushed::Passed);
    written(&outbox);
    assert!(matches!(outbox.next(), Next::Wait));
}

#[test]
fn large_contents_leave_in_parts_without_losing_a_byte_or_the_count_of_frames() {
    let outbox = live();
    let frames = 40;
    for id in 1..=frames {
        let _ = outbox.deliver(MessageId(id), &vec![id as u8; 5_000]);
    }
    let mut sizes = Vec::new();
    let mut all = Vec::new();
    while let Next::Write(bytes) = outbox.next() {
        sizes.push(bytes.len());
        all.extend_from_slice(&bytes);
    }
    assert!(sizes.iter().all(|size| *size <= BATCH_BYTES_MAX), "{sizes:?}");
    let expected: Vec<u8> = (1..=frames).flat_map(|id| vec![id as u8; 5_000]).collect();
    assert!(all == expected);
    for id in 0..OUTBOX_FRAMES_MAX as i64 {
        assert_ne!(deliver(&outbox, frames + 1 + id), Pushed::Passed);
    }
}

#[test]
fn only_what_was_put_to_the_session_may_be_acknowledged() {
    let outbox = Outbox::default();
    outbox.open(MessageId(5), None);
    assert_ne!(outbox.acknowledge(MessageId(5)), Acked::Future);
    assert_eq!(outbox.acknowledge(MessageId(6)), Acked::Future);
    feed(&outbox, &[6], 9, Some(9));
    assert_ne!(outbox.acknowledge(MessageId(6)), Acked::Future);
    assert_eq!(outbox.acknowledge(MessageId(7)), Acked::Future, "looked at, but for somebody else");
    put(&outbox, 12);
    assert_ne!(outbox.acknowledge(MessageId(12)), Acked::Future);
}

#[test]
fn what_the_window_gave_up_is_told_between_the_messages_before_and_after_it() {
    let outbox = Outbox::default();
    outbox.open(MessageId::NONE, Some((MessageId(5), Bytes::from_static(b"dropped,"))));
    assert_eq!(feeds_after(&outbox), Some(0));
    feed(&outbox, &[1, 2], 2, None);
    assert_eq!(written(&outbox), "1,2,");
    assert_eq!(
        outbox.acknowledge(MessageId(5)),
        Acked::Future,
        "acknowledging it would acknowledge 3 and 4 as well"
    );
    feed(&outbox, &[3, 4, 6, 7], 7, Some(HEAD.0));
    assert_eq!(written(&outbox), "3,4,dropped,6,7,");
    assert_ne!(outbox.acknowledge(MessageId(7)), Acked::Future);
    assert_eq!(outbox.acknowledge(MessageId(8)), Acked::Future);
}

#[test]
fn a_loss_is_told_when_nothing_waits_behind_it() {
    let outbox = Outbox::default();
    outbox.open(MessageId(2), Some((MessageId(5), Bytes::from_static(b"dropped,"))));
    feed(&outbox, &[], 2, Some(HEAD.0));
    assert_eq!(written(&outbox), "dropped,");
    assert_ne!(outbox.acknowledge(MessageId(5)), Acked::Future);
    assert_eq!(feeds_after(&outbox), None);
}

#[test]
fn a_request_too_many_without_an_answer_is_not_read_and_an_answer_makes_room() {
    let outbox = live();
    for _ in 0..SENDS_REMEMBERED {
        assert!(outbox.reserve_answer());
    }
    assert!(!outbox.reserve_answer());
    let _ = outbox.push(true, |buffer| buffer.extend_from_slice(b"a"));
    assert!(outbox.reserve_answer());
}

#[test]
fn who_does_not_read_answers_is_not_read_from() {
    let outbox = live();
    for _ in 0..OUTBOX_FRAMES_MAX {
        let _ = outbox.transient(b"t");
    }
    assert!(!outbox.reserve_answer());
    written(&outbox);
    assert!(outbox.reserve_answer());
}

#[tokio::test]
async fn writing_makes_room_for_who_waits_for_a_place() {
    let outbox = live();
    for _ in 0..OUTBOX_FRAMES_MAX {
        let _ = outbox.transient(b"t");
    }
    assert!(!outbox.reserve_answer());
    written(&outbox);
    // Told before it waited: no wake-up is lost.
    outbox.room().await;
    assert!(outbox.reserve_answer());
}

#[test]
fn a_finished_session_ends_only_when_every_request_has_been_answered() {
    let outbox = live();
    assert!(outbox.reserve_answer());
    outbox.finish();
    assert!(matches!(outbox.next(), Next::Wait));
    assert_eq!(outbox.push(true, |buffer| buffer.extend_from_slice(b"answer")), Pushed::Wake);
    assert_eq!(written(&outbox), "answer");
    assert!(matches!(outbox.next(), Next::Finish));
    assert_eq!(outbox.ended(), None);
}

#[test]
fn a_finished_session_is_delivered_nothing_that_would_hold_up_its_end() {
    let outbox = live();
    assert!(outbox.reserve_answer());
    outbox.finish();
    assert_eq!(deliver(&outbox, 1), Pushed::Passed);
    assert_eq!(outbox.transient(b"typing,"), Pushed::Passed);
    assert_eq!(outbox.push(true, |buffer| buffer.extend_from_slice(b"answer,")), Pushed::Wake);
    assert_eq!(written(&outbox), "answer,");
    assert!(matches!(outbox.next(), Next::Finish));
}

#[test]
fn an_ended_session_writes_what_it_has_takes_nothing_more_and_keeps_its_first_reason() {
    let outbox = live();
    put(&outbox, 1);
    outbox.end(Reason::Replaced);
    outbox.end(Reason::TooSlow);
    assert_eq!(deliver(&outbox, 2), Pushed::Passed);
    assert_eq!(written(&outbox), "1,");
    assert!(matches!(outbox.next(), Next::Finish));
    assert_eq!(outbox.ended(), Some(Reason::Replaced));
}

#[test]
fn a_page_of_the_inbox_fits_an_outbox_that_has_been_written() {
    let outbox = Outbox::default();
    outbox.open(MessageId::NONE, None);
    let ids: Vec<i64> = (1..=FEED_MESSAGES_MAX as i64).collect();
    feed(&outbox, &ids, ids.len() as i64, Some(ids.len() as i64));
    assert_eq!(written(&outbox).split_terminator(',').count(), FEED_MESSAGES_MAX);
    assert_eq!(deliver(&outbox, 1_000), Pushed::Wake);
}

#[test]
fn an_acknowledgement_that_says_nothing_new_is_passed_over() {
    let outbox = Outbox::default();
    outbox.open(MessageId(5), None);
    feed(&outbox, &[6, 7], 9, Some(9));
    assert_eq!(outbox.acknowledge(MessageId(7)), Acked::New);
    assert_eq!(outbox.acknowledge(MessageId(7)), Acked::Repeated);
    assert_eq!(outbox.acknowledge(MessageId(6)), Acked::Repeated);
    assert_eq!(outbox.acked(), MessageId(7));
}

/// A mark of how far peer `p` has read.
fn mark(conversation: u8, sequence: u32) -> Mark {
    let conversation = ConversationId::Peers([conversation; 16]);
    Mark { conversation, peer: peer("p"), read: true, sequence, at_ms: 1 }
}

fn peer(id: &str) -> PeerId {
    id.parse().unwrap()
}

fn push(outbox: &Outbox, frame: impl Into<ServerFrame>) -> Pushed {
    let frame = frame.into();
    outbox.push(false, |buffer| frame.encode(buffer))
}

fn pong(request: u64) -> crate::wire::Pong {
    crate::wire::Pong { request, at_ms: 0 }
}

/// All that there is to write, frame by frame.
fn frames(outbox: &Outbox) -> Vec<String> {
    let mut decoder = Decoder::new(crate::limits::FRAME_BYTES_MAX);
    let mut frames = Vec::new();
    while let Next::Write(bytes) = outbox.next() {
        decoder.push(bytes);
        while let Some(raw) = decoder.next_frame().unwrap() {
            frames.push(match ServerFrame::decode(raw).unwrap() {
                ServerFrame::Pong(pong) => format!("pong {}", pong.request),
                ServerFrame::Read(read) => format!("read {}", read.sequence),
                ServerFrame::Delivered(delivered) => format!("delivered {}", delivered.sequence),
                ServerFrame::Presence(told) => {
                    format!("on {:?} off {:?}", told.online, told.offline)
                }
                other => panic!("{other:?}"),
            });
        }
    }
    frames
}

#[test]
fn a_later_mark_takes_the_place_of_the_one_before_it() {
    let outbox = live();
    assert_eq!(outbox.mark(mark(1, 1)), Pushed::Wake);
    assert_eq!(outbox.mark(mark(2, 7)), Pushed::Quiet);
    assert_eq!(outbox.mark(Mark { read: false, ..mark(1, 9) }), Pushed::Quiet);
    assert_eq!(outbox.mark(mark(1, 8)), Pushed::Quiet);
    assert_eq!(frames(&outbox), ["read 8", "read 7", "delivered 9"]);
    assert!(matches!(outbox.next(), Next::Wait));
    assert_eq!(outbox.mark(mark(1, 9)), Pushed::Wake);
}

#[test]
fn a_mark_leaves_behind_what_was_pushed_before_it_and_before_what_came_after() {
    let outbox = live();
    let _ = push(&outbox, pong(1));
    assert_eq!(outbox.mark(mark(1, 1)), Pushed::Quiet);
    let _ = push(&outbox, pong(2));
    assert_eq!(outbox.mark(mark(2, 2)), Pushed::Quiet);
    assert_eq!(frames(&outbox), ["pong 1", "read 1", "read 2", "pong 2"]);
}

#[test]
fn a_mark_among_much_that_leaves_in_parts_keeps_its_place() {
    let outbox = live();
    let text = "x".repeat(200);
    let error = |request| crate::wire::Error { request, reason: 1, text: text.as_str().into() };
    let large = |n: u64| std::iter::repeat_with(move || n).take(1_000);
    for n in large(1) {
        let _ = push(&outbox, error(n));
    }
    let _ = outbox.mark(mark(1, 1));
    for n in large(2) {
        let _ = push(&outbox, error(n));
    }
    let mut decoder = Decoder::new(crate::limits::FRAME_BYTES_MAX);
    let (mut before, mut behind, mut parts) = (0, 0, 0);
    while let Next::Write(bytes) = outbox.next() {
        parts += 1;
        decoder.push(bytes);
        while let Some(raw) = decoder.next_frame().unwrap() {
            match ServerFrame::decode(raw).unwrap() {
                ServerFrame::Read(_) => (before, behind) = (behind, 0),
                _ => behind += 1,
            }
        }
    }
    assert!(parts > 3);
    assert_eq!((before, behind), (1_000, 1_000));
}

#[test]
fn marks_do_not_ask_for_room_and_the_oldest_of_too_many_gives_way() {
    let outbox = live();
    for id in 0..OUTBOX_FRAMES_MAX {
        assert_ne!(push(&outbox, pong(id as u64)), Pushed::Passed);
    }
    for sequence in 1..=MARKS_WAITING_MAX as u32 + 1 {
        let conversation = ConversationId::Peers(u128::from(sequence).to_be_bytes());
        assert_eq!(outbox.mark(Mark { conversation, ..mark(0, sequence) }), Pushed::Quiet);
    }
    let marks: Vec<String> = frames(&outbox).split_off(OUTBOX_FRAMES_MAX);
    assert_eq!(marks.len(), MARKS_WAITING_MAX);
    assert_eq!((&*marks[0], &*marks[999]), ("read 2", "read 1001"));
}

#[test]
fn neither_who_is_not_open_nor_who_has_ended_is_told_a_mark() {
    let outbox = Outbox::default();
    assert_eq!(outbox.mark(mark(1, 1)), Pushed::Passed);
    let outbox = live();
    outbox.finish();
    assert_eq!(outbox.mark(mark(1, 1)), Pushed::Passed);
    assert_eq!(outbox.presence(&peer("a"), true), Pushed::Passed);
    assert!(matches!(outbox.next(), Next::Finish));
}

#[test]
fn changes_of_presence_leave_together_behind_all_else() {
    let outbox = live();
    assert_eq!(outbox.presence(&peer("b"), true), Pushed::Wake);
    assert_eq!(outbox.presence(&peer("c"), false), Pushed::Quiet);
    assert_eq!(outbox.mark(mark(1, 1)), Pushed::Quiet);
    let _ = push(&outbox, pong(1));
    assert_eq!(outbox.presence(&peer("a"), true), Pushed::Quiet);
    assert_eq!(frames(&outbox), ["read 1", "pong 1", r#"on ["a", "b"] off ["c"]"#]);
    assert!(matches!(outbox.next(), Next::Wait));
}

#[test]
fn a_change_of_presence_that_is_taken_back_is_not_written() {
    let outbox = live();
    let _ = outbox.presence(&peer("a"), true);
    assert_eq!(outbox.presence(&peer("a"), false), Pushed::Quiet);
    assert!(matches!(outbox.next(), Next::Wait));
    assert_eq!(outbox.presence(&peer("a"), true), Pushed::Wake);
    outbox.forget_presence(&peer("a"));
    assert!(matches!(outbox.next(), Next::Wait));
    let _ = outbox.presence(&peer("a"), true);
    assert_eq!(frames(&outbox), [r#"on ["a"] off []"#]);
    let _ = outbox.presence(&peer("a"), false);
    assert_eq!(frames(&outbox), [r#"on [] off ["a"]"#]);
}

#[tokio::test]
async fn presence_that_is_held_waits_for_the_answer_and_wakes_the_writer_when_released() {
    let outbox = live();
    outbox.hold_presence();
    assert_eq!(outbox.presence(&peer("a"), true), Pushed::Quiet);
    assert!(matches!(outbox.next(), Next::Wait));
    assert_eq!(push(&outbox, pong(1)), Pushed::Wake);
    assert_eq!(frames(&outbox), ["pong 1"]);
    outbox.release_presence();
    outbox.changed().await;
    assert_eq!(frames(&outbox), [r#"on ["a"] off []"#]);
}

#[test]
fn a_copy_of_what_the_peer_sent_itself_is_put_only_where_there_is_room() {
    let outbox = Outbox::default();
    assert_eq!(outbox.echo(MessageId(1), b"1,"), Pushed::Passed);
    outbox.open(MessageId::NONE, None);
    assert_eq!(outbox.echo(MessageId(1), b"1,"), Pushed::Passed, "it is behind");
    feed(&outbox, &[], 1, Some(1));
    assert_eq!(outbox.echo(MessageId(1), b"1,"), Pushed::Passed, "the feeder is beyond it");
    assert_eq!(outbox.echo(MessageId(2), b"2,"), Pushed::Wake);
    assert_ne!(outbox.acknowledge(MessageId(2)), Acked::Future);
    for _ in 1..OUTBOX_FRAMES_MAX {
        let _ = outbox.transient(b"");
    }
    assert_eq!(outbox.echo(MessageId(3), b"3,"), Pushed::Passed);
    assert_eq!(written(&outbox), "2,");
    assert_eq!(feeds_after(&outbox), None, "it is live as before");
    assert_eq!(deliver(&outbox, 4), Pushed::Wake);
    assert_eq!(written(&outbox), "4,");
}

#[test]
fn an_outbox_whose_frames_have_all_been_written_holds_no_memory() {
    let outbox = live();
    let body = [0; BATCH_BYTES_MAX / 2];
    (1..=4).for_each(|id| assert_ne!(outbox.deliver(MessageId(id), &body), Pushed::Passed));
    let peer = PeerId::new("ada").unwrap();
    let _ = outbox.presence(&peer, true);
    while let Next::Write(_) = outbox.next() {}
    let queue = outbox.queue.lock();
    assert_eq!((queue.full.capacity(), queue.last.bytes.capacity()), (0, 0));
    assert!(queue.lane.is_none());
    assert!(size_of::<Outbox>() <= 320, "{} bytes for each session", size_of::<Outbox>());
}
