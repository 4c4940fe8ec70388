//! How a vote record looks on disk: a few lines that `cat` shows and a checksum that guards them.
//!
//! ```text
//! kevy-elect-vote 1
//! epoch 42
//! voted_for "n2"
//! standing member
//! incarnation 1763712000123
//! stream_epoch 41
//! offsets 1000,2000
//! crc 87ad6dec
//! ```
//!
//! `voted_for none` and `offsets none` stand for nothing; a node id is quoted, so that a node may be named
//! `none`. The checksum (CRC-32) covers every byte before its own line. A state has exactly one spelling:
//! whatever the checksum lets through by chance or by hand is still refused unless it is that spelling.
//!
//! Later versions keep the shape of the first and of the last line, and change the rest as they like. So
//! a record of a newer release is told from a damaged one.

use super::HardState;
use crate::ids::{EPOCH_MAX, Epoch, Incarnation, NodeId, SHARDS_MAX};
use crate::message::Standing;
use crate::position::{OFFSET_MAX, Position};
use std::fmt::{Display, Write};

/// The largest record. [`SHARDS_MAX`] offsets of 17 digits and a node id of 63 bytes leave room to spare.
pub(super) const RECORD_BYTES_MAX: usize = 4096;

const MAGIC: &str = "kevy-elect-vote";
const VERSION: u64 = 1;
/// `crc `, eight digits, a newline.
const CRC_LINE_BYTES: usize = 13;

/// Why bytes are not a vote record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    /// What a crash leaves that created a file and never wrote it.
    #[error("it is empty")]
    Empty,
    #[error("it is larger than {RECORD_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it is not a text that begins with \"{MAGIC}\"")]
    Magic,
    #[error("its last line is not the checksum of the rest, \"crc {expected:08x}\"")]
    Checksum { expected: u32 },
    #[error("it is of version {found}, this release reads version {VERSION}: use the newer release again")]
    Version { found: u64 },
    #[error("line {line} is {found:?}, expected \"{expected}\"")]
    Line { line: usize, found: String, expected: &'static str },
    #[error("{0}")]
    Range(#[from] RangeError),
    #[error("its values are right, but not spelled as this program writes them")]
    Spelling,
}

/// A value that no healthy node has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; at most {max} can be")]
pub(super) struct RangeError {
    field: &'static str,
    value: u64,
    max: u64,
}

/// The record of `state`, or the value in it that [`decode`] would refuse.
pub(super) fn encode(state: &HardState) -> Result<String, RangeError> {
    check(state)?;
    let HardState { epoch, voted_for, standing, incarnation, position } = state;
    let mut record = String::with_capacity(256);
    line(&mut record, MAGIC, VERSION);
    line(&mut record, "epoch", epoch);
    match voted_for {
        Some(node) => line(&mut record, "voted_for", format_args!("\"{node}\"")),
        None => line(&mut record, "voted_for", "none"),
    }
    line(&mut record, "standing", standing_word(*standing));
    line(&mut record, "incarnation", incarnation);
    line(&mut record, "stream_epoch", position.stream_epoch());
    let offsets: Vec<String> = position.offsets().iter().map(u64::to_string).collect();
    line(&mut record, "offsets", if offsets.is_empty() { "none".to_owned() } else { offsets.join(",") });
    let crc = crc_line(record.as_bytes());
    record.push_str(&crc);
    Ok(record)
}

/// The state that `bytes` record.
pub(super) fn decode(bytes: &[u8]) -> Result<HardState, RecordError> {
    if bytes.is_empty() {
        return Err(RecordError::Empty);
    }
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(RecordError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| RecordError::Magic)?;
    if !text.starts_with(MAGIC) {
        return Err(RecordError::Magic);
    }
    let (body, crc) = bytes.split_at(bytes.len().saturating_sub(CRC_LINE_BYTES));
    if crc != crc_line(body).as_bytes() {
        return Err(RecordError::Checksum { expected: crc32fast::hash(body) });
    }
    let state = Lines { lines: text.lines(), read: 0 }.state()?;
    if encode(&state)?.as_bytes() != bytes {
        return Err(RecordError::Spelling);
    }
    Ok(state)
}

fn check(state: &HardState) -> Result<(), RangeError> {
    let epochs = [("epoch", state.epoch), ("stream_epoch", state.position.stream_epoch())];
    match epochs.into_iter().find(|(_, epoch)| *epoch > EPOCH_MAX) {
        Some((field, Epoch(value))) => Err(RangeError { field, value, max: EPOCH_MAX.0 }),
        None => Ok(()),
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
struct Lines<'a> {
    lines: std::str::Lines<'a>,
    read: usize,
}

impl<'a> Lines<'a> {
    fn state(mut self) -> Result<HardState, RecordError> {
        let found = self.number(MAGIC, "kevy-elect-vote <version>")?;
        if found != VERSION {
            return Err(RecordError::Version { found });
        }
        Ok(HardState {
            epoch: Epoch(self.number("epoch", "epoch <number>")?),
            voted_for: self.value("voted_for", "voted_for \"<node id>\" | none", |text| match text {
                "none" => Some(None),
                quoted => NodeId::new(quoted.strip_prefix('"')?.strip_suffix('"')?).ok().map(Some),
            })?,
            standing: self.value("standing", "standing member | new", |text| {
                [Standing::Member, Standing::New].into_iter().find(|s| standing_word(*s) == text)
            })?,
            incarnation: Incarnation(self.number("incarnation", "incarnation <number>")?),
            position: self.position()?,
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
        let shards = RangeError {
            field: "the number of offsets",
            value: offsets.len() as u64,
            max: SHARDS_MAX as u64,
        };
        Position::new(stream_epoch, &offsets).ok_or(shards.into())
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
    use super::*;

    fn state() -> HardState {
        HardState {
            epoch: Epoch(42),
            voted_for: Some(NodeId::new("n2").unwrap()),
            standing: Standing::Member,
            incarnation: Incarnation(1_763_712_000_123),
            position: Position::new(Epoch(41), &[1000, 2000]).unwrap(),
        }
    }

    /// `body` with the checksum that belongs to it: damage that only the strict parser can see.
    fn sealed(body: &str) -> Vec<u8> {
        format!("{body}{}", crc_line(body.as_bytes())).into_bytes()
    }

    #[test]
    fn the_record_of_version_1_never_changes() {
        let golden = "kevy-elect-vote 1\nepoch 42\nvoted_for \"n2\"\nstanding member\n\
                      incarnation 1763712000123\nstream_epoch 41\noffsets 1000,2000\ncrc 87ad6dec\n";
        assert_eq!(encode(&state()).unwrap(), golden);
        assert_eq!(decode(golden.as_bytes()).unwrap(), state());
    }

    #[test]
    fn the_extremes_of_every_field_come_back() {
        let longest = NodeId::new(&"~".repeat(63)).unwrap();
        let ids =
            [None, Some("none"), Some("-"), Some("n\\1")].map(|id| id.map(|id| NodeId::new(id).unwrap()));
        for voted_for in ids.into_iter().chain([Some(longest)]) {
            for standing in [Standing::Member, Standing::New] {
                for position in [
                    Position::NONE,
                    Position::new(EPOCH_MAX, &[]).unwrap(),
                    Position::single(Epoch(1), 0),
                    Position::new(EPOCH_MAX, &[u64::MAX; SHARDS_MAX]).unwrap(),
                ] {
                    let incarnation = Incarnation(u64::MAX);
                    let state = HardState { epoch: EPOCH_MAX, voted_for, standing, incarnation, position };
                    let record = encode(&state).unwrap();
                    assert!(record.len() <= RECORD_BYTES_MAX, "{} bytes", record.len());
                    assert_eq!(decode(record.as_bytes()), Ok(state));
                }
            }
        }
    }

    #[test]
    fn values_out_of_range_are_neither_written_nor_read() {
        let over = Epoch(EPOCH_MAX.0 + 1);
        assert_eq!(encode(&HardState { epoch: over, ..state() }).unwrap_err().field, "epoch");

        let good = encode(&state()).unwrap();
        let body = &good[..good.len() - CRC_LINE_BYTES];
        for (from, to) in [
            ("epoch 42", format!("epoch {over}")),
            ("stream_epoch 41", format!("stream_epoch {}", u64::MAX)),
            ("1000,2000", format!("1000,{}", OFFSET_MAX + 1)),
            ("1000,2000", vec!["0"; SHARDS_MAX + 1].join(",")),
        ] {
            let error = decode(&sealed(&body.replace(from, &to))).unwrap_err();
            assert!(matches!(error, RecordError::Range(_)), "{to}: {error:?}");
        }
    }

    #[test]
    fn a_right_checksum_does_not_excuse_a_wrong_text() {
        let good = encode(&state()).unwrap();
        let body = &good[..good.len() - CRC_LINE_BYTES];
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
            ("1000,2000", ""),
            ("1000,2000", "1000,,2000"),
            ("1000,2000", "1000,2000,"),
            ("2000\n", "2000\n\n"),
            ("2000\n", "2000"),
        ] {
            assert!(body.contains(from), "{from:?} is not in the record");
            let error = decode(&sealed(&body.replacen(from, to, 1))).unwrap_err();
            assert!(
                matches!(error, RecordError::Line { .. } | RecordError::Spelling),
                "{from:?} -> {to:?}: {error:?}"
            );
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let record = sealed("kevy-elect-vote 2\nsomething else entirely\n");
        assert_eq!(decode(&record), Err(RecordError::Version { found: 2 }));
        assert!(RecordError::Version { found: 2 }.to_string().contains("newer release"));
    }

    #[test]
    fn each_kind_of_damage_has_its_own_reason() {
        assert_eq!(decode(b""), Err(RecordError::Empty));
        assert_eq!(decode(&[0; 512]), Err(RecordError::Magic));
        assert_eq!(decode(b"\xff\xfe"), Err(RecordError::Magic));
        assert_eq!(decode(&vec![b'k'; RECORD_BYTES_MAX + 1]), Err(RecordError::TooLarge));
        assert!(matches!(decode(b"kevy-elect-vote 1\n"), Err(RecordError::Checksum { .. })));
        assert!(matches!(decode(b"kevy-elect-vote"), Err(RecordError::Checksum { .. })));
    }
}
