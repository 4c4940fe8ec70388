//! Many rounds: a table while they go on, and what they add up to.

use kevy_elect_harness::fault::{Fault, Restart};
use kevy_elect_harness::outcome::Round;
use kevy_elect_harness::style::{Style, count, ms, ms_or_dash};
use std::fmt::Write as _;
use std::time::Duration;

/// What the project promises for a process that is gone.
const TARGET_GONE: Duration = Duration::from_millis(150);
/// What it promises for the first confirmed write after that.
const TARGET_CONFIRMED: Duration = Duration::from_millis(60);
/// What it promises for one that is silent: the default election timeout, and the same again.
const TARGET_SILENT: Duration = Duration::from_millis(1000 + 150);

/// The head of the table.
pub(crate) fn head(style: Style) -> String {
    let titles = format!(
        "{:>5}  {:<8}  {:>10}  {:>10}  {:>10}  {:>11}  {:>11}  {:>11}  {:>8}  {:>8}  {:>4}  {:>8}",
        "round",
        "primary",
        "detect",
        "elect",
        "promote",
        "first write",
        "confirmed",
        "rejoined",
        "acked",
        "by WAIT",
        "lost",
        "dual"
    );
    style.faint(&titles)
}

/// One line of the table.
pub(crate) fn line(round: &Round, names: &[String], style: Style) -> String {
    let primary = format!("{} → {}", names[round.old], names[round.new]);
    // Padded before it is coloured: escapes have a width for the formatter, but none on the screen.
    let failover = format!("{:>11}", ms(round.failover()));
    let confirmed = style.strong(&format!("{:>11}", ms_or_dash(round.confirmed())));
    let dual = round.dual.map_or_else(|| "0 ms".to_owned(), |dual| ms(dual.lasted));
    format!(
        "{:>5}  {primary:<8}  {:>10}  {:>10}  {:>10}  {failover}  {confirmed}  {:>11}  {:>8}  {:>8}  {:>4}  {dual:>8}  {}",
        round.number,
        ms_or_dash(round.detect()),
        ms_or_dash(round.elect()),
        ms_or_dash(round.promote()),
        ms(round.whole.saturating_sub(round.struck)),
        count(round.acked),
        count(round.waited),
        count(round.lost.waited),
        style.mark(round.innocent()),
    )
}

/// What all rounds add up to. `audit_lost`: confirmed writes of any round missing at the very end.
pub(crate) fn render(rounds: &[Round], audit_lost: usize, with_targets: bool, style: Style) -> String {
    let Some(first) = rounds.first() else { return String::new() };
    let mut text = String::new();
    let restart = match (first.fault, first.restart) {
        (Fault::Stop | Fault::Isolate, _) | (_, Restart::Later) => "",
        (_, Restart::Now) => ", started again at once",
    };
    let title = format!("{} x {}{restart}", rounds.len(), first.fault.spelled());
    let _ = writeln!(text, "{}", style.strong(&title));
    let target = match first.fault {
        Fault::Kill => Some(TARGET_GONE),
        Fault::Stop | Fault::Isolate => Some(TARGET_SILENT),
        Fault::Term | Fault::Transfer => None,
    };
    let failovers: Vec<_> = rounds.iter().map(Round::failover).collect();
    let confirmed = rounds.iter().filter_map(Round::confirmed).collect();
    let target_confirmed = (first.fault == Fault::Kill).then_some(TARGET_CONFIRMED);
    for (name, times) in [
        ("confirmed", confirmed),
        ("first write", failovers),
        ("gap", rounds.iter().filter(|round| round.fault.is_planned()).map(|round| round.gap).collect()),
        ("  detect", rounds.iter().filter_map(Round::detect).collect()),
        ("  elect", rounds.iter().filter_map(Round::elect).collect()),
        ("  promote", rounds.iter().filter_map(Round::promote).collect()),
    ] {
        let Some(Spread { min, median, max }) = Spread::of(times) else { continue };
        let _ = write!(
            text,
            "  {name:<11}  median {:>10}   fastest {:>10}   slowest {:>10}",
            ms(median),
            ms(min),
            ms(max)
        );
        let target = match name {
            "confirmed" => target_confirmed,
            "first write" => target,
            _ => None,
        };
        if let Some(target) = target.filter(|_| with_targets) {
            let _ = write!(text, "   target {} {}", ms(target), style.mark(median <= target));
        }
        text.push('\n');
    }
    for (what, number) in [
        (
            "copied anew by survivors",
            rounds.iter().filter_map(|r| Some(r.copied?.survivors.snapshots as usize)).sum(),
        ),
        ("-LOADING answers of survivors", rounds.iter().map(|round| round.loading).sum::<usize>()),
    ] {
        let _ = writeln!(text, "  {what:<42}{:>8}  {}", count(number), style.mark(number == 0));
    }
    let lost: usize = rounds.iter().map(|round| round.lost.waited).sum();
    let _ = writeln!(
        text,
        "  {} writes acknowledged, {} confirmed by WAIT",
        count(rounds.iter().map(|round| round.acked).sum()),
        count(rounds.iter().map(|round| round.waited).sum())
    );
    let _ = writeln!(text, "  {:<42}{:>8}  {}", "confirmed writes lost", count(lost), style.mark(lost == 0));
    let _ = writeln!(
        text,
        "  {:<42}{:>8}  {}",
        "confirmed writes of any round missing now",
        count(audit_lost),
        style.mark(audit_lost == 0)
    );
    let dual = rounds.iter().filter(|round| round.dual.is_some()).count();
    let _ = writeln!(
        text,
        "  {:<42}{:>8}  {}",
        "rounds with two nodes acknowledging",
        count(dual),
        style.mark(dual == 0)
    );
    text
}

/// Smallest, middle, largest.
#[derive(Debug, PartialEq, Eq)]
struct Spread {
    min: Duration,
    median: Duration,
    max: Duration,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let (min, max) = (*times.first()?, *times.last()?);
        let half = times.len() / 2;
        // With an even count the mean of the two in the middle.
        let median = if times.len() % 2 == 1 { times[half] } else { (times[half - 1] + times[half]) / 2 };
        Some(Self { min, median, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::tests::{names, round};
    use kevy_elect_harness::verdict::Lost;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let s = Duration::from_secs;
        assert_eq!(Spread::of(vec![]), None);
        let odd = Spread::of(vec![s(9), s(1), s(4)]).unwrap();
        assert_eq!(odd, Spread { min: s(1), median: s(4), max: s(9) });
        assert_eq!(Spread::of(vec![s(9), s(1), s(4), s(6)]).unwrap().median, s(5));
    }

    #[test]
    fn columns_stand_below_their_titles() {
        let style = Style::with_colours(false);
        let (head, line) = (head(style), line(&round(), &names(), style));
        let end_of = |text: &str, word: &str| text[..text.find(word).unwrap() + word.len()].chars().count();
        assert_eq!(end_of(&head, "first write"), end_of(&line, "12.0 ms"), "\n{head}\n{line}");
        assert_eq!(end_of(&head, "dual"), end_of(&line, "0 ms  ✓") - 3, "\n{head}\n{line}");
        assert!(line.contains("n1 → n2"), "{line}");
    }

    #[test]
    fn the_summary_names_every_way_to_fail() {
        let style = Style::with_colours(false);
        let fine = render(&[round(), round()], 0, true, style);
        assert!(fine.starts_with("2 x kill -9\n"), "{fine}");
        assert!(fine.contains("target 150.0 ms ✓") && !fine.contains('✗'), "{fine}");
        let mut bad = round();
        bad.lost = Lost { waited: 3, unwaited: 0 };
        bad.first_ack = bad.struck + Duration::from_secs(5);
        bad.first_waited = Some(bad.first_ack);
        bad.loading = 1;
        let text = render(&[bad], 4, true, style);
        assert_eq!(text.matches('✗').count(), 5, "{text}");
    }
}
