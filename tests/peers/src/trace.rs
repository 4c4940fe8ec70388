//! One run, told line by line.

use crate::cli::Options;
use kevy_elect_peers::{Line, Plan, System, Verdict, What, Wrong, run, shrink};
use std::fmt::Write as _;

/// With more changes than this in a run, or changes and messages, only those near a finding are shown.
const LINES_MAX: usize = 60;
/// How many lines before a finding, and after it, are near.
const BEFORE: usize = 14;
const AFTER: usize = 4;

/// The run of `seed` with each number of nodes and each system. What went wrong is shown with the faults that it takes and no
/// others, and what the plugin makes of the same faults. Also whether the plugin failed.
pub(crate) fn show(seed: u64, options: &Options) -> (String, bool) {
    let (mut text, mut failed) = (String::new(), false);
    for &nodes in &options.nodes {
        let plan = Plan::draw(seed, nodes);
        for &system in &options.systems {
            let verdict = run(&plan, system, true);
            failed |= system == System::Plugin && verdict.is_bad();
            let _ = writeln!(
                text,
                "seed {seed}, {nodes} nodes, {} faults, {}: {}",
                plan.faults.len(),
                system.spelled(),
                summary(&verdict)
            );
            if options.full || !Wrong::ALL.iter().any(|wrong| verdict.shows(*wrong)) {
                tell(&mut text, &verdict.timeline, options.full);
                continue;
            }
            text.push('\n');
            for wrong in Wrong::ALL.iter().copied().filter(|wrong| verdict.shows(*wrong)) {
                let plan = shrink(&plan, system, wrong);
                let verdict = run(&plan, system, true);
                let _ = writeln!(text, "\"{}\" takes {} of these faults:", wrong.as_str(), plan.faults.len());
                tell(&mut text, &verdict.timeline, false);
                let _ = writeln!(text, "  {}: {}", system.spelled(), summary(&verdict));
                if system != System::Plugin {
                    let ours = run(&plan, System::Plugin, false);
                    let _ = writeln!(
                        text,
                        "  {} under the same faults: {}",
                        System::Plugin.spelled(),
                        summary(&ours)
                    );
                }
                text.push('\n');
            }
        }
    }
    (text, failed)
}

fn tell(text: &mut String, lines: &[Line], full: bool) {
    let first_fault = lines.iter().position(|line| line.what == What::Fault).unwrap_or_default();
    let many = |whats: &[What]| lines.iter().filter(|line| whats.contains(&line.what)).count() > LINES_MAX;
    let many_offices = many(&[What::Office]);
    let many_roles = many(&[What::Office, What::Role]);
    let many_messages = many(&[What::Office, What::Role, What::Message]);
    let mut left_out = 0;
    for (place, line) in lines.iter().enumerate() {
        let shown = full
            || match line.what {
                What::Fault | What::Finding | What::End => true,
                What::Minor => false,
                // How the first primary is elected is of no interest.
                What::Role | What::Message if place < first_fault => false,
                What::Office => !many_offices || is_near(lines, place),
                What::Role => !many_roles || is_near(lines, place),
                What::Message => !many_messages || is_near(lines, place),
            };
        if shown {
            gap(text, std::mem::take(&mut left_out));
            let _ = writeln!(text, "{line}");
        } else if place > first_fault && line.what != What::Minor {
            left_out += 1;
        }
    }
    gap(text, left_out);
}

fn gap(text: &mut String, left_out: usize) {
    if left_out > 0 {
        let _ = writeln!(text, "{:>11}  .. {left_out} lines left out; --full shows them", "");
    }
}

fn is_near(lines: &[Line], place: usize) -> bool {
    let end = (place + BEFORE).min(lines.len());
    lines[place.saturating_sub(AFTER)..end].iter().any(|line| line.what == What::Finding)
}

fn summary(verdict: &Verdict) -> String {
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let mut parts = Vec::new();
    if let Some(at) = verdict.two_in_one_epoch {
        parts.push(format!("two primaries in one epoch, seen at {:.3} s", seconds(at)));
    }
    if let Some(at) = verdict.two_writers {
        let lasted = seconds(verdict.two_writers_for);
        parts.push(format!("two that both see a quorum at {:.3} s, for {lasted:.3} s in all", seconds(at)));
    }
    if verdict.none_after_heal {
        parts.push("nobody may write a minute after the heal".to_owned());
    }
    if verdict.several_after_heal {
        parts.push("more than one primary a minute after the heal".to_owned());
    }
    if verdict.endless {
        parts.push("the nodes talked without end".to_owned());
    }
    if parts.is_empty() {
        parts.push("nothing wrong".to_owned());
    }
    let writable = 100.0 * verdict.writable_for as f64 / verdict.lasted.max(1) as f64;
    format!("{}; promotions {}, writable {writable:.1} % of the time", parts.join("; "), verdict.promotions)
}
