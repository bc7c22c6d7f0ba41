//! The shape of the source: who may import whom, and how large things may be.
//!
//! # Invariants
//!
//! * [`MAY_USE`] is the architecture. A module uses only modules declared above it, so the table
//!   is also the proof that there are no cycles.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fmt::Write;

use source::{Source, function_end, is_tests, sources};

/// Values and small tools; each may use those before it.
const BASE: &[&str] = &[
    "limits",
    "reason",
    "id",
    "presend",
    "group",
    "address",
    "base64",
    "chain",
    "private_file",
    "clock",
    "signature",
    "metrics",
];

/// Whom each module above the base may use. All of them may use the base.
const MAY_USE: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("client", &["wire"]),
    ("store", &[]),
    ("hub", &["store", "wire"]),
    ("net", &["hub", "wire"]),
    ("webhook", &["store"]),
    // The API shows and changes the endpoints of webhooks.
    ("http", &["hub", "store", "webhook"]),
    ("config", &["store", "hub", "net", "http", "webhook"]),
    ("server", &["config", "net", "http", "webhook", "hub", "store", "wire"]),
];

/// What the configuration may know of the layers whose options it composes.
const CONFIG_KNOWS: &[&str] = &[
    "Options",
    "CertificateFiles",
    "HookOptions",
    "Definition",
    "Dialect",
    "Policy",
    "Network",
    "NetworkError",
    "Secret",
    "SecretText",
    "SecretError",
];

/// What the load generator, an honest client, may know of this crate.
const LOADTEST_KNOWS: &[&str] = &["client", "wire", "group", "id", "limits", "reason"];

/// Crates that only some modules may name.
const NAMED_ONLY_IN: &[(&str, &[&str])] = &[
    ("sled", &["store"]),
    ("rkyv", &["store"]),
    ("quinn", &["net", "client"]),
    ("rustls", &["net", "http", "webhook", "client", "main"]),
    ("reqwest", &["webhook", "main"]),
    ("axum", &["http", "main"]),
    ("hyper", &["http"]),
    ("utoipa", &["http"]),
];

/// Where a task may be started that no drain waits for.
const MAY_SPAWN: &[&str] = &["client", "server", "main"];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// Names of drawers that things are thrown into.
const DRAWERS: &[&str] =
    &["util", "utils", "common", "manager", "helper", "helpers", "misc", "core", "types"];

fn all() -> Vec<Source> {
    sources(&["src", "benches", "loadtest/src", "loadtest/tests", "tests"])
}

/// Fails with all complaints at once.
fn check(sources: &[Source], complain: impl Fn(&Source, &mut dyn FnMut(usize, &str))) {
    let mut complaints = String::new();
    for source in sources {
        complain(source, &mut |line, what| {
            writeln!(complaints, "{}:{line}: {what}", source.path).unwrap();
        });
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

/// The modules that `module` may use, or `None` if the tables do not know it.
fn may_use(module: &str) -> Option<BTreeSet<&'static str>> {
    if let Some(at) = BASE.iter().position(|base| *base == module) {
        return Some(BASE[..=at].iter().copied().collect());
    }
    let (name, used) = MAY_USE.iter().find(|(name, _)| *name == module)?;
    Some(BASE.iter().chain(*used).chain([name]).copied().collect())
}

#[test]
fn the_table_of_modules_has_no_cycles() {
    for (index, (module, used)) in MAY_USE.iter().enumerate() {
        for name in *used {
            let above = &MAY_USE[..index];
            assert!(above.iter().any(|(m, _)| m == name), "{module} uses {name} below it");
        }
    }
}

#[test]
fn every_module_imports_only_what_its_layer_may_use() {
    check(&sources(&["src"]), |source, complain| {
        let module = source.module();
        if matches!(module, "lib" | "main") {
            return;
        }
        let Some(allowed) = may_use(module) else {
            return complain(1, "the module has no layer in tests/tidy.rs");
        };
        for (line, path) in source.paths("crate::") {
            let used = path[0].as_str();
            if !allowed.contains(used) {
                complain(line, &format!("{module} must not use {used}"));
            }
        }
        for (line, path) in source.paths("super::") {
            let supers = 1 + path.iter().take_while(|name| *name == "super").count();
            let climbed = path.get(supers - 1).map_or("", |name| name);
            let leaves = supers >= source.depth();
            if leaves && may_use(climbed).is_some() && !allowed.contains(climbed) {
                complain(line, &format!("{module} must not use {climbed}"));
            }
        }
    });
}

#[test]
fn the_configuration_knows_only_the_options_of_the_layers() {
    check(&sources(&["src"]), |source, complain| {
        if source.module() != "config" {
            return;
        }
        for layer in ["store", "hub", "net", "http", "webhook"] {
            let prefix = format!("{layer}::");
            let std = source.paths(&format!("std::{prefix}"));
            for (line, path) in source.paths(&prefix) {
                let known = CONFIG_KNOWS.contains(&path[0].as_str());
                if !known && !std.contains(&(line, path.clone())) {
                    complain(line, &format!("the configuration must not know {prefix}{}", path[0]));
                }
            }
        }
    });
}

#[test]
fn the_load_generator_knows_only_what_a_client_knows() {
    check(&sources(&["loadtest/src"]), |source, complain| {
        for (line, path) in source.paths("tidings::") {
            if !LOADTEST_KNOWS.contains(&path[0].as_str()) {
                complain(line, &format!("the load generator must not know {}", path[0]));
            }
        }
    });
}

#[test]
fn a_crate_is_named_only_in_the_modules_that_own_it() {
    check(&sources(&["src"]), |source, complain| {
        for (name, modules) in NAMED_ONLY_IN {
            for at in source.places(name).filter(|_| !modules.contains(&source.module())) {
                complain(source.line_of(at), &format!("{name} belongs to {modules:?}"));
            }
        }
    });
}

#[test]
fn a_task_is_started_only_where_something_waits_for_it() {
    check(&sources(&["src"]), |source, complain| {
        for at in source.places("tokio::spawn").filter(|_| !MAY_SPAWN.contains(&source.module())) {
            complain(source.line_of(at), "spawn through a TaskTracker");
        }
    });
}

#[test]
fn every_file_says_first_what_it_is_for() {
    check(&all(), |source, complain| {
        let first = source.text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") {
            complain(1, "the first line must begin with `//! `");
        }
    });
}

#[test]
fn no_file_is_too_long() {
    check(&all(), |source, complain| {
        let lines = source.code.lines().count() - source.test_lines;
        if lines > FILE_LINES_MAX {
            complain(lines, &format!("{lines} lines, the limit is {FILE_LINES_MAX}"));
        }
    });
}

#[test]
fn no_function_is_too_long() {
    check(&all(), |source, complain| {
        let lines: Vec<&str> = source.code.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some(end) = function_end(&lines[start..]) else { continue };
            if end > FUNCTION_LINES_MAX + 1 {
                let name = line.trim().trim_end_matches('{');
                complain(start + 1, &format!("{} lines in `{name}`", end - 1));
            }
        }
    });
}

#[test]
fn tests_are_compiled_only_for_tests_and_a_module_lives_in_the_file_of_its_name() {
    check(&sources(&["src"]), |source, complain| {
        for (index, line) in source.product.lines().enumerate() {
            if is_tests(line.trim_start_matches("pub ")) || line.starts_with("#[path") {
                complain(index + 1, "a module of tests stands behind #[cfg(test)]");
            }
        }
    });
}

#[test]
fn no_line_is_too_wide() {
    check(&all(), |source, complain| {
        for (index, line) in source.text.lines().enumerate() {
            // A row of a table cannot be broken.
            let table = line.starts_with("//! |");
            if line.chars().count() > COLUMNS_MAX && !table {
                complain(index + 1, &format!("more than {COLUMNS_MAX} columns"));
            }
        }
    });
}

#[test]
fn nothing_is_left_unfinished() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let macros = [concat!("dbg", "!"), concat!("todo", "!"), concat!("unimplemented", "!")];
    check(&all(), |source, complain| {
        for word in words.iter().filter(|word| source.text.contains(**word)) {
            complain(1, &format!("{word} is left over"));
        }
        for name in macros {
            for at in source.places(name) {
                complain(source.line_of(at), &format!("{name} is left over"));
            }
        }
    });
}

#[test]
fn nothing_is_unwrapped_and_what_is_expected_has_a_reason() {
    check(&sources(&["src"]), |source, complain| {
        let code = &source.product;
        for (at, _) in code.match_indices(".unwrap()") {
            complain(source.line_of(at), "say why it cannot fail, or handle the failure");
        }
        for (at, call) in code.match_indices(".expect(") {
            let reason = code[at + call.len()..].trim_start().strip_prefix('"');
            if reason.is_none_or(|reason| reason.find('"').is_none_or(|len| len < 8)) {
                complain(source.line_of(at), "say why it cannot fail");
            }
        }
    });
}

#[test]
fn no_module_is_a_drawer() {
    check(&sources(&["src"]), |source, complain| {
        let path = source.path.strip_suffix(".rs").unwrap_or(&source.path);
        for name in path.split(['/', '_']).filter(|name| DRAWERS.contains(name)) {
            complain(1, &format!("{name} says nothing"));
        }
    });
}
