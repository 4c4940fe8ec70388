use super::*;
use crate::members::three;
use crate::view::MemberView;
use metrics_exporter_prometheus::PrometheusBuilder;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Far above what is ever needed, so that only a hang hits it.
const PATIENCE: Duration = Duration::from_secs(20);

/// An election that a test decides.
#[derive(Default)]
struct Decided {
    primary: Mutex<Option<usize>>,
    alone: AtomicBool,
    stepped_down: AtomicBool,
}

impl Source for Arc<Decided> {
    fn look(&self, members: &Members) -> View {
        let primary = *self.primary.lock().unwrap();
        View {
            taken: Instant::now(),
            epoch: 1,
            primary: primary.map(|index| (index, PATIENCE)),
            members: vec![MemberView { up: true, ..MemberView::default() }; members.all.len()],
            quorum: 2,
            reachable: if self.alone.load(Ordering::Acquire) { 1 } else { 3 },
        }
    }

    fn hand_over(&self) -> Result<(), String> {
        self.stepped_down.store(true, Ordering::Release);
        Ok(())
    }
}

fn served(primary: Option<usize>) -> (Arc<Decided>, Handle) {
    let decided = Arc::new(Decided { primary: Mutex::new(primary), ..Decided::default() });
    let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let settings = Settings { promise: Duration::from_secs(1), password: None };
    let handle = start(door, settings, three("n1"), Box::new(Arc::clone(&decided))).unwrap();
    (decided, handle)
}

/// A second node, for which the first one asks.
fn served_beside(handle: &Handle, primary: Option<usize>, password: Option<&str>) -> (Arc<Decided>, Handle) {
    let decided = Arc::new(Decided { primary: Mutex::new(primary), ..Decided::default() });
    let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut members = three("n2");
    members.all[0].sentinel_port = handle.address().port();
    let settings = Settings { promise: Duration::from_secs(1), password: password.map(str::to_owned) };
    let handle = start(door, settings, members, Box::new(Arc::clone(&decided))).unwrap();
    (decided, handle)
}

fn set(decided: &Decided, handle: &Handle, primary: Option<usize>) {
    *decided.primary.lock().unwrap() = primary;
    handle.wake();
}

struct Reader(BufReader<TcpStream>);

impl Reader {
    fn connect(handle: &Handle) -> Self {
        let stream = TcpStream::connect(handle.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, command: &str) {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Lines until one says `end`.
    fn until(&mut self, end: &str) -> Vec<String> {
        let mut lines = vec![self.line()];
        while lines.last().is_some_and(|line| line != end) {
            lines.push(self.line());
        }
        lines
    }
}

#[test]
fn listeners_hear_of_a_switch_and_of_nothing_before() {
    let (decided, handle) = served(Some(0));
    let mut listener = Reader::connect(&handle);
    listener.send("PSUBSCRIBE *");
    listener.until(":1");
    set(&decided, &handle, None);
    set(&decided, &handle, Some(1));
    assert_eq!(
        listener.until("mymaster 127.0.0.1 7001 127.0.0.1 7002"),
        [
            "*4",
            "$8",
            "pmessage",
            "$1",
            "*",
            "$14",
            "+switch-master",
            "$38",
            "mymaster 127.0.0.1 7001 127.0.0.1 7002"
        ]
    );
    listener.until("slave 127.0.0.1:7003 127.0.0.1 7003 @ mymaster 127.0.0.1 7002");
    // Who is told of a switch, and who asks because of it, gets the same answer.
    let mut other = Reader::connect(&handle);
    other.send("SENTINEL get-master-addr-by-name mymaster");
    assert_eq!(other.until("7002"), ["*2", "$9", "127.0.0.1", "$4", "7002"]);
}

#[test]
fn a_question_is_answered_the_moment_there_is_a_primary() {
    let (decided, handle) = served(None);
    let mut client = Reader::connect(&handle);
    client.send("SENTINEL get-master-addr-by-name mymaster");
    set(&decided, &handle, Some(2));
    assert_eq!(client.until("7003"), ["*2", "$9", "127.0.0.1", "$4", "7003"]);
}

#[test]
fn without_a_primary_nobody_is_let_in_after_a_while_and_everybody_after_that() {
    let (decided, handle) = served(None);
    let begun = Instant::now();
    while TcpStream::connect(handle.address()).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it goes on listening without a primary");
        std::thread::yield_now();
    }
    assert!(begun.elapsed() > LISTENS_WITHOUT_PRIMARY / 2);
    set(&decided, &handle, Some(1));
    let begun = Instant::now();
    while TcpStream::connect(handle.address()).is_err() {
        assert!(begun.elapsed() < PATIENCE, "it does not listen again");
        std::thread::yield_now();
    }
}

#[test]
fn who_hears_no_quorum_sends_clients_away_at_once() {
    let (decided, handle) = served(Some(0));
    let mut client = Reader::connect(&handle);
    let question = "SENTINEL get-master-addr-by-name mymaster";
    client.send(question);
    client.until("7001");
    let begun = Instant::now();
    decided.alone.store(true, Ordering::Release);
    set(&decided, &handle, None);
    client.send(question);
    assert_eq!(client.line(), "", "it does not say that there is none: others may know better");
    while TcpStream::connect(handle.address()).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it lets clients in");
        std::thread::yield_now();
    }
    decided.alone.store(false, Ordering::Release);
    set(&decided, &handle, Some(1));
    while TcpStream::connect(handle.address()).is_err() {
        assert!(begun.elapsed() < PATIENCE, "it does not listen again");
        std::thread::yield_now();
    }
}

#[test]
fn one_connection_too_many_costs_the_one_that_is_idle() {
    // For all tests of this process: the server counts on a thread of its own.
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    metrics::set_global_recorder(recorder).unwrap();
    let (_, handle) = served(Some(0));
    let mut listener = Reader::connect(&handle);
    listener.send("SUBSCRIBE +switch-master");
    listener.until(":1");
    let mut idle = Reader::connect(&handle);
    idle.send("PING");
    assert_eq!(idle.line(), "+PONG");
    let mut others: Vec<_> = (2..CONNECTIONS_MAX)
        .map(|_| {
            let mut other = Reader::connect(&handle);
            other.send("PING");
            assert_eq!(other.line(), "+PONG");
            other
        })
        .collect();
    let mut last = Reader::connect(&handle);
    last.send("PING");
    assert_eq!(last.line(), "+PONG");
    assert_eq!(idle.line(), "", "the one that was idle longest has to go");
    listener.send("PING");
    assert_eq!(listener.line(), "*2");
    others[0].send("PING");
    assert_eq!(others[0].line(), "+PONG");
    let counted = metrics.render();
    assert!(counted.lines().any(|line| line == format!("{REFUSED} 1")), "{counted}");
}

#[test]
fn a_client_that_never_reads_keeps_nobody_waiting() {
    let (_, handle) = served(Some(0));
    let mut flood = Reader::connect(&handle);
    flood.0.get_ref().set_nonblocking(true).unwrap();
    let questions = "SENTINEL MASTERS\r\n".repeat(1000);
    let mut sent = 0;
    while flood.0.get_mut().write(questions.as_bytes()).is_ok() {
        sent += 1;
    }
    assert!(sent > 0);
    let mut other = Reader::connect(&handle);
    other.send("PING");
    assert_eq!(other.line(), "+PONG");
}

#[test]
fn who_reads_nothing_of_what_waits_for_it_is_closed_and_counted() {
    let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (decided, members) = (Arc::new(Decided::default()), three("n1"));
    let (now, view) = (Instant::now() + 2 * STALLED_MAX, decided.look(&members));
    // Far more than the kernel takes for somebody who does not read, and what it takes at once.
    for (bytes, closed) in [(64 << 20, 1), (1, 0)] {
        let _reader = TcpStream::connect(door.local_addr().unwrap()).unwrap();
        let stream = door.accept().unwrap().0;
        stream.set_nonblocking(true).unwrap();
        let (session, out, next) = (Session::new(1), vec![b'x'; bytes], Next::Read);
        let mut client = Client { stream, session, out, next, active: now, gone: false };
        let mut context = Context {
            members: &members,
            view: &view,
            primary: None,
            last: None,
            now,
            promise: PATIENCE,
            password: None,
            clients: 1,
            subscribers: 0,
            uptime: Duration::ZERO,
            hand_over: &|| Ok(()),
            forwarding: false,
        };
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || client.go_on(false, false, &mut context));
        let text = recorder.handle().render();
        assert!(text.lines().any(|line| line == format!("{STALLED} {closed}")), "{bytes} bytes: {text}");
        assert_eq!(client.gone, closed == 1, "{bytes} bytes");
    }
}

#[test]
fn the_wish_of_a_client_reaches_the_election_of_another_node() {
    let (decided, first) = served(Some(0));
    let (_, second) = served_beside(&first, Some(0), None);
    let mut client = Reader::connect(&second);
    client.send("SENTINEL FAILOVER mymaster\r\nPING");
    assert_eq!([client.line(), client.line()], ["+OK", "+PONG"]);
    assert!(decided.stepped_down.load(Ordering::Acquire));
    // The office has changed hands, and this node has not heard of it yet.
    set(&decided, &first, Some(1));
    client.send("SENTINEL FAILOVER mymaster");
    assert_eq!(client.line(), "-INPROG Failover already in progress");
    // It does not listen any more, or wants another password.
    let (_, third) = served_beside(&first, Some(0), Some("secret"));
    let mut client = Reader::connect(&third);
    client.send("AUTH secret\r\nSENTINEL FAILOVER mymaster");
    assert_eq!([client.line(), client.line()], ["+OK", "-INPROG Failover already in progress"]);
    let (_, fourth) = served_beside(&second, Some(2), None);
    let mut client = Reader::connect(&fourth);
    client.send("SENTINEL FAILOVER mymaster");
    assert!(client.line().starts_with("-ERR n3 at 127.0.0.1:27003 is the primary and was asked in vain ("));
}

#[test]
fn the_wish_of_a_client_reaches_the_election() {
    let (decided, handle) = served(Some(0));
    let mut client = Reader::connect(&handle);
    client.send("SENTINEL FAILOVER mymaster");
    assert_eq!(client.line(), "+OK");
    // The next answer comes from a later turn.
    client.send("PING");
    assert_eq!(client.line(), "+PONG");
    assert!(decided.stepped_down.load(Ordering::Acquire));
}

#[test]
fn a_member_that_comes_later_reigns_for_clients_like_the_first() {
    let (decided, handle) = served(Some(0));
    let new = Member { id: "n4".to_owned(), port: 7004, sentinel_port: 17004, ..three("n1").all[0].clone() };
    handle.meet(new.clone());
    set(&decided, &handle, Some(3));
    let mut client = Reader::connect(&handle);
    let told = |client: &mut Reader| {
        client.send("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster");
        std::iter::repeat_with(|| client.line()).take(5).collect::<Vec<_>>()
    };
    // The server looks once it is woken.
    let begun = Instant::now();
    while told(&mut client)[4] != "7004" {
        assert!(begun.elapsed() < PATIENCE, "{:?}", told(&mut client));
    }
    // And it may move.
    handle.meet(Member { port: 8004, ..new });
    while told(&mut client)[4] != "8004" {
        assert!(begun.elapsed() < PATIENCE, "{:?}", told(&mut client));
    }
}
