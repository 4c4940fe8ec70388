//! Tables in documents, between the marks of the command that writes them. Every command that has `--markdown` includes this file.

#![allow(unreachable_pub, reason = "the harness gives it to others, programs keep it")]

use std::io;
use std::path::Path;

/// Puts `section` between `<!-- name:begin -->` and `<!-- name:end -->` in the file at `path`, and touches nothing else; at its end, with
/// these marks, where they are not there yet.
pub fn publish(path: &Path, name: &str, section: &str) -> io::Result<()> {
    let old = match std::fs::read_to_string(path) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(told(path, &error)),
    };
    std::fs::write(path, place(&old, name, section)).map_err(|error| told(path, &error))
}

/// What stands between the marks now; nothing where they are not there.
#[allow(dead_code, reason = "not every program keeps lines of before")]
pub fn section(path: &Path, name: &str) -> String {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let inside = old.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end));
    inside.map_or(String::new(), |(inside, _)| inside.trim().to_owned())
}

fn told(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn place(old: &str, name: &str, section: &str) -> String {
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let section = format!("{begin}\n{}\n{end}", section.trim());
    match old.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1))) {
        Some((before, after)) => format!("{before}{section}{after}"),
        None if old.is_empty() => section + "\n",
        None => format!("{}\n\n{section}\n", old.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_where_it_stands_and_nothing_else_is_touched() {
        let section = |text: &str| format!("<!-- race:begin -->\n{text}\n<!-- race:end -->\n");
        let around = |text: &str| format!("# Numbers\n\n{}\nmore\n", section(text));
        assert_eq!(place(&around("old"), "race", "new\n"), around("new"));
        assert_eq!(
            place(&around("old"), "rac", "new"),
            format!("{}\n<!-- rac:begin -->\nnew\n<!-- rac:end -->\n", around("old"))
        );
        assert_eq!(place("# Numbers\n", "race", "new"), format!("# Numbers\n\n{}", section("new")));
        assert_eq!(place("", "race", "new"), section("new"));
    }
}
