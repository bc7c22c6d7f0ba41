//! What the kernel says of a process and of the machine, read from `/proc`.
//!
//! # Invariants
//!
//! * Reading needs no rights over the process; what cannot be read is `None`.

use std::fs;
use std::path::Path;

/// Microseconds of one clock tick of `/proc`: Linux shows 100 ticks a second everywhere.
const TICK_US: u64 = 10_000;

/// CPU time that a process has used, in microseconds, ended threads included.
pub(crate) fn cpu_us(pid: u32) -> Option<u64> {
    stat_cpu_us(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether a process runs: it exists and is no zombie.
pub(crate) fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rfind(')').and_then(|end| stat.get(end + 1..)).map(str::trim_start);
    state.is_some_and(|state| !state.is_empty() && !state.starts_with(['Z', 'X']))
}

/// CPU time used by the threads of a process whose names begin with `name`, in microseconds.
pub(crate) fn threads_cpu_us(pid: u32, name: &str) -> Option<u64> {
    let mut total = None;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let Ok(stat) = fs::read_to_string(thread.path().join("stat")) else { continue };
        if stat_name(&stat).is_some_and(|own| own.starts_with(name)) {
            total = Some(total.unwrap_or(0) + stat_cpu_us(&stat)?);
        }
    }
    total
}

/// Resident memory of a process in KiB.
pub(crate) fn rss_kib(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:")?.strip_suffix("kB")?.trim().parse().ok()
}

/// Threads of a process.
pub(crate) fn threads(pid: u32) -> Option<u64> {
    status(pid, "Threads:")?.parse().ok()
}

/// Files that a process has open, sockets included.
pub(crate) fn open_files(pid: u32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64)
}

/// UDP over IPv4 on this machine, all programs together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Udp {
    /// Datagrams that were sent; of those handed over together, one.
    pub(crate) sent: u64,
    /// Datagrams for which a socket's buffer had no room.
    pub(crate) dropped: u64,
}

/// What has gone over UDP since the machine was started.
pub(crate) fn udp() -> Option<Udp> {
    udp_in(&fs::read_to_string("/proc/net/snmp").ok()?)
}

fn udp_in(snmp: &str) -> Option<Udp> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next()?.split(' '), lines.next()?.split(' '));
    let named: Vec<_> = names.zip(values).collect();
    let value = |name| named.iter().find(|(own, _)| *own == name)?.1.parse().ok();
    Some(Udp { sent: value("OutDatagrams")?, dropped: value("RcvbufErrors")? })
}

/// What the status of a process says behind a name.
fn status(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().to_owned())
}

fn stat_name(stat: &str) -> Option<&str> {
    stat.get(stat.find('(')? + 1..stat.rfind(')')?)
}

/// User and system time of a line of `stat`.
fn stat_cpu_us(stat: &str) -> Option<u64> {
    // A name may hold spaces and brackets, so fields are counted from its end.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK_US)
}

/// The type of the file system that holds an existing `path`, as the kernel names it.
pub(crate) fn filesystem(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    filesystem_in(&fs::read_to_string("/proc/mounts").ok()?, &path)
}

fn filesystem_in(mounts: &str, path: &Path) -> Option<String> {
    let mut found: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (Some(folder), Some(kind)) = (fields.next(), fields.next()) else { continue };
        let folder = folder.replace("\\040", " ");
        // The last of several mounts on one folder is the one that is seen.
        if path.starts_with(&folder) && found.is_none_or(|(len, _)| folder.len() >= len) {
            found = Some((folder.len(), kind));
        }
    }
    found.map(|(_, kind)| kind.to_owned())
}

/// The machine in a few words: its processors, its kernel, and how busy it is.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let load = read("/proc/loadavg");
    let load = load.split_ascii_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} processors, Linux {}, load {load}", kernel.trim())
}

/// What the machine is made of: its processors and its memory.
pub(crate) fn hardware() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    hardware_in(&read("/proc/cpuinfo"), &read("/proc/meminfo"))
}

fn hardware_in(cpus: &str, memory: &str) -> String {
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let model = value(cpus, "model name").unwrap_or_else(|| "unknown processor".into());
    let kib = value(memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
    let mib = kib.map_or("unknown".to_owned(), |kib: u64| (kib / 1024).to_string());
    format!("{count} x {model}, {mib} MiB of memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 150 25 0 0 20 0 5 0 100 1 2";
        assert_eq!(stat_cpu_us(stat), Some(1_750_000));
        assert_eq!(stat_name(stat), Some("a) b (c"));
        assert_eq!(stat_cpu_us("42 (x"), None);
    }

    #[test]
    fn the_innermost_mount_is_the_file_system() {
        let mounts =
            "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/a\\040b xfs rw\n";
        let of = |path: &str| filesystem_in(mounts, Path::new(path));
        assert_eq!(of("/home/x").as_deref(), Some("ext4"));
        assert_eq!(of("/tmp/x").as_deref(), Some("tmpfs"));
        assert_eq!(of("/tmp/a b/c").as_deref(), Some("xfs"));
        assert_eq!(of("/tmpfoo").as_deref(), Some("ext4"));
    }

    #[test]
    fn the_machine_is_told_in_a_line() {
        let cpus = "processor\t: 0\nmodel name\t: A 1\nprocessor\t: 1\nmodel name\t: A 1\n";
        let told = hardware_in(cpus, "MemTotal:       2048000 kB\nMemFree: 1 kB\n");
        assert_eq!(told, "2 x A 1, 2000 MiB of memory");
        assert!(hardware().contains("MiB"));
    }

    #[test]
    fn datagrams_are_counted_by_their_names() {
        let snmp = "Udp: InDatagrams OutDatagrams RcvbufErrors\nUdp: 7 8 9\nUdpLite: In\n";
        assert_eq!(udp_in(snmp), Some(Udp { sent: 8, dropped: 9 }));
        assert_eq!(udp_in("Udp: InDatagrams\n"), None);
        assert!(udp().is_some());
    }

    #[test]
    fn this_process_can_be_read() {
        let own = std::process::id();
        assert!(cpu_us(own).is_some());
        assert!(rss_kib(own).is_some_and(|kib| kib > 100));
        assert!(open_files(own) > Some(2) && threads(own) > Some(0));
        assert!(is_running(own));
        assert!(!is_running(u32::MAX));
        assert_eq!(threads_cpu_us(own, "no-such-thread"), None);
    }
}
