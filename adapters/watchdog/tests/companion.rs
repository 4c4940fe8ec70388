//! Servers with a companion, and what becomes of their sockets. The program runs itself again as the server, and that one itself
//! as its companion.
//!
//! The test holds duplicates of a server's sockets as well, so the kernel ends none of them when the server dies: whatever
//! ends was ended by the companion.

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(target_os = "linux")]
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a part of this program, which ends where it cannot go on"
)]
mod server;

#[cfg(target_os = "linux")]
// Clippy knows only `#[test]` functions as tests, and these have a `main` of their own.
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod linux {
    use crate::server;
    use kevy_elect_watchdog::companion::{self, Lives, News, Program};
    use nix::sys::resource::{Resource, setrlimit};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::fd::OwnedFd;
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, Instant};

    /// Far above what is ever needed, so that only a hang hits it.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// For how long nothing must happen.
    const QUIET: Duration = Duration::from_millis(300);
    const SERVER: &str = "server";
    /// Threads of the server that could answer somebody, beside its main thread.
    const WORKERS: usize = 3;

    const TESTS: [(&str, fn()); 13] = [
        ("a_killed_server_is_said_to_be_dead", a_killed_server_is_said_to_be_dead),
        ("a_crash_and_an_end_in_order_are_said_too", a_crash_and_an_end_in_order_are_said_too),
        ("a_crash_that_leaves_a_core_is_said_too", a_crash_that_leaves_a_core_is_said_too),
        ("threads_that_end_alone_are_no_death", threads_that_end_alone_are_no_death),
        ("a_stopped_server_is_not_dead", a_stopped_server_is_not_dead),
        ("the_companions_end_is_noticed_and_means_nothing", the_companions_end_is_noticed_and_means_nothing),
        (
            "a_stopped_companion_goes_on_when_the_server_dies",
            a_stopped_companion_goes_on_when_the_server_dies,
        ),
        ("signals_for_the_server_leave_it_alone", signals_for_the_server_leave_it_alone),
        ("what_was_taken_back_is_not_ended", what_was_taken_back_is_not_ended),
        ("it_has_nothing_of_the_server_but_what_it_was_given", it_has_nothing_but_what_it_was_given),
        ("what_waits_for_the_death_runs_first", what_waits_for_the_death_runs_first),
        (
            "it_ends_with_the_server_and_leaves_the_port_free",
            it_ends_with_the_server_and_leaves_the_port_free,
        ),
        ("who_starts_it_by_hand_gets_nothing", who_starts_it_by_hand_gets_nothing),
    ];

    pub(super) fn main() {
        let program = companion::enter();
        // Some of the servers crash.
        setrlimit(Resource::RLIMIT_CORE, 0, nix::sys::resource::RLIM_INFINITY).unwrap();
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if arguments.first().is_some_and(|first| first == SERVER) {
            return serve(&program);
        }
        let words: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
        for (name, test) in TESTS {
            if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
                test();
                println!("test {name} ... ok");
            }
        }
    }

    // ---- the server ----

    /// An order to allow itself as much of a core as it likes.
    const CORES: u8 = b'c';

    /// Prints its port, takes one connection, and does what it is told.
    fn serve(program: &Program) {
        let lives = Lives::new(1 + WORKERS).unwrap();
        lives.hold(0).unwrap();
        let mut workers: Vec<Sender<()>> = (1..=WORKERS).map(|number| work(&lives, number)).collect();
        let (door, link) = server::open();
        // As kevy's: not closed on exec.
        let leak = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
        let start = || server::accompany(program, &lives, [&door, &link], true);
        let mut companion = start();
        let mut orders = std::io::stdin();
        loop {
            let mut ready = [
                PollFd::from_borrowed_fd(companion.socket(), PollFlags::IN),
                PollFd::new(&orders, PollFlags::IN),
            ];
            // A signal that lets a stopped process go on interrupts it.
            if poll(&mut ready, None).is_err() {
                continue;
            }
            let [heard, ordered] = ready.map(|fd| !fd.revents().is_empty());
            if heard {
                match companion.hear() {
                    News::Ready => println!("ready {}", companion.id()),
                    News::Nothing => {}
                    News::Gone => {
                        println!("gone {}", companion.end().unwrap());
                        companion = start();
                    }
                }
            }
            let mut order = [0];
            if ordered && orders.read(&mut order).unwrap() == 1 {
                match order[0] {
                    b'x' => std::process::exit(0),
                    b'a' => std::process::abort(),
                    CORES => {
                        let unlimited = nix::sys::resource::RLIM_INFINITY;
                        setrlimit(Resource::RLIMIT_CORE, unlimited, unlimited).unwrap();
                    }
                    b't' => drop(companion.take_back(1)),
                    // One worker ends, as by a panic.
                    b'w' => drop(workers.pop()),
                    other => panic!("no order: {other}"),
                }
                println!("done");
            }
        }
    }

    /// A thread that could answer somebody. It ends when what is given is dropped.
    fn work(lives: &Lives, number: usize) -> Sender<()> {
        let lives = lives.clone();
        let (sender, wait) = channel::<()>();
        let (tell, held) = channel();
        std::thread::spawn(move || {
            lives.hold(number).unwrap();
            tell.send(()).unwrap();
            wait.recv().unwrap_err();
        });
        held.recv().unwrap();
        sender
    }

    // ---- what a test has of it ----

    struct Server {
        process: Child,
        orders: ChildStdin,
        said: Receiver<String>,
        peer: TcpStream,
        port: u16,
        companion: Pid,
        /// What keeps the kernel from ending them.
        _duplicates: [OwnedFd; 2],
    }

    impl Server {
        fn start() -> Self {
            let mut process = server::start(&[SERVER]);
            let (orders, said) = (process.stdin.take().unwrap(), lines(process.stdout.take().unwrap()));
            let words = expect(&said, "port");
            let (port, door) = (words[0] as u16, words[1] as i32);
            let peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let link = expect(&said, "link")[0] as i32;
            let pidfd = pidfd_open(rustix::process::Pid::from_child(&process), PidfdFlags::empty()).unwrap();
            let duplicate = |number| pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).unwrap();
            let _duplicates = [duplicate(door), duplicate(link)];
            let companion = Pid::from_raw(expect(&said, "ready")[0] as i32);
            Self { process, orders, said, peer, port, companion, _duplicates }
        }

        fn order(&mut self, order: u8) {
            self.orders.write_all(&[order]).unwrap();
        }

        fn signal(&self, signal: Signal) {
            kill(Pid::from_raw(self.process.id() as i32), signal).unwrap();
        }

        fn handles(&self, signal: Signal) -> bool {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (signal as i32 - 1)) != 0
        }

        /// The link ends in order, and the port refuses.
        #[track_caller]
        fn is_said_to_be_dead(&mut self) {
            self.peer.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(self.peer.read(&mut [0]).unwrap(), 0, "the end of the stream");
            let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }

        /// Nothing is said for a while.
        #[track_caller]
        fn is_not_said_to_be_dead(&mut self) {
            self.peer.set_read_timeout(Some(QUIET)).unwrap();
            let error = self.peer.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap());
        }

        #[track_caller]
        fn companion_ends(&self) {
            until("the companion has ended", || has_ended(self.companion));
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            drop(self.process.kill());
            drop(self.process.wait());
        }
    }

    /// The lines of a process, read by a thread: whoever waits for one does not wait for ever.
    fn lines(output: ChildStdout) -> Receiver<String> {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        lines
    }

    /// The numbers behind `word` in the next line, which has to begin with it.
    #[track_caller]
    fn expect(lines: &Receiver<String>, word: &str) -> Vec<i64> {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it never said {word}"));
        assert!(line.starts_with(word), "{line}");
        line.split(' ').filter_map(|word| word.parse().ok()).collect()
    }

    #[track_caller]
    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Gone, or waiting for somebody to ask how it ended.
    fn has_ended(process: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with(['Z', 'X']))
    }

    // ---- the tests ----

    fn a_killed_server_is_said_to_be_dead() {
        let mut server = Server::start();
        server.is_not_said_to_be_dead();
        server.signal(Signal::SIGKILL);
        server.is_said_to_be_dead();
        server.companion_ends();
    }

    fn a_crash_and_an_end_in_order_are_said_too() {
        for order in [b'a', b'x'] {
            let mut server = Server::start();
            server.order(order);
            server.is_said_to_be_dead();
        }
        let mut server = Server::start();
        // The first one finds the handler that Rust has for stacks that overflow, and only takes that away.
        server.signal(Signal::SIGSEGV);
        until("the handler is gone", || !server.handles(Signal::SIGSEGV));
        server.signal(Signal::SIGSEGV);
        server.is_said_to_be_dead();
    }

    /// When the core is written: until then its threads are in the middle of ending, with their locks.
    fn a_crash_that_leaves_a_core_is_said_too() {
        let mut server = Server::start();
        server.order(CORES);
        expect(&server.said, "done");
        server.order(b'a');
        server.is_said_to_be_dead();
        // Where it is by default.
        for name in ["core".to_owned(), format!("core.{}", server.process.id())] {
            drop(std::fs::remove_file(std::env::temp_dir().join(name)));
        }
    }

    fn threads_that_end_alone_are_no_death() {
        let mut server = Server::start();
        for _ in 0..WORKERS {
            server.order(b'w');
            expect(&server.said, "done");
            server.is_not_said_to_be_dead();
        }
        server.signal(Signal::SIGKILL);
        server.is_said_to_be_dead();
    }

    fn a_stopped_server_is_not_dead() {
        let mut server = Server::start();
        server.signal(Signal::SIGSTOP);
        server.is_not_said_to_be_dead();
        server.signal(Signal::SIGCONT);
        server.is_not_said_to_be_dead();
        server.signal(Signal::SIGSTOP);
        server.signal(Signal::SIGKILL);
        server.is_said_to_be_dead();
    }

    fn the_companions_end_is_noticed_and_means_nothing() {
        let mut server = Server::start();
        // The second time, one that another one has given way to. And with a thread that has ended before.
        for order in [b'w', b'w'] {
            kill(server.companion, Signal::SIGKILL).unwrap();
            expect(&server.said, "gone");
            let next = Pid::from_raw(expect(&server.said, "ready")[0] as i32);
            assert_ne!(next, server.companion);
            server.companion = next;
            server.is_not_said_to_be_dead();
            server.order(order);
            expect(&server.said, "done");
        }
        server.is_not_said_to_be_dead();
        server.signal(Signal::SIGKILL);
        server.is_said_to_be_dead();
    }

    fn a_stopped_companion_goes_on_when_the_server_dies() {
        let mut server = Server::start();
        kill(server.companion, Signal::SIGSTOP).unwrap();
        server.is_not_said_to_be_dead();
        server.signal(Signal::SIGKILL);
        server.is_said_to_be_dead();
        server.companion_ends();
    }

    fn signals_for_the_server_leave_it_alone() {
        let mut server = Server::start();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP] {
            kill(server.companion, signal).unwrap();
        }
        let own = nix::unistd::getpgid(Some(Pid::from_raw(server.process.id() as i32))).unwrap();
        assert_ne!(
            nix::unistd::getpgid(Some(server.companion)).unwrap(),
            own,
            "a terminal does not reach it"
        );
        server.is_not_said_to_be_dead();
        assert!(!has_ended(server.companion));
        server.signal(Signal::SIGKILL);
        server.is_said_to_be_dead();
    }

    fn what_was_taken_back_is_not_ended() {
        let mut server = Server::start();
        server.order(b't');
        expect(&server.said, "done");
        server.signal(Signal::SIGKILL);
        let port = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
        until("the port refuses", || TcpStream::connect_timeout(&port, PATIENCE).is_err());
        server.companion_ends();
        server.peer.set_read_timeout(Some(QUIET)).unwrap();
        assert!(
            server.peer.read(&mut [0]).is_err(),
            "the link is the server's own, which this test holds open"
        );
    }

    fn it_has_nothing_but_what_it_was_given() {
        let server = Server::start();
        let link =
            |path: std::path::PathBuf| std::fs::read_link(path).ok().map(|to| to.display().to_string());
        let open = || {
            let open = std::fs::read_dir(format!("/proc/{}/fd", server.companion)).unwrap();
            // What it has for a moment may be gone by now.
            let mut open: Vec<String> = open
                .filter_map(|entry| link(entry.ok()?.path()))
                .map(|name| name.split(':').next().unwrap_or_default().to_owned())
                .collect();
            open.sort();
            open
        };
        // Its pair of sockets, the port, the link.
        let given = ["/dev/null", "/dev/null", "/memfd", "socket", "socket", "socket"];
        until("it has heard of both", || open().len() >= given.len());
        until(&format!("it has these and nothing else: {given:?}"), || open() == given);
        let root = link(format!("/proc/{}/cwd", server.companion).into());
        assert_eq!(root.as_deref(), Some("/"));
        assert_eq!(std::fs::read(format!("/proc/{}/environ", server.companion)).unwrap(), b"");
    }

    /// On a machine with no time left, a death would be told when there is some.
    fn what_waits_for_the_death_runs_first() {
        let allowed = std::thread::spawn(kevy_elect_watchdog::prefer_this_thread).join().unwrap().is_ok();
        let server = Server::start();
        // As `sched(7)` numbers them: round robin, and ordinary.
        let first = if allowed { "2" } else { "0" };
        until("its threads run so", || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", server.companion)).unwrap();
            // One that has ended meanwhile has none.
            let stat =
                threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
            // Behind the name, which may have spaces in it.
            let policy =
                |stat: String| stat.rsplit(") ").next().unwrap().split(' ').nth(38).unwrap().to_owned();
            let mut policies: Vec<String> = stat.map(policy).collect();
            policies.sort();
            policies == ["0", first]
        });
    }

    fn it_ends_with_the_server_and_leaves_the_port_free() {
        let mut server = Server::start();
        let port = server.port;
        server.signal(Signal::SIGKILL);
        server.process.wait().unwrap();
        server.companion_ends();
        // While this test still holds a duplicate of the old socket.
        drop(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
    }

    fn who_starts_it_by_hand_gets_nothing() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let status = command.arg("--companion").stdin(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(3));
    }
}
