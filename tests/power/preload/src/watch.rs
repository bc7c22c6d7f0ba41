//! Which files are watched, and the journal.
//!
//! # Invariants
//!
//! * A descriptor is forgotten before it is closed, so its number never stands for another file.

use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use power_journal::Note;

/// Descriptors that are told apart.
const DESCRIPTORS: usize = 1 << 16;

/// For each descriptor the inode of the watched file that it is of, or 0.
static INODES: [AtomicU64; DESCRIPTORS] = [const { AtomicU64::new(0) }; DESCRIPTORS];
static ORDER: Mutex<()> = Mutex::new(());
static SYNCS: AtomicU64 = AtomicU64::new(0);
static WATCH: OnceLock<Option<Watch>> = OnceLock::new();

/// The folder that is watched, and the journal's descriptor.
pub(crate) struct Watch {
    root: Vec<u8>,
    journal: c_int,
}

/// The function of the C library behind ours.
macro_rules! real {
    ($name:ident: $type:ty) => {{
        static FOUND: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
        let found = *FOUND.get_or_init(|| $crate::watch::find(concat!(stringify!($name), "\0")));
        // SAFETY: the type is that of the function in its manual.
        #[allow(unused_unsafe, reason = "some of the callers are unsafe themselves")]
        unsafe {
            std::mem::transmute::<usize, $type>(found)
        }
    }};
}
pub(crate) use real;

/// Where the next function of a name is; the name ends in a zero.
pub(crate) fn find(name: &'static str) -> usize {
    assert!(name.ends_with('\0'));
    // SAFETY: the name is a string of C.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()) } as usize;
    assert!(found != 0, "there is no {name}");
    found
}

/// What is watched, if anything is.
pub(crate) fn watch() -> Option<&'static Watch> {
    WATCH.get_or_init(Watch::from_environment).as_ref()
}

impl Watch {
    fn from_environment() -> Option<Self> {
        let root = std::env::var_os("POWER_ROOT")?.as_bytes().to_vec();
        let journal = CString::new(std::env::var_os("POWER_JOURNAL")?.as_bytes()).ok()?;
        let open = real!(open64: unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int);
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
        // SAFETY: the path is a string of C.
        let journal = unsafe { open(journal.as_ptr(), flags, 0o600) };
        assert!(journal >= 0, "cannot open the journal");
        Some(Self { root, journal })
    }

    /// Whoever changes the folder or notes something holds this.
    pub(crate) fn turn(&self) -> Turn<'_> {
        Turn { watch: self, _order: ORDER.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// The path below the folder, if it is below.
    ///
    /// # Safety
    ///
    /// `path` is a string of C.
    pub(crate) unsafe fn below(&self, folder: c_int, path: *const c_char) -> Option<String> {
        // SAFETY: the caller's promise.
        let path = unsafe { CStr::from_ptr(path) }.to_bytes();
        let whole = match path.first() {
            Some(b'/') => path.to_vec(),
            _ => [&base(folder)?, &b"/"[..], path].concat(),
        };
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in whole.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let whole = [&b"/"[..], &parts.join(&b"/"[..])].concat();
        let below = whole.strip_prefix(&self.root[..])?;
        let below = if below.is_empty() { below } else { below.strip_prefix(b"/")? };
        Some(OsStr::from_bytes(below).to_str()?.to_owned())
    }
}

/// The folder that a descriptor is of, or else that the process is in.
fn base(folder: c_int) -> Option<Vec<u8>> {
    let link = match folder {
        libc::AT_FDCWD => "/proc/self/cwd".to_owned(),
        folder => format!("/proc/self/fd/{folder}"),
    };
    let (link, mut path) = (CString::new(link).ok()?, vec![0_u8; libc::PATH_MAX as usize]);
    // SAFETY: the length is that of the buffer.
    let len = unsafe { libc::readlink(link.as_ptr(), path.as_mut_ptr().cast(), path.len()) };
    path.truncate(usize::try_from(len).ok()?);
    Some(path)
}

/// The right to change the folder, and to note that.
pub(crate) struct Turn<'a> {
    watch: &'a Watch,
    _order: MutexGuard<'a, ()>,
}

impl Turn<'_> {
    /// Appends a note to the journal.
    pub(crate) fn note(&self, note: &Note) {
        let bytes = note.pack();
        let write = real!(write: unsafe extern "C" fn(c_int, *const u8, usize) -> isize);
        // SAFETY: the length is that of the note.
        let wrote = unsafe { write(self.watch.journal, bytes.as_ptr(), bytes.len()) };
        if wrote != bytes.len() as isize {
            std::process::abort();
        }
    }

    /// Something happened that cannot be noted.
    pub(crate) fn untold(&self, what: &str) {
        self.note(&Note::Untold { what: what.to_owned() });
    }
}

/// A number for a sync.
pub(crate) fn sync_number() -> u64 {
    SYNCS.fetch_add(1, Ordering::Relaxed)
}

/// The inode of the watched file that a descriptor is of.
pub(crate) fn inode(descriptor: c_int) -> Option<u64> {
    let slot = INODES.get(usize::try_from(descriptor).ok()?)?;
    Some(slot.load(Ordering::Acquire)).filter(|inode| *inode != 0)
}

/// From now on the descriptor is of this file; of no watched one if that is 0.
pub(crate) fn remember(descriptor: c_int, inode: u64) {
    let Ok(at) = usize::try_from(descriptor) else { return };
    match INODES.get(at) {
        Some(slot) => slot.store(inode, Ordering::Release),
        None => assert!(inode == 0, "too many descriptors"),
    }
}

/// The inode and the bytes of what stands under a name; `None` if there is nothing.
///
/// # Safety
///
/// `path` is a string of C.
pub(crate) unsafe fn look(folder: c_int, path: *const c_char) -> Option<(u64, u64)> {
    let mut stat = std::mem::MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: the caller's promise; the buffer is written when 0 is returned.
    unsafe {
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        let found = libc::fstatat64(folder, path, stat.as_mut_ptr(), flags) == 0;
        found.then(|| stat.assume_init()).map(|stat| (stat.st_ino, stat.st_size as u64))
    }
}
