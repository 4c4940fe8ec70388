//! Clusters whose links and streams prove who speaks. Sentences T26 to T29 of `docs/protocol.md`; S11 by proof.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, primary};
use common::secured::{Secured, keygen};
use common::{Cluster, Dir, until};
use kevy_elect_noise::{PrivateKey, PublicKey};
use kevy_replicate::replica::{ConnectOptions, ReplicaClient, ReplicaSecurity};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// A write that two replicas have confirmed.
#[track_caller]
fn confirmed(node: &Process, key: &str) {
    until(&format!("{key} is written"), || (node.ask(&format!("SET {key} v"))? == "OK").then_some(()));
    until(&format!("{key} is confirmed"), || (node.ask("WAIT 2 1000")? == "2").then_some(()));
}

#[track_caller]
fn fails_over(shards: u16) {
    let cluster = Secured::new(shards);
    let mut nodes = cluster.start_all();
    let first = primary(&nodes);
    for number in 0..20 {
        confirmed(&nodes[first], &format!("before{number}"));
    }
    nodes[first].child.kill().unwrap();
    nodes[first].wait();
    let second = primary(&nodes);
    assert_ne!(first, second);
    assert_eq!(nodes[second].ask("GET before19").as_deref(), Some("v"));
    nodes[first] = cluster.start(first);
    confirmed(&nodes[second], "after");

    let page = until("its page is served", || {
        let log = cluster.log(second);
        Some(log.rsplit_once("status page at http://")?.1.split('/').next()?.to_owned())
    });
    let get = |path: &str| {
        let mut stream = TcpStream::connect(&page).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("/status").contains("\"links\": \"secure\""));
    assert!(
        get("/metrics").lines().any(|line| line.starts_with("kevy_elect_secure{") && line.ends_with(" 1"))
    );
    for node in 0..3 {
        let log = cluster.log(node);
        let secret = fs::read_to_string(&cluster.keys[node].0).unwrap();
        assert!(!log.contains(secret.trim()), "a secret in the log");
    }
}

#[test]
fn t26_members_with_keys_elect_stream_confirm_and_fail_over() {
    fails_over(1);
}

#[test]
fn t26_with_several_shards_too() {
    fails_over(2);
}

#[test]
fn s11_a_stranger_gets_no_data_and_no_acknowledgement_of_it_counts() {
    let cluster = Secured::new(1);
    let mut nodes = cluster.start_all();
    let first = primary(&nodes);
    confirmed(&nodes[first], "secret");
    let at = cluster.stream(first);

    // Nobody: in plain, under a member's name.
    let mut plain = TcpStream::connect(at).unwrap();
    let name = "kevy-replica-n1.1.0-1#0.99999999999999999";
    let words = ["REPLICATE", "FROM", "0", "0", "ID", name];
    let bulks: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    plain.write_all(format!("*6\r\n{bulks}").as_bytes()).unwrap();
    plain.write_all(b"REPLCONF ACK 4000000000\r\n").unwrap();
    drop(plain.shutdown(Shutdown::Write));
    let mut said = Vec::new();
    drop(plain.read_to_end(&mut said));
    assert!(said.is_empty(), "{said:?}");

    // Somebody with a key that is nobody's.
    let theirs = *cluster.keys[first].1[0].as_bytes();
    let own = kevy_noise::Keypair::from_secret([9; 32]);
    let options = ConnectOptions::new(name)
        .with_timeout(Duration::from_secs(5))
        .with_security(ReplicaSecurity::new(own, theirs));
    assert!(ReplicaClient::connect_with(at, &options).is_err());

    // Nobody else confirms.
    let others: Vec<usize> = (0..3).filter(|node| *node != first).collect();
    for node in &others[..1] {
        nodes[*node].child.kill().unwrap();
        nodes[*node].wait();
    }
    let _stranger = std::thread::spawn(move || drop(ReplicaClient::connect_with(at, &options)));
    until("only one is counted", || {
        nodes[first].ask("SET k w")?;
        (nodes[first].ask("WAIT 2 200")? == "1").then_some(())
    });
}

#[test]
fn a_key_that_others_may_read_is_refused_and_so_are_keys_that_do_not_fit() {
    let mut cluster = Secured::new(1);
    let starts = |cluster: &Secured| {
        let said = std::process::Command::new(common::process::BIN)
            .arg("--config")
            .arg(cluster.write(0))
            .output()
            .unwrap();
        assert!(!said.status.success());
        String::from_utf8(said.stderr).unwrap()
    };
    let file = cluster.keys[0].0.clone();
    for mode in [0o644, 0o640, 0o604, 0o620] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let said = starts(&cluster);
        assert!(said.contains("[secure] private_key_file = ") && said.contains("chmod 600"), "{said}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let own = cluster.keys[0].1.clone();
    cluster.keys[0].1 = vec![PrivateKey::from_bytes([5; 32]).public()];
    assert!(starts(&cluster).contains("other keys for this node (n0)"));
    cluster.keys[0].1 = own;
    let third = std::mem::take(&mut cluster.keys[2].1);
    assert!(starts(&cluster).contains("has no key of node n2"));
    cluster.keys[2].1 = cluster.keys[1].1.clone();
    assert!(starts(&cluster).contains("every node needs its own"));
    cluster.keys[2].1 =
        [third[0], PrivateKey::from_bytes([5; 32]).public(), PrivateKey::from_bytes([6; 32]).public()].into();
    assert!(starts(&cluster).contains("more than 2 keys"));
    fs::write(&file, "nonsense").unwrap();
    let said = starts(&cluster);
    assert!(said.contains("64 hexadecimal digits") && !said.contains("nonsense"), "{said}");
}

#[test]
fn t28_all_keys_are_changed_while_the_cluster_serves() {
    let mut cluster = Secured::new(1);
    let mut nodes = cluster.start_all();
    let begun = primary(&nodes);
    confirmed(&nodes[begun], "begun");
    // One node after the other: its new key is made known, then used, then the old one is forgotten.
    for node in 0..3 {
        let file = cluster.cluster.dirs[node].0.join("key2");
        let new = keygen(&file);
        cluster.keys[node].1.push(new);
        let others: Vec<usize> = (0..3).filter(|other| *other != node).collect();
        for other in others {
            restart(&cluster, &mut nodes, other);
        }
        cluster.keys[node].0 = file;
        restart(&cluster, &mut nodes, node);
        cluster.keys[node].1.remove(0);
    }
    for node in 0..3 {
        restart(&cluster, &mut nodes, node);
    }
    let last = primary(&nodes);
    assert_eq!(nodes[last].ask("GET begun").as_deref(), Some("v"));
}

/// Restarts one node in order; then all three hold the next write.
#[track_caller]
fn restart(cluster: &Secured, nodes: &mut [Process], node: usize) {
    nodes[node].signal(rustix::process::Signal::TERM);
    nodes[node].wait();
    nodes[node] = cluster.start(node);
    until("all three hold a write", || {
        let primary = nodes.iter().find(|node| node.ask("SET k v").as_deref() == Some("OK"))?;
        (primary.ask("WAIT 2 500")? == "2").then_some(())
    });
}

#[test]
fn a_server_without_keys_is_no_member_of_a_cluster_that_has_some() {
    let cluster = Secured::new(1);
    let nodes = [cluster.start(0), cluster.start(1)];
    let _third = {
        drop(cluster.cluster.settings(2, ""));
        Process::start_file(&cluster.cluster.dirs[2].0.join("kevy.toml"), cluster.cluster.ports[2])
    };
    until("it is refused", || {
        (0..2).any(|node| cluster.log(node).contains("event=refused claimed=none")).then_some(())
    });
    // On a busy machine the first one may lose its office.
    until("one follows, and nobody else", || {
        let said = nodes[primary(&nodes)].ask("WAIT 2 300")?;
        assert_ne!(said, "2", "the one without keys confirms");
        (said == "1").then_some(())
    });
}

#[test]
fn without_keys_only_this_machine_reaches_the_ports_unless_that_is_meant() {
    let (cluster, dir) = (Cluster::new(3, 1), Dir::new());
    drop(cluster.settings(0, ""));
    let text = fs::read_to_string(cluster.dirs[0].0.join("kevy.toml")).unwrap();
    let open = text.replace("[server]\n", "[server]\nbind = \"0.0.0.0\"\n");
    let file = dir.0.join("kevy.toml");
    fs::write(&file, &open).unwrap();
    let said = std::process::Command::new(common::process::BIN).arg("--config").arg(&file).output().unwrap();
    let error = String::from_utf8(said.stderr).unwrap();
    assert!(
        !said.status.success() && error.contains("[server] bind = \"0.0.0.0\": other machines"),
        "{error}"
    );
    fs::write(&file, format!("{open}insecure = true\n")).unwrap();
    let _server = Process::start_file(&file, cluster.ports[0]);
    let log = || fs::read_to_string(dir.0.join("log")).unwrap_or_default();
    until("it warns", || log().contains("warning: [elect] insecure = true: whoever reaches").then_some(()));
}

#[test]
fn t26_kevys_own_noise_greets_ours_in_both_directions() {
    use kevy_elect_noise::{Keys, NoiseSessions, PROLOGUE};
    use kevy_elect_plugin::ids::NodeId;
    use kevy_elect_plugin::transport::session::{Proven, Sessions};
    use kevy_noise::{Frames, Initiator, Keypair, Responder, frame};
    let id = |name| NodeId::new(name).unwrap();
    let theirs = Keypair::from_secret([2; 32]);
    let listed = [(id("b"), PublicKey::from_bytes(theirs.public()))];
    let own = PrivateKey::from_bytes([1; 32]);
    let ours = *own.public().as_bytes();
    let sessions = NoiseSessions::new(&Keys::new(id("a"), own, listed).unwrap());
    let message = |bytes: &[u8]| {
        let mut frames = Frames::default();
        frames.push(bytes);
        frames.next().unwrap()
    };

    let mut accepts = sessions.accept();
    let (first, greets) =
        Initiator::start(&theirs, &ours, Keypair::from_secret([3; 32]), PROLOGUE, b"").unwrap();
    let mut second = Vec::new();
    accepts.open(&mut frame(&first).unwrap(), &mut second).unwrap();
    assert_eq!(accepts.proven(), Proven::Node(id("b")));
    let (_, mut link) = greets.finish(&message(&second)).unwrap();
    let mut sealed = frame(&link.seal(b"HELLO").unwrap()).unwrap();
    let opened = accepts.open(&mut sealed, &mut Vec::new()).unwrap();
    assert_eq!(&sealed[opened.frames], b"HELLO");

    let mut dials = sessions.dial(id("b"));
    let mut first = b"HELLO".to_vec();
    dials.seal(&mut first).unwrap();
    let (_, answers) =
        Responder::accept(&theirs, Keypair::from_secret([4; 32]), PROLOGUE, &message(&first)).unwrap();
    assert_eq!(answers.remote_static(), ours);
    let (second, mut link) = answers.finish(b"").unwrap();
    let mut third = Vec::new();
    dials.open(&mut frame(&second).unwrap(), &mut third).unwrap();
    assert_eq!(link.open(&message(&third)).unwrap(), b"HELLO");
}
