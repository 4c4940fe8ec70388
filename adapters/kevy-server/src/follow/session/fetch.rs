//! What a stream does not bring: fetched beside it, or copied anew.

use super::{SAID_INTERVAL, Session};
use crate::continuation::path::Why;
use crate::follow::catch_up::CatchUp;
use crate::follow::link::{End, broken};
use crate::follow::stall::COPIED_AFTER;
use crate::follow::trail::{Next, Trail};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Session<'_> {
    /// Fetches, if the stream stands still.
    pub(super) fn fetch(&mut self, socket: &TcpStream) -> Result<(), End> {
        if !self.streaming {
            return Ok(());
        }
        let looks = self.link.waker.woken() && self.link.looks.swap(false, Ordering::AcqRel);
        if looks && self.catch_up.is_none() {
            self.catch_up = Some(CatchUp::new(self.link, socket).map_err(broken)?);
        }
        let Some(mut catch_up) = self.catch_up.take() else { return Ok(()) };
        let outcome = catch_up.step(self.generation, |offset, argv| self.pass(offset, argv));
        let outcome =
            outcome.and_then(|gone| gone.map_or(Ok(()), |(why, for_good)| self.give_up(&why, for_good)));
        if catch_up.goes_on() {
            self.catch_up = Some(catch_up);
        } else if outcome.is_ok() && catch_up.fetched() {
            // The stream stands where it stood; a new one begins behind what was fetched.
            return Err(End::Over);
        }
        outcome
    }

    /// The stream stands still, and what it lacks cannot be had: after a while a copy is made.
    fn give_up(&self, reason: &str, at_once: bool) -> Result<(), End> {
        let mut state = self.link.state();
        let lasts = state.stall.lasts(Instant::now()).unwrap_or_default();
        if !at_once && lasts < COPIED_AFTER {
            return Ok(());
        }
        state.held = false;
        state.must_copy = Some(Why::Missing);
        Err(End::Refused(format!("{reason}; all of this shard is copied anew")))
    }

    /// Fetches faster than the stream brings it, before the primary has dropped what is missing here.
    pub(super) fn overtake(&mut self, next: u64) -> Result<(), End> {
        match Trail::start(self.link, Some(next)) {
            Ok(trail) if trail.generation == self.generation => {
                log::info!(
                    "shard {}: the stream is far behind: what is missing is fetched beside it",
                    self.link.shard
                );
                self.trail = Some(trail);
                if let Some(error) = self.take_trail()? {
                    // What kernels keep of the stream may be more than the primary does: it comes all the same.
                    log::info!("shard {}: the stream goes on: {error}", self.link.shard);
                }
                Ok(())
            }
            // The stream may come up all the same.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// What was written while a copy came. A stream that stood still meanwhile has lost its place, if any has it: a new one asks.
    pub(super) fn take_trail_of_copy(&mut self) -> Result<(), End> {
        self.take_trail()?.map_or(Ok(()), |error| Err(broken(error)))
    }

    /// Takes what was written while the copy came, if that was kept, or what is missing. Then a new connection goes on behind it. Says why
    /// it cannot be had; the stream may have it all the same.
    pub(super) fn take_trail(&mut self) -> Result<Option<String>, End> {
        let Some(mut trail) = self.trail.take() else { return Ok(None) };
        let mut said = Instant::now();
        loop {
            match trail.next() {
                Ok(Next::Frame(offset, argv)) => {
                    self.pass(offset, argv)?;
                    if said.elapsed() >= SAID_INTERVAL {
                        said = Instant::now();
                        let (shard, left) = (self.link.shard, trail.left());
                        log::info!("shard {shard}: {left} frames that were written during the copy are left");
                    }
                }
                Ok(Next::Close) => return Err(End::Over),
                Err(error) => return Ok(Some(format!("what is missing cannot be fetched: {error}"))),
            }
        }
    }
}
