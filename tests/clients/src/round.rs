//! One fault.

use crate::cli::Options;
use crate::fault::Fault;
use crate::plan::Plan;
use crate::probe::{Probe, now};
use crate::programs::{Application, Programs, Way};
use crate::proxy::Proxy;
use kevy_elect_chaos::net::{Cut, Net, around};
use kevy_elect_harness::client::Client as Resp;
use kevy_elect_harness::client::Reply;
use kevy_elect_harness::clock::Clock;
use kevy_elect_harness::cluster::{Cluster, Member, Place, SENTINEL_NAME, Setup, System};
use kevy_elect_harness::failure::{Failure, Interrupt};
use kevy_elect_harness::server::{Server, locate};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const NODES: usize = 3;
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

/// What rounds are played with.
pub(crate) struct Stage<'a> {
    pub(crate) options: &'a Options,
    pub(crate) programs: &'a Programs,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) net: Option<Net>,
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

/// One fault, with a cluster of its own: kevy, or Redis beside it.
pub(crate) fn play(plan: &Plan, redis: bool, stage: &mut Stage<'_>) -> Result<Round, Failure> {
    let Stage { options, programs, interrupt, net } = stage;
    let net = net.as_mut().filter(|_| plan.fault == Fault::Isolate);
    let places = net.as_ref().map_or_else(|| vec![Place::Loopback; NODES], |net| net.places());
    let mut cluster = Cluster::up(&setup(options, plan, redis, places)?, Clock::start(), interrupt)?;
    let primary = ready(&mut cluster, interrupt)?;
    let mut order: Vec<usize> = (0..NODES).collect();
    // The node that is broken is the first or the last that the client asks.
    order.rotate_left((primary + usize::from(!plan.dead_first)) % NODES);
    let (addresses, _proxy) = match plan.way {
        Way::Sentinel => (order.iter().map(|node| cluster.members[*node].sentinel()).collect(), None),
        Way::Nodes => (order.iter().map(|node| cluster.members[*node].address()).collect::<Vec<_>>(), None),
        Way::Proxy => {
            let proxy = Proxy::start(&cluster)?;
            (vec![proxy.at], Some(proxy))
        }
    };
    let application =
        programs.start((plan.client, plan.way, plan.work), !options.defaults, SENTINEL_NAME, &addresses)?;
    let probe = Probe::start(cluster.members.iter().map(Member::address), plan.work);
    let wrote = |since: Duration| {
        let count = application.seen().acks.iter().filter(|at| **at > since).count();
        (count >= WRITES).then_some(())
    };
    let begun = now();
    if interrupt.wait_for(PATIENCE, || Ok(wrote(begun)))?.is_none() {
        let errors = application.seen().errors.clone();
        return Err(cluster.timeout(format!("{} did nothing: {errors:?}", plan.client.name()), PATIENCE));
    }
    let struck = now();
    match plan.fault {
        Fault::Kill => cluster.kill(primary)?,
        Fault::KillReturn => {
            cluster.kill(primary)?;
            cluster.launch(primary)?;
        }
        Fault::Term => cluster.terminate(primary)?,
        Fault::Transfer => transfer(cluster.members[primary].sentinel())?,
        Fault::Stop | Fault::StopBare => cluster.stop(primary)?,
        Fault::Isolate => {}
    }
    let mut net = net;
    if let Some(net) = &mut net {
        net.cut(around(primary, NODES), Cut::Drop)?;
    }
    let outcome = follow(&application, &probe, struck, interrupt);
    if let Some(net) = &mut net {
        net.heal()?;
    }
    outcome
}

/// Waits until the application has come back, and a little longer.
fn follow(
    application: &Application,
    probe: &Probe,
    struck: Duration,
    interrupt: &Interrupt,
) -> Result<Round, Failure> {
    let wrote = |since: Duration| {
        let count = application.seen().acks.iter().filter(|at| **at > since).count();
        (count >= WRITES).then_some(())
    };
    let back = struck + TAKES_OVER;
    let returned = interrupt.wait_for(PATIENCE, || Ok(wrote(back)))?.is_some();
    if returned {
        interrupt.rest(AFTER)?;
    }
    let mut cluster = probe.acks();
    // A cluster that is silent to the end is silent until now.
    cluster.push(now());
    let seen = application.seen().clone();
    let errors: Vec<_> = seen.errors.into_iter().filter(|(at, _)| *at > struck).collect();
    Ok(Round {
        // A client that has not come back by then never does.
        gap: if returned { longest(struck, &seen.acks) } else { PATIENCE },
        cluster: longest(struck, &cluster),
        errors: errors.len(),
        first_error: errors.into_iter().next().map(|(_, text)| text),
    })
}

/// Asks for a planned transfer, as an operator would.
fn transfer(sentinel: SocketAddr) -> Result<(), Failure> {
    let asked = Resp::connect(sentinel).and_then(|mut client| {
        client.call_within(&[b"SENTINEL", b"FAILOVER", SENTINEL_NAME.as_bytes()], ANSWER_PATIENCE)
    });
    match asked {
        Ok(reply) if reply.is_ok() => Ok(()),
        other => Err(Failure::os("ask for a transfer")(std::io::Error::other(format!("{other:?}")))),
    }
}

/// The longest time between two of `acks`, where the second one came after `since`.
fn longest(since: Duration, acks: &[Duration]) -> Duration {
    let pairs = acks.windows(2).filter(|pair| pair[1] > since);
    pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Real servers on this machine.
pub(crate) fn setup_for(options: &Options, places: Vec<Place>) -> Result<Setup, Failure> {
    let server = server(options)?;
    Ok(Setup {
        server,
        system: System::Plugin,
        elections: true,
        sentinel: true,
        watchdog: true,
        secure: false,
        threads: 1,
        places,
    })
}

fn setup(options: &Options, plan: &Plan, redis: bool, places: Vec<Place>) -> Result<Setup, Failure> {
    let plain = setup_for(options, places)?;
    let watchdog = plan.fault != Fault::StopBare;
    if !redis {
        return Ok(Setup { watchdog, ..plain });
    }
    let system = System::Redis { sentinel: PathBuf::from("/usr/bin/redis-sentinel") };
    Ok(Setup { server: PathBuf::from("/usr/bin/redis-server"), system, watchdog, ..plain })
}

/// The server that is measured.
pub(crate) fn server(options: &Options) -> Result<PathBuf, Failure> {
    locate(&options.server.clone().map_or(Server::Beside, Server::At))
}

/// Waits until all whom clients may ask name the same primary and know all others. Gives the primary.
pub(crate) fn ready(cluster: &mut Cluster, interrupt: &Interrupt) -> Result<usize, Failure> {
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
