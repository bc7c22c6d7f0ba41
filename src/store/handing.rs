//! Handing out what commits brought, in order: on a thread of its own beside the next commit, or,
//! if it is little and nothing waits for that thread, at once on the commit thread. Waking another
//! thread costs more than handing out a message.
//!
//! # Invariants
//!
//! * Commits are handed out one after the other, in log order.
//! * What the commit thread hands out itself is for at most [`HANDED_AT_ONCE_MAX`] recipients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::id::MessageId;
use crate::limits::{DISPATCH_QUEUE_COMMITS_MAX, HANDED_AT_ONCE_MAX};
use crate::store::queue::Queue;
use crate::store::{Commit, Outcome};

/// What is done with the outcomes of a commit, and the last position of the log.
type HandOut<T> = Box<dyn FnMut(Vec<Outcome<T>>, MessageId) + Send>;

/// The commit thread's end.
pub(super) struct Dispatch<T> {
    shared: Arc<Shared<T>>,
    commits: Sender<Commit<T>>,
}

/// The end of the dispatcher's thread.
pub(super) struct Dispatcher<T> {
    shared: Arc<Shared<T>>,
    commits: Receiver<Commit<T>>,
}

struct Shared<T> {
    hand_out: Mutex<HandOut<T>>,
    queue: Arc<Queue<T>>,
    /// Commits that the dispatcher's thread has not handed out yet.
    waiting: AtomicUsize,
}

/// Both ends.
pub(super) fn dispatch<T>(
    queue: Arc<Queue<T>>,
    hand_out: impl FnMut(Vec<Outcome<T>>, MessageId) + Send + 'static,
) -> (Dispatch<T>, Dispatcher<T>) {
    let (commits_tx, commits) = bounded(DISPATCH_QUEUE_COMMITS_MAX);
    let (hand_out, waiting) = (Mutex::new(Box::new(hand_out) as _), AtomicUsize::new(0));
    let shared = Arc::new(Shared { hand_out, queue, waiting });
    (Dispatch { shared: shared.clone(), commits: commits_tx }, Dispatcher { shared, commits })
}

impl<T> Dispatch<T> {
    /// Hands a commit out, or has it handed out.
    pub(super) fn hand_out(&self, commit: Commit<T>) {
        let is_little = commit.outcomes.len() <= HANDED_AT_ONCE_MAX
            && commit.outcomes.iter().map(recipients).sum::<usize>() <= HANDED_AT_ONCE_MAX;
        if is_little && self.shared.waiting.load(Ordering::Acquire) == 0 {
            return self.shared.hand_out(commit);
        }
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        // The dispatcher ends after the commit thread, unless it failed, which ends the process.
        let _ = self.commits.send(commit);
    }
}

impl<T> Dispatcher<T> {
    /// Hands out commits until there are no more.
    pub(super) fn run(self) {
        for commit in self.commits {
            self.shared.hand_out(commit);
            self.shared.waiting.fetch_sub(1, Ordering::Release);
        }
    }
}

impl<T> Shared<T> {
    fn hand_out(&self, commit: Commit<T>) {
        (self.hand_out.lock())(commit.outcomes, commit.head);
        self.queue.release(commit.permits);
    }
}

/// How many peers hear of an outcome, or what it costs as much as.
fn recipients<T>(outcome: &Outcome<T>) -> usize {
    1 + match outcome {
        // It may watch a thousand others.
        Outcome::Opened { .. } => HANDED_AT_ONCE_MAX,
        Outcome::Stored { message, members, .. } => {
            members.as_ref().map_or(message.to.len(), |members| members.len())
        }
        Outcome::Marked { to, .. } => to.len(),
        Outcome::Grouped { told, .. } | Outcome::Told { told, .. } => {
            told.as_ref().map_or(0, |told| told.to.len())
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::reason::Reason;

    fn commit(head: i64, outcomes: usize) -> Commit<()> {
        let refused = || Outcome::Refused { caller: (), reason: Reason::Busy };
        let outcomes = std::iter::repeat_with(refused).take(outcomes).collect();
        Commit { outcomes, head: MessageId(head), permits: 0 }
    }

    #[test]
    fn a_small_commit_is_handed_out_at_once_but_never_before_a_larger_one() {
        let (queue, _taker) = crate::store::queue::queue::<()>();
        let (heads_tx, heads) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel();
        let (dispatch, dispatcher) = dispatch(Arc::new(queue), move |outcomes, head| {
            if outcomes.len() > HANDED_AT_ONCE_MAX {
                may_go_on.recv().unwrap();
            }
            heads_tx.send(head.0).unwrap();
        });
        dispatch.hand_out(commit(1, HANDED_AT_ONCE_MAX));
        assert_eq!(heads.try_recv(), Ok(1), "on this thread");
        dispatch.hand_out(commit(2, HANDED_AT_ONCE_MAX + 1));
        dispatch.hand_out(commit(3, 1));
        assert!(heads.try_recv().is_err(), "both wait for the thread");
        let thread = std::thread::spawn(move || dispatcher.run());
        go_on.send(()).unwrap();
        assert_eq!((heads.recv(), heads.recv()), (Ok(2), Ok(3)));
        drop(dispatch);
        thread.join().unwrap();
    }
}
