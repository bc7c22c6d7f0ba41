//! The model of a disk: what it surely holds, and what it may hold, by the notes of a journal.
//!
//! # Invariants
//!
//! * A name is on the disk when the folder that it is in has been synced after it changed; the sync
//!   of a file makes its bytes and its length durable, and not its name.
//! * A change of names happens as a whole: a rename never leaves both names, or neither.
//! * Of two changes of the same name, the later one is on the disk only if the earlier one is.

use std::collections::{BTreeMap, HashMap, HashSet};

use fastrand::Rng;
use power_journal::Note;

use crate::content::{Change, Content, Mood};
use crate::image::{Image, Kept};

/// Which syncs the model does not believe in, to show that the rig sees that they are missing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ignored {
    /// Every `fdatasync`.
    pub(crate) data: bool,
    /// Every sync of a folder.
    pub(crate) folders: bool,
}

/// A file or a folder, by its place in the list of all.
type Object = usize;
/// A name in a folder.
type Name = (Object, String);

#[derive(Debug)]
enum Thing {
    File(Content),
    Folder(Names),
}

/// The names of a folder.
#[derive(Clone, Debug, Default)]
struct Names {
    synced: BTreeMap<String, Object>,
    now: BTreeMap<String, Object>,
}

/// Names that changed together, and when.
#[derive(Debug)]
struct Renaming {
    at: u64,
    names: Vec<(Name, Option<Object>)>,
}

/// The disk.
#[derive(Debug)]
pub(crate) struct Disk {
    things: Vec<Thing>,
    inodes: HashMap<u64, Object>,
    /// What is not surely on the disk.
    renamings: Vec<Renaming>,
    /// Syncs that have begun.
    syncs: HashMap<u64, (u64, Object)>,
    ignored: Ignored,
    /// Notes so far.
    at: u64,
}

const ROOT: Object = 0;

impl Disk {
    /// A disk that surely holds all that is there.
    pub(crate) fn new(there: Kept, ignored: Ignored) -> Self {
        let root = Thing::Folder(Names::default());
        let mut disk = Self {
            things: vec![root],
            inodes: HashMap::from([(there.inodes[""], ROOT)]),
            renamings: Vec::new(),
            syncs: HashMap::new(),
            ignored,
            at: 0,
        };
        let Kept { image: Image { folders, files }, inodes } = there;
        let folders = folders.into_iter().map(|path| (path, Thing::Folder(Names::default())));
        let files = files.into_iter().map(|(path, bytes)| (path, Thing::File(Content::new(bytes))));
        for (path, thing) in folders.chain(files) {
            let object = disk.add(inodes[&path], thing);
            let (folder, name) = disk.name(&path).expect("a folder stands before what is in it");
            if let Thing::Folder(names) = &mut disk.things[folder] {
                names.now.insert(name.clone(), object);
                names.synced.insert(name, object);
            }
        }
        disk
    }

    fn add(&mut self, inode: u64, thing: Thing) -> Object {
        self.things.push(thing);
        self.inodes.insert(inode, self.things.len() - 1);
        self.things.len() - 1
    }

    fn now(&self, (folder, name): &Name) -> Option<Object> {
        match self.things.get(*folder) {
            Some(Thing::Folder(names)) => names.now.get(name).copied(),
            _ => None,
        }
    }

    fn name(&self, path: &str) -> Result<Name, String> {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut folder = ROOT;
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            let found = self.now(&(folder, part.to_owned()));
            folder = found.ok_or_else(|| format!("there is no folder for {path}"))?;
        }
        Ok((folder, name.to_owned()))
    }

    /// Takes a note in.
    ///
    /// # Errors
    ///
    /// What cannot be, or cannot be told: then the rig has missed something.
    pub(crate) fn note(&mut self, note: Note) -> Result<(), String> {
        self.at += 1;
        match note {
            Note::File { inode, path } => self.make(inode, &path, Thing::File(Content::default())),
            Note::Folder { inode, path } => {
                self.make(inode, &path, Thing::Folder(Names::default()))
            }
            Note::Wrote { inode, at, bytes } => self.change(inode, Change::Wrote(at, bytes)),
            Note::Length { inode, bytes } => self.change(inode, Change::Length(bytes)),
            Note::Room { inode, bytes } => self.change(inode, Change::Room(bytes)),
            Note::Renamed { from, to } => self.put(&from, &to, true),
            Note::Linked { from, to } => self.put(&from, &to, false),
            Note::Removed { path } => {
                let name = self.name(&path)?;
                self.rename(vec![(name, None)]);
                Ok(())
            }
            Note::SyncBegan { number, inode, is_data } => {
                let object = self.object(inode)?;
                let is_folder = matches!(self.things[object], Thing::Folder(_));
                let ignored = if is_folder { self.ignored.folders } else { self.ignored.data };
                if !ignored || (!is_folder && !is_data) {
                    self.syncs.insert(number, (self.at, object));
                }
                Ok(())
            }
            Note::SyncEnded { number } => {
                if let Some((before, object)) = self.syncs.remove(&number) {
                    self.sync(object, before);
                }
                Ok(())
            }
            Note::Untold { what } => Err(format!("{what}: the rig cannot follow that")),
        }
    }

    fn object(&self, inode: u64) -> Result<Object, String> {
        self.inodes.get(&inode).copied().ok_or_else(|| format!("inode {inode} came unseen"))
    }

    fn make(&mut self, inode: u64, path: &str, thing: Thing) -> Result<(), String> {
        let name = self.name(path)?;
        let object = self.add(inode, thing);
        self.rename(vec![(name, Some(object))]);
        Ok(())
    }

    fn put(&mut self, from: &str, to: &str, moves: bool) -> Result<(), String> {
        let (from, to) = (self.name(from)?, self.name(to)?);
        let object = self.now(&from).ok_or_else(|| format!("there is no {}", from.1))?;
        let mut names = vec![(to, Some(object))];
        if moves {
            names.insert(0, (from, None));
        }
        self.rename(names);
        Ok(())
    }

    fn change(&mut self, inode: u64, change: Change) -> Result<(), String> {
        let object = self.object(inode)?;
        match &mut self.things[object] {
            Thing::File(content) => content.change(self.at, change),
            Thing::Folder(_) => return Err(format!("inode {inode} is no file")),
        }
        Ok(())
    }

    fn rename(&mut self, names: Vec<(Name, Option<Object>)>) {
        for ((folder, name), object) in &names {
            if let Thing::Folder(names) = &mut self.things[*folder] {
                set(&mut names.now, name, *object);
            }
        }
        self.renamings.push(Renaming { at: self.at, names });
    }

    /// What was done before to the file or folder is on the disk.
    fn sync(&mut self, object: Object, before: u64) {
        if let Thing::File(content) = &mut self.things[object] {
            return content.sync(before);
        }
        // Going back, for a change needs those before it of the same names.
        let (mut durable, mut needed): (_, HashSet<Name>) = (HashSet::new(), HashSet::new());
        for renaming in self.renamings.iter().rev() {
            let is_in = |(name, _): &(Name, _)| name.0 == object && renaming.at < before;
            let is_needed = |(name, _): &(Name, _)| needed.contains(name);
            if renaming.names.iter().any(|name| is_in(name) || is_needed(name)) {
                needed.extend(renaming.names.iter().map(|(name, _)| name.clone()));
                durable.insert(renaming.at);
            }
        }
        for renaming in self.renamings.extract_if(.., |renaming| durable.contains(&renaming.at)) {
            for ((folder, name), object) in renaming.names {
                if let Thing::Folder(names) = &mut self.things[folder] {
                    set(&mut names.synced, &name, object);
                }
            }
        }
    }

    /// The server was killed, and the power stays: syncs that had not returned never will.
    pub(crate) fn restart(&mut self) {
        self.syncs.clear();
    }

    /// What the server sees.
    pub(crate) fn whole(&self) -> Image {
        let names = |folder: Object| match &self.things[folder] {
            Thing::Folder(names) => names.now.clone(),
            Thing::File(_) => BTreeMap::new(),
        };
        self.image(names, |content| content.now.clone())
    }

    /// What a disk holds when the power goes.
    pub(crate) fn cut(&self, random: &mut Rng) -> Image {
        let mood = Mood::draw(random);
        let mut folders: HashMap<Object, BTreeMap<String, Object>> = HashMap::new();
        for (object, thing) in self.things.iter().enumerate() {
            if let Thing::Folder(names) = thing {
                folders.insert(object, names.synced.clone());
            }
        }
        let mut missing: HashSet<&Name> = HashSet::new();
        let mut is_over = false;
        for Renaming { names, .. } in &self.renamings {
            is_over |= random.f64() >= mood.names.powf(0.2);
            let is_lost = if mood.in_order { is_over } else { random.f64() >= mood.names };
            if is_lost || names.iter().any(|(name, _)| missing.contains(name)) {
                missing.extend(names.iter().map(|(name, _)| name));
                continue;
            }
            for ((folder, name), object) in names {
                set(folders.entry(*folder).or_default(), name, *object);
            }
        }
        let names = |folder| folders.get(&folder).cloned().unwrap_or_default();
        self.image(names, |content| content.cut(mood, &mut random.fork()))
    }

    fn image(
        &self,
        names: impl Fn(Object) -> BTreeMap<String, Object>,
        mut bytes: impl FnMut(&Content) -> Vec<u8>,
    ) -> Image {
        let (mut image, mut waiting) = (Image::default(), vec![(String::new(), ROOT)]);
        while let Some((below, folder)) = waiting.pop() {
            for (name, object) in names(folder) {
                let path = format!("{below}{name}");
                match &self.things[object] {
                    Thing::Folder(_) => {
                        waiting.push((format!("{path}/"), object));
                        image.folders.insert(path);
                    }
                    Thing::File(content) => drop(image.files.insert(path, bytes(content))),
                }
            }
        }
        image
    }
}

fn set(names: &mut BTreeMap<String, Object>, name: &str, object: Option<Object>) {
    match object {
        Some(object) => names.insert(name.to_owned(), object),
        None => names.remove(name),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(ignored: Ignored) -> Disk {
        let inodes = BTreeMap::from([(String::new(), 1)]);
        Disk::new(Kept { image: Image::default(), inodes }, ignored)
    }

    fn take(disk: &mut Disk, notes: &[Note]) {
        notes.iter().for_each(|note| disk.note(note.clone()).unwrap());
    }

    fn synced(number: u64, inode: u64) -> [Note; 2] {
        [Note::SyncBegan { number, inode, is_data: false }, Note::SyncEnded { number }]
    }

    fn replacing() -> Vec<Note> {
        let file = |inode, path: &str| Note::File { inode, path: path.to_owned() };
        let wrote = |inode, byte| Note::Wrote { inode, at: 0, bytes: vec![byte] };
        let renamed = Note::Renamed { from: "new".to_owned(), to: "old".to_owned() };
        let [began, ended] = synced(1, 2);
        let [began_new, ended_new] = synced(2, 3);
        let [began_root, ended_root] = synced(3, 1);
        let all = [file(2, "old"), wrote(2, 1), began, ended, began_root, ended_root];
        [&all[..], &[file(3, "new"), wrote(3, 2), began_new, ended_new, renamed]].concat()
    }

    #[test]
    fn a_rename_has_happened_or_not_and_never_half() {
        let mut disk = disk(Ignored::default());
        take(&mut disk, &replacing());
        let mut seen = HashSet::new();
        for seed in 0..200 {
            let Image { files, .. } = disk.cut(&mut Rng::with_seed(seed));
            let (old, new) = (files.get("old").cloned(), files.get("new").cloned());
            assert!(
                old == Some(vec![1]) && new.is_none_or(|new| new == [2]) || old == Some(vec![2])
            );
            assert!(old != Some(vec![2]) || files.len() == 1);
            seen.insert(files);
        }
        assert_eq!(seen.len(), 3);
        take(&mut disk, &synced(9, 1));
        for seed in 0..100 {
            assert_eq!(disk.cut(&mut Rng::with_seed(seed)), disk.whole());
        }
    }

    #[test]
    fn a_synced_file_may_vanish_with_a_folder_that_was_not() {
        for ignored in [Ignored::default(), Ignored { folders: true, data: false }] {
            let mut disk = disk(ignored);
            take(&mut disk, &[Note::Folder { inode: 2, path: "a".to_owned() }]);
            take(&mut disk, &[Note::File { inode: 3, path: "a/b".to_owned() }]);
            take(&mut disk, &[Note::Wrote { inode: 3, at: 0, bytes: vec![1] }]);
            take(&mut disk, &[synced(1, 3), synced(2, 2)].concat());
            let held = |disk: &Disk| -> HashSet<usize> {
                let all = 0..100;
                all.map(|seed| disk.cut(&mut Rng::with_seed(seed)).files.len()).collect()
            };
            assert!(held(&disk).contains(&0));
            take(&mut disk, &synced(3, 1));
            assert_eq!(held(&disk) == HashSet::from([1]), !ignored.folders);
        }
    }
}
