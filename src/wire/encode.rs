//! Values to bytes.

use super::{DURATION_US_MAX, FRAME_BYTES_MAX, REFUSE_TEXT_BYTES_MAX};
use crate::ids::NodeId;
use crate::message::{Grant, Hello, Message, Offer, OfferKind, Role, Standing};
use crate::position::{Position, Progress};
use crate::time::Duration;

/// Room for any frame without a full position: the largest, a heartbeat, has 9 elements, of which 5 are
/// numbers (27 bytes each at most) and one is a node id (70).
const SMALL_FRAME_BYTES_MAX: usize = 320;
/// A number in a list: 20 digits and its separator.
const LISTED_NUMBER_BYTES_MAX: usize = 21;

/// Appends the frame of `message` to `out`, which grows by [`FRAME_BYTES_MAX`] at most. Nothing else is
/// allocated.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    let more = match message {
        Message::PreOffer(offer) | Message::Offer(offer) => {
            offer.position.offsets().len() * LISTED_NUMBER_BYTES_MAX
        }
        _ => 0,
    };
    append(out, SMALL_FRAME_BYTES_MAX + more, |w| match message {
        Message::Heartbeat(hb) => {
            w.raw(b"*9\r\n$2\r\nHB\r\n");
            w.number(hb.epoch.0);
            w.number(hb.round.0);
            w.raw(match hb.role {
                Role::Primary => b"$7\r\nprimary\r\n",
                Role::Promoting => b"$9\r\npromoting\r\n",
                Role::Candidate => b"$9\r\ncandidate\r\n",
                Role::Replica => b"$7\r\nreplica\r\n",
            });
            w.standing(hb.standing);
            w.progress(hb.progress);
            w.node(hb.primary.as_ref());
            w.micros(hb.primary_age);
            w.micros(hb.lease);
        }
        Message::Echo(echo) => {
            w.raw(b"*5\r\n$4\r\nECHO\r\n");
            w.number(echo.epoch.0);
            w.number(echo.round.0);
            w.node(echo.primary.as_ref());
            w.standing(echo.standing);
        }
        Message::PreOffer(offer) => w.offer(b"*4\r\n$8\r\nPREOFFER\r\n", offer),
        Message::Offer(offer) => w.offer(b"*4\r\n$5\r\nOFFER\r\n", offer),
        Message::PreAccept(grant) => w.grant(b"*3\r\n$9\r\nPREACCEPT\r\n", *grant),
        Message::Accept(grant) => w.grant(b"*3\r\n$6\r\nACCEPT\r\n", *grant),
        Message::Reject(reject) => {
            w.raw(b"*6\r\n$6\r\nREJECT\r\n");
            w.number(reject.epoch.0);
            w.number(reject.round.0);
            w.raw(match reject.kind {
                OfferKind::PreVote => b"$8\r\npre-vote\r\n",
                OfferKind::Vote => b"$4\r\nvote\r\n",
            });
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
    });
}

/// Appends a `HELLO`. A cluster name that is longer than a peer accepts is cut, and so refused there.
pub fn encode_hello(hello: &Hello, out: &mut Vec<u8>) {
    let cluster = &hello.cluster.as_bytes()[..hello.cluster.len().min(2 * super::CLUSTER_BYTES_MAX)];
    append(out, SMALL_FRAME_BYTES_MAX, |w| {
        w.raw(b"*5\r\n$5\r\nHELLO\r\n");
        w.number(u64::from(hello.protocol));
        w.bulk(cluster);
        w.bulk(hello.node.as_str().as_bytes());
        w.number(hello.incarnation.0);
    });
}

/// Appends a `REFUSE` with a word for the reason and a text for people.
pub fn encode_refuse(reason: &str, text: &str, out: &mut Vec<u8>) {
    let cut = |s: &str| s.bytes().filter(|b| (b' '..=b'~').contains(b)).take(REFUSE_TEXT_BYTES_MAX).collect();
    let (reason, text): (Vec<u8>, Vec<u8>) = (cut(reason), cut(text));
    append(out, 2 * SMALL_FRAME_BYTES_MAX, |w| {
        w.raw(b"*3\r\n$6\r\nREFUSE\r\n");
        w.bulk(&reason);
        w.bulk(&text);
    });
}

/// Makes room once, writes by index, gives back what was not used: one capacity check per frame.
fn append(out: &mut Vec<u8>, bytes_max: usize, write: impl FnOnce(&mut Writer<'_>)) {
    let start = out.len();
    out.resize(start + bytes_max, 0);
    let mut writer = Writer { buf: &mut out[start..], at: 0 };
    write(&mut writer);
    let used = writer.at;
    debug_assert!(used <= FRAME_BYTES_MAX);
    out.truncate(start + used);
}

struct Writer<'a> {
    buf: &'a mut [u8],
    at: usize,
}

const DIGIT_PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut n = 0;
    while n < 100 {
        pairs[2 * n] = b'0' + (n / 10) as u8;
        pairs[2 * n + 1] = b'0' + (n % 10) as u8;
        n += 1;
    }
    pairs
};

impl Writer<'_> {
    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        self.buf[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    #[inline]
    fn length(&mut self, bytes: usize) {
        if bytes < 10 {
            self.raw(&[b'$', b'0' + bytes as u8, b'\r', b'\n']);
        } else {
            self.raw(b"$");
            self.digits(bytes as u64, digits_of(bytes as u64));
            self.raw(b"\r\n");
        }
    }

    #[inline]
    fn bulk(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.raw(bytes);
        self.raw(b"\r\n");
    }

    #[inline]
    fn number(&mut self, n: u64) {
        let count = digits_of(n);
        self.length(count);
        self.digits(n, count);
        self.raw(b"\r\n");
    }

    /// Exactly `count` digits, from the last one backwards.
    #[inline]
    fn digits(&mut self, mut n: u64, count: usize) {
        let field = &mut self.buf[self.at..self.at + count];
        let mut end = count;
        while end >= 2 {
            let pair = (n % 100) as usize * 2;
            n /= 100;
            field[end - 2..end].copy_from_slice(&DIGIT_PAIRS[pair..pair + 2]);
            end -= 2;
        }
        if end == 1 {
            field[0] = b'0' + (n % 10) as u8;
        }
        self.at += count;
    }

    /// Rounded up: a lease must never look shorter than it is.
    fn micros(&mut self, duration: Duration) {
        let up = u64::from(!duration.subsec_nanos().is_multiple_of(1000));
        let whole = duration.as_secs().saturating_mul(1_000_000);
        let micros = whole.saturating_add(u64::from(duration.subsec_micros()) + up);
        self.number(micros.min(DURATION_US_MAX));
    }

    fn node(&mut self, node: Option<&NodeId>) {
        match node {
            Some(node) => self.bulk(node.as_str().as_bytes()),
            None => self.raw(b"$0\r\n\r\n"),
        }
    }

    fn standing(&mut self, standing: Standing) {
        self.raw(match standing {
            Standing::Member => b"$6\r\nmember\r\n",
            Standing::New => b"$3\r\nnew\r\n",
        });
    }

    fn progress(&mut self, progress: Progress) {
        let (epoch, offset) = (progress.stream_epoch.0, progress.offset);
        let (epoch_digits, offset_digits) = (digits_of(epoch), digits_of(offset));
        self.length(epoch_digits + 1 + offset_digits);
        self.digits(epoch, epoch_digits);
        self.raw(b":");
        self.digits(offset, offset_digits);
        self.raw(b"\r\n");
    }

    fn offer(&mut self, head: &[u8], offer: &Offer) {
        self.raw(head);
        self.number(offer.epoch.0);
        self.number(offer.round.0);
        self.position(&offer.position);
    }

    fn grant(&mut self, head: &[u8], grant: Grant) {
        self.raw(head);
        self.number(grant.epoch.0);
        self.number(grant.round.0);
    }

    fn position(&mut self, position: &Position) {
        let epoch = position.stream_epoch().0;
        let offsets = position.offsets();
        let listed: usize = offsets.iter().map(|offset| digits_of(*offset)).sum();
        self.length(digits_of(epoch) + 1 + listed + offsets.len().saturating_sub(1));
        self.digits(epoch, digits_of(epoch));
        self.raw(b":");
        for (shard, offset) in offsets.iter().enumerate() {
            if shard > 0 {
                self.raw(b",");
            }
            self.digits(*offset, digits_of(*offset));
        }
        self.raw(b"\r\n");
    }
}

#[inline]
fn digits_of(n: u64) -> usize {
    match n {
        0..10 => 1,
        10..100 => 2,
        _ => n.ilog10() as usize + 1,
    }
}
