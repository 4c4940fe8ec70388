//! What a command costs because of the election, in instructions: `cargo price`. kevy's own commands and the wrapper around them are
//! asked what a shard asks them for one command of a client, in one shard with an open gate, under valgrind's callgrind. Needs `valgrind`.
//!
//! What is around that (sockets, parsing, the log, the stream) is kevy's and the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement that cannot be set up must not go on")]

use kevy::{KevyCommands, RuntimeState};
use kevy_config::CliOverrides;
use kevy_elect_ops::config::Settings;
use kevy_elect_plugin::clock::{Clock, ManualClock};
use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::plugin::{Denied, WriteGate};
use kevy_elect_plugin::time::Duration;
use kevy_resp::Argv;
use kevy_rt::{Commands, ExtensionReduced, RespVersion, Route, TxnKind, propagation};
use kevy_server::Server;
use kevy_server::office::{Office, Standing};
use kevy_store::{SetCondition, Store};
use std::process::Command;
use std::sync::Arc;

/// What is counted: how a command comes in, and the command.
const LINES: [(Way, &str); 19] = [
    (Way::Alone, "GET k"),
    (Way::Sent, "GET k"),
    (Way::Alone, "SET k v"),
    (Way::Alone, "SET k v EX 100"),
    (Way::Alone, "INCR n"),
    (Way::Several, MSET),
    (Way::Alone, "HSET h f v"),
    (Way::Alone, "LPUSH l x"),
    (Way::Alone, "HGET h f"),
    (Way::Alone, "EXISTS k"),
    (Way::Alone, "PING"),
    (Way::Queued, "GET k"),
    (Way::Queued, "SET k v"),
    (Way::Queued, "INCR n"),
    (Way::QueuedSeveral, MSET),
    (Way::Beside3, "GET k"),
    (Way::Resp3, "GET k"),
    (Way::Resp3, "HGET h f"),
    (Way::Resp3, "SET k v"),
];
const MSET: &str = "MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 i 9 j 10";
/// More than one, so that what only several shards need is counted too.
const SHARDS: usize = 4;
const FEW: u64 = 1_000;
const MANY: u64 = 11_000;
const LEASE: Duration = Duration::from_secs(3600);

/// An election that lets everything pass, as its real gate does. Its clock is no system's: what that costs is in the bench `gate`.
struct Open(WriteGate);

impl Office for Open {
    fn check(&self) -> Result<(), Denied> {
        self.0.check()
    }
    fn standing(&self) -> Standing {
        Standing { primary: true, epoch: Epoch(1), of: Some(NodeId::new("n0").unwrap()) }
    }
    fn on_offset(&self, _: usize, _: u64) {}
    fn on_joined(&self, _: Epoch, _: &[u64]) {}
}

/// How a command comes in. What a pipeline brings comes in as alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// For one key, or none.
    Alone,
    /// The same from another shard, or behind an answer that is not there yet.
    Sent,
    /// For several keys.
    Several,
    /// Either in `MULTI`: when it is queued, and when it runs.
    Queued,
    QueuedSeveral,
    /// In RESP2, on a shard that has a client of RESP3 too.
    Beside3,
    /// From that client. Without the election it is what kevy does, whose nulls are those of RESP2.
    Resp3,
}

impl Way {
    const NAMES: [(Self, &str); 7] = [
        (Self::Alone, ""),
        (Self::Sent, "sent on"),
        (Self::Several, "of 10"),
        (Self::Queued, "in MULTI"),
        (Self::QueuedSeveral, "of 10, in MULTI"),
        (Self::Beside3, "beside RESP3"),
        (Self::Resp3, "in RESP3"),
    ];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(way, _)| *way == self).map_or("", |(_, name)| name)
    }
}

/// One command, as a shard has it carried out: `handle_command`, `queue_in_multi`, `start_command`, `start_single`,
/// `try_inline_local`, `post_write_housekeeping` and `Op::MSet` of kevy-rt, in this order.
fn one(commands: &impl Commands, store: &mut Store, way: Way, args: &Argv, out: &mut Vec<u8>) {
    if matches!(way, Way::Queued | Way::QueuedSeveral) {
        assert!(commands.resolve(args).txn_kind == TxnKind::Other && commands.queue_error(args).is_none());
    }
    let resolved = commands.resolve(args);
    commands.on_command();
    let denied = || if resolved.is_write { commands.write_denied() } else { commands.read_denied(args) };
    assert!(denied().is_none());
    if matches!(way, Way::Several | Way::QueuedSeveral) {
        for i in (1..args.len()).step_by(2) {
            store.set(&args[i], args[i + 1].to_vec(), None, SetCondition::Always);
            store.bump_if_watched(&args[i]);
            commands.on_write(store, &args[i]);
        }
        return drop(commands.take_ext_out());
    }
    assert!(denied().is_none());
    let proto = if way == Way::Resp3 { RespVersion::V3 } else { RespVersion::V2 };
    if matches!(resolved.route, Route::Extension) {
        // `Op::Extension`, without what carries it there and back, which one shard has too.
        let argv: Vec<Vec<u8>> = args.iter().map(<[u8]>::to_vec).collect();
        let targets = commands.extension_targets(&argv).map_or(1, |targets| targets.len());
        let chunks = (0..targets).map(|_| commands.extension_op(store, &argv)).collect();
        match commands.extension_reduce(&argv, chunks, proto) {
            ExtensionReduced::Reply(reply) => out.extend_from_slice(&reply),
            _ => panic!("one step"),
        }
    } else if !matches!(way, Way::Alone | Way::Queued) || !args[0].eq_ignore_ascii_case(b"GET") {
        // kevy answers a `GET` that is alone before it comes to that.
        commands.dispatch_verb_into(store, args, resolved.verb, proto, out);
    }
    if resolved.is_write {
        store.bump_if_watched(&args[1]);
        commands.on_write(store, &args[1]);
        propagation::discard_override();
    }
    if resolved.is_write || way == Way::Sent {
        drop(commands.take_ext_out());
    }
    assert!(out.first() != Some(&b'-'));
    out.clear();
}

fn run(commands: &impl Commands, way: Way, line: &str, times: u64) {
    let (mut store, mut out) = (Store::new(), Vec::new());
    commands.on_shard_start(0);
    if matches!(way, Way::Beside3 | Way::Resp3) {
        let hello = Argv::from(vec![b"HELLO".to_vec(), b"3".to_vec()]);
        assert!(commands.hello_reply(&hello, RespVersion::V2).0 == RespVersion::V3);
    }
    let args = Argv::from(line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
    for _ in 0..times {
        one(commands, &mut store, way, &args, &mut out);
    }
}

/// In the process that is measured.
fn measured(whose: &str, shards: usize, way: Way, line: &str, times: u64) {
    let dir = std::env::temp_dir().join(format!("kevy-price-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("kevy.toml");
    let text = format!(
        "[server]\nport = 6004\nthreads = {shards}\ndata_dir = \"{}\"\n[cluster]\nnode_id = \"n0\"\npeers = [\"n0@127.0.0.1:6204:6004\"]\n\
         [elect]\nenabled = true\n",
        dir.display()
    );
    std::fs::write(&file, text).unwrap();
    let settings = Settings::load(Some(&file), [], CliOverrides::default()).unwrap();
    if whose == "kevy" {
        let state = RuntimeState::new(Arc::new(settings.kevy), dir.clone(), shards).unwrap();
        run(&KevyCommands::with_state(Arc::new(state)), way, line, times);
    } else {
        let server = Server::new(&settings.kevy, settings.elect.unwrap()).unwrap();
        let clock = ManualClock::new();
        let until = clock.now() + LEASE;
        server.set_office(Arc::new(Open(WriteGate::open_until(Arc::new(clock), LEASE, until))));
        run(&server.commands(), way, line, times);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Instructions of one command.
fn count(whose: &str, shards: usize, way: Way, line: &str) -> u64 {
    let total = |times: u64| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().unwrap())
            .args([whose, &shards.to_string(), way.name(), line, &times.to_string()])
            .env("KEVY_IO_URING", "0")
            .env("KEVY_AOF_OFFLOAD", "0")
            .output()
            .unwrap_or_else(|error| panic!("cannot run valgrind: {error}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let number = said
            .lines()
            .find_map(|line| line.split_once("Collected : "))
            .map(|(_, n)| n.trim().parse::<u64>());
        number.unwrap_or_else(|| panic!("no count in {said}")).unwrap()
    };
    // What is done once cancels out.
    total(MANY).saturating_sub(total(FEW)) / (MANY - FEW)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [whose, shards, way, line, times] = words.as_slice() {
        let (way, _) = Way::NAMES.into_iter().find(|(_, name)| name == way).unwrap();
        return measured(whose, shards.parse().unwrap(), way, line, times.parse().unwrap());
    }
    println!("| command | kevy | with the election | more | with {SHARDS} shards |\n|---|--:|--:|--:|--:|");
    for (way, line) in LINES {
        let kevy = count("kevy", 1, way, line);
        let [elected, several] = [1, SHARDS].map(|shards| count("elected", shards, way, line));
        let more = elected as i64 - kevy as i64;
        let line = if line == MSET { "MSET" } else { line };
        println!("| `{line}` {} | {kevy} | {elected} | {more} | {several} |", way.name());
    }
}
