//! Strangers at the port that speaks Sentinel's protocol.

use super::sockets::{dial, hold};
use super::stage::{Addresses, Attack, By, Cost, Stage};
use std::net::TcpStream;
use std::time::Duration;

fn connect(doors: &Addresses, node: usize) -> Option<TcpStream> {
    dial(doors.sentinels[node], Duration::from_millis(100))
}

/// 1024 connections (`CONNECTIONS_MAX`), each with 64 KiB of answers that wait (`ANSWER_BYTES_MAX`), or 256 KiB of messages.
const COST: Cost = Cost { memory_mb: 96, descriptors: 1040, log_kb: 16 };

const HELD: Attack = Attack {
    name: "connections that listen, and do not read",
    run: |doors, thread, on| {
        hold(on, 1500, b"PSUBSCRIBE *\r\n", || connect(doors, thread % 3));
    },
    threads: 3,
    cost: COST,
    counted: None,
};

const UNREAD: Attack = Attack {
    name: "questions without end, and nobody who reads the answers",
    run: |doors, thread, on| {
        let asked = b"SENTINEL MASTERS\r\n".repeat(1000);
        hold(on, 300, &asked, || connect(doors, thread % 3));
    },
    threads: 3,
    cost: COST,
    counted: None,
};

const ANNOUNCED: Attack = Attack {
    name: "words that are announced and do not come",
    run: |doors, thread, on| {
        let announced = [&b"*1000000\r\n$536870912\r\nx"[..], &[b'x'; 60_000]].concat();
        hold(on, 300, &announced, || connect(doors, thread % 3));
    },
    threads: 3,
    cost: COST,
    counted: None,
};

#[test]
fn strangers_at_the_sentinel_port_change_nothing_and_cost_what_is_stated() {
    let mut stage = Stage::new(By::Stranger);
    for attack in [&HELD, &UNREAD, &ANNOUNCED] {
        stage.withstands(attack);
    }
    stage.fails_over_under(&UNREAD);
}
