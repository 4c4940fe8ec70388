//! Connections that peers dialled: we receive on them.

use super::allowance::Allowance;
use super::greetings::Greetings;
use super::limits::{ACCEPT_RETRY, HELLO_PENDING_MAX, HELLO_TIMEOUT, LATE_END_WAIT};
use super::shared::Context;
use super::stream::{Heard, Stopped, Stream, abort, next_message, read_more, tune, write_first};
use super::timer::{now, within};
use super::watch::Watched;
use crate::ids::NodeId;
use crate::message::{Hello, Message};
use crate::transport::api::RefuseReason;
use crate::transport::greeting::{Channel, Greeting, TurnedAway};
use crate::transport::links::{Direction, End, LinkId};
use async_io::{Async, Timer};
use futures::StreamExt;
use futures::future::{BoxFuture, Either, FutureExt, pending, poll_fn, select};
use futures::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

/// Takes connections in for ever. The listening socket stays open whatever happens to them: a closed one
/// tells the peers that this process is gone.
pub(super) async fn accept_all(context: Context<'_>, listener: &Async<TcpListener>, greetings: Greetings) {
    let waiting = Waiting::default();
    let mut connections: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    // Keeps the set from being empty, which would end the stream.
    connections.push(pending().boxed());
    let mut number = 0;
    loop {
        let mut acceptable = std::pin::pin!(listener.readable());
        let ready = loop {
            match select(acceptable.as_mut(), connections.next()).await {
                Either::Left((ready, _)) => break ready,
                Either::Right(_) => {}
            }
        };
        let accepted = ready.and_then(|()| listener.get_ref().accept()).and_then(|(s, _)| Async::new(s));
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => continue,
            Err(_) => {
                let pause = std::pin::pin!(Timer::after(ACCEPT_RETRY));
                let mut pause = pause;
                while let Either::Right(_) = select(pause.as_mut(), connections.next()).await {}
                continue;
            }
        };
        number += 1;
        let connections_max = HELLO_PENDING_MAX + 2 * context.shared.links().peers() + 1;
        if waiting.enter(number) || connections.len() > connections_max {
            context.shared.links().refuse(None, RefuseReason::TooMany, now());
        }
        if connections.len() > connections_max {
            waiting.leave(number);
            continue;
        }
        connections.push(serve(context, stream, (&waiting, number), &greetings).boxed());
    }
}

/// Connections that have not said `HELLO`, oldest first.
#[derive(Default)]
struct Waiting(Mutex<VecDeque<Waiter>>);

/// A connection by its number, and its task once it was polled.
type Waiter = (u64, Option<Waker>);

impl Waiting {
    /// Adds a connection; `true`: the oldest had to go for it.
    fn enter(&self, number: u64) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_back((number, None));
        let over = all.len() > HELLO_PENDING_MAX;
        if over && let Some((_, Some(task))) = all.pop_front() {
            task.wake();
        }
        over
    }

    fn leave(&self, number: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(other, _)| *other != number);
    }

    /// Completes when the connection has to go.
    async fn removed(&self, number: u64) {
        poll_fn(|cx| {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match all.iter_mut().find(|(other, _)| *other == number) {
                Some((_, task)) => {
                    *task = Some(cx.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            }
        })
        .await;
    }
}

async fn serve(
    context: Context<'_>,
    stream: Stream,
    (waiting, number): (&Waiting, u64),
    greetings: &Greetings,
) {
    let shared = context.shared;
    let ours = shared.links().greeting(context.hello);
    let mut stream = Watched::new(stream);
    tune(&stream);
    let mut greeting = Greeting::accept(&ours, shared.sessions.accept());
    let heard = {
        let heard = std::pin::pin!(within(HELLO_TIMEOUT, greet(context, &mut greeting, &stream, greetings)));
        let removed = std::pin::pin!(waiting.removed(number));
        match select(heard, removed).await {
            Either::Left((heard, _)) => heard,
            // Counted as one too many by whoever came last.
            Either::Right(_) => return,
        }
    };
    waiting.leave(number);
    let theirs = match heard {
        Some(Ok(theirs)) => Ok(theirs),
        Some(Err(Unheard::TurnedAway(turned_away))) => Err(turned_away),
        // Port scanners and health checks connect and leave; there is nothing to tell.
        Some(Err(Unheard::Ended)) => return,
        None => Err(greeting.timed_out()),
    };
    let linked = theirs.and_then(|theirs| {
        let address = stream.get_ref().peer_addr().ok();
        let mut links = shared.links();
        let id = links.up(Direction::In, theirs.node, theirs.incarnation, address, now())?;
        links.compare(&ours, &theirs);
        links.note_pass(theirs.node, theirs.pass);
        Ok((theirs.node, id))
    });
    let mut answer = Vec::new();
    let (peer, id) = match linked {
        Ok(linked) => linked,
        Err(turned_away) => {
            greeting.refuse(&turned_away, &mut answer);
            write_first(&stream, &answer);
            return shared.links().turn_away(turned_away, now());
        }
    };
    shared.tell_linked(&mut stream);
    let stopped = match greeting.admit(&mut answer) {
        Err(TurnedAway { reason, .. }) => Some(Stopped::Violation(reason)),
        Ok(_) if !write_first(&stream, &answer) => Some(Stopped::Ended(End::Broken)),
        Ok(channel) => receive(context, &stream, channel, peer, id).await,
    };
    match stopped {
        None => {
            abort(stream);
            shared.links().end(Direction::In, peer, id, End::Broken, now());
        }
        Some(Stopped::Ended(end)) => shared.links().end(Direction::In, peer, id, end, now()),
        Some(Stopped::Violation(reason)) => {
            abort(stream);
            let mut links = shared.links();
            links.refuse(Some(peer), reason, now());
            links.end(Direction::In, peer, id, End::Broken, now());
        }
    }
}

/// Why somebody did not say who it is.
enum Unheard {
    Ended,
    TurnedAway(TurnedAway),
}

/// Who the other end is, and then room for what will be told of the link.
async fn greet(
    context: Context<'_>,
    greeting: &mut Greeting<'_>,
    stream: &Stream,
    greetings: &Greetings,
) -> Result<Hello, Unheard> {
    let (mut answer, mut heard_before) = (Vec::new(), false);
    loop {
        let heard = greeting.hear(&mut answer).map_err(Unheard::TurnedAway)?;
        if !answer.is_empty() && !write_first(stream, &answer) {
            return Err(Unheard::Ended);
        }
        answer.clear();
        if let Some(theirs) = heard {
            context.shared.room().await;
            return Ok(theirs);
        }
        read_more(stream, greeting.channel()).await.map_err(|_| Unheard::Ended)?;
        // What comes costs nothing until it is heard, and who says nothing costs nothing.
        if !std::mem::replace(&mut heard_before, true) {
            let host = stream.get_ref().peer_addr().ok().map(|address| address.ip());
            let of_peer = host.is_some_and(|host| context.shared.links().is_at(host));
            if !greetings.take(of_peer, now()) {
                return Err(Unheard::TurnedAway(greeting.too_many()));
            }
        }
    }
}

/// Hands messages up until the link ends; `None`: a newer one took its place, and no end came soon after.
async fn receive(
    context: Context<'_>,
    stream: &Stream,
    mut channel: Channel,
    peer: NodeId,
    id: LinkId,
) -> Option<Stopped> {
    let replaced = std::pin::pin!(poll_fn(|cx| {
        match context.shared.links().holds(Direction::In, peer, id, cx.waker()) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }));
    let messages = std::pin::pin!(async {
        let mut allowance = Allowance::new();
        loop {
            match next_message(stream, &mut channel, &mut allowance).await {
                Ok(Heard::Message(message)) => {
                    if !hand_up(context, peer, id, message).await {
                        return None;
                    }
                }
                Ok(Heard::TooMuch(pause)) => {
                    context.shared.links().refuse(Some(peer), RefuseReason::Flood, now());
                    Timer::after(pause).await;
                }
                Err(stopped) => return Some(stopped),
            }
        }
    });
    let messages = match select(replaced, messages).await {
        Either::Left(((), messages)) => messages,
        Either::Right((stopped, _)) => return stopped,
    };
    // A process that died a moment ago may have been replaced before its end was read here. That end frees the voters
    // from what they promised to it.
    let over = std::pin::pin!(poll_fn(|cx| match context.shared.links().leaves(peer, id, cx.waker()) {
        true => Poll::Pending,
        false => Poll::Ready(()),
    }));
    match select(over, std::pin::pin!(within(LATE_END_WAIT, messages))).await {
        Either::Left(_) => None,
        Either::Right((stopped, _)) => stopped.flatten(),
    }
}

/// Waits for room, and so leaves the socket unread until there is some.
async fn hand_up(context: Context<'_>, peer: NodeId, id: LinkId, message: Message) -> bool {
    let mut message = Some(message);
    poll_fn(|cx| {
        let Some(taken) = message.take() else { return Poll::Ready(true) };
        match context.shared.links().deliver(peer, id, taken, cx.waker()) {
            Ok(()) => Poll::Ready(true),
            Err(None) => Poll::Ready(false),
            Err(Some(back)) => {
                message = Some(back);
                Poll::Pending
            }
        }
    })
    .await
}
