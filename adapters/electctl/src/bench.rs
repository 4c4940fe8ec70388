//! `bench failover`: how long the cluster that one has takes no writes when its primary changes, seen by one client that never stops writing.
//!
//! It writes numbered fields of one key, one after the other, and waits for each answer. A number that was answered and is not there in the end
//! was lost. With planned transfers nothing may be; where a command of the operator's own does something harsher, what was answered and not
//! confirmed by `WAIT` can be.

use crate::cli::{Benched, Transferred};
use crate::paint::{bad, good, table};
use crate::targets::Targets;
use crate::transfer;
use kevy_elect_compare::resp::{Client, Reply};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something that was acknowledged is not there any more.
const LOST: u8 = 7;
/// A write has so long; then another node is tried.
const WRITE_MAX: Duration = Duration::from_millis(250);
/// Between two writes: about a thousand a second.
const WRITE_PAUSE: Duration = Duration::from_millis(1);
/// Before the first round, and after the last.
const SETTLE: Duration = Duration::from_millis(500);
/// Until writes come back after whatever was done.
const BACK_MAX: Duration = Duration::from_secs(60);
/// The most that one run writes.
const WRITES_MAX: usize = 2_000_000;
/// Fields that are read in one question.
const READ_AT_ONCE: usize = 1000;
/// Seconds after which the key goes away by itself, if this program does not come to that.
const KEY_LIVES: &str = "3600";

/// When each write was answered, and its number.
#[derive(Default)]
struct Seen {
    answered: Mutex<Vec<(Instant, usize)>>,
    over: AtomicBool,
}

pub(crate) fn run(what: &Benched, pages: &[String]) -> Result<(String, ExitCode), String> {
    let clients = what.targets.addresses(pages)?;
    let addresses: Vec<SocketAddr> =
        clients.iter().filter_map(|client| client.to_socket_addrs().ok()?.next()).collect();
    if addresses.len() < 2 {
        return Err("there is nobody to fail over to: name at least two nodes".to_owned());
    }
    let seen = Seen::default();
    let rounds = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&addresses, &what.key, &seen));
        let rounds = rounds(what, &clients, &seen);
        seen.over.store(true, Ordering::Release);
        drop(writer.join());
        rounds
    });
    let answered: Vec<usize> = lock(&seen).iter().map(|(_, number)| *number).collect();
    let lost = lost(&addresses, &what.key, &answered);
    // Whatever became of the rounds, the key does not stay.
    forget(&addresses, &what.key);
    let (rounds, lost) = (rounds?, lost?);
    Ok(told(what, &rounds, answered.len(), &lost))
}

fn rounds(what: &Benched, clients: &[String], seen: &Seen) -> Result<Vec<Duration>, String> {
    let begun = Instant::now();
    while lock(seen).is_empty() {
        if begun.elapsed() > BACK_MAX {
            return Err(format!(
                "no node took a write within {} s: nothing was done to the cluster",
                BACK_MAX.as_secs()
            ));
        }
        std::thread::sleep(WRITE_PAUSE);
    }
    std::thread::sleep(SETTLE);
    let mut all = Vec::new();
    for _ in 0..what.rounds {
        let begun = Instant::now();
        change(what, clients)?;
        // What was answered after this was answered after the change.
        let changed = Instant::now();
        while lock(seen).last().is_none_or(|(at, _)| *at < changed) {
            if changed.elapsed() > BACK_MAX {
                return Err(format!(
                    "no node has taken a write for {} s; `status` and `doctor` tell more",
                    BACK_MAX.as_secs()
                ));
            }
            std::thread::sleep(WRITE_PAUSE);
        }
        // A command may return before what it does has begun.
        std::thread::sleep(Duration::from_secs(what.pause));
        all.push(longest(&lock(seen), begun));
    }
    std::thread::sleep(SETTLE);
    Ok(all)
}

/// The longest time without an answer since then.
fn longest(answered: &[(Instant, usize)], since: Instant) -> Duration {
    let first = answered.partition_point(|(at, _)| *at < since).saturating_sub(1);
    answered[first..].windows(2).map(|two| two[1].0 - two[0].0).max().unwrap_or_default()
}

/// A planned transfer, or what the operator does.
fn change(what: &Benched, clients: &[String]) -> Result<(), String> {
    let Some(command) = &what.harsh else {
        let targets = Targets { clients: clients.to_vec(), ..Targets::default() };
        let order = Transferred { timeout: what.timeout, targets, ..Transferred::default() };
        return transfer::run(&order, &[]).map(drop);
    };
    let primary = transfer::primary(clients)?;
    let status = Command::new("sh")
        .arg("-c")
        .arg(command)
        .env("NODE", &primary.node)
        .env("ADDRESS", &primary.address)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("--harsh {command}: {status}")),
        Err(error) => Err(format!("--harsh {command}: {error}")),
    }
}

/// Writes until it is over, wherever it is taken.
fn write(addresses: &[SocketAddr], key: &str, seen: &Seen) {
    let mut number = 0;
    for address in addresses.iter().cycle() {
        if seen.over.load(Ordering::Acquire) {
            return;
        }
        let Ok(mut client) = Client::connect_within(*address, WRITE_MAX) else {
            std::thread::sleep(WRITE_PAUSE);
            continue;
        };
        while !seen.over.load(Ordering::Acquire) && number < WRITES_MAX {
            // Never the same number twice: whether an unanswered one was written is not known.
            number += 1;
            match client
                .call_within(&[b"HSET", key.as_bytes(), number.to_string().as_bytes(), b"1"], WRITE_MAX)
            {
                Ok(Reply::Integer(_)) => lock(seen).push((Instant::now(), number)),
                _ => break,
            }
            if number == 1 {
                drop(client.call_within(&[b"EXPIRE", key.as_bytes(), KEY_LIVES.as_bytes()], WRITE_MAX));
            }
            std::thread::sleep(WRITE_PAUSE);
        }
        std::thread::sleep(WRITE_PAUSE);
    }
}

/// Those of `answered` that are not there.
fn lost(addresses: &[SocketAddr], key: &str, answered: &[usize]) -> Result<BTreeSet<usize>, String> {
    let begun = Instant::now();
    while begun.elapsed() < BACK_MAX {
        for address in addresses {
            let Ok(mut client) = Client::connect_within(*address, transfer::PATIENCE) else { continue };
            // A replica may lack the last ones.
            if !takes_writes(&mut client, key) {
                continue;
            }
            if let Some(lost) = missing(&mut client, key, answered) {
                return Ok(lost);
            }
        }
        std::thread::sleep(WRITE_PAUSE * 10);
    }
    Err("no primary was there in the end to read what was written: nothing is known of losses".to_owned())
}

fn takes_writes(client: &mut Client, key: &str) -> bool {
    matches!(
        client.call_within(&[b"EXPIRE", key.as_bytes(), KEY_LIVES.as_bytes()], transfer::PATIENCE),
        Ok(Reply::Integer(_))
    )
}

fn missing(client: &mut Client, key: &str, answered: &[usize]) -> Option<BTreeSet<usize>> {
    let mut lost = BTreeSet::new();
    for part in answered.chunks(READ_AT_ONCE) {
        let fields: Vec<String> = part.iter().map(usize::to_string).collect();
        let words: Vec<&[u8]> = [b"HMGET".as_slice(), key.as_bytes()]
            .into_iter()
            .chain(fields.iter().map(|field| field.as_bytes()))
            .collect();
        let Ok(Reply::Array(values)) = client.call_within(&words, transfer::PATIENCE) else { return None };
        if values.len() != part.len() {
            return None;
        }
        lost.extend(
            part.iter().zip(values).filter(|(_, value)| *value == Reply::Null).map(|(number, _)| *number),
        );
    }
    Some(lost)
}

fn forget(addresses: &[SocketAddr], key: &str) {
    for address in addresses {
        if let Ok(mut client) = Client::connect_within(*address, transfer::PATIENCE) {
            // Whoever is no primary refuses.
            drop(client.call_within(&[b"DEL", key.as_bytes()], transfer::PATIENCE));
        }
    }
}

fn told(what: &Benched, rounds: &[Duration], answered: usize, lost: &BTreeSet<usize>) -> (String, ExitCode) {
    let mut gaps: Vec<f64> = rounds.iter().map(|round| round.as_secs_f64() * 1e3).collect();
    gaps.sort_by(f64::total_cmp);
    let (median, most) =
        (gaps.get(gaps.len() / 2).copied().unwrap_or(0.0), gaps.last().copied().unwrap_or(0.0));
    let code = if lost.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(LOST) };
    let kind = if what.harsh.is_some() { "harsh" } else { "transfer" };
    if what.json {
        let all: Vec<f64> = rounds.iter().map(|round| round.as_secs_f64() * 1e3).collect();
        let said = json!({ "kind": kind, "gaps_ms": all, "median_ms": median, "longest_ms": most, "acknowledged": answered, "lost": lost.len() });
        return (format!("{said:#}\n"), code);
    }
    let mut rows = vec![vec!["round".to_owned(), "no write answered for".to_owned()]];
    rows.extend(rounds.iter().enumerate().map(|(number, round)| {
        vec![(number + 1).to_string(), format!("{:.1} ms", round.as_secs_f64() * 1e3)]
    }));
    let verdict = match lost.len() {
        0 => good("None of them was lost."),
        many => {
            let first: Vec<String> = lost.iter().take(5).map(usize::to_string).collect();
            bad(&format!("{many} of them WERE LOST: numbers {} ...", first.join(", ")))
        }
    };
    let text = format!(
        "{}\nMedian {median:.1} ms, longest {most:.1} ms ({kind}). {answered} writes were acknowledged. {verdict}\n",
        table(&rows)
    );
    (text, code)
}

fn lock(seen: &Seen) -> MutexGuard<'_, Vec<(Instant, usize)>> {
    seen.answered.lock().unwrap_or_else(PoisonError::into_inner)
}
