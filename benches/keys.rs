//! What keys cost a heartbeat: `cargo keys [--markdown FILE]`. Two real ends over TCP on loopback, one pair in plain and one that
//! proves who speaks, in turns of a fraction of a second, so that whatever else the machine does meets both alike. A heartbeat is sent, answered with
//! its echo, and both ends rest until the next, as they do in a cluster: sockets, timers and wakes are in it. What the elector makes of it is not:
//! that is the same with keys and without.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement that cannot be set up must not go on")]

#[path = "../examples/support/marks.rs"]
mod marks;

use kevy_elect_noise::{Keys, NoiseSessions, PrivateKey};
use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::message::{Echo, Heartbeat, Hello, Message, PROTOCOL, Role, Standing};
use kevy_elect_plugin::position::Progress;
use kevy_elect_plugin::transport::{TcpTransport, Transport, TransportEvent};
use rustix::time::{ClockId, clock_gettime};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Heartbeats in one turn, and turns of each kind.
const HEARTBEATS: u32 = 200;
const TURNS: usize = 60;
/// Between two heartbeats. Longer than both take, so that everything sleeps before the next one.
const REST: Duration = Duration::from_millis(1);

const PROGRESS: Progress = Progress { stream_epoch: Epoch(42), offset: 1_234_567 };

struct End {
    id: NodeId,
    transport: Arc<TcpTransport>,
    _run: smol::Task<()>,
}

fn pair(keys: bool) -> [End; 2] {
    let ids = ["node-a", "node-b"].map(|name| NodeId::new(name).unwrap());
    let doors = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = [0, 1].map(|end: usize| doors[end].local_addr().unwrap().to_string());
    let private = |end: usize| PrivateKey::from_bytes([end as u8 + 1; 32]);
    let mut ends = doors.into_iter().enumerate().map(|(own, door)| {
        let mut builder = TcpTransport::with_listener(door).peer(ids[1 - own], &*addresses[1 - own]);
        if keys {
            let listed = [0, 1].map(|end| (ids[end], private(end).public()));
            let known = Keys::new(ids[own], private(own), listed).unwrap();
            builder = builder.sessions(Arc::new(NoiseSessions::new(&known)));
        }
        let transport = Arc::new(builder.build());
        let (id, runs) = (ids[own], transport.clone());
        let hello = Hello {
            protocol: PROTOCOL,
            cluster: "measured".into(),
            node: id,
            incarnation: Incarnation(1),
            terms: String::new(),
            pass: None,
        };
        End { id, transport, _run: smol::spawn(async move { runs.run(hello).await.unwrap() }) }
    });
    [ends.next().unwrap(), ends.next().unwrap()]
}

/// The next message that comes in.
async fn message(end: &End) -> Message {
    loop {
        if let TransportEvent::Message { message, .. } = end.transport.recv().await {
            return message;
        }
    }
}

/// One heartbeat and its echo.
async fn beat([first, second]: &[End; 2], round: u64) {
    let heartbeat = Message::Heartbeat(Heartbeat {
        epoch: Epoch(42),
        round: Round(round),
        role: Role::Primary,
        standing: Standing::Member,
        progress: PROGRESS,
        primary: Some(first.id),
        promise: Duration::ZERO,
        lease: Duration::from_micros(970_297),
        health: Health::Good,
        identity: None,
        pause: None,
    });
    // There is no link yet at the very beginning.
    while first.transport.send(second.id, &heartbeat).is_err() {
        smol::Timer::after(REST).await;
    }
    message(second).await;
    let echo = Message::Echo(Echo {
        epoch: Epoch(42),
        round: Round(round),
        primary: Some(first.id),
        standing: Standing::Member,
        progress: PROGRESS,
    });
    while second.transport.send(first.id, &echo).is_err() {
        smol::Timer::after(REST).await;
    }
    message(first).await;
}

/// Processor time of this process, in microseconds.
fn processor() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// Microseconds of processor for one heartbeat and its echo, at both ends together.
async fn turn(ends: &[End; 2]) -> f64 {
    let begun = processor();
    for round in 0..HEARTBEATS {
        beat(ends, u64::from(round) + 1).await;
        smol::Timer::after(REST).await;
    }
    (processor() - begun) / f64::from(HEARTBEATS)
}

/// The middle one.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let (plain, keys) = (pair(false), pair(true));
    let mut cost = [Vec::new(), Vec::new()];
    smol::block_on(async {
        // What is done once is done.
        for ends in [&plain, &keys] {
            turn(ends).await;
        }
        for _ in 0..TURNS {
            for (ends, cost) in [&plain, &keys].into_iter().zip(&mut cost) {
                cost.push(turn(ends).await);
            }
        }
    });
    // What the two turns of a pair make of each other: next to each other in time, so nothing else is between them.
    let ratios: Vec<f64> = cost[0].iter().zip(&cost[1]).map(|(plain, keys)| keys / plain).collect();
    let section = format!(
        "Written by `cargo keys --markdown FILE`: {TURNS} turns of {HEARTBEATS} heartbeats of each kind, in turns; medians.\n\n\
         | a heartbeat and its echo, both ends | without keys | with keys | median of the pairs |\n|---|--:|--:|--:|\n\
         | processor, µs | {:.1} | {:.1} | {:.2}x |\n",
        median(&cost[0]),
        median(&cost[1]),
        median(&ratios)
    );
    println!("{section}");
    let args: Vec<String> = std::env::args().collect();
    if let Some(file) = args.iter().position(|arg| arg == "--markdown").and_then(|at| args.get(at + 1)) {
        marks::publish(Path::new(file), "heartbeat", &section).unwrap();
    }
}
