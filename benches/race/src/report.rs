//! A table for the terminal, Markdown for the documentation, and a picture.

use crate::cli::{Options, Racer};
use crate::{Course, NODES, Outcome};
use kevy_elect_harness::fault::Fault;
use kevy_elect_harness::median::median;
use kevy_elect_harness::outcome::Round;
use kevy_elect_harness::picture::Picture;
use std::fmt::Write as _;

/// One round, while it goes on.
pub(crate) fn line(round: &Round) -> String {
    format!(
        "round {:>3}  {:<7}  failover {:>9.1} ms   confirmed and lost {:>4}   unconfirmed and lost {:>5}   two at once {:>7.1} ms",
        round.number,
        round.fault.spelled(),
        round.failover().as_secs_f64() * 1e3,
        round.lost.waited,
        round.lost.unwaited,
        dual_ms(round),
    )
}

/// What was measured, as rows of cells; the first row is the head.
pub(crate) fn rows(results: &[Outcome]) -> Vec<Vec<String>> {
    let mut head = vec![String::new()];
    head.extend(results.iter().map(|r| r.racer.spelled().to_owned()));
    let ours = results.iter().find(|r| r.racer == Racer::Plugin);
    head.extend(ours.iter().flat_map(|_| others(results)).map(|r| format!("{} / plugin", r.racer.name())));
    let mut rows = vec![head];
    let mut add = |name: String, digits: usize, ratio: bool, value: &dyn Fn(&Outcome) -> Option<f64>| {
        let show = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.digits$}"));
        let mut row = vec![name];
        row.extend(results.iter().map(|result| show(value(result))));
        if let Some(ours) = ours {
            let ratio_to = |theirs: Option<f64>| match (theirs, value(ours)) {
                (Some(theirs), Some(ours)) if ratio && ours > 0.0 => format!("{:.1}x", theirs / ours),
                _ => "–".to_owned(),
            };
            row.extend(others(results).map(|theirs| ratio_to(value(theirs))));
        }
        rows.push(row);
    };
    let faults: Vec<Fault> =
        results.first().map(|r| r.courses.iter().map(|c| c.fault).collect()).unwrap_or_default();
    for fault in faults {
        let name = fault.spelled();
        let course =
            move |result: &Outcome| -> Option<usize> { result.courses.iter().position(|c| c.fault == fault) };
        let of = move |result: &Outcome, value: &dyn Fn(&Course) -> Option<f64>| -> Option<f64> {
            value(&result.courses[course(result)?])
        };
        add(format!("{name}: rounds"), 0, false, &|r| of(r, &|c| Some(c.rounds.len() as f64)));
        add(format!("{name}: rounds without a new primary, or never whole again"), 0, false, &|r| {
            of(r, &|c| Some(c.failed.len() as f64))
        });
        add(format!("{name}: failover, fastest (ms)"), 1, true, &|r| {
            of(r, &|c| failovers(c).first().copied())
        });
        add(format!("{name}: failover, median (ms)"), 1, true, &|r| of(r, &median_of));
        if fault != Fault::Kill {
            add(format!("{name}: … over the configured silence (ms)"), 1, false, &|r| {
                of(r, &|c| Some(median_of(c)? - r.racer.suspects_after_ms()))
            });
        }
        add(format!("{name}: failover, slowest (ms)"), 1, true, &|r| {
            of(r, &|c| failovers(c).last().copied())
        });
        add(format!("{name}: confirmed writes lost"), 0, false, &|r| {
            of(r, &|c| Some(sum(c, |x| x.lost.waited)))
        });
        add(format!("{name}: acknowledged writes lost, all"), 0, false, &|r| {
            of(r, &|c| Some(sum(c, |x| x.lost.waited + x.lost.unwaited)))
        });
        add(format!("{name}: two primaries acknowledged at once, rounds"), 0, false, &|r| {
            of(r, &|c| Some(sum(c, |x| usize::from(x.dual.is_some()))))
        });
        add(format!("{name}: two primaries acknowledged at once, longest (ms)"), 0, false, &|r| {
            of(r, &|c| c.rounds.iter().map(dual_ms).reduce(f64::max))
        });
    }
    add("idle: context switches per second, 3 nodes".into(), 0, true, &|r| Some(r.idle.switches));
    add("… of these for elections".into(), 0, true, &|r| Some(r.idle.beyond(r.bare).switches));
    add("… per node".into(), 0, true, &|r| Some(r.idle.beyond(r.bare).switches / NODES as f64));
    add("idle: processor time, ms per second, 3 nodes".into(), 1, true, &|r| Some(r.idle.cpu_ms));
    add("… of this for elections".into(), 1, true, &|r| Some(r.idle.beyond(r.bare).cpu_ms));
    add("… per node".into(), 2, true, &|r| Some(r.idle.beyond(r.bare).cpu_ms / NODES as f64));
    add("memory per node (MiB)".into(), 1, true, &|r| Some(r.idle.rss_kib / 1024.0 / NODES as f64));
    add("… of this for elections".into(), 1, true, &|r| {
        Some(r.idle.beyond(r.bare).rss_kib / 1024.0 / NODES as f64)
    });
    add("threads per node".into(), 1, false, &|r| Some(r.idle.threads / NODES as f64));
    add("… of these for elections".into(), 1, false, &|r| {
        Some(r.idle.beyond(r.bare).threads / NODES as f64)
    });
    rows
}

fn others(results: &[Outcome]) -> impl Iterator<Item = &Outcome> {
    results.iter().filter(|r| r.racer != Racer::Plugin)
}

/// Aligned, for a terminal.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ =
                if place == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// For the documentation.
pub(crate) fn markdown(results: &[Outcome], options: &Options) -> String {
    let mut text = format!(
        "Written by `cargo race --rounds {}`: three nodes of each system on one machine of {} processors, one after the \
         other, over loopback, one shard, the log on disk on, the same client. Failover runs from the instant before the \
         fault to the arrival of the first acknowledgement of a write by another node. Confirmed: `WAIT 1` said so. \
         Kill and stop hit the server only; Redis' Sentinels go on running. Isolation cuts a machine off from its peers, \
         the Sentinel on it too, but not from clients, and ends 2 s after another node has taken over; for this every \
         node has a network namespace of its own. All suspect a silent primary after their default, \
         except the Sentinels: 1 s instead of 30 s, as the plugin. Costs of elections: what the same three servers with \
         replication cost without any.\n\n",
        options.rounds,
        std::thread::available_parallelism().map_or(0, usize::from),
    );
    text.push_str(&pipes(&rows(results)));
    text
}

/// A table in Markdown.
pub(crate) fn pipes(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if place == 0 {
            let _ = writeln!(text, "|---|{}", "--:|".repeat(row.len() - 1));
        }
    }
    text
}

/// A point per round, a line at the median, on a logarithmic scale of milliseconds.
pub(crate) fn svg(results: &[Outcome]) -> String {
    const LEFT: f64 = 260.0;
    const WIDTH: f64 = 900.0;
    const ROW: f64 = 26.0;
    let lines: Vec<_> = results.iter().flat_map(|r| r.courses.iter().map(move |c| (r.racer, c))).collect();
    let height = 60.0 + ROW * lines.len() as f64;
    let x = |ms: f64| LEFT + (ms.max(1.0).log10() / 4.5) * (WIDTH - LEFT - 20.0);
    let mut picture = Picture::new(WIDTH, height, 12);
    let title = "Time from the fault to the first acknowledged write (ms, logarithmic; one point per round)";
    picture.text((10.0, 18.0), "font-size=\"13\"", title);
    for ms in [1.0, 10.0, 100.0, 1000.0, 10_000.0] {
        picture.line((x(ms), 28.0), (x(ms), height - 24.0), "#e5e7eb", 1.0);
        picture.text((x(ms), height - 8.0), "text-anchor=\"middle\"", ms);
    }
    for (place, (racer, course)) in lines.iter().enumerate() {
        let y = 44.0 + ROW * place as f64;
        let colour = match racer {
            Racer::Plugin => "#059669",
            Racer::Stock => "#dc2626",
            Racer::Redis => "#2563eb",
        };
        picture.text((10.0, y + 4.0), "", format!("{}: {}", racer.spelled(), course.fault.spelled()));
        for ms in failovers(course) {
            picture.point((x(ms), y), 4, &format!("fill=\"{colour}\" fill-opacity=\"0.4\""));
        }
        if let Some(ms) = median_of(course) {
            picture.line((x(ms), y - 9.0), (x(ms), y + 9.0), colour, 2.0);
        }
    }
    picture.finish()
}

fn failovers(course: &Course) -> Vec<f64> {
    let mut times: Vec<_> = course.rounds.iter().map(|round| round.failover().as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    times
}

fn median_of(course: &Course) -> Option<f64> {
    median(failovers(course))
}

fn sum(course: &Course, value: impl Fn(&Round) -> usize) -> f64 {
    course.rounds.iter().map(value).sum::<usize>() as f64
}

fn dual_ms(round: &Round) -> f64 {
    round.dual.map_or(0.0, |dual| dual.lasted.as_secs_f64() * 1e3)
}
