//! Files of source, and what of them is code.
//!
//! # Invariants
//!
//! * Whatever is blanked out, lines stay lines, so that what is found there has its number.

use std::path::{Path, PathBuf};

/// A file of source.
pub(crate) struct Source {
    /// Path below the root of the project.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with the insides of comments, strings and characters blanked out.
    pub(crate) code: String,
    /// The same without tests: their lines are empty, and so many.
    pub(crate) product: String,
    pub(crate) test_lines: usize,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        Self::new(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), text)
    }

    fn new(path: String, text: String) -> Self {
        let code = blank(&text);
        let (product, test_lines) = match path.starts_with("src/") && path.ends_with("tests.rs") {
            true => (String::new(), code.lines().count()),
            false => without_tests(&code),
        };
        Self { path, text, code, product, test_lines }
    }

    /// The module directly below the crate that the file belongs to. The binary is `main`.
    pub(crate) fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or_default();
        match below.split(['/', '.']).next().unwrap_or_default() {
            "cli" => "main",
            module => module.strip_suffix("_tests").unwrap_or(module),
        }
    }

    /// How many `super` lead from the file's module to the crate.
    pub(crate) fn depth(&self) -> usize {
        let path = self.path.strip_suffix("/mod.rs").unwrap_or(&self.path);
        path.matches('/').count()
    }

    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.product[..at].matches('\n').count() + 1
    }

    /// Where `word` stands by itself in the code of the product.
    pub(crate) fn places<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let code = &self.product;
        code.match_indices(word).map(|(at, _)| at).filter(move |at| {
            let before = code[..*at].chars().next_back();
            let after = code[at + word.len()..].chars().next();
            let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !part(before) && (!word.ends_with(char::is_alphanumeric) || !part(after))
        })
    }

    /// The paths behind each `prefix`, such as `crate::`, with groups in braces spread out.
    pub(crate) fn paths(&self, prefix: &str) -> Vec<(usize, Vec<String>)> {
        let mut paths = Vec::new();
        for at in self.places(prefix) {
            spread(&self.product[at + prefix.len()..], &mut Vec::new(), &mut |path| {
                paths.push((self.line_of(at), path.to_vec()));
            });
        }
        paths
    }
}

/// Code with empty lines in the place of modules of tests, and how many lines those have.
fn without_tests(code: &str) -> (String, usize) {
    let lines: Vec<&str> = code.lines().collect();
    let (mut product, mut test_lines, mut left) = (String::new(), 0, 0);
    for (at, line) in lines.iter().enumerate() {
        left = if left > 1 { left - 1 } else { tests_at(&lines[at..]) };
        test_lines += usize::from(left > 0);
        product.push_str(if left > 0 { "" } else { line });
        product.push('\n');
    }
    (product, test_lines)
}

/// How many lines the module of tests has that begins on the first of `lines`; 0 if none does.
fn tests_at(lines: &[&str]) -> usize {
    let head = lines.iter().position(|line| !line.starts_with("#[")).unwrap_or(0);
    if lines[0] != "#[cfg(test)]" || !is_tests(lines[head]) {
        return 0;
    }
    let is_end = |line: &&str| !line.starts_with(' ') && line.ends_with([';', '}']);
    lines[head..].iter().position(is_end).map_or(0, |end| head + end + 1)
}

/// Whether the line begins a module of tests.
pub(crate) fn is_tests(line: &str) -> bool {
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

/// All files of source in some folders of the project.
pub(crate) fn sources(folders: &[&str]) -> Vec<Source> {
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

/// Where the function ends that begins on the first of `lines`, if one does.
pub(crate) fn function_end(lines: &[&str]) -> Option<usize> {
    let first = lines[0];
    let indent = &first[..first.len() - first.trim_start().len()];
    if !first.split_whitespace().any(|word| word == "fn") {
        return None;
    }
    // A signature may take several lines; a declaration without a body ends in a semicolon.
    let opened = lines.iter().position(|line| line.ends_with(['{', ';', '}']))?;
    let opened = Some(opened).filter(|opened| lines[*opened].ends_with('{'))?;
    let close = format!("{indent}}}");
    lines.iter().skip(opened).position(|line| *line == close)
}

#[test]
fn the_scanner_sees_code_and_nothing_else() {
    let text = concat!(
        "// crate::a::B\nuse crate::{c::{D, self}, e::F as G, h::*};\nlet s = \"crate::i\";\n",
        "let r = r#\"crate::j\"#; let c: &'static str = crate::k::l('\\'', '\"');\n",
        "#[cfg(test)]\n#[macro_use]\nmod x_tests;\nfn f() {}\n\n",
        "#[cfg(test)]\nmod tests {\n    use crate::m;\n}\n#[cfg(test)]\nuse crate::n;\n",
    );
    let source = Source::new("src/x.rs".into(), text.into());
    let told = |(line, path): (usize, Vec<String>)| format!("{line} {}", path.join("::"));
    let found: Vec<String> = source.paths("crate::").into_iter().map(told).collect();
    assert_eq!(found, ["2 c::D", "2 c::self", "2 e::F", "2 h::*", "4 k::l", "15 n"]);
    assert_eq!((source.test_lines, source.product.lines().count()), (7, 15));
    assert_eq!(Source::new("src/x_tests.rs".into(), text.into()).product, "");
    let long = format!("    fn f() {{\n{}    }}\n", "        g();\n".repeat(71));
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(function_end(&lines), Some(72));
    assert_eq!(function_end(&["    fn f();"]), None);
    assert_eq!(function_end(&["    fn f() {}"]), None);
}
