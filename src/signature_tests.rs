//! Signatures against published vectors, and what is no good signature.

use super::*;
use proptest::prelude::*;

const KEY: &[u8] = b"your-master-key";
const APP: &str = "your-app-id";
const GROUP: GroupId = GroupId([0x4a, 0xd9, 0x34, 0, 1, 2, 3, 4, 5, 6, 7, 0xbc]);
const SECONDS: u64 = 1_416_290_728;
const NOW_MS: i64 = SECONDS as i64 * 1000;
const SIX_HOURS_MS: i64 = 6 * 3600 * 1000;

fn peers<T: AsRef<str>>(ids: &[T]) -> Vec<PeerId> {
    ids.iter().map(|id| id.as_ref().parse().unwrap()).collect()
}

/// A request with its signature, in texts, so that each can be changed.
#[derive(Clone, Debug)]
struct Asked {
    app: String,
    peer: String,
    group: Option<String>,
    ids: Vec<String>,
    timestamp: String,
    nonce: String,
    act: Option<String>,
    signature: String,
}

impl Asked {
    fn signed(group: Option<&str>, act: Option<GroupAct>, timestamp: u64) -> Self {
        let ids = ["peer-2", "p3", "日本"].map(str::to_owned).to_vec();
        let mut asked = Self {
            app: APP.into(),
            peer: "alice".into(),
            group: group.map(str::to_owned),
            ids,
            timestamp: timestamp.to_string(),
            nonce: "85561".into(),
            act: act.map(|act| act.text().to_owned()),
            signature: String::new(),
        };
        let (peer, ids) = (&peers(&[&asked.peer])[0], &peers(&asked.ids));
        asked.signature = match act {
            None => sign_open(KEY, APP, peer, ids, timestamp, "85561"),
            Some(act) => {
                let group = group.map(|group| group.parse().unwrap());
                sign_group(KEY, APP, peer, group, ids, timestamp, "85561", act)
            }
        };
        asked
    }

    /// The answer of the server, or `None` when the texts are no request at all.
    fn checked(&self, now_ms: i64) -> Option<Result<i64, Reason>> {
        let keys = Keys::new(&self.app, KEY, None);
        let peer: PeerId = self.peer.parse().ok()?;
        let ids: Option<Vec<PeerId>> = self.ids.iter().map(|id| id.parse().ok()).collect();
        let claim = Claim {
            nonce: &self.nonce,
            timestamp: self.timestamp.parse().ok()?,
            signature: &self.signature,
        };
        let group: Option<GroupId> = match &self.group {
            None => None,
            Some(group) => Some(group.parse().ok()?),
        };
        // Digits that are written otherwise are the same bytes on the wire.
        let told = claim.timestamp.to_string() == self.timestamp
            && group.map(|group| group.to_string()) == self.group;
        told.then_some(())?;
        let Some(act) = &self.act else {
            return Some(keys.check_open(&peer, &ids?, claim, now_ms));
        };
        let act = GroupAct::ALL.into_iter().find(|known| known.text() == act)?;
        Some(keys.check_group(&peer, group, &ids?, act, claim, now_ms))
    }

    /// Each text of the request, one after the other, to be changed.
    fn texts(&mut self) -> Vec<&mut String> {
        let mut texts = vec![&mut self.app, &mut self.peer];
        texts.extend(&mut self.group);
        texts.extend(&mut self.ids);
        texts.extend([&mut self.timestamp, &mut self.nonce, &mut self.signature]);
        texts.extend(&mut self.act);
        texts
    }
}

/// Every text that is one character away: another one, one less, one doubled, one more.
fn mutations(text: &str) -> Vec<String> {
    let others = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ :-_.\0\u{e9}語";
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    for at in 0..=chars.len() {
        let (before, behind) = (&chars[..at], &chars[at..]);
        for other in others.chars() {
            found.push([before, &[other], behind].concat());
            if let Some((_, rest)) = behind.split_first() {
                found.push([before, &[other], rest].concat());
            }
        }
        if let Some((first, rest)) = behind.split_first() {
            found.push([before, rest].concat());
            found.push([before, &[*first, *first], rest].concat());
            let flipped = char::from_u32(*first as u32 ^ 0x20).unwrap_or('!');
            found.push([before, &[flipped], rest].concat());
        }
    }
    found.retain(|changed| *changed != chars);
    found.into_iter().map(|chars| chars.into_iter().collect()).collect()
}

#[test]
fn the_published_vectors_are_signed_as_published() {
    let (peer, ids) = (&peers(&["1"])[0], peers(&["4", "2", "3"]));
    assert_eq!(
        sign_open(KEY, APP, peer, &ids, 1_416_290_728, "85561"),
        "cf4a1b6b55ff87753da4ae7f5dd2c33273108b62"
    );
    let signed = (1_416_290_879, "07995");
    let text = group_text(APP, peer, "4ad934r23bjhcas", &ids, signed, GroupAct::Join);
    assert_eq!(text, "your-app-id:1:4ad934r23bjhcas:2:3:4:1416290879:07995:join");
    assert_eq!(sign(KEY, &text), "d31efcdea5d74db8d510ce0e9a4833e9bbc205e3");
}

#[test]
fn what_is_empty_leaves_two_colons_in_a_row() {
    let peer = &peers(&["1"])[0];
    assert_eq!(open_text(APP, peer, &[], 7, "n"), "your-app-id:1::7:n");
    let text = group_text(APP, peer, &name_of(None), &[], (7, "n"), GroupAct::Join);
    assert_eq!(text, "your-app-id:1:::7:n:join");
    let text = group_text(APP, peer, &name_of(Some(GROUP)), &[], (7, "n"), GroupAct::Kick);
    assert_eq!(text, "your-app-id:1:4ad93400010203040506 07bc::7:n:kick".replace(' ', ""));
}

#[test]
fn every_single_changed_character_is_refused() {
    let group = GROUP.to_string();
    let asked = [
        Asked::signed(None, None, SECONDS),
        Asked::signed(None, Some(GroupAct::Join), SECONDS),
        Asked::signed(Some(&group), Some(GroupAct::Join), SECONDS),
        Asked::signed(Some(&group), Some(GroupAct::Invite), SECONDS * 1000),
        Asked::signed(Some(&group), Some(GroupAct::Kick), SECONDS),
    ];
    let mut refused = 0;
    for mut asked in asked {
        assert!(asked.checked(NOW_MS).unwrap().is_ok());
        for index in 0..asked.texts().len() {
            let good = asked.texts()[index].clone();
            for changed in mutations(&good) {
                *asked.texts()[index] = changed;
                if let Some(answer) = asked.checked(NOW_MS) {
                    assert_eq!(answer, Err(Reason::BadSignature), "{asked:?}");
                    refused += 1;
                }
            }
            *asked.texts()[index] = good;
        }
    }
    assert!(refused > 50_000, "only {refused} of the changes were requests");
}

#[test]
fn another_act_and_other_lists_of_ids_are_refused() {
    let asked = Asked::signed(Some(&GROUP.to_string()), Some(GroupAct::Invite), SECONDS);
    let refused = |change: &dyn Fn(&mut Asked)| {
        let mut asked = asked.clone();
        change(&mut asked);
        assert_eq!(asked.checked(NOW_MS), Some(Err(Reason::BadSignature)), "{asked:?}");
    };
    refused(&|asked| asked.act = Some("join".into()));
    refused(&|asked| asked.act = Some("kick".into()));
    refused(&|asked| asked.act = None);
    refused(&|asked| asked.group = None);
    refused(&|asked| asked.ids.clear());
    refused(&|asked| asked.ids.push("p4".into()));
    refused(&|asked| asked.ids.push("p3".into()));
    refused(&|asked| drop(asked.ids.pop()));
    refused(&|asked| asked.signature.clear());
    refused(&|asked| asked.signature.make_ascii_uppercase());
    refused(&|asked| asked.signature = "é".repeat(20));
}

#[test]
fn a_signature_of_one_form_does_not_pass_for_the_other() {
    let (keys, alice) = (Keys::new(APP, KEY, None), &peers(&["alice"])[0]);
    let (group, member, number) = (GroupId([5; 12]), peers(&["1"]), SECONDS.to_string());
    let group_first = peers(&["050505050505050505050505", "1"]);
    let and_number = [group_first.clone(), peers(&[&number])].concat();
    // What follows the timestamp taken for a nonce; an act taken for one.
    for (nonce, ids, open_nonce) in
        [("n", &group_first, "n:kick"), (number.as_str(), &and_number, "kick")]
    {
        let act = GroupAct::Kick;
        let text = group_text(APP, alice, &name_of(Some(group)), &member, (SECONDS, nonce), act);
        assert_eq!(text, open_text(APP, alice, ids, SECONDS, open_nonce));
        let signature = sign(KEY, &text);
        let claim = |nonce| Claim { nonce, timestamp: SECONDS, signature: &signature };
        let as_meant = keys.check_group(alice, Some(group), &member, act, claim(nonce), NOW_MS);
        assert!(as_meant.is_ok());
        let taken = keys.check_open(alice, ids, claim(open_nonce), NOW_MS);
        assert_eq!(taken, Err(Reason::BadSignature));
    }
}

#[test]
fn a_timestamp_may_be_in_seconds_or_milliseconds_and_six_hours_off() {
    let keys = Keys::new(APP, KEY, None);
    let alice = &peers(&["alice"])[0];
    for timestamp in [SECONDS, SECONDS * 1000] {
        let signature = sign_open(KEY, APP, alice, &[], timestamp, "n");
        let claim = Claim { nonce: "n", timestamp, signature: &signature };
        let check = |now_ms| keys.check_open(alice, &[], claim, now_ms);
        let stale_from = NOW_MS + SIX_HOURS_MS + 1;
        for off in [-SIX_HOURS_MS, -1, 0, 1, SIX_HOURS_MS] {
            assert_eq!(check(NOW_MS + off), Ok(stale_from), "{off} ms off");
        }
        for off in [-SIX_HOURS_MS - 1, SIX_HOURS_MS + 1] {
            assert_eq!(check(NOW_MS + off), Err(Reason::StaleSignature), "{off} ms off");
        }
        assert_eq!(check(i64::MIN), Err(Reason::StaleSignature));
        assert_eq!(check(i64::MAX), Err(Reason::StaleSignature));
    }
}

#[test]
fn a_timestamp_of_any_size_is_answered() {
    let keys = Keys::new(APP, KEY, None);
    let alice = &peers(&["alice"])[0];
    let line = MILLISECONDS_FROM;
    for timestamp in [0, line - 1, line, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let signature = sign_open(KEY, APP, alice, &[], timestamp, "n");
        let claim = Claim { nonce: "n", timestamp, signature: &signature };
        let answer = keys.check_open(alice, &[], claim, NOW_MS);
        assert_eq!(answer, Err(Reason::StaleSignature), "{timestamp}");
    }
    assert!(stale_from(line - 1, (line as i64 - 1) * 1000).is_some());
    assert!(stale_from(line, line as i64).is_some());
}

#[test]
fn a_stale_signature_that_is_wrong_is_only_wrong() {
    let mut asked = Asked::signed(None, None, SECONDS);
    let later = NOW_MS + SIX_HOURS_MS + 1;
    assert_eq!(asked.checked(later), Some(Err(Reason::StaleSignature)));
    asked.nonce.push('1');
    assert_eq!(asked.checked(later), Some(Err(Reason::BadSignature)));
}

#[test]
fn the_previous_key_is_good_until_its_time() {
    let keys = Keys::new(APP, b"new", Some((KEY, NOW_MS)));
    let alice = &peers(&["alice"])[0];
    let checked = |key: &[u8], now_ms| {
        let signature = sign_open(key, APP, alice, &[], SECONDS, "n");
        let claim = Claim { nonce: "n", timestamp: SECONDS, signature: &signature };
        keys.check_open(alice, &[], claim, now_ms)
    };
    assert!(checked(KEY, NOW_MS - 1).is_ok());
    assert_eq!(checked(KEY, NOW_MS), Err(Reason::BadSignature));
    assert!(checked(b"new", NOW_MS - 1).is_ok());
    assert!(checked(b"new", NOW_MS).is_ok());
    assert_eq!(checked(b"other", NOW_MS - 1), Err(Reason::BadSignature));
}

#[test]
fn ids_are_sorted_as_javascript_sorts_them() {
    // U+FF5E is one code unit above the two surrogates of U+1F600, and below it in UTF-8.
    assert_eq!(
        join(&peers(&["\u{ff5e}", "b", "\u{1f600}", "B", "a", "10", "9"])),
        "10:9:B:a:b:\u{1f600}:\u{ff5e}"
    );
}

#[test]
fn keys_are_not_shown() {
    let shown = format!("{:?}", Keys::new(APP, b"secret", Some((b"older", 7))));
    assert!(!shown.contains("secret") && !shown.contains("older"), "{shown}");
}

proptest! {
    #[test]
    fn whatever_is_signed_is_good_in_any_order_of_ids(
        key in prop::collection::vec(any::<u8>(), 0..100),
        app in "\\PC{1,16}",
        peer in "[^:\\p{Cc}]{1,16}",
        ids in prop::collection::vec("[^:\\p{Cc}]{1,16}", 0..8),
        turn in any::<prop::sample::Index>(),
        nonce in "[^:]{0,16}",
        off_ms in -SIX_HOURS_MS..=SIX_HOURS_MS,
        group in prop::option::of(any::<[u8; 12]>().prop_map(GroupId)),
        act in prop::sample::select(&GroupAct::ALL[..]),
    ) {
        prop_assume!(GroupAct::ALL.iter().all(|act| act.text() != nonce));
        let (keys, peer, ids) = (Keys::new(&app, &key, None), &peers(&[peer])[0], peers(&ids));
        let mut turned = ids.clone();
        turned.rotate_left(if ids.is_empty() { 0 } else { turn.index(ids.len()) });
        let timestamp = NOW_MS as u64;
        let stale_from = Ok(NOW_MS + SIX_HOURS_MS + 1);
        let signature = sign_open(&key, &app, peer, &ids, timestamp, &nonce);
        let claim = Claim { nonce: &nonce, timestamp, signature: &signature };
        let answer = keys.check_open(peer, &turned, claim, NOW_MS + off_ms);
        prop_assert_eq!(answer, stale_from);
        let signature = sign_group(&key, &app, peer, group, &ids, timestamp, &nonce, act);
        let claim = Claim { nonce: &nonce, timestamp, signature: &signature };
        let answer = keys.check_group(peer, group, &turned, act, claim, NOW_MS + off_ms);
        prop_assert_eq!(answer, stale_from);
    }
}
