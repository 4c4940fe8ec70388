//! `watch`: a live screen of status, the last decisions and what `doctor` finds.

use crate::client::look;
use crate::doctor::Report;
use crate::{discover, history, paint, status};
use rustix::termios::tcgetwinsize;
use serde_json::{Value, json};

/// Decisions that are shown.
const DECISIONS: usize = 8;
/// Lines where the terminal does not say how many it has.
const LINES_DEFAULT: usize = 200;

/// One look at everything.
pub(crate) fn screen(nodes: &[String], as_json: bool) -> Result<String, String> {
    let pages = discover::pages(nodes);
    let report = Report::of(&look(&pages)?);
    if as_json {
        let status: Value = serde_json::from_str(&status::status(&pages, true)?).unwrap_or(Value::Null);
        // A line each, for programs that read them as they come.
        return Ok(format!("{}\n", json!({ "status": status, "doctor": report.json() })));
    }
    let decisions = history::last(&pages, DECISIONS)?;
    Ok(format!("{}\n{decisions}\n{}", status::status(&pages, false)?, report.text()))
}

/// In place of the screen before, without a flicker: what was there is overwritten line by line, and the rest cleared.
pub(crate) fn drawn(text: &str) -> String {
    let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_row > 1);
    let lines = size.map_or(LINES_DEFAULT, |size| usize::from(size.ws_row) - 1);
    let mut screen = String::from("\x1b[H");
    for line in text.lines().take(lines) {
        screen += line;
        screen += "\x1b[K\n";
    }
    screen + "\x1b[J"
}

/// What one look gives where nobody answers, too.
pub(crate) fn look_or_why(nodes: &[String], as_json: bool) -> String {
    match (screen(nodes, as_json), as_json) {
        (Ok(text), _) => text,
        (Err(why), false) => why.lines().map(paint::plain).collect::<Vec<_>>().join("\n") + "\n",
        (Err(why), true) => format!("{}\n", json!({ "error": why })),
    }
}
