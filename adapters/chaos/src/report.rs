//! What came of it: timelines, a table per fault, and a picture of who was writable when.

use crate::fault::Fault;
use crate::round::Round;
use kevy_elect_demo::style::{Style, count, ms};
use std::fmt::Write as _;
use std::time::Duration;

/// The title of [`line()`].
pub(crate) fn head(style: Style) -> String {
    style.faint(&format!(
        "{:>5}  {:<13} {:<9} {:>11} {:>9} {:>10} {:>6} {:>11} {:>9}",
        "round", "fault", "primary", "outage", "acked", "confirmed", "lost", "unconfirmed", "dual"
    ))
}

/// One round.
pub(crate) fn line(round: &Round, style: Style) -> String {
    let [old, new] = round.primaries;
    let primary = if old == new { format!("n{}", old + 1) } else { format!("n{} → n{}", old + 1, new + 1) };
    let dual = round.dual.map_or_else(|| "0 ms".to_owned(), |dual| ms(dual.lasted));
    format!(
        "{:>5}  {:<13} {primary:<9} {:>11} {:>9} {:>10} {:>6} {:>11} {dual:>9}  {}{}",
        round.number,
        round.fault.name(),
        ms(round.outage),
        count(round.acked),
        count(round.waited),
        round.lost.waited,
        round.lost.unwaited,
        style.mark(round.innocent() && !round.needless()),
        match () {
            () if round.needless() => " needless failover",
            () if round.only_replies_were_late() => " late replies to writes that were done before the stop",
            () => "",
        },
    )
}

/// What was done and what the servers decided.
pub(crate) fn timeline(round: &Round) -> String {
    let mut text = String::new();
    for (at, what) in &round.timeline {
        let since = at.as_secs_f64() - round.struck.as_secs_f64();
        let _ = writeln!(text, "{:>12.1} ms  {what}", since * 1e3);
    }
    if let Some(dual) = round.dual {
        let [a, b] = dual.nodes;
        let _ = writeln!(
            text,
            "two nodes at once for {}: n{} ({} acknowledgements, {} of them under way during a stop) and n{} ({})",
            ms(dual.lasted),
            a + 1,
            dual.acks[0],
            dual.in_flight,
            b + 1,
            dual.acks[1]
        );
    }
    text
}

/// A Markdown table with one line per fault.
pub(crate) fn table(rounds: &[Round]) -> String {
    let mut text = String::from(
        "| fault | rounds | longest outage, min / median / max (ms) | confirmed | of them lost | unconfirmed lost | two at once (ms) | needless failovers |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for fault in Fault::ALL {
        let of: Vec<_> = rounds.iter().filter(|round| round.fault == fault).collect();
        let mut outages: Vec<_> = of.iter().map(|round| round.outage).collect();
        outages.sort_unstable();
        let (Some(min), Some(max)) = (outages.first(), outages.last()) else { continue };
        let millis = |time: &Duration| time.as_secs_f64() * 1e3;
        let dual = of.iter().filter_map(|round| round.dual).map(|dual| dual.lasted).max().unwrap_or_default();
        let needless = if fault.is_harmless() {
            of.iter().filter(|round| round.needless()).count().to_string()
        } else {
            "–".into()
        };
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} / {:.0} / {:.0} | {} | {} | {} | {:.0} | {needless} |",
            fault.spelled(),
            of.len(),
            millis(min),
            millis(&outages[outages.len() / 2]),
            millis(max),
            of.iter().map(|round| round.waited).sum::<usize>(),
            of.iter().map(|round| round.lost.waited).sum::<usize>(),
            of.iter().map(|round| round.lost.unwaited).sum::<usize>(),
            millis(&dual),
        );
    }
    text
}

/// How many rounds are drawn. More would be a picture that nobody looks at.
const DRAWN_MAX: usize = 64;
const WIDTH: f64 = 900.0;
const LEFT: f64 = 150.0;
const BAR: f64 = 9.0;

/// Who acknowledged writes when: a bar per node, the time of the fault shaded.
pub(crate) fn svg(rounds: &[Round], nodes: usize) -> String {
    let drawn = &rounds[..rounds.len().min(DRAWN_MAX)];
    let row = nodes as f64 * (BAR + 1.0) + 10.0;
    let longest = drawn.iter().map(|round| (round.ended - round.begun).as_secs_f64()).fold(1.0, f64::max);
    let scale = (WIDTH - LEFT - 10.0) / longest;
    let height = 40.0 + row * drawn.len() as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"9\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"16\" font-size=\"12\">Who acknowledged writes when. One bar per node; grey: the fault. Red: two at once.</text>\n"
    );
    let colours = ["#2563eb", "#059669", "#d97706", "#7c3aed", "#0891b2"];
    for (place, round) in drawn.iter().enumerate() {
        let top = 28.0 + place as f64 * row;
        let x = |at: Duration| LEFT + at.saturating_sub(round.begun).as_secs_f64() * scale;
        let middle = top + row / 2.0 - 2.0;
        let _ =
            writeln!(text, "<text x=\"10\" y=\"{middle:.1}\">{} {}</text>", round.number, round.fault.name());
        let (from, to) = (x(round.struck), x(round.healed));
        let _ = writeln!(
            text,
            "<rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#e5e7eb\"/>",
            (to - from).max(1.0),
            row - 6.0
        );
        for (node, from, until) in &round.writable {
            let y = top + *node as f64 * (BAR + 1.0);
            let colour = if round.dual.is_some() { "#dc2626" } else { colours[node % colours.len()] };
            let _ = writeln!(
                text,
                "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>",
                x(*from),
                (x(*until) - x(*from)).max(0.5)
            );
        }
    }
    text + "</svg>\n"
}
