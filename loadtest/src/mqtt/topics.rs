//! The topics of a run.
//!
//! # Invariants
//!
//! * No topic has a wildcard, and two runs have none in common.

use crate::names::Names;
use crate::run::Run;

/// Writes the topic of the peer with this index over `topic`.
pub(super) fn write_peer(topic: &mut String, names: &Names, index: u32) {
    write(topic, "peer/", names, index);
}

/// The topic of the peer with this index.
pub(super) fn peer(names: &Names, index: u32) -> String {
    let mut topic = String::new();
    write_peer(&mut topic, names, index);
    topic
}

/// The topic of the group of a peer, if it has one.
pub(super) fn group(run: &Run, index: u32) -> Option<String> {
    let (group, mut topic) = (run.groups.of(index), String::new());
    write(&mut topic, "group/", &run.names, group.peers.start);
    (group.size() > 0).then_some(topic)
}

/// The id of the client that the peer with this index is: the same in all its sessions.
pub(super) fn client(names: &Names, index: u32) -> String {
    let mut id = String::new();
    write(&mut id, "", names, index);
    id
}

fn write(text: &mut String, prefix: &str, names: &Names, index: u32) {
    text.clear();
    text.push_str(prefix);
    text.extend(names.name(index).map(char::from));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Groups;

    #[test]
    fn every_peer_has_a_topic_of_its_own_in_its_own_run() {
        let (names, others) = (Names::tagged(1), Names::tagged(2));
        assert_eq!(peer(&names, 7), "peer/lt000001-0000007");
        assert_ne!(peer(&names, 7), peer(&names, 8));
        assert_ne!(peer(&names, 7), peer(&others, 7));
        let mut topic = "what was there".to_owned();
        write_peer(&mut topic, &names, 7);
        assert_eq!(topic, peer(&names, 7));
    }

    #[test]
    fn a_client_id_is_short_enough_for_every_broker() {
        let id = client(&Names::tagged(1), 9_999_999);
        assert_eq!(id, "lt000001-9999999");
        assert!(id.len() <= 23, "more than 23 bytes may be refused");
    }

    #[test]
    fn only_a_run_with_members_has_a_group() {
        let mut run = Run::new(2, 64, false);
        assert_eq!(group(&run, 1), None);
        run.groups = Groups::new(1, 2);
        assert!(group(&run, 1).is_some_and(|topic| topic.starts_with("group/lt")));
    }
}
