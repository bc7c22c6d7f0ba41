//! The binary in a folder of its own, and how a test waits for what it says.
//!
//! # Invariants
//!
//! * Nothing is waited for without an end, and no process outlives its test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

/// How long anything may take that a test waits for, on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, in an empty folder of its own and without any setting from outside.
pub(crate) fn tidings(home: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDINGS_") {
            command.env_remove(name);
        }
    }
    command.args(args).current_dir(home.path()).stdin(Stdio::null());
    // Servers of tests that run at the same time must not meet on one port.
    command.env("TIDINGS_HTTP_LISTEN", "off");
    command.env("HOME", home.path()).env("XDG_DATA_HOME", home.path().join("user"));
    command.env("TMPDIR", home.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for what another thread does.
pub(crate) fn in_time<T: Send + 'static>(
    what: &str,
    wait: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || tx.send(wait()));
    rx.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what} took too long"))
}

pub(crate) fn run(home: &TempDir, args: &[&str]) -> Output {
    let child = tidings(home, args).spawn().unwrap();
    in_time("a command", move || child.wait_with_output().unwrap())
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn next_line<R: BufRead + Send + 'static>(mut lines: R) -> (R, String) {
    in_time("a line", move || {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        (lines, line.trim_end().to_owned())
    })
}

/// A process that runs until it is told to stop.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<BufReader<ChildStderr>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        let stderr = child.stderr.take().map(BufReader::new);
        Self { child, stdout, stderr }
    }

    /// The next line of its standard output.
    pub(crate) fn line(&mut self) -> String {
        let (stdout, line) = next_line(self.stdout.take().unwrap());
        self.stdout = Some(stdout);
        line
    }

    /// Waits for a line of its standard output with these words.
    pub(crate) fn hears(&mut self, words: &str) -> String {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "it ended without {words:?}");
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Waits for lines of its standard output with each of these words, in any order.
    pub(crate) fn hears_all(&mut self, all: &[&str]) {
        let mut missing = all.to_vec();
        while !missing.is_empty() {
            let line = self.line();
            assert!(!line.is_empty(), "it ended without {missing:?}");
            missing.retain(|words| !line.contains(words));
        }
    }

    /// Waits for a line with these words in its standard error.
    pub(crate) fn await_log(&mut self, words: &str) -> String {
        loop {
            let (stderr, line) = next_line(self.stderr.take().unwrap());
            self.stderr = Some(stderr);
            assert!(!line.is_empty(), "it ended without {words:?}");
            if line.contains(words) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args([format!("-{name}"), pid]).status().unwrap();
        assert!(killed.success());
    }

    /// Tells it to stop; its exit status and the rest of its standard output.
    pub(crate) fn stop(self, signal: &str) -> (ExitStatus, String) {
        self.signal(signal);
        self.end()
    }

    /// Waits for its end; its exit status and the rest of its standard output.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut stdout = self.stdout.take().unwrap();
        let rest = in_time("the end", move || {
            let mut rest = String::new();
            stdout.read_to_string(&mut rest).unwrap();
            rest
        });
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is gone already when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut said = String::new();
        let _ = self.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
        eprint!("{said}");
    }
}

/// A server on a free port of this machine, with its address and fingerprint.
pub(crate) fn serve(home: &TempDir, more: &[&str]) -> (Running, String, String) {
    let args = [&["serve", "--listen", "127.0.0.1:0"], more].concat();
    let mut server = Running::start(tidings(home, &args));
    let line = server.line();
    let ready = line.strip_prefix("ready: listening on ").expect(&line);
    let (address, fingerprint) = ready.split_once(", fingerprint ").expect(&line);
    let (address, fingerprint) = (address.to_owned(), fingerprint.to_owned());
    (server, address, fingerprint)
}
