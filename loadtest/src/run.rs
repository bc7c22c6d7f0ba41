//! What the sessions of one run share: the clock, the phase, the ledger, the records, the mail.
//!
//! # Invariants
//!
//! * A phase only ever moves forward, and every session is woken when it does.
//! * Each session takes its mail with its own task's waker in place, so that none is missed.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tidings::limits::SYSTEM_PEER;

use crate::acks::LOOK;
use crate::frames::DeliverView;
use crate::group::Groups;
use crate::names::Names;
use crate::proof::Ledger;
use crate::record::{Record, Records};
use crate::roster::Roster;
use crate::stamp::Stamp;
use crate::tide::Tide;

/// Problems that are kept for the report; the rest is only counted.
const TROUBLES_MAX: usize = 5;

/// What the sessions do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
#[repr(u8)]
pub(crate) enum Phase {
    /// They open, receive, and wait.
    Open,
    /// They send.
    Send,
    /// They send no more, and await what is under way.
    Quiet,
    /// They ask the server for a last sign of life, behind which nothing may come.
    Fence,
    /// They end.
    End,
}

const PHASES: [Phase; 5] = [Phase::Open, Phase::Send, Phase::Quiet, Phase::Fence, Phase::End];

/// What reaches a session other than by its stream.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) slot: Mutex<Slot>,
    /// When an acknowledgement goes out alone, in nanoseconds; 0 if none is owed.
    pub(crate) ack_due: AtomicU64,
}

/// The part of the mail that needs its lock.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// The session's task.
    pub(crate) waker: Option<Waker>,
    /// When its next sends are due, or its next change between on and off line, in nanoseconds.
    pub(crate) due: VecDeque<u64>,
    /// When its socket was changed, in nanoseconds.
    pub(crate) moved: VecDeque<u64>,
}

impl Mail {
    /// Makes the session's task look again.
    pub(crate) fn wake(&self) {
        let waker = self.slot.lock().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Lets a session take what is due, and wakes its task when more is.
    pub(crate) fn take(&self, cx: &Context<'_>, due: &mut VecDeque<u64>) -> MutexGuard<'_, Slot> {
        let mut slot = self.slot.lock();
        due.append(&mut slot.due);
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        slot
    }

    /// A session has ended: what came too late for it is for the next one of the peer.
    pub(crate) fn leave(&self, due: &mut VecDeque<u64>) {
        self.ack_due.store(0, Ordering::Relaxed);
        let mut slot = self.slot.lock();
        slot.waker = None;
        due.append(&mut slot.due);
        slot.due.append(due);
    }

    /// Says that something is due, or was, at a moment.
    pub(crate) fn ask(&self, due_ns: u64) {
        self.slot.lock().due.push_back(due_ns);
        self.wake();
    }

    /// Waits for what is due, for a peer without a session; `None` when the run ends.
    ///
    /// # Cancel safety
    ///
    /// What is due stays so if the future is dropped.
    pub(crate) async fn next_due(&self, run: &Run) -> Option<u64> {
        poll_fn(|cx| {
            let mut slot = self.slot.lock();
            slot.waker = Some(cx.waker().clone());
            match run.phase() {
                Phase::End => Poll::Ready(None),
                _ => slot.due.pop_front().map_or(Poll::Pending, |due_ns| Poll::Ready(Some(due_ns))),
            }
        })
        .await
    }
}

/// When something happens in a run, and where it is noted.
pub(crate) struct Moment<'a> {
    pub(crate) now_ns: u64,
    pub(crate) run: &'a Run,
    pub(crate) record: &'a mut Record,
}

/// What the sessions of one run share.
#[derive(Debug)]
pub(crate) struct Run {
    started: Instant,
    phase: AtomicU8,
    /// The measured time, in nanoseconds of the clock.
    from_ns: AtomicU64,
    to_ns: AtomicU64,
    pub(crate) names: Names,
    /// Bytes of a body.
    pub(crate) payload: usize,
    /// The app's back end sends every message, as text; each to the peer that its stamp names.
    pub(crate) from_backend: bool,
    /// Peers that send, and are sent to, by themselves: those with indices below it.
    pub(crate) talkers: u32,
    /// Of them, how many each sends to: those behind it; all others if `None`.
    pub(crate) partners: Option<u32>,
    pub(crate) ledger: Ledger,
    /// Recipients of each send; of several, the peers behind the sender, so that a sender has one
    /// conversation.
    pub(crate) recipients: u32,
    /// What is sent to groups, if there are any.
    pub(crate) groups: Groups,
    /// Who watches whom, if anybody does.
    pub(crate) roster: Roster,
    /// How much is to be sent at the moment, where that changes.
    pub(crate) tide: Tide,
    /// Whether each time is kept with its moment.
    pub(crate) keeps_samples: bool,
    pub(crate) records: Records,
    pub(crate) mail: Box<[Mail]>,
    /// The ids acknowledged for each recipient, where they are wanted.
    pub(crate) stored: Option<Box<[Mutex<Vec<u64>>]>>,
    /// Recipients that did not get exactly the newest of their messages.
    pub(crate) wrong_windows: AtomicU64,
    /// Sends that the mail has asked for.
    pub(crate) asked: AtomicU64,
    /// Changes of sockets.
    pub(crate) rebinds: AtomicU64,
    /// Sessions that are open.
    pub(crate) open: AtomicU64,
    /// Sessions behind whose fence nothing is under way.
    pub(crate) fenced: AtomicU64,
    /// Sessions that ended before they should.
    pub(crate) broken: AtomicU64,
    troubles: Mutex<Vec<String>>,
    stop_ticking: AtomicBool,
}

impl Run {
    /// A run of peers with indices below `peers`.
    pub(crate) fn new(peers: u32, payload: usize, keep_ids: bool) -> Self {
        Self {
            started: Instant::now(),
            phase: AtomicU8::new(Phase::Open as u8),
            from_ns: AtomicU64::new(u64::MAX),
            to_ns: AtomicU64::new(u64::MAX),
            names: Names::random(),
            payload,
            from_backend: false,
            talkers: peers,
            partners: None,
            ledger: Ledger::new(peers),
            recipients: 1,
            groups: Groups::new(0, 0),
            roster: Roster::default(),
            tide: Tide::default(),
            keeps_samples: false,
            records: Records::new(),
            mail: (0..peers).map(|_| Mail::default()).collect(),
            stored: keep_ids.then(|| (0..peers).map(|_| Mutex::default()).collect()),
            wrong_windows: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            rebinds: AtomicU64::new(0),
            open: AtomicU64::new(0),
            fenced: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            troubles: Mutex::default(),
            stop_ticking: AtomicBool::new(false),
        }
    }

    /// Nanoseconds since the run began; never 0.
    pub(crate) fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64 + 1
    }

    /// This moment, noted in `record`.
    pub(crate) fn moment<'a>(&'a self, now_ns: u64, record: &'a mut Record) -> Moment<'a> {
        Moment { now_ns, run: self, record }
    }

    /// The moment `ns` of the clock.
    pub(crate) fn at(&self, ns: u64) -> Instant {
        self.started + Duration::from_nanos(ns)
    }

    /// What the sessions do.
    pub(crate) fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Acquire)).min(PHASES.len() - 1)]
    }

    /// Moves on to a later phase and tells every session.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.mail.iter().for_each(Mail::wake);
    }

    /// Sets the measured time, in nanoseconds of the clock.
    pub(crate) fn measure(&self, from_ns: u64, to_ns: u64) {
        self.to_ns.store(to_ns, Ordering::Relaxed);
        self.from_ns.store(from_ns, Ordering::Relaxed);
    }

    /// Whether a moment is in the measured time.
    pub(crate) fn is_measured(&self, ns: u64) -> bool {
        self.from_ns.load(Ordering::Relaxed) <= ns && ns < self.to_ns.load(Ordering::Relaxed)
    }

    /// The stamp of a message that came, if it is from who it says and as long as all are.
    pub(crate) fn stamp(&self, view: &DeliverView<'_>) -> Option<Stamp> {
        let stamp = match self.from_backend {
            true => Stamp::of_text(view.body).filter(|_| view.from == SYSTEM_PEER.as_bytes()),
            false => Stamp::of(view.body).filter(|s| view.from == self.names.name(s.sender)),
        };
        stamp.filter(|_| view.body.len() == self.payload)
    }

    /// The place of a peer among the recipients of a sender's messages, if it is one of them.
    pub(crate) fn place(&self, sender: u32, recipient: u32) -> Option<u32> {
        let behind = (recipient + self.talkers).checked_sub(sender + 1)? % self.talkers;
        (behind < self.recipients).then_some(behind)
    }

    /// The number under which the ledger knows a message to one of several recipients.
    pub(crate) fn entry(&self, number: u64, place: u32) -> u64 {
        number * u64::from(self.recipients) + u64::from(place)
    }

    /// Counts a session as open while it runs, and as broken if it does not end well within
    /// `limit`; says whether it did.
    pub(crate) async fn hold(
        &self,
        limit: Duration,
        session: impl Future<Output = Result<(), String>>,
    ) -> bool {
        self.open.fetch_add(1, Ordering::Relaxed);
        let over = tokio::time::timeout(limit, session)
            .await
            .unwrap_or_else(|_| Err(format!("a session did not end within {limit:?}")));
        self.open.fetch_sub(1, Ordering::Relaxed);
        over.map_err(|why| self.broke(why)).is_ok()
    }

    /// A session ended before it should.
    pub(crate) fn broke(&self, why: String) {
        self.broken.fetch_add(1, Ordering::Relaxed);
        self.trouble(why);
    }

    /// Keeps a problem for the report.
    pub(crate) fn trouble(&self, text: String) {
        let mut troubles = self.troubles.lock();
        if troubles.len() < TROUBLES_MAX && !troubles.contains(&text) {
            troubles.push(text);
        }
    }

    /// The first problems.
    pub(crate) fn troubles(&self) -> Vec<String> {
        self.troubles.lock().clone()
    }

    /// Wakes sessions whose acknowledgements are due, until [`Self::stop_ticking`].
    ///
    /// One thread looks at all sessions, so that none needs a timer of its own.
    pub(crate) fn tick(&self) {
        while !self.stop_ticking.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
            let now_ns = self.now_ns();
            for mail in &self.mail {
                let due_ns = mail.ack_due.load(Ordering::Relaxed);
                if due_ns != 0 && now_ns >= due_ns {
                    mail.wake();
                }
            }
        }
    }

    /// Ends [`Self::tick`].
    pub(crate) fn stop_ticking(&self) {
        self.stop_ticking.store(true, Ordering::Relaxed);
    }
}
