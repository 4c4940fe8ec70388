//! How long after a `SIGKILL` a peer sees the end of its link, with a companion and without, by the size of the dead process's
//! memory: `cargo bench -p kevy-elect-watchdog --bench heap -- 0 1000 4000` (in MB; rounds alternate).

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
#[path = "../tests/server/mod.rs"]
mod server;

#[cfg(target_os = "linux")]
// A bench that cannot go on ends.
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod linux {
    use crate::server;
    use kevy_elect_watchdog::companion::{self, Lives, News};
    use rustix::event::{PollFd, PollFlags, poll};
    use std::io::{BufRead, BufReader, Read};
    use std::time::{Duration, Instant};

    const ROUNDS: usize = 7;
    const MB: usize = 1_000_000;
    const SIZES: [usize; 3] = [0, 250, 1000];

    pub(super) fn main() {
        let program = companion::enter();
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if let [role, mb, companion] = &arguments[..]
            && role == "server"
        {
            return serve(&program, mb.parse().unwrap(), companion);
        }
        let given: Vec<usize> = arguments.iter().filter_map(|word| word.parse().ok()).collect();
        println!(
            "| heap | no companion (ms) | an ordinary one | one that runs before others | none / the last |"
        );
        println!("|---|--:|--:|--:|--:|");
        for mb in if given.is_empty() { &SIZES[..] } else { &given } {
            let mut took = [const { Vec::new() }; 3];
            for _ in 0..ROUNDS {
                for (took, companion) in took.iter_mut().zip(["none", "ordinary", "preferred"]) {
                    took.push(round(*mb, companion));
                }
            }
            let [none, ordinary, preferred] = took.map(|mut took| {
                took.sort();
                took[ROUNDS / 2].as_secs_f64() * 1e3
            });
            println!("| {mb} MB | {none:.2} | {ordinary:.2} | {preferred:.2} | {:.1}x |", none / preferred);
        }
    }

    fn round(mb: usize, companion: &str) -> Duration {
        let mut process = server::start(&["server", &mb.to_string(), companion]);
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut link = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(lines.any(|line| line == "ready"));
        // Reading is under way when it dies.
        let reader = std::thread::spawn(move || {
            assert_eq!(link.read(&mut [0]).unwrap(), 0);
            Instant::now()
        });
        std::thread::sleep(Duration::from_millis(20));
        let killed = Instant::now();
        process.kill().unwrap();
        let seen = reader.join().unwrap();
        process.wait().unwrap();
        seen - killed
    }

    fn serve(program: &companion::Program, mb: usize, companion: &str) {
        let heap = vec![1_u8; mb * MB];
        std::hint::black_box(&heap);
        let lives = Lives::new(1).unwrap();
        lives.hold(0).unwrap();
        let (door, link) = server::open();
        let companion = (companion != "none").then(|| {
            let companion = server::accompany(program, &lives, [&door, &link], companion == "preferred");
            while companion.hear() != News::Ready {
                poll(&mut [PollFd::from_borrowed_fd(companion.socket(), PollFlags::IN)], None).unwrap();
            }
            companion
        });
        println!("ready");
        loop {
            std::thread::park();
            std::hint::black_box((&heap, &companion));
        }
    }
}
