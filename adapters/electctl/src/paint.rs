//! Colours, on a terminal only.

use std::io::IsTerminal;
use std::sync::OnceLock;

/// Whether somebody looks. `NO_COLOR` (no-color.org) says they want none.
pub(crate) fn on_terminal() -> bool {
    static ON: OnceLock<bool> = OnceLock::new();
    *ON.get_or_init(|| std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
}

pub(crate) fn good(text: &str) -> String {
    paint("32", text)
}
pub(crate) fn bad(text: &str) -> String {
    paint("31", text)
}
pub(crate) fn warn(text: &str) -> String {
    paint("33", text)
}
pub(crate) fn bold(text: &str) -> String {
    paint("1", text)
}

fn paint(code: &str, text: &str) -> String {
    if on_terminal() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Columns as wide as their widest cell. Colours take no room; the last column is not padded.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width_of_column) in row.iter().zip(&widths) {
            line += cell;
            line += &" ".repeat(width_of_column - width(cell) + 2);
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Without what a terminal does not show.
fn width(cell: &str) -> usize {
    let mut shown = 0;
    let mut escaped = false;
    for c in cell.chars() {
        match (escaped, c) {
            (false, '\x1b') => escaped = true,
            (true, 'm') => escaped = false,
            (false, _) => shown += 1,
            (true, _) => {}
        }
    }
    shown
}

/// What a node sent, without anything that could steer the terminal, or show in another order or place than it stands.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect()
}

/// Characters without a place of their own: marks of direction, joiners, fillers, separators of lines.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_under_colours() {
        let rows = vec![vec!["a".into(), "b".into()], vec!["\x1b[32mxyz\x1b[0m".into(), "c".into()]];
        assert_eq!(table(&rows), "a    b\n\x1b[32mxyz\x1b[0m  c\n");
        assert_eq!(plain("n1\x1b[2J\n"), "n1[2J");
        assert_eq!(plain("a\u{9b}31m\u{202e}b\u{200b}ä←"), "a31mbä←");
    }
}
