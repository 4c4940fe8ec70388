//! `doctor`: reads everything that the nodes tell, says what is wrong, and what to do about it.

mod checks;
mod finding;
mod lists;
mod places;

use crate::client::{Look, look};
use crate::discover;
use crate::paint::{bad, bold, good, warn};
use finding::Finding;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Something should be done.
const SHOULD: u8 = 5;
/// Something has to be done now: nobody takes writes, or what keeps two nodes from it is not as it should be.
const MUST: u8 = 6;
/// Until what is grave is looked at again.
const AGAIN: Duration = Duration::from_secs(1);
/// Between two looks of `wait`.
const LOOK: Duration = Duration::from_millis(200);
/// The most findings that are shown.
const FINDINGS_MAX: usize = 256;

pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    /// How many were asked, and how many of them answered.
    asked: usize,
    answered: usize,
}

impl Report {
    pub(crate) fn of(looks: &[Look]) -> Self {
        let mut findings = checks::all(looks);
        findings.sort_by_key(|finding| !finding.grave);
        findings.truncate(FINDINGS_MAX);
        let answered = looks.iter().filter(|look| look.status.is_ok()).count();
        Self { findings, asked: looks.len(), answered }
    }

    pub(crate) fn code(&self) -> ExitCode {
        match (self.findings.is_empty(), self.findings.iter().any(|finding| finding.grave)) {
            (true, _) => ExitCode::SUCCESS,
            (false, false) => ExitCode::from(SHOULD),
            (false, true) => ExitCode::from(MUST),
        }
    }

    pub(crate) fn json(&self) -> Value {
        let of = |finding: &Finding| {
            let node = (!finding.node.is_empty()).then_some(&finding.node);
            json!({ "grave": finding.grave, "node": node, "what": finding.what, "remedy": finding.remedy })
        };
        let findings: Vec<Value> = self.findings.iter().map(of).collect();
        json!({ "well": findings.is_empty(), "asked": self.asked, "answered": self.answered, "findings": findings })
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let mark = if finding.grave { bad("NOW ") } else { warn("SOON") };
            let node = if finding.node.is_empty() { "cluster" } else { &finding.node };
            text += &format!("{mark} {}: {}\n     {}\n", bold(node), finding.what, finding.remedy);
        }
        let nodes = format!("{} of {} nodes answered", self.answered, self.asked);
        text + &match self.findings.len() {
            0 => good(&format!("{nodes}, and nothing is wrong.\n")),
            found => format!("{nodes}; {found} things to look at.\n"),
        }
    }
}

/// Waits until all members are there and follow one that takes writes.
pub(crate) fn wait(nodes: &[String], patience: Duration, as_json: bool) -> Result<String, String> {
    let begun = Instant::now();
    loop {
        let missing = match look(&discover::pages(nodes)) {
            Ok(looks) => {
                checks::missing(&looks).iter().map(|one| format!("{} {}", one.node, one.what)).collect()
            }
            Err(why) => vec![why],
        };
        let took = begun.elapsed();
        if missing.is_empty() {
            return Ok(match as_json {
                true => format!("{:#}\n", json!({ "seconds": took.as_secs_f64() })),
                false => format!("All members are there, after {:.1} s.\n", took.as_secs_f64()),
            });
        }
        if took > patience {
            return Err(format!("after {} s: {}", patience.as_secs(), missing.join("; ")));
        }
        std::thread::sleep(LOOK);
    }
}

pub(crate) fn run(nodes: &[String], as_json: bool) -> Result<(String, ExitCode), String> {
    let pages = discover::pages(nodes);
    let mut report = Report::of(&look(&pages)?);
    if report.findings.iter().any(|finding| finding.grave) {
        // Nodes that hand over were asked at different moments.
        std::thread::sleep(AGAIN);
        report = Report::of(&look(&pages)?);
    }
    let text = if as_json { format!("{:#}\n", report.json()) } else { report.text() };
    Ok((text, report.code()))
}
