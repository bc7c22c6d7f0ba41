//! What the directory says of devices and aliases, and what it keeps in memory.

use tempfile::TempDir;

use super::*;

fn peer() -> PeerId {
    PeerId::new("ann").unwrap()
}

fn device(number: usize) -> DeviceId {
    DeviceId::new(&format!("device-{number:07}")).unwrap()
}

fn alias(name: &str) -> Alias {
    Alias::new(name).unwrap()
}

fn state(folder: &TempDir) -> State {
    State::open(folder.path()).unwrap().state
}

/// A directory that knows so many devices.
fn directory(state: &State, count: usize) -> Directory {
    let mut directory = Directory::open(state).unwrap();
    for number in 0..count {
        directory.opened(state, &device(number), &peer(), MessageId(1)).unwrap();
    }
    directory
}

fn flush(directory: &mut Directory, state: &State) {
    let mut changes = Changes::default();
    while directory.flush_some(1_000, &mut changes) {
        std::mem::take(&mut changes).apply(state).unwrap();
    }
}

#[test]
fn one_device_with_an_alias_too_many_is_refused_but_one_that_has_an_alias_may_have_another() {
    let folder = tempfile::tempdir().unwrap();
    let state = state(&folder);
    let mut directory = directory(&state, 2);
    directory.bind(&state, &alias("a"), &device(0), MessageId(2)).unwrap();
    directory.aliased = ALIASED_DEVICES_MAX;
    let mut judge = |number| directory.judge(&state, &alias("b"), &device(number), 10).unwrap();
    assert_eq!(judge(1), Err(Reason::TooManyAliases));
    assert_eq!(judge(0), Ok(true));
    directory.unbind(&state, &alias("a"), &device(0), MessageId(3)).unwrap();
    assert_eq!(directory.judge(&state, &alias("b"), &device(1), 10).unwrap(), Ok(true));
}

#[test]
fn what_the_row_of_an_alias_names_in_vain_is_left_out_and_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let state = state(&folder);
    let mut before = directory(&state, 3);
    (0..2).for_each(|number| {
        before.bind(&state, &alias("a"), &device(number), MessageId(2)).unwrap();
    });
    flush(&mut before, &state);
    // The rows of the devices reach the state, that of the alias does not.
    before.unbind(&state, &alias("a"), &device(0), MessageId(3)).unwrap();
    before.dirty_aliases.clear();
    flush(&mut before, &state);
    let mut after = Directory::open(&state).unwrap();
    assert_eq!(after.judge(&state, &alias("a"), &device(2), 2).unwrap(), Ok(true));
    assert_eq!(after.devices_of(&state, &alias("a")).unwrap(), [device(1)]);
    assert_eq!(after.aliased, 1);
    flush(&mut after, &state);
    assert_eq!(state.alias(&alias("a")).unwrap(), Some(vec![device(1)]));
}

#[test]
fn how_many_devices_have_an_alias_is_known_again_without_counting_them() {
    let folder = tempfile::tempdir().unwrap();
    let state = state(&folder);
    let mut directory = directory(&state, 9);
    for number in 0..6 {
        directory.bind(&state, &alias("a"), &device(number), MessageId(2)).unwrap();
    }
    flush(&mut directory, &state);
    directory.unbind(&state, &alias("a"), &device(0), MessageId(3)).unwrap();
    directory.forget(&state, &device(1), &peer(), MessageId(4)).unwrap();
    directory.bind(&state, &alias("b"), &device(2), MessageId(5)).unwrap();
    assert_eq!((directory.aliased, Directory::open(&state).unwrap().aliased), (4, 6));
    flush(&mut directory, &state);
    assert_eq!(Directory::open(&state).unwrap().aliased, 4);
    directory.forget(&state, &device(2), &peer(), MessageId(6)).unwrap();
    assert_eq!(state.device(&device(1)).unwrap(), None);
    assert_eq!(directory.aliased, 3);
}

#[test]
fn devices_that_the_state_knows_are_not_all_kept_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let state = state(&folder);
    let mut directory = directory(&state, 10);
    flush(&mut directory, &state);
    for number in 0..2 * DIRECTORY_CACHED_MAX {
        let known = directory.device(&state, &device(number)).unwrap();
        assert_eq!(known.is_some(), number < 10);
        assert!(directory.devices.len() <= DIRECTORY_CACHED_MAX);
    }
    assert!(directory.device(&state, &device(9)).unwrap().is_some());
}
