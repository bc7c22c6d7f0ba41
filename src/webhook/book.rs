//! The endpoints that were made by request, in one file of the data folder.
//!
//! # Invariants
//!
//! * A change is on the disk, whole, before it is in force.
//! * Only the file's owner may read it, for it has secrets; what is told of it has none.
//! * The dialect by which the lanes of an endpoint were made is known, whoever made the endpoint:
//!   in another dialect its lanes mean something else.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::definition::Definition;

/// The file in the folder of endpoints.
const FILE: &str = "endpoints.json";
/// What the file's form is called.
const VERSION: u32 = 1;

/// Why the endpoints are not known, or not kept.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
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
    #[error("{path} is not a file of endpoints: {what} (line {line})")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
        /// Where, if that is known; 0 if not.
        line: usize,
    },
}

/// What the file holds.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    version: u32,
    /// The endpoints that were made by request.
    pub(super) endpoints: Vec<Definition>,
    /// The name of the dialect of each endpoint's lanes, by the endpoint's id.
    pub(super) dialects: BTreeMap<String, String>,
}

/// The file.
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
}

impl Book {
    /// Reads the file; nothing is in it if there is none. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`BookError`] names the file that is of no use.
    pub(super) fn open(folder: &Path) -> Result<(Self, Content), BookError> {
        let path = folder.join(FILE);
        let content = match fs::read(&path) {
            Ok(bytes) => parse(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(source) => return Err(BookError::File { action: "read", path, source }),
        };
        Ok((Self { path }, content))
    }

    /// Replaces the file; synced with its folder. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`BookError`]; then the file is as it was.
    pub(super) fn write(&self, content: &Content) -> Result<(), BookError> {
        let content = Content { version: VERSION, ..content.clone() };
        let fresh = self.path.with_extension("new");
        let write = || -> io::Result<()> {
            let folder = self.path.parent().unwrap_or(Path::new("."));
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
            fs::rename(&fresh, &self.path)?;
            fs::File::open(folder)?.sync_all()
        };
        let path = self.path.clone();
        write().map_err(|source| BookError::File { action: "write", path, source })
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Content, BookError> {
    let wrong = |what, line| BookError::Content { path: path.to_owned(), what, line };
    let content: Content = serde_json::from_slice(bytes)
        .map_err(|error| wrong("it is not the JSON that is written there", error.line()))?;
    if content.version != VERSION {
        return Err(wrong("it has another version", 0));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::definition::SecretText;

    #[test]
    fn what_is_written_is_read_again_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let (book, mut content) = Book::open(folder.path()).unwrap();
        assert_eq!(content, Content::default());
        content.endpoints.push(Definition {
            id: "a".into(),
            url: Some("http://a.example".into()),
            secret: Some(SecretText("geheim".into())),
            ..Definition::default()
        });
        content.dialects.insert("a".into(), "tidings".into());
        book.write(&content).unwrap();
        let (_, again) = Book::open(folder.path()).unwrap();
        assert_eq!((again.endpoints, again.dialects), (content.endpoints, content.dialects));
        let mode = fs::metadata(folder.path().join(FILE)).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_no_file_of_endpoints_is_named_without_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        for content in [
            r#"{"version":1,"endpoints":[{"id":"a","secret":["geheim"]}],"dialects":{}}"#,
            r#"{"version":2,"endpoints":[],"dialects":{}}"#,
            "geheim",
        ] {
            fs::write(folder.path().join(FILE), content).unwrap();
            let error = Book::open(folder.path()).unwrap_err();
            let said = crate::chain::Chain(&error).to_string();
            assert!(said.contains(FILE) && !said.contains("geheim"), "{said}");
        }
    }
}
