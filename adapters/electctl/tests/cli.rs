//! The program as people run it: what it prints and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kevy-electctl"))
        .args(arguments)
        .env_remove("KEVY_ELECT_AT")
        .output()
        .unwrap()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A node that answers every request with `body`; its address.
fn node(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    address
}

const PRIMARY: &str =
    r#"{"cluster":"c","node":"n1","role":"primary","writable":true,"epoch":7,"primary":"n1","peers":[]}"#;
const HISTORY: &str = r#"{"cluster":"c","decisions":[{"at_ms":0,"node":"n1","epoch":7,"what":"promoted","from":"n2","to":"n1",
"why":"crash","votes":[{"kind":"vote","voter":"n3","yes":false,"reason":"promise","position":"6:1"}],"phases":{"elect_ms":3.5}}]}"#;

#[test]
fn when_nothing_answers_it_says_where_it_asked_and_what_to_check() {
    // Bound and given back: nobody listens there.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = run(&["--at", &free, "status"]);
    assert_eq!(output.status.code(), Some(1));
    let error = said(&output.stderr);
    assert!(error.contains(&free) && error.contains("--at") && error.contains("[elect] http"), "{error}");
    assert_eq!(run(&["--bogus"]).status.code(), Some(2));
    assert_eq!(run(&["check", "--config", "/no/such/file"]).status.code(), Some(1));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}

#[test]
fn one_node_that_answers_is_enough_and_a_pipe_gets_no_colours() {
    let output = run(&["--at", &format!("{},127.0.0.1:1", node(PRIMARY)), "status"]);
    let text = said(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("n1 takes writes.") && text.contains("cannot be reached"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    let json = run(&["--at", &node(PRIMARY), "status", "--json"]);
    assert!(said(&json.stdout).contains("\"epoch\": 7"));
}

#[test]
fn an_epoch_is_explained_and_an_unknown_one_gets_the_known_ones() {
    let at = node(HISTORY);
    let text = said(&run(&["--at", &at, "explain", "7"]).stdout);
    assert!(
        text.contains("n1 became primary of epoch 7") && text.contains("n3 refused n1 a vote: promise"),
        "{text}"
    );
    let output = run(&["--at", &at, "explain", "8"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output.stderr).contains("known are 7"));
    assert!(said(&run(&["--at", &at, "history"]).stdout).contains("1970-01-01 00:00:00.000"));
}

#[test]
fn watching_ends_with_its_reader() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kevy-electctl"))
        .args(["--at", &node(PRIMARY), "status", "--watch"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut part = [0; 64];
    assert!(out.read(&mut part).unwrap() > 0);
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
