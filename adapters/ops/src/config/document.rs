//! A configuration file, and where each key stands in it.
//!
//! The section of the election is read here and the rest by the host's own reader. That gets the file with blank lines in
//! place of the section's, so that every error names the line of the file that people edit.

use super::error::SetupError;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is shown in place of a secret.
const HIDDEN: &str = "(not shown)";
/// Of a private key.
const KEY_DIGITS: usize = 64;

/// A file in TOML.
#[derive(Debug, Clone)]
pub struct Document<'a> {
    text: &'a str,
    table: DeTable<'a>,
}

/// One `key = value` of a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    /// Its line, from 1.
    pub(super) line: usize,
    pub(super) key: &'a str,
    /// The value as it stands there.
    pub(super) raw: &'a str,
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Document<'a> {
    /// Reads `text`. The error carries no file name yet.
    pub fn parse(text: &'a str) -> Result<Self, SetupError> {
        let table = DeTable::parse(text).map_err(|error| unreadable(text, &error))?;
        Ok(Self { text, table: table.into_inner() })
    }

    /// Whether `section` is there, in any way of writing it.
    pub fn has(&self, section: &str) -> bool {
        self.table.contains_key(section)
    }

    /// The text with blank lines in place of those of `section`.
    pub fn without(&self, section: &str) -> String {
        let Some((key, value)) = self.table.get_key_value(section) else { return self.text.to_owned() };
        // The line of the header, those of a table in braces, and those of each entry.
        let mut lines: BTreeSet<usize> = self.lines(key.span().start, key.span().end).collect();
        lines.extend(self.lines(value.span().start, value.span().end));
        for (key, value) in table(value).into_iter().flatten() {
            lines.extend(self.lines(key.span().start, value.span().end));
        }
        let line = |(at, line)| if lines.contains(&(at + 1)) { "\n" } else { line };
        self.text.split_inclusive('\n').enumerate().map(line).collect()
    }

    /// What `section` holds, in the order of the file.
    pub(super) fn entries(&self, section: &str) -> Vec<Entry<'_>> {
        let table = self.table.get(section).and_then(table);
        let mut entries: Vec<_> = table.into_iter().flatten().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries.into_iter().map(|(key, value)| self.entry(key.span().start, key.get_ref(), value)).collect()
    }

    /// An error at the line of `[section] key`, or without a line where it is not in the file. `value` is the one in
    /// force, which a flag or the environment may have set.
    pub fn error(&self, section: &str, key: &str, value: impl Display, reason: String) -> SetupError {
        let found = self.find(section, key);
        let raw = found.map_or("", |entry| entry.raw);
        let value = value.to_string();
        let as_it_stands = raw.trim_matches(['"', '\'']) == value || value.is_empty() || raw == HIDDEN;
        let shown = if as_it_stands { raw.to_owned() } else { value };
        let line = found.map_or(0, |entry| entry.line);
        SetupError { file: None, line, key: format!("[{section}] {key}"), value: shown, reason }
    }

    /// The entry of `[section] key`.
    pub(super) fn find(&self, section: &str, key: &str) -> Option<Entry<'_>> {
        let (key, value) = table(self.table.get(section)?)?.get_key_value(key)?;
        Some(self.entry(key.span().start, key.get_ref(), value))
    }

    fn entry<'b>(&'b self, start: usize, key: &'b str, value: &'b Spanned<DeValue<'a>>) -> Entry<'b> {
        let raw = self.text.get(value.span()).unwrap_or_default().trim();
        let raw = if is_secret(key, raw) { HIDDEN } else { raw };
        Entry { line: line_of(self.text, start), key, raw, value: value.get_ref() }
    }

    fn lines(&self, start: usize, end: usize) -> RangeInclusive<usize> {
        line_of(self.text, start)..=line_of(self.text, end.saturating_sub(1).max(start))
    }
}

/// Whether a value is nobody's business: a password, also where its key is misspelt, or a private key that somebody wrote where the name
/// of its file belongs.
fn is_secret(key: &str, raw: &str) -> bool {
    let digits = raw.bytes().filter(u8::is_ascii_hexdigit).count();
    key.contains("pass") || (key == "private_key_file" && digits >= KEY_DIGITS && !raw.contains('/'))
}

/// What is no TOML. A key that stands twice is named: everything else is where the line says.
fn unreadable(text: &str, error: &toml::de::Error) -> SetupError {
    let (message, span) = (error.message().trim_end(), error.span());
    let twice = message.starts_with("duplicate key");
    let key = span.clone().filter(|_| twice).and_then(|span| text.get(span)).unwrap_or_default();
    let advice = if twice { "; keep one of the two" } else { "" };
    SetupError {
        file: None,
        line: span.map_or(0, |span| line_of(text, span.start)),
        key: key.trim().to_owned(),
        value: String::new(),
        reason: format!("cannot be read as TOML: {message}{advice}"),
    }
}

fn table<'a, 'b>(value: &'b Spanned<DeValue<'a>>) -> Option<&'b DeTable<'a>> {
    match value.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn each_reader_sees_its_sections_on_the_lines_where_they_stand() {
        let text = "[server]\nport = 7000\n\n[ elect ] # ours\nenabled = true\nlist = [\n1,\n]\n[log]\nlevel = \"info\"";
        let document = Document::parse(text).unwrap();
        let kevys = "[server]\nport = 7000\n\n\n\n\n\n\n[log]\nlevel = \"info\"";
        assert_eq!(document.without("elect"), kevys);
        assert!(document.has("elect") && !document.has("cluster"));
        let found = |section, key| document.find(section, key).map(|entry| (entry.line, entry.raw));
        assert_eq!(found("elect", "enabled"), Some((5, "true")));
        assert_eq!(found("server", "port"), Some((2, "7000")));
        assert_eq!(found("server", "enabled"), None);
    }

    #[test]
    fn a_key_that_stands_twice_is_named_with_its_line() {
        for (text, line, key) in [
            ("[server]\nport = 1\nbind = \"a\"\nport = 2\n", 4, "port"),
            ("[elect]\nenabled = true\n\n[server]\n\n[elect]\n", 6, "elect"),
        ] {
            let error = Document::parse(text).unwrap_err();
            assert_eq!((error.line, error.key.as_str()), (line, key), "{error}");
            assert!(error.reason.contains("keep one of the two"), "{error}");
        }
        let error = Document::parse("[server]\nport = = 1\n").unwrap_err();
        assert_eq!((error.line, error.key.as_str()), (2, ""), "{error}");
    }

    #[test]
    fn brackets_in_arrays_and_strings_start_no_section() {
        let text = "[cluster]\npeers = [\n\"a@[elect]:1\", # [elect]\n]\nnode_id = \"[elect]\"\n";
        let document = Document::parse(text).unwrap();
        assert!(!document.has("elect"));
        assert_eq!(document.without("elect"), text);
        assert_eq!(document.find("cluster", "node_id").map(|entry| entry.line), Some(5));
    }
}
