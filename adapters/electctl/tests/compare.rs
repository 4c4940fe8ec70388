//! `kevy-electctl compare` as people run it, with nodes that have one key each. Real servers are compared in
//! `adapters/kevy-server/tests/compare.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};

/// A node whose only key has this digest; its address.
fn node(name: &'static str, role: &'static str, digest: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap(), name, role, digest));
        }
    });
    address
}

fn serve(stream: TcpStream, name: &str, role: &str, digest: u64) {
    let mut out = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    let key = b"user:\x1b1";
    let full =
        [&(key.len() as u32).to_le_bytes()[..], key, &digest.to_le_bytes(), &0_u64.to_le_bytes(), &[1]]
            .concat();
    let brief = [7_u64, digest, 0].map(u64::to_le_bytes).concat();
    while let Some(words) = request(&mut reader) {
        let slice = |records: &[u8]| [b"*3\r\n$1\r\n0\r\n:0\r\n", &bulk(records)[..]].concat();
        let reply = match (words[0].as_slice(), words.get(2).map(Vec::as_slice), words.len()) {
            (b"DBSIZE", ..) => b":1\r\n".to_vec(),
            (_, Some(b"INFO"), _) => bulk(
                format!(
                    "node:{name}\r\nrole:{role}\r\nstream_epoch:7\r\noffset:5\r\nshards:1\r\nnow_ms:1\r\n"
                )
                .as_bytes(),
            ),
            (_, Some(b"SCAN"), 6) => slice(&brief),
            (_, Some(b"SCAN"), 8) => slice(&full),
            (_, Some(b"KEYS"), _) => bulk(&full),
            other => panic!("{other:?}"),
        };
        out.write_all(&reply).unwrap();
    }
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let number = |reader: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.get(1..)?.trim_end().parse::<usize>().ok()
    };
    let words = number(reader)?;
    (0..words)
        .map(|_| {
            let mut word = vec![0; number(reader)? + 2];
            reader.read_exact(&mut word).ok()?;
            word.truncate(word.len() - 2);
            Some(word)
        })
        .collect()
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_kevy-electctl")).args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn what_is_equal_ends_with_0_and_says_at_which_position() {
    let nodes = [node("n1", "primary", 1), node("n2", "replica", 1)].join(",");
    let (code, text, _) = run(&["compare", "--clients", &nodes]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Equal, compared at one position.") && text.contains("primary  7:5"), "{text}");
}

#[test]
fn what_differs_ends_with_3_and_is_named_also_for_programs_and_as_a_metric() {
    let file = std::env::temp_dir().join(format!("kevy-electctl-{}.prom", std::process::id()));
    let nodes = [node("n1", "replica", 1), node("n2", "primary", 2), node("n3", "replica", 2)].join(",");
    let (code, text, _) = run(&["compare", "--clients", &nodes, "--textfile", file.to_str().unwrap()]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("DIFFERENT from n2, compared at one position: 1 keys."), "{text}");
    assert!(text.contains(r#""user:\x1b1""#) && !text.contains('\x1b'), "{text}");
    let metrics = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(metrics.contains("\nkevy_compare_differing_keys 1\n"), "{metrics}");
    assert!(metrics.contains("\nkevy_compare_last_run_timestamp_seconds 1"), "{metrics}");
    let (code, text, _) = run(&["compare", "--clients", &nodes, "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["outcome"], &json["reference"]), (Some(3), &"different".into(), &"n2".into()));
    assert_eq!(json["differences"][0]["node"], "n1");
    assert_eq!(json["differences"][0]["differs_in"], "value");
}

#[test]
fn a_node_that_does_not_answer_ends_with_1_and_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let nodes = [node("n1", "primary", 1), free.clone()].join(",");
    let (code, _, error) = run(&["compare", "--clients", &nodes]);
    assert_eq!(code, Some(1));
    assert!(error.contains(&format!("{free} cannot be reached")) && error.contains("--clients"), "{error}");
    let (code, _, error) = run(&["compare", "--clients", "127.0.0.1:1"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("takes two"), "{error}");
    assert_eq!(run(&["compare", "--config", "/no/such/file"]).0, Some(1));
    // Without members it asks a page for them.
    let (code, _, error) = run(&["--at", &free, "compare"]);
    assert_eq!(code, Some(1));
    assert!(error.contains(&free) && error.contains("--clients"), "{error}");
}
