//! When clients are told of a new primary, and in which words.

use crate::members::Members;

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
}

impl Switch {
    /// The last primary that was known.
    pub(crate) fn last(&self) -> Option<usize> {
        self.told
    }

    /// Takes note of who takes writes now. Gives what clients have to hear, once for each change: the switch first, because some
    /// clients act on the first message and drop those of the next seconds, then every other node as a replica of the new primary,
    /// which is the only message that others act on. The first primary that is known is no switch.
    pub(crate) fn note(&mut self, members: &Members, primary: usize) -> Vec<Message> {
        let Some(old) = self.told.replace(primary).filter(|old| *old != primary) else { return Vec::new() };
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
        assert_eq!(switch.note(&members, 0), [], "the first one that is known is no switch");
        assert_eq!(switch.note(&members, 0), []);
        let told = switch.note(&members, 2);
        let words: Vec<_> = told.iter().map(|message| (message.channel, message.text.as_str())).collect();
        assert_eq!(
            words,
            [
                ("+switch-master", "mymaster 127.0.0.1 7001 127.0.0.1 7003"),
                ("+slave", "slave 127.0.0.1:7001 127.0.0.1 7001 @ mymaster 127.0.0.1 7003"),
                ("+slave", "slave 127.0.0.1:7002 127.0.0.1 7002 @ mymaster 127.0.0.1 7003"),
            ]
        );
        assert_eq!(switch.note(&members, 2), []);
        assert_eq!(switch.last(), Some(2));
    }
}
