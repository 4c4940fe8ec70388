//! The file that the parts are written to.

use crate::part::Part;
use crate::report::{self, Row};
use kevy_elect_harness::failure::Failure;
use std::path::Path;

const HEAD: &str = "# What applications see of a failover

Written by `cargo clients --all --rounds 10 --beside 1 --markdown docs/evidence/clients.md`, as root, whole or in pieces (`--part`, `--client`): each
line says how busy the machine was (load: of the last minute, at its end). The cluster's own gaps show that too; *over the cluster* is what a client
adds.

Gap: the longest time between two successes that the application saw, from the fault on, in milliseconds. Cluster: the same for somebody who asks
every node all the time. 60000: it had not come back after a minute. Clients have the settings of docs/clients.md. Redis: the gap with Redis and three
Sentinels (down-after 1 s) in the same run; whether its isolated primary goes on acknowledging writes, which its failover then drops, is not looked
at. A line with a load of 10-25 is older than the settings in docs/clients.md are now.
";

/// Puts what was run into the file: a line takes the place of the one that says the same, and all others stay. Called after every line, so
/// that what was measured is kept, and everything can be run in pieces.
pub(crate) fn write(path: &Path, rows: &[Row]) -> Result<(), Failure> {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let section = |part: Part| {
        let heading = format!("## {}\n", part.title());
        let kept = old.split_once(&heading).map_or("", |(_, kept)| kept);
        let kept = kept.split_once("\n## ").map_or(kept, |(kept, _)| kept);
        let mut lines: Vec<String> =
            kept.lines().filter(|line| report::is_line(line)).map(str::to_owned).collect();
        for row in rows.iter().filter(|row| row.plan.part == Some(part)) {
            let line = report::line(row);
            match lines.iter_mut().find(|old| report::what(old) == report::what(&line)) {
                Some(old) => *old = line,
                None => lines.push(line),
            }
        }
        (!lines.is_empty()).then(|| format!("{heading}\n{}{}\n", report::HEAD, lines.join("\n")))
    };
    let sections: Vec<String> = Part::ALL.iter().copied().filter_map(section).collect();
    let text = format!("{HEAD}\n{}", sections.join("\n"));
    std::fs::write(path, text).map_err(Failure::os(format!("write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::plan::Plan;
    use crate::programs::{Client, Way, Work};
    use crate::round::Round;
    use std::time::Duration;

    fn row(part: Part, gap_ms: u64) -> Row {
        let plan = Plan {
            client: Client::Ioredis,
            way: Way::Sentinel,
            work: Work::Write,
            fault: Fault::Kill,
            dead_first: false,
            part: Some(part),
        };
        let round = Round {
            gap: Duration::from_millis(gap_ms),
            cluster: Duration::ZERO,
            errors: 0,
            first_error: None,
        };
        Row { plan, rounds: vec![round], redis: Vec::new(), load: 0.5 }
    }

    #[test]
    fn a_line_that_is_run_again_takes_the_place_of_its_own_and_of_no_other() {
        let file = std::env::temp_dir().join(format!("kevy-elect-clients-part-{}", std::process::id()));
        let now = |rows: &[Row]| {
            write(&file, rows).unwrap();
            std::fs::read_to_string(&file).unwrap()
        };
        let proxy = now(&[row(Part::Proxy, 111)]);
        assert!(proxy.contains("| 111 |") && !proxy.contains("## Writes"));
        let both = now(&[row(Part::Writes, 222)]);
        let order: Vec<_> =
            ["## Writes", "| 222 |", "## Through HAProxy", "| 111 |"].map(|text| both.find(text)).into();
        assert!(order.is_sorted() && order[0].is_some(), "{both}");
        let mut other = row(Part::Writes, 444);
        other.plan.fault = Fault::Term;
        let again = now(&[row(Part::Writes, 333), other]);
        assert!(["| 111 |", "| 333 |", "| 444 |"].iter().all(|text| again.contains(text)), "{again}");
        assert!(!again.contains("| 222 |"));
        assert_eq!(now(&[]), again);
        std::fs::remove_file(file).unwrap();
    }
}
