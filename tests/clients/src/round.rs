//! One fault.

use crate::cli::Request;
use crate::probe::Probe;
use crate::programs::{Client, Programs};
use kevy_elect_harness::client::Client as Resp;
use kevy_elect_harness::client::Reply;
use kevy_elect_harness::clock::Clock;
use kevy_elect_harness::cluster::{Cluster, Member, Place, SENTINEL_NAME, Setup, System};
use kevy_elect_harness::failure::{Failure, Interrupt};
use kevy_elect_harness::fault::Fault;
use kevy_elect_harness::server::{Server, locate};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const NODES: usize = 3;
/// Writes that an application has to have made before the fault, and after it.
const WRITES: usize = 100;
/// Longest wait for each of these. A client that has not come back by then never does.
const PATIENCE: Duration = Duration::from_secs(60);
/// Real Sentinels take about ten seconds to find each other.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// A cluster has taken over by then, whatever the fault.
const TAKES_OVER: Duration = Duration::from_secs(2);
/// Longest wait for one answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// After the fault, for clients that lose their connection once more when the old primary ends.
const AFTER: Duration = Duration::from_millis(500);

/// What is played.
pub(crate) struct Plan<'a> {
    pub(crate) client: Client,
    pub(crate) fault: Fault,
    pub(crate) request: &'a Request,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    /// The longest time between two writes that the application saw acknowledged, from the fault on.
    pub(crate) gap: Duration,
    /// The same for one who asks all nodes all the time.
    pub(crate) cluster: Duration,
    pub(crate) errors: usize,
    pub(crate) first_error: Option<String>,
}

impl Round {
    pub(crate) fn line(&self) -> String {
        let Self { gap, cluster, errors, first_error } = self;
        let first = first_error.as_ref().map(|text| format!(", the first: {text}")).unwrap_or_default();
        format!("{} ms (the cluster: {} ms), {errors} errors{first}", gap.as_millis(), cluster.as_millis())
    }
}

/// The machine's monotonic clock, which all languages can read.
pub(crate) fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Plays one round on a cluster of its own.
pub(crate) fn play(plan: &Plan<'_>, programs: &Programs, interrupt: &Interrupt) -> Result<Round, Failure> {
    let mut cluster = Cluster::up(&setup(plan.request)?, Clock::start(), interrupt)?;
    let primary = ready(&mut cluster, interrupt)?;
    let mut order: Vec<usize> = (0..NODES).collect();
    // The node that is broken is the first or the last that the client asks.
    order.rotate_left((primary + usize::from(!plan.request.dead_first)) % NODES);
    let sentinels: Vec<_> = order.iter().map(|node| cluster.members[*node].sentinel()).collect();
    let application = programs.start(plan.client, plan.request.documented, SENTINEL_NAME, &sentinels)?;
    let probe = Probe::start(cluster.members.iter().map(Member::address));
    let wrote = |since: Duration| {
        let count = application.seen().acks.iter().filter(|at| **at > since).count();
        (count >= WRITES).then_some(())
    };
    let begun = now();
    if interrupt.wait_for(PATIENCE, || Ok(wrote(begun)))?.is_none() {
        let errors = application.seen().errors.clone();
        return Err(cluster.timeout(format!("{} did not write: {errors:?}", plan.client.name()), PATIENCE));
    }
    let struck = now();
    match plan.fault {
        Fault::Kill => {
            cluster.kill(primary)?;
            if plan.request.returns {
                cluster.launch(primary)?;
            }
        }
        Fault::Term => cluster.terminate(primary)?,
        Fault::Stop | Fault::Isolate => cluster.stop(primary)?,
    }
    let back = struck + TAKES_OVER;
    if interrupt.wait_for(PATIENCE, || Ok(wrote(back)))?.is_none() {
        let seen = application.seen().clone();
        let last = seen.errors.last().map(|(_, text)| text.clone());
        return Ok(Round {
            gap: PATIENCE,
            cluster: longest(struck, &probe.acks()),
            errors: seen.errors.len(),
            first_error: last,
        });
    }
    interrupt.rest(AFTER)?;
    let seen = application.seen().clone();
    let errors: Vec<_> = seen.errors.into_iter().filter(|(at, _)| *at > struck).collect();
    Ok(Round {
        gap: longest(struck, &seen.acks),
        cluster: longest(struck, &probe.acks()),
        errors: errors.len(),
        first_error: errors.into_iter().next().map(|(_, text)| text),
    })
}

/// The longest time between two of `acks`, where the second one came after `since`.
fn longest(since: Duration, acks: &[Duration]) -> Duration {
    let pairs = acks.windows(2).filter(|pair| pair[1] > since);
    pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

fn setup(request: &Request) -> Result<Setup, Failure> {
    let (server, system) = if request.redis {
        let sentinel = PathBuf::from("/usr/bin/redis-sentinel");
        (PathBuf::from("/usr/bin/redis-server"), System::Redis { sentinel })
    } else {
        let wanted = request.server.clone().map_or(Server::Beside, Server::At);
        (locate(&wanted)?, System::Plugin)
    };
    Ok(Setup {
        server,
        system,
        elections: true,
        sentinel: true,
        threads: 1,
        places: vec![Place::Loopback; NODES],
    })
}

/// Waits until all whom clients may ask name the same primary and know all others. Gives the primary.
fn ready(cluster: &mut Cluster, interrupt: &Interrupt) -> Result<usize, Failure> {
    let found = interrupt.wait_for(READY_PATIENCE, || {
        cluster.check_alive()?;
        let named: Option<Vec<usize>> =
            cluster.members.iter().map(|member| named(member.sentinel(), cluster)).collect();
        Ok(named.filter(|named| named.iter().all(|node| *node == named[0])).map(|named| named[0]))
    })?;
    found.ok_or_else(|| cluster.timeout("not all Sentinels named one primary".into(), READY_PATIENCE))
}

fn named(sentinel: SocketAddr, cluster: &Cluster) -> Option<usize> {
    let mut client = Resp::connect(sentinel).ok()?;
    let name = SENTINEL_NAME.as_bytes();
    for others in [&b"REPLICAS"[..], b"SENTINELS"] {
        let known = client.call_within(&[b"SENTINEL", others, name], ANSWER_PATIENCE).ok()?;
        if !matches!(&known, Reply::Array(known) if known.len() == NODES - 1) {
            return None;
        }
    }
    let Reply::Array(address) =
        client.call_within(&[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name], ANSWER_PATIENCE).ok()?
    else {
        return None;
    };
    let Reply::Bulk(port) = address.get(1)? else { return None };
    cluster.members.iter().position(|member| member.ports.client.to_string().as_bytes() == port)
}
