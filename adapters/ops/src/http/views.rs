//! What the other nodes say of their links: no node sees those between two others.
//!
//! They are asked only while somebody looks at the page, at the configured addresses and nowhere else. However often
//! the page is asked for, each peer is asked at most once in [`FRESH`], with one request under way at a time; and what
//! is fetched, `/status`, makes nobody ask anybody. A peer that is dead costs a page at most [`WAIT_MAX`].

use super::client::fetch;
use async_io::Timer;
use event_listener::Event;
use futures_lite::future::or;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::transport::Directions;
use serde::Deserialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a page waits for those that it asks.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(300);
/// How long an answer is good for every page.
const FRESH: Duration = Duration::from_secs(1);
/// How long an answer is still shown while the next one is under way.
const STALE: Duration = Duration::from_secs(3);
/// Longest time for one peer to answer; after that it is known to be slow.
const ASK_MAX: Duration = Duration::from_secs(1);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;
/// Questions that brought nothing.
const GIVEN_UP: &str = "kevy_elect_http_views_given_up_total";

/// What all the others said. Cheap to clone.
#[derive(Clone)]
pub struct Views(Arc<Inner>);

struct Inner {
    cluster: String,
    slots: Mutex<Vec<Slot>>,
    /// Notified when somebody has answered.
    news: Event,
}

struct Slot {
    peer: NodeId,
    address: String,
    /// When it was last asked.
    asked: Option<Instant>,
    /// Whether that request is still under way.
    busy: bool,
    said: Option<Result<View, String>>,
}

/// What one node said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// Its links, as it sees them.
    pub(super) links: Vec<(String, Directions)>,
    /// Its lease, left and whole in milliseconds, where it may write.
    pub(super) lease: Option<(u64, u64)>,
}

impl Views {
    /// `peers`: where the other members have their pages.
    pub fn new(cluster: &str, peers: &[(NodeId, String)]) -> Self {
        metrics::describe_counter!(
            GIVEN_UP,
            "Questions to pages of other nodes that brought nothing in time, or too much."
        );
        metrics::counter!(GIVEN_UP).increment(0);
        let views = Inner { cluster: cluster.to_owned(), slots: Mutex::default(), news: Event::new() };
        let views = Self(Arc::new(views));
        peers.iter().for_each(|(peer, address)| views.meet(*peer, address));
        views
    }

    /// One more, whose pages are there; or one that is known, whose pages are there now.
    pub fn meet(&self, peer: NodeId, address: &str) {
        let (address, mut slots) = (address.to_owned(), self.lock());
        match slots.iter_mut().find(|slot| slot.peer == peer) {
            // What is under way from the old place is kept until the next question.
            Some(slot) => slot.address = address,
            None => slots.push(Slot { peer, address, asked: None, busy: false, said: None }),
        }
    }

    /// Asks those whose last answer is old, and waits for them, though not for long.
    pub(super) async fn settle(&self) {
        let settled = async {
            loop {
                let news = self.0.news.listen();
                if self.refresh(Instant::now()) {
                    return;
                }
                news.await;
            }
        };
        let late = async {
            Timer::after(WAIT_MAX).await;
        };
        or(settled, late).await;
    }

    /// Asks those whose last answer is old. Says whether there is nobody left to wait for.
    fn refresh(&self, now: Instant) -> bool {
        let mut slots = self.lock();
        for (number, slot) in slots.iter_mut().enumerate() {
            let age = slot.asked.map(|asked| now.saturating_duration_since(asked));
            if age.is_some_and(|age| age > STALE) {
                slot.said = None;
            }
            if slot.busy || age.is_some_and(|age| age < FRESH) {
                continue;
            }
            slot.asked = Some(now);
            slot.busy = true;
            let (views, address, peer) = (self.clone(), slot.address.clone(), slot.peer);
            let ask = move || views.keep(number, ask(&address, peer, &views.0.cluster));
            if let Err(error) = std::thread::Builder::new().name("view".to_owned()).spawn(ask) {
                slot.busy = false;
                slot.said = Some(Err(format!("no thread to ask it on: {error}")));
            }
        }
        // Who did not answer lately is not waited for.
        let waited = |slot: &Slot| slot.asked.is_some_and(|asked| now >= asked + WAIT_MAX);
        slots.iter().all(|slot| !slot.busy || matches!(slot.said, Some(Err(_))) || waited(slot))
    }

    /// What each peer said last, or why that is not known.
    pub(super) fn all(&self) -> Vec<(NodeId, Result<View, String>)> {
        let unknown = |slot: &Slot| Err(format!("{} has not answered yet", slot.address));
        let slots = self.lock();
        slots.iter().map(|slot| (slot.peer, slot.said.clone().unwrap_or_else(|| unknown(slot)))).collect()
    }

    fn keep(&self, number: usize, said: Result<View, String>) {
        metrics::counter!(GIVEN_UP).increment(u64::from(said.is_err()));
        if let Some(slot) = self.lock().get_mut(number) {
            slot.busy = false;
            slot.said = Some(said);
        }
        self.0.news.notify(usize::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of `/status` that is shown.
#[derive(Deserialize)]
struct Said {
    cluster: String,
    node: String,
    #[serde(default)]
    writable: bool,
    #[serde(default)]
    lease_left_ms: u64,
    #[serde(default)]
    lease_ms: u64,
    peers: Vec<SaidPeer>,
}

#[derive(Deserialize)]
struct SaidPeer {
    id: String,
    #[serde(default)]
    linked: bool,
    link_out: Option<bool>,
    link_back: Option<bool>,
}

fn ask(address: &str, peer: NodeId, cluster: &str) -> Result<View, String> {
    let said =
        fetch(address, "/status", ASK_MAX, ANSWER_BYTES_MAX).map_err(|error| format!("{address} {error}"))?;
    view(said, peer, cluster).map_err(|reason| format!("{address} {reason}"))
}

fn view(said: Said, peer: NodeId, cluster: &str) -> Result<View, String> {
    if (said.node.as_str(), said.cluster.as_str()) != (peer.as_str(), cluster) {
        let (node, theirs) = (said.node, said.cluster);
        return Err(format!(
            "is {node} of cluster {theirs}, not {peer} of {cluster}: correct [elect] http_peers"
        ));
    }
    let links = said.peers.into_iter().map(|peer| {
        let way = |told: Option<bool>| told.unwrap_or(peer.linked);
        let ways = Directions { out: way(peer.link_out), back: way(peer.link_back) };
        (peer.id, ways)
    });
    let lease = said.writable.then_some((said.lease_left_ms, said.lease_ms));
    Ok(View { links: links.collect(), lease })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::http::counted;
    use futures_lite::future::block_on;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn id(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    const STATUS: &str = "HTTP/1.1 200 OK\r\n\r\n{\"cluster\":\"c\",\"node\":\"b\",\"writable\":true,\"lease_ms\":970,\
        \"lease_left_ms\":900,\"peers\":[{\"id\":\"a\",\"linked\":true,\"link_out\":true,\"link_back\":false}]}";

    /// A peer that answers with `answer`, and how often it was asked.
    fn peer(answer: &'static str) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        (address, asked)
    }

    /// Waits until everybody has answered, however long that takes.
    fn settle(views: &Views, now: Instant) {
        loop {
            let news = views.0.news.listen();
            if views.refresh(now) {
                return;
            }
            block_on(news);
        }
    }

    #[test]
    fn a_peer_is_asked_once_however_many_pages_are() {
        let (address, asked) = peer(STATUS);
        let views = Views::new("c", &[(id("b"), address)]);
        let now = Instant::now();
        settle(&views, now);
        for ms in 0..999 {
            assert!(views.refresh(now + Duration::from_millis(ms)));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let links = vec![("a".to_owned(), Directions { out: true, back: false })];
        assert_eq!(views.all(), [(id("b"), Ok(View { links, lease: Some((900, 970)) }))]);
        settle(&views, now + FRESH);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_silent_peer_is_waited_for_once_and_an_old_answer_is_not_shown_as_new() {
        // It accepts, and never says a word.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let views = Views::new("c", &[(id("b"), address.clone())]);
        let now = Instant::now();
        assert!(!views.refresh(now), "worth a short wait");
        assert!(views.refresh(now + WAIT_MAX), "and no longer");
        settle(&views, now);
        let said = views.all().remove(0).1.unwrap_err();
        assert!(said.contains(&address) && said.contains("does not answer within 1000 ms"), "{said}");
        assert!(views.refresh(now + FRESH), "known to be silent");
        let later = now + FRESH + STALE + FRESH;
        views.lock()[0].said = Some(Ok(View { links: Vec::new(), lease: None }));
        views.refresh(later);
        assert!(views.all()[0].1.is_err(), "what it said long ago is nothing to show");
    }

    #[test]
    fn a_page_waits_for_who_answers_and_not_long_for_who_does_not() {
        let (address, _) = peer(STATUS);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = silent.local_addr().unwrap().to_string();
        let views = Views::new("c", &[(id("b"), address), (id("d"), silent)]);
        block_on(views.settle());
        let all = views.all();
        assert!(all[0].1.is_ok() && all[1].1.is_err(), "{all:?}");
    }

    #[test]
    fn what_brings_nothing_in_time_or_too_much_is_given_up_and_counted() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent_at = silent.local_addr().unwrap().to_string();
        let (good, _) = peer(STATUS);
        let bytes = usize::try_from(ANSWER_BYTES_MAX).unwrap();
        let endless = STATUS.replace("{\"cluster", &(" ".repeat(bytes) + "{\"cluster"));
        let (endless, _) = peer(endless.leak());
        for (address, given_up) in [(silent_at, 1), (endless, 1), (good, 0)] {
            let views = Views::new("c", &[(id("b"), address.clone())]);
            let count = counted(GIVEN_UP, || views.keep(0, ask(&address, id("b"), "c")));
            assert_eq!(count, given_up, "{:?}", views.all());
        }
    }

    #[test]
    fn what_is_not_the_peer_is_not_believed() {
        for (status, word) in [
            ("{\"cluster\":\"x\",\"node\":\"b\",\"peers\":[]}", "is b of cluster x"),
            ("{\"cluster\":\"c\",\"node\":\"a\",\"peers\":[]}", "is a of cluster c"),
        ] {
            let reason = view(serde_json::from_str(status).unwrap(), id("b"), "c").unwrap_err();
            assert!(reason.contains(word), "{status}: {reason}");
        }
    }
}
