//! The journal of what a process did to a folder: who writes it and who reads it agree here.
//!
//! ```text
//! bytes of all behind this u32 | kind u8 | u64 | u64 | text or bytes
//! ```
//!
//! # Invariants
//!
//! * A journal that was cut off anywhere is read up to its last whole note.
//! * Paths are those below the folder, without a slash in front; the folder itself is empty.

/// Something that was done, and has returned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Note {
    /// A file was made.
    File {
        /// Its number in the file system.
        inode: u64,
        /// Its name.
        path: String,
    },
    /// A folder was made.
    Folder {
        /// Its number in the file system.
        inode: u64,
        /// Its name.
        path: String,
    },
    /// Bytes were written to a file.
    Wrote {
        /// The file.
        inode: u64,
        /// Where they begin.
        at: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A file was made to be so long: cut off, or with zeroes behind what it had.
    Length {
        /// The file.
        inode: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// A file was made to be at least so long.
    Room {
        /// The file.
        inode: u64,
        /// Its least bytes.
        bytes: u64,
    },
    /// A file or a folder got another name, in the place of whatever had that.
    Renamed {
        /// What it was called.
        from: String,
        /// What it is called.
        to: String,
    },
    /// A file got another name beside the one that it had.
    Linked {
        /// What it is called, too.
        from: String,
        /// The other name.
        to: String,
    },
    /// A name of a file, or an empty folder, was removed.
    Removed {
        /// The name.
        path: String,
    },
    /// A sync of a file or a folder was begun.
    SyncBegan {
        /// Unlike that of every other sync of the journal.
        number: u64,
        /// The file or folder.
        inode: u64,
        /// It was `fdatasync`, and not `fsync`.
        is_data: bool,
    },
    /// That sync has returned without an error.
    SyncEnded {
        /// The number that it was begun with.
        number: u64,
    },
    /// Something was done that a journal cannot tell.
    Untold {
        /// What.
        what: String,
    },
}

/// Bytes of a note before its text or bytes.
const HEAD: usize = 4 + 1 + 8 + 8;

impl Note {
    /// The note as it stands in a journal.
    pub fn pack(&self) -> Vec<u8> {
        let pair = |from: &str, to: &str| format!("{from}\0{to}").into_bytes();
        match self {
            Self::File { inode, path } => pack(0, *inode, 0, path.as_bytes()),
            Self::Folder { inode, path } => pack(1, *inode, 0, path.as_bytes()),
            Self::Wrote { inode, at, bytes } => pack(2, *inode, *at, bytes),
            Self::Length { inode, bytes } => pack(3, *inode, *bytes, &[]),
            Self::Room { inode, bytes } => pack(4, *inode, *bytes, &[]),
            Self::Renamed { from, to } => pack(5, 0, 0, &pair(from, to)),
            Self::Linked { from, to } => pack(6, 0, 0, &pair(from, to)),
            Self::Removed { path } => pack(7, 0, 0, path.as_bytes()),
            Self::SyncBegan { number, inode, is_data } => {
                pack(8, *number, *inode, &[u8::from(*is_data)])
            }
            Self::SyncEnded { number } => pack(9, *number, 0, &[]),
            Self::Untold { what } => pack(10, 0, 0, what.as_bytes()),
        }
    }

    /// The first note of a journal, and how many bytes it has; `None` if there is no whole one.
    pub fn unpack(journal: &[u8]) -> Option<(Self, usize)> {
        let number =
            |at: usize| Some(u64::from_le_bytes(journal.get(at..at + 8)?.try_into().ok()?));
        let len = u32::from_le_bytes(journal.get(..4)?.try_into().ok()?) as usize + 4;
        let (first, second) = (number(5)?, number(13)?);
        let bytes = journal.get(HEAD..len)?;
        let text = || String::from_utf8(bytes.to_vec()).ok();
        let pair = || text()?.split_once('\0').map(|(from, to)| (from.to_owned(), to.to_owned()));
        let note = match journal[4] {
            0 => Self::File { inode: first, path: text()? },
            1 => Self::Folder { inode: first, path: text()? },
            2 => Self::Wrote { inode: first, at: second, bytes: bytes.to_vec() },
            3 => Self::Length { inode: first, bytes: second },
            4 => Self::Room { inode: first, bytes: second },
            5 => pair().map(|(from, to)| Self::Renamed { from, to })?,
            6 => pair().map(|(from, to)| Self::Linked { from, to })?,
            7 => Self::Removed { path: text()? },
            8 => Self::SyncBegan { number: first, inode: second, is_data: bytes == [1] },
            9 => Self::SyncEnded { number: first },
            10 => Self::Untold { what: text()? },
            _ => return None,
        };
        Some((note, len))
    }
}

fn pack(kind: u8, first: u64, second: u64, bytes: &[u8]) -> Vec<u8> {
    let mut note = Vec::with_capacity(HEAD + bytes.len());
    note.extend(((HEAD - 4 + bytes.len()) as u32).to_le_bytes());
    note.push(kind);
    note.extend(first.to_le_bytes());
    note.extend(second.to_le_bytes());
    note.extend(bytes);
    note
}

/// The notes of a journal, up to its last whole one.
pub fn notes(journal: &[u8]) -> impl Iterator<Item = Note> {
    let mut left = journal;
    std::iter::from_fn(move || {
        let (note, len) = Note::unpack(left)?;
        left = &left[len..];
        Some(note)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_was_cut_off_is_read_up_to_its_last_whole_note() {
        let path = || "a/b".to_owned();
        let all = [
            Note::File { inode: 7, path: path() },
            Note::Folder { inode: 8, path: String::new() },
            Note::Wrote { inode: 7, at: 9, bytes: vec![1, 2, 3] },
            Note::Length { inode: 7, bytes: 1 },
            Note::Room { inode: 7, bytes: 4096 },
            Note::Renamed { from: path(), to: "c".to_owned() },
            Note::Linked { from: path(), to: "d".to_owned() },
            Note::Removed { path: path() },
            Note::SyncBegan { number: 1, inode: 7, is_data: true },
            Note::SyncEnded { number: 1 },
            Note::Untold { what: "mmap".to_owned() },
        ];
        let journal: Vec<u8> = all.iter().flat_map(Note::pack).collect();
        assert!(notes(&journal).eq(all.iter().cloned()));
        for len in 0..journal.len() {
            let read: Vec<Note> = notes(&journal[..len]).collect();
            assert!(read.len() < all.len() && all.starts_with(&read), "{len}");
        }
    }
}
