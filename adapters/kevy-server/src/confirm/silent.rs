//! Connections to the ports of the streams that do not say what they want.
//!
//! kevy gives them no time limit and no bound, and each costs a descriptor. A replica says it within a round trip, or two where it
//! proves who it is.

use crate::confirm::connections::{Listeners, Whose, peer_of};
use rustix::net::{Shutdown, shutdown};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

/// How long a connection may take.
const SILENT_TIME_MAX: Duration = Duration::from_secs(3);
/// So many may take that long, as at the port of the elections (T19); of more, the ones that came first end.
const SILENT_MAX: usize = 32;
/// Looking at all descriptors takes a part of this share of the time at most, however many there are.
const PAUSE_PER_LOOK: u32 = 100;

/// Looks for them.
#[derive(Debug, Default)]
pub(crate) struct Silent {
    /// Since when each has been there, in the order in which they came.
    since: BTreeMap<SocketAddrV4, Instant>,
    not_before: Option<Instant>,
}

impl Silent {
    /// Ends those that take too long, or are too many; says which. `known` are those that said what they want.
    pub(crate) fn look(
        &mut self,
        streams: &Listeners,
        known: impl Fn(&SocketAddrV4) -> bool,
        now: Instant,
    ) -> Vec<SocketAddrV4> {
        if self.not_before.is_some_and(|at| now < at) {
            return Vec::new();
        }
        let begun = Instant::now();
        let mut there = Vec::new();
        // What cannot be looked at now, for want of a descriptor, is looked at next time.
        drop(streams.each(Whose::All, |socket| there.extend(peer_of(&socket))));
        let due = self.due(&there, known, now);
        if !due.is_empty() {
            drop(streams.each(Whose::Of(&due), |socket| {
                let _ = shutdown(&socket, Shutdown::Both);
            }));
        }
        self.not_before = Some(now + begun.elapsed() * PAUSE_PER_LOOK);
        due
    }

    fn due(
        &mut self,
        there: &[SocketAddrV4],
        known: impl Fn(&SocketAddrV4) -> bool,
        now: Instant,
    ) -> Vec<SocketAddrV4> {
        let before = std::mem::take(&mut self.since);
        let silent = there.iter().filter(|peer| !known(peer));
        self.since = silent.map(|peer| (*peer, before.get(peer).copied().unwrap_or(now))).collect();
        let mut all: Vec<(Instant, SocketAddrV4)> =
            self.since.iter().map(|(peer, since)| (*since, *peer)).collect();
        all.sort();
        let too_many = all.len().saturating_sub(SILENT_MAX);
        let takes_too_long = |since: Instant| now.saturating_duration_since(since) >= SILENT_TIME_MAX;
        let due = all.iter().enumerate().filter(|(n, (since, _))| *n < too_many || takes_too_long(*since));
        due.map(|(_, (_, peer))| *peer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn who_takes_too_long_ends_and_so_do_the_first_of_too_many() {
        let peer = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let (mut silent, start) = (Silent::default(), Instant::now());
        let known = |peer: &SocketAddrV4| peer.port() == 1;
        assert_eq!(silent.due(&[peer(1), peer(2)], known, start), []);
        assert_eq!(silent.due(&[peer(1), peer(2), peer(3)], known, start + SILENT_TIME_MAX / 2), []);
        assert_eq!(silent.due(&[peer(1), peer(2), peer(3)], known, start + SILENT_TIME_MAX), [peer(2)]);
        // Its number is used anew by somebody who has just come.
        assert_eq!(silent.due(&[peer(1)], known, start + SILENT_TIME_MAX), []);
        assert_eq!(silent.due(&[peer(1), peer(2)], known, start + SILENT_TIME_MAX), []);
        let many: Vec<SocketAddrV4> = (2..).take(SILENT_MAX + 1).map(peer).collect();
        assert_eq!(silent.due(&many, known, start + SILENT_TIME_MAX * 3 / 2), [peer(2)]);
    }
}
