//! What an idle follower's messages cost at least: `cargo idle`.
//!
//! Three processes have the sockets of three nodes and send the frames of an idle cluster: the primary a heartbeat to each
//! follower every interval, each follower its echo and its own heartbeat back, and one to the other follower. Nothing is done with a
//! frame. Once on `async-io`, which the transport is built on, and once with threads that block in `read`, which make fewer system calls
//! than any reactor can.

use async_io::{Async, Timer};
use clap::{Parser, ValueEnum};
use futures::future::{Either, join_all, select, try_join};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use kevy_elect_harness::cli::{count, seconds};
use kevy_elect_harness::cost;
use kevy_elect_ops::inline::Inline;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// As long as a heartbeat on the wire, with the echo in front of it and without.
const FRAME_BYTES: usize = 128;
const ECHO_BYTES: usize = 192;
const INTERVAL: Duration = Duration::from_millis(100);
/// When a follower speaks that has not heard the primary.
const LATE: Duration = Duration::from_millis(125);
const NODES: usize = 3;
const PRIMARY: usize = 0;
/// The follower that is looked at.
const WATCHED: usize = 2;
/// Bounds of the options.
const SECONDS_MAX: u64 = 3600;
const TIMES_MAX: u64 = 1000;

#[derive(Parser)]
#[command(about = "What an idle follower's messages cost at least")]
struct Options {
    /// How long each is looked at
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds(1, SECONDS_MAX))]
    seconds: Duration,
    /// How often, in turns
    #[arg(long, value_name = "N", default_value = "3", value_parser = count(1, TIMES_MAX))]
    times: usize,
    /// What this process is: it was started by another one
    #[arg(long, hide = true)]
    node: Option<usize>,
    #[arg(long, hide = true, default_value = "reactor")]
    with: With,
}

#[derive(Clone, Copy, ValueEnum)]
enum With {
    Reactor,
    Threads,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    match options.node {
        Some(node) => act(node, options.with),
        None => (0..options.times).try_for_each(|_| {
            [With::Reactor, With::Threads].into_iter().try_for_each(|with| measure(with, options.seconds))
        }),
    }
}

/// Starts three processes and says what one of them takes.
fn measure(with: With, time: Duration) -> io::Result<()> {
    let mut nodes = (0..NODES).map(|node| Node::start(node, with)).collect::<io::Result<Vec<_>>>()?;
    let ports: Vec<String> = nodes.iter().map(|node| node.port.clone()).collect();
    nodes.iter_mut().try_for_each(|node| writeln!(node.stdin, "{}", ports.join(" ")))?;
    std::thread::sleep(Duration::from_secs(1));
    let watched = [nodes[WATCHED].child.id()];
    let (before, begun) = (cost::read(&watched).map_err(io::Error::other)?, Instant::now());
    std::thread::sleep(time);
    let cost = cost::cost(before, cost::read(&watched).map_err(io::Error::other)?, begun.elapsed());
    for (number, node) in nodes.iter_mut().enumerate() {
        // Who has ended costs nothing, and whoever spoke to it less.
        if let Some(status) = node.child.try_wait()? {
            return Err(io::Error::other(format!("node {number} ended by itself: {status}")));
        }
    }
    let name = match with {
        With::Reactor => "async-io",
        With::Threads => "threads that block",
    };
    println!("{name:<20} {:.2} ms of processor time a second, {:.0} switches", cost.cpu_ms, cost.switches);
    Ok(())
}

struct Node {
    child: Child,
    stdin: ChildStdin,
    port: String,
}

impl Node {
    fn start(node: usize, with: With) -> io::Result<Self> {
        let with = with.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--node", &node.to_string(), "--with", &with])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let piped = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = piped.ok_or_else(|| io::Error::other("no pipes"))?;
        let mut port = String::new();
        BufReader::new(stdout).read_line(&mut port)?;
        Ok(Self { child, stdin, port: port.trim().to_owned() })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One node: links that it dialled, to write, and links that it accepted, to read, by the number of the other one.
struct Links {
    write: Vec<Option<TcpStream>>,
    read: Vec<(usize, TcpStream)>,
}

fn act(node: usize, with: With) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let ports: Vec<u16> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let mut links = Links { write: Vec::new(), read: Vec::new() };
    for (other, port) in ports.iter().enumerate() {
        let link = (other != node).then(|| TcpStream::connect((Ipv4Addr::LOCALHOST, *port))).transpose()?;
        if let Some(mut link) = link.as_ref() {
            link.set_nodelay(true)?;
            link.write_all(&[u8::try_from(node).unwrap_or_default()])?;
        }
        links.write.push(link);
    }
    for _ in 1..NODES {
        let (mut link, _) = listener.accept()?;
        let mut from = [0];
        link.read_exact(&mut from)?;
        links.read.push((usize::from(from[0]), link));
    }
    match with {
        With::Reactor => {
            // On async-io's own thread, as the servers' elections.
            Inline::get()?.spawn(async move { drop(on_reactor(node, links).await) });
            loop {
                std::thread::park();
            }
        }
        With::Threads => on_threads(node, links),
    }
}

/// What a node sends at once, and to whom.
type Frames = [(usize, &'static [u8]); NODES - 1];

/// Of a follower that hears the primary.
fn answers(node: usize) -> Frames {
    const BYTES: [u8; ECHO_BYTES] = [0; ECHO_BYTES];
    [(PRIMARY, &BYTES), (NODES - node, &BYTES[..FRAME_BYTES])]
}

/// Of the primary.
fn round() -> Frames {
    [1, 2].map(|follower| (follower, &[0; FRAME_BYTES][..]))
}

async fn on_reactor(node: usize, links: Links) -> io::Result<()> {
    let write = links.write.into_iter().map(|link| link.map(Async::new).transpose());
    let write = &write.collect::<io::Result<Vec<_>>>()?;
    let reads = links.read.into_iter().map(|(from, link)| async move {
        let (mut link, mut frame) = (Async::new(link)?, [0; ECHO_BYTES]);
        let hears = node != PRIMARY && from == PRIMARY;
        // As a follower's, which goes off where the primary is late.
        let mut late = if hears { Timer::after(LATE) } else { Timer::never() };
        loop {
            match select(link.read(&mut frame), &mut late).await {
                Either::Left((Ok(0), _)) => return Ok(()),
                Either::Left((read, _)) => drop(read?),
                Either::Right(_) => {}
            }
            if hears {
                send(write, answers(node)).await?;
                late.set_after(LATE);
            }
        }
    });
    let beat = async {
        if node == PRIMARY {
            loop {
                Timer::after(INTERVAL).await;
                send(write, round()).await?;
            }
        }
        Ok(())
    };
    let read = async { join_all(reads).await.into_iter().collect::<io::Result<()>>() };
    try_join(read, beat).await.map(drop)
}

async fn send(links: &[Option<Async<TcpStream>>], frames: Frames) -> io::Result<()> {
    for (to, frame) in frames {
        if let Some(mut link) = links[to].as_ref() {
            link.write_all(frame).await?;
        }
    }
    Ok(())
}

fn on_threads(node: usize, links: Links) -> io::Result<()> {
    let write = &links.write;
    let send = |frames: Frames| {
        for (to, frame) in frames {
            if let Some(mut link) = write[to].as_ref() {
                link.write_all(frame)?;
            }
        }
        Ok::<_, io::Error>(())
    };
    std::thread::scope(|scope| {
        for (from, mut link) in links.read {
            scope.spawn(move || {
                let mut frame = [0; ECHO_BYTES];
                while link.read(&mut frame)? > 0 {
                    if node != PRIMARY && from == PRIMARY {
                        send(answers(node))?;
                    }
                }
                Ok::<_, io::Error>(())
            });
        }
        if node == PRIMARY {
            loop {
                std::thread::sleep(INTERVAL);
                send(round())?;
            }
        }
        Ok(())
    })
}
