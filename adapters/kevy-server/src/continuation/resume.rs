//! How a link finds out whether its shard can go on in its primary's history without a copy, and makes it go on.
//! Rules: `docs/protocol.md`, section "Continuation".

use crate::continuation::path::{Span, Told, Way, Why, way};
use crate::follow::feed::{Answer, Feed};
use crate::follow::link::{End, Link, Member, News, State};
use crate::follow::session::INBOX_FRAMES_MAX;
use crate::position::cuts;
use crate::position::marks::Place;
use crate::position::witness;
use kevy_elect_plugin::ids::Epoch;
use kevy_rt::Argv;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks at the shard.
const LOOK_INTERVAL: Duration = Duration::from_micros(100);
/// Between two questions to a primary that has not taken up its office yet, and for how long one connection asks.
const NOT_YET_INTERVAL: Duration = Duration::from_millis(2);
const NOT_YET_MAX: Duration = Duration::from_millis(200);
/// Between two questions whether it is this node's turn to copy.
const TURN_INTERVAL: Duration = Duration::from_millis(5);
/// A primary that cannot be asked for so long is copied from.
const MUTE_MAX: Duration = Duration::from_secs(2);
/// For how long shards look around often meanwhile.
const HURRY: Duration = Duration::from_secs(1);
/// Steps from history to history, and attempts that met a change.
const STEPS_MAX: usize = 100;
/// Frames of one question, and questions that are on their way at once.
const FRAMES_MAX: u64 = 4096;
const QUESTIONS_MAX: u64 = 8;
/// Cuts behind the data that are looked at.
const CUTS_MAX: u64 = 4096;
/// Longest wait for a member that is not the primary.
const MEMBER_TIMEOUT: Duration = Duration::from_millis(500);

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The link says where to go on.
    Continues,
    Copies(Why),
}

/// What makes one attempt.
struct Attempt<'a> {
    link: &'a Arc<Link>,
    feed: Feed,
    fetched: u64,
    entered: bool,
    /// Whether it went back over cuts.
    ahead: bool,
}

/// Why an attempt cannot go on.
enum Stop {
    End(End),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Has the link's shard go on, if it can. `Err`: later, or not at all.
pub(crate) fn resume(link: &Arc<Link>) -> Result<Outcome, End> {
    let outcome = match connect(link) {
        Ok(feed) => Attempt { link, feed, fetched: 0, entered: false, ahead: false }.run_or_wait(),
        Err(stop) => Err(stop),
    };
    let mut state = link.state();
    state.feed = None;
    match outcome {
        _ if !state.open => Err(End::Over),
        Ok(outcome) => {
            state.mute = None;
            Ok(outcome)
        }
        Err(Stop::End(end)) => {
            state.mute = None;
            Err(end)
        }
        Err(Stop::Io(error)) => {
            let mute = *state.mute.get_or_insert_with(Instant::now);
            if mute.elapsed() >= MUTE_MAX {
                return Ok(Outcome::Copies(Why::Mute));
            }
            Err(End::Broken(format!("cannot ask the primary for its history: {error}")))
        }
    }
}

/// The metrics are there from the first scrape.
pub(crate) fn describe() {
    metrics::describe_counter!(
        "kevy_server_copies_total",
        "Copies of a shard's whole data that this node took from a primary, by reason."
    );
    metrics::describe_counter!(
        "kevy_server_continuations_total",
        "How often a shard of this node went on in a primary's history without a copy."
    );
    metrics::describe_counter!(
        "kevy_server_continue_fetched_total",
        "Frames that a shard of this node lacked of an older history and fetched from its primary."
    );
    for why in Why::ALL {
        metrics::counter!("kevy_server_copies_total", "reason" => why.as_str()).increment(0);
    }
    for kind in ["equal", "behind", "ahead", "same"] {
        metrics::counter!("kevy_server_continuations_total", "kind" => kind).increment(0);
    }
    metrics::counter!("kevy_server_continue_fetched_total").increment(0);
    metrics::describe_gauge!(
        "kevy_server_kept_bytes",
        metrics::Unit::Bytes,
        "Received frames that this node keeps for others who may lack them."
    );
    metrics::gauge!("kevy_server_kept_bytes").set(0.0);
    metrics::describe_counter!(
        "kevy_server_writes_slowed_total",
        "How often a shard of this primary rested, for up to 40 ms, so that a replica could keep up with writers."
    );
    metrics::counter!("kevy_server_writes_slowed_total").increment(0);
    metrics::describe_gauge!(
        "kevy_server_copy_bytes",
        metrics::Unit::Bytes,
        "How much of the copies that this node takes just now has come."
    );
    metrics::gauge!("kevy_server_copy_bytes").set(0.0);
    metrics::describe_gauge!(
        "kevy_server_copy_rest_bytes",
        metrics::Unit::Bytes,
        "About how much of the copies that this node takes just now is still to come."
    );
    metrics::gauge!("kevy_server_copy_rest_bytes").set(0.0);
    metrics::describe_gauge!(
        "kevy_server_copy_bytes_per_second",
        "How fast the copies come that this node takes just now."
    );
    metrics::gauge!("kevy_server_copy_bytes_per_second").set(0.0);
}

fn connect(link: &Arc<Link>) -> Result<Feed, Stop> {
    let (port, asker) = (link.origin.addresses.site().client_port, &link.origin.asker);
    let connect = |ip| {
        Feed::connect(asker, SocketAddr::new(ip, port), CONNECT_TIMEOUT).map_err(|error| error.to_string())
    };
    let (feed, _) = link.origin.addresses.try_each(connect).map_err(io::Error::other)?;
    let handle = feed.handle()?;
    let mut state = open(link)?;
    if let Some(other) = state.feed.replace(handle) {
        drop(other.shutdown(Shutdown::Both));
    }
    Ok(feed)
}

fn open(link: &Link) -> Result<MutexGuard<'_, State>, Stop> {
    let state = link.state();
    if state.open { Ok(state) } else { Err(Stop::End(End::Over)) }
}

impl Attempt<'_> {
    /// Goes on, or returns once this node may copy.
    fn run_or_wait(&mut self) -> Result<Outcome, Stop> {
        let must = open(self.link)?.must_copy;
        let outcome = match must {
            Some(why) => Outcome::Copies(why),
            None => self.run()?,
        };
        let begun = Instant::now();
        while matches!(outcome, Outcome::Copies(why) if why != Why::Mute) {
            if let Some(bytes) = self.feed.may_copy(self.link.shard, &self.link.origin.node)? {
                open(self.link)?.copy_bytes = bytes;
                break;
            }
            if begun.elapsed() > NOT_YET_MAX {
                return Err(Stop::End(End::Broken("waits until another node has copied".to_owned())));
            }
            drop(self.link.closed.wait_timeout(open(self.link)?, TURN_INTERVAL));
        }
        Ok(outcome)
    }

    fn run(&mut self) -> Result<Outcome, Stop> {
        let (link, shard) = (self.link, self.link.shard);
        // What was told does not change on the way: it is asked anew where the stream is to go on, and each question waits for a turn there.
        let mut known = None;
        for _ in 0..STEPS_MAX {
            let told = match known.take() {
                Some(told) => told,
                None => {
                    let Some(told) = self.told()? else { return Ok(Outcome::Copies(Why::Mute)) };
                    link.shards.learn(shard, &told.beginnings);
                    told
                }
            };
            if told.shards != link.shards.count() {
                // The copy will be refused, with a reason.
                return Ok(Outcome::Copies(Why::Broken));
            }
            self.settle()?;
            let place = link.shards.place(shard);
            let Some(place) = place else { return Ok(Outcome::Copies(Why::Unknown)) };
            match way(Some(place), &told, &link.shards.beginnings(shard)) {
                Way::Copy(why) => return Ok(Outcome::Copies(why)),
                Way::Enters(epoch) => {
                    let beginning = Place { epoch, flushes: 0, offset: 0 };
                    self.entered |= self.go_on(place, beginning)?;
                    known = Some(told);
                }
                Way::Ahead { behind, of } => {
                    if !behind.iter().all(|span| self.are_cuts(*span)) {
                        return Ok(Outcome::Copies(Why::Fork));
                    }
                    self.ahead |= self.go_on(place, Place { epoch: of, flushes: 0, offset: 0 })?;
                    known = Some(told);
                }
                Way::Lacks { until } => {
                    if self.go_on(place, place)? && !self.fetch(place, until)? {
                        return Ok(Outcome::Copies(Why::Missing));
                    }
                    known = Some(told);
                }
                Way::Here => {
                    // First: writers wait for this node before the answer that it can go on (C18).
                    self.feed.want_room(shard, place.offset, 0);
                    self.feed.want_tail(shard);
                    self.feed.want_history(shard);
                    self.feed.send()?;
                    self.feed.room_answer()?;
                    let (generation, tail) = self.feed.tail_answer()?;
                    if self.feed.history_answer()?.is_none_or(|again| !same_stream(&again, &told)) {
                        continue;
                    }
                    if place.offset != tail && !self.has(generation, place.offset)? {
                        return Ok(Outcome::Copies(Why::Missing));
                    }
                    if self.go_on(place, place)? {
                        self.land(generation, place)?;
                        return Ok(Outcome::Continues);
                    }
                }
            }
        }
        Err(Stop::End(End::Broken("the place to go on at changes all the time".to_owned())))
    }

    /// What the primary tells of its shard, once it reigns in the epoch that is followed. `None`: it does not know the question.
    fn told(&mut self) -> Result<Option<Told>, Stop> {
        let begun = Instant::now();
        loop {
            let Some(told) = self.feed.history(self.link.shard)? else { return Ok(None) };
            let meant = self.link.origin.epoch;
            if told.epoch == meant {
                return Ok(Some(told));
            }
            if told.epoch > meant || begun.elapsed() > NOT_YET_MAX {
                let reigns = format!(
                    "the server there is not (or not yet) the primary of epoch {meant}, but of {}",
                    told.epoch
                );
                return Err(Stop::End(End::Broken(reigns)));
            }
            drop(self.link.closed.wait_timeout(open(self.link)?, NOT_YET_INTERVAL));
        }
    }

    /// Waits until nothing of an earlier stream is on its way to the shard, and nothing that passed a gate is not counted.
    fn settle(&self) -> Result<(), Stop> {
        let (link, shard) = (self.link, self.link.shard);
        if link.shards.is_of_own_stream(shard) {
            link.shards.hurry(HURRY);
        }
        loop {
            let turned = !link.shards.is_of_own_stream(shard) || link.has_turned();
            if turned && link.shards.outstanding(shard) == 0 {
                return Ok(());
            }
            drop(link.closed.wait_timeout(open(link)?, LOOK_INTERVAL));
        }
    }

    /// Has the shard take the data at `from` for the data at `to`. False: the data is elsewhere.
    fn go_on(&self, from: Place, to: Place) -> Result<bool, Stop> {
        let (link, shard) = (self.link, self.link.shard);
        let state = open(link)?;
        let number = link.shards.order_to_go_on(shard, from, to);
        drop(state);
        loop {
            if let Some(done) = link.shards.went_on(shard, number) {
                return Ok(done);
            }
            drop(link.closed.wait_timeout(open(link)?, LOOK_INTERVAL));
        }
    }

    /// Whether the primary still has the frame at `offset`.
    fn has(&mut self, generation: u64, offset: u64) -> Result<bool, Stop> {
        match self.feed.ask(self.link.shard, generation, offset, 1)? {
            Answer::Gone(_) | Answer::Unreadable => Ok(false),
            Answer::Frames(frames) => {
                for _ in 0..frames {
                    self.feed.frame()?;
                }
                Ok(true)
            }
        }
    }

    /// Whether all these frames of this node are there to be looked at, and cuts, which change no data (C15).
    fn are_cuts(&self, Span { from, until }: Span) -> bool {
        let (link, shard) = (self.link, self.link.shard);
        let Some(own) = link.origin.members.last() else { return false };
        if link.shards.count() == 1 || until - from.offset > CUTS_MAX {
            return false;
        }
        let look = || {
            let mut feed = ask_member(own)?;
            let mut next = from;
            while next.offset < until {
                let frames = ask_for(&mut feed, shard, next, until - next.offset)?;
                for _ in 0..frames {
                    let (offset, argv) = feed.frame()?;
                    if offset != next.offset || cuts::number(&argv).is_none() {
                        return Ok(false);
                    }
                    next.offset += 1;
                }
                if frames == 0 {
                    return Ok(false);
                }
            }
            Ok::<_, io::Error>(true)
        };
        look().unwrap_or(false)
    }

    /// Fetches what the shard lacks of the history of `from`, up to `until`: from the primary, or else from whoever has it.
    /// False: nobody does.
    fn fetch(&mut self, from: Place, until: u64) -> Result<bool, Stop> {
        let mut next = from;
        let all = self.fetch_of_all(&mut next, until);
        let frames = next.offset - from.offset;
        self.fetched += frames;
        metrics::counter!("kevy_server_continue_fetched_total").increment(frames);
        all
    }

    fn fetch_of_all(&mut self, next: &mut Place, until: u64) -> Result<bool, Stop> {
        if self.fetch_from(None, next, until)? {
            return Ok(true);
        }
        for member in self.link.origin.members.iter() {
            let Ok(mut feed) = ask_member(member) else { continue };
            match self.fetch_from(Some(&mut feed), next, until) {
                Ok(true) => return Ok(true),
                Ok(false) | Err(Stop::Io(_)) => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(false)
    }

    /// The same from one member, or from the primary.
    fn fetch_from(
        &mut self,
        mut member: Option<&mut Feed>,
        next: &mut Place,
        until: u64,
    ) -> Result<bool, Stop> {
        while next.offset < until {
            let count = (until - next.offset).min(FRAMES_MAX);
            let feed = member.as_deref_mut().unwrap_or(&mut self.feed);
            let frames = ask_for(feed, self.link.shard, *next, count)?;
            for _ in 0..frames {
                let (offset, argv) = member.as_deref_mut().unwrap_or(&mut self.feed).frame()?;
                if offset != next.offset {
                    let wrong = format!("frame {offset} where {} was asked for", next.offset);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, wrong).into());
                }
                self.pass(*next, argv)?;
                next.offset += 1;
            }
            if frames == 0 {
                return Ok(false);
            }
            self.wait_for_room()?;
            // Not all that was asked for: an answer has only so many bytes, and some frames are larger than others.
            let step = if frames < count { frames - frames / 8 } else { frames };
            self.fetch_likewise(&mut member, next, until, step)?;
        }
        Ok(true)
    }

    /// Goes on with several questions at once, each for `step` frames. Each waits for a turn of a shard there, and on a busy machine its answer for a
    /// processor here: one after the other, thirty thousand frames took longer to ask for than to apply.
    fn fetch_likewise(
        &mut self,
        member: &mut Option<&mut Feed>,
        next: &mut Place,
        until: u64,
        step: u64,
    ) -> Result<(), Stop> {
        let shard = self.link.shard;
        while next.offset < until {
            let begun = *next;
            let questions = (until - begun.offset).div_ceil(step).min(QUESTIONS_MAX);
            let due = |question: u64| Place { offset: begun.offset + question * step, ..begun };
            let count = |question: u64| step.min(until - due(question).offset);
            let feed = member.as_deref_mut().unwrap_or(&mut self.feed);
            (0..questions).for_each(|question| feed.want_kept(shard, due(question), count(question)));
            feed.send()?;
            for question in 0..questions {
                let feed = member.as_deref_mut().unwrap_or(&mut self.feed);
                let Answer::Frames(frames) = feed.kept_answer(due(question), count(question))? else {
                    continue;
                };
                for _ in 0..frames {
                    let (offset, argv) = member.as_deref_mut().unwrap_or(&mut self.feed).frame()?;
                    // What comes behind an answer that was too short is asked for once more.
                    if offset == next.offset {
                        self.pass(*next, argv)?;
                        next.offset += 1;
                    }
                }
                self.wait_for_room()?;
            }
            if next.offset < begun.offset + questions * step {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits while the shard has enough to apply.
    fn wait_for_room(&self) -> Result<(), Stop> {
        while self.link.shards.outstanding(self.link.shard) > INBOX_FRAMES_MAX {
            drop(self.link.closed.wait_timeout(open(self.link)?, LOOK_INTERVAL));
        }
        Ok(())
    }

    fn pass(&self, at: Place, argv: Argv) -> Result<(), Stop> {
        let (link, shard) = (self.link, self.link.shard);
        let _state = open(link)?;
        link.shards.keep(shard, at, &argv);
        if !link.shards.send_frame(shard, at.offset, argv) {
            return Err(Stop::End(End::Broken("this server has stopped".to_owned())));
        }
        Ok(())
    }

    /// The shard is at `place` of the primary's history: the stream goes on there.
    fn land(&self, generation: u64, place: Place) -> Result<(), Stop> {
        let (link, shard) = (self.link, self.link.shard);
        let mut state = open(link)?;
        (state.generation, state.next, state.flushes) = (generation, place.offset, place.flushes);
        (state.held, state.named, state.synced) = (true, place.flushes, None);
        state.began_at = (place.offset == 0).then(|| link.shards.applied(shard));
        state.stall.moved(Instant::now());
        drop(state);
        if link.shards.count() > 1 {
            link.tell(News::Restarted);
            if (place.flushes, place.offset) == (0, 0) {
                // All shards are at the beginning at the same time.
                link.tell(News::Cut(0, cuts::Place { flushes: 0, next: 0 }));
            }
        }
        let kind = match (self.fetched, self.entered) {
            _ if self.ahead => "ahead",
            (1.., _) => "behind",
            (0, true) => "equal",
            (0, false) => "same",
        };
        link.shards.note_continuation(shard, kind);
        log::info!(
            "shard {shard}: goes on at frame {} of epoch {} without a copy ({kind}, {} frames fetched)",
            place.offset,
            place.epoch,
            self.fetched
        );
        witness::landed(link);
        Ok(())
    }
}

fn ask_member((addresses, asker): &Member) -> io::Result<Feed> {
    let port = addresses.site().client_port;
    let connect = |ip| {
        Feed::connect(asker, SocketAddr::new(ip, port), MEMBER_TIMEOUT).map_err(|error| error.to_string())
    };
    let (feed, _) = addresses.try_each(connect).map_err(io::Error::other)?;
    feed.set_patience(MEMBER_TIMEOUT)?;
    Ok(feed)
}

/// Asks for frames that somebody received, or else wrote. None: that one has not got them.
fn ask_for(feed: &mut Feed, shard: usize, from: Place, count: u64) -> io::Result<u64> {
    match feed.ask_kept(shard, from, count)? {
        Answer::Frames(frames @ 1..) => Ok(frames),
        Answer::Frames(_) | Answer::Gone(_) | Answer::Unreadable => match feed.ask_own(shard, from, count)? {
            Answer::Frames(frames) => Ok(frames),
            Answer::Gone(_) | Answer::Unreadable => Ok(0),
        },
    }
}

fn same_stream(one: &Told, other: &Told) -> bool {
    (one.epoch, one.flushes) == (other.epoch, other.flushes) && one.epoch != Epoch::ZERO
}
