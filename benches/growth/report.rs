//! Tables, a picture, and the verdict.

use super::{driver, sockets};
use crate::picture::Picture;
use std::fmt::Write as _;
use std::time::Duration;

/// How much more time an observer may take beside ten times as many others: caches, and a longer search by name.
const SLACK: f64 = 2.0;

/// One cluster on virtual time, per second of it.
pub(crate) struct Row {
    pub(crate) voters: usize,
    pub(crate) observers: usize,
    pub(crate) messages: f64,
    pub(crate) bytes: f64,
    /// Microseconds inside the elector: of the primary, of another voter, of an observer.
    pub(crate) primary_us: f64,
    pub(crate) voter_us: f64,
    pub(crate) observer_us: Option<f64>,
    /// From the primary's death to the next open gate.
    pub(crate) election: Duration,
}

/// One cluster over sockets.
pub(crate) struct SocketRow {
    pub(crate) voters: usize,
    pub(crate) observers: usize,
    pub(crate) measured: sockets::Measured,
}

/// One cluster with its drivers, on virtual time.
pub(crate) struct DriverRow {
    pub(crate) voters: usize,
    pub(crate) observers: usize,
    pub(crate) measured: driver::Measured,
}

/// For the documentation, and for the terminal.
pub(crate) fn markdown(rows: &[Row], driver_rows: &[DriverRow], socket_rows: &[SocketRow]) -> String {
    let mut text = String::from(
        "Written by `cargo growth`. On virtual time, per second: all messages and their frames; and the time that one \
         elector takes for it, measured on the machine's clock without sockets. Election: from the primary's death to the next open gate, median of 5, with 0.2 to 0.3 ms \
         per message, 0.4 ms per save and 1 ms per promotion.\n\n\
         | voters | observers | messages/s | KiB/s | primary (µs/s) | another voter | an observer | election (ms) |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let micros = |time: Option<f64>| time.map_or_else(|| "–".to_owned(), |us| format!("{us:.1}"));
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {:.0} | {:.1} | {:.1} | {} | {:.1} |",
            row.voters,
            row.observers,
            row.messages,
            row.bytes / 1024.0,
            row.primary_us,
            row.voter_us,
            micros(row.observer_us),
            row.election.as_secs_f64() * 1e3,
        );
    }
    if let Some((few, many)) = observers(rows) {
        let _ = writeln!(
            text,
            "\nFrom {} to {} observers, {:.0} times as many: {:.1} times the messages that they cause, {:.1} times the \
             primary's time, {:.1} times an observer's.",
            few.observers,
            many.observers,
            many.observers as f64 / few.observers as f64,
            caused(rows, many) / caused(rows, few),
            many.primary_us / few.primary_us,
            many.observer_us.unwrap_or_default() / few.observer_us.unwrap_or(f64::NAN),
        );
    }
    text.push_str(&drivers(driver_rows));
    if !socket_rows.is_empty() {
        text.push_str(
            "\nOver real sockets on loopback, all nodes in one process on one thread. Processor time is that of the whole \
             process, kernel included, divided by the nodes, with a recorder of metrics; votes are kept in memory.\n\n\
             | voters | observers | messages/s | KiB/s | processor time per node (ms/s) | gauges set per node (1/s) | election (ms) |\n\
             |--:|--:|--:|--:|--:|--:|--:|\n",
        );
    }
    for SocketRow { voters, observers, measured } in socket_rows {
        let _ = writeln!(
            text,
            "| {voters} | {observers} | {:.0} | {:.0} | {:.2} | {:.0} | {:.1} |",
            measured.messages,
            measured.bytes / 1024.0,
            measured.cpu.as_secs_f64() * 1e3 / (voters + observers) as f64,
            measured.gauges / (voters + observers) as f64,
            measured.election.as_secs_f64() * 1e3,
        );
    }
    text
}

/// What whole nodes take.
pub(crate) fn drivers(rows: &[DriverRow]) -> String {
    let mut text = String::from(
        "\nWith all that a node runs, on virtual time: plugin, driver and codec, votes and the network in memory, 0.25 ms per message, saves and promotions in no time, no recorder of metrics; medians of 5. Processor \
         time is that of the polls of one node's election, per second of virtual time. An election is the virtual time from the primary's death to the next open gate, and the processor time that the winner takes \
         in it, which a real one pays on top: until its gate opens, until every voter has been told so, and with all that it says to observers in the same instant, behind that.\n\n\
         | voters | observers | primary (µs/s) | another voter | an observer | election (ms) | the winner's processor until it takes writes (ms) | until voters are told | until everybody is told | until it takes writes, to none | until everybody is told, to none |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let micros = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e6);
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    for DriverRow { voters, observers, measured } in rows {
        let _ = writeln!(
            text,
            "| {voters} | {observers} | {} | {} | {} | {:.2} | {:.3} | {:.3} | {:.3} | {:.2}x | {:.2}x |",
            micros(measured.primary),
            micros(measured.voter),
            measured.observer.map_or_else(|| "–".to_owned(), micros),
            millis(measured.election),
            millis(measured.opened),
            millis(measured.told),
            millis(measured.winner),
            to_none(rows, measured, |measured| measured.opened),
            to_none(rows, measured, |measured| measured.winner),
        );
    }
    text
}

/// An election, up to a mark on the winner's processor, as a multiple of what it takes without observers.
fn to_none(rows: &[DriverRow], measured: &driver::Measured, mark: fn(&driver::Measured) -> Duration) -> f64 {
    let whole = |measured: &driver::Measured| (measured.election + mark(measured)).as_secs_f64();
    let alone = rows.iter().find(|row| row.observers == 0).map_or(f64::NAN, |row| whole(&row.measured));
    whole(measured) / alone
}

/// Whether the winner takes writes as soon beside observers as without.
pub(crate) fn is_soon(rows: &[DriverRow]) -> bool {
    rows.iter().all(|row| to_none(rows, &row.measured, |measured| measured.opened) <= 1.2)
}

/// Whether the messages do not grow faster than the observers, and an observer's own time not at all.
pub(crate) fn is_linear(rows: &[Row]) -> bool {
    let Some((few, many)) = observers(rows) else { return false };
    let times = many.observers as f64 / few.observers as f64;
    let own = many.observer_us.unwrap_or(f64::NAN) / few.observer_us.unwrap_or(f64::NAN);
    caused(rows, many) / caused(rows, few) <= times * 1.01 && own <= SLACK
}

/// Whether no node sets more than five gauges for each member with whom it speaks and twenty of its own per heartbeat interval, with
/// some allowance for wakes that come early.
pub(crate) fn gauges_are_rare(rows: &[SocketRow]) -> bool {
    rows.iter().all(|row| {
        let nodes = row.voters + row.observers;
        let spoken_with = row.voters * (nodes - 1) + row.observers * row.voters;
        row.measured.gauges <= (5 * spoken_with + 20 * nodes) as f64 * 10.0 * 1.2
    })
}

/// Two rows with the same voters, many observers, and a tenth of those.
fn observers(rows: &[Row]) -> Option<(&Row, &Row)> {
    let many = rows.iter().max_by_key(|row| row.observers)?;
    let few = rows.iter().find(|row| row.voters == many.voters && row.observers * 10 == many.observers)?;
    Some((few, many))
}

/// The messages that would not be without the observers.
fn caused(rows: &[Row], row: &Row) -> f64 {
    let alone = rows.iter().find(|other| other.voters == row.voters && other.observers == 0);
    row.messages - alone.map_or(0.0, |alone| alone.messages)
}

/// The curves, both axes logarithmic: a line of slope one is linear.
pub(crate) fn svg(rows: &[Row]) -> String {
    let with_observers: Vec<_> = rows.iter().filter(|row| row.voters == 3 && row.observers > 0).collect();
    let voters: Vec<_> = rows.iter().filter(|row| row.observers == 0).collect();
    type Curve<'a> = (&'a str, &'a str, Vec<(f64, f64)>);
    let curve = |rows: &[&Row], x: fn(&Row) -> usize, y: fn(&Row) -> Option<f64>| {
        rows.iter().filter_map(|row| Some((x(row) as f64, y(row)?))).collect::<Vec<_>>()
    };
    let observers = |y| curve(&with_observers, |row| row.observers, y);
    let voters = |y| curve(&voters, |row| row.voters, y);
    let left: [Curve<'_>; 3] = [
        ("messages/s, all", "#2563eb", observers(|row| Some(row.messages))),
        ("primary, µs/s", "#dc2626", observers(|row| Some(row.primary_us))),
        ("an observer, µs/s", "#059669", observers(|row| row.observer_us)),
    ];
    let right: [Curve<'_>; 3] = [
        ("messages/s, all", "#2563eb", voters(|row| Some(row.messages))),
        ("primary, µs/s", "#dc2626", voters(|row| Some(row.primary_us))),
        ("another voter, µs/s", "#d97706", voters(|row| Some(row.voter_us))),
    ];
    let mut picture = Picture::new(900.0, 380.0, 11);
    for (offset, title, curves, x_max) in
        [(0.0, "3 voters and this many observers", &left, 3.0), (450.0, "this many voters", &right, 2.2)]
    {
        let x = |value: f64| offset + 50.0 + value.log10() / x_max * 370.0;
        let y = |value: f64| 330.0 - value.max(1.0).log10() / 6.0 * 280.0;
        picture.text((offset + 50.0, 20.0), "font-size=\"13\"", title);
        for power in 0..=6 {
            let at = y(10_f64.powi(power));
            picture.line((offset + 50.0, at), (offset + 420.0, at), "#e5e7eb", 1.0);
            picture.text((offset + 45.0, at + 4.0), "text-anchor=\"end\"", format!("1e{power}"));
        }
        for (place, (name, colour, points)) in curves.iter().enumerate() {
            let fill = format!("fill=\"{colour}\"");
            picture.curve(points.iter().map(|(a, b)| (x(*a), y(*b))), colour);
            points.iter().for_each(|(a, b)| picture.point((x(*a), y(*b)), 3, &fill));
            picture.text((offset + 60.0, 40.0 + 15.0 * place as f64), &fill, name);
        }
        if let Some((.., points)) = curves.first() {
            points.iter().for_each(|(a, _)| picture.text((x(*a), 348.0), "text-anchor=\"middle\"", a));
        }
    }
    picture.finish()
}
