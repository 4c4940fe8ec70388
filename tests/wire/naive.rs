//! A second decoder, written as simply as can be: it splits first, then reads strings with std.

use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::identity::Identity;
use kevy_elect_plugin::ids::{ClusterId, EPOCH_MAX, Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::membership::{Generation, Membership};
use kevy_elect_plugin::message::{
    Announce, Echo, Grant, Heartbeat, Hello, Message, Offer, OfferKind, Pass, Reject, RejectReason, Resign,
    Role, Standing, Verb,
};
use kevy_elect_plugin::pause::Pause;
use kevy_elect_plugin::position::{OFFSET_MAX, Position, Progress};
use kevy_elect_plugin::rank::Seniority;
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::wire::{DURATION_US_MAX, FRAME_BYTES_MAX, Frame, PROGRESS_OFFSET_MAX};

#[derive(Debug, PartialEq)]
pub(crate) enum Naive {
    More,
    Bad,
    Frame(Box<Frame<'static>>, usize),
}

pub(crate) fn naive(bytes: &[u8]) -> Naive {
    let mut at = 0;
    let line = |at: &mut usize, sign: u8, max: usize| -> Result<usize, Naive> {
        let rest = &bytes[*at..];
        match rest.first() {
            None => return Err(Naive::More),
            Some(found) if *found != sign => return Err(Naive::Bad),
            Some(_) => {}
        }
        let digits: String =
            rest[1..].iter().take_while(|b| b.is_ascii_digit()).map(|b| *b as char).collect();
        let number = digits.parse::<u128>().unwrap_or(if digits.is_empty() { 0 } else { u128::MAX });
        if number > max as u128 || (digits.len() > 1 && digits.starts_with('0')) {
            return Err(Naive::Bad);
        }
        let after = &rest[1 + digits.len()..];
        if !b"\r\n".starts_with(&after[..after.len().min(2)]) || (digits.is_empty() && !after.is_empty()) {
            return Err(Naive::Bad);
        }
        if after.len() < 2 {
            return Err(Naive::More);
        }
        *at += 1 + digits.len() + 2;
        Ok(number as usize)
    };
    let mut elements: Vec<String> = Vec::new();
    let mut split = || -> Result<(), Naive> {
        let count = line(&mut at, b'*', 32)?;
        if count == 0 {
            return Err(Naive::Bad);
        }
        for element in 0..count {
            let length = line(&mut at, b'$', FRAME_BYTES_MAX)?;
            if at + length + 2 + (count - element - 1) * 6 > FRAME_BYTES_MAX {
                return Err(Naive::Bad);
            }
            let rest = &bytes[at..];
            let end = &rest[rest.len().min(length)..rest.len().min(length + 2)];
            if !b"\r\n".starts_with(end) {
                return Err(Naive::Bad);
            }
            if end.len() < 2 {
                return Err(Naive::More);
            }
            elements.push(rest[..length].iter().map(|b| *b as char).collect());
            at += length + 2;
        }
        Ok(())
    };
    if let Err(stop) = split() {
        return stop;
    }
    match naive_frame(&elements) {
        Some(frame) => Naive::Frame(Box::new(frame), at),
        None => Naive::Bad,
    }
}

fn naive_frame(elements: &[String]) -> Option<Frame<'static>> {
    fn number(text: &str, max: u64) -> Option<u64> {
        let n = text.parse::<u64>().ok()?;
        (n <= max && n.to_string() == text).then_some(n)
    }
    fn epoch_of(text: &str) -> Option<Epoch> {
        number(text, EPOCH_MAX.0).map(Epoch)
    }
    fn node(text: &str) -> Option<Option<NodeId>> {
        if text.is_empty() { Some(None) } else { NodeId::new(text).ok().map(Some) }
    }
    fn progress(text: &str) -> Option<Progress> {
        let (epoch, offset) = text.split_once(':')?;
        Some(Progress { stream_epoch: epoch_of(epoch)?, offset: number(offset, PROGRESS_OFFSET_MAX)? })
    }
    let verb = elements[0].as_str();
    let field = |n: usize| elements.get(n).map(String::as_str);
    let epoch = || epoch_of(field(1)?);
    let round = || number(field(2)?, u64::MAX).map(Round);
    let micros = |n: usize| number(field(n)?, DURATION_US_MAX).map(Duration::from_micros);
    let standing = |n: usize| match field(n)? {
        "member" => Some(Standing::Member),
        "new" => Some(Standing::New),
        _ => None,
    };
    let offer = || {
        let (stream, list) = field(3)?.split_once(':')?;
        let offsets: Option<Vec<u64>> = match list {
            "" => Some(Vec::new()),
            list => list.split(',').map(|offset| number(offset, OFFSET_MAX)).collect(),
        };
        let position = Position::new(epoch_of(stream)?, &offsets?).ok()?;
        Some(Offer { epoch: epoch()?, round: round()?, position })
    };
    // Of one that is there, and not empty.
    let identity = |n: usize| match field(n) {
        None | Some("") => Some(None),
        Some(word) => {
            let (digits, proposed) = word.split_once('@').map_or((word, None), |(d, e)| (d, Some(e)));
            let lower = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if digits.len() != 32 || !lower {
                return None;
            }
            let cluster = ClusterId::from_bits(u128::from_str_radix(digits, 16).ok()?);
            let proposed = match proposed {
                None => None,
                Some(epoch) => Some(epoch_of(epoch)?),
            };
            Some(Some(Identity { cluster, proposed }))
        }
    };
    let grant = || Some(Grant { epoch: epoch()?, round: round()?, identity: identity(3)? });
    let Some(verb) = Verb::ALL.iter().find(|known| known.as_str() == verb) else {
        return (verb != "REFUSE").then_some(Frame::Unknown);
    };
    let message = match verb {
        Verb::Hb => Message::Heartbeat(Heartbeat {
            epoch: epoch()?,
            round: round()?,
            role: *Role::ALL.iter().find(|role| Some(role.as_str()) == field(3))?,
            standing: standing(4)?,
            progress: progress(field(5)?)?,
            primary: node(field(6)?)?,
            promise: micros(7)?,
            lease: micros(8)?,
            health: match field(9) {
                None => Health::Good,
                Some(word) if word.is_empty() || word.len() > 32 => return None,
                Some(word) => {
                    let known = Health::ALL.iter().find(|health| health.as_str() == word);
                    known.copied().unwrap_or(Health::Failing)
                }
            },
            identity: identity(10)?,
            pause: match field(11) {
                None | Some("") => None,
                Some(word) => Some(Pause::parse(word)?),
            },
        }),
        Verb::Echo => Message::Echo(Echo {
            epoch: epoch()?,
            round: round()?,
            primary: node(field(3)?)?,
            standing: standing(4)?,
            progress: progress(field(5)?)?,
        }),
        Verb::PreOffer => Message::PreOffer(offer()?),
        Verb::Offer => Message::Offer(offer()?),
        Verb::PreAccept => Message::PreAccept(grant()?),
        Verb::Accept => Message::Accept(grant()?),
        Verb::Reject => Message::Reject(Reject {
            epoch: epoch()?,
            round: round()?,
            kind: match field(3)? {
                "vote" => OfferKind::Vote,
                "pre-vote" => OfferKind::PreVote,
                _ => return None,
            },
            reason: *RejectReason::ALL.iter().find(|reason| Some(reason.as_str()) == field(4))?,
            progress: progress(field(5)?)?,
        }),
        Verb::Announce => Message::Announce(Announce { epoch: epoch()? }),
        Verb::Resign => Message::Resign(Resign { epoch: epoch()?, successor: node(field(2)?)? }),
        Verb::Rank => Message::Rank(Seniority { up: micros(1)?, work: number(field(2)?, u64::MAX)? }),
        Verb::Members => {
            let generation =
                Generation { epoch: epoch()?, counter: number(field(2)?, Generation::COUNTER_MAX)? };
            Message::Members(Membership::parse(generation, field(3)?)?)
        }
        Verb::Held => Message::Held(Generation {
            epoch: epoch()?,
            counter: number(field(2)?, Generation::COUNTER_MAX)?,
        }),
        Verb::Hello => {
            let cluster = field(2)?.to_owned();
            let printable = cluster.bytes().all(|b| b.is_ascii_graphic());
            if cluster.is_empty() || cluster.len() > 63 || !printable {
                return None;
            }
            return Some(Frame::Hello(Hello {
                protocol: number(field(1)?, u64::from(u16::MAX))? as u16,
                cluster,
                node: node(field(3)?)??,
                incarnation: Incarnation(number(field(4)?, u64::MAX)?),
                terms: match field(5) {
                    Some(text) if text.len() <= 2048 && text.bytes().all(|b| b.is_ascii_graphic()) => {
                        text.to_owned()
                    }
                    _ => String::new(),
                },
                pass: field(6)
                    .filter(|text| {
                        text.len() == 32 && !text.bytes().any(|b| b.is_ascii_uppercase() || b == b'+')
                    })
                    .and_then(|text| Some(Pass::new(u128::from_str_radix(text, 16).ok()?.to_be_bytes()))),
            }));
        }
    };
    Some(Frame::Message(message))
}
