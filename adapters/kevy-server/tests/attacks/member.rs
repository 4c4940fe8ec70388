//! A member in its own name, with its key, that says what it likes as fast as it can. It may keep a primary away for as long as it raises
//! epochs one by one; that is named in `docs/security.md`. Everything else that it does costs what is stated.

use super::speaker::{Speaker, words};
use super::stage::{Addresses, Attack, By, Cost, Stage};
use crate::common::until;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A burst of lines for each kind of event, and then two a second of each.
const COST: Cost = Cost { memory_mb: 16, descriptors: 16, log_kb: 256 };

/// The epoch in which the cluster is.
fn epoch(doors: &Addresses) -> u64 {
    let told = (0..doors.running).filter_map(|node| doors.json(node, "/status")?["epoch"].as_u64());
    told.max().unwrap_or(1)
}

/// Says to one node what `frame` makes of its number, as often as it can and with at most so many in one go.
fn flood(doors: &Addresses, thread: usize, on: &AtomicBool, at_once: u64, frame: impl Fn(u64) -> Vec<u8>) {
    let mut number = 0;
    while on.load(Ordering::Relaxed) {
        let Some(mut speaker) = Speaker::member(doors, thread % doors.running) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        while on.load(Ordering::Relaxed) {
            let mut bytes = Vec::new();
            for _ in 0..at_once {
                number += 1;
                bytes.extend(frame(number));
            }
            if speaker.say(&bytes).is_none() {
                break;
            }
        }
    }
}

const OFFERS: Attack = Attack {
    name: "offers without end",
    run: |doors, thread, on| {
        let next = (epoch(doors) + 1).to_string();
        flood(doors, thread, on, 50, |n| words(&["PREOFFER", &next, &n.to_string(), "1:0"]));
    },
    threads: 4,
    cost: COST,
    counted: Some(("kevy_elect_messages_dropped_total", "reason=\"flood\"")),
};

const IMPLAUSIBLE: Attack = Attack {
    name: "heartbeats that cannot be, and answers that nobody asked for",
    run: |doors, thread, on| {
        let at = epoch(doors).to_string();
        flood(doors, thread, on, 50, |n| {
            let n = n.to_string();
            let ahead = (1_u64 << 61).to_string();
            [
                words(&["HB", &ahead, &n, "replica", "member", "0:0", "", "0", "0"]),
                words(&["ACCEPT", &at, &n]),
                words(&["REJECT", &at, &n, "vote", "position", "9:999"]),
                words(&["ECHO", &at, &n, "n0", "member", "1:1"]),
            ]
            .concat()
        });
    },
    threads: 4,
    cost: COST,
    counted: Some(("kevy_elect_log_lines_left_out_total", "")),
};

const UNKNOWN: Attack = Attack {
    name: "frames with verbs of a later version",
    run: |doors, thread, on| flood(doors, thread, on, 100, |_| words(&["X", "y"])),
    threads: 4,
    cost: COST,
    counted: None,
};

const COMES_AND_GOES: Attack = Attack {
    name: "links that come and go",
    run: |doors, thread, on| {
        while on.load(Ordering::Relaxed) {
            drop(Speaker::member(doors, thread % doors.running));
        }
    },
    threads: 4,
    cost: COST,
    counted: None,
};

const RAISED: Attack = Attack {
    name: "epochs raised one by one",
    run: |doors, thread, on| {
        let begin = epoch(doors);
        flood(doors, thread, on, 1, |n| {
            std::thread::sleep(Duration::from_millis(2));
            let (n, at) = (n.to_string(), (begin + n).to_string());
            words(&["HB", &at, &n, "replica", "member", "0:0", "", "0", "0"])
        });
    },
    threads: 4,
    cost: COST,
    counted: None,
};

/// Of the highest number that there is: nobody could end it (H17).
const PAUSED: Attack = Attack {
    name: "an order of the last day to pause elections",
    run: |doors, thread, on| {
        let at = epoch(doors).to_string();
        flood(doors, thread, on, 1, |n| {
            let (n, order) = (n.to_string(), format!("paused@{}", (1_u64 << 62) - 1));
            words(&["HB", &at, &n, "replica", "member", "0:0", "", "0", "0", "good", "", &order])
        });
    },
    threads: 4,
    cost: COST,
    counted: None,
};

#[test]
fn a_member_that_says_what_it_likes_costs_what_is_stated_and_ends_with_its_links() {
    let mut stage = Stage::new(By::Member);
    let known = |stage: &Stage| -> Vec<String> {
        let told = |node| {
            let history = until("the page is served", || stage.doors.json(node, "/history"));
            history["decisions"].as_array().unwrap().clone()
        };
        let of = |decision: serde_json::Value| format!("{} {}", decision["at_ms"], decision["what"]);
        (0..stage.doors.running).flat_map(|node| told(node).into_iter().map(of)).collect()
    };
    let before = known(&stage);
    assert!(before.len() > 4, "{before:?}");
    for attack in [&OFFERS, &RAISED, &UNKNOWN, &COMES_AND_GOES, &IMPLAUSIBLE, &PAUSED] {
        stage.withstands(attack);
    }
    for attack in [&OFFERS, &UNKNOWN] {
        stage.fails_over_under(attack);
    }
    // Somebody was elected since, and nobody has the order.
    for node in 0..stage.doors.running {
        let status = until("the page is served", || stage.doors.json(node, "/status"));
        assert_eq!(status["paused"], false, "n{node}");
    }
    let after = known(&stage);
    let lost: Vec<_> = before.iter().filter(|decision| !after.contains(decision)).collect();
    assert!(lost.is_empty(), "pushed out of the history: {lost:?}");
}
