//! The Sentinel port beside a real `redis-sentinel`, reply by reply: three nodes here; one master, two replicas and three Sentinels
//! of Redis there; the same questions, the same event.
//!
//! Everything must be equal but what [`DIFFERENCES`] names, with the reason; and what it names must differ, so that the list does not
//! outlive its reasons. Ids, versions, times and counters are compared by their form, addresses by whose they are.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, primary};
use common::talk::{Talk, Value};
use common::{Cluster, Dir, free_port, until, within};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Real Sentinels take about ten seconds to find each other, and some more after a failover.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is asked of both, in this order, in one connection each, first in RESP2 and then in RESP3, each after the answer to the one before, and then
/// all at once: so none of the errors ends a connection. `PRIMARY`: its host and port.
const COMMANDS: [&str; 88] = [
    "PING",
    "ping",
    "PING said",
    "PING a b",
    "ROLE",
    "ROLE x",
    "SENTINEL MASTERS",
    "SENTINEL masters x",
    "SENTINEL MASTER mymaster",
    "sentinel Master mymaster",
    "sEnTiNeL sLaVeS mymaster",
    "SENTINEL MASTER other",
    "SENTINEL MASTER",
    "SENTINEL REPLICAS mymaster",
    "SENTINEL SLAVES mymaster",
    "SENTINEL REPLICAS other",
    "SENTINEL SENTINELS mymaster",
    "SENTINEL SENTINELS other",
    "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster",
    "SENTINEL get-master-addr-by-name other",
    "SENTINEL GET-MASTER-ADDR-BY-NAME",
    "SENTINEL MYID",
    "SENTINEL MYID x",
    "SENTINEL CKQUORUM mymaster",
    "SENTINEL CKQUORUM other",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR PRIMARY 0 *",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 9 0 *",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 x 0 *",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 9",
    "SENTINEL INFO-CACHE mymaster",
    "SENTINEL INFO-CACHE other",
    "SENTINEL CONFIG GET *",
    "SENTINEL CONFIG GET announce-p*",
    "SENTINEL CONFIG GET nothing",
    "SENTINEL CONFIG GET",
    "SENTINEL CONFIG",
    "SENTINEL PENDING-SCRIPTS",
    "SENTINEL FAILOVER other",
    "SENTINEL FAILOVER",
    "SENTINEL",
    "SENTINEL nope",
    "SENTINEL DEBUG",
    "AUTH x",
    "AUTH default x",
    "AUTH somebody x",
    "ACL WHOAMI",
    "COMMAND NOPE",
    "COMMAND COUNT",
    "CLIENT SETNAME app",
    "CLIENT GETNAME",
    "client SetName with-a-name",
    "CLIENT SETNAME",
    "CLIENT ID",
    "CLIENT NO-EVICT on",
    "CLIENT SETINFO LIB-NAME x",
    "CLIENT NOPE",
    "CLIENT",
    "GET x",
    "INFO sentinel",
    "info SENTINEL",
    "INFO nothing",
    "INFO",
    "PUBLISH a b",
    "HELLO 4",
    "HELLO x",
    "PUNSUBSCRIBE",
    "UNSUBSCRIBE",
    "SUBSCRIBE +switch-master",
    "PSUBSCRIBE *switch*",
    "PING",
    "PING said",
    "GET x",
    "ROLE",
    "UNSUBSCRIBE +switch-master",
    "PUNSUBSCRIBE",
    "CLIENT GETNAME",
    "HELLO",
    "HELLO 2 SETNAME other",
    "CLIENT GETNAME",
    "HELLO 3 NOPE",
    "HELLO 3 AUTH somebody x",
    "HELLO 3 AUTH default x SETNAME more",
    "HELLO",
    "RESET",
    "HELLO 2",
    "role",
    "psubscribe x",
    "punsubscribe x",
];

/// What is asked again once the primary is gone and another one has taken over.
const AFTERWARDS: [&str; 7] = [
    "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster",
    "SENTINEL MASTER mymaster",
    "SENTINEL MASTERS",
    "SENTINEL REPLICAS mymaster",
    "SENTINEL SENTINELS mymaster",
    "SENTINEL CKQUORUM mymaster",
    "INFO sentinel",
];

/// Answers that differ: the command, how ours begins, how that of Redis 7.0 begins, and why.
const DIFFERENCES: [(&str, &str, &str, &str); 5] = [
    (
        "SENTINEL CONFIG GET *",
        "12 texts: resolve-hostnames yes announce-hostnames yes ",
        "12 texts: resolve-hostnames no announce-hostnames no ",
        "a node may be announced by a name, which clients resolve",
    ),
    (
        "SENTINEL DEBUG",
        "-ERR the members and their settings are in each node's kevy.toml",
        "* texts: ",
        "settings are in kevy.toml; none is changed or shown here",
    ),
    (
        "RESET",
        "+RESET",
        "-ERR unknown command 'RESET'",
        "Redis takes it where there is data; a library may send it to whom it likes",
    ),
    ("CLIENT SETINFO LIB-NAME x", "+OK", "-ERR unknown subcommand 'SETINFO'", "Redis from 7.2 on takes it"),
    (
        "PUBLISH a b",
        "-ERR this port tells of the election",
        "-ERR Only HELLO messages",
        "the words say where to publish",
    ),
];

/// Fields that are not compared: no client reads them, and what they say is about how Sentinels vote.
const FIELDS_UNREAD: [&str; 2] = ["voted-leader", "voted-leader-epoch"];

/// What Sentinel forgets of a replica that did not answer since the switch, and we do not.
const FIELDS_FORGOTTEN: [&str; 3] = ["runid", "master-host", "master-port"];
/// Numbers that say something about the cluster and not about time.
const FIELDS_EXACT: [&str; 5] =
    ["num-slaves", "num-other-sentinels", "quorum", "slave-priority", "replica-announced"];

/// One of the two systems, and the Sentinel of it that is asked.
struct Side {
    talk: Talk,
    /// Ports, and whose they are.
    names: Vec<(u16, String)>,
}

impl Side {
    /// `sentinels` and `data` in the order of the nodes; the first one is called by the first of `roles`, and asked.
    fn new(data: &[u16], sentinels: &[u16], roles: [&str; 3]) -> Self {
        let names = |ports: &[u16], kind: &'static str| {
            let named = ports.iter().copied().zip(roles);
            named.map(move |(port, role)| (port, format!("{role}{kind}"))).collect::<Vec<_>>()
        };
        let mut all = names(data, "");
        all.extend(names(sentinels, "'s Sentinel"));
        Self { talk: until("it listens", || Talk::connect(sentinels[0])), names: all }
    }

    fn ask(&mut self, command: &str) -> String {
        let primary = format!("127.0.0.1 {}", self.names[0].0);
        let answer = self.talk.ask(&command.replace("PRIMARY", &primary));
        self.shown(&answer, command)
    }

    /// All of them at once, and the answers in their order.
    fn ask_all(&mut self, commands: &[&str]) -> Vec<String> {
        let primary = format!("127.0.0.1 {}", self.names[0].0);
        let lines: Vec<String> =
            commands.iter().map(|command| command.replace("PRIMARY", &primary)).collect();
        self.talk.say(&lines.join("\r\n"));
        let answers: Vec<Value> = commands.iter().map(|_| self.talk.next().unwrap()).collect();
        answers.iter().zip(commands).map(|(answer, command)| self.shown(answer, command)).collect()
    }

    /// An answer as both have to give it.
    fn shown(&self, value: &Value, before: &str) -> String {
        match value {
            Value::Line(kind, text) => format!("{kind}{}", self.named(text)),
            Value::Nothing(kind) => kind.clone(),
            Value::Number(_) if matches!(before, "id" | "CLIENT ID" | "COMMAND COUNT") => {
                ":(number)".to_owned()
            }
            Value::Number(number) => format!(":{number}"),
            Value::Bulk(text) if before == "version" => {
                format!("(version with {} dots)", text.matches('.').count())
            }
            Value::Bulk(_) if FIELDS_UNREAD.contains(&before) => "(unread)".to_owned(),
            Value::Bulk(text) if text.starts_with("# Server") => {
                let mode = text.lines().find(|line| line.starts_with("redis_mode:")).unwrap_or_default();
                format!("(info {mode})")
            }
            Value::Bulk(text) if FIELDS_EXACT.contains(&before) => text.clone(),
            // A port stands behind its name or behind its host; any other number may be one by chance.
            Value::Bulk(text)
                if text.parse::<i64>().is_ok() && !before.ends_with("port") && !before.contains('.') =>
            {
                "(number)".to_owned()
            }
            Value::Bulk(text) => self.named(text),
            Value::List(kind, parts) => self.list(*kind, parts),
        }
    }

    fn list(&self, kind: char, parts: &[Value]) -> String {
        // How old it is, and what a node says of itself.
        if let [Value::Number(_), Value::Bulk(text)] = parts
            && text.starts_with("# Server")
        {
            return format!("{kind}[(age) (info of a node)]");
        }
        let gone = Value::List(kind, parts.to_vec()).field("flags") == Some("s_down,slave,disconnected");
        let shown = parts.iter().enumerate().map(|(at, part)| {
            let before = at.checked_sub(1).and_then(|before| parts[before].text()).unwrap_or_default();
            match gone && FIELDS_FORGOTTEN.contains(&before) {
                true => "(forgotten)".to_owned(),
                false => self.shown(part, before),
            }
        });
        let mut shown: Vec<_> = shown.collect();
        // Lists of nodes have no order.
        if parts.iter().all(|part| part.field("runid").is_some()) {
            shown.sort();
        }
        format!("{kind}{}[{}]", parts.len(), shown.join(" "))
    }

    /// With addresses as names, and without what is different each time.
    fn named(&self, text: &str) -> String {
        if text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return "(id)".to_owned();
        }
        if let Some((_, name)) = self.names.iter().find(|(port, _)| port.to_string() == text) {
            return name.clone();
        }
        if text.parse::<i64>().is_ok() {
            return "(number)".to_owned();
        }
        let names = self.names.iter();
        names.fold(text.to_owned(), |text, (port, name)| text.replace(&port.to_string(), name))
    }
}

/// Three servers of Redis and three Sentinels.
struct Redis {
    _directory: Dir,
    data: Vec<u16>,
    sentinels: Vec<u16>,
    processes: Vec<[Child; 2]>,
}

impl Redis {
    fn start() -> Self {
        let directory = Dir::new();
        let data: Vec<u16> = (0..3).map(|_| free_port(1)).collect();
        let sentinels: Vec<u16> = (0..3).map(|_| free_port(1)).collect();
        let start = |program: &str, name: String, settings: String| {
            let file = directory.0.join(name);
            std::fs::write(&file, settings).unwrap();
            let mut command = Command::new(program);
            command.arg(file).current_dir(&directory.0).stdout(Stdio::null());
            command.spawn().unwrap_or_else(|error| {
                panic!(
                    "cannot run {program}: {error}; on Debian `apt-get install redis-server redis-sentinel`"
                )
            })
        };
        let processes = (0..3).map(|node| {
            let upstream =
                if node == 0 { String::new() } else { format!("replicaof 127.0.0.1 {}\n", data[0]) };
            let server = format!("bind 127.0.0.1\nport {}\nsave \"\"\n{upstream}", data[node]);
            let sentinel = format!(
                "bind 127.0.0.1\nport {}\nprotected-mode no\nsentinel monitor mymaster 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 180000\n",
                sentinels[node], data[0]
            );
            [
                start("redis-server", format!("{node}.conf"), server),
                start("redis-sentinel", format!("{node}-sentinel.conf"), sentinel),
            ]
        });
        let processes = processes.collect();
        Self { data, sentinels, processes, _directory: directory }
    }

    fn kill(&mut self, node: usize) {
        for process in &mut self.processes[node] {
            drop(process.kill());
            drop(process.wait());
        }
    }

    /// Who is master now, once the Sentinel of `node` knows two others and two replicas.
    fn master(&self, node: usize) -> Option<usize> {
        let mut talk = Talk::connect(self.sentinels[node])?;
        for others in ["REPLICAS", "SENTINELS"] {
            let Value::List(_, known) = talk.ask(&format!("SENTINEL {others} mymaster")) else { return None };
            let linked =
                |one: &Value| one.field("flags").is_some_and(|flags| !flags.contains("disconnected"));
            if known.len() != 2 || !known.iter().all(linked) {
                return None;
            }
        }
        let address = talk.ask("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster");
        let port = address.texts()[1].parse().ok();
        self.data.iter().position(|data| Some(*data) == port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        (0..3).for_each(|node| self.kill(node));
    }
}

/// `first` before all others.
fn from(first: usize, ports: &[u16]) -> Vec<u16> {
    let mut ports = ports.to_vec();
    ports.rotate_left(first);
    ports
}

/// What differs and should not, and what should and does not.
fn compare(ours: &mut Side, theirs: &mut Side, protocol: &str, at_once: bool, wrong: &mut Vec<String>) {
    let all = |side: &mut Side| match at_once {
        true => side.ask_all(&COMMANDS),
        false => COMMANDS.iter().map(|command| side.ask(command)).collect(),
    };
    let answers = all(ours).into_iter().zip(all(theirs));
    for (command, (our, their)) in COMMANDS.into_iter().zip(answers) {
        let known = DIFFERENCES.iter().find(|(differs, ..)| *differs == command);
        let as_told = |answer: &str, told: &str| {
            let (told, answer) = (
                told.split(" texts: ").last().unwrap(),
                answer.split_once('[').map_or(answer, |(_, inner)| inner),
            );
            answer.starts_with(told)
        };
        match known {
            Some((_, our_begins, their_begins, _))
                if as_told(&our, our_begins) && as_told(&their, their_begins) && our != their => {}
            None if our == their => {}
            _ => wrong.push(format!("{protocol} {command}\n  ours:   {our}\n  theirs: {their}")),
        }
    }
}

/// The switch, and what follows it, out of everything that is said.
fn switch(listener: &mut Talk, side: &Side) -> Vec<String> {
    let mut told = Vec::new();
    while told.len() < 3 {
        let message = listener.next().unwrap();
        if let ["pmessage", "*", channel @ ("+switch-master" | "+slave"), _] = message.texts()[..] {
            told.push(format!("{channel} {}", side.shown(&message, "")));
        }
    }
    told[1..].sort();
    told
}

#[test]
#[ignore = "needs Debian's redis-server and redis-sentinel"]
fn the_sentinel_port_answers_as_redis_sentinel_does() {
    let mut redis = Redis::start();
    let cluster = Cluster::new(3, 1);
    let ports: Vec<u16> = (0..3).map(|_| free_port(1)).collect();
    let peers: Vec<_> = ports.iter().enumerate().map(|(n, port)| format!("n{n}@127.0.0.1:{port}")).collect();
    let more = |node: usize| {
        format!("sentinel = \"127.0.0.1:{}\"\nsentinel_peers = \"{}\"\n", ports[node], peers.join(","))
    };
    let mut nodes: Vec<_> = (0..3).map(|node| Process::start(&cluster, node, &more(node))).collect();
    let reigns = primary(&nodes);
    let agreed = within(PATIENCE, || (0..3).all(|node| redis.master(node) == Some(0)).then_some(()));
    assert!(agreed.is_some(), "the Sentinels of Redis did not find each other");

    let roles = ["PRIMARY", "SECOND", "THIRD"];
    let mut wrong = Vec::new();
    for hello in ["", "HELLO 3"] {
        let mut ours = Side::new(&from(reigns, &cluster.ports), &from(reigns, &ports), roles);
        let mut theirs = Side::new(&redis.data, &redis.sentinels, roles);
        if !hello.is_empty() {
            assert_eq!(ours.ask(hello), theirs.ask(hello));
        }
        // Once a Sentinel knows that the links of all replicas are up. It may learn of it late, and says otherwise until then.
        let replicas = "SENTINEL REPLICAS mymaster";
        let alike = within(PATIENCE, || (ours.ask(replicas) == theirs.ask(replicas)).then_some(()));
        assert!(alike.is_some(), "ours: {}\ntheirs: {}", ours.ask(replicas), theirs.ask(replicas));
        let protocol = if hello.is_empty() { "RESP2" } else { "RESP3" };
        compare(&mut ours, &mut theirs, protocol, false, &mut wrong);
        let again = if hello.is_empty() { "HELLO 2" } else { hello };
        assert_eq!(ours.ask(again), theirs.ask(again));
        compare(&mut ours, &mut theirs, &format!("{protocol}, at once"), true, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // The same event: the primary dies, and the Sentinel beside it.
    let left = (reigns + 1) % 3;
    let mut listeners = [ports[left], redis.sentinels[1]].map(|port| Talk::connect(port).unwrap());
    listeners.iter_mut().for_each(|listener| drop(listener.ask("PSUBSCRIBE *")));
    nodes[reigns].child.kill().unwrap();
    nodes[reigns].wait();
    redis.kill(0);
    let new = primary(&nodes);
    let named = |node: usize, redis: &Redis| {
        let mut talk = Talk::connect(redis.sentinels[node])?;
        let port: u16 = talk.ask("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster").texts().get(1)?.parse().ok()?;
        redis.data[1..].iter().position(|data| *data == port).map(|found| found + 1)
    };
    let master = within(PATIENCE, || named(1, &redis).filter(|master| named(2, &redis) == Some(*master)));
    let master = master.unwrap_or_else(|| panic!("Redis did not fail over"));
    let side = |data: &[u16], sentinels: &[u16], old: usize, new: usize| {
        let other = 3 - old - new;
        let order = |ports: &[u16]| [ports[new], ports[other], ports[old]];
        Side::new(&order(data), &order(sentinels), ["PRIMARY", "OTHER", "GONE"])
    };
    let mut ours = side(&cluster.ports, &ports, reigns, new);
    let mut theirs = side(&redis.data, &redis.sentinels, 0, master);
    let [our, their] = &mut listeners;
    assert_eq!(switch(our, &ours), switch(their, &theirs));
    for hello in ["HELLO 2", "HELLO 3"] {
        assert_eq!(ours.ask(hello), theirs.ask(hello));
        for command in AFTERWARDS {
            let mut both = (String::new(), String::new());
            let same = within(PATIENCE, || {
                both = (ours.ask(command), theirs.ask(command));
                (both.0 == both.1).then_some(())
            });
            assert!(same.is_some(), "{hello}, {command}\n  ours:   {}\n  theirs: {}", both.0, both.1);
        }
    }

    // A planned one, asked of a Sentinel that is not the primary's.
    let asked = [(&ours, ports[3 - reigns - new]), (&theirs, redis.sentinels[3 - master])];
    let answers = asked.map(|(side, port)| {
        let mut talk = Talk::connect(port).unwrap();
        let command = "SENTINEL FAILOVER mymaster";
        side.shown(&talk.ask(command), command)
    });
    assert_eq!(answers, ["+OK", "+OK"]);
    assert_eq!(switch(our, &ours), switch(their, &theirs));
}

/// With a password, before it is said and after.
const LOCKED: [&str; 14] = [
    "PING",
    "ROLE",
    "SENTINEL MASTERS",
    "SUBSCRIBE x",
    "CLIENT SETNAME app",
    "HELLO",
    "HELLO 3",
    "AUTH wrong",
    "AUTH default wrong",
    "HELLO 3 AUTH default wrong",
    "AUTH a b c",
    "AUTH secret",
    "PING",
    "HELLO 3 AUTH default secret SETNAME app",
];

/// Ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
#[ignore = "needs Debian's redis-sentinel"]
fn a_password_is_asked_for_as_redis_sentinel_does() {
    let (directory, theirs) = (Dir::new(), free_port(1));
    let file = directory.0.join("sentinel.conf");
    // Whom it watches does not matter.
    let settings = format!(
        "bind 127.0.0.1\nport {theirs}\nrequirepass secret\nsentinel monitor mymaster 127.0.0.1 9 1\n"
    );
    std::fs::write(&file, settings).unwrap();
    let mut command = Command::new("redis-sentinel");
    command.arg(file).current_dir(&directory.0).stdout(Stdio::null());
    let _redis = Ends(command.spawn().unwrap());
    let (cluster, ours) = (Cluster::new(1, 1), free_port(1));
    let more = format!("sentinel = \"127.0.0.1:{ours}\"\nsentinel_password = \"secret\"\n");
    let _node = Process::start(&cluster, 0, &more);
    let [ours, theirs] = [ours, theirs].map(|port| {
        let mut side = Side::new(&[], &[port], ["PRIMARY", "SECOND", "THIRD"]);
        // Redis names the protocol there from 7.2 on.
        LOCKED.map(|command| side.ask(command).replace("HELLO <proto> AUTH", "HELLO AUTH"))
    });
    let pairs = LOCKED.iter().zip(ours.iter().zip(theirs.iter()));
    let wrong: Vec<_> = pairs.filter(|(_, (our, their))| our != their).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
