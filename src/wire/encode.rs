//! Values to bytes.

use super::limits::{CLUSTER_BYTES_MAX, DURATION_US_MAX, REFUSE_TEXT_BYTES_MAX};
use crate::fence::Health;
use crate::identity::Identity;
use crate::ids::{ClusterId, NodeId};
use crate::membership::Generation;
use crate::message::{Grant, Hello, Message, Offer, OfferKind, Role, Standing, TERMS_BYTES_MAX};
use crate::pause::Pause;
use crate::position::{Position, Progress};
use crate::time::Duration;

/// Room for any frame without a full position or text. The largest, a heartbeat with every field at its
/// longest, has 357 bytes; the rest is room to copy more than is used, which is faster than to copy exactly.
const SMALL_FRAME_BYTES_MAX: usize = 416;

/// Appends the frame of `message` to `out`, which grows by [`FRAME_BYTES_MAX`](super::limits::FRAME_BYTES_MAX) at most. Nothing else
/// is allocated.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    small(out, |w| match message {
        Message::Heartbeat(hb) => {
            // As short as it can be: what is not there is not written.
            match (hb.identity, hb.health) {
                _ if hb.pause.is_some() => w.raw(b"*12\r\n$2\r\nHB\r\n"),
                (Some(_), _) => w.raw(b"*11\r\n$2\r\nHB\r\n"),
                (None, Health::Good) => w.raw(b"*9\r\n$2\r\nHB\r\n"),
                (None, _) => w.raw(b"*10\r\n$2\r\nHB\r\n"),
            }
            w.number(hb.epoch.0);
            w.number(hb.round.0);
            match hb.role {
                Role::Primary => w.raw(b"$7\r\nprimary\r\n"),
                Role::Promoting => w.raw(b"$9\r\npromoting\r\n"),
                Role::Candidate => w.raw(b"$9\r\ncandidate\r\n"),
                Role::Replica => w.raw(b"$7\r\nreplica\r\n"),
            }
            w.standing(hb.standing);
            w.progress(hb.progress);
            w.node(hb.primary.as_ref());
            match hb.promise {
                Duration::ZERO => w.raw(b"$1\r\n0\r\n"),
                promise => w.micros(promise),
            }
            w.micros(hb.lease);
            match (hb.identity, hb.health) {
                (None, Health::Good) if hb.pause.is_none() => {}
                (_, Health::Good) => w.raw(b"$4\r\ngood\r\n"),
                (_, health) => w.bulk(health.as_str().as_bytes()),
            }
            match (&hb.identity, &hb.pause) {
                (Some(identity), _) => w.identity(identity),
                (None, Some(_)) => w.raw(b"$0\r\n\r\n"),
                (None, None) => {}
            }
            if let Some(pause) = &hb.pause {
                w.pause(pause);
            }
        }
        Message::Echo(echo) => {
            w.raw(b"*6\r\n$4\r\nECHO\r\n");
            w.number(echo.epoch.0);
            w.number(echo.round.0);
            w.node(echo.primary.as_ref());
            w.standing(echo.standing);
            w.progress(echo.progress);
        }
        Message::PreOffer(offer) => w.offer(b"*4\r\n$8\r\nPREOFFER\r\n", offer),
        Message::Offer(offer) => w.offer(b"*4\r\n$5\r\nOFFER\r\n", offer),
        Message::PreAccept(grant) => w.grant(b"\r\n$9\r\nPREACCEPT\r\n", grant),
        Message::Accept(grant) => w.grant(b"\r\n$6\r\nACCEPT\r\n", grant),
        Message::Reject(reject) => {
            w.raw(b"*6\r\n$6\r\nREJECT\r\n");
            w.number(reject.epoch.0);
            w.number(reject.round.0);
            match reject.kind {
                OfferKind::PreVote => w.raw(b"$8\r\npre-vote\r\n"),
                OfferKind::Vote => w.raw(b"$4\r\nvote\r\n"),
            }
            w.bulk(reject.reason.as_str().as_bytes());
            w.progress(reject.progress);
        }
        Message::Announce(announce) => {
            w.raw(b"*2\r\n$8\r\nANNOUNCE\r\n");
            w.number(announce.epoch.0);
        }
        Message::Resign(resign) => {
            w.raw(b"*3\r\n$6\r\nRESIGN\r\n");
            w.number(resign.epoch.0);
            w.node(resign.successor.as_ref());
        }
        Message::Rank(rank) => {
            w.raw(b"*3\r\n$4\r\nRANK\r\n");
            w.micros(rank.up);
            w.number(rank.work);
        }
        Message::Members(members) => {
            w.raw(b"*4\r\n$7\r\nMEMBERS\r\n");
            w.generation(members.generation);
        }
        Message::Held(generation) => {
            w.raw(b"*3\r\n$4\r\nHELD\r\n");
            w.generation(*generation);
        }
    });
    if let Message::Members(members) = message {
        // Longer than what is written in place above.
        let list = members.list();
        out.extend_from_slice(format!("${}\r\n{list}\r\n", list.len()).as_bytes());
    }
    if let Message::PreOffer(offer) | Message::Offer(offer) = message {
        position(&offer.position, out);
    }
}

/// Appends a `HELLO`. A cluster name that is longer than a peer accepts is cut, and refused there.
pub fn encode_hello(hello: &Hello, out: &mut Vec<u8>) {
    let says_terms = !hello.terms.is_empty();
    small(out, |w| {
        w.raw(match (hello.pass, says_terms) {
            (Some(_), _) => b"*7\r\n",
            (None, true) => b"*6\r\n",
            (None, false) => b"*5\r\n",
        });
        w.raw(b"$5\r\nHELLO\r\n");
        w.number(u64::from(hello.protocol));
        w.bulk(&hello.cluster.as_bytes()[..hello.cluster.len().min(CLUSTER_BYTES_MAX + 1)]);
        w.node(Some(&hello.node));
        w.number(hello.incarnation.0);
    });
    if says_terms || hello.pass.is_some() {
        // Longer than what is written in place above. What is longer than a peer accepts is not said.
        let terms = &hello.terms.as_bytes()[..hello.terms.len().min(TERMS_BYTES_MAX)];
        out.extend_from_slice(format!("${}\r\n", terms.len()).as_bytes());
        out.extend_from_slice(terms);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(pass) = hello.pass {
        let digits = pass.digits();
        out.extend_from_slice(format!("${}\r\n{digits}\r\n", digits.len()).as_bytes());
    }
}

/// Appends a `REFUSE` with a word for the reason and a text for people; only printable ASCII is kept.
pub fn encode_refuse(reason: &str, text: &str, out: &mut Vec<u8>) {
    let printable = |text: &str| -> Vec<u8> {
        text.bytes().filter(|b| (b' '..=b'~').contains(b)).take(REFUSE_TEXT_BYTES_MAX).collect()
    };
    out.extend_from_slice(b"*3\r\n$6\r\nREFUSE\r\n");
    for text in [printable(reason), printable(text)] {
        small(out, |w| w.bulk(&text));
    }
}

/// Makes room once, writes in place, gives back what was not used. A buffer on the stack that is copied
/// to `out` takes twice as long: wide loads stall on the narrow stores just before them.
#[inline(always)]
fn small(out: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>)) {
    let start = out.len();
    out.resize(start + SMALL_FRAME_BYTES_MAX, 0);
    let Some(buf) = out[start..].first_chunk_mut() else { return };
    let mut w = Writer { buf, at: 0 };
    write(&mut w);
    let used = w.at;
    out.truncate(start + used);
}

/// A frame under construction, of a fixed size so that most bounds are known when it is compiled.
struct Writer<'a> {
    buf: &'a mut [u8; SMALL_FRAME_BYTES_MAX],
    at: usize,
}

const DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

impl Writer<'_> {
    #[inline(always)]
    fn raw<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.padded(bytes, N);
    }

    /// Copies all of `bytes`, of which `used` count.
    #[inline(always)]
    fn padded<const N: usize>(&mut self, bytes: &[u8; N], used: usize) {
        if let Some(to) = self.buf.get_mut(self.at..).and_then(|rest| rest.first_chunk_mut()) {
            *to = *bytes;
            self.at += used;
        } else {
            debug_assert!(false, "SMALL_FRAME_BYTES_MAX is too small");
        }
    }

    #[inline(always)]
    fn length(&mut self, bytes: usize) {
        if bytes < 10 {
            self.raw(&[b'$', b'0' + bytes as u8, b'\r', b'\n']);
        } else if bytes < 100 {
            let [tens, units] = DIGIT_PAIRS[bytes];
            self.raw(&[b'$', tens, units, b'\r', b'\n']);
        } else {
            self.raw(b"$");
            self.digits(bytes as u64, digits_of(bytes as u64));
            self.raw(b"\r\n");
        }
    }

    fn bulk(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.buf[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self.raw(b"\r\n");
    }

    fn generation(&mut self, generation: Generation) {
        self.number(generation.epoch.0);
        self.number(generation.counter);
    }

    fn pause(&mut self, pause: &Pause) {
        let count = digits_of(pause.number);
        if pause.paused {
            self.length(b"paused@".len() + count);
            self.raw(b"paused@");
        } else {
            self.length(b"running@".len() + count);
            self.raw(b"running@");
        }
        self.digits(pause.number, count);
        self.raw(b"\r\n");
    }

    #[inline(always)]
    fn number(&mut self, n: u64) {
        if n < 10 {
            return self.raw(&[b'$', b'1', b'\r', b'\n', b'0' + n as u8, b'\r', b'\n']);
        }
        let count = digits_of(n);
        self.length(count);
        self.digits(n, count);
        self.raw(b"\r\n");
    }

    /// Exactly `count` digits, from the last one backwards.
    #[inline(always)]
    fn digits(&mut self, mut n: u64, count: usize) {
        let Some(field) = self.buf.get_mut(self.at..self.at + count) else { return };
        let mut pairs = field.rchunks_exact_mut(2);
        for pair in &mut pairs {
            pair.copy_from_slice(&DIGIT_PAIRS[(n % 100) as usize]);
            n /= 100;
        }
        if let [first] = pairs.into_remainder() {
            *first = b'0' + (n % 10) as u8;
        }
        self.at += count;
    }

    /// Rounded up: a lease must never look shorter than it is.
    #[inline(always)]
    fn micros(&mut self, duration: Duration) {
        let up = u64::from(!duration.subsec_nanos().is_multiple_of(1000));
        let whole = duration.as_secs().saturating_mul(1_000_000);
        let micros = whole.saturating_add(u64::from(duration.subsec_micros()) + up);
        self.number(micros.min(DURATION_US_MAX));
    }

    #[inline(always)]
    fn node(&mut self, node: Option<&NodeId>) {
        match node {
            Some(node) => {
                let (bytes, used) = node.wire_bytes();
                self.length(used);
                self.padded(bytes, used);
                self.raw(b"\r\n");
            }
            None => self.raw(b"$0\r\n\r\n"),
        }
    }

    #[inline(always)]
    fn standing(&mut self, standing: Standing) {
        match standing {
            Standing::Member => self.raw(b"$6\r\nmember\r\n"),
            Standing::New => self.raw(b"$3\r\nnew\r\n"),
        }
    }

    #[inline(always)]
    fn progress(&mut self, progress: Progress) {
        let (epoch, offset) = (progress.stream_epoch.0, progress.offset);
        let (epoch_digits, offset_digits) = (digits_of(epoch), digits_of(offset));
        self.length(epoch_digits + 1 + offset_digits);
        self.digits(epoch, epoch_digits);
        self.raw(b":");
        self.digits(offset, offset_digits);
        self.raw(b"\r\n");
    }

    fn grant<const N: usize>(&mut self, head: &[u8; N], grant: &Grant) {
        self.raw(if grant.identity.is_some() { b"*4" } else { b"*3" });
        self.raw(head);
        self.number(grant.epoch.0);
        self.number(grant.round.0);
        if let Some(identity) = &grant.identity {
            self.identity(identity);
        }
    }

    #[inline(always)]
    fn identity(&mut self, identity: &Identity) {
        match identity.proposed {
            None => {
                self.raw(b"$32\r\n");
                self.raw(identity.cluster.digits());
            }
            Some(epoch) => {
                let count = digits_of(epoch.0);
                self.length(ClusterId::DIGITS + 1 + count);
                self.raw(identity.cluster.digits());
                self.raw(b"@");
                self.digits(epoch.0, count);
            }
        }
        self.raw(b"\r\n");
    }

    /// All but the position, which may be longer than everything else together: [`position`].
    fn offer<const N: usize>(&mut self, head: &[u8; N], offer: &Offer) {
        self.raw(head);
        self.number(offer.epoch.0);
        self.number(offer.round.0);
    }
}

fn position(position: &Position, out: &mut Vec<u8>) {
    let offsets = position.offsets();
    let epoch = position.stream_epoch().0;
    let listed: usize = offsets.iter().map(|offset| digits_of(*offset)).sum();
    let length = digits_of(epoch) + 1 + listed + offsets.len().saturating_sub(1);
    out.reserve(length + 2 * SMALL_FRAME_BYTES_MAX);
    small(out, |w| {
        w.length(length);
        w.digits(epoch, digits_of(epoch));
        w.raw(b":");
    });
    for (shard, offset) in offsets.iter().enumerate() {
        if shard > 0 {
            out.push(b',');
        }
        push_number(*offset, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn push_number(mut n: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + digits_of(n), b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

#[inline(always)]
fn digits_of(n: u64) -> usize {
    n.checked_ilog10().map_or(1, |log| log as usize + 1)
}
