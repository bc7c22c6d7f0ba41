//! The endpoints that were made by request, in one file of the data folder.
//!
//! # Invariants
//!
//! * A change is on the disk, whole, before it is in force.
//! * Only the file's owner may read it, for it has secrets; what is told of it has none.
//! * The dialect by which the lanes of an endpoint were made is known, whoever made the endpoint:
//!   in another dialect its lanes mean something else.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::definition::Definition;
use crate::private_file::{FileError, JsonFile};

/// The file in the folder of endpoints.
const FILE: &str = "endpoints.json";
/// What the file's form is called.
const VERSION: u32 = 1;

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
pub(super) struct Book(JsonFile);

impl Book {
    /// Reads the file; nothing is in it if there is none. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`FileError`] names the file that is of no use.
    pub(super) fn open(folder: &Path) -> Result<(Self, Content), FileError> {
        let file = JsonFile::new(folder.join(FILE), "endpoints");
        let content = match file.read::<Content>()? {
            Some(content) if content.version != VERSION => {
                return Err(file.wrong("it has another version"));
            }
            found => found.unwrap_or_default(),
        };
        Ok((Self(file), content))
    }

    /// Replaces the file; synced with its folder. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`FileError`]; then the file is as it was.
    pub(super) fn write(&self, content: &Content) -> Result<(), FileError> {
        self.0.write(&Content { version: VERSION, ..content.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::definition::SecretText;

    #[test]
    fn what_is_written_is_read_again() {
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
    }

    #[test]
    fn a_file_that_is_no_file_of_endpoints_is_named_without_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        for content in [
            r#"{"version":1,"endpoints":[{"id":"a","secret":["geheim"]}],"dialects":{}}"#,
            r#"{"version":2,"endpoints":[],"dialects":{}}"#,
            "geheim",
        ] {
            std::fs::write(folder.path().join(FILE), content).unwrap();
            let error = Book::open(folder.path()).unwrap_err();
            let said = crate::chain::Chain(&error).to_string();
            assert!(said.contains(FILE) && !said.contains("geheim"), "{said}");
        }
    }
}
