//! The keys of back ends: in one file of the data folder, and in memory.
//!
//! # Invariants
//!
//! * A change is on the disk, whole, before it is in force; it is in force at once.
//! * There is always a master key.
//! * A key that is presented is compared with every secret there is, in constant time.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::scope::Scope;
use super::secret::{Digest, Secret};
use crate::limits::{API_KEY_NAME_BYTES_MAX, API_KEYS_MAX};
use crate::private_file::{FileError, JsonFile};

/// The file in the folder of keys.
const FILE: &str = "api-keys.json";
/// The key that is made when there is none.
const FIRST: &str = "master";
/// What the file's form is called.
const VERSION: u32 = 1;

/// Why a key is not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    #[error("there is a key of this name already")]
    Exists,
    #[error("there are {API_KEYS_MAX} keys, as many as there may be")]
    TooMany,
    #[error("there is no key of this name")]
    Unknown,
    #[error("it is the last master key")]
    LastMaster,
    #[error("the system has no random numbers")]
    NoRandom,
    #[error(transparent)]
    Keys(#[from] FileError),
}

/// One key.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    /// What people call it.
    pub(super) name: String,
    /// What it may be used for.
    pub(super) scopes: Vec<Scope>,
    /// When it was made, in milliseconds since 1970 UTC.
    pub(super) created_ms: i64,
    pub(super) secret: Secret,
    /// The secret before the last rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<Previous>,
}

/// A secret that was replaced, and is good for some time still.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Previous {
    pub(super) secret: Secret,
    /// From when on it is refused, in milliseconds since 1970 UTC.
    pub(super) until_ms: i64,
}

/// The file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    keys: Vec<Key>,
}

/// All keys.
#[derive(Debug)]
pub(super) struct Keys {
    file: JsonFile,
    keys: RwLock<Arc<Vec<Key>>>,
    /// Held while a change is written, so that no other change is lost.
    changing: Mutex<()>,
    was_made: bool,
}

impl Keys {
    /// Reads the keys, or makes the first one. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`FileError`] names the file that is of no use.
    pub(super) fn open(folder: &Path, now_ms: i64) -> Result<Self, FileError> {
        let file = file(folder);
        let found = read(&file)?;
        let was_made = found.is_none();
        let keys = match found {
            Some(keys) => keys,
            None => {
                let none = || file.disk("make", io::Error::other("no random numbers"));
                let secret = Secret::random().ok_or_else(none)?;
                let (name, scopes) = (FIRST.to_owned(), vec![Scope::Master]);
                let keys = vec![Key { name, scopes, created_ms: now_ms, secret, previous: None }];
                write(&file, &keys)?;
                keys
            }
        };
        let (keys, changing) = (RwLock::new(Arc::new(keys)), Mutex::new(()));
        Ok(Self { file, keys, changing, was_made })
    }

    /// Where they are kept.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The master key, if it was made by [`Self::open`].
    pub(super) fn made(&self) -> Option<String> {
        let keys = self.all();
        let master = keys.iter().find(|key| self.was_made && key.scopes.contains(&Scope::Master));
        master.map(|key| key.secret.reveal().to_owned())
    }

    /// All of them, by name.
    pub(super) fn all(&self) -> Arc<Vec<Key>> {
        self.keys.read().clone()
    }

    /// The key with this text.
    pub(super) fn find(&self, text: &str, now_ms: i64) -> Option<Key> {
        let keys = self.all();
        let presented = Digest::of(text);
        let none = u32::MAX;
        let mut found = none;
        for (index, key) in (0u32..).zip(keys.iter()) {
            let mut is_it = key.secret.is(&presented);
            if let Some(previous) = &key.previous {
                let is_good = u8::from(now_ms < previous.until_ms).ct_eq(&1);
                is_it |= previous.secret.is(&presented) & is_good;
            }
            found.conditional_assign(&index, is_it);
        }
        keys.get(found as usize).cloned()
    }

    /// Adds a key. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; then nothing has changed.
    pub(super) fn add(
        &self,
        name: &str,
        scopes: &[Scope],
        now_ms: i64,
    ) -> Result<Key, ChangeError> {
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        self.change(|keys| {
            if keys.iter().any(|key| key.name == name) {
                return Err(ChangeError::Exists);
            }
            if keys.len() >= API_KEYS_MAX {
                return Err(ChangeError::TooMany);
            }
            let secret = Secret::random().ok_or(ChangeError::NoRandom)?;
            let name = name.to_owned();
            let key = Key { name, scopes, created_ms: now_ms, secret, previous: None };
            keys.push(key.clone());
            keys.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(key)
        })
    }

    /// Gives a key a new secret; the one before is good until `until_ms`. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; then nothing has changed.
    pub(super) fn rotate(&self, name: &str, until_ms: i64) -> Result<Key, ChangeError> {
        self.change(|keys| {
            let key = keys.iter_mut().find(|key| key.name == name).ok_or(ChangeError::Unknown)?;
            let fresh = Secret::random().ok_or(ChangeError::NoRandom)?;
            let secret = std::mem::replace(&mut key.secret, fresh);
            key.previous = Some(Previous { secret, until_ms });
            Ok(key.clone())
        })
    }

    /// Removes a key. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; then nothing has changed.
    pub(super) fn remove(&self, name: &str) -> Result<(), ChangeError> {
        self.change(|keys| {
            let at = keys.iter().position(|key| key.name == name).ok_or(ChangeError::Unknown)?;
            keys.remove(at);
            if has_master(keys) { Ok(()) } else { Err(ChangeError::LastMaster) }
        })
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Key>) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        let _changing = self.changing.lock();
        let mut keys = self.all().to_vec();
        let changed = change(&mut keys)?;
        write(&self.file, &keys)?;
        *self.keys.write() = Arc::new(keys);
        Ok(changed)
    }
}

/// The first master key in this folder, for who may read it; `None` if no server has made one.
/// Blocks on the disk.
///
/// # Errors
///
/// [`FileError`] names the file that is of no use.
pub fn master_key(folder: &Path) -> Result<Option<String>, FileError> {
    let keys = read(&file(folder))?.unwrap_or_default();
    let master = keys.into_iter().find(|key| key.scopes.contains(&Scope::Master));
    Ok(master.map(|key| key.secret.reveal().to_owned()))
}

/// Whether a key may have this name: it stands in paths and in logs.
pub(super) fn is_name(name: &str) -> bool {
    let may = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    (1..=API_KEY_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(may)
}

fn has_master(keys: &[Key]) -> bool {
    keys.iter().any(|key| key.scopes.contains(&Scope::Master))
}

fn file(folder: &Path) -> JsonFile {
    JsonFile::new(folder.join(FILE), "keys")
}

fn read(file: &JsonFile) -> Result<Option<Vec<Key>>, FileError> {
    match file.read()? {
        Some(Content { version, .. }) if version != VERSION => {
            Err(file.wrong("it has another version"))
        }
        Some(Content { keys, .. }) if !has_master(&keys) => Err(file.wrong("it has no master key")),
        found => Ok(found.map(|content| content.keys)),
    }
}

fn write(file: &JsonFile, keys: &[Key]) -> Result<(), FileError> {
    file.write(&Content { version: VERSION, keys: keys.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path(), 7).unwrap();
        let text = keys.made().unwrap();
        let found = keys.find(&text, 7).unwrap();
        assert_eq!(
            (found.name.as_str(), found.scopes.as_slice()),
            ("master", &[Scope::Master][..])
        );
        keys.add("first-by-name", &[Scope::Send], 7).unwrap();
        assert_eq!(keys.made().as_deref(), Some(text.as_str()));
        let again = Keys::open(folder.path(), 8).unwrap();
        assert_eq!(again.made(), None);
        assert!(again.find(&text, 8).is_some());
    }

    #[test]
    fn a_rotation_keeps_the_secret_before_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path(), 0).unwrap();
        let old = keys.add("push", &[Scope::Send, Scope::Send], 0).unwrap();
        assert_eq!(old.scopes, [Scope::Send]);
        let new = keys.rotate("push", 1_000).unwrap();
        let name_of = |text: &str, now_ms| keys.find(text, now_ms).map(|key| key.name);
        assert_eq!(name_of(new.secret.reveal(), 0).as_deref(), Some("push"));
        assert_eq!(name_of(old.secret.reveal(), 999).as_deref(), Some("push"));
        assert_eq!(name_of(old.secret.reveal(), 1_000), None);
        let newest = keys.rotate("push", 1_000).unwrap();
        assert_eq!(name_of(old.secret.reveal(), 0), None, "one is remembered");
        let again = Keys::open(folder.path(), 0).unwrap();
        assert!(again.find(newest.secret.reveal(), 0).is_some());
        assert!(again.find(new.secret.reveal(), 0).is_some());
    }

    #[test]
    fn keys_are_bounded_and_the_last_master_stays() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path(), 0).unwrap();
        assert!(matches!(keys.remove("master"), Err(ChangeError::LastMaster)));
        assert!(matches!(keys.remove("other"), Err(ChangeError::Unknown)));
        assert!(matches!(keys.rotate("other", 0), Err(ChangeError::Unknown)));
        for number in 1..API_KEYS_MAX {
            keys.add(&format!("key-{number}"), &[Scope::Read], 0).unwrap();
        }
        assert!(matches!(keys.add("key-1", &[Scope::Read], 0), Err(ChangeError::Exists)));
        assert!(matches!(keys.add("more", &[Scope::Read], 0), Err(ChangeError::TooMany)));
        keys.remove("key-1").unwrap();
        keys.add("second", &[Scope::Master], 0).unwrap();
        keys.remove("master").unwrap();
        assert_eq!(Keys::open(folder.path(), 0).unwrap().all().len(), API_KEYS_MAX - 1);
    }

    #[test]
    fn a_file_that_is_no_file_of_keys_is_named_without_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for content in [
            "{\"version\":1,\"keys\":[{\"name\":\"master\",\"secret\":\"tdk_geheim\"}]}",
            "{\"version\":2,\"keys\":[]}",
            "{\"version\":1,\"keys\":[]}",
            "tdk_geheim",
        ] {
            std::fs::write(&path, content).unwrap();
            let error = Keys::open(folder.path(), 0).unwrap_err();
            let said = crate::chain::Chain(&error).to_string();
            assert!(said.contains(FILE) && !said.contains("geheim"), "{said}");
        }
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for name in ["a", "push-1", "a_b", &"x".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "A", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
