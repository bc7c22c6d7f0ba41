//! The frame of a page that needs nothing else.
//!
//! # Invariants
//!
//! * No script, and nothing that is fetched: a page says the same wherever it is opened.
//! * Every text that was not written here is escaped.

use std::fmt::{Arguments, Write};

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:76em;\
padding:0 1em;color:#222}h2{margin-top:2em}table{border-collapse:collapse;margin:.6em 0}\
td,th{padding:.2em .6em;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}\
td:first-child,th:first-child,td.text,th.text{text-align:left}td.best{font-weight:600}\
tr.missing td{color:#888}td.wrong,.worse{color:#b00}.flat{color:#070}dt{float:left;clear:left;\
width:8em;color:#666}dd{margin-left:9em}svg{max-width:100%}svg text{font-size:11px;fill:#555}";

/// A page under way.
pub(crate) struct Page(String);

impl Page {
    /// A page with nothing but a title.
    pub(crate) fn new(title: &str) -> Self {
        let mut page =
            Self(String::from("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">"));
        page.add(format_args!("<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"));
        page
    }

    /// Adds what is put together from texts of this program and escaped ones.
    pub(crate) fn add(&mut self, text: Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(text);
    }

    /// Adds a text of this program.
    pub(crate) fn put(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// Adds names and what they are, whatever that is.
    pub(crate) fn add_facts(&mut self, facts: &[(&str, Option<&String>)]) {
        self.put("<dl>");
        for (name, value) in facts {
            let value = value.map_or("unknown", String::as_str);
            self.add(format_args!("<dt>{name}</dt><dd>{}</dd>", escaped(value)));
        }
        self.put("</dl>");
    }

    /// The whole page.
    pub(crate) fn end(self) -> String {
        self.0 + "</html>\n"
    }
}

/// Any text, so that a page shows it as it is.
pub(crate) fn escaped(text: &str) -> String {
    let escape = |c| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        c => String::from(c),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_written_here_is_escaped() {
        let command = "a <b> & \"c\"".to_owned();
        let mut page = Page::new("A title");
        page.add_facts(&[("command", Some(&command)), ("commit", None)]);
        let page = page.end();
        assert!(page.contains("<dt>command</dt><dd>a &lt;b&gt; &amp; &quot;c&quot;</dd>"));
        assert!(page.contains("<dt>commit</dt><dd>unknown</dd>"));
    }
}
