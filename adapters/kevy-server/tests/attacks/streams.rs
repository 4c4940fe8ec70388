//! Strangers at the ports of the streams, whose greetings kevy answers on the thread of the shard: at most 64 new connections in one turn, and its
//! clients and streams in between.

use super::sockets::{dial, half_greetings, held};
use super::stage::{Addresses, Attack, By, Cost, Stage};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn connect(doors: &Addresses, node: usize) -> Option<TcpStream> {
    dial(doors.secured.stream(node).port(), Duration::from_secs(5))
}

/// What waits in the kernel for kevy (1024) may come in at once; of those that say nothing 32 stay (`SILENT_MAX`).
const COST: Cost = Cost { memory_mb: 32, descriptors: 1100, log_kb: 64 };

/// What looks like the first message of a greeting, so that both multiplications are made before it is found to be none.
const GREETED: Attack = Attack {
    name: "greetings with keys of nobody, as fast as it goes",
    run: |doors, thread, on| {
        let mut greeting = [7; 98];
        greeting[..2].copy_from_slice(&[0, 96]);
        while on.load(Ordering::Relaxed) {
            let Some(mut stream) = connect(doors, thread % 3) else { continue };
            let _ = stream.write_all(&greeting);
            assert!(!matches!(stream.read(&mut [0; 64]), Ok(1..)), "a stranger was answered");
        }
    },
    threads: 6,
    cost: COST,
    counted: None,
};

const SILENT: (&str, &str) = ("kevy_server_streams_refused_total", "reason=\"silent\"");

const HELD: Attack =
    held(|doors, thread, on| half_greetings(on, || connect(doors, thread % 3)), COST, SILENT);

#[test]
fn strangers_at_the_ports_of_the_streams_change_nothing_and_cost_what_is_stated() {
    let mut stage = Stage::new(By::Stranger);
    for attack in [&GREETED, &HELD] {
        stage.withstands(attack);
    }
    stage.fails_over_under(&GREETED);
}
