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
use kevy_rt::{Commands, RespVersion, propagation};
use kevy_server::Server;
use kevy_server::office::{Office, Standing};
use kevy_store::Store;
use std::process::Command;
use std::sync::Arc;

/// What is counted. Reads of strings do not come to `dispatch`: kevy answers them before.
const LINES: [&str; 9] = [
    "GET k",
    "SET k v",
    "SET k v EX 100",
    "INCR n",
    "HSET h f v",
    "LPUSH l x",
    "HGET h f",
    "EXISTS k",
    "PING",
];
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
    fn on_offsets(&self, _: Epoch, _: &[u64]) {}
    fn on_joined(&self, _: Epoch, _: &[u64]) {}
}

/// One command, as a shard has it carried out.
fn one(commands: &impl Commands, store: &mut Store, args: &Argv, out: &mut Vec<u8>) {
    commands.on_command();
    let resolved = commands.resolve(args);
    let denied = if resolved.is_write { commands.write_denied() } else { commands.read_denied(args) };
    assert!(denied.is_none());
    if !args[0].eq_ignore_ascii_case(b"GET") {
        commands.dispatch_verb_into(store, args, resolved.verb, RespVersion::V2, out);
    }
    if resolved.is_write {
        store.bump_if_watched(&args[1]);
        commands.on_write(store, &args[1]);
        propagation::discard_override();
        drop(commands.take_ext_out());
    }
    assert!(out.first() != Some(&b'-'));
    out.clear();
}

fn run(commands: &impl Commands, line: &str, times: u64) {
    let (mut store, mut out) = (Store::new(), Vec::new());
    commands.on_shard_start(0);
    let args = Argv::from(line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
    for _ in 0..times {
        one(commands, &mut store, &args, &mut out);
    }
}

/// In the process that is measured.
fn measured(way: &str, line: &str, times: u64) {
    let dir = std::env::temp_dir().join(format!("kevy-price-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("kevy.toml");
    let text = format!(
        "[server]\nport = 6004\nthreads = 1\ndata_dir = \"{}\"\n[cluster]\nnode_id = \"n0\"\npeers = [\"n0@127.0.0.1:6204:6004\"]\n\
         [elect]\nenabled = true\n",
        dir.display()
    );
    std::fs::write(&file, text).unwrap();
    let settings = Settings::load(Some(&file), [], CliOverrides::default()).unwrap();
    if way == "kevy" {
        let state = RuntimeState::new(Arc::new(settings.kevy), dir.clone(), 1).unwrap();
        run(&KevyCommands::with_state(Arc::new(state)), line, times);
    } else {
        let server = Server::new(&settings.kevy, settings.elect.unwrap()).unwrap();
        let clock = ManualClock::new();
        let until = clock.now() + LEASE;
        server.set_office(Arc::new(Open(WriteGate::open_until(Arc::new(clock), LEASE, until))));
        run(&server.commands(), line, times);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Instructions of one command.
fn count(way: &str, line: &str) -> u64 {
    let total = |times: u64| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().unwrap())
            .args([way, line, &times.to_string()])
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
    if let [way, line, times] = words.as_slice() {
        return measured(way, line, times.parse().unwrap());
    }
    println!("| command | kevy | with the election | more |\n|---|---|---|---|");
    for line in LINES {
        let (kevy, elected) = (count("kevy", line), count("elected", line));
        println!("| `{line}` | {kevy} | {elected} | {} |", elected as i64 - kevy as i64);
    }
}
