//! The one async loop that touches the world: it feeds the elector and carries its outputs out.
//!
//! One future, no spawning: the transport's work, the saves, the host's calls and the timer are polled
//! side by side, so none of them can delay another, and any executor will do.

mod catalog;
mod decisions;
mod log_limit;
mod metrics;
mod mutation;
mod position_cell;
mod reign_cell;
mod save;
mod transition;
mod wishes;

pub use catalog::{LabelValues, METRICS, MetricInfo, MetricKind};
pub(crate) use metrics::Metrics;
#[cfg(feature = "sim")]
pub use mutation::DriverMutation;
#[cfg(not(feature = "sim"))]
use mutation::DriverMutation;
pub use reign_cell::Reign;

use crate::clock::Clock;
use crate::config::Config;
use crate::elector::{Command, Elector, GateState, HostAction, HostReport, Output};
use crate::error::ElectError;
use crate::event::{Event, EventKind};
use crate::fence::{Denied, FenceReason, Health};
use crate::gate::WriteGate;
use crate::host::{HostError, ReplicationHost};
use crate::ids::{ClusterId, NodeId};
use crate::membership::Membership;
use crate::message::{Heartbeat, Hello, Message, PROTOCOL, Role};
use crate::rank::Rank;
use crate::store::VoteStore;
use crate::terms::Terms;
use crate::time::{Duration, Instant};
use crate::transport::{Transport, TransportError, TransportEvent};
use futures::future::{BoxFuture, FutureExt};
pub(crate) use log_limit::LogLimit;
use position_cell::PositionCell;
use reign_cell::ReignCell;
use save::Saves;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use transition::{Answer, Done, Transitions};
use wishes::{Wish, Wishes};

/// A machine that slept for longer than this has a clock that lags. Below it is what reading two clocks
/// one after the other costs when the process is descheduled between them.
const SUSPEND_MIN: Duration = Duration::from_millis(5);

/// After this many inputs in a row the loop lets the executor run something else.
const INPUTS_PER_TURN: u32 = 64;

/// What the driver shares with the threads that call the plugin.
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) gate: WriteGate,
    /// Beside the gate, so that a client's command that asks who reigns waits for the election as little as a write does.
    pub(crate) reign: ReignCell,
    pub(crate) position: PositionCell,
    /// Whether automatic elections are paused.
    pub(crate) paused: AtomicBool,
    pub(crate) wishes: Wishes,
    /// What is wrong with the host, where something is.
    ailment: Mutex<Option<String>>,
    /// Peers whose configuration differs from this node's, and in what.
    differs: Mutex<BTreeMap<NodeId, String>>,
    /// `None` before the driver has started.
    elector: Mutex<Option<Elector>>,
    events: async_broadcast::Sender<Event>,
    /// Keeps the channel open while nobody listens.
    listeners: async_broadcast::InactiveReceiver<Event>,
    /// What to do wrong, in a test of the simulator.
    #[cfg(feature = "sim")]
    pub(crate) mutation: std::sync::OnceLock<DriverMutation>,
}

impl Shared {
    pub(crate) fn new(clock: Arc<dyn Clock>, lease: Duration, backlog: usize) -> Self {
        let (mut events, receiver) = async_broadcast::broadcast(backlog);
        // A slow reader loses the oldest events; it must never hold the election up.
        events.set_overflow(true);
        events.set_await_active(false);
        Self {
            gate: WriteGate::new(clock.clone(), lease),
            clock,
            reign: ReignCell::default(),
            position: PositionCell::new(),
            paused: AtomicBool::new(false),
            wishes: Wishes::default(),
            ailment: Mutex::new(None),
            differs: Mutex::default(),
            elector: Mutex::new(None),
            events,
            listeners: receiver.deactivate(),
            #[cfg(feature = "sim")]
            mutation: std::sync::OnceLock::new(),
        }
    }

    pub(crate) fn listen(&self) -> async_broadcast::Receiver<Event> {
        self.listeners.activate_cloned()
    }

    /// What is wrong with the host, for people.
    pub(crate) fn ailment(&self) -> MutexGuard<'_, Option<String>> {
        self.ailment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Peers whose configuration differs from this node's, and in what.
    pub(crate) fn differs(&self) -> MutexGuard<'_, BTreeMap<NodeId, String>> {
        self.differs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn elector(&self) -> MutexGuard<'_, Option<Elector>> {
        self.elector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shuts the gate when the driver ends, however it ends: dropped, failed, or unwound. Declared after the
/// transport's future, so dropped before it: by the time a peer can see our links end, nothing is written.
struct ShutOnDrop<'a>(&'a Shared);

impl Drop for ShutOnDrop<'_> {
    fn drop(&mut self) {
        if self.0.shuts_at_the_end() {
            self.0.gate.set(GateState::Shut(Denied::Fenced(FenceReason::Stopped)));
            self.0.reign.end();
        }
    }
}

/// What the driver is made of.
pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Arc<dyn VoteStore>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) host: Arc<dyn ReplicationHost>,
    pub(crate) metrics: Metrics,
    /// Since when, and how much of, what others cause was logged.
    pub(crate) log_limit: Mutex<LogLimit>,
}

/// What woke the loop.
enum Input {
    Transport(TransportEvent),
    TransportEnded(Result<(), TransportError>),
    Saved(save::Saved),
    Host(Done),
    Answer(Answer),
    Wish(Wish),
    Timer,
}

impl Driver {
    /// Runs until shut down, or until it cannot.
    pub(crate) async fn run(mut self, config: Config, seed: u64) -> Result<(), ElectError> {
        let restored = save::load(&*self.store).await?;
        let position = self.host.start(restored.as_ref().map(|state| state.position.clone())).await?;
        self.shared.position.replace_with(&position);
        let of_data = self.host.cluster();
        let of_record = restored.as_ref().and_then(|state| state.identity).filter(|known| known.is_settled());
        if let Some(known) = of_record {
            agree(known.cluster, of_data)?;
            self.host.belongs(known.cluster);
        }
        if let Some(members) = restored.as_ref().and_then(|state| state.members.as_ref()) {
            knows(&config, members)?;
        }

        let cluster = config.cluster().to_owned();
        let node = config.node();
        let (mut in_force, mut terms) = (config.clone(), Terms::of(&config));
        let clock = self.shared.clock.clone();
        let mut elector = Elector::new(config, restored, clock.wall_ms(), seed, clock.now());
        let report =
            HostReport::Position { stream_epoch: position.stream_epoch(), offsets: position.offsets() };
        elector.handle_host(clock.now(), report);
        if let Some(cluster) = of_data {
            elector.handle_host(clock.now(), HostReport::Belongs(cluster));
        }
        let incarnation = elector.status().incarnation;
        self.shared.reign.name(elector.members());
        self.host.voters(&elector.voters().collect::<Vec<_>>());
        self.shared.paused.store(elector.status().paused, Ordering::Relaxed);
        *self.shared.elector() = Some(elector);

        self.metrics.proves(self.transport.proves());
        let transport = self.transport.clone();
        let said = terms.text().to_owned();
        let hello = Hello { protocol: PROTOCOL, cluster, node, incarnation, terms: said, pass: None };
        let mut sources = Sources {
            transport_run: Some(async move { transport.run(hello).await }.boxed()),
            receiving: None,
            timer: None,
            turn: 0,
            heard: false,
        };
        let shared = self.shared.clone();
        let _shut = ShutOnDrop(&shared);
        let mut transitions = Transitions::new(self.host.clone());
        let mut saves = Saves::new(self.store.clone(), clock.clone());
        let mut suspended = clock.suspended();
        let mut offsets = Vec::new();
        let mut closing = false;
        // What the gate, and the host about it, was told last.
        let mut told = GateState::Shut(Denied::Replica);

        loop {
            self.pump(&mut told, &mut transitions, &mut saves);
            if closing && saves.idle() && !self.elector(|elector| elector.is_reigning()) {
                sources.close(&*self.transport).await;
                return Ok(());
            }
            let deadline = self.elector(|elector| elector.next_timeout());
            let input = futures::future::poll_fn(|cx| {
                sources.poll(cx, &self, &mut transitions, &mut saves, deadline)
            })
            .await;

            let now = clock.now();
            let slept = clock.suspended();
            if self.has_slept(suspended, slept) {
                self.elector(|elector| elector.handle_command(now, Command::ClockJumped));
            }
            suspended = suspended.max(slept);
            if let Some(stream_epoch) = self.shared.position.read(&mut offsets) {
                let report = HostReport::Position { stream_epoch, offsets: &offsets };
                self.elector(|elector| elector.handle_host(now, report));
            }
            match input {
                Input::Timer => {
                    self.metrics.count(&*self.transport);
                    let health = self.host.health();
                    self.note_ailment(health);
                    let answers = self.host.answers();
                    self.elector(|elector| {
                        elector.handle_host(now, HostReport::Health(health));
                        elector.handle_host(now, HostReport::Answers(answers));
                        if elector.config().rank() == Rank::Seniority {
                            elector.handle_host(now, HostReport::Work(self.host.work()));
                        }
                        if elector.wants_to_know_if_busy() {
                            elector.handle_host(now, HostReport::Busy(self.host.is_busy()));
                        }
                        elector.handle_timeout(now);
                    });
                }
                Input::Transport(TransportEvent::Message { from, mut message }) => {
                    self.metrics.received(now, from, &message);
                    if let Message::Heartbeat(Heartbeat { pause: pause @ Some(_), .. }) = &mut message {
                        *pause = pause.filter(|order| order.is_plausible(self.shared.clock.wall_ms()));
                    }
                    self.elector(|elector| elector.handle_message(now, from, message));
                }
                Input::Transport(TransportEvent::Link { peer, event }) => {
                    self.metrics.moved();
                    self.elector(|elector| elector.handle_link(now, peer, event));
                }
                Input::Transport(TransportEvent::Terms { peer, terms: theirs }) => {
                    self.compare(now, peer, terms.differences(&theirs));
                }
                Input::Transport(TransportEvent::Refused { claimed, reason, detail }) => {
                    let claimed = claimed.as_ref().map_or("none", NodeId::as_str);
                    let node = self.metrics.node();
                    let detail = detail.map(|detail| format!(" detail={detail:?}")).unwrap_or_default();
                    let line = format_args!(
                        "event=refused claimed={claimed} reason={}{detail} node={node}",
                        reason.as_str()
                    );
                    self.log_limited(now, "refused", log::Level::Warn, line);
                    self.metrics.refused(reason, &*self.transport);
                }
                Input::TransportEnded(result) => {
                    result?;
                    if !closing {
                        // It was closed under us: without links there is nothing left to decide.
                        return Ok(());
                    }
                }
                Input::Saved(saved) => {
                    self.metrics.saved(saved.took, saved.result.is_ok());
                    self.elector(|elector| match saved.result {
                        Ok(()) => elector.handle_persisted(now, saved.seq),
                        Err(error) => elector.handle_persist_failed(now, saved.seq, &error.to_string()),
                    });
                }
                Input::Host(done) => {
                    if let Some((call, error)) = done.failed() {
                        let line = format_args!("event=fence_failed call={call} error={error:?}");
                        self.log_limited(now, "fence_failed", log::Level::Error, line);
                        self.metrics.host_failed(call);
                    }
                    if let Some(report) = done.report() {
                        self.elector(|elector| elector.handle_host(now, report));
                    }
                }
                Input::Answer(answer) => self.on_answer(answer),
                Input::Wish(Wish::Meet(member, address)) => {
                    if in_force.meet(member) {
                        terms = Terms::of(&in_force);
                        self.elector(|elector| elector.handle_command(now, Command::Meet(member)));
                        self.shared.reign.name([member.id]);
                        self.metrics.meet(member.id);
                        // It may be on the list already (M12).
                        self.tell_voters();
                        self.transport.meet(member.id, &address, terms.text());
                    }
                }
                // No rule of the election asks where a member is (M14).
                Input::Wish(Wish::Relocate(node, address)) => self.transport.relocate(node, &address),
                Input::Wish(Wish::Command(command)) => {
                    closing |= command == Command::Shutdown;
                    let busy = matches!(command, Command::Shutdown | Command::Transfer { .. })
                        && self.host.is_busy();
                    self.elector(|elector| {
                        elector.handle_host(now, HostReport::Busy(busy));
                        elector.handle_command(now, command);
                    });
                }
            }
        }
    }

    /// Says in what a peer's configuration differs from this node's now, where that is news.
    fn compare(&self, at: Instant, peer: NodeId, differs: Option<String>) {
        let known = match differs.clone() {
            Some(what) => self.shared.differs().insert(peer, what),
            None => self.shared.differs().remove(&peer),
        };
        if known == differs {
            return;
        }
        self.metrics.differs(peer, differs.is_some());
        let epoch = self.elector(|elector| elector.epoch());
        let kind = match differs {
            Some(what) => EventKind::TermsDiffer { peer, what },
            None => EventKind::TermsAgree { peer },
        };
        self.tell(Event::new(at, epoch, kind));
    }

    /// Keeps what is wrong with the host for those who look, and logs it when it is new.
    fn note_ailment(&self, health: Health) {
        let mut known = self.shared.ailment();
        if health.is_good() {
            *known = None;
            return;
        }
        let now =
            self.host.ailment().unwrap_or_else(|| format!("the server says that it is {}", health.as_str()));
        if known.is_none() {
            let node = self.metrics.node();
            let line = format_args!("event=ailment health={} what={now:?} node={node}", health.as_str());
            self.log_limited(self.shared.clock.now(), "ailment", log::Level::Warn, line);
        }
        *known = Some(now);
    }

    fn elector<R>(&self, with: impl FnOnce(&mut Elector) -> R) -> R
    where
        R: Default,
    {
        self.shared.elector().as_mut().map(with).unwrap_or_default()
    }

    /// Carries out what the elector wants. The gate comes first: before anything is sent, it is as shut as
    /// the elector wants it.
    fn pump(&mut self, told: &mut GateState, transitions: &mut Transitions, saves: &mut Saves) {
        loop {
            let (gate, output) = {
                let mut elector = self.shared.elector();
                let Some(elector) = elector.as_mut() else { return };
                let gate = elector.gate();
                if *told != gate {
                    // Before the gate opens: whoever may write has been told that he reigns.
                    self.tell_reign(elector);
                }
                (gate, elector.poll_output())
            };
            if *told != gate && self.gate_goes_first(output.is_none()) {
                self.set_gate(gate);
                *told = gate;
            }
            match output {
                None => break,
                Some(Output::Persist(seq, state)) => match saves.queue(seq, &state) {
                    Ok(queued) if self.is_durable(queued) => {
                        let now = self.shared.clock.now();
                        self.elector(|elector| elector.handle_persisted(now, seq));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let now = self.shared.clock.now();
                        let error = error.to_string();
                        self.elector(|elector| elector.handle_persist_failed(now, seq, &error));
                    }
                },
                Some(Output::Send(to, message)) => {
                    let now = self.shared.clock.now();
                    let refused = self.transport.send_all(to.ids(), &message);
                    self.metrics.sent(now, &message, to.ids().len(), &refused);
                }
                Some(Output::Host(action)) => {
                    transitions.start(action, self.fence_drops_promotion());
                    match action {
                        HostAction::Detach(seq) => {
                            if let Some(answer) = self.answer_now(seq, transitions) {
                                self.on_answer(answer);
                            }
                        }
                        HostAction::Promote(epoch) if !self.waits_for_the_host() => {
                            let now = self.shared.clock.now();
                            self.elector(|elector| elector.handle_host(now, HostReport::Promoted(epoch)));
                        }
                        _ => {}
                    }
                }
                Some(Output::Event(event)) => self.tell(event),
            }
        }
        let elector = self.shared.elector();
        if let Some(elector) = elector.as_ref() {
            transitions.keep_question(|| elector.question());
            self.tell_reign(elector);
            self.metrics.observe(elector, &*self.shared.clock);
        }
    }

    /// The host has let go of the old primary, or could not.
    fn on_answer(&self, Answer { seq, position }: Answer) {
        match position {
            Ok(position) => {
                self.shared.position.replace_with(&position);
                let now = self.shared.clock.now();
                self.elector(|elector| elector.handle_host(now, HostReport::Detached(seq, &position)));
            }
            Err(error) => {
                let line = format_args!("event=detach_failed error={:?}", error.0);
                self.log_limited(self.shared.clock.now(), "detach_failed", log::Level::Error, line);
                self.metrics.host_failed("detach");
            }
        }
    }

    fn tell_reign(&self, elector: &Elector) {
        self.shared.reign.set(elector.epoch(), elector.primary_index(), elector.role() == Role::Primary);
    }

    fn tell_voters(&self) {
        let (voters, quorum) =
            self.elector(|elector| (elector.voters().collect::<Vec<_>>(), elector.quorum()));
        self.host.voters(&voters);
        self.metrics.quorum(quorum);
    }

    fn tell(&self, event: Event) {
        if let EventKind::Paused { paused } = event.kind {
            self.shared.paused.store(paused, Ordering::Relaxed);
        }
        if let EventKind::Members { .. } = event.kind {
            self.tell_voters();
        }
        if let EventKind::Belongs { cluster } = event.kind {
            self.host.belongs(cluster);
        }
        let node: NodeId = self.metrics.node();
        let line = format_args!("{event} node={node}");
        self.log_limited(event.at, event.kind.name(), event.kind.level(), line);
        self.metrics.event(&event, &*self.shared.clock);
        // Fails only when nobody listens.
        let _ = self.shared.events.try_broadcast(event);
    }
}

/// Lines go into the log within limits.
impl Driver {
    fn log_limited(&self, now: Instant, kind: &'static str, level: log::Level, line: fmt::Arguments<'_>) {
        let Some(suppressed) = self.log_limit().admit(kind, now) else { return self.metrics.left_out() };
        if suppressed > 0 {
            log::warn!(target: "kevy_elect", "elect event=suppressed kind={kind} lines={suppressed}");
        }
        log::log!(target: "kevy_elect", level, "elect {line}");
    }

    fn log_limit(&self) -> MutexGuard<'_, LogLimit> {
        self.log_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A vote record and data of two clusters are not one node's: whichever is right, the other would be lost.
fn agree(of_record: ClusterId, of_data: Option<ClusterId>) -> Result<(), HostError> {
    match of_data {
        Some(of_data) if of_data != of_record => Err(HostError::new(format!(
            "its vote record is of cluster {of_record}, and its data of cluster {of_data}: files of two nodes are in one data \
             directory. Put back what belongs together, or move both away and let the node copy"
        ))),
        _ => Ok(()),
    }
}

/// Who votes is in the record. A file that lacks one of them was edited too early, or is another cluster's.
fn knows(config: &Config, members: &Membership) -> Result<(), ElectError> {
    match members.contradiction(config) {
        Some(voter) => {
            let file = Membership::of_file(config).list();
            Err(ElectError::Members { voter, file, record: members.list() })
        }
        None => Ok(()),
    }
}

/// Everything that can wake the loop, beside saves, the host's calls and wishes.
struct Sources {
    transport_run: Option<BoxFuture<'static, Result<(), TransportError>>>,
    receiving: Option<BoxFuture<'static, TransportEvent>>,
    timer: Option<(Instant, BoxFuture<'static, ()>)>,
    turn: u32,
    /// The last input was a message, or an event of a link.
    heard: bool,
}

impl Sources {
    /// Closes the transport, whose work goes on meanwhile: what was said last still has to go out.
    async fn close(&mut self, transport: &dyn Transport) {
        let mut closing = transport.close();
        futures::future::poll_fn(|cx| {
            if let Some(run) = &mut self.transport_run
                && run.poll_unpin(cx).is_ready()
            {
                self.transport_run = None;
            }
            closing.poll_unpin(cx)
        })
        .await;
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        driver: &Driver,
        transitions: &mut Transitions,
        saves: &mut Saves,
        deadline: Option<Instant>,
    ) -> Poll<Input> {
        let clock = &*driver.shared.clock;
        // Under a flood of messages there is always an input ready; the executor has other work too.
        self.turn += 1;
        if self.turn > INPUTS_PER_TURN {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let overdue = deadline.is_some_and(|at| at <= clock.now());
        // Messages before timers, so that a process that was stopped first hears what it missed; but while a timer is due they take
        // turns. Before the transport has written the answer, so that what is said behind an echo leaves with it (L9).
        if std::mem::take(&mut self.heard) && overdue {
            return Poll::Ready(Input::Timer);
        }
        if let Some(run) = &mut self.transport_run
            && let Poll::Ready(result) = run.poll_unpin(cx)
        {
            self.transport_run = None;
            return Poll::Ready(Input::TransportEnded(result));
        }
        if let Poll::Ready(saved) = saves.poll(cx) {
            return Poll::Ready(Input::Saved(saved));
        }
        if let Poll::Ready(answer) = transitions.poll_question(cx) {
            return Poll::Ready(Input::Answer(answer));
        }
        if let Poll::Ready(done) = transitions.poll(cx) {
            return Poll::Ready(Input::Host(done));
        }
        if let Poll::Ready(wish) = driver.shared.wishes.poll(cx) {
            return Poll::Ready(Input::Wish(wish));
        }
        let receiving = self.receiving.get_or_insert_with(|| {
            let transport = driver.transport.clone();
            async move { transport.recv().await }.boxed()
        });
        if let Poll::Ready(event) = receiving.poll_unpin(cx) {
            self.receiving = None;
            self.heard = true;
            return Poll::Ready(Input::Transport(event));
        }
        if overdue {
            return Poll::Ready(Input::Timer);
        }
        let Some(deadline) = deadline else { return Poll::Pending };
        // One that would ring too early is armed anew, too: it wakes a process that has nothing to do then, and deadlines move only
        // once in a round of heartbeats. The old one goes first: what it is armed with is used again.
        if self.timer.as_ref().is_none_or(|(at, _)| *at != deadline) {
            self.timer = None;
            self.timer = Some((deadline, clock.timer(deadline)));
        }
        if let Some((_, timer)) = &mut self.timer
            && timer.poll_unpin(cx).is_ready()
        {
            self.timer = None;
            return Poll::Ready(Input::Timer);
        }
        Poll::Pending
    }
}
