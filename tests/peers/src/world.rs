//! The world of a run: machines, what comes next, and the judge.

use crate::PATIENCE_MS;
use crate::event::{Entry, Event};
use crate::judge::{Finding, Judge, Verdict};
use crate::net::{Life, Net, Storm};
use crate::node::{Data, Habits, Input, Node, Outbox, Seat, name};
use crate::plan::{Kind, MS, Plan, Target};
use crate::timeline::{Line, What};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How often servers write and copy.
const SERVE: u64 = 100 * MS;
/// A replica that reaches its primary again takes so long until it copies: heartbeats come first.
const JOIN: u64 = 500 * MS;
/// The processes of a cluster are started within this time.
const STARTS: u64 = 500 * MS;
/// The most events of a run: systems that talk without end are a finding, not a hang. A usual run has some ten thousands.
const EVENTS_MAX: u64 = 10_000_000;

struct Process<N> {
    node: N,
    life: Life,
    /// The wakeup that is in the queue.
    wake_at: u64,
}

struct Machine<N: Node> {
    process: Option<Process<N>>,
    disk: N::Disk,
    data: Data,
    /// How many faults keep it down, and how many of them took its power.
    down: u16,
    dark: u16,
    /// What the timeline said of it last: role, epoch, whether it may write.
    told: (&'static str, u64, bool),
}

pub(crate) struct World<N: Node> {
    pub(crate) plan: Plan,
    pub(crate) now: u64,
    pub(crate) net: Net<N::Message>,
    habits: Habits,
    machines: Vec<Machine<N>>,
    queue: BinaryHeap<Reverse<Entry<N::Message>>>,
    pushed: u64,
    lives: Life,
    /// Whom each fault under way hit.
    hit: Vec<Option<usize>>,
    judge: Judge,
    timeline: Option<Vec<Line>>,
    outbox: Outbox<N::Message>,
}

impl<N: Node> World<N> {
    pub(crate) fn new(plan: &Plan, habits: Habits, traced: bool) -> Self {
        let nodes = plan.nodes;
        let machine = |node| Machine {
            process: None,
            disk: N::Disk::default(),
            data: Data { stream: 0, offset: u64::from(node == plan.first) },
            down: 0,
            dark: 0,
            told: ("", 0, false),
        };
        let mut world = Self {
            plan: plan.clone(),
            now: 0,
            net: Net::new(nodes),
            habits,
            machines: (0..nodes).map(machine).collect(),
            queue: BinaryHeap::with_capacity(256),
            pushed: 0,
            lives: 0,
            hit: vec![None; plan.faults.len()],
            judge: Judge::new(nodes),
            timeline: traced.then(Vec::new),
            outbox: Vec::new(),
        };
        for node in 0..nodes {
            let at = world.rng(&[0, node as u64]).u64(0..STARTS);
            world.push(at, Event::Start(node));
        }
        for (fault, at) in plan.faults.iter().map(|fault| fault.at).enumerate() {
            world.push(at, Event::Fault(fault));
        }
        world.push(plan.heal_at, Event::Heal);
        world.push(SERVE, Event::Serve);
        world
    }

    pub(crate) fn run(mut self) -> Verdict {
        let end = self.plan.heal_at + PATIENCE_MS * MS;
        let mut events = 0;
        while let Some(Reverse(entry)) = self.queue.pop()
            && entry.at <= end
            && events < EVENTS_MAX
        {
            events += 1;
            self.now = entry.at;
            self.dispatch(entry.event);
            self.look();
        }
        self.now = end;
        self.look();
        self.tell_end();
        self.judge.end(end, events == EVENTS_MAX, self.timeline.unwrap_or_default())
    }

    pub(crate) fn push(&mut self, at: u64, event: Event<N::Message>) {
        self.pushed += 1;
        self.queue.push(Reverse(Entry { at, number: self.pushed, event }));
    }

    fn dispatch(&mut self, event: Event<N::Message>) {
        match event {
            Event::Wake { node, life } => self.on_wake(node, life),
            Event::Frame(frame) => self.on_frame(*frame),
            Event::LinkEnd { at, peer, life, conn, event } => self.on_link_end(at, peer, life, conn, event),
            Event::Dial(a, b) => self.on_dial(a, b),
            Event::Start(node) => self.start(node),
            Event::Serve => self.serve(),
            Event::Fault(fault) => self.on_fault(fault),
            Event::Over(fault) => self.end_fault(fault),
            Event::Heal => {
                (0..self.hit.len()).for_each(|fault| self.end_fault(fault));
                self.tell(What::Fault, || "everything is healed".to_owned());
            }
        }
    }

    /// One input to a process, and all that follows from it at once.
    pub(crate) fn step(&mut self, node: usize, input: Input<N::Message>) {
        let Some(process) = &mut self.machines[node].process else { return };
        let mut outbox = std::mem::take(&mut self.outbox);
        process.node.input(self.now, input, &mut outbox);
        self.after(node, outbox);
    }

    fn after(&mut self, node: usize, mut outbox: Outbox<N::Message>) {
        for (to, message) in outbox.drain(..) {
            self.send(node, to, message);
        }
        self.outbox = outbox;
        let Some(process) = &mut self.machines[node].process else { return };
        let (at, life) = (process.node.wake_at().max(self.now), process.life);
        if at < process.wake_at {
            process.wake_at = at;
            self.push(at, Event::Wake { node, life });
        }
        self.judge_office(node);
    }

    fn on_wake(&mut self, node: usize, life: Life) {
        let Some(process) = self.machines[node].process.as_mut().filter(|process| process.life == life)
        else {
            return;
        };
        if process.wake_at != self.now {
            return; // An earlier wakeup has replaced this one.
        }
        process.wake_at = u64::MAX;
        let at = process.node.wake_at();
        if at > self.now {
            // It was called in between, and has put it off.
            process.wake_at = at;
            self.push(at, Event::Wake { node, life });
        } else {
            self.step(node, Input::Time);
        }
    }

    fn start(&mut self, node: usize) {
        if self.machines[node].down > 0 || self.machines[node].process.is_some() {
            return;
        }
        self.lives += 1;
        let life = self.lives;
        let seed = self.rng(&[1, node as u64, life]).u64(..);
        let seat = Seat { me: node, nodes: self.plan.nodes, habits: self.habits, seed };
        let machine = &mut self.machines[node];
        let disk = std::mem::take(&mut machine.disk);
        let mut outbox = std::mem::take(&mut self.outbox);
        let started = N::start(seat, disk, machine.data, self.now, &mut outbox);
        machine.process = Some(Process { node: started, life, wake_at: u64::MAX });
        self.tell(What::Minor, || format!("{} starts", name(node)));
        self.after(node, outbox);
        for peer in (0..self.plan.nodes).filter(|peer| *peer != node) {
            let at = self.now + self.rng(&[5, node as u64, peer as u64, self.now]).u64(MS..20 * MS);
            self.dial(node, peer, at);
        }
    }

    /// Clients write, and replicas copy what they can reach.
    fn serve(&mut self) {
        self.push(self.now + SERVE, Event::Serve);
        for node in 0..self.plan.nodes {
            if self.writes(node) {
                let more = self.rng(&[6, node as u64, self.now]).u64(1..=3);
                let Data { stream, offset } = self.machines[node].data;
                self.set_data(node, Data { stream, offset: offset + more });
            }
        }
        for node in 0..self.plan.nodes {
            let upstream = self.machines[node].process.as_ref().and_then(|process| process.node.upstream());
            if let Some(upstream) = upstream
                && self.office(upstream).is_some()
                && self.net.is_whole(node, upstream, self.now.saturating_sub(JOIN))
            {
                self.set_data(node, self.machines[upstream].data);
            }
        }
    }

    fn set_data(&mut self, node: usize, data: Data) {
        if std::mem::replace(&mut self.machines[node].data, data) != data {
            self.step(node, Input::Data(data));
        }
    }

    fn on_fault(&mut self, fault: usize) {
        let fault_now = self.plan.faults[fault];
        let target = self.find(fault_now.target);
        self.hit[fault] = Some(target);
        let lasts = fault_now.lasts.min(self.plan.heal_at - self.now);
        self.push(self.now + lasts, Event::Over(fault));
        let (kind, nodes) = (fault_now.kind, self.plan.nodes);
        self.tell(What::Fault, || {
            format!("{}, for {:.1} s (fault {fault})", kind.told(target, nodes), lasts as f64 / 1e9)
        });
        match kind {
            Kind::Crash { power } => {
                let machine = &mut self.machines[target];
                machine.down += 1;
                machine.dark += u16::from(power);
                if let Some(process) = machine.process.take() {
                    machine.disk = process.node.into_disk();
                    machine.told = ("", 0, false);
                    self.close_links_of(target, power);
                    self.judge_office(target);
                }
            }
            Kind::Cut { .. } => self.cut(fault, target, true),
            Kind::Storm { loss, delay_ms, reorder } => {
                self.net.storms.push(Storm { fault, loss, delay: delay_ms * MS, reorder });
            }
        }
    }

    fn end_fault(&mut self, fault: usize) {
        let Some(target) = self.hit[fault].take() else { return };
        self.tell(What::Fault, || format!("fault {fault} is over"));
        match self.plan.faults[fault].kind {
            Kind::Crash { power } => {
                let machine = &mut self.machines[target];
                machine.down -= 1;
                machine.dark -= u16::from(power);
                self.start(target);
            }
            Kind::Cut { .. } => self.cut(fault, target, false),
            Kind::Storm { .. } => self.net.storms.retain(|storm| storm.fault != fault),
        }
    }

    fn cut(&mut self, fault: usize, target: usize, cut: bool) {
        let Kind::Cut { shape, held } = self.plan.faults[fault].kind else { return };
        let nodes = self.plan.nodes;
        for from in 0..nodes {
            for to in (0..nodes).filter(|to| *to != from) {
                if shape.takes(target, from, to, nodes) {
                    self.set_cut(from, to, cut, held);
                }
            }
        }
    }

    fn find(&self, target: Target) -> usize {
        let highest = (0..self.plan.nodes).filter_map(|node| Some((self.office(node)?, node))).max();
        highest.filter(|_| target.primary).map_or(target.node, |(_, node)| node)
    }

    fn judge_office(&mut self, node: usize) {
        let office = self.office(node);
        if let Some(epoch) = office
            && epoch > self.machines[node].data.stream
        {
            let offset = self.machines[node].data.offset;
            self.set_data(node, Data { stream: epoch, offset });
        }
        let found = self.judge.office(self.now, node, office);
        self.tell_node(node);
        self.tell_finding(found);
    }

    fn look(&mut self) {
        let machines = &self.machines;
        let now = self.now;
        let writers = (0..machines.len()).filter(|node| writes(&machines[*node], now));
        let found = self.judge.writers(now, writers);
        if self.timeline.is_some() {
            (0..self.plan.nodes).for_each(|node| self.tell_node(node));
        }
        self.tell_finding(found);
    }

    pub(crate) fn life(&self, node: usize) -> Option<Life> {
        self.machines[node].process.as_ref().map(|process| process.life)
    }

    pub(crate) fn incarnation(&self, node: usize) -> u64 {
        self.machines[node].process.as_ref().map_or(0, |process| process.node.incarnation())
    }

    pub(crate) fn is_dark(&self, node: usize) -> bool {
        self.machines[node].dark > 0
    }

    fn office(&self, node: usize) -> Option<u64> {
        self.machines[node].process.as_ref().and_then(|process| process.node.office())
    }

    fn writes(&self, node: usize) -> bool {
        writes(&self.machines[node], self.now)
    }
}

fn writes<N: Node>(machine: &Machine<N>, now: u64) -> bool {
    let node = machine.process.as_ref().map(|process| &process.node);
    node.is_some_and(|node| node.office().is_some() && node.may_write(now))
}

/// For those who read.
impl<N: Node> World<N> {
    fn tell(&mut self, what: What, text: impl FnOnce() -> String) {
        if let Some(timeline) = &mut self.timeline {
            timeline.push(Line { at: self.now, what, text: text() });
        }
    }

    pub(crate) fn tell_message(&mut self, from: usize, to: usize, message: &N::Message) {
        if self.timeline.is_some()
            && let Some(text) = N::told(message)
        {
            self.tell(What::Message, || format!("{} -> {}  {text}", name(from), name(to)));
        }
    }

    fn tell_node(&mut self, node: usize) {
        let Some(process) = self.machines[node].process.as_ref().filter(|_| self.timeline.is_some()) else {
            return;
        };
        let (role, epoch) = process.node.state();
        let writes = self.writes(node);
        let before = std::mem::replace(&mut self.machines[node].told, (role, epoch, writes));
        if before == (role, epoch, writes) {
            return;
        }
        let may = match (before.2, writes) {
            (false, true) => ", may write now",
            (true, true) => ", may write",
            (true, false) => ", may not write any more",
            (false, false) => "",
        };
        let what = match (before, role) {
            ((was, _, _), _) if was == role && before.2 == writes => What::Minor,
            (("primary", ..), _) | (_, "primary") => What::Office,
            (("", ..), _) => What::Minor,
            _ => What::Role,
        };
        self.tell(what, || format!("{} is {role} in epoch {epoch}{may}", name(node)));
    }

    fn tell_end(&mut self) {
        for node in 0..self.plan.nodes {
            let Some(process) = &self.machines[node].process else { continue };
            let (role, epoch) = process.node.state();
            let primary = process.node.upstream().map_or("nobody".to_owned(), name);
            let may = if self.writes(node) { ", may write" } else { "" };
            self.tell(What::End, || {
                let node = name(node);
                match role {
                    "primary" => format!("{node} is primary in epoch {epoch}{may}"),
                    _ => format!("{node} is {role} in epoch {epoch}, follows {primary}"),
                }
            });
        }
    }

    fn tell_finding(&mut self, found: Option<Finding>) {
        let Some(found) = found else { return };
        self.tell(What::Finding, || match found {
            Finding::TwoInOneEpoch { epoch, nodes: [a, b] } => {
                format!("TWO PRIMARIES IN EPOCH {epoch}: {} and {}", name(a), name(b))
            }
            Finding::TwoWriters([a, b]) => {
                format!("TWO PRIMARIES THAT BOTH SEE A QUORUM: {} and {}", name(a), name(b))
            }
        });
    }
}
