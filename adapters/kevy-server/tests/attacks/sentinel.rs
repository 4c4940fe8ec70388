//! Strangers at the port that speaks Sentinel's protocol.

use super::stage::{Attack, By, Cost, Doors, Stage};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn connect(doors: &Doors, node: usize) -> Option<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", doors.sentinels[node])).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.set_write_timeout(Some(Duration::from_millis(100))).ok()?;
    Some(stream)
}

/// 1024 connections (`CONNECTIONS_MAX`), each with 64 KiB of answers that wait (`ANSWER_BYTES_MAX`), or 256 KiB of messages.
const COST: Cost = Cost { memory_mb: 96, descriptors: 1040, log_kb: 16 };

const HELD: Attack = Attack {
    name: "connections that listen, and do not read",
    run: |doors, thread, on| {
        let mut held = std::collections::VecDeque::new();
        while on.load(Ordering::Relaxed) {
            let Some(mut stream) = connect(doors, thread % 3) else { continue };
            let _ = stream.write_all(b"PSUBSCRIBE *\r\n");
            held.push_back(stream);
            if held.len() > 1500 {
                held.pop_front();
            }
        }
    },
    threads: 3,
    cost: COST,
};

const UNREAD: Attack = Attack {
    name: "questions without end, and nobody who reads the answers",
    run: |doors, thread, on| {
        let asked = b"SENTINEL MASTERS\r\n".repeat(1000);
        let mut held = std::collections::VecDeque::new();
        while on.load(Ordering::Relaxed) {
            let Some(mut stream) = connect(doors, thread % 3) else { continue };
            let _ = stream.write_all(&asked);
            held.push_back(stream);
            if held.len() > 300 {
                held.pop_front();
            }
        }
    },
    threads: 3,
    cost: COST,
};

const ANNOUNCED: Attack = Attack {
    name: "words that are announced and do not come",
    run: |doors, thread, on| {
        let mut held = std::collections::VecDeque::new();
        while on.load(Ordering::Relaxed) {
            let Some(mut stream) = connect(doors, thread % 3) else { continue };
            let _ = stream.write_all(b"*1000000\r\n$536870912\r\nx");
            let _ = stream.write_all(&[b'x'; 60_000]);
            held.push_back(stream);
            if held.len() > 300 {
                held.pop_front();
            }
        }
    },
    threads: 3,
    cost: COST,
};

#[test]
fn strangers_at_the_sentinel_port_change_nothing_and_cost_what_is_stated() {
    let mut stage = Stage::new(By::Stranger);
    for attack in [&HELD, &UNREAD, &ANNOUNCED] {
        stage.withstands(attack);
    }
    stage.fails_over_under(&UNREAD);
}
