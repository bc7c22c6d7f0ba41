//! The segment thread: makes the next segment ready, writes closed ones as files, mends damaged
//! ones, removes expired ones.
//!
//! # Invariants
//!
//! * A damaged segment is mended when no other job waits: it may take seconds.
//! * Nothing here is waited for on the path of a message, but the next segment when the log grows
//!   faster than segments can be made.
//! * A failure to make a segment is told to the commit thread. One whose file cannot be written is
//!   told to the operator, stays what it is, and is tried again with the next job.
//! * What a segment was goes when its file has taken its place.
//! * Copying the records of a segment takes a quarter of a processor, unless a further job waits or
//!   the server ends: those who send need it more, and at full load the next segment is full only
//!   seconds later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};

use crate::chain::Chain;
use crate::id::MessageId;
use crate::limits::{SEGMENT_REST_MAX, SEGMENT_WORK_MIN};
use crate::metrics::Metrics;
use crate::store::catalog::{Catalog, OpenSegment};
use crate::store::closed::Closed;
use crate::store::database::{DatabaseError, remove_file, set_aside};
use crate::store::image::SegmentInfo;
use crate::store::mend::mend;
use crate::store::rewrite::{Rewritten, rewrite};
use crate::store::segment::Segment;

/// Jobs that wait: one of each kind, and a removal for each segment that a start may find expired.
const JOBS_MAX: usize = 1024;

enum Job {
    Prepare(u32),
    Close(Arc<OpenSegment>),
    Remove(Arc<Closed>),
    Mend(Arc<Closed>),
    /// Nothing: the last one, so that nobody rests while its end is waited for.
    End,
}

/// A handle on the segment thread. Dropping it lets the thread finish its jobs.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Option<Sender<Job>>,
    pub(super) prepared: Receiver<Result<Segment, DatabaseError>>,
    /// Segments that now have their file.
    pub(super) closed: Receiver<(u32, SegmentInfo)>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, std::io::Error> {
        let (jobs, todo) = bounded(JOBS_MAX);
        let (prepared_tx, prepared) = bounded(1);
        let (closed_tx, closed) = bounded(JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name("tidings-segment".into())
            .spawn(move || run(&catalog, &metrics, &todo, &prepared_tx, &closed_tx))?;
        Ok(Self { jobs: Some(jobs), prepared, closed, thread: Some(thread) })
    }

    pub(super) fn prepare(&self, number: u32) {
        self.give(Job::Prepare(number));
    }

    pub(super) fn close(&self, segment: Arc<OpenSegment>) {
        self.give(Job::Close(segment));
    }

    pub(super) fn remove(&self, closed: Arc<Closed>) {
        self.give(Job::Remove(closed));
    }

    pub(super) fn mend(&self, closed: Arc<Closed>) {
        self.give(Job::Mend(closed));
    }

    fn give(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // It fails only when the thread has died, which `prepared` shows to its reader.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.give(Job::End);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    catalog: &Catalog,
    metrics: &Metrics,
    todo: &Receiver<Job>,
    prepared: &Sender<Result<Segment, DatabaseError>>,
    closed: &Sender<(u32, SegmentInfo)>,
) {
    // Segments whose file is still to be written.
    let mut closing = Vec::new();
    let mut damaged = VecDeque::new();
    let mut is_ending = false;
    while let Some(job) = next(todo, &mut damaged) {
        match job {
            Job::Prepare(number) => {
                if prepared.send(Segment::open(&catalog.folder, number, MessageId::NONE)).is_err() {
                    return;
                }
            }
            Job::Close(segment) => closing.push(segment),
            Job::End => {
                is_ending = true;
                continue;
            }
            Job::Mend(closed) => {
                if let Err(error) = mend(catalog, &closed, metrics) {
                    let number = closed.number;
                    tracing::warn!(number, error = %Chain(&error), "cannot mend a segment");
                }
            }
            Job::Remove(closed) => {
                if let Err(error) = closed.remove() {
                    let number = closed.number;
                    tracing::warn!(number, error = %Chain(&error), "cannot remove a segment");
                }
            }
        }
        let mut rest = resting(|| is_ending || !todo.is_empty());
        let close = |segment| close(catalog, closed, segment, &mut rest);
        let failed = closing.into_iter().filter_map(close);
        closing = failed.collect();
    }
}

/// Rests now and then, whenever it is called, but not while a job waits.
fn resting(waits: impl Fn() -> bool) -> impl FnMut() {
    let mut since = Instant::now();
    move || {
        let worked = since.elapsed();
        if worked >= SEGMENT_WORK_MIN {
            std::thread::sleep(rest_after(worked, waits()));
            since = Instant::now();
        }
    }
}

/// How long to rest after so much work.
fn rest_after(worked: Duration, waits: bool) -> Duration {
    if waits { Duration::ZERO } else { SEGMENT_REST_MAX.min(worked * 3) }
}

/// The job that is next: a segment that is to be mended only if there is no other. `None` when all
/// are done and none will come.
fn next(todo: &Receiver<Job>, damaged: &mut VecDeque<Arc<Closed>>) -> Option<Job> {
    loop {
        let job = match todo.try_recv() {
            Ok(job) => job,
            Err(TryRecvError::Empty) if damaged.is_empty() => todo.recv().ok()?,
            Err(_) => return damaged.pop_front().map(Job::Mend),
        };
        match job {
            Job::Mend(closed) => damaged.push_back(closed),
            job => return Some(job),
        }
    }
}

/// Puts a file with an index into a segment's place; gives the segment back if that failed.
fn close(
    catalog: &Catalog,
    told: &Sender<(u32, SegmentInfo)>,
    segment: Arc<OpenSegment>,
    rest: &mut dyn FnMut(),
) -> Option<Arc<OpenSegment>> {
    let number = segment.segment.number;
    let Rewritten { closed, lost } = match rewrite(&catalog.folder, &segment, rest) {
        Ok(rewritten) => rewritten,
        Err(error) => {
            tracing::warn!(number, error = %Chain(&error), "cannot close a segment");
            return Some(segment);
        }
    };
    let info = closed.info();
    catalog.close(closed);
    // The receiver is gone only while the store closes.
    let _ = told.try_send((number, info));
    // Who reads it still has its file open.
    let path = &segment.segment.path;
    let gone = if lost { set_aside(path) } else { remove_file(path) };
    if let Err(error) = gone {
        tracing::warn!(number, error = %Chain(&error), "cannot remove what a segment was");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::closed::Footer;
    use crate::store::record::Header;

    fn closed(number: u32) -> Arc<Closed> {
        let none = MessageId::NONE;
        let last = Header { epoch: 0, first: none, before: none, commit: none, at_ms: 0, count: 1 };
        let (oldest_ms, newest_ms, records, subjects) = (0, 0, 0, 0);
        let (first, places, tables) = (none, 0, 0);
        let footer =
            Footer { last, first, oldest_ms, newest_ms, records, subjects, places, tables };
        Arc::new(Closed { number, path: "nowhere".into(), footer })
    }

    #[test]
    fn a_quarter_of_the_time_is_work_unless_a_job_waits() {
        assert_eq!(rest_after(SEGMENT_WORK_MIN, false), SEGMENT_WORK_MIN * 3);
        assert_eq!(rest_after(SEGMENT_REST_MAX, false), SEGMENT_REST_MAX, "a slow sync is no work");
        assert_eq!(rest_after(SEGMENT_WORK_MIN, true), Duration::ZERO);
    }

    #[test]
    fn a_mend_waits_for_every_other_job() {
        let (jobs, todo) = bounded(JOBS_MAX);
        let mut damaged = VecDeque::new();
        let mend = |number| Job::Mend(closed(number));
        for job in [mend(1), Job::Prepare(7), mend(2), Job::Prepare(8)] {
            jobs.send(job).unwrap();
        }
        let mut said = Vec::new();
        for round in 0..5 {
            match next(&todo, &mut damaged).unwrap() {
                Job::Prepare(number) => said.push(number),
                Job::Mend(closed) => said.push(closed.number),
                Job::Close(_) | Job::Remove(_) | Job::End => panic!("nobody asked for it"),
            }
            if round == 2 {
                jobs.send(Job::Prepare(9)).unwrap();
            }
        }
        assert_eq!(said, [7, 8, 1, 9, 2]);
        drop(jobs);
        assert!(next(&todo, &mut damaged).is_none());
    }
}
