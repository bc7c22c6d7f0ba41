//! The rules of the inbox against a model.

use proptest::prelude::*;

use super::*;

/// A simple telling of the same rules, one message and one device at a time.
#[derive(Default)]
struct Model {
    inbox: Vec<ModelMessage>,
    devices: Vec<ModelDevice>,
    away_at_ms: i64,
    unclaimed: Vec<i64>,
    /// The receipts that are due.
    due: Vec<i64>,
}

#[derive(Clone)]
struct ModelMessage {
    id: i64,
    at_ms: i64,
    /// 0 for never.
    expires_ms: i64,
    /// It came while the peer was away.
    away: bool,
    /// The devices that it is for; `None` for all.
    on: Option<Vec<usize>>,
}

impl ModelMessage {
    fn is_for(&self, name: usize) -> bool {
        self.on.as_ref().is_none_or(|on| on.contains(&name))
    }

    fn is_wanted(&self, now_ms: i64) -> bool {
        self.expires_ms == 0 || now_ms < self.expires_ms
    }
}

#[derive(Clone, Default)]
struct ModelDevice {
    name: usize,
    session: Option<SessionId>,
    seen_ms: i64,
    closed: bool,
    cursor: i64,
    /// Given up while it had no session, and while it had one.
    lost: Vec<i64>,
    missed: Vec<i64>,
}

impl ModelDevice {
    fn counts(&self, now_ms: i64) -> bool {
        self.session.is_some() || (!self.closed && now_ms - self.seen_ms < RULES.window_age_ms)
    }

    /// What it has had all of is not lost.
    fn forget_lost(&mut self) {
        if self.lost.iter().all(|lost| *lost <= self.cursor) {
            self.lost.clear();
        }
    }
}

impl Model {
    fn counted(&mut self, now_ms: i64) -> impl Iterator<Item = &mut ModelDevice> {
        self.devices.iter_mut().filter(move |device| device.counts(now_ms))
    }

    fn give_up(&mut self, at: usize, now_ms: i64) {
        let gone = self.inbox.remove(at);
        self.due.retain(|due| *due != gone.id);
        if !gone.is_wanted(now_ms) {
            return;
        }
        let nobody = self.counted(now_ms).next().is_none();
        if nobody && gone.on.is_none() {
            self.unclaimed.push(gone.id);
        }
        for device in &mut self.devices {
            let may_lose = device.counts(now_ms) || (nobody && gone.on.is_some());
            if may_lose && gone.is_for(device.name) && device.cursor < gone.id {
                let has_session = device.session.is_some();
                let list = if has_session { &mut device.missed } else { &mut device.lost };
                list.push(gone.id);
            }
        }
    }

    fn send(&mut self, id: i64, now_ms: i64, ttl_ms: i64, on: Option<Vec<usize>>, rules: &Rules) {
        let online = self.devices.iter().any(|device| device.session.is_some());
        let away = !online && now_ms >= self.away_at_ms;
        let expires_ms = if ttl_ms == 0 { 0 } else { now_ms + ttl_ms };
        let message = ModelMessage { id, at_ms: now_ms, expires_ms, away, on };
        if message.on.is_some() && !self.waits(&message, now_ms) {
            return;
        }
        self.due.push(id);
        self.inbox.push(message);
        if self.inbox.iter().filter(|message| message.away).count() > rules.window_messages {
            let at = self.inbox.iter().position(|message| message.away).unwrap();
            self.give_up(at, now_ms);
        }
        if self.inbox.len() > rules.inbox_max {
            self.give_up(0, now_ms);
        }
    }

    /// Whether a message waits for somebody.
    fn waits(&self, message: &ModelMessage, now_ms: i64) -> bool {
        let is_for = |device: &&ModelDevice| message.is_for(device.name);
        let mut counted = self.devices.iter().filter(|device| device.counts(now_ms)).peekable();
        match counted.peek() {
            Some(_) => counted.filter(is_for).any(|device| device.cursor < message.id),
            None => message.on.is_none() || self.devices.iter().any(|device| is_for(&device)),
        }
    }

    /// Lets go of what waits for nobody.
    fn release(&mut self, now_ms: i64) {
        let inbox = std::mem::take(&mut self.inbox);
        let (waiting, gone): (Vec<_>, Vec<_>) =
            inbox.into_iter().partition(|message| self.waits(message, now_ms));
        self.inbox = waiting;
        self.due.retain(|due| gone.iter().all(|gone| gone.id != *due));
    }

    /// A device has had everything up to `id` that is for it.
    fn receive(&mut self, name: usize, id: i64) {
        let Self { inbox, due, .. } = self;
        let had = inbox.iter().filter(|message| message.id <= id && message.is_for(name));
        had.for_each(|had| due.retain(|due| *due != had.id));
    }

    /// Forgets a device for one that comes, if there are too many.
    fn make_room(&mut self, rules: &Rules) {
        if self.devices.len() < rules.devices_max {
            return;
        }
        let devices = self.devices.iter().enumerate();
        let oldest = devices.min_by_key(|(_, device)| (device.session.is_some(), device.seen_ms));
        let forgotten = self.devices.remove(oldest.unwrap().0).name;
        for on in self.inbox.iter_mut().filter_map(|message| message.on.as_mut()) {
            on.retain(|name| *name != forgotten);
        }
    }

    fn open(
        &mut self,
        name: usize,
        session: SessionId,
        now_ms: i64,
        rules: &Rules,
    ) -> (u64, usize) {
        while self.inbox.first().is_some_and(|m| now_ms - m.at_ms >= RULES.window_age_ms) {
            self.give_up(0, now_ms);
        }
        let start = self.counted(now_ms).map(|device| device.cursor).min();
        let at = self.devices.iter().position(|device| device.name == name).unwrap_or_else(|| {
            self.make_room(rules);
            let closed = true;
            self.devices.push(ModelDevice { name, closed, ..Default::default() });
            self.devices.len() - 1
        });
        if start.is_none() {
            let unclaimed = std::mem::take(&mut self.unclaimed);
            self.devices[at].lost.extend(unclaimed);
        }
        let device = &mut self.devices[at];
        device.forget_lost();
        let missed = std::mem::take(&mut device.missed);
        device.lost.extend(missed);
        if !device.counts(now_ms) {
            device.cursor = device.cursor.max(start.unwrap_or(0));
        }
        (device.session, device.closed) = (Some(session), false);
        device.seen_ms = now_ms;
        let (cursor, lost) = (device.cursor, device.lost.len() as u64);
        self.inbox.iter_mut().for_each(|message| message.away = false);
        self.release(now_ms);
        let inbox = self.inbox.iter().filter(|m| m.id > cursor && m.is_for(name));
        (lost, inbox.filter(|m| m.is_wanted(now_ms)).count())
    }

    fn ack(&mut self, name: usize, id: i64, now_ms: i64) {
        if let Some(device) = self.devices.iter_mut().find(|device| device.name == name) {
            device.cursor = device.cursor.max(id);
            device.forget_lost();
            self.receive(name, id);
            self.release(now_ms);
        }
    }

    fn end(&mut self, name: usize, closed: bool, now_ms: i64) {
        let device = self.devices.iter_mut().find(|device| device.name == name);
        let Some(device) = device.filter(|device| device.session.is_some()) else { return };
        (device.session, device.seen_ms, device.closed) = (None, now_ms, closed);
        if self.devices.iter().all(|device| device.session.is_none()) {
            let open = self.devices.iter().filter(|device| !device.closed);
            let ends_ms = open.map(|device| device.seen_ms + AWAY_AFTER_MS);
            self.away_at_ms = ends_ms.max().unwrap_or(now_ms);
        }
        if closed {
            self.release(now_ms);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    SendTo(Vec<usize>),
    SendWithTtl(i64),
    Open(usize),
    End(usize, bool),
    /// So many messages behind the oldest that waits.
    Ack(usize, usize),
    Wait(i64),
    /// Through its stored form and back.
    Store,
}

fn step() -> impl Strategy<Value = Step> {
    let device = 0..4usize;
    prop_oneof![
        3 => (1..8usize).prop_map(Step::Send),
        3 => prop::collection::btree_set(device.clone(), 1..3)
            .prop_map(|on| Step::SendTo(on.into_iter().collect())),
        1 => (1..100_000i64).prop_map(Step::SendWithTtl),
        3 => device.clone().prop_map(Step::Open),
        2 => (device.clone(), any::<bool>()).prop_map(|(device, closed)| Step::End(device, closed)),
        3 => (device, 0..12usize).prop_map(|(device, behind)| Step::Ack(device, behind)),
        1 => prop_oneof![Just(AWAY_AFTER_MS / 2), Just(AWAY_AFTER_MS), Just(3 * DAY_MS)]
            .prop_map(Step::Wait),
        1 => Just(Step::Store),
    ]
}

fn compare(steps: &[Step]) -> Result<(), TestCaseError> {
    let rules = Rules { window_messages: 5, inbox_max: 20, devices_max: 3, ..RULES };
    let mut bob = Bob { rules, ..Bob::new() };
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Send(count) => {
                for id in bob.send(*count) {
                    model.send(id, bob.now_ms, 0, None, &rules);
                }
            }
            Step::SendTo(on) => {
                let names: Vec<String> = on.iter().map(ToString::to_string).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let (id, _) = bob.send_one(&names, 0);
                let known = model.devices.iter().map(|device| device.name);
                let known = known.filter(|name| on.contains(name)).collect();
                model.send(id, bob.now_ms, 0, Some(known), &rules);
            }
            Step::SendWithTtl(ttl_ms) => {
                let (id, _) = bob.send_one(&[], *ttl_ms);
                model.send(id, bob.now_ms, *ttl_ms, None, &rules);
            }
            Step::Open(name) => {
                let (session, found) = bob.open(&name.to_string());
                let expected = model.open(*name, session, bob.now_ms, &rules);
                prop_assert_eq!((found.loss.count, found.waiting), expected);
            }
            Step::End(name, closed) => {
                let known = model.devices.iter().find(|device| device.name == *name);
                let session = known.and_then(|device| device.session).unwrap_or_default();
                let on = device(&name.to_string());
                bob.peer.end(&on, session, *closed, bob.now_ms, &rules);
                model.end(*name, *closed, bob.now_ms);
            }
            Step::Ack(name, behind) => {
                let id = bob.inbox().get(*behind).copied().unwrap_or(0);
                bob.ack(&name.to_string(), id);
                model.ack(*name, id, bob.now_ms);
            }
            Step::Wait(ms) => bob.wait(*ms),
            Step::Store => bob.store(),
        }
        let expected: Vec<i64> = model.inbox.iter().map(|message| message.id).collect();
        prop_assert_eq!(bob.inbox(), expected, "after {:?}", step);
        prop_assert_eq!(bob.due(), model.due.clone(), "after {:?}", step);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_inbox_does_what_its_rules_say(steps in prop::collection::vec(step(), 1..60)) {
        compare(&steps)?;
    }
}
