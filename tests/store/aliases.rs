//! Aliases and devices: which the back end finds, and where, over restarts and crashes.

use tidings::id::{Alias, DeviceId};
use tidings::limits::WINDOW_AGE;
use tidings::reason::Reason;
use tidings::store::{AliasChange, Outcome, Request, Route};

use super::harness::{Running, device, peer, refusal};

fn alias(name: &str) -> Alias {
    Alias::new(name).unwrap()
}

fn change(running: &mut Running, change: AliasChange, by: Option<DeviceId>) -> Option<Reason> {
    let outcome = running.outcome(Request::Alias { change, by });
    assert!(matches!(outcome, Outcome::Noted { .. } | Outcome::Refused { .. }), "{outcome:?}");
    refusal(&outcome)
}

fn bind(running: &mut Running, name: &str, on: &str) -> Option<Reason> {
    change(running, AliasChange::Bind { alias: alias(name), device: device(on) }, None)
}

fn unbind(running: &mut Running, name: &str, on: Option<&str>) -> Option<Reason> {
    change(running, AliasChange::Unbind { alias: alias(name), device: on.map(device) }, None)
}

fn routes(running: &Running, name: &str) -> Vec<Route> {
    running.block_on(running.store.alias(&alias(name))).unwrap()
}

/// The devices that have an alias.
fn devices(running: &Running, name: &str) -> Vec<String> {
    routes(running, name).iter().map(|route| route.device.to_string()).collect()
}

/// Where a device is, and its alias.
fn found(running: &Running, on: &str) -> Option<(Route, Option<Alias>)> {
    running.block_on(running.store.device(&device(on))).unwrap()
}

fn route(on: &str, who: &str, online: bool, gone: bool) -> Route {
    Route { device: device(on), peer: peer(who), online, gone }
}

/// Commits that were synced.
fn syncs(running: &Running) -> u64 {
    running.metrics.syncs.get()
}

#[test]
fn an_alias_leads_to_its_devices_and_to_the_peer_that_opened_on_each_last() {
    let mut running = Running::new();
    running.open("alice", "phone");
    running.open("bob", "laptop");
    running.open("carol", "laptop");
    for on in ["phone", "laptop"] {
        assert_eq!(bind(&mut running, "red", on), None);
    }
    let online = [route("laptop", "carol", true, false), route("phone", "alice", true, false)];
    assert_eq!(routes(&running, "red"), online);
    assert_eq!(found(&running, "phone"), Some((online[1].clone(), Some(alias("red")))));
    assert_eq!(running.metrics.aliases.get(), 2);
    let offline = online.map(|route| Route { online: false, ..route });
    running = running.crash();
    assert_eq!(routes(&running, "red"), offline);
    running = running.restart();
    assert_eq!(routes(&running, "red"), offline);
    running = running.crash();
    assert_eq!(routes(&running, "red"), offline);
    assert_eq!((found(&running, "tablet"), routes(&running, "blue")), (None, vec![]));
    running.commit_something();
    assert_eq!(running.metrics.aliases.get(), 2);
    assert_eq!(running.store.report().damage, [""; 0]);
}

#[test]
fn a_device_has_one_alias_and_another_takes_its_place() {
    let mut running = Running::new();
    running.open("alice", "phone");
    assert_eq!(bind(&mut running, "red", "phone"), None);
    running = running.restart();
    assert_eq!(bind(&mut running, "blue", "phone"), None);
    for _ in 0..2 {
        assert_eq!(devices(&running, "red"), [""; 0]);
        assert_eq!(devices(&running, "blue"), ["phone"]);
        assert_eq!(found(&running, "phone").unwrap().1, Some(alias("blue")));
        running = running.crash();
    }
    running.commit_something();
    assert_eq!(running.metrics.aliases.get(), 1);
}

#[test]
fn what_is_bound_already_is_not_written_again() {
    let mut running = Running::new();
    running.open("alice", "phone");
    assert_eq!(bind(&mut running, "red", "phone"), None);
    let before = syncs(&running);
    assert_eq!(bind(&mut running, "red", "phone"), None);
    assert_eq!(syncs(&running), before);
    assert_eq!(bind(&mut running, "blue", "phone"), None);
    assert!(syncs(&running) > before);
}

#[test]
fn one_device_too_many_is_refused_until_another_has_the_alias_no_more() {
    let mut running = Running::with(|options| options.devices_per_alias_max = 2);
    for on in ["1", "2", "3"] {
        running.open("alice", on);
    }
    assert_eq!(bind(&mut running, "red", "1"), None);
    assert_eq!(bind(&mut running, "red", "2"), None);
    assert_eq!(bind(&mut running, "red", "3"), Some(Reason::AliasFull));
    assert_eq!(bind(&mut running, "red", "2"), None);
    running = running.restart();
    assert_eq!(bind(&mut running, "red", "3"), Some(Reason::AliasFull));
    assert_eq!(bind(&mut running, "blue", "1"), None);
    assert_eq!(bind(&mut running, "red", "3"), None);
    assert_eq!(devices(&running, "red"), ["2", "3"]);
}

#[test]
fn a_device_that_nobody_has_opened_on_has_no_alias() {
    let mut running = Running::new();
    assert_eq!(bind(&mut running, "red", "phone"), Some(Reason::NoSuchDevice));
    assert_eq!(unbind(&mut running, "red", Some("phone")), Some(Reason::NoSuchAlias));
    assert_eq!(unbind(&mut running, "red", None), Some(Reason::NoSuchAlias));
}

#[test]
fn an_alias_is_taken_away_from_one_device_or_from_all() {
    let mut running = Running::new();
    for on in ["1", "2", "3"] {
        running.open("alice", on);
        assert_eq!(bind(&mut running, "red", on), None);
    }
    assert_eq!(unbind(&mut running, "blue", Some("1")), Some(Reason::NoSuchAlias));
    assert_eq!(unbind(&mut running, "red", Some("1")), None);
    assert_eq!(unbind(&mut running, "red", Some("1")), Some(Reason::NoSuchAlias));
    assert_eq!(devices(&running, "red"), ["2", "3"]);
    running = running.restart();
    assert_eq!(devices(&running, "red"), ["2", "3"]);
    assert_eq!(unbind(&mut running, "red", None), None);
    for _ in 0..2 {
        assert_eq!(devices(&running, "red"), [""; 0]);
        assert_eq!(found(&running, "3").unwrap().1, None);
        running = running.crash();
    }
    assert_eq!(unbind(&mut running, "red", None), Some(Reason::NoSuchAlias));
    running.commit_something();
    assert_eq!(running.metrics.aliases.get(), 0);
}

#[test]
fn a_client_binds_its_own_device_and_gives_away_only_what_that_has() {
    let mut running = Running::new();
    for on in ["phone", "laptop"] {
        running.open("alice", on);
    }
    let by = || Some(device("phone"));
    let bind = |on: &str| AliasChange::Bind { alias: alias("red"), device: device(on) };
    let unbind =
        |on: Option<&str>| AliasChange::Unbind { alias: alias("red"), device: on.map(device) };
    assert_eq!(change(&mut running, bind("laptop"), by()), Some(Reason::NoSuchDevice));
    assert_eq!(change(&mut running, bind("laptop"), Some(device("laptop"))), None);
    for on in [Some("phone"), Some("laptop"), None] {
        assert_eq!(change(&mut running, unbind(on), by()), Some(Reason::NoSuchAlias));
    }
    assert_eq!(devices(&running, "red"), ["laptop"]);
    assert_eq!(change(&mut running, bind("phone"), by()), None);
    assert_eq!(change(&mut running, unbind(Some("phone")), by()), None);
    assert_eq!(change(&mut running, bind("phone"), by()), None);
    assert_eq!(change(&mut running, unbind(None), by()), None);
    assert_eq!(devices(&running, "red"), [""; 0]);
}

#[test]
fn who_logs_out_or_stays_away_too_long_is_gone_but_keeps_the_alias() {
    let mut running = Running::new();
    let opened = running.open("alice", "phone");
    assert_eq!(bind(&mut running, "red", "phone"), None);
    running.end("alice", "phone", opened.session, true);
    for _ in 0..2 {
        assert_eq!(routes(&running, "red"), [route("phone", "alice", false, true)]);
        running = running.restart();
    }
    let opened = running.open("alice", "phone");
    assert_eq!(routes(&running, "red"), [route("phone", "alice", true, false)]);
    running.end("alice", "phone", opened.session, false);
    running.step(WINDOW_AGE.as_millis() as i64 - 1_000);
    assert_eq!(routes(&running, "red"), [route("phone", "alice", false, false)]);
    running.step(1_000);
    assert_eq!(routes(&running, "red"), [route("phone", "alice", false, true)]);
}

#[test]
fn a_device_that_had_to_go_for_a_newer_one_goes_with_its_alias() {
    let mut running = Running::with(|options| options.devices_max = 2);
    for (who, on) in [("alice", "1"), ("alice", "2"), ("bob", "2")] {
        running.open(who, on);
        running.step(1);
        assert_eq!(bind(&mut running, "red", on), None);
    }
    running.open("alice", "3");
    running.step(1);
    running.open("alice", "4");
    for _ in 0..2 {
        assert_eq!(found(&running, "1"), None);
        // Bob has opened on it since, so it is not Alice's to lose.
        assert_eq!(devices(&running, "red"), ["2"]);
        assert_eq!(found(&running, "2").unwrap().0.peer, peer("bob"));
        running = running.crash();
    }
    running = running.restart();
    assert_eq!((found(&running, "1"), devices(&running, "red").len()), (None, 1));
    running.open("alice", "1");
    assert_eq!(found(&running, "1").unwrap().1, None);
}
