//! The commands of the scripts.
//!
//! Nodes are numbers: `2` is n2. Where a command starts something that lasts, another one ends it.
//!
//! | command | what happens |
//! |---|---|
//! | `cluster 3` | three new voters; runs until one is primary and all have joined it; that is time zero |
//! | `cluster 3 cold` | the same, but time zero is the start of the processes, and nothing has run yet |
//! | ... `primary=2` | n2 has data and so becomes the first primary |
//! | ... `witness=3`, `observer=4` | what these members are for; observers count on top |
//! | ... `priority=(100,0,100)` | preference among candidates with equal data, node by node |
//! | ... `policy=dominate`, `shards=2`, `crash-detection=off` | the keys of the configuration |
//! | ... `rank=seniority`, `settling=300`, `peer-loss=off` | who goes first among equals; an election so many ms after a death that is seen; never |
//! | ... `failback=5000` | a node of higher priority gets the office back after so many ms |
//! | ... `late=300` | a host lets go of its primary after up to so many milliseconds, says so after up to half of that, and twice more |
//! | `run 300ms`, `run 1.5s` | time passes |
//! | `kill 1`, `poweroff 1`, `wipe 1` | the process dies; the machine does, silently; the disk is lost too |
//! | `forget 1` | the process dies, and its vote record is lost; its data is not |
//! | `revive 1` | it starts again |
//! | `stop 1`, `cont 1` | SIGSTOP, SIGCONT: the process does not run, its clock does |
//! | `sleep 1`, `wake 1` | the machine sleeps: its clock stands still |
//! | `cut between=(1,2)`, `cut from=1 to=2` | frames wait, as TCP lets them; nobody is told |
//! | `partition 1 2` | cuts n1 and n2 off from all others |
//! | `firewall between=(1,2)` | links are reset and refused, on hosts that live |
//! | `reset 1` | all links of n1 break once |
//! | `double` | every message comes twice |
//! | `heal` | ends all of these |
//! | `disk 1 fails`, `disk 1 hangs`, `disk 1 works` | its saves do |
//! | `host 1 fails`, `hangs`, `unhealthy`, `ails`, `works` | its promotions and retargets do; it says that it cannot serve, or badly |
//! | `step-down 1`, `shutdown 1` | the operator's commands: the best node takes over; n1 ends |
//! | `transfer 1 to=2` | n2 takes over from n1 |
//! | `cluster 3 forgetful` | more than a minority of disks may be lost |
//! | `admit 1` | an operator orders n1, which has no record, to be admitted to the cluster of the others |
//! | `members of=4` | an operator asks whoever writes that n4 votes from now on, or does not any more |
//! | `busy 1`, `idle 1` | clients of n1 are in the middle of transactions, or not |
//! | `hang 1`, `turn 1` | a shard of n1 hangs beside a driver that runs; it turns again |
//! | `silent 1`, `answers 1` | the server of n1 has not answered for a moment; it does again |
//! | `work 2=9` | the service of n2 has recorded so much work |
//! | `force 1` | an operator orders n1 to be primary by its own vote alone |
//! | `pause 1`, `resume 1` | an operator pauses automatic elections in the whole cluster, or lets them go on, at n1 |
//! | `offset 2=57`, `offset 2=(5,9)` | how far the data goes in the history that the node holds, per shard |
//! | `write 1=5` | a client writes five frames, if the gate lets it |
//! | `lie from=3 to=(1,2) bits=60` | n3 says a heartbeat of epoch 2^60 in its own name; `epoch=7`, `role=primary`: that one; `echo`: answers one |
//! | `roles` | every node's role, epoch, primary, gate and position |
//! | `show links` | from now on tells of `links`, `saves`, `host`, `heartbeats` too; `show` alone: of none |

pub(crate) mod words;

use datadriven::TestCase;
use kevy_elect_plugin::config::{CrashDetection, LossPolicy, MemberKind};
use kevy_elect_plugin::elector::GateState;
use kevy_elect_plugin::ids::{Epoch, NodeId, Round};
use kevy_elect_plugin::link::LinkEvent;
use kevy_elect_plugin::message::{Echo, Heartbeat, Message, Role, Standing};
use kevy_elect_plugin::position::Progress;
use kevy_elect_plugin::rank::Rank;
use kevy_elect_plugin::sim::{Cluster, FaultKind, Loss, Mutation, Note, Plan, Timing, Violation, What};
use kevy_elect_plugin::time::Duration;
use std::fmt::Write;

/// The longest that a first election may take.
const SETTLES: Duration = Duration::from_secs(10);
/// What else than decisions and votes can be told of.
const CHANNELS: [&str; 4] = ["links", "saves", "host", "heartbeats"];

pub(crate) struct Stage {
    mutation: Option<Mutation>,
    cluster: Option<Cluster>,
    nodes: Vec<NodeId>,
    zero: Duration,
    shown: Vec<&'static str>,
    /// Per node: epoch and vote on its disk.
    saved: Vec<(NodeId, Epoch, Option<NodeId>)>,
    /// Per node and peer: what their link was last told to be.
    links: Vec<(NodeId, NodeId, LinkEvent)>,
    /// Faults that act: at which node, what, and its number.
    faults: Vec<(NodeId, FaultKind, usize)>,
}

impl Stage {
    pub(crate) fn new(mutation: Option<Mutation>) -> Self {
        Self {
            mutation,
            cluster: None,
            nodes: Vec::new(),
            zero: Duration::ZERO,
            shown: Vec::new(),
            saved: Vec::new(),
            links: Vec::new(),
            faults: Vec::new(),
        }
    }

    pub(crate) fn violation(&self) -> Option<String> {
        let Violation { invariant, text, .. } = self.cluster.as_ref()?.violation()?;
        Some(format!("{invariant}: {text}"))
    }

    /// Carries a command out and says what happened.
    pub(crate) fn play(&mut self, case: &mut TestCase) -> Result<String, String> {
        let mut said = match case.directive.as_str() {
            "cluster" => return self.set_up(case),
            "show" => {
                self.shown = CHANNELS.into_iter().filter(|name| flag(case, name)).collect();
                String::new()
            }
            "roles" => self.roles()?,
            "write" => self.write(case)?,
            "pause" | "resume" => self.order_pause(case)?,
            "force" => self.order_force(case)?,
            _ => {
                self.act(case)?;
                String::new()
            }
        };
        said.push_str(&self.told()?);
        Ok(said)
    }

    /// Commands that say nothing by themselves.
    fn act(&mut self, case: &mut TestCase) -> Result<(), String> {
        let crash = |power, loss| FaultKind::Crash { power, loss };
        match case.directive.as_str() {
            "run" => {
                let word = case.args.drain().next().map(|(word, _)| word).unwrap_or_default();
                let time = duration(&word).ok_or("how long? say `run 300ms` or `run 1.5s`")?;
                self.cluster()?.run_for(time);
            }
            "offset" => {
                for (node, offsets) in std::mem::take(&mut case.args) {
                    let parsed =
                        offsets.iter().map(|offset| offset.parse().ok()).collect::<Option<Vec<u64>>>();
                    let (node, offsets) = (self.node(&node)?, parsed.ok_or("offsets are numbers")?);
                    self.cluster()?.set_offsets(node, &offsets);
                }
            }
            "work" => {
                for (node, work) in std::mem::take(&mut case.args) {
                    let work = work.first().and_then(|work| work.parse().ok()).ok_or("work is a number")?;
                    let node = self.node(&node)?;
                    self.cluster()?.set_work(node, work);
                }
            }
            "kill" => self.begin_each(case, crash(false, Loss::Nothing))?,
            "poweroff" => self.begin_each(case, crash(true, Loss::Nothing))?,
            "wipe" => self.begin_each(case, crash(false, Loss::Disk))?,
            "forget" => self.begin_each(case, crash(false, Loss::Record))?,
            "revive" => {
                self.end_each(case, |kind| matches!(kind, FaultKind::Crash { .. } | FaultKind::Shutdown))?;
            }
            "stop" => self.begin_each(case, FaultKind::Pause)?,
            "cont" => self.end_each(case, |kind| matches!(kind, FaultKind::Pause))?,
            "sleep" => self.begin_each(case, FaultKind::Suspend)?,
            "wake" => self.end_each(case, |kind| matches!(kind, FaultKind::Suspend))?,
            "partition" => {
                let side = self.each(case)?.iter().map(|node| 1 << self.number(*node)).sum();
                self.begin(self.nodes[0], FaultKind::Partition { side, one_way: false })?;
            }
            "cut" if case.args.contains_key("from") => {
                let (from, to) = (take(case, "from")?, take(case, "to")?);
                let (from, to) = (self.node(&from)?, self.node(&to)?);
                self.begin(from, FaultKind::CutOneWay { to: self.number(to) })?;
            }
            "cut" => {
                let [a, b] = self.between(case)?;
                self.begin(a, FaultKind::Cut { to: self.number(b) })?;
            }
            "firewall" => {
                let [a, b] = self.between(case)?;
                self.begin(a, FaultKind::Firewall { to: self.number(b) })?;
            }
            "reset" => self.begin_each(case, FaultKind::Resets)?,
            "double" => {
                let kind = FaultKind::Storm { loss: 0, duplication: 1000, delay_ms: 0 };
                self.begin(self.nodes[0], kind)?;
            }
            "heal" => self.end(|_, kind| is_of_network(kind))?,
            "disk" => match which(case, ["fails", "hangs", "works"])? {
                "fails" => self.begin_each(case, FaultKind::FailingDisk)?,
                "hangs" => self.begin_each(case, FaultKind::HangingDisk)?,
                _ => self
                    .end_each(case, |kind| matches!(kind, FaultKind::FailingDisk | FaultKind::HangingDisk))?,
            },
            "host" => match which(case, ["fails", "hangs", "unhealthy", "ails", "works"])? {
                "fails" => self.begin_each(case, FaultKind::FailingHost)?,
                "hangs" => self.begin_each(case, FaultKind::HangingHost)?,
                "unhealthy" => self.begin_each(case, FaultKind::Unhealthy)?,
                "ails" => self.begin_each(case, FaultKind::Ailing)?,
                _ => self.end_each(case, |kind| {
                    use FaultKind::{Ailing, FailingHost, HangingHost, Unhealthy};
                    matches!(kind, FailingHost | HangingHost | Unhealthy | Ailing)
                })?,
            },
            "lie" => self.lie(case)?,
            "step-down" => self.begin_each(case, FaultKind::StepDown)?,
            "transfer" => {
                let to = optional(case, "to")?.ok_or("to whom? to=2")?;
                self.begin_each(case, FaultKind::Transfer { to: to.wrapping_sub(1) })?;
            }
            "members" => {
                let of = optional(case, "of")?.ok_or("who is to vote, or not any more? of=2")?;
                self.begin(self.nodes[0], FaultKind::Members { of: of.wrapping_sub(1) })?;
            }
            "shutdown" => self.begin_each(case, FaultKind::Shutdown)?,
            "admit" => {
                for node in self.each(case)? {
                    self.cluster()?.order_admission(node);
                }
            }
            word @ ("silent" | "answers") => {
                let answers = word == "answers";
                for node in self.each(case)? {
                    self.cluster()?.set_answers(node, answers);
                }
            }
            "hang" => self.begin_each(case, FaultKind::HungShard)?,
            "turn" => self.end_each(case, |kind| matches!(kind, FaultKind::HungShard))?,
            word @ ("busy" | "idle") => {
                let busy = word == "busy";
                for node in self.each(case)? {
                    self.cluster()?.set_busy(node, busy);
                }
            }
            other => return Err(format!("no command `{other}`; they are listed in tests/stage/mod.rs")),
        }
        Ok(())
    }

    fn order_pause(&mut self, case: &mut TestCase) -> Result<String, String> {
        let paused = case.directive == "pause";
        let mut said = String::new();
        for node in self.each(case)? {
            let taken = self.cluster()?.order_pause(node, paused);
            let _ = writeln!(said, "{node} {} the order", if taken { "takes" } else { "refuses" });
        }
        Ok(said)
    }

    fn order_force(&mut self, case: &mut TestCase) -> Result<String, String> {
        let mut said = String::new();
        for node in self.each(case)? {
            let answer = match self.cluster()?.order_force(node) {
                None => "nobody answers".to_owned(),
                Some(Ok(())) => "takes the order".to_owned(),
                Some(Err(why)) => format!("refuses the order: {why}"),
            };
            let _ = writeln!(said, "{node} {answer}");
        }
        Ok(said)
    }

    fn set_up(&mut self, case: &mut TestCase) -> Result<String, String> {
        let voters = (1..=9).find(|n: &usize| flag(case, &n.to_string())).ok_or("how many voters?")?;
        let observer = optional(case, "observer")?;
        let members = voters + usize::from(observer.is_some());
        let mut plan = Plan::calm(1, members);
        plan.mutation = self.mutation;
        let setup = &mut plan.setup;
        (setup.steady, setup.quiet) = (true, true);
        for (kind, node) in
            [(MemberKind::Witness, optional(case, "witness")?), (MemberKind::Observer, observer)]
        {
            let Some(node) = node else { continue };
            *setup.kinds.get_mut(node.wrapping_sub(1)).ok_or("no such node")? = kind;
        }
        // The simulator's own rule: voters first.
        if observer.is_some_and(|node| node != members) {
            return Err(format!("the observer has to be the last node, {members}"));
        }
        for (node, priority) in case.args.remove("priority").unwrap_or_default().iter().enumerate() {
            let priority = priority.parse().map_err(|_| format!("priority {priority}: 0 to 255"))?;
            *setup.priorities.get_mut(node).ok_or("more priorities than nodes")? = priority;
        }
        // The election timeouts of a node's starts, one after the other, in milliseconds.
        let timeouts = case.args.remove("timeouts").unwrap_or_default();
        let timeouts: Result<Vec<u64>, _> = timeouts.iter().map(|timeout| timeout.parse()).collect();
        let timing = |ms| Timing { timeout: Duration::from_millis(ms), ..setup.timing() };
        let timings: Vec<Timing> =
            timeouts.map_err(|_| "timeouts: milliseconds")?.into_iter().map(timing).collect();
        setup.timings = vec![timings; members];
        setup.shards = optional(case, "shards")?.unwrap_or(1);
        if case.args.contains_key("policy") && take(case, "policy")? == "dominate" {
            setup.loss_policy = LossPolicy::Dominate;
        }
        setup.forgetful = flag(case, "forgetful");
        if case.args.contains_key("crash-detection") && take(case, "crash-detection")? == "off" {
            setup.crash_detection = CrashDetection::Off;
        }
        if case.args.contains_key("rank") && take(case, "rank")? == "seniority" {
            setup.rank = Rank::Seniority;
        }
        if case.args.contains_key("peer-loss") && take(case, "peer-loss")? == "off" {
            setup.auto_elect = false;
        }
        setup.failback = optional(case, "failback")?.map(|ms| Duration::from_millis(ms as u64));
        setup.settling = Duration::from_millis(optional(case, "settling")?.unwrap_or(0) as u64);
        setup.late = optional(case, "late")?.unwrap_or(0) as u64 * 1_000_000;
        let primary = optional(case, "primary")?;
        self.nodes = (1..=members).filter_map(|n| NodeId::new(&format!("n{n}")).ok()).collect();
        let role = |n| if Some(n) == primary { Role::Primary } else { Role::Replica };
        let nodes = self.nodes.iter().enumerate().map(|(n, id)| (*id, role(n + 1)));
        let mut cluster = Cluster::with_plan(plan, nodes);
        *self = Self { nodes: std::mem::take(&mut self.nodes), ..Self::new(self.mutation) };
        if flag(case, "cold") {
            self.cluster = Some(cluster);
            return Ok(String::new());
        }
        while !self.settled(&cluster) {
            if cluster.now() > SETTLES || cluster.violation().is_some() {
                return Err(format!("no first primary: {:#?}", cluster.trace()));
            }
            cluster.run_for(Duration::from_millis(10));
        }
        // A moment between two heartbeats, all echoes in.
        cluster.run_for(Duration::from_millis(500));
        self.zero = cluster.now();
        let mut before = cluster.take_notes();
        before.retain(|note| self.is_news(note));
        self.cluster = Some(cluster);
        self.roles()
    }

    fn settled(&self, cluster: &Cluster) -> bool {
        cluster.current_primary().is_some_and(|primary| {
            self.nodes.iter().all(|node| {
                let witness = cluster.elector(*node).is_some_and(|elector| {
                    let mut members = elector.config().members().iter();
                    members.any(|member| member.id == *node && member.kind == MemberKind::Witness)
                });
                *node == primary || witness || cluster.has_joined(*node)
            })
        })
    }

    fn roles(&self) -> Result<String, String> {
        let cluster = self.cluster.as_ref().ok_or("say `cluster 3` first")?;
        let mut table = String::new();
        for node in &self.nodes {
            let position = cluster.position(*node);
            let Some(elector) = cluster.elector(*node) else {
                let _ = writeln!(table, "{node}  down                at {}", words::position(&position));
                continue;
            };
            let status = elector.status();
            let gate = match status.gate {
                _ if cluster.current_primary() == Some(*node) => "writes".to_owned(),
                GateState::Open(_) => "lease over".to_owned(),
                GateState::Shut(denied) => words::denied(denied),
                other => unreachable!("no words for {other:?}"),
            };
            let follows = match status.primary {
                Some(primary) if primary == *node => String::new(),
                Some(primary) => format!("of {primary}"),
                None => "of nobody".to_owned(),
            };
            let gate = if status.role == Role::Primary { gate } else { follows };
            let (role, epoch) = (status.role.as_str(), status.epoch.to_string());
            let row =
                format!("{node}  {role:<9}  epoch {epoch:<2} at {:<6}  {gate}", words::position(&position));
            let _ = writeln!(table, "{}", row.trim_end());
        }
        Ok(table)
    }

    fn lie(&mut self, case: &mut TestCase) -> Result<(), String> {
        let from = take(case, "from")?;
        let from = self.node(&from)?;
        let bits = optional(case, "bits")?.map(|bits| 1 << bits);
        let epoch = Epoch(optional(case, "epoch")?.map(|epoch| epoch as u64).or(bits).ok_or("which epoch?")?);
        let role = if case.args.contains_key("role") { take(case, "role")? } else { "replica".to_owned() };
        let role = Role::from_word(&role).ok_or("no such role")?;
        let (round, standing, progress) = (Round(1), Standing::Member, Progress::NONE);
        let message = if flag(case, "echo") {
            Message::Echo(Echo { epoch, round, primary: None, standing, progress })
        } else {
            Message::Heartbeat(Heartbeat { epoch, round, role, standing, ..Heartbeat::blank() })
        };
        for to in case.args.remove("to").ok_or("to whom? say `to=(1,2)`")? {
            let to = self.node(&to)?;
            self.cluster()?.forge(from, to, message.clone());
        }
        Ok(())
    }

    fn write(&mut self, case: &mut TestCase) -> Result<String, String> {
        let (node, frames) = case.args.drain().next().ok_or("where? say `write 1=5`")?;
        let node = self.node(&node)?;
        let mut said = String::new();
        for (shard, frames) in frames.iter().enumerate() {
            let frames = frames.parse().map_err(|_| format!("{frames} frames?"))?;
            let answer = match self.cluster()?.write(node, shard, frames) {
                None => "nobody answers".to_owned(),
                Some(Ok(())) => {
                    format!("accepted, now at {}", words::position(&self.cluster()?.position(node)))
                }
                Some(Err(denied)) => format!("refused: {}", words::denied(denied)),
            };
            let _ = writeln!(said, "{node} {answer}");
        }
        Ok(said)
    }

    /// What happened since it was told last.
    fn told(&mut self) -> Result<String, String> {
        let mut notes = self.cluster()?.take_notes();
        notes.retain(|note| self.is_news(note));
        let mut said = words::notes(&notes, self.zero, &self.shown);
        if let Some(violation) = self.violation() {
            let _ = writeln!(said, "VIOLATION of {violation}");
        }
        Ok(said)
    }

    /// Leaves out what only repeats: saves of the position alone, refusals after the first.
    fn is_news(&mut self, note: &Note) -> bool {
        match &note.what {
            What::Saved(state) => {
                let news = (note.node, state.epoch, state.voted_for);
                let old = self.saved.contains(&news);
                self.saved.retain(|(node, ..)| *node != note.node);
                self.saved.push(news);
                !old
            }
            What::Link(peer, event) => {
                let news = (note.node, *peer, *event);
                let old = self.links.contains(&news);
                self.links.retain(|(node, of, _)| (*node, of) != (note.node, peer));
                self.links.push(news);
                !old
            }
            _ => true,
        }
    }

    fn begin(&mut self, node: NodeId, kind: FaultKind) -> Result<(), String> {
        let fault = self.cluster()?.begin_fault(node, kind);
        let fault = fault.ok_or_else(|| format!("{}: not possible at {node} now", kind.name()))?;
        self.faults.push((node, kind, fault));
        Ok(())
    }

    fn begin_each(&mut self, case: &mut TestCase, kind: FaultKind) -> Result<(), String> {
        self.each(case)?.into_iter().try_for_each(|node| self.begin(node, kind))
    }

    fn end(&mut self, over: impl Fn(NodeId, &FaultKind) -> bool) -> Result<(), String> {
        let (over, on): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.faults).into_iter().partition(|(node, kind, _)| over(*node, kind));
        self.faults = on;
        if over.is_empty() {
            return Err("there is nothing to end".to_owned());
        }
        for (.., fault) in over {
            self.cluster()?.end_fault(fault);
        }
        Ok(())
    }

    fn end_each(&mut self, case: &mut TestCase, over: impl Fn(&FaultKind) -> bool) -> Result<(), String> {
        self.each(case)?.into_iter().try_for_each(|node| self.end(|at, kind| at == node && over(kind)))
    }

    fn cluster(&mut self) -> Result<&mut Cluster, String> {
        self.cluster.as_mut().ok_or_else(|| "say `cluster 3` first".to_owned())
    }

    fn node(&self, word: &str) -> Result<NodeId, String> {
        let number: usize = word.parse().map_err(|_| format!("{word:?} is not the number of a node"))?;
        self.nodes.get(number.wrapping_sub(1)).copied().ok_or(format!("there is no node {number}"))
    }

    fn number(&self, id: NodeId) -> usize {
        self.nodes.iter().position(|node| *node == id).unwrap_or_default()
    }

    /// The nodes that the command names, in order.
    fn each(&self, case: &mut TestCase) -> Result<Vec<NodeId>, String> {
        let mut nodes = std::mem::take(&mut case.args)
            .into_keys()
            .map(|word| self.node(&word))
            .collect::<Result<Vec<_>, _>>()?;
        nodes.sort();
        if nodes.is_empty() { Err("which node?".to_owned()) } else { Ok(nodes) }
    }

    fn between(&self, case: &mut TestCase) -> Result<[NodeId; 2], String> {
        match case.args.remove("between").unwrap_or_default().as_slice() {
            [a, b] => Ok([self.node(a)?, self.node(b)?]),
            _ => Err("say `between=(1,2)`".to_owned()),
        }
    }
}

fn is_of_network(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Cut { .. }
            | FaultKind::CutOneWay { .. }
            | FaultKind::Partition { .. }
            | FaultKind::Firewall { .. }
            | FaultKind::Storm { .. }
    )
}

fn flag(case: &mut TestCase, name: &str) -> bool {
    case.args.get(name).is_some_and(Vec::is_empty) && case.args.remove(name).is_some()
}

fn take(case: &mut TestCase, name: &str) -> Result<String, String> {
    case.take_arg(name).map_err(|error| error.to_string())
}

fn optional(case: &mut TestCase, name: &str) -> Result<Option<usize>, String> {
    case.try_take_arg(name).map_err(|error| error.to_string())
}

fn which<'a, const N: usize>(case: &mut TestCase, words: [&'a str; N]) -> Result<&'a str, String> {
    words.into_iter().find(|word| flag(case, word)).ok_or(format!("say one of {words:?}"))
}

fn duration(word: &str) -> Option<Duration> {
    let (number, unit) = match word.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (word.strip_suffix('s')?, 1.0),
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()
}
