//! What a write costs with the plugin and without: `cargo race --writes`.
//!
//! Both servers run all the time and are loaded in turn, so whatever else the machine does hits both. Two
//! numbers are taken of each run: writes per second, which the machine's other work disturbs, and the server's
//! processor time per write, which it hardly does.

use crate::NODES;
use crate::binaries::Entry;
use crate::cli::{Options, Racer};
use kevy_elect_harness::clock::Clock;
use kevy_elect_harness::cluster::{Cluster, Place, Setup};
use kevy_elect_harness::cost;
use kevy_elect_harness::failure::{Failure, Interrupt};
use kevy_elect_harness::progress::Progress;
use kevy_elect_harness::round::Stage;
use kevy_elect_harness::writers::Writers;
use kevy_resp::encode_command_borrowed;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Connections of the load, and writes that each sends before it reads the answers.
const CONNECTIONS: usize = 8;
const PIPELINES: [usize; 2] = [1, 32];
/// Different keys per connection.
const KEYS: usize = 4096;
const VALUE: [u8; 64] = [b'x'; 64];
/// How long one server is loaded at a time, and how long it takes until that is measured.
const RUN: Duration = Duration::from_millis(700);
const WARM_UP: Duration = Duration::from_millis(100);
/// How long answers may take. An election or a refused write ends the comparison; it does not slow it down.
const PATIENCE: Duration = Duration::from_secs(10);

/// One setting, both servers.
pub(crate) struct Row {
    nodes: usize,
    pipeline: usize,
    /// Per pair of runs: stock, plugin.
    runs: Vec<[Run; 2]>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    writes_per_s: f64,
    cpu_ns_per_write: f64,
}

/// Runs everything.
pub(crate) fn compare(
    options: &Options,
    entries: &[Entry],
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for nodes in [1, NODES] {
        let clock = Clock::start();
        let mut clusters = Vec::new();
        for racer in [Racer::Stock, Racer::Plugin] {
            let entry = entries.iter().find(|entry| entry.racer == racer);
            let Some(entry) = entry else { continue };
            progress.say(&format!("starting {nodes} x {}", racer.spelled()));
            let setup = Setup {
                server: entry.server.clone(),
                system: entry.system.clone(),
                // kevy's own elector has no cluster of one.
                elections: racer == Racer::Plugin || nodes > 1,
                sentinel: false,
                watchdog: true,
                secure: false,
                threads: 1,
                places: vec![Place::Loopback; nodes],
            };
            let mut cluster = Cluster::up(&setup, clock, interrupt)?;
            let writers = Writers::start(&[], 1, clock)?;
            let (readers, load) = (None, None);
            let primary = Stage {
                cluster: &mut cluster,
                writers: &writers,
                readers,
                load,
                beside: None,
                interrupt,
                clock,
                progress,
            }
            .whole()?;
            clusters.push((cluster, primary));
        }
        for pipeline in PIPELINES {
            let mut row = Row { nodes, pipeline, runs: Vec::new() };
            for number in 1..=options.rounds {
                interrupt.check()?;
                progress.round(number, options.rounds);
                progress.say(&format!("{nodes} nodes, {pipeline} writes at a time"));
                // Whoever comes second finds another machine: so each is second as often as the other.
                let mut pair = [None; 2];
                for turn in 0..2 {
                    let which = (number as usize + turn) % 2;
                    let Some((cluster, primary)) = clusters.get(which) else { continue };
                    let (server, pid) = (cluster.members[*primary].address(), cluster.pid(*primary));
                    pair[which] = Some(load(server, pid.unwrap_or_default(), pipeline)?);
                }
                if let [Some(stock), Some(plugin)] = pair {
                    row.runs.push([stock, plugin]);
                }
            }
            progress.round(0, 0);
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Writes as fast as the server answers.
fn load(server: SocketAddr, pid: u32, pipeline: usize) -> Result<Run, Failure> {
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        connections.push(Connection::open(server, number, pipeline).map_err(broken(server))?);
    }
    let mut turn = || {
        connections
            .iter_mut()
            .try_for_each(Connection::send)
            .and_then(|()| connections.iter_mut().try_for_each(Connection::receive))
    };
    let warm = Instant::now() + WARM_UP;
    while Instant::now() < warm {
        turn().map_err(broken(server))?;
    }
    let (before, begun, mut turns) = (cost::read(&[pid])?, Instant::now(), 0_u32);
    while begun.elapsed() < RUN {
        turn().map_err(broken(server))?;
        turns += 1;
    }
    let time = begun.elapsed();
    let cost = cost::cost(before, cost::read(&[pid])?, time);
    let writes = f64::from(turns) * (CONNECTIONS * pipeline) as f64;
    Ok(Run {
        writes_per_s: writes / time.as_secs_f64(),
        cpu_ns_per_write: cost.cpu_ms * 1e6 * time.as_secs_f64() / writes,
    })
}

fn broken(server: SocketAddr) -> impl FnOnce(std::io::Error) -> Failure {
    Failure::os(format!("write to {server} for the comparison"))
}

struct Connection {
    stream: TcpStream,
    /// Batches of writes, sent in turn.
    batches: Vec<Vec<u8>>,
    next: usize,
    answers: Vec<u8>,
}

impl Connection {
    fn open(server: SocketAddr, number: usize, pipeline: usize) -> std::io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let set = |key: usize| {
            let key = format!("race:{number}:{key:06}");
            let mut text = Vec::new();
            encode_command_borrowed(&mut text, &[b"SET", key.as_bytes(), &VALUE]);
            text
        };
        let batches =
            (0..KEYS / pipeline).map(|batch| (0..pipeline).flat_map(|n| set(batch * pipeline + n)).collect());
        Ok(Self {
            stream,
            batches: batches.collect(),
            next: 0,
            answers: vec![0; b"+OK\r\n".len() * pipeline],
        })
    }

    fn send(&mut self) -> std::io::Result<()> {
        self.next = (self.next + 1) % self.batches.len();
        self.stream.write_all(&self.batches[self.next])
    }

    fn receive(&mut self) -> std::io::Result<()> {
        self.stream.read_exact(&mut self.answers)?;
        match self.answers.chunks(5).find(|answer| answer != b"+OK\r\n") {
            None => Ok(()),
            Some(_) => Err(std::io::Error::other(format!("refused: {}", self.answers.escape_ascii()))),
        }
    }
}

/// For the documentation, and for the terminal.
pub(crate) fn markdown(rows: &[Row], options: &Options) -> String {
    let mut text = format!(
        "Written by `cargo race --writes --rounds {}`: `SET` of {} bytes over {CONNECTIONS} connections, one shard, the log \
         on disk on, {} alternating runs of {} ms each. Ratios are those of the pairs: median (quartiles).\n\n\
         | nodes | writes at a time | stock, writes/s | plugin, writes/s | plugin / stock | stock, processor time per write | plugin | stock / plugin |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|\n",
        options.rounds,
        VALUE.len(),
        options.rounds,
        RUN.as_millis(),
    );
    for row in rows {
        let of = |which: usize, value: fn(&Run) -> f64| {
            quartiles(row.runs.iter().map(|pair| value(&pair[which])).collect())[1]
        };
        let writes = |run: &Run| run.writes_per_s;
        let cpu = |run: &Run| run.cpu_ns_per_write;
        let speed = quartiles(row.runs.iter().map(|[s, p]| p.writes_per_s / s.writes_per_s).collect());
        let cost = quartiles(row.runs.iter().map(|[s, p]| s.cpu_ns_per_write / p.cpu_ns_per_write).collect());
        let ratio = |[low, median, high]: [f64; 3]| format!("{median:.3} ({low:.3} to {high:.3})");
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {:.0} | {} | {:.2} µs | {:.2} µs | {} |",
            row.nodes,
            row.pipeline,
            of(0, writes),
            of(1, writes),
            ratio(speed),
            of(0, cpu) / 1e3,
            of(1, cpu) / 1e3,
            ratio(cost),
        );
    }
    text
}

/// First quartile, median, third quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|n| values.get(values.len().saturating_sub(1) * n / 4).copied().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn quartiles_are_of_the_sorted_values() {
        assert_eq!(quartiles(vec![5.0, 1.0, 4.0, 2.0, 3.0]), [2.0, 3.0, 4.0]);
        assert_eq!(quartiles(vec![7.0]), [7.0; 3]);
    }

    #[test]
    fn a_refused_write_is_told_and_not_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let refuse = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut some = [0; 1024];
            let _ = stream.read(&mut some).unwrap();
            stream.write_all(b"-READONLY no\r\n").unwrap();
        });
        let mut connection = Connection::open(server, 0, 1).unwrap();
        connection.send().unwrap();
        assert!(connection.receive().unwrap_err().to_string().contains("-READ"));
        refuse.join().unwrap();
    }
}
