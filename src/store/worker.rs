//! The segment thread: makes the next segment ready, writes the index of a closed one, removes
//! expired ones.
//!
//! # Invariants
//!
//! * Nothing here is waited for on the path of a message, but the next segment when the log grows
//!   faster than segments can be made.
//! * A failure to make a segment is told to the commit thread; a failure to index or to remove one
//!   is told to the operator and tried again at the next start.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::chain::Chain;
use crate::store::catalog::{Catalog, OpenSegment};
use crate::store::image::SegmentInfo;
use crate::store::index::OpenIndex;
use crate::store::log::scan_places;
use crate::store::segment::{DatabaseError, Segment, remove_database};

/// Jobs that wait: one of each kind, and a removal for each segment that a start may find expired.
const JOBS_MAX: usize = 1024;

enum Job {
    Prepare(u32),
    Index(Arc<OpenSegment>, SegmentInfo),
    /// A segment whose index was not written before a stop.
    Reindex(u32, SegmentInfo),
    Remove(u32),
}

/// A handle on the segment thread. Dropping it lets the thread finish its jobs.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Option<Sender<Job>>,
    pub(super) prepared: Receiver<Result<Segment, DatabaseError>>,
    /// Segments that now have their index.
    pub(super) indexed: Receiver<(u32, SegmentInfo)>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(catalog: Arc<Catalog>) -> Result<Self, std::io::Error> {
        let (jobs, todo) = bounded(JOBS_MAX);
        let (prepared_tx, prepared) = bounded(1);
        let (indexed_tx, indexed) = bounded(JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name("tidings-segment".into())
            .spawn(move || run(&catalog, &todo, &prepared_tx, &indexed_tx))?;
        Ok(Self { jobs: Some(jobs), prepared, indexed, thread: Some(thread) })
    }

    pub(super) fn prepare(&self, number: u32) {
        self.give(Job::Prepare(number));
    }

    pub(super) fn index(&self, segment: Arc<OpenSegment>, info: SegmentInfo) {
        self.give(Job::Index(segment, info));
    }

    pub(super) fn reindex(&self, number: u32, info: SegmentInfo) {
        self.give(Job::Reindex(number, info));
    }

    pub(super) fn remove(&self, number: u32) {
        self.give(Job::Remove(number));
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
    todo: &Receiver<Job>,
    prepared: &Sender<Result<Segment, DatabaseError>>,
    indexed: &Sender<(u32, SegmentInfo)>,
) {
    for job in todo {
        match job {
            Job::Prepare(number) => {
                if prepared.send(Segment::open(&catalog.folder, number)).is_err() {
                    return;
                }
            }
            Job::Index(segment, info) => {
                let number = segment.segment.number;
                finish(catalog, indexed, info, number, || write_index(&segment));
                drop(segment);
            }
            Job::Reindex(number, info) => {
                finish(catalog, indexed, info, number, || reindex(catalog, number));
            }
            Job::Remove(number) => {
                if let Err(error) = remove_database(&Segment::path(&catalog.folder, number)) {
                    tracing::warn!(number, error = %Chain(&error), "cannot remove a segment");
                }
            }
        }
    }
}

fn finish(
    catalog: &Catalog,
    indexed: &Sender<(u32, SegmentInfo)>,
    mut info: SegmentInfo,
    number: u32,
    work: impl FnOnce() -> Result<u64, DatabaseError>,
) {
    match work() {
        Ok(bytes) => (info.bytes, info.indexed) = (bytes, true),
        Err(error) => tracing::warn!(number, error = %Chain(&error), "cannot index a segment"),
    }
    catalog.close(number, info);
    // The receiver is gone only while the store closes.
    let _ = indexed.try_send((number, info));
}

fn write_index(open: &OpenSegment) -> Result<u64, DatabaseError> {
    open.index.write(&open.segment)?;
    open.segment.database.sync()?;
    Ok(open.segment.database.bytes())
}

fn reindex(catalog: &Catalog, number: u32) -> Result<u64, DatabaseError> {
    let segment = Segment::open(&catalog.folder, number)?;
    let index = OpenIndex::default();
    // What was before is not known any more: 1 below, where a search goes on.
    index.extend(scan_places(&segment, number.saturating_sub(1)));
    write_index(&OpenSegment { segment, index })
}
