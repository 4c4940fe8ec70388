//! Who is in the cluster, and where clients reach it.

use kevy_elect_plugin::config::Config;
use std::fmt;

/// One node, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// The host at which clients reach its data.
    pub host: String,
    /// The port for that.
    pub port: u16,
    /// The host at which clients reach what this crate serves there.
    pub sentinel_host: String,
    /// The port for that.
    pub sentinel_port: u16,
}

impl Member {
    /// What Sentinel calls a run id: 40 hexadecimal digits. Here it is of the node and not of a process: clients only compare it.
    pub(crate) fn run_id(&self, of: &str) -> String {
        let mut digits = String::new();
        for part in 0..3_u8 {
            let hash = fnv(&[&[part], of.as_bytes(), &[0], self.id.as_bytes()]);
            digits += &format!("{hash:016x}");
        }
        digits.truncate(40);
        digits
    }

    /// Whether `host` and `port` are its data's address.
    pub(crate) fn is_at(&self, host: &[u8], port: &[u8]) -> bool {
        self.host.as_bytes() == host && self.port.to_string().as_bytes() == port
    }
}

/// All of them, and the name by which clients ask for their primary.
#[derive(Debug, Clone)]
pub struct Members {
    pub(crate) name: String,
    pub(crate) all: Vec<Member>,
    pub(crate) own: usize,
}

/// Why members cannot be served.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MembersError {
    /// The name has characters that would end a message to clients, or none.
    Name(String),
    /// The node itself is not among them.
    Missing(String),
}

impl fmt::Display for MembersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(
                f,
                "{name:?} cannot be a name that clients ask for; use 1 to 63 visible characters without spaces, as in \"mymaster\""
            ),
            Self::Missing(id) => write!(f, "{id} is not among the members; list this node too"),
        }
    }
}

impl std::error::Error for MembersError {}

impl Members {
    /// `own` is this node's id. Clients ask for the primary by `name`.
    pub fn new(name: &str, all: Vec<Member>, own: &str) -> Result<Self, MembersError> {
        if !Config::is_cluster_name(name) {
            return Err(MembersError::Name(name.to_owned()));
        }
        let position = all.iter().position(|member| member.id == own);
        let own = position.ok_or_else(|| MembersError::Missing(own.to_owned()))?;
        Ok(Self { name: name.to_owned(), all, own })
    }

    pub(crate) fn index(&self, id: &str) -> Option<usize> {
        self.all.iter().position(|member| member.id == id)
    }

    pub(crate) fn own(&self) -> &Member {
        &self.all[self.own]
    }
}

/// FNV-1a, so that all nodes of all versions give one node the same id.
fn fnv(parts: &[&[u8]]) -> u64 {
    parts.iter().copied().flatten().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
pub(crate) fn three(own: &str) -> Members {
    let member = |number: u16| Member {
        id: format!("n{number}"),
        host: "127.0.0.1".to_owned(),
        port: 7000 + number,
        sentinel_host: "127.0.0.1".to_owned(),
        sentinel_port: 27000 + number,
    };
    Members::new("mymaster", (1..=3).map(member).collect(), own).unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_are_of_the_form_that_clients_know_and_differ() {
        let members = three("n1");
        let ids: Vec<_> = members.all.iter().map(|member| member.run_id("data")).collect();
        assert!(ids.iter().all(|id| id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
        assert!(ids[0] != ids[1] && ids[1] != ids[2]);
        assert_ne!(members.all[0].run_id("sentinel"), ids[0]);
    }

    #[test]
    fn a_name_that_would_end_a_message_is_refused() {
        for wrong in ["", "my master", "a\r\n", "ä", &"x".repeat(64)] {
            let error = Members::new(wrong, three("n1").all, "n1").err();
            assert_eq!(error, Some(MembersError::Name(wrong.to_owned())));
        }
        assert_eq!(
            Members::new("m", three("n1").all, "n9").err(),
            Some(MembersError::Missing("n9".to_owned()))
        );
    }
}
