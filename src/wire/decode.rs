//! Bytes to values.

use super::error::{DecodeError, NumberFault};
use super::frame::Frame;
use super::limits::{
    CLUSTER_BYTES_MAX, DURATION_US_MAX, ELEMENTS_MAX, FRAME_BYTES_MAX, PROGRESS_OFFSET_MAX,
    REFUSE_TEXT_BYTES_MAX,
};
use super::number::parse;
use crate::fence::Health;
use crate::identity::Identity;
use crate::ids::{ClusterId, EPOCH_MAX, Epoch, Incarnation, NodeId, Round, SHARDS_MAX};
use crate::membership::{Generation, Membership};
use crate::message::{
    Announce, Echo, Grant, Heartbeat, Hello, Message, Offer, OfferKind, Pass, Reject, RejectReason, Resign,
    Role, Standing, TERMS_BYTES_MAX, Verb,
};
use crate::pause::Pause;
use crate::position::{OFFSET_MAX, Position, Progress};
use crate::rank::Seniority;
use crate::time::Duration;

/// The shortest element: `$0`, its line end, and the line end of nothing.
const ELEMENT_BYTES_MIN: usize = 6;

/// Reads the frame at the head of `bytes` and says how many bytes it took; `None`: more are needed.
///
/// Refuses a frame as soon as what is there cannot become a good one: in particular an oversized one by
/// its announced lengths, before its bytes come. Calling it again with more bytes after `None` starts at
/// the head of the frame again, which is bounded by [`FRAME_BYTES_MAX`].
pub fn decode(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, DecodeError> {
    let mut reader = Reader { bytes, at: 0, verb: "", element: 0, elements: 0, error: None };
    let Ok(verb) = reader.verb() else { return reader.stopped() };
    // By far the most frequent frames are filled in place: passing them up through results would copy
    // them several times, which takes as long as reading them.
    match verb {
        [b'H', b'B'] => {
            let mut hb = Heartbeat::BLANK;
            if reader.named("HB").heartbeat(&mut hb).and_then(|()| reader.rest()).is_err() {
                return reader.stopped();
            }
            Ok(Some((Frame::Message(Message::Heartbeat(hb)), reader.at)))
        }
        verb => match reader.frame(verb) {
            Ok(frame) => Ok(Some((frame, reader.at))),
            Err(Stop) => reader.stopped(),
        },
    }
}

/// The longest word for what is wrong with a node.
const HEALTH_BYTES_MAX: usize = 32;

/// Reading ended before the end of the frame: with [`Reader::error`], or for want of more bytes. Without
/// the error in it, results stay small enough for registers, which halves the time of a heartbeat.
struct Stop;

type Read<T> = Result<T, Stop>;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The verb, for errors.
    verb: &'static str,
    /// Elements read, and how many there are.
    element: usize,
    elements: usize,
    error: Option<DecodeError>,
}

impl<'a> Reader<'a> {
    /// More bytes are needed, or the error.
    #[cold]
    fn stopped<T>(&self) -> Result<Option<T>, DecodeError> {
        self.error.map_or(Ok(None), Err)
    }

    #[inline(always)]
    fn verb(&mut self) -> Read<&'a [u8]> {
        match self.peek()? {
            b'*' => self.at += 1,
            found => return self.bad(DecodeError::NotAnArray { found }),
        }
        self.elements = match self.bytes.get(self.at..self.at + 3) {
            Some([digit @ b'1'..=b'9', b'\r', b'\n']) => {
                self.at += 3;
                usize::from(digit - b'0')
            }
            _ => self.length(ELEMENTS_MAX, |elements| DecodeError::Elements { elements })?,
        };
        if self.elements == 0 {
            return self.bad(DecodeError::Elements { elements: 0 });
        }
        self.bulk()
    }

    /// What a newer minor version has to say beyond the known fields; it still has to be well formed.
    #[inline(always)]
    fn rest(&mut self) -> Read<()> {
        while self.element < self.elements {
            self.bulk()?;
        }
        Ok(())
    }

    /// Any frame but a heartbeat.
    fn frame(&mut self, verb: &[u8]) -> Read<Frame<'a>> {
        let frame = match verb {
            [b'E', b'C', b'H', b'O'] => Frame::Message(Message::Echo(self.named("ECHO").echo()?)),
            verb => match Verb::from_word(verb) {
                Some(verb) => self.named(verb.as_str()).of_verb(verb)?,
                None if verb == b"REFUSE" => self.named("REFUSE").refuse()?,
                None => Frame::Unknown,
            },
        };
        self.rest()?;
        Ok(frame)
    }

    /// Every verb has its place here, also those for which there is a shorter way above.
    #[inline(never)]
    fn of_verb(&mut self, verb: Verb) -> Read<Frame<'a>> {
        Ok(Frame::Message(match verb {
            Verb::Hello => return Ok(Frame::Hello(self.hello()?)),
            Verb::Hb => {
                let mut hb = Heartbeat::BLANK;
                self.heartbeat(&mut hb)?;
                Message::Heartbeat(hb)
            }
            Verb::Echo => Message::Echo(self.echo()?),
            Verb::PreOffer => Message::PreOffer(self.offer()?),
            Verb::PreAccept => Message::PreAccept(self.grant()?),
            Verb::Offer => Message::Offer(self.offer()?),
            Verb::Accept => Message::Accept(self.grant()?),
            Verb::Reject => Message::Reject(self.reject()?),
            Verb::Announce => Message::Announce(Announce { epoch: self.epoch("epoch")? }),
            Verb::Resign => {
                let epoch = self.epoch("epoch")?;
                Message::Resign(Resign { epoch, successor: self.node_or_none("successor")? })
            }
            Verb::Rank => {
                let up = self.micros("up")?;
                Message::Rank(Seniority { up, work: self.number("work", u64::MAX)? })
            }
            Verb::Members => Message::Members(self.members()?),
            Verb::Held => Message::Held(self.generation()?),
        }))
    }

    fn generation(&mut self) -> Read<Generation> {
        let epoch = self.epoch("epoch")?;
        Ok(Generation { epoch, counter: self.number("counter", Generation::COUNTER_MAX)? })
    }

    fn members(&mut self) -> Read<Membership> {
        let generation = self.generation()?;
        let list = std::str::from_utf8(self.field("voters")?).ok();
        match list.and_then(|list| Membership::parse(generation, list)) {
            Some(members) => Ok(members),
            None => self.value("voters"),
        }
    }

    fn named(&mut self, verb: &'static str) -> &mut Self {
        self.verb = verb;
        self
    }

    #[inline(always)]
    fn heartbeat(&mut self, hb: &mut Heartbeat) -> Read<()> {
        hb.epoch = self.epoch("epoch")?;
        hb.round = self.round()?;
        // Spelled out, here and for the standing, because comparing slices costs a call each.
        hb.role = match self.field("role")? {
            [b'p', b'r', b'i', b'm', b'a', b'r', b'y'] => Role::Primary,
            [b'r', b'e', b'p', b'l', b'i', b'c', b'a'] => Role::Replica,
            b"promoting" => Role::Promoting,
            b"candidate" => Role::Candidate,
            _ => return self.value("role"),
        };
        hb.standing = self.standing()?;
        hb.progress = self.progress()?;
        hb.primary = self.node_or_none("primary")?;
        hb.promise = self.micros("promise")?;
        hb.lease = self.micros("lease")?;
        if self.element < self.elements {
            hb.health = match self.field("health")? {
                [b'g', b'o', b'o', b'd'] => Health::Good,
                word => self.health(word)?,
            };
        }
        hb.identity = self.identity()?;
        hb.pause = if self.element < self.elements { self.pause()? } else { None };
        Ok(())
    }

    /// Empty where there is none, and a newer version has something to say behind it.
    #[cold]
    fn pause(&mut self) -> Read<Option<Pause>> {
        let bytes = self.bulk()?;
        match std::str::from_utf8(bytes).ok().and_then(Pause::parse) {
            Some(pause) => Ok(Some(pause)),
            None if bytes.is_empty() => Ok(None),
            None => self.value("pause"),
        }
    }

    /// A word that a newer version has for it says that something is wrong, and not what.
    #[cold]
    fn health(&mut self, word: &[u8]) -> Read<Health> {
        match Health::from_word(word) {
            Some(health) => Ok(health),
            None if word.is_empty() || word.len() > HEALTH_BYTES_MAX => self.value("health"),
            None => Ok(Health::Failing),
        }
    }

    fn echo(&mut self) -> Read<Echo> {
        Ok(Echo {
            epoch: self.epoch("epoch")?,
            round: self.round()?,
            primary: self.node_or_none("primary")?,
            standing: self.standing()?,
            progress: self.progress()?,
        })
    }

    fn offer(&mut self) -> Read<Offer> {
        Ok(Offer { epoch: self.epoch("epoch")?, round: self.round()?, position: self.position()? })
    }

    fn grant(&mut self) -> Read<Grant> {
        Ok(Grant { epoch: self.epoch("epoch")?, round: self.round()?, identity: self.identity()? })
    }

    fn reject(&mut self) -> Read<Reject> {
        Ok(Reject {
            epoch: self.epoch("epoch")?,
            round: self.round()?,
            kind: self.word("kind", OfferKind::from_word)?,
            reason: self.word("reason", RejectReason::from_word)?,
            progress: self.progress()?,
        })
    }

    /// The last field of a frame, where it is there. A newer version that does not know it either, and has something to say
    /// behind it, leaves it empty.
    #[inline(always)]
    fn identity(&mut self) -> Read<Option<Identity>> {
        if self.element == self.elements {
            return Ok(None);
        }
        let bytes = self.bulk()?;
        match ClusterId::from_digits(bytes) {
            Some(cluster) => Ok(Some(Identity::settled(cluster))),
            None if bytes.is_empty() => Ok(None),
            None => self.proposed(bytes),
        }
    }

    #[cold]
    fn proposed(&mut self, bytes: &[u8]) -> Read<Option<Identity>> {
        let proposed = bytes.split_at_checked(ClusterId::DIGITS).and_then(|(id, rest)| {
            let cluster = ClusterId::from_digits(id)?;
            let epoch = parse(rest.strip_prefix(b"@")?, EPOCH_MAX.0).ok()?;
            Some(Identity { cluster, proposed: Some(Epoch(epoch)) })
        });
        match proposed {
            Some(identity) => Ok(Some(identity)),
            None => self.value("cluster id"),
        }
    }

    fn hello(&mut self) -> Read<Hello> {
        let protocol = self.number("protocol", u64::from(u16::MAX))? as u16;
        let cluster = self.text("cluster", b'!', CLUSTER_BYTES_MAX)?;
        if cluster.is_empty() {
            return self.value("cluster");
        }
        let Some(node) = self.node_or_none("node")? else { return self.value("node") };
        let incarnation = Incarnation(self.number("incarnation", u64::MAX)?);
        let terms = if self.element < self.elements { self.field("terms")? } else { b"" };
        // Another version may mean something else by it, and must still be able to say which version it is.
        let said = terms.len() <= TERMS_BYTES_MAX && terms.iter().all(u8::is_ascii_graphic);
        let terms = std::str::from_utf8(terms).ok().filter(|_| said).unwrap_or_default().to_owned();
        let pass = if self.element < self.elements { Pass::from_digits(self.field("pass")?) } else { None };
        Ok(Hello { protocol, cluster: cluster.to_owned(), node, incarnation, terms, pass })
    }

    fn refuse(&mut self) -> Read<Frame<'a>> {
        let reason = self.text("reason", b'!', REFUSE_TEXT_BYTES_MAX)?;
        let text = self.text("text", b' ', REFUSE_TEXT_BYTES_MAX)?;
        Ok(Frame::Refuse { reason, text })
    }

    #[inline(always)]
    fn epoch(&mut self, field: &'static str) -> Read<Epoch> {
        Ok(Epoch(self.number(field, EPOCH_MAX.0)?))
    }

    #[inline(always)]
    fn round(&mut self) -> Read<Round> {
        Ok(Round(self.number("round", u64::MAX)?))
    }

    #[inline(always)]
    fn micros(&mut self, field: &'static str) -> Read<Duration> {
        Ok(Duration::from_micros(self.number(field, DURATION_US_MAX)?))
    }

    #[inline(always)]
    fn standing(&mut self) -> Read<Standing> {
        match self.field("standing")? {
            [b'm', b'e', b'm', b'b', b'e', b'r'] => Ok(Standing::Member),
            [b'n', b'e', b'w'] => Ok(Standing::New),
            _ => self.value("standing"),
        }
    }

    #[inline(always)]
    fn node_or_none(&mut self, field: &'static str) -> Read<Option<NodeId>> {
        let bytes = self.field(field)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        match NodeId::from_wire(bytes) {
            Some(node) => Ok(Some(node)),
            None => self.value(field),
        }
    }

    /// One of the words that may stand there.
    fn word<T>(&mut self, field: &'static str, known: impl Fn(&'a [u8]) -> Option<T>) -> Read<T> {
        let word = self.field(field)?;
        match known(word) {
            Some(value) => Ok(value),
            None => self.value(field),
        }
    }

    /// Printable ASCII from `lowest` on.
    fn text(&mut self, field: &'static str, lowest: u8, bytes_max: usize) -> Read<&'a str> {
        let bytes = self.field(field)?;
        match std::str::from_utf8(bytes) {
            Ok(text) if bytes.len() <= bytes_max && bytes.iter().all(|b| (lowest..=b'~').contains(b)) => {
                Ok(text)
            }
            _ => self.value(field),
        }
    }

    #[inline(always)]
    fn progress(&mut self) -> Read<Progress> {
        let (epoch, rest) = self.history("progress")?;
        Ok(Progress { stream_epoch: epoch, offset: self.parse("progress", rest, PROGRESS_OFFSET_MAX)? })
    }

    // Its kilobyte of stack must not be set up for heartbeats.
    #[inline(never)]
    fn position(&mut self) -> Read<Position> {
        let (epoch, rest) = self.history("position")?;
        let mut offsets = [0; SHARDS_MAX];
        let mut shards = 0;
        if !rest.is_empty() {
            for listed in rest.split(|b| *b == b',') {
                let Some(offset) = offsets.get_mut(shards) else {
                    return self.bad(DecodeError::TooManyShards { verb: self.verb });
                };
                *offset = self.parse("position", listed, OFFSET_MAX)?;
                shards += 1;
            }
        }
        match Position::new(epoch, &offsets[..shards]) {
            Ok(position) => Ok(position),
            Err(_) => self.bad(DecodeError::TooManyShards { verb: self.verb }),
        }
    }

    /// `<stream epoch>:<rest>`
    #[inline(always)]
    fn history(&mut self, field: &'static str) -> Read<(Epoch, &'a [u8])> {
        let bytes = self.field(field)?;
        let Some(colon) = bytes.iter().position(|b| *b == b':') else { return self.value(field) };
        Ok((Epoch(self.parse(field, &bytes[..colon], EPOCH_MAX.0)?), &bytes[colon + 1..]))
    }

    #[inline(always)]
    fn number(&mut self, field: &'static str, max: u64) -> Read<u64> {
        let digits = self.field(field)?;
        self.parse(field, digits, max)
    }

    #[inline(always)]
    fn parse(&mut self, field: &'static str, digits: &[u8], max: u64) -> Read<u64> {
        match parse(digits, max) {
            Ok(value) => Ok(value),
            Err(fault) => self.bad(DecodeError::Number { verb: self.verb, field, fault }),
        }
    }

    #[cold]
    fn value<T>(&mut self, field: &'static str) -> Read<T> {
        self.bad(DecodeError::Value { verb: self.verb, field })
    }

    #[cold]
    fn bad<T>(&mut self, error: DecodeError) -> Read<T> {
        self.error = Some(error);
        Err(Stop)
    }

    #[inline(always)]
    fn field(&mut self, field: &'static str) -> Read<&'a [u8]> {
        if self.element == self.elements {
            return self.bad(DecodeError::Missing { verb: self.verb, field });
        }
        self.bulk()
    }

    #[inline(always)]
    fn bulk(&mut self) -> Read<&'a [u8]> {
        let bytes = self.bytes;
        // Nearly every element is shorter than 10 bytes.
        let length = match bytes.get(self.at..self.at + 4) {
            Some([b'$', digit @ b'0'..=b'9', b'\r', b'\n']) => {
                self.at += 4;
                usize::from(digit - b'0')
            }
            _ => self.bulk_length()?,
        };
        let end = self.at + length;
        let left = self.elements - self.element - 1;
        let announced = end + 2 + left * ELEMENT_BYTES_MIN;
        if announced > FRAME_BYTES_MAX {
            return self.bad(DecodeError::TooLarge { bytes: announced });
        }
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => {
                let content = &bytes[self.at..end];
                self.at = end + 2;
                self.element += 1;
                Ok(content)
            }
            _ => {
                self.at = end;
                self.no_line_end()
            }
        }
    }

    #[cold]
    fn bulk_length(&mut self) -> Read<usize> {
        match self.peek()? {
            b'$' => self.at += 1,
            found => return self.bad(DecodeError::NotABulkString { element: self.element, found }),
        }
        self.length(FRAME_BYTES_MAX, |bytes| DecodeError::TooLarge { bytes })
    }

    /// A decimal number up to `max`, and the line end after it.
    fn length(&mut self, max: usize, over: fn(usize) -> DecodeError) -> Read<usize> {
        let start = self.at;
        let bad = |fault| DecodeError::Length { at: start, fault };
        let mut value = 0;
        loop {
            match self.peek()? {
                digit @ b'0'..=b'9' => {
                    if self.at > start && value == 0 {
                        return self.bad(bad(NumberFault::LeadingZero));
                    }
                    value = value * 10 + usize::from(digit - b'0');
                    // Before the next digit: the number of digits stays bounded, too.
                    if value > max {
                        return self.bad(over(value));
                    }
                    self.at += 1;
                }
                b'\r' if self.at > start => break,
                b'\r' => return self.bad(bad(NumberFault::Empty)),
                found => return self.bad(bad(NumberFault::NotADigit { found })),
            }
        }
        if self.bytes.get(self.at..self.at + 2) != Some(b"\r\n") {
            return self.no_line_end();
        }
        self.at += 2;
        Ok(value)
    }

    /// Tells a line end that is still to come from one that is wrong.
    #[cold]
    fn no_line_end<T>(&mut self) -> Read<T> {
        for (at, expected) in [(self.at, b'\r'), (self.at + 1, b'\n')] {
            match self.bytes.get(at) {
                None => return Err(Stop),
                Some(found) if *found != expected => {
                    return self.bad(DecodeError::NoLineEnd { at, found: *found });
                }
                Some(_) => {}
            }
        }
        Err(Stop)
    }

    #[inline(always)]
    fn peek(&self) -> Read<u8> {
        self.bytes.get(self.at).copied().ok_or(Stop)
    }
}
