//! How the records look on disk: a few lines that `cat` shows and a checksum that guards them.
//!
//! ```text
//! kevy-elect-vote 2
//! epoch 42
//! voted_for "n2"
//! standing member
//! incarnation 1763712000123
//! crc c6605bae
//! ```
//!
//! ```text
//! kevy-elect-position 1
//! stream_epoch 41
//! offsets 1000,2000
//! crc 4cc105e9
//! ```
//!
//! `voted_for none` and `offsets none` stand for nothing; a node id is quoted, so that a node may be named
//! `none`. The checksum (CRC-32) covers every byte before its own line. A state has exactly one spelling:
//! whatever the checksum lets through by chance or by hand is still refused unless it is that spelling.
//!
//! A node that knows which cluster it belongs to writes version 3, which says so behind the incarnation: `cluster ` and
//! 32 digits, with `@` and an epoch where that is only proposed; and behind that `floor 41:3000`, if an operator admitted the node.
//! Where an operator has said whether automatic elections are paused, that is version 4: `pause paused@1763712000123`, or
//! `running@` and a number, behind the others, of which each is there only where it says something.
//!
//! A node that knows who votes writes version 5, with the list and its generation behind all others: `members 7:2 n1,n2,n3@witness`.
//!
//! Version 1 of the vote record had the two lines of the position before the checksum. It is read, never written.
//!
//! Later versions keep the shape of the first and of the last line, and change the rest as they like. So
//! a record of a newer release is told from a damaged one.

use crate::identity::Identity;
use crate::ids::{EPOCH_MAX, Epoch, Incarnation, NodeId};
use crate::membership::{Generation, Membership};
use crate::message::Standing;
use crate::pause::Pause;
use crate::position::{OFFSET_MAX, Position, PositionError, Progress};
use crate::state::HardState;
use std::fmt::{Display, Write};

const VOTE: &str = "kevy-elect-vote";
/// The version without a cluster, which releases before can read.
const VOTE_VERSION: u64 = 2;
/// The version that says which cluster the node belongs to.
const VOTE_WITH_CLUSTER: u64 = 3;
/// The version that says whether automatic elections are paused.
const VOTE_WITH_PAUSE: u64 = 4;
/// The version that says who votes.
const VOTE_WITH_MEMBERS: u64 = 5;
/// The version that kept the position in the vote record.
const VOTE_WITH_POSITION: u64 = 1;
const POSITION: &str = "kevy-elect-position";
const POSITION_VERSION: u64 = 1;
/// `crc `, eight digits, a newline.
const CRC_LINE_BYTES: usize = 13;

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// What a crash leaves that created a file and never wrote it.
    #[error("it is empty")]
    Empty,
    /// Something else.
    #[error("it is not a text that begins with \"{magic}\"")]
    Magic {
        /// The first word of such a record.
        magic: &'static str,
    },
    /// The record is not what was written: its checksum does not fit.
    #[error("its last line is not the checksum of the rest, \"crc {expected:08x}\"")]
    Checksum {
        /// The checksum of what is there.
        expected: u32,
    },
    /// Of a newer release.
    #[error(
        "it is of version {found}, this release reads up to version {newest}: use the newer release again"
    )]
    Version {
        /// Its version.
        found: u64,
        /// The newest that is known here.
        newest: u64,
    },
    /// A line that is not the one that belongs there.
    #[error("line {line} is {found:?}, expected \"{expected}\"")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What it says.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// A value that cannot be.
    #[error("{0}")]
    Range(#[from] RangeError),
    /// A position that cannot be.
    #[error("{0}")]
    Position(#[from] PositionError),
    /// Not what this program writes for these values.
    #[error("its values are right, but not spelled as this program writes them")]
    Spelling,
}

/// A value that no healthy node has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; at most {max} can be")]
pub struct RangeError {
    field: &'static str,
    value: u64,
    max: u64,
}

/// The vote record of `state`, without its position; or the value in it that [`decode_vote`] would refuse.
pub fn encode_vote(state: &HardState) -> Result<Vec<u8>, RangeError> {
    let version = match (&state.members, state.identity, state.pause) {
        (Some(_), _, _) => VOTE_WITH_MEMBERS,
        (None, _, Some(_)) => VOTE_WITH_PAUSE,
        (None, Some(_), None) => VOTE_WITH_CLUSTER,
        (None, None, None) => VOTE_VERSION,
    };
    spell_vote(state, version)
}

/// The state that `bytes` record. Its position is none, unless the record is of the version that kept it.
pub fn decode_vote(bytes: &[u8]) -> Result<HardState, RecordError> {
    let mut lines = Lines::open(bytes, VOTE)?;
    let version = lines.version(VOTE, "kevy-elect-vote <version>", VOTE_WITH_MEMBERS)?;
    let state = HardState {
        epoch: Epoch(lines.number("epoch", "epoch <number>")?),
        voted_for: lines.value("voted_for", "voted_for \"<node id>\" | none", |text| match text {
            "none" => Some(None),
            quoted => NodeId::new(quoted.strip_prefix('"')?.strip_suffix('"')?).ok().map(Some),
        })?,
        standing: lines.value("standing", "standing member | new", |text| {
            [Standing::Member, Standing::New].into_iter().find(|s| standing_word(*s) == text)
        })?,
        incarnation: Incarnation(lines.number("incarnation", "incarnation <number>")?),
        identity: match version {
            VOTE_WITH_CLUSTER => Some(lines.identity()?),
            VOTE_WITH_PAUSE.. if lines.says("cluster ") => Some(lines.identity()?),
            _ => None,
        },
        floor: if version >= VOTE_WITH_CLUSTER { lines.floor()? } else { Progress::NONE },
        pause: match version {
            VOTE_WITH_PAUSE => Some(lines.pause()?),
            VOTE_WITH_MEMBERS if lines.says("pause ") => Some(lines.pause()?),
            _ => None,
        },
        members: if version >= VOTE_WITH_MEMBERS { Some(lines.members()?) } else { None },
        position: if version == VOTE_WITH_POSITION { lines.position()? } else { Position::NONE },
    };
    if spell_vote(&state, version)? != bytes {
        return Err(RecordError::Spelling);
    }
    Ok(state)
}

/// The record of a position.
pub fn encode_position(position: &Position) -> Result<Vec<u8>, RangeError> {
    let mut record = String::with_capacity(128);
    line(&mut record, POSITION, POSITION_VERSION);
    position_lines(&mut record, position)?;
    Ok(sealed(record))
}

/// The position that `bytes` record.
pub fn decode_position(bytes: &[u8]) -> Result<Position, RecordError> {
    let mut lines = Lines::open(bytes, POSITION)?;
    lines.version(POSITION, "kevy-elect-position <version>", POSITION_VERSION)?;
    let position = lines.position()?;
    if encode_position(&position)? != bytes {
        return Err(RecordError::Spelling);
    }
    Ok(position)
}

fn spell_vote(state: &HardState, version: u64) -> Result<Vec<u8>, RangeError> {
    let HardState { epoch, voted_for, standing, incarnation, identity, floor, pause, members, position } =
        state;
    check("epoch", *epoch)?;
    let mut record = String::with_capacity(256);
    line(&mut record, VOTE, version);
    line(&mut record, "epoch", epoch);
    match voted_for {
        Some(node) => line(&mut record, "voted_for", format_args!("\"{node}\"")),
        None => line(&mut record, "voted_for", "none"),
    }
    line(&mut record, "standing", standing_word(*standing));
    line(&mut record, "incarnation", incarnation);
    if let Some(identity) = identity.filter(|_| version >= VOTE_WITH_CLUSTER) {
        check("the epoch of the cluster's id", identity.proposed.unwrap_or_default())?;
        line(&mut record, "cluster", identity);
        if *floor != Progress::NONE {
            check("the epoch of the floor", floor.stream_epoch)?;
            line(&mut record, "floor", format_args!("{}:{}", floor.stream_epoch, floor.offset));
        }
    }
    if let Some(pause) = pause.filter(|_| version >= VOTE_WITH_PAUSE) {
        if pause.number > Pause::NUMBER_MAX {
            let (field, value, max) = ("the number of the pause", pause.number, Pause::NUMBER_MAX);
            return Err(RangeError { field, value, max });
        }
        line(&mut record, "pause", pause);
    }
    if let Some(members) = members.as_ref().filter(|_| version >= VOTE_WITH_MEMBERS) {
        check("the epoch of the membership", members.generation.epoch)?;
        line(&mut record, "members", members);
    }
    if version == VOTE_WITH_POSITION {
        position_lines(&mut record, position)?;
    }
    Ok(sealed(record))
}

fn position_lines(record: &mut String, position: &Position) -> Result<(), RangeError> {
    check("stream_epoch", position.stream_epoch())?;
    line(record, "stream_epoch", position.stream_epoch());
    let offsets: Vec<String> = position.offsets().iter().map(u64::to_string).collect();
    line(record, "offsets", if offsets.is_empty() { "none".to_owned() } else { offsets.join(",") });
    Ok(())
}

fn sealed(mut record: String) -> Vec<u8> {
    let crc = crc_line(record.as_bytes());
    record.push_str(&crc);
    record.into_bytes()
}

fn check(field: &'static str, epoch: Epoch) -> Result<(), RangeError> {
    match epoch > EPOCH_MAX {
        true => Err(RangeError { field, value: epoch.0, max: EPOCH_MAX.0 }),
        false => Ok(()),
    }
}

fn line(record: &mut String, key: &str, value: impl Display) {
    // Writing to a string cannot fail.
    let _ = writeln!(record, "{key} {value}");
}

fn crc_line(body: &[u8]) -> String {
    format!("crc {:08x}\n", crc32fast::hash(body))
}

const fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Member => "member",
        Standing::New => "new",
    }
}

/// Reads a record line by line, in the one order there is.
#[derive(Debug)]
struct Lines<'a> {
    lines: std::str::Lines<'a>,
    read: usize,
}

impl<'a> Lines<'a> {
    fn open(bytes: &'a [u8], magic: &'static str) -> Result<Self, RecordError> {
        if bytes.is_empty() {
            return Err(RecordError::Empty);
        }
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.starts_with(magic));
        let text = text.ok_or(RecordError::Magic { magic })?;
        let (body, crc) = bytes.split_at(bytes.len().saturating_sub(CRC_LINE_BYTES));
        if crc != crc_line(body).as_bytes() {
            return Err(RecordError::Checksum { expected: crc32fast::hash(body) });
        }
        Ok(Self { lines: text.lines(), read: 0 })
    }

    fn version(&mut self, magic: &str, expected: &'static str, newest: u64) -> Result<u64, RecordError> {
        match self.number(magic, expected)? {
            found if (1..=newest).contains(&found) => Ok(found),
            found => Err(RecordError::Version { found, newest }),
        }
    }

    fn identity(&mut self) -> Result<Identity, RecordError> {
        self.value("cluster", "cluster <32 digits> | <32 digits>@<epoch>", Identity::parse)
    }

    /// Whether the next line begins so.
    fn says(&self, key: &str) -> bool {
        self.lines.clone().next().is_some_and(|line| line.starts_with(key))
    }

    fn pause(&mut self) -> Result<Pause, RecordError> {
        self.value("pause", "pause paused@<number> | running@<number>", Pause::parse)
    }

    fn members(&mut self) -> Result<Membership, RecordError> {
        self.value("members", "members <epoch>:<counter> <voter>,...", |text| {
            let (generation, list) = text.split_once(' ')?;
            Membership::parse(Generation::parse(generation)?, list)
        })
    }

    /// A line that is there only where it says something.
    fn floor(&mut self) -> Result<Progress, RecordError> {
        if !self.says("floor ") {
            return Ok(Progress::NONE);
        }
        self.value("floor", "floor <stream epoch>:<offset>", |text| {
            let (epoch, offset) = text.split_once(':')?;
            Some(Progress { stream_epoch: Epoch(epoch.parse().ok()?), offset: offset.parse().ok()? })
        })
    }

    fn position(&mut self) -> Result<Position, RecordError> {
        let stream_epoch = Epoch(self.number("stream_epoch", "stream_epoch <number>")?);
        let offsets = self.value("offsets", "offsets <number>,... | none", |text| match text {
            "none" => Some(Vec::new()),
            list => list.split(',').map(|offset| offset.parse().ok()).collect::<Option<Vec<u64>>>(),
        })?;
        // A position caps offsets silently; a record that needs it was not written by this program.
        if let Some(value) = offsets.iter().find(|offset| **offset > OFFSET_MAX) {
            return Err(RangeError { field: "an offset", value: *value, max: OFFSET_MAX }.into());
        }
        Ok(Position::new(stream_epoch, &offsets)?)
    }

    fn number(&mut self, key: &str, expected: &'static str) -> Result<u64, RecordError> {
        self.value(key, expected, |text| text.parse().ok())
    }

    fn value<T>(
        &mut self,
        key: &str,
        expected: &'static str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, RecordError> {
        self.read += 1;
        let found = self.lines.next().unwrap_or_default();
        let value = found.split_once(' ').filter(|(k, _)| *k == key).and_then(|(_, text)| parse(text));
        value.ok_or_else(|| RecordError::Line { line: self.read, found: found.to_owned(), expected })
    }
}

#[cfg(test)]
mod tests {
    use super::super::slots::RECORD_BYTES_MAX;
    use super::*;
    use crate::ids::{ClusterId, SHARDS_MAX};

    fn state() -> HardState {
        HardState {
            epoch: Epoch(42),
            voted_for: Some(NodeId::new("n2").unwrap()),
            standing: Standing::Member,
            incarnation: Incarnation(1_763_712_000_123),
            identity: None,
            pause: None,
            members: None,
            floor: Progress::NONE,
            position: Position::new(Epoch(41), &[1000, 2000]).unwrap(),
        }
    }

    /// `body` with the checksum that belongs to it: damage that only the strict parser can see.
    fn resealed(body: &str) -> Vec<u8> {
        sealed(body.to_owned())
    }

    /// A record without its checksum.
    fn body(record: &[u8]) -> String {
        String::from_utf8(record[..record.len() - CRC_LINE_BYTES].to_vec()).unwrap()
    }

    #[test]
    fn the_records_of_each_version_never_change() {
        let vote = "kevy-elect-vote 2\nepoch 42\nvoted_for \"n2\"\nstanding member\n\
                    incarnation 1763712000123\ncrc c6605bae\n";
        let position = "kevy-elect-position 1\nstream_epoch 41\noffsets 1000,2000\ncrc 4cc105e9\n";
        assert_eq!(String::from_utf8(encode_vote(&state()).unwrap()).unwrap(), vote);
        assert_eq!(String::from_utf8(encode_position(&state().position).unwrap()).unwrap(), position);
        let without = HardState { position: Position::NONE, ..state() };
        assert_eq!(decode_vote(vote.as_bytes()).unwrap(), without);
        assert_eq!(decode_position(position.as_bytes()).unwrap(), state().position);
        let older = "kevy-elect-vote 1\nepoch 42\nvoted_for \"n2\"\nstanding member\n\
                     incarnation 1763712000123\nstream_epoch 41\noffsets 1000,2000\ncrc 87ad6dec\n";
        assert_eq!(decode_vote(older.as_bytes()).unwrap(), state(), "with the position that it kept");
    }

    #[test]
    fn a_node_that_knows_its_cluster_says_so_in_version_three() {
        let id = "000102030405060708090a0b0c0d0e0f";
        for (cluster, crc) in [(id.to_owned(), "54303923"), (format!("{id}@7"), "adaaf89a")] {
            let known =
                HardState { identity: Identity::parse(&cluster), position: Position::NONE, ..state() };
            let record = encode_vote(&known).unwrap();
            let spelled = format!(
                "kevy-elect-vote 3\nepoch 42\nvoted_for \"n2\"\nstanding member\nincarnation 1763712000123\n\
                 cluster {cluster}\ncrc {crc}\n"
            );
            assert_eq!(String::from_utf8(record.clone()).unwrap(), spelled);
            assert_eq!(decode_vote(&record), Ok(known.clone()));
            let floor = Progress { stream_epoch: Epoch(41), offset: 3000 };
            let ordered = HardState { floor, ..known.clone() };
            let spelled = encode_vote(&ordered).unwrap();
            assert!(String::from_utf8_lossy(&spelled).contains("\nfloor 41:3000\ncrc "));
            assert_eq!(decode_vote(&spelled), Ok(ordered));
            for wrong in ["none", "0", &format!("{id}@"), &format!("{id}@07"), &id.to_uppercase()] {
                let bad = body(&record).replace(&cluster, wrong);
                let error = decode_vote(&resealed(&bad)).unwrap_err();
                assert!(
                    matches!(error, RecordError::Line { .. } | RecordError::Spelling),
                    "{wrong}: {error:?}"
                );
            }
        }
    }

    #[test]
    fn an_order_about_elections_is_in_a_version_of_its_own() {
        let cluster = ClusterId::from_bits(7);
        for identity in [None, Some(Identity::settled(cluster))] {
            for paused in [true, false] {
                let pause = Some(Pause { number: 12, paused });
                let ordered = HardState { identity, pause, position: Position::NONE, ..state() };
                let record = encode_vote(&ordered).unwrap();
                let said = body(&record);
                assert!(said.starts_with("kevy-elect-vote 4\n"), "{said}");
                assert!(
                    said.ends_with(if paused { "\npause paused@12\n" } else { "\npause running@12\n" }),
                    "{said}"
                );
                assert_eq!(decode_vote(&record), Ok(ordered));
                for wrong in ["pause 12", "pause paused@012", "pause x@12", "paused@12"] {
                    let bad = said.replace(said.lines().last().unwrap(), wrong);
                    assert!(decode_vote(&resealed(&bad)).is_err(), "{wrong}");
                }
            }
        }
        let over = Some(Pause { number: Pause::NUMBER_MAX + 1, paused: true });
        assert!(encode_vote(&HardState { pause: over, ..state() }).is_err());
    }

    #[test]
    fn v8_who_votes_is_in_a_version_of_its_own() {
        let cluster = Identity::settled(ClusterId::from_bits(7));
        for identity in [None, Some(cluster)] {
            for pause in [None, Some(Pause { number: 12, paused: true })] {
                for generation in ["0:0", "7:2"] {
                    let generation = Generation::parse(generation).unwrap();
                    let members = Membership::parse(generation, "n1,n2,n3@witness");
                    let known = HardState { identity, pause, members, position: Position::NONE, ..state() };
                    let record = encode_vote(&known).unwrap();
                    let said = body(&record);
                    assert!(said.starts_with("kevy-elect-vote 5\n"), "{said}");
                    assert!(said.ends_with(&format!("\nmembers {generation} n1,n2,n3@witness\n")), "{said}");
                    assert_eq!(decode_vote(&record), Ok(known));
                    for wrong in [
                        "members 7:2",
                        "members 7:2 n2,n1",
                        "members 7 n1",
                        "members 07:2 n1",
                        "members 7:2 n1,",
                    ] {
                        let bad = said.replace(said.lines().last().unwrap(), wrong);
                        assert!(decode_vote(&resealed(&bad)).is_err(), "{wrong}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_extremes_of_every_field_come_back_and_fit() {
        let longest = NodeId::new(&"~".repeat(63)).unwrap();
        let ids =
            [None, Some("none"), Some("-"), Some("n\\1")].map(|id| id.map(|id| NodeId::new(id).unwrap()));
        for voted_for in ids.into_iter().chain([Some(longest)]) {
            for standing in [Standing::Member, Standing::New] {
                let (incarnation, position) = (Incarnation(u64::MAX), Position::NONE);
                let cluster = ClusterId::from_bits(u128::MAX);
                for identity in [None, Some(Identity { cluster, proposed: Some(EPOCH_MAX) })] {
                    let epoch = EPOCH_MAX;
                    let position = position.clone();
                    let floor = match identity {
                        Some(_) => Progress { stream_epoch: EPOCH_MAX, offset: u64::MAX },
                        None => Progress::NONE,
                    };
                    let pause = Some(Pause { number: Pause::NUMBER_MAX, paused: false });
                    let state = HardState {
                        epoch,
                        voted_for,
                        standing,
                        incarnation,
                        identity,
                        floor,
                        pause,
                        members: None,
                        position,
                    };
                    let record = encode_vote(&state).unwrap();
                    // In one sector, with the line before it: a torn write then leaves the old slot or the new one.
                    assert!(record.len() + 64 <= 512, "{} bytes", record.len());
                    assert_eq!(decode_vote(&record), Ok(state));
                }
            }
        }
        for position in [
            Position::NONE,
            Position::new(EPOCH_MAX, &[]).unwrap(),
            Position::single(Epoch(1), 0),
            Position::new(EPOCH_MAX, &[u64::MAX; SHARDS_MAX]).unwrap(),
        ] {
            let record = encode_position(&position).unwrap();
            assert!(record.len() <= RECORD_BYTES_MAX, "{} bytes", record.len());
            assert_eq!(decode_position(&record), Ok(position));
        }
    }

    #[test]
    fn values_out_of_range_are_neither_written_nor_read() {
        let over = Epoch(EPOCH_MAX.0 + 1);
        let error = encode_vote(&HardState { epoch: over, ..state() }).unwrap_err();
        assert!(
            error.to_string().contains("epoch") && error.to_string().contains(&over.to_string()),
            "{error}"
        );
        let bad = body(&encode_vote(&state()).unwrap()).replace("epoch 42", &format!("epoch {over}"));
        assert!(matches!(decode_vote(&resealed(&bad)), Err(RecordError::Range(_))));

        let good = body(&encode_position(&state().position).unwrap());
        for (from, to) in [
            ("stream_epoch 41", format!("stream_epoch {}", u64::MAX)),
            ("1000,2000", format!("1000,{}", OFFSET_MAX + 1)),
            ("1000,2000", vec!["0"; SHARDS_MAX + 1].join(",")),
        ] {
            let error = decode_position(&resealed(&good.replace(from, &to))).unwrap_err();
            assert!(matches!(error, RecordError::Range(_) | RecordError::Position(_)), "{to}: {error:?}");
        }
    }

    #[test]
    fn a_right_checksum_does_not_excuse_a_wrong_text() {
        let (vote, position) = (encode_vote(&state()).unwrap(), encode_position(&state().position).unwrap());
        let refused = |error: RecordError| matches!(error, RecordError::Line { .. } | RecordError::Spelling);
        for (from, to) in [
            ("epoch 42", "epoch  42"),
            ("epoch 42", "epoch +42"),
            ("epoch 42", "epoch 042"),
            ("epoch 42", "epoch -1"),
            ("epoch 42", "epoch 18446744073709551616"),
            ("epoch 42\n", "epoch 42\r\n"),
            ("epoch 42\n", ""),
            ("epoch 42\n", "epoch 42\nepoch 43\n"),
            ("\"n2\"", "n2"),
            ("\"n2\"", "\"n@2\""),
            ("\"n2\"", "\"\""),
            ("member", "Member"),
            ("0123\n", "0123\n\n"),
            ("0123\n", "0123"),
        ] {
            let good = body(&vote);
            assert!(good.contains(from), "{from:?} is not in the record");
            let error = decode_vote(&resealed(&good.replacen(from, to, 1))).unwrap_err();
            assert!(refused(error.clone()), "{from:?} -> {to:?}: {error:?}");
        }
        for (from, to) in [
            ("1000,2000", ""),
            ("1000,2000", "1000,,2000"),
            ("1000,2000", "1000,2000,"),
            ("2000\n", "2000\n\n"),
            ("2000\n", "2000"),
        ] {
            let good = body(&position);
            let error = decode_position(&resealed(&good.replacen(from, to, 1))).unwrap_err();
            assert!(refused(error.clone()), "{from:?} -> {to:?}: {error:?}");
        }
    }

    #[test]
    fn no_flipped_bit_and_no_truncation_gives_a_state() {
        let good = encode_vote(&state()).unwrap();
        for at in 0..good.len() {
            for mask in (0..8).map(|bit| 1 << bit).chain([0xff]) {
                let mut bad = good.clone();
                bad[at] ^= mask;
                assert!(decode_vote(&bad).is_err(), "byte {at} xor {mask:#04x}");
            }
            assert!(decode_vote(&good[..at]).is_err(), "cut to {at} bytes");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let record = resealed("kevy-elect-vote 6\nsomething else entirely\n");
        let error = decode_vote(&record).unwrap_err();
        assert_eq!(error, RecordError::Version { found: 6, newest: 5 });
        assert!(error.to_string().contains("newer release"));
    }

    #[test]
    fn each_kind_of_damage_has_its_own_reason() {
        assert_eq!(decode_vote(b""), Err(RecordError::Empty));
        assert!(matches!(decode_vote(&[0; 512]), Err(RecordError::Magic { .. })));
        assert!(matches!(decode_vote(b"\xff\xfe"), Err(RecordError::Magic { .. })));
        assert!(matches!(decode_vote(b"kevy-elect-vote 1\n"), Err(RecordError::Checksum { .. })));
        assert!(matches!(decode_vote(b"kevy-elect-vote"), Err(RecordError::Checksum { .. })));
        let position = encode_position(&state().position).unwrap();
        assert!(matches!(decode_vote(&position), Err(RecordError::Magic { .. })));
    }
}
