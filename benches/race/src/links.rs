//! `--keys`: what it costs that links prove who speaks. The plugin without keys and with them, in turns, so that whatever else the machine does
//! meets both alike.

use super::Race;
use crate::binaries::Entry;
use crate::cli::Options;
use kevy_elect_harness::clock::Clock;
use kevy_elect_harness::cost::Cost;
use kevy_elect_harness::failure::{Failure, Interrupt};
use kevy_elect_harness::fault::Fault;
use kevy_elect_harness::progress::Progress;
use kevy_elect_harness::style::Style;

/// Kills in one turn.
const ROUNDS_PER_TURN: u32 = 5;

/// What one kind of links did, in all its turns.
#[derive(Default)]
struct Kind {
    idle: Vec<Cost>,
    /// From the kill to the first write, in milliseconds.
    kills: Vec<f64>,
    failed: usize,
}

/// Compares them; the section for the evidence.
pub(crate) fn compare(
    options: &Options,
    entry: &Entry,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<String, Failure> {
    let mut kinds = [Kind::default(), Kind::default()];
    let turns = options.rounds.div_ceil(ROUNDS_PER_TURN);
    for turn in 0..turns {
        for (secure, kind) in [false, true].into_iter().zip(&mut kinds) {
            let rounds = ROUNDS_PER_TURN.min(options.rounds - turn * ROUNDS_PER_TURN);
            let options = options.turn(secure, rounds);
            let name = if secure { "with keys" } else { "without keys" };
            eprintln!("{}", Style::detect().strong(&format!("{name}, {} of {turns}", turn + 1)));
            let race = Race { options: &options, entry, interrupt, progress, clock: Clock::start() };
            kind.idle.push(race.idle(true)?);
            let course = race.course(Fault::Kill, &mut None)?;
            kind.failed += course.failed.len();
            kind.kills.extend(course.rounds.iter().map(|round| round.failover().as_secs_f64() * 1e3));
        }
    }
    let written = format!(
        "Written by `cargo race --keys --rounds {} --idle {}`. ",
        options.rounds,
        options.idle.as_secs()
    );
    Ok(written + &markdown(&kinds))
}

fn markdown(kinds: &[Kind; 2]) -> String {
    type Row = (&'static str, fn(&Kind) -> f64);
    let rows: [Row; 4] = [
        ("`kill -9`, first write, ms", |kind| median(kind.kills.clone())),
        ("idle, context switches/s, three nodes", |kind| {
            median(kind.idle.iter().map(|c| c.switches).collect())
        }),
        ("idle, processor ms/s, three nodes", |kind| median(kind.idle.iter().map(|c| c.cpu_ms).collect())),
        ("idle, resident MiB, three nodes", |kind| {
            median(kind.idle.iter().map(|c| c.rss_kib / 1024.0).collect())
        }),
    ];
    let [plain, keys] = kinds;
    let mut text = format!(
        "Medians of {} kills ({} and {} in which nobody took over) and of {} looks at idle clusters each, in turns.\n\n| | without keys | with keys | \
         |\n|---|--:|--:|--:|\n",
        plain.kills.len(),
        plain.failed,
        keys.failed,
        plain.idle.len()
    );
    for (what, of) in rows {
        let (plain, keys) = (of(plain), of(keys));
        text += &format!("| {what} | {plain:.1} | {keys:.1} | {:.2}x |\n", keys / plain);
    }
    text
}

/// The middle one; of an even number the lower of the two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_stand_side_by_side_with_what_the_one_is_of_the_other() {
        let kind = |kills: &[f64], cpu_ms| Kind {
            idle: vec![Cost { switches: 10.0, cpu_ms, ..Cost::default() }],
            kills: kills.to_vec(),
            failed: 0,
        };
        let text = markdown(&[kind(&[30.0, 10.0, 20.0], 2.0), kind(&[22.0, 90.0, 1.0], 3.0)]);
        assert!(text.contains("first write, ms | 20.0 | 22.0 | 1.10x |"), "{text}");
        assert!(text.contains("processor ms/s, three nodes | 2.0 | 3.0 | 1.50x |"), "{text}");
    }
}
