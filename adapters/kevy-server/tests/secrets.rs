//! What is nobody's business stays in its file: private keys and passwords are in nothing that a server prints, serves or leaves
//! behind, and its files are its owner's alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{BIN, Process, primary};
use common::secured::{Secured, keygen};
use common::{Cluster, until};
use kevy_elect_noise::PrivateKey;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

const PASSWORD: &str = "a-password-that-nobody-else-says";

/// How the bytes of a key may be spelled.
fn spellings(key: &[u8; 32]) -> Vec<Vec<u8>> {
    let mut hex = String::new();
    key.iter().for_each(|byte| write!(hex, "{byte:02x}").unwrap());
    let listed: Vec<String> = key.iter().map(u8::to_string).collect();
    let standard = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let url = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // Half of it is as bad as all of it, and may stand in the middle of a line that is cut.
    vec![
        key[..16].to_vec(),
        hex.as_bytes()[..32].to_vec(),
        hex.to_uppercase().as_bytes()[..32].to_vec(),
        listed[..8].join(", ").into_bytes(),
        base64(&key[..15], standard),
        base64(&key[..15], url),
    ]
}

fn base64(bytes: &[u8], digits: &[u8; 64]) -> Vec<u8> {
    let of_three = |three: &[u8]| {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| digits[bits >> shift & 63])
    };
    bytes.chunks_exact(3).flat_map(of_three).collect()
}

#[track_caller]
fn keeps(secrets: &[Vec<u8>], place: &str, bytes: &[u8]) {
    for (number, secret) in secrets.iter().enumerate() {
        assert!(
            !bytes.windows(secret.len()).any(|window| window == secret),
            "spelling {number} of a secret is in {place}"
        );
    }
}

fn get(port: u16, path: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}

/// All that a client is answered to these, as it comes. Who knows of no primary lets no client of Sentinel's in.
fn says(port: u16, lines: &str) -> Vec<u8> {
    until("a client is answered", || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(lines.as_bytes()).ok()?;
        stream.write_all(b"QUIT\r\n").ok()?;
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        (!answer.is_empty()).then_some(answer)
    })
}

fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

#[test]
fn no_secret_is_in_what_servers_print_serve_or_leave_behind() {
    let secured = Secured::new(1);
    // Client ports are four apart.
    let ports: Vec<u16> = secured.cluster.ports.iter().map(|port| port + 1).collect();
    let listed: Vec<String> = ports.iter().enumerate().map(|(n, p)| format!("n{n}@127.0.0.1:{p}")).collect();
    let start = |node: usize| {
        // Whatever it would say when asked to say more.
        let more = format!(
            "election_timeout_ms = 5000\nhttp = \"127.0.0.1:{}\"\nsentinel = \"127.0.0.1:{}\"\nsentinel_password = \"{PASSWORD}\"\nsentinel_peers = \"{}\"\n\
             [log]\nlevel = \"trace\"\n",
            ports[node] + 1,
            ports[node],
            listed.join(",")
        );
        Process::start_file(&secured.write_with(node, &more), secured.cluster.ports[node])
    };
    let mut secrets: Vec<Vec<u8>> = vec![PASSWORD.as_bytes().to_vec()];
    for (file, _) in &secured.keys {
        secrets.extend(spellings(PrivateKey::load(file).unwrap().expose()));
    }
    let own = fs::read(&secured.keys[0].0).unwrap();
    assert!(secrets.iter().any(|secret| own.starts_with(secret)), "it looks for what is there");

    let mut nodes: Vec<Process> = (0..3).map(start).collect();
    let first = primary(&nodes);
    until("all follow", || (nodes[first].ask("WAIT 2 1000")? == "2").then_some(()));
    // Somebody with another key, with a member's name, with garbage, with a wrong password.
    for (clients, pages) in secured.cluster.ports.iter().zip(&ports) {
        for door in [*clients + 200, *clients + 10_000, *pages] {
            let mut stream = until("it is let in", || TcpStream::connect(("127.0.0.1", door)).ok());
            drop(stream.write_all(&[0, 96].into_iter().chain((0..96).rev()).collect::<Vec<u8>>()));
            drop(stream.write_all(b"*2\r\n$4\r\nAUTH\r\n$5\r\nwrong\r\n"));
        }
    }
    let serves = |secrets: &[Vec<u8>], node: usize| {
        for path in ["/", "/status", "/metrics", "/history", "/health", "/primary", "/nothing"] {
            let page = until("a page is served", || get(ports[node] + 1, path));
            keeps(secrets, path, &page);
        }
        let asked = "INFO all\r\nCONFIG GET *\r\nELECT STATUS\r\nELECT DIGEST INFO\r\nROLE\r\nCLIENT LIST\r\nSLOWLOG GET\r\n\
            AUTH wrong\r\nHELLO 3 AUTH default wrong\r\nCOMMAND\r\nDEBUG OBJECT k\r\nMEMORY STATS\r\n";
        keeps(secrets, "what clients are told", &says(secured.cluster.ports[node], asked));
        let asked = format!(
            "SENTINEL MASTERS\r\nAUTH {}\r\nAUTH {PASSWORD}\r\nSENTINEL MASTERS\r\nINFO\r\nSENTINEL CKQUORUM kevy\r\nCONFIG GET *\r\n",
            "wrong"
        );
        keeps(secrets, "what clients of Sentinel's are told", &says(ports[node], &asked));
    };
    (0..3).for_each(|node| serves(&secrets, node));
    // One dies, one is told to end, one comes back; and one is started twice.
    nodes[first].child.kill().unwrap();
    nodes[first].wait();
    let second = primary(&nodes);
    let mut twice = Command::new(BIN)
        .arg("--config")
        .arg(secured.cluster.dirs[second].0.join("kevy.toml"))
        .stderr(fs::File::create(secured.cluster.dirs[second].0.join("twice")).unwrap())
        .spawn()
        .unwrap();
    nodes[first] = start(first);
    until("all follow again", || (nodes[second].ask("WAIT 2 1000")? == "2").then_some(()));
    serves(&secrets, second);
    nodes[second].signal(rustix::process::Signal::TERM);
    nodes[second].wait();
    primary(&nodes);
    drop((twice.kill(), twice.wait()));
    drop(nodes);

    // What cannot start says why.
    let key = secured.keys[0].0.clone();
    let fails = |what: &str, text: &str| {
        let file = secured.cluster.dirs[0].0.join("kevy.toml");
        let good = fs::read_to_string(&file).unwrap();
        fs::write(&file, text).unwrap();
        let said = Command::new(BIN).arg("--config").arg(&file).output().unwrap();
        assert!(!said.status.success(), "{what}");
        keeps(&secrets, what, &[said.stdout, said.stderr].concat());
        fs::write(&file, good).unwrap();
    };
    let good = fs::read_to_string(secured.cluster.dirs[0].0.join("kevy.toml")).unwrap();
    let digits = fs::read_to_string(&key).unwrap();
    fails("a port that is no number", &good.replace("heartbeat", "heart").replace("port = ", "port = x"));
    fails("a key that is not known", &good.replace("sentinel_password", "sentinel_pass"));
    fails("a password that is none", &good.replace(&format!("\"{PASSWORD}\""), &format!("[\"{PASSWORD}\"]")));
    // Pasted where the file's name belongs: the most likely mistake there is.
    fails("a key in place of its file", &good.replace(&key.display().to_string(), digits.trim()));
    for mode in [0o644, 0o660] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        fails("a key that others may read", &good);
    }
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, format!("{}x", digits.trim())).unwrap();
    fails("a key that is damaged", &good);
    fs::write(&key, &digits).unwrap();

    for (node, (key, _)) in secured.keys.iter().enumerate() {
        for file in files(&secured.cluster.dirs[node].0) {
            if file != *key && !file.ends_with("kevy.toml") {
                keeps(&secrets, &file.display().to_string(), &fs::read(&file).unwrap());
            }
        }
    }
}

#[test]
fn what_a_key_says_of_itself_is_no_secret() {
    let key = PrivateKey::from_bytes([0xab; 32]);
    let said = format!("{key:?} {:?} {:?}", key.public(), "abab".parse::<kevy_elect_noise::PublicKey>());
    keeps(&spellings(&[0xab; 32]), "what it says", said.as_bytes());
}

#[test]
fn files_of_the_election_are_their_owners_alone_whatever_they_were_before() {
    let cluster = Cluster::new(1, 1);
    let elect = cluster.dirs[0].0.join("elect");
    let start = || {
        let node = Process::start(&cluster, 0, "");
        primary(std::slice::from_ref(&node));
        until("its history is written", || fs::metadata(elect.join("history")).ok());
        node
    };
    let mode = |file: &Path| fs::metadata(file).unwrap().mode() & 0o777;
    let check = || {
        assert_eq!(mode(&elect), 0o700);
        for file in files(&elect) {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    };
    drop(start());
    check();
    for file in files(&elect) {
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    }
    drop(start());
    check();
    let file = cluster.dirs[0].0.join("key");
    keygen(&file);
    assert_eq!(mode(&file), 0o600);
}
