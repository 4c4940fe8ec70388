//! Who was writable when, as a picture.

use crate::round::Round;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// How many rounds are drawn. More would be a picture that nobody looks at.
const DRAWN_MAX: usize = 64;
const WIDTH: f64 = 960.0;
const LEFT: f64 = 190.0;
const TOP: f64 = 58.0;
const BAR: f64 = 8.0;
/// Between two rounds.
const GAP: f64 = 12.0;
/// Between two vertical lines.
const GRID: Duration = Duration::from_secs(1);
const COLOURS: [&str; 5] = ["#2563eb", "#059669", "#d97706", "#7c3aed", "#0891b2"];

/// A bar per node and round, the time of the fault shaded, what must not be in red.
pub(crate) fn svg<'a>(rounds: impl Iterator<Item = &'a Round>) -> String {
    let drawn = choose(rounds.collect());
    let longest = drawn.iter().map(|round| round.ended - round.begun).max().unwrap_or_default().max(GRID);
    let scale = (WIDTH - LEFT - 10.0) / longest.as_secs_f64();
    let rows: f64 = drawn.iter().map(|round| height(round) + GAP).sum();
    let total = TOP + rows;
    let nodes = drawn.iter().map(|round| round.nodes).max().unwrap_or_default();
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {total:.0}\" font-family=\"sans-serif\" font-size=\"9\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"18\" font-size=\"13\">Who acknowledged writes when</text>\n\
         <text x=\"10\" y=\"34\">One row per node: coloured while it acknowledges. Grey: the fault. Red frame: something that must hold did not. Seconds from the start of the round.</text>\n"
    );
    for (node, colour) in COLOURS.iter().enumerate().take(nodes) {
        let x = WIDTH - 40.0 * (nodes - node) as f64;
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"11\" width=\"9\" height=\"9\" fill=\"{colour}\"/><text x=\"{}\" y=\"19\">n{}</text>",
            x + 12.0,
            node + 1
        );
    }
    for second in 0..=longest.as_secs() {
        let x = LEFT + second as f64 * scale;
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.0}\" y2=\"{:.0}\" stroke=\"#f3f4f6\"/>\
             <text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#6b7280\">{second}</text>",
            TOP - 4.0,
            total - GAP,
            TOP - 7.0
        );
    }
    let mut top = TOP;
    for round in drawn {
        draw(&mut text, round, top, scale);
        top += height(round) + GAP;
    }
    text + "</svg>\n"
}

/// The guilty ones, the first of each fault and cluster, and then the first ones; in their order.
fn choose(rounds: Vec<&Round>) -> Vec<&Round> {
    let mut seen = BTreeSet::new();
    let mut ranked: Vec<_> = rounds
        .into_iter()
        .map(|round| (round.innocent(), !seen.insert((round.nodes, round.fault)), round))
        .collect();
    ranked.sort_by_key(|(innocent, again, round)| (*innocent, *again, round.number));
    let mut drawn: Vec<_> = ranked.into_iter().take(DRAWN_MAX).map(|(.., round)| round).collect();
    drawn.sort_by_key(|round| round.number);
    drawn
}

fn height(round: &Round) -> f64 {
    round.nodes as f64 * (BAR + 1.0)
}

fn draw(text: &mut String, round: &Round, top: f64, scale: f64) {
    let x = |at: Duration| LEFT + at.saturating_sub(round.begun).as_secs_f64() * scale;
    let height = height(round);
    let _ = writeln!(
        text,
        "<text x=\"10\" y=\"{:.1}\" font-size=\"10\">{} {}</text>",
        top + height / 2.0 + 3.0,
        round.number,
        round.fault.name()
    );
    let (from, to) = (x(round.struck), x(round.healed));
    let _ = writeln!(
        text,
        "<rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"#e5e7eb\"/>",
        (to - from).max(1.0)
    );
    for node in 0..round.nodes {
        let y = top + node as f64 * (BAR + 1.0);
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"7\" fill=\"#6b7280\">n{}</text>\
             <line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#d1d5db\" stroke-width=\"0.5\"/>",
            LEFT - 14.0,
            y + BAR - 1.0,
            node + 1,
            x(round.ended),
            y + BAR,
            y + BAR
        );
    }
    for (node, from, until) in &round.writable {
        let y = top + *node as f64 * (BAR + 1.0);
        let _ = writeln!(
            text,
            "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{}\"/>",
            x(*from),
            (x(*until) - x(*from)).max(0.5),
            COLOURS[node % COLOURS.len()]
        );
    }
    if !round.innocent() {
        let _ = writeln!(
            text,
            "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"none\" stroke=\"#dc2626\" stroke-width=\"1.5\"/>",
            top - 2.0,
            x(round.ended) - LEFT,
            height + 3.0
        );
    }
}
