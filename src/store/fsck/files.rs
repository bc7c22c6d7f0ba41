//! What is in the folder beside the log and the state: keys, endpoints, and what was left.

use std::fs;
use std::path::Path;

use super::folder::{Looking, bytes_of, generation, listing};
use super::{Damage, Findings, Leftover};
use crate::store::closed::SEGMENT;
use crate::store::rewrite::NEW;
use crate::store::segment::OPEN;

/// Looks at everything that is neither a segment nor a generation of the state.
pub(super) fn look(looking: &mut Looking<'_>, findings: &mut Findings) {
    let folder = looking.folder.clone();
    for path in listing(&folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match what(&name) {
            Some(what) => leftover(looking, &path, what, findings),
            None if name == "log" => look_at_log(looking, &path, findings),
            None if generation(&path).is_some() => {}
            None => look_at_file(looking, &path, findings),
        }
    }
    look_at_current(&folder, findings);
}

/// What a start has left that is called so; none if it is a part of the data.
fn what(name: &str) -> Option<&'static str> {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        _ if name.starts_with("damaged-") => Some("set aside by a start that found it damaged"),
        "removed" => Some("was being removed when the server stopped"),
        NEW => Some("was not finished when the server stopped"),
        _ => None,
    }
}

fn look_at_log(looking: &mut Looking<'_>, log: &Path, findings: &mut Findings) {
    for path in listing(log) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_segment = matches!(extension, Some(OPEN | SEGMENT)) && !name.starts_with("damaged-");
        if !is_segment {
            let what = what(&name).unwrap_or("no part of a log");
            leftover(looking, &path, what, findings);
        }
    }
}

fn leftover(looking: &mut Looking<'_>, path: &Path, what: &'static str, findings: &mut Findings) {
    let bytes = bytes_of(path);
    looking.advance(bytes);
    findings.leftovers.push(Leftover { file: looking.name(path), bytes, what });
}

/// A file that another part of the server keeps here: it can be read, and is JSON if it says so.
fn look_at_file(looking: &mut Looking<'_>, path: &Path, findings: &mut Findings) {
    if path.is_dir() {
        for path in listing(path) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match what(&name) {
                Some(what) => leftover(looking, &path, what, findings),
                None => look_at_file(looking, &path, findings),
            }
        }
        return;
    }
    let file = looking.name(path);
    if let Err(error) = looking.read(path) {
        findings.damage.push(Damage { file, what: format!("cannot be read: {error}") });
        return;
    }
    if path.extension().is_some_and(|extension| extension == "json") {
        let content = fs::read(path).unwrap_or_default();
        if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&content) {
            // The error itself may repeat a secret.
            let what = format!("is not JSON from line {} on", error.line());
            findings.damage.push(Damage { file, what });
        }
    }
}

fn look_at_current(folder: &Path, findings: &mut Findings) {
    let mut damage = |what: String| {
        findings.damage.push(Damage { file: "CURRENT".to_owned(), what });
    };
    match (fs::read(folder.join("CURRENT")), findings.current) {
        (Err(error), _) if findings.states.is_empty() => drop(error),
        (Err(error), _) => damage(format!("cannot be read: {error}")),
        (Ok(_), None) => damage("does not name a generation of the state".to_owned()),
        (Ok(_), Some(current)) => {
            if !findings.states.iter().any(|state| state.generation == current) {
                damage(format!("names the generation {current} of the state, which is not there"));
            }
        }
    }
}
