//! Going through the segments that the last run left: each is opened, checked and replayed.
//!
//! # Invariants
//!
//! * Damage costs what is damaged, is named, and begins a new epoch. What cannot be opened for
//!   another reason, such as who may read it, stops the start.
//! * A loss is forgotten only with the new epoch on stable storage: a start that is cut before that
//!   finds it again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::Chain;
use crate::id::MessageId;
use crate::limits::TAIL_BYTES_MAX;
use crate::store::catalog::{Catalog, OpenSegment};
use crate::store::closed::{Closed, SEGMENT};
use crate::store::database::{DatabaseError, remove_file, set_aside, sync_folder};
use crate::store::image::SegmentInfo;
use crate::store::index::OpenIndex;
use crate::store::ledger::Ledger;
use crate::store::log::{DAY_MS, place};
use crate::store::mend::save;
use crate::store::record::{Header, Record};
use crate::store::recover::{OpenError, Report};
use crate::store::rewrite::NEW;
use crate::store::segment::{OPEN, Segment};
use crate::store::settle::Settling;
use crate::store::state::Changes;

/// Numbers that a conversation skips when the log may have lost some: more than a segment holds.
const SEQUENCE_JUMP: u32 = 1 << 20;

/// A replay on its way through the segments.
pub(super) struct Replay {
    pub(super) ledger: Ledger,
    log: PathBuf,
    /// Up to here the state shows everything.
    applied: MessageId,
    /// Up to here the log was once on stable storage.
    pub(super) head: MessageId,
    pub(super) last: Header,
    /// The records of the last commit.
    last_commit: Vec<(Header, Vec<u8>)>,
    closed: BTreeMap<u32, Arc<Closed>>,
    pub(super) closing: Vec<(Arc<OpenSegment>, SegmentInfo)>,
    /// A segment without records, made ready by the run before.
    empty: Option<Segment>,
    newest: u32,
    settling: Settling,
    /// Two records behind one another are more than a day apart.
    pub(super) leaped: bool,
    /// It is the first start on a backup.
    pub(super) is_restored: bool,
    /// What the state is to forget, and files that are to get another name, with the new epoch.
    changes: Changes,
    aside: Vec<PathBuf>,
    /// The newest segments, if no record of them can be read.
    unread: Vec<u32>,
    pub(super) report: Report,
}

impl Replay {
    pub(super) fn new(ledger: Ledger, log: PathBuf) -> Self {
        let applied = ledger.checkpoint.applied;
        let head = ledger.state.head().unwrap_or_default().max(applied);
        let none = MessageId::NONE;
        let last = Header { epoch: 0, first: none, before: none, commit: none, at_ms: 0, count: 1 };
        Self {
            ledger,
            log,
            applied,
            head,
            last,
            last_commit: Vec::new(),
            closed: BTreeMap::new(),
            closing: Vec::new(),
            empty: None,
            newest: 0,
            settling: Settling::default(),
            leaped: false,
            is_restored: false,
            changes: Changes::default(),
            aside: Vec::new(),
            unread: Vec::new(),
            report: Report::default(),
        }
    }

    pub(super) fn run(&mut self) -> Result<(), OpenError> {
        let is_told = !self.report.damage.is_empty();
        let mut known = self.ledger.state.segments()?;
        let newest_known = known.last_key_value().map_or(0, |(number, _)| *number);
        for number in segments(&self.log)? {
            let info = known.remove(&number);
            self.look_for_gap(number, info.is_some() || known.contains_key(&(number - 1)));
            self.newest = number;
            if !self.find_closed(number, info)? && Segment::path(&self.log, number).exists() {
                match Segment::open(&self.log, number, self.head) {
                    Ok(segment) => self.segment(segment)?,
                    Err(error) => {
                        self.set_aside(Segment::path(&self.log, number), number, error)?;
                    }
                }
            }
        }
        self.missing(known.into_keys());
        // The first start writes the epoch to the state before anything is in the log.
        if self.last.epoch != 0 && self.ledger.checkpoint.epoch == 0 && !is_told {
            self.damaged("the newest state is empty; it is made anew from the log".to_owned());
        }
        if self.last.last() < self.head {
            let (last, head) = (self.last.last(), self.head);
            self.damaged(format!("the log ends at {last}; it was on the disk up to {head}"));
            // Behind the newest closed one came the open one and the one made ready: their numbers
            // are not used again, for last sequences name them.
            self.newest = self.newest.max(newest_known + 2);
            self.empty.take_if(|empty| empty.number < self.newest);
        }
        if !self.report.damage.is_empty() {
            self.keep_torn();
        }
        Ok(())
    }

    /// Takes a segment's file, if it has one that can be used; the one that it was goes.
    fn find_closed(&mut self, number: u32, info: Option<SegmentInfo>) -> Result<bool, OpenError> {
        let (path, before) = (Closed::path(&self.log, number), Segment::path(&self.log, number));
        if !path.exists() {
            return Ok(false);
        }
        // What the state does not show is found by the table of records.
        let is_replayed = |closed: &Closed| closed.last() > self.applied;
        let read = Closed::read(&self.log, number).and_then(|closed| {
            if is_replayed(&closed) { closed.check_records() } else { Ok(()) }.map(|()| closed)
        });
        match read {
            Ok(closed) => {
                if before.exists() {
                    // The run that gave the file its name may have been killed before it did this.
                    sync_folder(&self.log)?;
                    remove_file(&before)?;
                }
                self.closed(closed)?;
                Ok(true)
            }
            Err(error) => {
                let is_value = matches!(error, DatabaseError::Value { .. });
                if !(is_value && !before.exists() && self.save(number, info)?) {
                    self.set_aside(path, number, error)?;
                }
                Ok(false)
            }
        }
    }

    /// Saves what is whole of a closed segment whose file cannot be used; says whether anything
    /// is.
    fn save(&mut self, number: u32, info: Option<SegmentInfo>) -> Result<bool, OpenError> {
        let Some(saved) = save(&self.log, number)? else { return Ok(false) };
        let damage = saved.damage.join("; ");
        self.damaged(format!("segment {number} is damaged, and written anew: {damage}"));
        if let Some(info) = info.filter(|info| info.last > saved.last) {
            let (after, last) = (saved.last, info.last);
            self.damaged(format!("segment {number}: what stood behind {after}, up to {last}"));
        }
        self.aside.push(Closed::path(&self.log, number));
        Ok(true)
    }

    fn closed(&mut self, closed: Closed) -> Result<(), OpenError> {
        let number = closed.number;
        self.is_not_newest();
        if closed.last() <= self.applied {
            self.last = closed.footer.last;
            self.last_commit.clear();
        } else {
            let nothing = OpenIndex::default();
            for record in closed.open()?.records() {
                match record {
                    Ok(bytes) => drop(self.record(number, &bytes, &nothing)?),
                    Err(error) => self.damaged(format!("segment {number}: {}", Chain(&error))),
                }
            }
        }
        self.closed.insert(number, Arc::new(closed));
        Ok(())
    }

    /// Segments are numbered without gaps. Where one begins an epoch, what is missing before it
    /// has been told; where one was closed since, likewise.
    fn look_for_gap(&mut self, number: u32, is_told: bool) {
        let begins_epoch = number == self.ledger.checkpoint.epoch_segment;
        if self.newest != 0 && number > self.newest + 1 && !is_told && !begins_epoch {
            self.damaged(format!("segment {} is missing", number - 1));
        }
    }

    /// Segments that were closed, and were not removed by this server.
    fn missing(&mut self, numbers: impl Iterator<Item = u32>) {
        for number in numbers {
            self.damaged(format!("segment {number} is missing"));
            self.changes.remove_segment(number);
        }
    }

    fn damaged(&mut self, what: String) {
        self.report.damage.push(what);
    }

    /// A segment that cannot be opened will be kept under another name for who wants to look at
    /// it.
    fn set_aside(
        &mut self,
        path: PathBuf,
        number: u32,
        error: DatabaseError,
    ) -> Result<(), OpenError> {
        if error.is_of_the_system() {
            return Err(error.into());
        }
        self.damaged(format!("segment {number} cannot be opened: {}", Chain(&error)));
        self.changes.remove_segment(number);
        self.aside.push(path);
        Ok(())
    }

    /// What was not finished at the end of a segment is kept with it if something is lost: it may
    /// be that.
    fn keep_torn(&mut self) {
        for (open, _) in &mut self.closing {
            if let Some(open) = Arc::get_mut(open) {
                open.segment.is_damaged |= open.segment.is_torn;
            }
        }
    }

    fn segment(&mut self, segment: Segment) -> Result<(), OpenError> {
        let number = segment.number;
        let index = OpenIndex::default();
        // The run before may have left two: the one it had just come to, and the one made ready.
        if segment.is_blank {
            self.empty.get_or_insert(segment);
            return Ok(());
        }
        let mut is_readable = false;
        for record in segment.records(MessageId::NONE) {
            match record {
                Ok((_, bytes)) => is_readable |= self.record(number, &bytes, &index)?,
                Err(error) => {
                    self.damaged(format!("segment {number}: {}", Chain(&error)));
                }
            }
        }
        if let Some(at) = segment.lost_at {
            self.damaged(format!(
                "segment {number}: the disk cannot read what stands at byte {at}"
            ));
        }
        if !is_readable {
            self.empty = None;
            self.unread.push(number);
            return Ok(());
        }
        self.is_not_newest();
        let info = SegmentInfo {
            last: self.last.last(),
            at_ms: self.last.at_ms,
            bytes: segment.bytes(),
            indexed: false,
        };
        self.closing.push((Arc::new(OpenSegment { segment, index }), info));
        Ok(())
    }

    /// There is a segment with records behind those that have none.
    fn is_not_newest(&mut self) {
        self.empty = None;
        let unread = self.unread.drain(..).map(|number| Segment::path(&self.log, number));
        self.aside.extend(unread);
    }

    /// The segment that this run writes to.
    fn next_segment(&mut self) -> Result<Segment, DatabaseError> {
        let unread = std::mem::take(&mut self.unread);
        let paths = unread.iter().map(|number| Segment::path(&self.log, *number));
        if !self.report.damage.is_empty() {
            self.aside.extend(paths);
        } else if let Some(number) = unread.first() {
            // Nothing is lost with them. The number goes on: one that is missing is told as damage.
            paths.into_iter().try_for_each(|path| set_aside(&path))?;
            return Segment::open(&self.log, *number, self.head);
        }
        match self.empty.take() {
            Some(segment) => Ok(segment),
            None => Segment::open(&self.log, self.newest + 1, self.head),
        }
    }

    /// Replays a record; says whether it can be read.
    fn record(&mut self, number: u32, bytes: &[u8], index: &OpenIndex) -> Result<bool, OpenError> {
        let record = match Record::parse(bytes) {
            Ok(record) => record,
            Err(error) => {
                let last = self.last.last();
                self.damaged(format!("segment {number}: the record after {last}: {error}"));
                return Ok(false);
            }
        };
        let header = record.header;
        if header.first <= self.last.first {
            return Ok(true); // The copy of a record that the segment before ends with.
        }
        let known = self.last.first.max(self.applied);
        let is_first = self.last.first == MessageId::NONE;
        if (is_first && header.before > known) || (!is_first && header.before != self.last.first) {
            let before = header.before;
            self.damaged(format!("segment {number}: the record at {before} is missing"));
        }
        let mut places = Vec::new();
        for placed in record.entries() {
            let placed = match placed {
                Ok(placed) => placed,
                Err(error) => {
                    let first = header.first;
                    self.damaged(format!("segment {number}: an entry of {first}: {error}"));
                    continue;
                }
            };
            let mut previous = number.saturating_sub(1);
            if placed.id > self.applied {
                previous = self.ledger.replay(&placed, number)?;
                self.report.replayed += 1;
            }
            places.extend(place(&placed.entry, previous));
        }
        index.extend(header.at_ms, places);
        self.leaped |=
            self.last.at_ms != 0 && header.at_ms.abs_diff(self.last.at_ms) > DAY_MS as u64;
        if header.commit != self.last.commit {
            self.last_commit.clear();
        }
        self.last = header;
        self.last_commit.push((header, bytes.to_vec()));
        if self.ledger.tail_bytes > TAIL_BYTES_MAX {
            self.settling.slice(&mut self.ledger, header.last(), i64::MAX)?;
        }
        Ok(true)
    }

    /// Makes the segment that this run writes to, beginning with the last commit of the last run.
    pub(super) fn open_segment(&mut self) -> Result<(Arc<Catalog>, u64), OpenError> {
        let segment = self.next_segment()?;
        for (header, bytes) in std::mem::take(&mut self.last_commit) {
            segment.append(header.first, &bytes)?;
        }
        segment.sync()?;
        let epoch = self.epoch(segment.number)?;
        let open = Arc::new(OpenSegment { segment, index: OpenIndex::default() });
        let mut changes = Changes::default();
        for (number, closed) in &self.closed {
            changes.segment(*number, &closed.info());
        }
        let gone = self.ledger.state.gone()?;
        let closed = std::mem::take(&mut self.closed);
        let catalog = Catalog::new(self.log.clone(), open, closed, gone);
        for (segment, info) in &self.closing {
            catalog.close_later(segment.clone());
            changes.segment(segment.segment.number, info);
        }
        changes.apply(&self.ledger.state)?;
        if !self.aside.is_empty() {
            // Nothing is lost with these. That their numbers are missing is no damage from the time
            // that the state knows of the segments behind them.
            self.ledger.state.database.sync()?;
            self.aside.drain(..).try_for_each(|path| set_aside(&path))?;
        }
        Ok((Arc::new(catalog), epoch))
    }

    /// The log's number: a new one for a new log, one that has lost something, or one behind
    /// which there is another that has gone on.
    fn epoch(&mut self, segment: u32) -> Result<u64, DatabaseError> {
        let checkpoint = &mut self.ledger.checkpoint;
        let known = if self.last.epoch != 0 { self.last.epoch } else { checkpoint.epoch };
        if known != 0 && self.report.damage.is_empty() && !self.is_restored {
            checkpoint.epoch = known;
            return Ok(known);
        }
        checkpoint.epoch = fastrand::u64(1..);
        checkpoint.epoch_segment = segment;
        checkpoint.sequence_jump = if known == 0 { 0 } else { SEQUENCE_JUMP };
        let mut changes = std::mem::take(&mut self.changes);
        changes.checkpoint(checkpoint);
        changes.apply(&self.ledger.state)?;
        self.ledger.state.database.sync()?;
        self.aside.drain(..).try_for_each(|path| set_aside(&path))?;
        Ok(self.ledger.checkpoint.epoch)
    }
}

/// The numbers of the segments in the log's folder, rising, each once. Removes files that were not
/// finished.
fn segments(log: &Path) -> Result<BTreeSet<u32>, DatabaseError> {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(log).map_err(DatabaseError::disk("read", log))?.flatten() {
        let path = entry.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(NEW) => fs::remove_file(&path).map_err(DatabaseError::disk("remove", &path))?,
            Some(OPEN | SEGMENT) => {
                let name = path.file_stem().and_then(|name| name.to_str());
                numbers.extend(name.and_then(|name| name.parse::<u32>().ok()));
            }
            _ => {}
        }
    }
    Ok(numbers)
}
