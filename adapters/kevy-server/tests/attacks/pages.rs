//! Strangers at the pages.

use super::sockets::{dial, hold};
use super::stage::{Addresses, Attack, By, Cost, Stage};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn connect(doors: &Addresses, node: usize) -> Option<TcpStream> {
    dial(doors.pages[node], Duration::from_secs(5))
}

/// 64 connections (`CONNECTIONS_MAX`) with a head of 4 KiB and an answer each.
const COST: Cost = Cost { memory_mb: 32, descriptors: 80, log_kb: 16 };

const HELD: Attack = Attack {
    name: "a thousand connections that ask slowly",
    run: |doors, thread, on| {
        hold(on, 330, b"GET /status HT", || connect(doors, thread % 3));
    },
    threads: 3,
    cost: COST,
    counted: Some(("kevy_elect_http_closed_total", "reason=\"too-many\"")),
};

const ENDLESS: Attack = Attack {
    name: "a body without an end",
    run: |doors, thread, on| {
        let part = [b'x'; 16 * 1024];
        while on.load(Ordering::Relaxed) {
            let Some(mut stream) = connect(doors, thread % 3) else { continue };
            let _ =
                stream.write_all(b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n");
            while on.load(Ordering::Relaxed) && stream.write_all(&part).is_ok() {}
        }
    },
    threads: 3,
    cost: COST,
    counted: None,
};

const UNREAD: Attack = Attack {
    name: "pages that are asked for and not read",
    run: |doors, thread, on| {
        hold(on, 100, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", || connect(doors, thread % 3));
    },
    threads: 3,
    cost: COST,
    counted: None,
};

const SCRAPED: Attack = Attack {
    name: "every page, as fast as it goes",
    run: |doors, thread, on| {
        while on.load(Ordering::Relaxed) {
            for path in ["/", "/metrics", "/history", "/status"] {
                let Some(mut stream) = connect(doors, thread % 3) else { continue };
                let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
                let _ = stream.read_to_end(&mut Vec::new());
            }
        }
    },
    threads: 6,
    cost: COST,
    counted: None,
};

#[test]
fn strangers_at_the_pages_change_nothing_and_cost_what_is_stated() {
    let mut stage = Stage::new(By::Stranger);
    for attack in [&HELD, &ENDLESS, &UNREAD, &SCRAPED] {
        stage.withstands(attack);
    }
    stage.fails_over_under(&SCRAPED);
}
