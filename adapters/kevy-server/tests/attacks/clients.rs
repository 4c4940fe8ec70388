//! Clients that mean ill. What they may do to data they may do; this is about everybody else's service.

use super::stage::{Attack, By, Cost, Doors, Stage};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn connect(doors: &Doors, node: usize) -> Option<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", doors.client(node))).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.set_write_timeout(Some(Duration::from_millis(100))).ok()?;
    Some(stream)
}

const HELD: Attack = Attack {
    name: "connections that say nothing",
    run: |doors, thread, on| {
        let mut held = std::collections::VecDeque::new();
        while on.load(Ordering::Relaxed) {
            held.extend(connect(doors, thread % 3));
            if held.len() > 700 {
                held.pop_front();
            }
        }
    },
    threads: 3,
    cost: Cost { memory_mb: 64, descriptors: 800, log_kb: 16 },
};

const ANNOUNCED: Attack = Attack {
    name: "words that are announced and do not come",
    run: |doors, thread, on| {
        let mut held = std::collections::VecDeque::new();
        while on.load(Ordering::Relaxed) {
            let Some(mut stream) = connect(doors, thread % 3) else { continue };
            let _ = stream.write_all(b"*1000000\r\n$536870912\r\nx");
            held.push_back(stream);
            if held.len() > 100 {
                held.pop_front();
            }
        }
    },
    threads: 3,
    // Connections that kevy has not come to yet.
    cost: Cost { memory_mb: 64, descriptors: 2048, log_kb: 64 },
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
    // As above.
    cost: Cost { memory_mb: 64, descriptors: 2048, log_kb: 128 },
};

const UNREAD: Attack = Attack {
    name: "a pipeline without end, and nobody who reads the answers",
    run: |doors, thread, on| {
        let asked =
            [b"SET {x}big ".to_vec(), vec![b'x'; 10_000], b"\r\n".to_vec(), b"GET {x}big\r\n".repeat(200)];
        let asked = asked.concat();
        while on.load(Ordering::Relaxed) {
            let Some(mut stream) = connect(doors, thread % 3) else { continue };
            while on.load(Ordering::Relaxed) && stream.write_all(&asked).is_ok() {}
        }
    },
    threads: 3,
    // kevy reads on until 1 GiB waits for one client, and answers until 512 MiB do; neither is a setting.
    cost: Cost { memory_mb: 1600, descriptors: 64, log_kb: 64 },
};

#[test]
fn clients_that_mean_ill_move_no_office_and_cost_what_is_stated() {
    let mut stage = Stage::new(By::Stranger);
    for attack in [&HELD, &ANNOUNCED, &GARBAGE, &UNREAD] {
        stage.withstands(attack);
    }
    // Not for UNREAD: while it goes on every shard is in one command of it for more than a second at a time (docs/limits.md).
    stage.fails_over_under(&GARBAGE);
}
