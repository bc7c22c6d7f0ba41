//! The keys of back ends: in one file of the data folder, and in memory.
//!
//! # Invariants
//!
//! * A change is on the disk, whole, before it is in force; it is in force at once.
//! * There is always a master key.
//! * A key that is presented is compared with every secret there is, in constant time.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::scope::Scope;
use super::secret::{Digest, Secret};
use crate::limits::{API_KEY_NAME_BYTES_MAX, API_KEYS_MAX};

/// The file in the folder of keys.
const FILE: &str = "api-keys.json";
/// The key that is made when there is none.
const FIRST: &str = "master";
/// What the file's form is called.
const VERSION: u32 = 1;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The file does not hold what it should. The cause is not told: it may repeat a secret.
    #[error("{path} is not a file of keys: {what} (line {line})")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
        /// Where, from 1; 0 if it is not about one line.
        line: usize,
    },
}

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
    Keys(#[from] KeysError),
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
    path: PathBuf,
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
    /// [`KeysError`] names the file that is of no use.
    pub(super) fn open(folder: &Path, now_ms: i64) -> Result<Self, KeysError> {
        let path = folder.join(FILE);
        let found = match fs::read(&path) {
            Ok(bytes) => Some(parse(&path, &bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(file_error("read", &path)(error)),
        };
        let was_made = found.is_none();
        let keys = match found {
            Some(keys) => keys,
            None => {
                let none = || file_error("make", &path)(io::Error::other("no random numbers"));
                let secret = Secret::random().ok_or_else(none)?;
                let (name, scopes) = (FIRST.to_owned(), vec![Scope::Master]);
                let keys = vec![Key { name, scopes, created_ms: now_ms, secret, previous: None }];
                write(&path, &keys)?;
                keys
            }
        };
        let (keys, changing) = (RwLock::new(Arc::new(keys)), Mutex::new(()));
        Ok(Self { path, keys, changing, was_made })
    }

    /// Where they are kept.
    pub(super) fn path(&self) -> &Path {
        &self.path
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
        write(&self.path, &keys)?;
        *self.keys.write() = Arc::new(keys);
        Ok(changed)
    }
}

/// The first master key in this folder, for who may read it; `None` if no server has made one.
/// Blocks on the disk.
///
/// # Errors
///
/// [`KeysError`] names the file that is of no use.
pub fn master_key(folder: &Path) -> Result<Option<String>, KeysError> {
    let path = folder.join(FILE);
    let keys = match fs::read(&path) {
        Ok(bytes) => parse(&path, &bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error("read", &path)(error)),
    };
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

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Key>, KeysError> {
    let wrong = |what, line| KeysError::Content { path: path.to_owned(), what, line };
    let content: Content = serde_json::from_slice(bytes)
        .map_err(|error| wrong("it is not the JSON that is written there", error.line()))?;
    if content.version != VERSION {
        return Err(wrong("it has another version", 0));
    }
    if !has_master(&content.keys) {
        return Err(wrong("it has no master key", 0));
    }
    Ok(content.keys)
}

/// Replaces the file, which only its owner may read; synced with its folder.
fn write(path: &Path, keys: &[Key]) -> Result<(), KeysError> {
    let content = Content { version: VERSION, keys: keys.to_vec() };
    let fresh = path.with_extension("new");
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut bytes = serde_json::to_vec_pretty(&content)?;
        bytes.push(b'\n');
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(file_error("write", path))
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeysError {
    let path = path.to_path_buf();
    move |source| KeysError::File { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path(), 7).unwrap();
        let text = keys.made().unwrap();
        let found = keys.find(&text, 7).unwrap();
        assert_eq!(
            (found.name.as_str(), found.scopes.as_slice()),
            ("master", &[Scope::Master][..])
        );
        let mode = fs::metadata(keys.path()).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
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
            fs::write(&path, content).unwrap();
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
