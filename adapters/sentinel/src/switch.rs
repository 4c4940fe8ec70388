//! When clients are told of a new primary, and in which words.

use crate::members::Members;
use std::time::{Duration, Instant};

/// For so long a node answers with the new primary before it publishes that. ioredis 6 never connects again when it hears of a switch
/// while it asks for the primary: who waited for the answer has it by then, and the next one too.
pub(crate) const TOLD_AFTER: Duration = Duration::from_millis(10);

/// One message for those who listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) channel: &'static str,
    pub(crate) text: String,
}

/// Notices that another node takes writes.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    told: Option<usize>,
    /// Who takes writes and is not told of yet, and since when.
    next: Option<(usize, Instant)>,
}

impl Switch {
    /// The last primary that was known.
    pub(crate) fn last(&self) -> Option<usize> {
        self.told
    }

    /// When [`Switch::note`] has something to tell, if nothing changes before.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.next.map(|(_, since)| since + TOLD_AFTER)
    }

    /// Nobody is known to take writes.
    pub(crate) fn interrupt(&mut self) {
        self.next = None;
    }

    /// Takes note of who takes writes now. Gives what clients have to hear, once for each change: the switch first, because some
    /// clients act on the first message and drop those of the next seconds, then every other node as a replica of the new primary,
    /// which is the only message that others act on. The first primary that is known is no switch.
    pub(crate) fn note(&mut self, members: &Members, primary: usize, now: Instant) -> Vec<Message> {
        let old = *self.told.get_or_insert(primary);
        if old == primary {
            self.next = None;
            return Vec::new();
        }
        let since = self.next.filter(|(next, _)| *next == primary).map_or(now, |(_, since)| since);
        if now < since + TOLD_AFTER {
            self.next = Some((primary, since));
            return Vec::new();
        }
        (self.told, self.next) = (Some(primary), None);
        let (name, old, new) = (&members.name, &members.all[old], &members.all[primary]);
        let switch = format!("{name} {} {} {} {}", old.host, old.port, new.host, new.port);
        let mut messages = vec![Message { channel: "+switch-master", text: switch }];
        let others = members.all.iter().enumerate().filter(|(index, _)| *index != primary);
        messages.extend(others.map(|(_, other)| {
            let (host, port) = (&other.host, other.port);
            let text = format!("slave {host}:{port} {host} {port} @ {name} {} {}", new.host, new.port);
            Message { channel: "+slave", text }
        }));
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::three;

    #[test]
    fn a_switch_is_told_once_and_first() {
        let (members, mut switch) = (three("n1"), Switch::default());
        let now = Instant::now();
        assert_eq!(switch.note(&members, 0, now), [], "the first one that is known is no switch");
        assert_eq!((switch.note(&members, 0, now), switch.due()), (vec![], None));
        assert_eq!(switch.note(&members, 1, now), [], "first it is the answer to questions");
        let later = now + TOLD_AFTER / 2;
        assert_eq!((switch.note(&members, 2, later), switch.due()), (vec![], Some(later + TOLD_AFTER)));
        let told = switch.note(&members, 2, later + TOLD_AFTER);
        let words: Vec<_> = told.iter().map(|message| (message.channel, message.text.as_str())).collect();
        assert_eq!(
            words,
            [
                ("+switch-master", "mymaster 127.0.0.1 7001 127.0.0.1 7003"),
                ("+slave", "slave 127.0.0.1:7001 127.0.0.1 7001 @ mymaster 127.0.0.1 7003"),
                ("+slave", "slave 127.0.0.1:7002 127.0.0.1 7002 @ mymaster 127.0.0.1 7003"),
            ]
        );
        assert_eq!((switch.note(&members, 2, later + TOLD_AFTER), switch.due()), (vec![], None));
        assert_eq!(switch.last(), Some(2));
    }
}
