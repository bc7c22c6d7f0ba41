//! The rig: run after run of the server, each with a cut at its end, on one folder after another.
//!
//! # Invariants
//!
//! * Now and then a run is killed and the power stays: what it did not sync may go with a later
//!   cut.
//! * The last run of a folder has no cut: then the folder is what the journal says, byte for byte.
//! * The first cut that breaks anything is the last one.
//! * What was cut under load and what was cut while the server started are counted apart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use power_journal::notes;
use tokio::runtime::Runtime;

use crate::clients::{Clients, Shared};
use crate::disk::{Disk, Ignored};
use crate::image::{Image, Kept};
use crate::ledger::{Breach, Ledger};
use crate::server::{Place, Server, journal};

/// How long answers may take that were on their way when the server was killed.
const ANSWERS_COME: Duration = Duration::from_millis(20);
/// The longest time under load before a cut, in milliseconds.
const LOAD_MS_MAX: u64 = 500;
/// Cuts under load of one folder, at the most.
const FOLDER_CUTS_MAX: usize = 24;

/// When the power is cut.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after the process began, as a share of what a start takes.
    Starting(f64),
    /// So long after everybody began to send.
    Busy(Duration),
}

impl Moment {
    fn draw(random: &mut Rng, is_new: bool) -> Self {
        match random.u8(..if is_new { 2 } else { 6 }) {
            0 => Self::Starting(random.f64() * 1.2),
            _ => Self::Busy(Duration::from_millis(random.u64(1..LOAD_MS_MAX))),
        }
    }
}

/// How often runs ended how.
#[derive(Debug, Default)]
struct Ends {
    /// The power was cut.
    cuts: usize,
    /// They were killed, and the power stayed.
    kills: usize,
}

impl Ends {
    fn add(&mut self, stays: bool) {
        *if stays { &mut self.kills } else { &mut self.cuts } += 1;
    }
}

/// What the cuts were like.
#[derive(Debug, Default)]
struct Figures {
    under_load: Ends,
    while_starting: Ends,
    /// Of those while starting: of a folder in which there was nothing.
    first_starts: Ends,
    folders: usize,
    acknowledged: usize,
    /// Folders that were what their journal said.
    compared: usize,
}

impl Figures {
    /// A run has ended.
    fn count(&mut self, moment: Moment, stays: bool, is_new: bool) {
        match moment {
            Moment::Busy(_) => self.under_load.add(stays),
            Moment::Starting(_) => {
                self.while_starting.add(stays);
                if is_new {
                    self.first_starts.add(stays);
                }
            }
        }
    }

    /// What a person reads.
    fn told(&self) -> String {
        let Self { under_load, while_starting, first_starts, folders, compared, .. } = self;
        format!(
            "cuts under load {}, while starting {} ({} of them for the first time); kills without \
             a cut {} under load, {} while starting ({} for the first time); folders {folders} \
             ({compared} compared with their journals)",
            under_load.cuts,
            while_starting.cuts,
            first_starts.cuts,
            under_load.kills,
            while_starting.kills,
            first_starts.kills,
        )
    }
}

pub(crate) struct Rig {
    place: Place,
    seed: u64,
    ignored: Ignored,
    runtime: Runtime,
    ledger: Shared,
    /// How long the last start took.
    start: Duration,
    /// Who the server was when it last said so.
    fingerprint: Option<String>,
    /// What the last cut left, to be looked at when that was not enough.
    left: Image,
    figures: Figures,
    began: Instant,
}

impl Rig {
    pub(crate) fn new(place: Place, seed: u64, ignored: Ignored) -> Result<Self, String> {
        Ok(Self {
            place,
            seed,
            ignored,
            runtime: Runtime::new().map_err(|error| error.to_string())?,
            ledger: Arc::new(Mutex::new(Ledger::new())),
            start: Duration::from_millis(100),
            fingerprint: None,
            left: Image::default(),
            figures: Figures::default(),
            began: Instant::now(),
        })
    }

    /// Cuts so often under load, and now and then at a start; says whether all was well.
    ///
    /// # Errors
    ///
    /// Why the rig itself cannot go on.
    pub(crate) fn run(&mut self, cuts: usize) -> Result<bool, String> {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("{msg:40} {wide_bar} {percent:>3}% {elapsed}");
        bar.set_style(style.expect("the template is valid"));
        bar.set_length(cuts as u64);
        while self.figures.under_load.cuts < cuts && !self.is_broken() {
            self.folder(cuts, &bar)?;
        }
        bar.finish_and_clear();
        self.say();
        if self.is_broken() {
            let left = self.place.work.join("left");
            self.left.write(&left).map_err(|error| error.to_string())?;
        }
        Ok(!self.is_broken())
    }

    fn is_broken(&self) -> bool {
        self.ledger.lock().broken.is_any()
    }

    fn broken(&self, what: String) {
        self.ledger.lock().breach(Breach::Other, what);
    }

    /// A folder from its beginning to its end, or to its first fault.
    fn folder(&mut self, cuts: usize, bar: &ProgressBar) -> Result<(), String> {
        Image::default().write(&self.place.root()).map_err(|error| error.to_string())?;
        self.figures.folders += 1;
        *self.ledger.lock() = Ledger::new();
        self.fingerprint = None;
        let before = self.figures.acknowledged;
        let mut random = self.random();
        let last = cuts.min(self.figures.under_load.cuts + random.usize(1..=FOLDER_CUTS_MAX));
        let (mut is_new, mut disk) = (true, None);
        while self.figures.under_load.cuts < last && !self.is_broken() {
            disk = self.cut(is_new, disk)?;
            is_new = false;
            self.figures.acknowledged = before + self.ledger.lock().acknowledged;
            bar.set_position(self.figures.under_load.cuts as u64);
            bar.set_message(format!("{} acknowledged, 0 lost", self.figures.acknowledged));
        }
        if !self.is_broken() {
            self.end()?;
        }
        Ok(())
    }

    /// The random numbers of the next run.
    fn random(&self) -> Rng {
        Rng::with_seed(self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(self.runs() as u64))
    }

    fn runs(&self) -> usize {
        let Figures { under_load, while_starting, .. } = &self.figures;
        under_load.cuts + under_load.kills + while_starting.cuts + while_starting.kills
    }

    /// A run that is killed at its end. With it the power goes, and the folder is what a disk may
    /// hold; or it does not, and the folder stays, with the disk that knows what of it is synced.
    fn cut(&mut self, is_new: bool, disk: Option<Disk>) -> Result<Option<Disk>, String> {
        let mut random = self.random();
        let (moment, stays) = (Moment::draw(&mut random, is_new), random.u8(..5) == 0);
        let mut disk_random = random.fork();
        let mut disk = match disk {
            Some(disk) => disk,
            None => self.disk()?,
        };
        let server = self.place.start()?;
        let ran = match moment {
            Moment::Starting(share) => {
                std::thread::sleep(self.start.mul_f64(share));
                server.kill()
            }
            Moment::Busy(after) => self.busy(server, after, &mut random),
        };
        if let Err(what) = ran.and_then(|()| self.note(&mut disk)) {
            self.broken(what);
        }
        // What was under way at the kill may have happened, and nobody noted it.
        let stays = stays && disk.whole() == self.there()?.image;
        self.figures.count(moment, stays, is_new);
        if stays {
            disk.restart();
            return Ok(Some(disk));
        }
        if !self.is_broken() {
            self.left = disk.cut(&mut disk_random);
            self.left.write(&self.place.root()).map_err(|error| error.to_string())?;
        }
        Ok(None)
    }

    /// What the folder holds now.
    fn there(&self) -> Result<Kept, String> {
        Image::read(&self.place.root()).map_err(|error| format!("cannot read the folder: {error}"))
    }

    /// What the folder holds now, as a disk that surely holds it.
    fn disk(&self) -> Result<Disk, String> {
        Ok(Disk::new(self.there()?, self.ignored))
    }

    /// Tells the disk what the server did.
    fn note(&self, disk: &mut Disk) -> Result<(), String> {
        let journal = journal(&self.place.journal())?;
        notes(&journal).try_for_each(|note| disk.note(note))
    }

    /// Everybody looks for what they were told of, then sends until the power goes.
    fn busy(
        &mut self,
        mut server: Server,
        after: Duration,
        random: &mut Rng,
    ) -> Result<(), String> {
        let mut clients = self.come(&mut server, random, false)?;
        if self.is_broken() {
            return Ok(());
        }
        let bytes = if random.u8(..8) == 0 { 5000 } else { [40, 300, 1600][random.usize(..3)] };
        self.ledger.lock().expect(&format!("absent-{}", self.runs()));
        self.runtime.block_on(clients.speak(random, bytes))?;
        std::thread::sleep(after);
        server.kill()?;
        std::thread::sleep(ANSWERS_COME);
        Ok(())
    }

    /// Waits for the server, and has everybody come back and look for what they were told of.
    fn come(
        &mut self,
        server: &mut Server,
        random: &mut Rng,
        is_last: bool,
    ) -> Result<Clients, String> {
        let (connect, fingerprint, took) = server.ready()?;
        self.start = took;
        let fingerprint = fingerprint.to_string();
        let before = self.fingerprint.replace(fingerprint.clone());
        if before.is_some_and(|before| before != fingerprint) {
            // What else is lost with it is still looked for.
            self.broken("the server has lost its certificate".to_owned());
        }
        let ledger = self.ledger.clone();
        self.runtime.block_on(async {
            let clients = Clients::come(&ledger, connect).await?;
            clients.judge(random, is_last).await?;
            Ok(clients)
        })
    }

    /// The last run of a folder: everything is looked for once more, and the folder must be what
    /// the journal says.
    fn end(&mut self) -> Result<(), String> {
        let mut disk = self.disk()?;
        let mut server = self.place.start()?;
        let mut random = self.random();
        let came = self.come(&mut server, &mut random, true);
        let ended = came.map(|clients| self.runtime.block_on(clients.leave()));
        if let Err(what) = ended.and_then(|()| server.end()).and_then(|()| self.note(&mut disk)) {
            self.broken(what);
            return Ok(());
        }
        let differences = disk.whole().differences(&self.there()?.image);
        if !differences.is_empty() {
            self.broken(format!("the journal is not the folder: {}", differences.join("; ")));
        }
        self.figures.compared += 1;
        Ok(())
    }

    fn say(&self) {
        let ledger = self.ledger.lock();
        let (figures, broken) = (&self.figures, &ledger.broken);
        for what in broken.told.iter().take(10) {
            println!("{what}");
        }
        if broken.is_any() {
            println!("the server's last words:\n  {}", self.place.last_words());
        }
        println!("{}, {:.0?}", figures.told(), self.began.elapsed());
        println!(
            "acknowledged {}, lost {}, out of order {}, ids reused {}, other faults {}; seed {}",
            figures.acknowledged,
            broken.lost,
            broken.out_of_order,
            broken.reused,
            broken.others,
            self.seed,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_under_load_and_while_starting_are_counted_apart() {
        let (busy, starting) = (Moment::Busy(Duration::ZERO), Moment::Starting(0.5));
        let mut figures = Figures::default();
        for (moment, stays, is_new) in [
            (starting, false, true),
            (starting, true, false),
            (busy, false, true),
            (busy, true, false),
        ] {
            figures.count(moment, stays, is_new);
        }
        assert_eq!(
            figures.told(),
            "cuts under load 1, while starting 1 (1 of them for the first time); kills without a \
             cut 1 under load, 1 while starting (0 for the first time); folders 0 (0 compared with \
             their journals)"
        );
    }
}
