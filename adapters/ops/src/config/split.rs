//! Takes `[elect]` out of a `kevy.toml`, so that kevy reads its part and this crate reads the rest.
//!
//! Both parts keep all lines (the other half's are blank), so that every error names the line of the
//! file that people edit.

use std::collections::BTreeMap;

/// The section that is not kevy's.
pub(super) const SECTION: &str = "elect";

/// A file in two parts, and where each key stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Split {
    /// What kevy reads.
    pub(super) kevy: String,
    /// What this crate reads: the section alone.
    pub(super) elect: String,
    /// Whether the section is there at all.
    pub(super) has_elect: bool,
    /// Line (from 1) and raw value of every `key = value`, by section and key.
    keys: BTreeMap<(String, String), (usize, String)>,
}

impl Split {
    /// Splits `text` at its section headers.
    pub(super) fn of(text: &str) -> Self {
        let mut split = Self::default();
        let mut section = String::new();
        // A header can only stand where no array is open: `peers = [` may run over many lines.
        let mut open_brackets = 0_i32;
        for (index, line) in text.lines().enumerate() {
            let code = without_comment(line);
            if open_brackets == 0 {
                if let Some(name) = header(&code) {
                    section = name;
                    split.has_elect |= section == SECTION;
                } else if let Some((key, value)) = code.split_once('=') {
                    let at = (section.clone(), key.trim().to_owned());
                    split.keys.entry(at).or_insert((index + 1, value.trim().to_owned()));
                    open_brackets += brackets(value);
                }
            } else {
                open_brackets += brackets(&code);
            }
            let (ours, theirs) = if section == SECTION { (line, "") } else { ("", line) };
            split.elect.push_str(ours);
            split.elect.push('\n');
            split.kevy.push_str(theirs);
            split.kevy.push('\n');
        }
        split
    }

    /// The line of `[section] key`, and its value as it stands there.
    pub(super) fn find(&self, section: &str, key: &str) -> Option<(usize, &str)> {
        let (line, value) = self.keys.get(&(section.to_owned(), key.to_owned()))?;
        Some((*line, value))
    }
}

/// `line` without its comment; a `#` inside quotes is none.
fn without_comment(line: &str) -> String {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') if !escaped => escaped = true,
            (Some(q), _) if c == q && !escaped => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => return line[..at].to_owned(),
            _ => escaped = false,
        }
    }
    line.to_owned()
}

/// The name in `[name]`, quoted or not.
fn header(code: &str) -> Option<String> {
    let name = code.trim().strip_prefix('[')?.strip_suffix(']')?;
    Some(name.trim().trim_matches(['"', '\'']).to_owned())
}

/// How many brackets `value` leaves open; those inside quotes do not count.
fn brackets(value: &str) -> i32 {
    let mut quote = None;
    let mut open = 0;
    for c in value.chars() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => open += 1,
            (None, ']') => open -= 1,
            _ => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_sees_its_sections_on_the_lines_where_they_stand() {
        let split =
            Split::of("[server]\nport = 7000\n\n[ elect ] # ours\nenabled = true\n[log]\nlevel = \"info\"");
        assert_eq!(split.kevy, "[server]\nport = 7000\n\n\n\n[log]\nlevel = \"info\"\n");
        assert_eq!(split.elect, "\n\n\n[ elect ] # ours\nenabled = true\n\n\n");
        assert!(split.has_elect);
        assert_eq!(split.find("elect", "enabled"), Some((5, "true")));
        assert_eq!(split.find("server", "port"), Some((2, "7000")));
    }

    #[test]
    fn brackets_in_arrays_and_strings_start_no_section() {
        let text = "[cluster]\npeers = [\n\"a@[elect]:1\", # [elect]\n]\nnode_id = \"[elect]\"\n";
        let split = Split::of(text);
        assert!(!split.has_elect);
        assert_eq!(split.kevy, text);
        assert_eq!(split.find("cluster", "node_id"), Some((5, "\"[elect]\"")));
    }

    #[test]
    fn a_file_without_the_section_reaches_kevy_as_it_is() {
        let text = "# all kevy\n[server]\nport = 1\n";
        let split = Split::of(text);
        assert_eq!((split.kevy.as_str(), split.has_elect), (text, false));
    }
}
