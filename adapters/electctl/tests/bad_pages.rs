//! What a page may send to whoever asks it, and what comes of it: an answer in time, of a bounded size, that cannot steer a terminal.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Longest time for a command, on a machine with other work: many run at once here. One answer has 3 s, and a command waits for three at
/// most.
const IN_TIME: Duration = Duration::from_secs(120);
/// The most that is printed of what one node sends: all that it may send, spelled out.
const PRINTED_MAX: usize = 64 << 20;
/// The same for people.
const SHOWN_MAX: usize = 512 << 10;

fn run(arguments: &[&str]) -> Output {
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_kevy-electctl")).args(arguments).output().unwrap();
    assert!(begun.elapsed() < IN_TIME, "{arguments:?} takes {:?}", begun.elapsed());
    output
}

/// A page that sends `first`, and then `more` for as long as somebody reads, one part in each `pause`.
fn page(first: String, more: &'static str, pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let mut sent = stream.write_all(first.as_bytes());
            while sent.is_ok() && !more.is_empty() {
                std::thread::sleep(pause);
                sent = stream.write_all(more.as_bytes());
            }
        }
    });
    address
}

fn whole(body: &str) -> String {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    page(head + body, "", Duration::ZERO)
}

const COMMANDS: [&[&str]; 10] = [
    &["status"],
    &["status", "--json"],
    &["history"],
    &["history", "--json"],
    &["explain", "7"],
    &["explain", "7", "--json"],
    &["doctor"],
    &["doctor", "--json"],
    &["watch", "--once"],
    &["watch", "--once", "--json"],
];
/// What `doctor` ends with where it finds something.
const FOUND: [i32; 2] = [5, 6];

#[test]
fn pages_that_drip_never_end_or_say_nothing_are_given_up_in_time() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
    let pages = [
        page(String::new(), "H", Duration::from_millis(200)),
        page("HTTP/1.1 200 OK\r\n".to_owned(), "X: y\r\n", Duration::from_millis(50)),
        page("HTTP/1.1 200 OK\r\n".to_owned(), "X: y\r\n", Duration::ZERO),
        page(head.to_owned(), " ", Duration::from_millis(200)),
        page(
            head.to_owned(),
            "                                                                ",
            Duration::ZERO,
        ),
        page(head.to_owned() + &"[".repeat(1_000_000), "", Duration::ZERO),
    ];
    // Each takes its time, so all at once.
    std::thread::scope(|scope| {
        for (at, command) in pages.iter().flat_map(|at| COMMANDS.map(|command| (at, command))) {
            scope.spawn(move || {
                let output = run(&[&["--at", at], command].concat());
                assert_eq!(output.status.code(), Some(1), "{command:?}");
                assert!(output.stdout.is_empty() && output.stderr.len() < 4096, "{command:?}");
            });
        }
    });
}

#[test]
fn a_node_that_claims_thousands_of_peers_and_decisions_is_shown_within_bounds() {
    let peers: Vec<String> =
        (0..3000).map(|n| format!("{{\"id\":\"peer-{n}\",\"foreign\":true,\"linked\":true}}")).collect();
    let decision =
        |n| format!("{{\"at_ms\":{n},\"epoch\":7,\"what\":\"followed\",\"why\":\"{}\"}}", "x".repeat(5000));
    let decisions: Vec<String> = (0..2000).map(decision).collect();
    let body = format!(
        "{{\"node\":\"n1\",\"cluster\":\"c\",\"peers\":[{}],\"decisions\":[{}]}}",
        peers.join(","),
        decisions.join(",")
    );
    let at = whole(&body);
    let check = |command: &[&str]| {
        let output = run(&[&["--at", &at], command].concat());
        let code = output.status.code().unwrap();
        assert!(code == 0 || (command[0] == "doctor" && FOUND.contains(&code)), "{command:?}: {code}");
        let most = if command.contains(&"--json") { PRINTED_MAX } else { SHOWN_MAX };
        assert!(output.stdout.len() < most, "{command:?}: {} bytes", output.stdout.len());
    };
    std::thread::scope(|scope| COMMANDS.iter().for_each(|command| drop(scope.spawn(|| check(command)))));
    let text = String::from_utf8(run(&["--at", &at, "status"]).stdout).unwrap();
    assert!(text.contains("nodes more; --json names them"), "{text}");
}

#[test]
fn nothing_that_a_page_says_reaches_a_terminal_as_it_is() {
    // As JSON may spell them: escapes of a terminal in seven and eight bits, other directions, what nobody sees.
    let bad = r"a\u001b[2J\u001b]0;owned\u0007\u009b31m\u202e\u200b\u007f\u0000\r\nb";
    let bare = "\u{9b}31m\u{202e}\u{7f}";
    let words = ["node", "cluster", "role", "primary", "why", "health", "ailment", "cluster_id"];
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\":\"{bad}{bare}\"")).collect();
    let decision = format!(
        "{{\"at_ms\":1,\"epoch\":7,\"node\":\"{bad}\",\"what\":\"{bad}\",\"from\":\"{bad}\",\"to\":\"{bad}\",\"why\":\"{bad}\",\
         \"votes\":[{{\"kind\":\"{bad}\",\"voter\":\"{bad}\",\"yes\":false,\"reason\":\"{bad}\",\"position\":\"{bad}\"}}],\
         \"judged\":[{{\"kind\":\"{bad}\",\"candidate\":\"{bad}\",\"reason\":\"{bad}\"}}],\
         \"campaigns\":[{{\"kind\":\"{bad}\",\"outcome\":\"{bad}\",\"position\":\"{bad}\"}}]}}"
    );
    let body = format!(
        "{{{},\"{bad}\":1,\"peers\":[{{\"id\":\"{bad}\",\"foreign\":true,\"cluster_id\":\"{bad}\"}}],\
         \"decisions\":[{decision}]}}",
        words.join(",")
    );
    let said = whole(&body);
    let refused =
        page(format!("HTTP/1.1 500 \u{9b}31m{bare}\r\nX: {bare}\r\n\r\n{bare}"), "", Duration::ZERO);
    let strange = whole(bare);
    for at in [&said, &refused, &strange] {
        for command in COMMANDS {
            let output = run(&[&["--at", at], command].concat());
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            let steers = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{200b}".contains(c);
            assert!(!text.contains(steers), "{command:?}: {text:?}");
        }
    }
    assert_eq!(run(&["--at", &said, "status"]).status.code(), Some(0));
}

/// A page names the other nodes, and may name anything. What it names is asked for pages, once each, and not without end.
#[test]
fn a_page_that_names_thousands_of_nodes_makes_nobody_ask_them_all() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let named = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let odd = ["http://127.0.0.1:1/", "127.0.0.1", "a b:1", "127.0.0.1:0", "x@127.0.0.1:1", ""];
    let mut members: Vec<String> = odd.iter().map(|page| format!("{{\"page\":\"{page}\"}}")).collect();
    members.extend(
        (0..3000).map(|n| format!("{{\"id\":\"n{n}\",\"page\":\"{named}\",\"client\":\"{named}\"}}")),
    );
    let at = whole(&format!(
        "{{\"node\":\"n1\",\"cluster\":\"c\",\"peers\":[],\"members\":[{}]}}",
        members.join(",")
    ));
    for command in [&["doctor"][..], &["status"], &["transfer"], &["bench", "failover"]] {
        let output = run(&[&["--at", &at], command].concat());
        assert!(output.status.code().is_some(), "{command:?}");
        let mut asked = 0;
        while listener.accept().is_ok() {
            asked += 1;
        }
        assert!(asked <= 200, "{command:?} asks {asked} times");
    }
}
