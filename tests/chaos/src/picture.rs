//! Who was writable when, as a picture.

use crate::round::Round;
use kevy_elect_harness::picture::Picture;
use std::collections::BTreeSet;
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
    let mut picture = Picture::new(WIDTH, total, 9);
    picture.text((10.0, 18.0), "font-size=\"13\"", "Who acknowledged writes when");
    let legend = "One row per node: coloured while it acknowledges. Grey: the fault. Red frame: something that must hold did \
                  not. Seconds from the start of the round.";
    picture.text((10.0, 34.0), "", legend);
    for (node, colour) in COLOURS.iter().enumerate().take(nodes) {
        let x = WIDTH - 40.0 * (nodes - node) as f64;
        picture.rect((x, 11.0), (9.0, 9.0), &fill(colour));
        picture.text((x + 12.0, 19.0), "", format!("n{}", node + 1));
    }
    for second in 0..=longest.as_secs() {
        let x = LEFT + second as f64 * scale;
        picture.line((x, TOP - 4.0), (x, total - GAP), "#f3f4f6", 1.0);
        picture.text((x, TOP - 7.0), "text-anchor=\"middle\" fill=\"#6b7280\"", second);
    }
    let mut top = TOP;
    for round in drawn {
        draw(&mut picture, round, top, scale);
        top += height(round) + GAP;
    }
    picture.finish()
}

fn fill(colour: &str) -> String {
    format!("fill=\"{colour}\"")
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

fn draw(picture: &mut Picture, round: &Round, top: f64, scale: f64) {
    let x = |at: Duration| LEFT + at.saturating_sub(round.begun).as_secs_f64() * scale;
    let height = height(round);
    let title = format!("{} {}", round.number, round.fault.name());
    picture.text((10.0, top + height / 2.0 + 3.0), "font-size=\"10\"", title);
    let (from, to) = (x(round.struck), x(round.healed));
    picture.rect((from, top), ((to - from).max(1.0), height), &fill("#e5e7eb"));
    for node in 0..round.nodes {
        let y = top + node as f64 * (BAR + 1.0);
        let style = "font-size=\"7\" fill=\"#6b7280\"";
        picture.text((LEFT - 14.0, y + BAR - 1.0), style, format!("n{}", node + 1));
        picture.line((LEFT, y + BAR), (x(round.ended), y + BAR), "#d1d5db", 0.5);
    }
    for (node, from, until) in &round.writable {
        let y = top + *node as f64 * (BAR + 1.0);
        let width = (x(*until) - x(*from)).max(0.5);
        picture.rect((x(*from), y), (width, BAR), &fill(COLOURS[node % COLOURS.len()]));
    }
    if !round.innocent() {
        let style = "fill=\"none\" stroke=\"#dc2626\" stroke-width=\"1.5\"";
        picture.rect((LEFT, top - 2.0), (x(round.ended) - LEFT, height + 3.0), style);
    }
}
