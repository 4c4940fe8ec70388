//! Clients that mean ill. What they may do to data they may do; this is about everybody else's service. A pipeline without
//! end that nobody reads is not here: neither its memory nor its time has a bound that holds (docs/limits.md).

use super::sockets::{dial, hold};
use super::stage::{Addresses, Attack, By, Cost, Stage};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// `[server] max_clients`. Connections whose other end has gone count too, until kevy comes to them: on a busy machine those are more than the ones
/// that an attacker holds.
const CLIENTS_MAX: usize = 10_000;

fn connect(doors: &Addresses, node: usize) -> Option<TcpStream> {
    dial(doors.client(node), Duration::from_millis(100))
}

const HELD: Attack = Attack {
    name: "connections that say nothing",
    run: |doors, thread, on| {
        hold(on, 700, b"", || connect(doors, thread % 3));
    },
    threads: 3,
    cost: Cost { memory_mb: 64, descriptors: CLIENTS_MAX, log_kb: 16 },
    counted: None,
};

const ANNOUNCED: Attack = Attack {
    name: "words that are announced and do not come",
    run: |doors, thread, on| {
        hold(on, 100, b"*1000000\r\n$536870912\r\nx", || connect(doors, thread % 3));
    },
    threads: 3,
    cost: Cost { memory_mb: 64, descriptors: CLIENTS_MAX, log_kb: 64 },
    counted: None,
};

const GARBAGE: Attack = Attack {
    name: "garbage, as fast as it goes",
    run: |doors, thread, on| {
        let garbage: Vec<u8> =
            (0..16 * 1024_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        while on.load(Ordering::Relaxed) {
            connect(doors, thread % 3).and_then(|mut stream| stream.write_all(&garbage).ok());
        }
    },
    threads: 3,
    cost: Cost { memory_mb: 64, descriptors: CLIENTS_MAX, log_kb: 128 },
    counted: None,
};

#[test]
fn clients_that_mean_ill_move_no_office_and_cost_what_is_stated() {
    let mut stage = Stage::new(By::Stranger);
    for attack in [&HELD, &ANNOUNCED, &GARBAGE] {
        stage.withstands(attack);
    }
    stage.fails_over_under(&GARBAGE);
}
