//! The functions of the C library that change files, with ours in front of them.
//!
//! # Invariants
//!
//! * Each does what the real one does, and returns what it returned.
//! * What is unsafe in each is what its caller does by the call: pointers are good for as long as
//!   the real function may use them. Nothing is read that the real one did not read before.

use std::ffi::{c_char, c_int, c_uint, c_void};

use libc::{iovec, mode_t, off64_t, size_t, ssize_t};
use power_journal::Note;

use crate::watch::{Turn, inode, look, real, remember, sync_number, watch};

type Open = unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int;
type OpenAt = unsafe extern "C" fn(c_int, *const c_char, c_int, ...) -> c_int;
type OfName = unsafe extern "C" fn(*const c_char) -> c_int;
type OfNames = unsafe extern "C" fn(*const c_char, *const c_char) -> c_int;
type OfFile = unsafe extern "C" fn(c_int) -> c_int;

/// Opens a file that may have to be watched.
unsafe fn opened(
    folder: c_int,
    path: *const c_char,
    flags: c_int,
    open: impl FnOnce() -> c_int,
) -> c_int {
    let below = watch().and_then(|watch| Some((watch, unsafe { watch.below(folder, path) }?)));
    let Some((watch, below)) = below else {
        let descriptor = open();
        remember(descriptor, 0);
        return descriptor;
    };
    let turn = watch.turn();
    if flags & libc::O_TMPFILE == libc::O_TMPFILE {
        turn.untold("a file without a name");
    }
    let before = unsafe { look(folder, path) };
    let descriptor = open();
    let after = if descriptor < 0 { None } else { unsafe { look(folder, path) } };
    if let Some((inode, _)) = after {
        match before {
            None => turn.note(&Note::File { inode, path: below }),
            Some((_, bytes)) if bytes > 0 && flags & libc::O_TRUNC != 0 => {
                turn.note(&Note::Length { inode, bytes: 0 });
            }
            Some(_) => {}
        }
        remember(descriptor, inode);
    }
    descriptor
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let real = real!(open: Open);
    unsafe { opened(libc::AT_FDCWD, path, flags, || real(path, flags, mode)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let real = real!(open64: Open);
    unsafe { opened(libc::AT_FDCWD, path, flags, || real(path, flags, mode)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat(at: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let real = real!(openat: OpenAt);
    unsafe { opened(at, path, flags, || real(at, path, flags, mode)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(at: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let real = real!(openat64: OpenAt);
    unsafe { opened(at, path, flags, || real(at, path, flags, mode)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close(descriptor: c_int) -> c_int {
    remember(descriptor, 0);
    unsafe { real!(close: OfFile)(descriptor) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn closedir(folder: *mut libc::DIR) -> c_int {
    remember(unsafe { libc::dirfd(folder) }, 0);
    unsafe { real!(closedir: unsafe extern "C" fn(*mut libc::DIR) -> c_int)(folder) }
}

/// A descriptor was made of another one.
fn copied(from: c_int, to: c_int) -> c_int {
    remember(to, inode(from).unwrap_or(0));
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup(from: c_int) -> c_int {
    copied(from, unsafe { real!(dup: OfFile)(from) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup2(from: c_int, to: c_int) -> c_int {
    copied(from, unsafe { real!(dup2: unsafe extern "C" fn(c_int, c_int) -> c_int)(from, to) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    let real = real!(dup3: unsafe extern "C" fn(c_int, c_int, c_int) -> c_int);
    copied(from, unsafe { real(from, to, flags) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl(descriptor: c_int, command: c_int, argument: *mut c_void) -> c_int {
    let real = real!(fcntl: unsafe extern "C" fn(c_int, c_int, ...) -> c_int);
    let did = unsafe { real(descriptor, command, argument) };
    let copies = matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC);
    if copies { copied(descriptor, did) } else { did }
}

/// Writes to a file that may be watched, `at` a place or where its descriptor is.
unsafe fn written(
    descriptor: c_int,
    at: Option<off64_t>,
    parts: &[iovec],
    write: impl FnOnce() -> ssize_t,
) -> ssize_t {
    let Some((watch, inode)) = watch().zip(inode(descriptor)) else { return write() };
    let turn = watch.turn();
    let wrote = write();
    let Ok(len @ 1..) = usize::try_from(wrote) else { return wrote };
    let here = || unsafe { libc::lseek64(descriptor, 0, libc::SEEK_CUR) } - wrote as off64_t;
    let mut bytes = Vec::with_capacity(len);
    for part in parts {
        let left = part.iov_len.min(len - bytes.len());
        let part = unsafe { std::slice::from_raw_parts(part.iov_base.cast::<u8>(), left) };
        bytes.extend_from_slice(part);
    }
    turn.note(&Note::Wrote { inode, at: at.unwrap_or_else(here) as u64, bytes });
    wrote
}

fn one(from: *const c_void, len: size_t) -> [iovec; 1] {
    [iovec { iov_base: from.cast_mut(), iov_len: len }]
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(to: c_int, from: *const c_void, len: size_t) -> ssize_t {
    let real = real!(write: unsafe extern "C" fn(c_int, *const c_void, size_t) -> ssize_t);
    unsafe { written(to, None, &one(from, len), || real(to, from, len)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(to: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    let real = real!(writev: unsafe extern "C" fn(c_int, *const iovec, c_int) -> ssize_t);
    let all = unsafe { std::slice::from_raw_parts(parts, usize::try_from(count).unwrap_or(0)) };
    unsafe { written(to, None, all, || real(to, parts, count)) }
}

type WriteAt = unsafe extern "C" fn(c_int, *const c_void, size_t, off64_t) -> ssize_t;

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(to: c_int, from: *const c_void, len: size_t, at: off64_t) -> ssize_t {
    let real = real!(pwrite: WriteAt);
    unsafe { written(to, Some(at), &one(from, len), || real(to, from, len, at)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(to: c_int, from: *const c_void, len: size_t, at: off64_t) -> ssize_t {
    let real = real!(pwrite64: WriteAt);
    unsafe { written(to, Some(at), &one(from, len), || real(to, from, len, at)) }
}

type WriteManyAt = unsafe extern "C" fn(c_int, *const iovec, c_int, off64_t) -> ssize_t;

#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev(to: c_int, parts: *const iovec, count: c_int, at: off64_t) -> ssize_t {
    let real = real!(pwritev: WriteManyAt);
    let all = unsafe { std::slice::from_raw_parts(parts, usize::try_from(count).unwrap_or(0)) };
    unsafe { written(to, Some(at), all, || real(to, parts, count, at)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev64(
    to: c_int,
    parts: *const iovec,
    count: c_int,
    at: off64_t,
) -> ssize_t {
    let real = real!(pwritev64: WriteManyAt);
    let all = unsafe { std::slice::from_raw_parts(parts, usize::try_from(count).unwrap_or(0)) };
    unsafe { written(to, Some(at), all, || real(to, parts, count, at)) }
}

/// Changes a file that may be watched; `note` says what to note, or `None` that it cannot be.
fn changed(
    descriptor: c_int,
    change: impl FnOnce() -> c_int,
    note: impl FnOnce(u64) -> Option<Note>,
) -> c_int {
    let Some((watch, inode)) = watch().zip(inode(descriptor)) else { return change() };
    let turn = watch.turn();
    let did = change();
    if did == 0 {
        match note(inode) {
            Some(note) => turn.note(&note),
            None => turn.untold("holes or zeroes in a file"),
        }
    }
    did
}

type Truncate = unsafe extern "C" fn(c_int, off64_t) -> c_int;

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate(file: c_int, bytes: off64_t) -> c_int {
    let real = real!(ftruncate: Truncate);
    let note = |inode| Some(Note::Length { inode, bytes: bytes as u64 });
    changed(file, || unsafe { real(file, bytes) }, note)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(file: c_int, bytes: off64_t) -> c_int {
    let real = real!(ftruncate64: Truncate);
    let note = |inode| Some(Note::Length { inode, bytes: bytes as u64 });
    changed(file, || unsafe { real(file, bytes) }, note)
}

type Allocate = unsafe extern "C" fn(c_int, off64_t, off64_t) -> c_int;

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_fallocate(file: c_int, from: off64_t, len: off64_t) -> c_int {
    let real = real!(posix_fallocate: Allocate);
    let note = |inode| Some(Note::Room { inode, bytes: (from + len) as u64 });
    changed(file, || unsafe { real(file, from, len) }, note)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_fallocate64(file: c_int, from: off64_t, len: off64_t) -> c_int {
    let real = real!(posix_fallocate64: Allocate);
    let note = |inode| Some(Note::Room { inode, bytes: (from + len) as u64 });
    changed(file, || unsafe { real(file, from, len) }, note)
}

type AllocateAs = unsafe extern "C" fn(c_int, c_int, off64_t, off64_t) -> c_int;

#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate(file: c_int, mode: c_int, from: off64_t, len: off64_t) -> c_int {
    let real = real!(fallocate: AllocateAs);
    let note = |inode| (mode == 0).then_some(Note::Room { inode, bytes: (from + len) as u64 });
    changed(file, || unsafe { real(file, mode, from, len) }, note)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate64(file: c_int, mode: c_int, from: off64_t, len: off64_t) -> c_int {
    let real = real!(fallocate64: AllocateAs);
    let note = |inode| (mode == 0).then_some(Note::Room { inode, bytes: (from + len) as u64 });
    changed(file, || unsafe { real(file, mode, from, len) }, note)
}

/// Syncs a file or folder that may be watched.
fn synced(descriptor: c_int, is_data: bool, sync: impl FnOnce() -> c_int) -> c_int {
    let Some((watch, inode)) = watch().zip(inode(descriptor)) else { return sync() };
    let number = sync_number();
    watch.turn().note(&Note::SyncBegan { number, inode, is_data });
    let did = sync();
    if did == 0 {
        watch.turn().note(&Note::SyncEnded { number });
    }
    did
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(file: c_int) -> c_int {
    synced(file, false, || unsafe { real!(fsync: OfFile)(file) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    synced(file, true, || unsafe { real!(fdatasync: OfFile)(file) })
}

/// Changes names that may be below the folder: each is told with the folder that it is in.
unsafe fn named<const N: usize>(
    names: [(c_int, *const c_char); N],
    change: impl FnOnce() -> c_int,
    note: impl FnOnce([String; N], &Turn<'_>),
) -> c_int {
    let Some(watch) = watch() else { return change() };
    let below = names.map(|(folder, path)| unsafe { watch.below(folder, path) });
    if below.iter().all(Option::is_none) {
        return change();
    }
    let turn = watch.turn();
    let did = change();
    if did == 0 && below.iter().any(Option::is_none) {
        turn.untold("a name that left the folder, or came into it");
    } else if did == 0 {
        note(below.map(Option::unwrap_or_default), &turn);
    }
    did
}

const HERE: c_int = libc::AT_FDCWD;

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    let real = real!(mkdir: unsafe extern "C" fn(*const c_char, mode_t) -> c_int);
    let note = |[below]: [String; 1], turn: &Turn<'_>| {
        let (inode, _) = unsafe { look(HERE, path) }.unwrap_or_default();
        turn.note(&Note::Folder { inode, path: below });
    };
    unsafe { named([(HERE, path)], || real(path, mode), note) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdirat(at: c_int, path: *const c_char, mode: mode_t) -> c_int {
    let real = real!(mkdirat: unsafe extern "C" fn(c_int, *const c_char, mode_t) -> c_int);
    let note = |[below]: [String; 1], turn: &Turn<'_>| {
        let (inode, _) = unsafe { look(at, path) }.unwrap_or_default();
        turn.note(&Note::Folder { inode, path: below });
    };
    unsafe { named([(at, path)], || real(at, path, mode), note) }
}

fn removed([path]: [String; 1], turn: &Turn<'_>) {
    turn.note(&Note::Removed { path });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    unsafe { named([(HERE, path)], || real!(unlink: OfName)(path), removed) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    unsafe { named([(HERE, path)], || real!(rmdir: OfName)(path), removed) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn remove(path: *const c_char) -> c_int {
    unsafe { named([(HERE, path)], || real!(remove: OfName)(path), removed) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(at: c_int, path: *const c_char, flags: c_int) -> c_int {
    let real = real!(unlinkat: unsafe extern "C" fn(c_int, *const c_char, c_int) -> c_int);
    unsafe { named([(at, path)], || real(at, path, flags), removed) }
}

fn renamed([from, to]: [String; 2], turn: &Turn<'_>) {
    turn.note(&Note::Renamed { from, to });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    unsafe { named([(HERE, from), (HERE, to)], || real!(rename: OfNames)(from, to), renamed) }
}

type BetweenFolders = unsafe extern "C" fn(c_int, *const c_char, c_int, *const c_char) -> c_int;

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat(
    from_at: c_int,
    from: *const c_char,
    to_at: c_int,
    to: *const c_char,
) -> c_int {
    let real = real!(renameat: BetweenFolders);
    unsafe { named([(from_at, from), (to_at, to)], || real(from_at, from, to_at, to), renamed) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat2(
    from_at: c_int,
    from: *const c_char,
    to_at: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    let real = real!(
        renameat2: unsafe extern "C" fn(c_int, *const c_char, c_int, *const c_char, c_uint) -> c_int
    );
    let note = |names: [String; 2], turn: &Turn<'_>| match flags & !libc::RENAME_NOREPLACE {
        0 => renamed(names, turn),
        _ => turn.untold("an exchange of names"),
    };
    let change = || unsafe { real(from_at, from, to_at, to, flags) };
    unsafe { named([(from_at, from), (to_at, to)], change, note) }
}

fn linked([from, to]: [String; 2], turn: &Turn<'_>) {
    turn.note(&Note::Linked { from, to });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn link(from: *const c_char, to: *const c_char) -> c_int {
    unsafe { named([(HERE, from), (HERE, to)], || real!(link: OfNames)(from, to), linked) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn linkat(
    from_at: c_int,
    from: *const c_char,
    to_at: c_int,
    to: *const c_char,
    flags: c_int,
) -> c_int {
    let real = real!(
        linkat: unsafe extern "C" fn(c_int, *const c_char, c_int, *const c_char, c_int) -> c_int
    );
    let change = || unsafe { real(from_at, from, to_at, to, flags) };
    unsafe { named([(from_at, from), (to_at, to)], change, linked) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn symlink(what: *const c_char, path: *const c_char) -> c_int {
    let note = |_: [String; 1], turn: &Turn<'_>| turn.untold("a symbolic link");
    unsafe { named([(HERE, path)], || real!(symlink: OfNames)(what, path), note) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn truncate64(path: *const c_char, bytes: off64_t) -> c_int {
    let real = real!(truncate64: unsafe extern "C" fn(*const c_char, off64_t) -> c_int);
    let note = |_: [String; 1], turn: &Turn<'_>| turn.untold("a cut by name");
    unsafe { named([(HERE, path)], || real(path, bytes), note) }
}

/// The kernel itself changes what is in a watched file.
fn behind_our_back(descriptor: c_int, what: &str) {
    if let Some(watch) = inode(descriptor).and(watch()) {
        watch.turn().untold(what);
    }
}

type Map = unsafe extern "C" fn(*mut c_void, size_t, c_int, c_int, c_int, off64_t) -> *mut c_void;

fn mapped(protection: c_int, flags: c_int, file: c_int) {
    let is_shared = flags & (libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE) != 0;
    if file >= 0 && is_shared && protection & libc::PROT_WRITE != 0 {
        behind_our_back(file, "memory that is a file");
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    to: *mut c_void,
    len: size_t,
    protection: c_int,
    flags: c_int,
    file: c_int,
    at: off64_t,
) -> *mut c_void {
    mapped(protection, flags, file);
    unsafe { real!(mmap: Map)(to, len, protection, flags, file, at) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    to: *mut c_void,
    len: size_t,
    protection: c_int,
    flags: c_int,
    file: c_int,
    at: off64_t,
) -> *mut c_void {
    mapped(protection, flags, file);
    unsafe { real!(mmap64: Map)(to, len, protection, flags, file, at) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_at: *mut off64_t,
    to: c_int,
    to_at: *mut off64_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    type Copy =
        unsafe extern "C" fn(c_int, *mut off64_t, c_int, *mut off64_t, size_t, c_uint) -> ssize_t;
    behind_our_back(to, "a copy within the kernel");
    unsafe { real!(copy_file_range: Copy)(from, from_at, to, to_at, len, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile64(to: c_int, from: c_int, at: *mut off64_t, len: size_t) -> ssize_t {
    type Send = unsafe extern "C" fn(c_int, c_int, *mut off64_t, size_t) -> ssize_t;
    behind_our_back(to, "a copy within the kernel");
    unsafe { real!(sendfile64: Send)(to, from, at, len) }
}
