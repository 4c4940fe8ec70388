//! `history` and `explain`: what was decided, told from all nodes that answer.

use crate::client::ask;
use crate::paint::{bad, bold, good, plain, table};
use crate::status::{list, word};
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write;

/// Of one node: it keeps no more.
const DECISIONS_MAX: usize = 100;

const PHASES: [&str; 4] = ["detect", "elect", "promote", "retarget"];

pub(crate) fn history(nodes: &[String], json: bool) -> Result<String, String> {
    let decisions = decisions(nodes)?;
    if json {
        return Ok(format!("{:#}\n", Value::Array(decisions)));
    }
    if decisions.is_empty() {
        return Ok("Nothing was decided yet.\n".to_owned());
    }
    let mut rows =
        vec![["when (UTC)", "epoch", "told by", "what", "from", "to", "why", "times"].map(bold).to_vec()];
    for decision in &decisions {
        rows.push(vec![
            when(decision),
            word(decision, "epoch"),
            word(decision, "node"),
            left_out(decision) + &word(decision, "what"),
            word(decision, "from"),
            word(decision, "to"),
            word(decision, "why"),
            phases(decision),
        ]);
    }
    Ok(table(&rows))
}

/// The last decisions, as a screen shows them.
pub(crate) fn last(nodes: &[String], most: usize) -> Result<String, String> {
    let text = history(nodes, false)?;
    Ok(text.lines().take(most + 1).map(|line| format!("{line}\n")).collect())
}

pub(crate) fn explain(nodes: &[String], epoch: u64, json: bool) -> Result<String, String> {
    let all = decisions(nodes)?;
    let of_epoch: Vec<&Value> = all.iter().filter(|decision| decision["epoch"] == epoch).collect();
    if of_epoch.is_empty() {
        let mut known: Vec<u64> = all.iter().filter_map(|decision| decision["epoch"].as_u64()).collect();
        known.sort_unstable();
        known.dedup();
        let known: Vec<String> = known.iter().map(u64::to_string).collect();
        return Err(match known.is_empty() {
            true => "the nodes that answer have decided nothing yet".to_owned(),
            false => format!("nothing is known of epoch {epoch}; known are {}", known.join(", ")),
        });
    }
    Ok(match json {
        true => format!("{:#}\n", Value::Array(of_epoch.into_iter().cloned().collect())),
        false => story(epoch, &of_epoch),
    })
}

/// The decisions of all nodes, the newest first.
fn decisions(nodes: &[String]) -> Result<Vec<Value>, String> {
    let mut all: Vec<Value> = Vec::new();
    for answer in ask(nodes, "/history")? {
        match answer.said {
            Ok(said) => all.extend(list(&said, "decisions").take(DECISIONS_MAX).cloned()),
            Err(error) => eprintln!("kevy-electctl: {}: {}", answer.node, plain(&error.to_string())),
        }
    }
    all.sort_by_key(|decision| std::cmp::Reverse(decision["at_ms"].as_u64()));
    Ok(all)
}

fn story(epoch: u64, decisions: &[&Value]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let winner = decisions.iter().find(|decision| decision["what"] == "promoted");
    match winner {
        Some(won) => {
            let (to, why) = (word(won, "to"), word(won, "why"));
            let why = reason(&why);
            let _ = writeln!(text, "{} became primary of epoch {epoch} at {}.", bold(&to), when(won));
            let _ = writeln!(text, "Before: {}. Why an election: {why}.", word(won, "from"));
            let last = list(won, "campaigns").filter(|attempt| attempt["outcome"] == "won").last();
            if let Some(attempt) = last {
                let _ = writeln!(
                    text,
                    "Why this node: a quorum found no voter's data ahead of its position {} (stream epoch:offset).",
                    word(attempt, "position")
                );
            }
            let _ = writeln!(text, "Times on {to}: {}.", phases(won));
        }
        None => {
            let _ = writeln!(
                text,
                "None of the nodes that answer became primary in epoch {epoch}; they tell this of it:"
            );
        }
    }
    // The newest comes first in what nodes tell; a story begins at its beginning.
    for decision in decisions.iter().rev() {
        tell(&mut text, decision);
    }
    text
}

/// One decision, and below it who asked whom on the way there.
fn tell(text: &mut String, decision: &Value) {
    let teller = word(decision, "node");
    let times = phases(decision);
    let _ = writeln!(
        text,
        "  {} {teller} {}: {}{}{times}",
        when(decision),
        action(decision),
        word(decision, "why"),
        if times.is_empty() { "" } else { "; " }
    );
    for attempt in list(decision, "campaigns") {
        let _ = writeln!(
            text,
            "    {teller} asked for a {} in epoch {} at position {}: {}",
            word(attempt, "kind"),
            word(attempt, "epoch"),
            word(attempt, "position"),
            word(attempt, "outcome")
        );
    }
    for vote in list(decision, "votes") {
        let (kind, voter) = (word(vote, "kind"), word(vote, "voter"));
        let _ = match vote["yes"] == true {
            true => writeln!(
                text,
                "      {voter} gave {teller} its {kind}: {}{}",
                good("yes"),
                vote["position"].as_str().map_or(String::new(), |held| format!(" (it held {})", plain(held)))
            ),
            false => writeln!(
                text,
                "      {voter} refused {teller} a {kind}: {} (it held {})",
                refusal(&word(vote, "reason")),
                word(vote, "position")
            ),
        };
    }
    for offer in list(decision, "judged") {
        let answer = match offer["yes"] == true {
            true => good("yes"),
            false => format!("no: {}", refusal(&word(offer, "reason"))),
        };
        let _ = writeln!(
            text,
            "    {teller} was asked by {} (position {}) for a {} in epoch {}: {answer}",
            word(offer, "candidate"),
            word(offer, "position"),
            word(offer, "kind"),
            word(offer, "epoch")
        );
    }
}

/// What was too much to keep.
fn left_out(decision: &Value) -> String {
    match decision["left_out"].as_u64() {
        Some(count @ 1..) => format!("({count} more) "),
        _ => String::new(),
    }
}

fn action(decision: &Value) -> String {
    let to = word(decision, "to");
    match decision["what"].as_str() {
        Some("promoted") => "became primary".to_owned(),
        Some("followed") => format!("followed {to}"),
        Some("kept") => format!("kept {to} as its primary"),
        Some("promote-failed") => "could not become primary".to_owned(),
        Some("forced") => format!("{to} was made the only voter by an operator"),
        Some("fenced") => "stopped taking writes".to_owned(),
        Some("unfenced") => "took writes again".to_owned(),
        _ => word(decision, "what"),
    }
}

/// A voter's no, and what the word for it means.
fn refusal(reason: &str) -> String {
    let meaning = match reason {
        "promise" => "it had promised somebody else",
        "primary-alive" => "it was primary, and its lease ran",
        "position" => "its own data went further, or as far and it was the better candidate",
        "epoch" => "it knew a newer epoch, or had voted for another node in this one",
        "booting" => "it had just started, and waited out what it may have promised before",
        "no-record" => "it had no vote record, and did not know what it may have forgotten",
        "settling" => "it was primary a moment before, and its last writes were still being counted",
        "store" => "its vote could not be saved",
        "not-eligible" => "the candidate may not become primary",
        "paused" => "automatic elections were paused",
        _ => return bad(reason),
    };
    format!("{}, {meaning}", bad(reason))
}

/// What the word for a reason means.
fn reason(word: &str) -> &str {
    match word {
        "crash" => "the old primary's process was gone: its links ended and its port refused",
        "partition" => {
            "the old primary was silent for an election timeout: cut off, stopped, or its machine is down"
        }
        "restart" => "the old primary's process was started anew",
        "planned" => "the old primary resigned",
        "start" => "no primary was known",
        other => other,
    }
}

fn phases(decision: &Value) -> String {
    let times = &decision["phases"];
    let known: Vec<String> = PHASES
        .iter()
        .filter_map(|phase| times[format!("{phase}_ms")].as_f64().map(|ms| format!("{phase} {ms:.1} ms")))
        .collect();
    known.join(", ")
}

fn when(decision: &Value) -> String {
    date(decision["at_ms"].as_u64().unwrap_or_default())
}

/// Milliseconds of Unix time as `2026-01-31 12:34:56.789`.
fn date(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{ms} ms"), |time| time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00.000");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00:00.000");
        assert_eq!(date(1_767_225_599_999), "2025-12-31 23:59:59.999");
        assert_eq!(date(4_107_542_400_000), "2100-03-01 00:00:00.000");
        assert_eq!(date(u64::MAX), "18446744073709551615 ms", "what a node sends may be anything");
    }

    #[test]
    fn the_story_tells_who_voted_who_refused_and_why() {
        let won = json!({ "at_ms": 0, "node": "b", "epoch": 7, "what": "promoted", "from": "a", "to": "b", "why": "crash",
            "campaigns": [{ "kind": "vote", "epoch": 7, "position": "6:41", "outcome": "won" }],
            "votes": [{ "kind": "vote", "voter": "c", "yes": true },
                      { "kind": "vote", "voter": "d", "yes": false, "reason": "position", "position": "6:50" }],
            "phases": { "detect_ms": 2.0, "elect_ms": 4.26 } });
        let text = story(7, &[&won]);
        for part in [
            "b became primary of epoch 7",
            "its links ended",
            "position 6:41",
            "c gave b its vote: yes",
            "d refused b a vote: position, its own data went further",
            "(it held 6:50)",
            "detect 2.0 ms, elect 4.3 ms",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
