//! Strangers at the election's port, which members alone may use.

use super::sockets::{dial, half_greetings, held};
use super::speaker::Speaker;
use super::stage::{Addresses, Attack, By, Cost, Stage};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn connect(doors: &Addresses, node: usize) -> Option<TcpStream> {
    dial(doors.election(node), Duration::from_secs(5))
}

/// 32 connections wait for their greeting (`HELLO_PENDING_MAX`), each with a socket and two buffers.
const COST: Cost = Cost { memory_mb: 16, descriptors: 48, log_kb: 64 };

const GARBAGE: Attack = Attack {
    name: "garbage, as fast as it goes",
    run: |doors, thread, on| {
        let garbage: Vec<u8> =
            (0..64 * 1024_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        while on.load(Ordering::Relaxed) {
            connect(doors, thread % 3).and_then(|mut stream| stream.write_all(&garbage).ok());
        }
    },
    threads: 3,
    cost: COST,
    counted: None,
};

const TOO_MANY: (&str, &str) = ("kevy_elect_messages_dropped_total", "reason=\"too-many\"");

const HELD: Attack =
    held(|doors, thread, on| half_greetings(on, || connect(doors, thread % 3)), COST, TOO_MANY);

const PLAIN: Attack = Attack {
    name: "votes in a member's name, in plain",
    run: |doors, thread, on| {
        let said = b"*5\r\n$5\r\nHELLO\r\n$1\r\n1\r\n$4\r\nkevy\r\n$2\r\nn1\r\n$13\r\n1900000000000\r\n\
            *2\r\n$8\r\nANNOUNCE\r\n$3\r\n900\r\n*3\r\n$6\r\nRESIGN\r\n$3\r\n900\r\n$0\r\n\r\n";
        while on.load(Ordering::Relaxed) {
            let Some(mut stream) = connect(doors, thread % 3) else { continue };
            let _ = stream.write_all(said);
            let _ = stream.read(&mut [0; 512]);
        }
    },
    threads: 3,
    cost: COST,
    counted: None,
};

const KEYED: Attack = Attack {
    name: "greetings with a key that nobody has",
    run: |doors, thread, on| {
        while on.load(Ordering::Relaxed) {
            assert!(Speaker::connect(doors, thread % 3, [9; 32]).is_none(), "a stranger was answered");
        }
    },
    threads: 3,
    cost: COST,
    counted: Some(("kevy_elect_messages_dropped_total", "reason=\"key\"")),
};

#[test]
fn strangers_at_the_port_of_the_election_change_nothing_and_cost_what_is_stated() {
    let mut stage = Stage::new(By::Stranger);
    for attack in [&GARBAGE, &HELD, &PLAIN, &KEYED] {
        stage.withstands(attack);
    }
    for attack in [&HELD, &KEYED] {
        stage.fails_over_under(attack);
    }
}
