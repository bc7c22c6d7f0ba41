//! The segment thread: makes the next segment ready, writes closed ones as files, mends damaged
//! ones, removes expired ones.
//!
//! # Invariants
//!
//! * Nothing here is waited for on the path of a message, but the next segment when the log grows
//!   faster than segments can be made.
//! * A failure to make a segment is told to the commit thread. One whose file cannot be written is
//!   told to the operator, stays what it is, and is tried again with the next job.
//! * What a segment was goes when its file has taken its place.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::chain::Chain;
use crate::id::MessageId;
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
    for job in todo {
        match job {
            Job::Prepare(number) => {
                if prepared.send(Segment::open(&catalog.folder, number, MessageId::NONE)).is_err() {
                    return;
                }
            }
            Job::Close(segment) => closing.push(segment),
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
        let failed = closing.into_iter().filter_map(|segment| close(catalog, closed, segment));
        closing = failed.collect();
    }
}

/// Puts a file with an index into a segment's place; gives the segment back if that failed.
fn close(
    catalog: &Catalog,
    told: &Sender<(u32, SegmentInfo)>,
    segment: Arc<OpenSegment>,
) -> Option<Arc<OpenSegment>> {
    let number = segment.segment.number;
    let Rewritten { closed, lost } = match rewrite(&catalog.folder, &segment) {
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
