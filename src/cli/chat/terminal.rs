//! Where lines are typed and shown: a terminal with an editor of lines, or pipes.
//!
//! # Invariants
//!
//! * What is shown never destroys the line that is being typed.
//! * The terminal is left as it was found, however the chat ends.
//! * Colours are for terminals only, and never with `NO_COLOR`.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor, ExternalPrinter};
use tokio::sync::mpsc;

use crate::cli::listen::colours;

/// Lines that were typed and not yet looked at. A pipe waits when they are that many.
const LINES_WAITING: usize = 16;

/// What came from the keyboard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Input {
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D, or the end of the pipe.
    End,
}

/// How important a line is to the eye.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tone {
    /// What people say.
    Said,
    /// What happens beside it.
    Aside,
    /// What went wrong.
    Wrong,
}

/// The lines that are typed.
pub(super) struct Keyboard {
    lines: mpsc::Receiver<Input>,
    prompts: Option<blocking::SyncSender<String>>,
    _restore: Option<Restore>,
}

/// Where lines are shown.
pub(super) struct Screen {
    printer: Option<Box<dyn ExternalPrinter + Send>>,
    colours: bool,
}

/// Makes both: an editor if the standard input and output are a terminal that can do it.
pub(super) fn open() -> (Keyboard, Screen) {
    if std::io::stdin().is_terminal()
        && std::io::stdout().is_terminal()
        && let Some(opened) = open_editor()
    {
        return opened;
    }
    let (tx, lines) = mpsc::channel(LINES_WAITING);
    // It ends with the process: nothing ends a blocking read earlier.
    std::thread::spawn(move || read_pipe(&tx));
    let keyboard = Keyboard { lines, prompts: None, _restore: None };
    (keyboard, Screen { printer: None, colours: false })
}

fn open_editor() -> Option<(Keyboard, Screen)> {
    let config = Config::builder().auto_add_history(true).build();
    let history = MemHistory::with_config(&config);
    let mut editor: Editor<(), MemHistory> = Editor::with_history(config, history).ok()?;
    let printer = editor.create_external_printer().ok()?;
    let editing = Arc::new(AtomicBool::new(false));
    let restore =
        Restore { before: tcgetattr(std::io::stdin()).ok()?, editing: Arc::clone(&editing) };
    let (tx, lines) = mpsc::channel(LINES_WAITING);
    let (prompts, asked) = blocking::sync_channel(1);
    std::thread::spawn(move || edit(&mut editor, &asked, &tx, &editing));
    let keyboard = Keyboard { lines, prompts: Some(prompts), _restore: Some(restore) };
    Some((keyboard, Screen { printer: Some(Box::new(printer)), colours: colours() }))
}

/// Reads lines as they are asked for, until nobody wants them or they end.
fn edit(
    editor: &mut Editor<(), MemHistory>,
    asked: &blocking::Receiver<String>,
    lines: &mpsc::Sender<Input>,
    editing: &AtomicBool,
) {
    while let Ok(prompt) = asked.recv() {
        editing.store(true, Ordering::SeqCst);
        let line = editor.readline(&prompt);
        editing.store(false, Ordering::SeqCst);
        let input = match line {
            Ok(line) => Input::Line(line),
            Err(ReadlineError::Interrupted) => Input::Interrupt,
            Err(_) => Input::End,
        };
        if lines.blocking_send(input).is_err() {
            return;
        }
    }
}

fn read_pipe(lines: &mpsc::Sender<Input>) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        if lines.blocking_send(Input::Line(line)).is_err() {
            return;
        }
    }
    // Whoever would hear of it may be gone.
    let _ = lines.blocking_send(Input::End);
}

impl Keyboard {
    /// The next line.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Input {
        self.lines.recv().await.unwrap_or(Input::End)
    }

    /// Shows the prompt, and lets the next line be typed. Once for each line.
    pub(super) fn prompt(&self, prompt: &str) {
        if let Some(prompts) = &self.prompts {
            // The one before was taken when its line came; an editor that is gone takes none.
            let _ = prompts.try_send(prompt.to_owned());
        }
    }
}

impl Screen {
    /// Shows a line above the one that is being typed.
    ///
    /// # Errors
    ///
    /// Those of the standard output.
    pub(super) fn show(&mut self, tone: Tone, text: &str) -> std::io::Result<()> {
        match &mut self.printer {
            Some(printer) => {
                let line = format!("{}\n", painted(self.colours, tone, text));
                printer.print(line).map_err(std::io::Error::other)
            }
            None if tone == Tone::Wrong => writeln!(std::io::stderr(), "{text}"),
            None => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "{text}")?;
                out.flush()
            }
        }
    }
}

fn painted(colours: bool, tone: Tone, text: &str) -> String {
    let code = match tone {
        Tone::Aside if colours => "2",
        Tone::Wrong if colours => "31",
        _ => return text.to_owned(),
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Puts the terminal back if the chat ends while a line is being typed.
struct Restore {
    before: Termios,
    editing: Arc<AtomicBool>,
}

impl Drop for Restore {
    fn drop(&mut self) {
        if self.editing.load(Ordering::SeqCst) {
            // What cannot be put back stays as it is; there is nobody left to tell.
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.before);
            let mut out = std::io::stdout();
            // The end of bracketed paste, which the editor has begun.
            let _ = out.write_all(b"\x1b[?2004l\r\n").and_then(|()| out.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_aside_or_wrong_is_painted_and_only_if_colours_are_wanted() {
        assert_eq!(painted(true, Tone::Said, "hi"), "hi");
        assert_eq!(painted(true, Tone::Aside, "hi"), "\u{1b}[2mhi\u{1b}[0m");
        assert_eq!(painted(false, Tone::Aside, "hi"), "hi");
        assert_eq!(painted(false, Tone::Wrong, "hi"), "hi");
    }
}
