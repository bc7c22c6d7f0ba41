//! Filling a server with messages, as fast as it takes them.
//!
//! # Invariants
//!
//! * Every answer is checked: each message must be new, where it was said, and the next one there.
//! * A lane has one request under way, so its messages keep their order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidings::id::GroupId;

use super::plan::{Lane, groups_of};
use crate::http::{Api, Line};

/// Messages of one request.
const BATCH: usize = 500;

#[derive(Serialize)]
struct NewGroup {
    members: Vec<String>,
}

#[derive(Deserialize)]
struct MadeGroup<'a> {
    group: &'a str,
}

#[derive(Deserialize)]
struct Results<'a> {
    #[serde(borrow)]
    results: Vec<Done<'a>>,
}

#[derive(Deserialize)]
struct Done<'a> {
    status: u16,
    #[serde(borrow, default)]
    messages: Vec<Stored<'a>>,
    problem: Option<Value>,
}

#[derive(Deserialize)]
struct Stored<'a> {
    id: &'a str,
    sequence: u32,
    conversation: &'a str,
    repeated: bool,
}

/// Makes the groups of a lane, then lets its peers say so many messages; counts them in `stored`.
///
/// # Errors
///
/// What went wrong first.
pub(super) async fn fill(
    mut lane: Lane,
    api: Api,
    messages: u32,
    stored: Arc<AtomicU64>,
) -> Result<Lane, String> {
    let mut line = api.open().await?;
    for group in 0..groups_of(lane.conversations) {
        let made = make_group(&lane, group, &mut line).await?;
        lane.groups.push(made);
    }
    let mut random = fastrand::Rng::new();
    while lane.told.len() < messages as usize {
        let from = lane.told.len();
        let count = BATCH.min(messages as usize - from);
        let mut body = String::with_capacity(count * 400);
        body.push_str("{\"messages\":[");
        for index in from..from + count {
            lane.tell(&mut random);
            if index > from {
                body.push(',');
            }
            lane.put_json(index, &mut body);
        }
        body.push_str("]}");
        let answer = line.ask(Method::POST, "/v1/messages/batch", body).await?;
        take(&mut lane, from, answer.read::<Results<'_>>(StatusCode::OK)?)?;
        stored.fetch_add(count as u64, Ordering::Relaxed);
    }
    Ok(lane)
}

async fn make_group(lane: &Lane, group: u32, line: &mut Line) -> Result<GroupId, String> {
    let members = lane.members(group).map(|peer| lane.peer(peer).to_string()).collect();
    let body = serde_json::to_vec(&NewGroup { members }).map_err(|error| error.to_string())?;
    let answer = line.ask(Method::POST, "/v1/groups", body).await?;
    let MadeGroup { group } = answer.read(StatusCode::CREATED)?;
    group.parse().map_err(|_| format!("{group} is no id of a group"))
}

/// Takes the answer to the messages of a lane from the index `from` on.
fn take(lane: &mut Lane, from: usize, answered: Results<'_>) -> Result<(), String> {
    let asked = lane.told.len() - from;
    if answered.results.len() != asked {
        return Err(format!("{asked} messages had {} results", answered.results.len()));
    }
    for (done, index) in answered.results.iter().zip(from..) {
        let before = index.checked_sub(1).map_or(0, |before| lane.told[before].id);
        let told = lane.told[index];
        let [stored] = &done.messages[..] else {
            let problem = done.problem.as_ref().map(Value::to_string).unwrap_or_default();
            return Err(format!("a message was refused: {} {problem}", done.status));
        };
        let id: i64 = stored.id.parse().map_err(|_| format!("{} is no id", stored.id))?;
        let conversation = lane.conversation(told.place).to_string();
        if stored.repeated || stored.sequence != told.sequence || id <= before {
            return Err(format!(
                "a message is the number {} of its conversation, not {}, with the id {id} after \
                 {before}{}",
                stored.sequence,
                told.sequence,
                if stored.repeated { ", and repeated" } else { "" },
            ));
        }
        if stored.conversation != conversation {
            return Err(format!("a message is in {}, not {conversation}", stored.conversation));
        }
        lane.told[index].id = id;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Names;

    fn lane() -> Lane {
        let mut lane = Lane::new(0, Names::tagged(1), 0, 1, 10);
        lane.groups.push(GroupId([7; 12]));
        let mut random = fastrand::Rng::with_seed(3);
        lane.tell(&mut random);
        lane.tell(&mut random);
        lane
    }

    fn taken(json: &str) -> Result<Vec<i64>, String> {
        let mut lane = lane();
        take(&mut lane, 0, serde_json::from_str(json).unwrap())?;
        Ok(lane.told.iter().map(|told| told.id).collect())
    }

    #[test]
    fn every_message_of_a_batch_must_be_the_next_where_it_was_said() {
        let lane = lane();
        let message = |index: usize, id: i64| {
            let told = lane.told[index];
            let conversation = lane.conversation(told.place);
            format!(
                r#"{{"status":201,"messages":[{{"id":"{id}","sequence":{},"at_ms":1,
                "conversation":"{conversation}","repeated":false}}],"online":0}}"#,
                told.sequence
            )
        };
        let results = |list: &[String]| format!(r#"{{"results":[{}]}}"#, list.join(","));
        let good = [message(0, 5), message(1, 6)];
        assert_eq!(taken(&results(&good)), Ok(vec![5, 6]));
        for (said, instead) in [
            ("\"id\":\"6\"", "\"id\":\"5\""),
            ("\"repeated\":false", "\"repeated\":true"),
            ("\"conversation\":\"", "\"conversation\":\"0"),
            ("\"sequence\":", "\"sequence\":1"),
        ] {
            let bad = good.clone().map(|message| message.replacen(said, instead, 1));
            assert!(taken(&results(&bad)).is_err(), "{said}");
        }
        assert!(taken(&results(&good[..1])).is_err(), "a result is missing");
        let refused = r#"{"status":503,"problem":{"title":"Busy"}}"#.to_owned();
        let why = taken(&results(&[good[0].clone(), refused])).unwrap_err();
        assert!(why.contains("503") && why.contains("Busy"), "{why}");
    }
}
