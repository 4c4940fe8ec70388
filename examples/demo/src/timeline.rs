//! One round, as a timeline that is pleasant to read.

use kevy_elect_harness::copying::Copied;
use kevy_elect_harness::fault::Fault;
use kevy_elect_harness::outcome::{Round, Sighting};
use kevy_elect_harness::style::{Style, count, ms, ms_or_dash};
use kevy_elect_harness::verdict::Node;
use std::fmt::Write as _;
use std::time::Duration;

/// How wide the time from the fault to the first acknowledged write is drawn.
const BAR_WIDTH: usize = 32;
/// How wide the longest description is.
const TEXT_WIDTH: usize = 44;

struct Row {
    at: Duration,
    node: Node,
    text: String,
    /// The end of a phase of the failover: drawn as a bar from the end of the phase before.
    phase: bool,
    strong: bool,
}

/// Draws `round`. `names` are the nodes'.
pub(crate) fn render(round: &Round, names: &[String], style: Style) -> String {
    let mut text = String::new();
    let mut phase_start = 0;
    for row in rows(round, names) {
        let since = row.at.saturating_sub(round.struck);
        let mut description = format!("{:<TEXT_WIDTH$}", row.text);
        let mut bar = String::new();
        if row.phase {
            let end = column(since, round.failover()).max(phase_start);
            // Even the shortest phase leaves a trace.
            let width = (end - phase_start).max(1);
            bar = format!("{}{}", " ".repeat(phase_start), style.bar(&"█".repeat(width)));
            phase_start = end;
        } else {
            description.truncate(description.trim_end().len());
        }
        if row.strong {
            description = style.strong(&description);
        }
        let line = format!("{:>12}  {}  {description}{bar}", ms(since), names[row.node]);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push('\n');
    text.push_str(&verdict(round, names, style));
    text
}

/// The headline: who is broken, and how.
pub(crate) fn headline(round: &Round, names: &[String], style: Style) -> String {
    style.strong(&format!("Round {}: {} {}", round.number, round.fault.spelled(), names[round.old]))
}

/// The lines that matter.
pub(crate) fn verdict(round: &Round, names: &[String], style: Style) -> String {
    let lost = round.lost.waited;
    let mut text = format!("  {:<36}{:>10}\n", "first write", ms(round.failover()));
    // Padded before it is coloured.
    let confirmed = format!("{:<36}{:>10}", "first confirmed write", ms_or_dash(round.confirmed()));
    let _ = writeln!(text, "  {}", style.strong(&confirmed));
    if let Some(Copied { survivors, returned }) = round.copied {
        let (fetched, taken) = (count(survivors.frames as usize), count(returned.snapshots as usize));
        let snapshots = survivors.snapshots;
        let mark = style.mark(snapshots == 0);
        let _ =
            writeln!(text, "  {:<36}{:>10}  {mark}", "copied anew by survivors", count(snapshots as usize));
        let _ = writeln!(text, "  {:<36}{fetched:>10}", "frames fetched instead");
        let _ = writeln!(
            text,
            "  {:<36}{taken:>10}",
            format!("copied anew by {} on its return", names[round.old])
        );
    }
    let (loading, mark) = (count(round.loading), style.mark(round.loading == 0));
    let _ = writeln!(text, "  {:<36}{loading:>10}  {mark}", "-LOADING answers of survivors");
    let whole = format!("{} whole again (WAIT 2) after", names[round.old]);
    let _ = writeln!(text, "  {whole:<36}{:>10}", ms(round.rejoined()));
    let _ = writeln!(text, "  {:<36}{:>10}", "longest write stall meanwhile", ms(round.stall));
    if let Some(queued) = round.stall_queued {
        let _ = writeln!(text, "  {:<36}{:>10}", "  of that, waiting for a processor", ms(queued));
    }
    if let Some(away) = round.stall_away {
        let _ = writeln!(text, "  {:<36}{:>10}", "  of that, a processor was away", ms(away));
    }
    let _ = write!(
        text,
        "  {:<36}{:>10}\n  {:<36}{:>10}\n",
        "writes acknowledged",
        count(round.acked),
        "of these, confirmed by WAIT 1",
        count(round.waited)
    );
    let _ = writeln!(text, "  {:<36}{:>10}  {}", "confirmed writes lost", count(lost), style.mark(lost == 0));
    let dual = round.dual.map_or(Duration::ZERO, |dual| dual.lasted);
    let _ = writeln!(
        text,
        "  {:<36}{:>10}  {}",
        "acknowledged by two nodes at once",
        if round.dual.is_some() { ms(dual) } else { "0 ms".into() },
        style.mark(round.dual.is_none())
    );
    if let Some(dual) = round.dual {
        let [(one, acks), (other, other_acks)] = [0, 1].map(|i| (&names[dual.nodes[i]], count(dual.acks[i])));
        let mut line = format!("meanwhile {one} acknowledged {acks} writes and {other} {other_acks}");
        if dual.in_flight > 0 {
            let _ = write!(line, "; {} of {one}'s were under way when it was stopped", dual.in_flight);
        }
        let _ = writeln!(text, "  {}", style.bad(&line));
    }
    if round.lost.unwaited > 0 {
        let line = format!(
            "{} writes that were acknowledged but not confirmed by WAIT are gone: asynchronous replication may",
            count(round.lost.unwaited)
        );
        let _ = writeln!(text, "  {}", style.faint(&line));
    }
    text
}

fn rows(round: &Round, names: &[String]) -> Vec<Row> {
    let (old, new) = (&names[round.old], &names[round.new]);
    let mut rows = Vec::new();
    let mut add = |at, node, text: String, phase, strong| rows.push(Row { at, node, text, phase, strong });
    let struck = format!("{}: primary, process {}", round.fault.spelled(), round.old_pid);
    add(round.struck, round.old, struck, false, true);
    let mut seen = |sighting: &Option<Sighting>, text: String, phase| {
        if let Some(Sighting { node, at, detail }) = sighting {
            let detail = detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
            add(*at, *node, text + &detail, phase, false);
        }
    };
    seen(&round.detected, format!("detected: {old} is gone"), true);
    seen(&round.elected, "elected".into(), true);
    seen(&round.promoted, "promoted".into(), true);
    seen(&round.following, format!("follows {new}"), false);
    add(round.first_ack, round.new, "first acknowledged write".into(), true, true);
    if let Some(at) = round.first_waited {
        add(at, round.new, "first write confirmed by a replica (WAIT 1)".into(), false, true);
    }
    let back = match round.fault {
        Fault::Stop if round.ended_by_watchdog => "ended by its watchdog with its lease; started again",
        Fault::Stop => "resumed (SIGCONT)",
        Fault::Isolate => "linked again",
        Fault::Transfer => "a replica now",
        Fault::Kill | Fault::Term => "started again",
    };
    add(round.returned, round.old, back.into(), false, false);
    add(round.whole, round.old, "rejoined: both replicas confirm (WAIT 2)".into(), false, false);
    rows.sort_by_key(|row| row.at);
    rows
}

fn column(at: Duration, whole: Duration) -> usize {
    let share = at.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE);
    ((share * BAR_WIDTH as f64).round() as usize).min(BAR_WIDTH)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kevy_elect_harness::copying::Count;
    use kevy_elect_harness::fault::Restart;
    use kevy_elect_harness::verdict::{Dual, Lost};

    pub(crate) fn names() -> Vec<String> {
        ["n1", "n2", "n3"].map(str::to_owned).to_vec()
    }

    pub(crate) fn round() -> Round {
        let us = |n: u64| Duration::from_micros(5_000_000 + n);
        let seen = |node, at, detail: Option<&str>| {
            Some(Sighting { node, at: us(at), detail: detail.map(str::to_owned) })
        };
        Round {
            number: 1,
            fault: Fault::Kill,
            restart: Restart::Later,
            old: 0,
            old_pid: 4711,
            new: 1,
            struck: us(0),
            detected: seen(2, 1_200, Some("crash")),
            elected: seen(1, 3_400, Some("epoch 2")),
            promoted: seen(1, 8_100, None),
            first_ack: us(12_000),
            following: seen(2, 20_100, None),
            first_waited: Some(us(21_000)),
            ended_by_watchdog: false,
            returned: us(320_000),
            whole: us(480_500),
            acked: 2_134,
            waited: 1_201,
            lost: Lost::default(),
            dual: None,
            copied: Some(Copied {
                survivors: Count { snapshots: 0, continued: 1, frames: 7 },
                returned: Count { snapshots: 1, continued: 0, frames: 0 },
            }),
            loading: 0,
            gap: Duration::from_millis(12),
            away: Some(Duration::from_micros(500)),
            stall: Duration::from_micros(1_500),
            stall_queued: Some(Duration::from_micros(1_200)),
            stall_away: Some(Duration::from_micros(300)),
        }
    }

    #[test]
    fn a_failover_reads_like_a_story() {
        let golden = "      0.0 ms  n1  kill -9: primary, process 4711
      1.2 ms  n3  detected: n1 is gone (crash)                ███
      3.4 ms  n2  elected (epoch 2)                              ██████
      8.1 ms  n2  promoted                                             █████████████
     12.0 ms  n2  first acknowledged write                                          ██████████
     20.1 ms  n3  follows n2
     21.0 ms  n2  first write confirmed by a replica (WAIT 1)
    320.0 ms  n1  started again
    480.5 ms  n1  rejoined: both replicas confirm (WAIT 2)

  first write                            12.0 ms
  first confirmed write                  21.0 ms
  copied anew by survivors                     0  ✓
  frames fetched instead                       7
  copied anew by n1 on its return              1
  -LOADING answers of survivors                0  ✓
  n1 whole again (WAIT 2) after         160.5 ms
  longest write stall meanwhile           1.5 ms
    of that, waiting for a processor      1.2 ms
    of that, a processor was away         0.3 ms
  writes acknowledged                      2 134
  of these, confirmed by WAIT 1            1 201
  confirmed writes lost                        0  ✓
  acknowledged by two nodes at once         0 ms  ✓
";
        let drawn = render(&round(), &names(), Style::with_colours(false));
        assert_eq!(drawn, golden, "\n{drawn}");
    }

    #[test]
    fn guilt_is_spelled_out() {
        let mut round = round();
        round.fault = Fault::Stop;
        round.lost = Lost { waited: 2, unwaited: 41 };
        round.dual = Some(Dual {
            nodes: [0, 1],
            acks: [1_234, 99],
            in_flight: 1,
            lasted: Duration::from_micros(221_400),
        });
        let text = verdict(&round, &names(), Style::with_colours(false));
        assert!(text.contains("confirmed writes lost                        2  ✗\n"), "{text}");
        assert!(text.contains("acknowledged by two nodes at once     221.4 ms  ✗\n"), "{text}");
        assert!(text.contains(
            "meanwhile n1 acknowledged 1 234 writes and n2 99; 1 of n1's were under way when it was stopped\n"
        ));
        assert!(
            text.contains("41 writes that were acknowledged but not confirmed by WAIT are gone"),
            "{text}"
        );
    }

    #[test]
    fn servers_that_log_no_decisions_still_give_a_timeline() {
        let mut round = round();
        (round.detected, round.elected, round.promoted, round.following) = (None, None, None, None);
        let drawn = render(&round, &names(), Style::with_colours(false));
        let bar = "█".repeat(BAR_WIDTH);
        assert!(drawn.contains(&format!("first acknowledged write                    {bar}\n")), "{drawn}");
        assert!(!drawn.contains("elected"), "{drawn}");
    }

    #[test]
    fn colours_add_nothing_but_escapes() {
        let coloured = render(&round(), &names(), Style::with_colours(true));
        assert!(coloured.contains("\x1b["));
        let mut bare = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            bare.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        bare.push_str(rest);
        assert_eq!(bare, render(&round(), &names(), Style::with_colours(false)));
    }
}
