//! Who votes: a list with a generation, kept in the vote record. Sentences in `docs/protocol.md`, "Membership".

use crate::config::{Config, MEMBERSHIP_BYTES_MAX, Member, MemberKind, VOTERS_MAX};
use crate::ids::{EPOCH_MAX, Epoch, NodeId};
use std::fmt::{self, Display};

/// Which of two memberships is the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation {
    /// The epoch of the primary that made it.
    pub epoch: Epoch,
    /// How many that primary had made.
    pub counter: u64,
}

impl Generation {
    /// That of the list in a node's file, before any primary has made one.
    pub const FILE: Self = Self { epoch: Epoch::ZERO, counter: 0 };
    /// The highest counter.
    pub const COUNTER_MAX: u64 = EPOCH_MAX.0;

    /// The generation of this spelling: `<epoch>:<counter>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, counter) = text.split_once(':')?;
        let generation = Self { epoch: Epoch(epoch.parse().ok()?), counter: counter.parse().ok()? };
        let in_range = generation.epoch <= EPOCH_MAX && generation.counter <= Self::COUNTER_MAX;
        (in_range && generation.to_string() == text).then_some(generation)
    }

    /// What the primary of `epoch` makes next.
    pub(crate) fn next_in(self, epoch: Epoch) -> Self {
        let counter = if self.epoch == epoch { self.counter + 1 } else { 1 };
        Self { epoch, counter }
    }
}

impl Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.counter)
    }
}

/// A member that votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Voter {
    /// Its name.
    pub id: NodeId,
    /// It holds no data.
    pub witness: bool,
}

impl Voter {
    /// What it is for.
    pub const fn kind(self) -> MemberKind {
        if self.witness { MemberKind::Witness } else { MemberKind::Voter }
    }
}

/// Who votes, from one change to the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Which one it is.
    pub generation: Generation,
    voters: Box<[Voter]>,
}

impl Membership {
    const WITNESS: &str = "@witness";

    /// That of a node's file.
    pub fn of_file(config: &Config) -> Self {
        let voters = config.members().iter().filter_map(Voter::of);
        Self { generation: Generation::FILE, voters: voters.collect() }
    }

    /// The one of these voters, in whatever order; `None`: there are none or too many, one stands there twice, nobody holds data, or the list is
    /// longer than a vote record and a frame have room for.
    pub fn new(generation: Generation, voters: impl IntoIterator<Item = Voter>) -> Option<Self> {
        let mut voters: Vec<_> = voters.into_iter().collect();
        voters.sort_unstable();
        let each_once = voters.windows(2).all(|pair| pair[0].id != pair[1].id);
        let counts = (1..=VOTERS_MAX).contains(&voters.len()) && voters.iter().any(|voter| !voter.witness);
        let new = Self { generation, voters: voters.into() };
        (each_once && counts && new.list().len() <= MEMBERSHIP_BYTES_MAX).then_some(new)
    }

    /// The same voters, in another generation.
    pub(crate) fn at(self, generation: Generation) -> Self {
        Self { generation, ..self }
    }

    /// Who votes, in the order of their ids.
    pub fn voters(&self) -> &[Voter] {
        &self.voters
    }

    /// The voter of this name.
    pub fn voter(&self, id: NodeId) -> Option<Voter> {
        self.voters.binary_search_by(|voter| voter.id.cmp(&id)).ok().map(|at| self.voters[at])
    }

    /// The strict majority.
    pub fn quorum(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// The voters as text: `n1,n2,n3@witness`.
    pub fn list(&self) -> String {
        let spelled =
            |voter: &Voter| format!("{}{}", voter.id, if voter.witness { Self::WITNESS } else { "" });
        self.voters.iter().map(spelled).collect::<Vec<_>>().join(",")
    }

    /// The membership of this generation and this list.
    pub fn parse(generation: Generation, list: &str) -> Option<Self> {
        let voter = |text: &str| {
            let (id, witness) = text.strip_suffix(Self::WITNESS).map_or((text, false), |id| (id, true));
            NodeId::new(id).ok().map(|id| Voter { id, witness })
        };
        let voters: Option<Vec<_>> = list.split(',').map(voter).collect();
        Self::new(generation, voters?).filter(|parsed| parsed.list() == list)
    }

    /// Whether it may follow `before`: one voter comes, goes, or becomes a witness or stops being one.
    pub fn is_a_step_from(&self, before: &Self) -> bool {
        let gone = before.voters.iter().filter(|voter| self.voter(voter.id).is_none()).count();
        let come = self.voters.iter().filter(|voter| before.voter(voter.id).is_none()).count();
        gone + come <= 1
    }

    /// Of what a node's file says, what contradicts this so that the node cannot run: a voter that the file does
    /// not name, or names as something else.
    pub(crate) fn contradiction(&self, config: &Config) -> Option<NodeId> {
        let fits = |voter: &&Voter| {
            config
                .members()
                .iter()
                .any(|member| member.id == voter.id && (member.kind == MemberKind::Witness) == voter.witness)
        };
        self.voters.iter().find(|voter| !fits(voter)).map(|voter| voter.id)
    }
}

impl Voter {
    fn of(member: &Member) -> Option<Self> {
        let witness = member.kind == MemberKind::Witness;
        member.kind.votes().then_some(Self { id: member.id, witness })
    }
}

impl Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.generation, self.list())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &str) -> Membership {
        Membership::parse(Generation::FILE, list).unwrap()
    }

    #[test]
    fn each_list_and_each_generation_has_one_spelling() {
        for list in ["a", "a,b,c@witness", "b@witness,n1"] {
            assert_eq!(of(list).list(), list);
        }
        let wrongs = [
            "",
            ",",
            "a,",
            "b,a",
            "a,a",
            "a,a@witness",
            "a@witness",
            "a@observer",
            "a b",
            "a@witness@witness",
        ];
        for wrong in wrongs {
            assert_eq!(Membership::parse(Generation::FILE, wrong), None, "{wrong}");
        }
        let long = vec!["x".repeat(63); 60]
            .iter()
            .enumerate()
            .map(|(n, id)| format!("{n:02}{}", &id[2..]))
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(Membership::parse(Generation::FILE, &long), None);
        assert_eq!(Generation::parse("7:2"), Some(Generation { epoch: Epoch(7), counter: 2 }));
        for wrong in ["", "7", "7:", "07:2", "7:+2", "7:2:1", "4611686018427387904:1"] {
            assert_eq!(Generation::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn m3_a_step_is_one_voter() {
        for (before, after, step) in [
            ("a,b,c", "a,b,c", true),
            ("a,b,c", "a,b,c,d", true),
            ("a,b,c", "a,b", true),
            ("a,b,c", "a,b,c@witness", true),
            ("a,b,c", "a,b,d", false),
            ("a,b,c", "a,b,c,d,e", false),
            ("a,b,c,d,e", "a,b,c", false),
        ] {
            assert_eq!(of(after).is_a_step_from(&of(before)), step, "{before} -> {after}");
        }
    }
}
