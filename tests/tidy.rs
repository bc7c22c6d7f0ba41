//! The shape of the source: who may import whom, and how large things may be.
//!
//! # Invariants
//!
//! * [`MAY_USE`] is the architecture. A module uses only modules declared above it, so the table
//!   is also the proof that there are no cycles.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Values and small tools; each may use those before it.
const BASE: &[&str] =
    &["limits", "reason", "id", "group", "chain", "clock", "signature", "metrics", "shutdown"];

/// Whom each module above the base may use. All of them may use the base.
const MAY_USE: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("client", &["wire"]),
    ("store", &[]),
    ("hub", &["store", "wire"]),
    ("net", &["hub", "wire"]),
    ("http", &["hub", "store"]),
    ("config", &["store", "hub", "net", "http"]),
    ("server", &["config", "net", "http", "hub", "store", "wire"]),
];

/// What the configuration may know of the layers whose options it composes.
const CONFIG_KNOWS: &[&str] = &["Options", "CertificateFiles"];

/// What the load generator, an honest client, may know of this crate.
const LOADTEST_KNOWS: &[&str] = &["client", "wire", "group", "id", "limits", "reason"];

/// Crates that only some modules may name.
const NAMED_ONLY_IN: &[(&str, &[&str])] = &[
    ("sled", &["store"]),
    ("rkyv", &["store"]),
    ("quinn", &["net", "client"]),
    ("rustls", &["net", "http", "client", "main"]),
    ("axum", &["http"]),
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

struct Source {
    /// Path below the root of the project.
    path: String,
    text: String,
    /// The text with the insides of comments, strings and characters blanked out.
    code: String,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let code = blank(&text);
        let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        Self { path, text, code }
    }

    /// The code without the tests at its end; a file of tests below `src` has none.
    fn product(&self) -> &str {
        if self.path.starts_with("src/") && self.path.ends_with("tests.rs") {
            return "";
        }
        let tests = self.code.match_indices("\n#[cfg(test)]\n").map(|(start, _)| start);
        let mut modules = tests.filter(|start| {
            let mut lines = self.code[start + 1..].lines();
            lines.find(|line| !line.starts_with("#[")).is_some_and(is_tests)
        });
        modules.next().map_or(&self.code, |start| &self.code[..start])
    }

    /// The module directly below the crate that the file belongs to. The binary is `main`.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or_default();
        match below.split(['/', '.']).next().unwrap_or_default() {
            "cli" => "main",
            module => module,
        }
    }

    fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// Where `word` stands by itself in the code of the product.
    fn places<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let code = self.product();
        code.match_indices(word).map(|(at, _)| at).filter(move |at| {
            let before = code[..*at].chars().next_back();
            let after = code[at + word.len()..].chars().next();
            let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !part(before) && (!word.ends_with(char::is_alphanumeric) || !part(after))
        })
    }

    /// The paths behind each `prefix`, such as `crate::`, with groups in braces spread out.
    fn paths(&self, prefix: &str) -> Vec<(usize, Vec<String>)> {
        let mut paths = Vec::new();
        for at in self.places(prefix) {
            spread(&self.product()[at + prefix.len()..], &mut Vec::new(), &mut |path| {
                paths.push((self.line_of(at), path.to_vec()));
            });
        }
        paths
    }
}

/// Whether the line begins a module of tests.
fn is_tests(line: &str) -> bool {
    let name = line.strip_prefix("mod ").unwrap_or_default();
    name.trim_end_matches([' ', '{', ';']).ends_with("tests")
}

/// Blanks out comments and the insides of strings and characters; lines stay lines.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (len, keep) = token(rest, code.chars().next_back());
        let (token, behind) = rest.split_at(len.max(first.len_utf8()));
        let shown = |c: char| if keep || matches!(c, '\n' | '"') { c } else { ' ' };
        code.extend(token.chars().map(shown));
        rest = behind;
    }
    code
}

/// Bytes of the token at the front of `rest`, and whether it is code.
fn token(rest: &str, before: Option<char>) -> (usize, bool) {
    let to = |end: &str, skip: usize| rest[skip..].find(end).map(|at| at + skip);
    let whole = rest.len();
    if rest.starts_with("//") {
        return (to("\n", 0).unwrap_or(whole), false);
    }
    if rest.starts_with("/*") {
        return (to("*/", 2).map_or(whole, |at| at + 2), false);
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if !in_word && (rest.starts_with("r\"") || rest.starts_with("r#")) {
        let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
        let end = format!("\"{}", "#".repeat(hashes));
        if rest[1 + hashes..].starts_with('"') {
            return (to(&end, 2 + hashes).map_or(whole, |at| at + end.len()), false);
        }
    }
    if rest.starts_with('"') {
        return (quoted(rest, '"'), false);
    }
    // A lifetime has no second quote behind its first character.
    if rest.starts_with("'\\") || rest.starts_with('\'') && rest.chars().nth(2) == Some('\'') {
        return (quoted(rest, '\''), false);
    }
    (0, true)
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Calls `found` with each path of a use tree, and returns what lies behind the tree.
fn spread<'a>(tree: &'a str, path: &mut Vec<String>, found: &mut impl FnMut(&[String])) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut group) = tree.strip_prefix('{') {
        loop {
            group = group.trim_start_matches([',', ' ', '\n']);
            let first = group.chars().next();
            if first.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '*' | '{')) {
                return group.strip_prefix('}').unwrap_or(group);
            }
            group = spread(group, path, found);
            if let Some(renamed) = group.strip_prefix(" as ") {
                group = renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
            }
        }
    }
    let name_end = tree.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '*'));
    let (name, behind) = tree.split_at(name_end.unwrap_or(tree.len()).max(1).min(tree.len()));
    path.push(name.to_owned());
    let behind = match behind.strip_prefix("::") {
        Some(deeper) if !deeper.starts_with('<') => spread(deeper, path, found),
        _ => {
            found(path);
            behind
        }
    };
    path.pop();
    behind
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(Source::read(&root(), &path));
            }
        }
    }
    assert!(!sources.is_empty(), "no source in {folders:?}");
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn all() -> Vec<Source> {
    sources(&["src", "benches", "loadtest/src", "tests"])
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
            let climbed = path.iter().find(|name| *name != "super").map_or("", |name| name);
            if climbed != module && may_use(climbed).is_some() && !allowed.contains(climbed) {
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
        for layer in ["store", "hub", "net", "http"] {
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
        let lines = source.product().lines().count();
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

/// Where the function ends that begins on the first of `lines`, if one does.
fn function_end(lines: &[&str]) -> Option<usize> {
    let first = lines[0];
    let indent = &first[..first.len() - first.trim_start().len()];
    let mut words = first.split_whitespace();
    if !words.any(|word| word == "fn") {
        return None;
    }
    // A signature may take several lines; a declaration without a body ends in a semicolon.
    let opened = lines.iter().position(|line| line.ends_with(['{', ';', '}']))?;
    if !lines[opened].ends_with('{') {
        return None;
    }
    let close = format!("{indent}}}");
    lines.iter().skip(opened).position(|line| *line == close)
}

#[test]
fn tests_are_compiled_only_for_tests_and_a_module_lives_in_the_file_of_its_name() {
    check(&sources(&["src"]), |source, complain| {
        for (index, line) in source.product().lines().enumerate() {
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
        let code = source.product();
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

#[test]
fn the_scanner_sees_code_and_nothing_else() {
    let text = concat!(
        "// crate::a::B\nuse crate::{c::{D, self}, e::F as G, h::*};\nlet s = \"crate::i\";\n",
        "let r = r#\"crate::j\"#; let c: &'static str = crate::k::l('\\'', '\"');\n",
        "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::m;\n}\n",
    );
    let source = Source { path: "src/x.rs".into(), text: text.into(), code: blank(text) };
    let found: Vec<String> = source
        .paths("crate::")
        .into_iter()
        .map(|(line, p)| format!("{line} {}", p.join("::")))
        .collect();
    assert_eq!(found, ["2 c::D", "2 c::self", "2 e::F", "2 h::*", "4 k::l"]);
    let long = format!("    fn f() {{\n{}    }}\n", "        g();\n".repeat(71));
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(function_end(&lines), Some(72));
    assert_eq!(function_end(&["    fn f();"]), None);
    assert_eq!(function_end(&["    fn f() {}"]), None);
}
