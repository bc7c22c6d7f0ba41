//! What the history must say: the pages that there are to ask for, and what must stand on them.
//!
//! # Invariants
//!
//! * A page is right if it has the messages that come next before its beginning, newest first, all
//!   of them. Their numbers are those of a conversation, of a sender, or of the whole log.
//! * The server may give a page in parts, each of which says where the next one begins.

use serde::{Deserialize, Serialize};

use super::plan::{Lane, Told, of_body};

/// Messages of a page.
pub(super) const PAGE: u64 = 50;
/// Places of the wanted kind that are looked at to find one with a whole page before it.
const DRAWS: usize = 32;
/// Places that are drawn to find those: few messages are in groups.
const TRIES: usize = 10_000;

/// The four ways to ask for history.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Conversation,
    Group,
    Sender,
    App,
}

pub(super) const KINDS: [Kind; 4] = [Kind::Conversation, Kind::Group, Kind::Sender, Kind::App];

/// A page to be asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    kind: Kind,
    lane: usize,
    /// A place, a sender, or nothing.
    which: u32,
    /// The id before which it begins; `None` for the newest.
    pub(super) before: Option<i64>,
    /// Messages that there are before it.
    pub(super) left: u64,
}

/// All that was told in a run.
#[derive(Debug)]
pub(super) struct Past {
    lanes: Vec<Lane>,
    /// The ids of all messages, in order.
    ids: Vec<i64>,
}

/// A part of a page, as the server gives it.
#[derive(Deserialize)]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    items: Vec<Item<'a>>,
    next: Option<&'a str>,
}

impl Part<'_> {
    /// How many messages it has.
    pub(super) fn len(&self) -> u64 {
        self.items.len() as u64
    }

    /// Where the next one begins; `None` if nothing is before this one.
    pub(super) fn next(&self) -> Option<&str> {
        self.next
    }
}

#[derive(Deserialize)]
struct Item<'a> {
    id: &'a str,
    sequence: u32,
    conversation: &'a str,
    #[serde(default)]
    group: Option<&'a str>,
    from: &'a str,
    body: &'a str,
}

impl Past {
    pub(super) fn new(lanes: Vec<Lane>) -> Self {
        let mut ids: Vec<i64> =
            lanes.iter().flat_map(|lane| &lane.told).map(|told| told.id).collect();
        ids.sort_unstable();
        Self { lanes, ids }
    }

    /// Draws a page of a kind: the newest of something, or one that begins anywhere.
    ///
    /// One with [`PAGE`] messages, if a few draws find it; `None` if nothing of the kind was told.
    pub(super) fn wish(
        &self,
        kind: Kind,
        newest: bool,
        random: &mut fastrand::Rng,
    ) -> Option<Wish> {
        let draws = (0..TRIES).filter_map(|_| self.draw(kind, newest, random)).take(DRAWS);
        let mut best = None::<Wish>;
        for wish in draws {
            if best.is_none_or(|best| wish.left > best.left) {
                best = Some(wish);
            }
            if wish.left >= PAGE {
                break;
            }
        }
        best
    }

    fn newest_of_app(&self) -> Wish {
        let left = self.ids.len() as u64;
        Wish { kind: Kind::App, lane: 0, which: 0, before: None, left }
    }

    fn draw(&self, kind: Kind, newest: bool, random: &mut fastrand::Rng) -> Option<Wish> {
        let lane = random.usize(0..self.lanes.len());
        let of = &self.lanes[lane];
        if newest {
            let places = of.sequences.len() as u32;
            let (which, left) = match kind {
                Kind::App => return Some(self.newest_of_app()),
                Kind::Sender => of_any(&of.numbers, 0..of.numbers.len() as u32, random),
                Kind::Conversation => of_any(&of.sequences, 0..of.conversations, random),
                Kind::Group => of_any(&of.sequences, of.conversations..places, random),
            };
            return (left > 0).then_some(Wish { kind, lane, which, before: None, left });
        }
        let Told { id, place, sequence, sender, number } = of.told[random.usize(0..of.told.len())];
        let (which, left) = match kind {
            Kind::App => (0, self.ids.partition_point(|other| *other < id) as u64),
            Kind::Sender => (sender, u64::from(number) - 1),
            _ if (kind == Kind::Group) != of.group(place).is_some() => return None,
            _ => (place, u64::from(sequence) - 1),
        };
        (left > 0).then_some(Wish { kind, lane, which, before: Some(id), left })
    }

    /// The path and query of so many messages of a wish, but for where they begin.
    pub(super) fn path(&self, wish: &Wish, limit: u64) -> String {
        let lane = &self.lanes[wish.lane];
        let mut path = format!("/v1/history?limit={limit}");
        match wish.kind {
            Kind::App => {}
            Kind::Sender => path += &format!("&sender={}", lane.peer(wish.which)),
            Kind::Conversation => {
                path += &format!("&conversation={}", lane.conversation(wish.which));
            }
            Kind::Group => path += &format!("&group={}", lane.conversation(wish.which)),
        }
        path
    }

    /// Checks that a page is the one that was wished for.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn check(&self, wish: &Wish, parts: &[Part<'_>]) -> Result<(), String> {
        let (count, came) = (PAGE.min(wish.left), parts.iter().map(Part::len).sum::<u64>());
        if came != count {
            return Err(format!("it has {came} messages, not {count}"));
        }
        for (item, place) in parts.iter().flat_map(|part| &part.items).zip(0..) {
            self.check_item(wish, item, wish.left - place)
                .map_err(|why| format!("its message {place}, {}, is wrong: {why}", item.id))?;
        }
        match parts.last().and_then(Part::next) {
            None if wish.left > count => Err("it says that nothing is before it".into()),
            _ => Ok(()),
        }
    }

    /// Checks the message that has this number among those of the wish.
    fn check_item(&self, wish: &Wish, item: &Item<'_>, number: u64) -> Result<(), String> {
        let (lane, index) = of_body(item.body).ok_or("its body was never sent")?;
        let of = self.lanes.get(lane).ok_or("its body was never sent")?;
        let told = of.told.get(index).ok_or("its body was never sent")?;
        let group = of.group(told.place).map(|group| group.to_string());
        if item.id.parse() != Ok(told.id) || item.sequence != told.sequence {
            return Err(format!("it is {}, number {}", told.id, told.sequence));
        }
        if item.conversation != of.conversation(told.place).to_string()
            || item.group.map(str::to_owned) != group
            || item.from != of.peer(told.sender).as_str()
        {
            return Err("it was said elsewhere, or by somebody else".into());
        }
        let (is_of, at) = match wish.kind {
            Kind::App => (true, self.ids.partition_point(|id| *id <= told.id) as u64),
            Kind::Sender => (told.sender == wish.which, u64::from(told.number)),
            _ => (told.place == wish.which, u64::from(told.sequence)),
        };
        let is_of = is_of && (wish.kind == Kind::App || lane == wish.lane);
        match is_of && at == number {
            true => Ok(()),
            false if is_of => Err(format!("it is the number {at}, not {number}")),
            false => Err("it was not asked for".into()),
        }
    }
}

/// One of several, and how many messages it has.
fn of_any(counts: &[u32], range: std::ops::Range<u32>, random: &mut fastrand::Rng) -> (u32, u64) {
    let which = random.u32(range);
    (which, u64::from(counts[which as usize]))
}

#[cfg(test)]
mod tests {
    use tidings::id::GroupId;

    use super::*;
    use crate::history::plan::{BODY_BYTES, groups_of};
    use crate::names::Names;

    /// Two lanes with 2,000 messages each, whose ids take turns.
    fn past() -> Past {
        let mut random = fastrand::Rng::with_seed(5);
        let lanes = (0..2u32).map(|index| {
            let mut lane = Lane::new(index, Names::tagged(1), index * 100, 20, 2_000);
            lane.groups = (0..groups_of(20)).map(|_| GroupId([index as u8; 12])).collect();
            for at in 0..2_000 {
                lane.tell(&mut random);
                lane.told[at].id = 1_000 + at as i64 * 2 + i64::from(index);
            }
            lane
        });
        Past::new(lanes.collect())
    }

    /// The page that a server without faults gives.
    fn page(past: &Past, wish: &Wish) -> Vec<[String; 5]> {
        let mut found: Vec<(i64, [String; 5])> = Vec::new();
        for (at, lane) in past.lanes.iter().enumerate() {
            for (index, told) in lane.told.iter().enumerate() {
                let is_of = match wish.kind {
                    Kind::App => true,
                    Kind::Sender => at == wish.lane && told.sender == wish.which,
                    _ => at == wish.lane && told.place == wish.which,
                };
                if is_of && wish.before.is_none_or(|before| told.id < before) {
                    let body = format!("{at:04x}{index:08x}{}", ".".repeat(BODY_BYTES - 12));
                    let from = lane.peer(told.sender).to_string();
                    let conversation = lane.conversation(told.place).to_string();
                    let group = lane.group(told.place).map(|group| format!("\"{group}\""));
                    let group = group.unwrap_or_else(|| "null".into());
                    let sequence = told.sequence;
                    let rest = format!("\"group\":{group},\"sequence\":{sequence}");
                    found.push((told.id, [told.id.to_string(), conversation, from, body, rest]));
                }
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.into_iter().map(|(_, item)| item).take(PAGE as usize).collect()
    }

    fn json(items: &[[String; 5]], next: &str) -> String {
        let item = |[id, conversation, from, body, rest]: &[String; 5]| {
            format!(
                r#"{{"id":"{id}","conversation":"{conversation}","from":"{from}","body":"{body}",
                "to":[],{rest}}}"#
            )
        };
        let items: Vec<String> = items.iter().map(item).collect();
        format!(r#"{{"items":[{}],"next":{next}}}"#, items.join(","))
    }

    fn judged(past: &Past, wish: &Wish, items: &[[String; 5]]) -> Result<(), String> {
        let json = json(items, if wish.left > PAGE { "\"5\"" } else { "null" });
        past.check(wish, &[serde_json::from_str(&json).unwrap()])
    }

    #[test]
    fn a_right_page_of_every_kind_is_right_and_no_other() {
        let (past, mut random) = (past(), fastrand::Rng::with_seed(9));
        for kind in KINDS {
            for newest in [true, false] {
                for _ in 0..20 {
                    let wish = past.wish(kind, newest, &mut random).unwrap();
                    assert_eq!((wish.kind, wish.before.is_none()), (kind, newest));
                    let good = page(&past, &wish);
                    assert_eq!(judged(&past, &wish, &good), Ok(()), "{wish:?}");
                    let mut gap = good.clone();
                    gap.remove(good.len() / 2);
                    assert!(judged(&past, &wish, &gap).is_err(), "one is missing");
                    let mut twice = good.clone();
                    twice[good.len() / 2] = good[good.len() / 2 - 1].clone();
                    assert!(judged(&past, &wish, &twice).is_err(), "one is there twice");
                    let mut other = good.clone();
                    other[1][2] = "somebody".into();
                    assert!(judged(&past, &wish, &other).is_err(), "another sender");
                    let mut turned = good;
                    turned.reverse();
                    assert!(judged(&past, &wish, &turned).is_err(), "oldest first");
                }
            }
        }
    }

    #[test]
    fn a_page_of_something_else_is_wrong() {
        let (past, mut random) = (past(), fastrand::Rng::with_seed(9));
        for kind in [Kind::Conversation, Kind::Group, Kind::Sender] {
            let wish = past.wish(kind, true, &mut random).unwrap();
            let app = past.wish(Kind::App, true, &mut random).unwrap();
            assert!(judged(&past, &wish, &page(&past, &app)).is_err());
            let other = Wish { lane: 1 - wish.lane, ..wish };
            assert!(judged(&past, &wish, &page(&past, &other)).is_err());
        }
    }

    #[test]
    fn a_page_may_come_in_parts_but_must_not_end_early() {
        let (past, mut random) = (past(), fastrand::Rng::with_seed(9));
        let wish = past.wish(Kind::App, false, &mut random).unwrap();
        let all = page(&past, &wish);
        let parts = |at: usize, next: &'static str| {
            let (first, second) = all.split_at(at);
            [json(first, "\"5\""), json(second, next)]
        };
        let check = |parts: &[String]| {
            let parts: Vec<Part<'_>> =
                parts.iter().map(|part| serde_json::from_str(part).unwrap()).collect();
            past.check(&wish, &parts)
        };
        assert_eq!(check(&parts(20, "\"5\"")), Ok(()));
        assert_eq!(check(&parts(0, "\"5\"")), Ok(()));
        assert!(check(&parts(20, "null")).is_err(), "there are more");
        assert!(check(&parts(20, "\"5\"")[..1]).is_err(), "a part is missing");
    }

    #[test]
    fn a_page_is_asked_for_by_what_it_is_of() {
        let (past, mut random) = (past(), fastrand::Rng::with_seed(9));
        let mut path = |kind| past.path(&past.wish(kind, false, &mut random).unwrap(), 7);
        assert!(path(Kind::Conversation).starts_with("/v1/history?limit=7&conversation="));
        assert!(path(Kind::Group).contains("&group="));
        assert!(path(Kind::Sender).contains("&sender=lt000001-"));
        assert_eq!(path(Kind::App), "/v1/history?limit=7");
    }
}
