//! A screen that is drawn again in place.
//!
//! # Invariants
//!
//! * The terminal is left as it was found, however it ends.

use std::io::{self, IsTerminal, Read, Write};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// Keys that were pressed and not yet looked at.
const KEYS_WAITING: usize = 16;

/// A screen of a terminal.
pub(super) struct Live {
    keys: Option<mpsc::Receiver<u8>>,
    before: Option<Termios>,
}

impl Live {
    /// Takes the terminal, if the standard output is one.
    ///
    /// # Errors
    ///
    /// Those of the standard output.
    pub(super) fn open() -> io::Result<Option<Self>> {
        if !io::stdout().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin()).ok();
        let keys = before.as_ref().and_then(listen);
        let live = Self { keys, before };
        // Another screen, without a cursor.
        write(b"\x1b[?1049h\x1b[?25l")?;
        Ok(Some(live))
    }

    /// Draws these lines in place of those of before.
    ///
    /// # Errors
    ///
    /// Those of the standard output.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let mut text = String::from("\x1b[H");
        for line in lines {
            text.push_str(line);
            text.push_str("\x1b[K\r\n");
        }
        text.push_str("\x1b[J");
        write(text.as_bytes())
    }

    /// Waits for a `q`; for ever where no keys are heard.
    ///
    /// # Cancel safety
    ///
    /// No key is lost if the future is dropped.
    pub(super) async fn quit(&mut self) {
        if let Some(keys) = &mut self.keys {
            while let Some(key) = keys.recv().await {
                if matches!(key, b'q' | b'Q') {
                    return;
                }
            }
        }
        std::future::pending().await
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // What cannot be put back stays as it is; there is nobody left to tell.
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, before);
        }
        let _ = write(b"\x1b[?25h\x1b[?1049l");
    }
}

/// Hears each key when it is pressed. Ctrl-C stays a signal.
fn listen(before: &Termios) -> Option<mpsc::Receiver<u8>> {
    let mut settings = before.clone();
    settings.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
    tcsetattr(io::stdin(), SetArg::TCSADRAIN, &settings).ok()?;
    let (tx, keys) = mpsc::channel(KEYS_WAITING);
    // It ends with the process: nothing ends a blocking read earlier.
    std::thread::spawn(move || {
        for key in io::stdin().lock().bytes() {
            let Ok(key) = key else { return };
            if tx.blocking_send(key).is_err() {
                return;
            }
        }
    });
    Some(keys)
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}
