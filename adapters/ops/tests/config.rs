//! A start with wrong or contradictory settings is refused, and the refusal names file, line, key, value
//! and reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use kevy_config::CliOverrides;
use kevy_elect_ops::config::Settings;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

const GOOD: &str = r#"[server]
port = 6004
threads = 2
[cluster]
node_id = "a"
peers = ["a@10.0.0.1:6204:6004", "b@10.0.0.2:6204:6004", "c@10.0.0.3:6204:6004"]
[elect]
enabled = true
"#;

fn load_with(text: &str, flags: CliOverrides) -> Result<Settings, String> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name =
        format!("kevy-server-config-{}-{}.toml", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let file: PathBuf = std::env::temp_dir().join(name);
    std::fs::write(&file, text).unwrap();
    let loaded = Settings::load(Some(&file), [], flags);
    std::fs::remove_file(&file).unwrap();
    loaded.map_err(|error| error.to_string().replace(&file.display().to_string(), "kevy.toml"))
}

fn load(text: &str) -> Result<Settings, String> {
    load_with(text, CliOverrides::default())
}

#[test]
fn a_file_without_the_section_is_plain_kevy() {
    let settings = load("[server]\nport = 7000\n").unwrap();
    assert!(settings.elect.is_none());
    assert_eq!(settings.kevy.server.port, 7000);
    assert!(settings.kevy.source_path.is_some(), "CONFIG REWRITE works as ever");
}

#[test]
fn disabled_is_the_default_and_still_checks_the_keys() {
    assert!(load("[elect]\nlease_ms = 500\n").unwrap().elect.is_none());
    assert!(load("[elect]\nlase_ms = 500\n").is_err());
}

#[test]
fn nodes_on_different_hosts_may_share_their_ports() {
    let elect = load(GOOD).unwrap().elect.unwrap();
    assert_eq!(elect.peers.len(), 3);
    assert_eq!(elect.listen.port(), 6204);
    assert_eq!(elect.data_nodes[2].replication_port, 16004);
    assert_eq!((elect.config.quorum(), elect.http), (2, None));
}

#[test]
fn config_rewrite_has_no_file_to_drop_the_section_from() {
    assert_eq!(load(GOOD).unwrap().kevy.source_path, None);
}

#[test]
fn every_key_reaches_the_plugin() {
    let all = "heartbeat_interval_ms = 50\nelection_timeout_ms = 400\nlease_ms = 300\nmax_clock_drift_percent = 0.5\n\
               crash_detection = \"off\"\nloss_policy = \"dominate\"\ncluster_name = \"x\"\nhttp = \"127.0.0.1:9121\"\n\
               auto_elect_on_peer_loss = false\nsettling_delay_ms = 40\nfailback = true\nfailback_delay_ms = 900\nrank = \"position\"\n";
    let elect = load(&format!("{GOOD}{all}")).unwrap().elect.unwrap();
    let config = &elect.config;
    assert_eq!(config.heartbeat_interval().as_millis(), 50);
    assert_eq!(config.election_timeout().as_millis(), 400);
    assert_eq!(config.lease().as_millis(), 300);
    assert_eq!((config.drift_percent(), config.cluster()), (0.5, "x"));
    assert_eq!(format!("{:?} {:?}", config.crash_detection(), config.loss_policy()), "Off Dominate");
    assert_eq!((config.auto_elect_on_peer_loss(), config.settling_delay().as_millis()), (false, 40));
    assert_eq!(config.failback().map(|after| after.as_millis()), Some(900));
    assert_eq!(elect.http.unwrap().port(), 9121);
}

#[test]
fn the_watchdog_gets_its_time_out_of_the_lease() {
    let watched = |more: &str| {
        let elect = load(&format!("{GOOD}{more}")).unwrap().elect.unwrap();
        (elect.config.lease().as_millis(), elect.watchdog.map(|slack| slack.as_millis()))
    };
    // The longest lease for a timeout of one second and one percent of drift is 970 ms.
    assert_eq!(watched(""), (873, Some(97)));
    assert_eq!(watched("watchdog = false\n"), (970, None));
    assert_eq!(watched("lease_ms = 500\n"), (500, Some(470)));
    assert_eq!(watched("election_timeout_ms = 400\nheartbeat_interval_ms = 40\n"), (343, Some(38)));
    let single = GOOD.replace(", \"b@10.0.0.2:6204:6004\", \"c@10.0.0.3:6204:6004\"", "");
    assert!(
        load(&single).unwrap().elect.unwrap().watchdog.is_some(),
        "it may get another voter while it runs"
    );
    let observer = GOOD.replace("[elect]", "[elect]\nobservers = \"a\"");
    assert!(
        load(&observer).unwrap().elect.unwrap().watchdog.is_some(),
        "it may be given a vote while it runs"
    );
}

#[test]
fn role_primary_wins_ties_in_a_new_cluster() {
    let text = GOOD.replace("[elect]", "[replication]\nrole = \"primary\"\n[elect]");
    let elect = load(&text).unwrap().elect.unwrap();
    let priority =
        |name: &str| elect.config.members().iter().find(|m| m.id.as_str() == name).unwrap().priority;
    assert!(priority("a") > priority("b"));
}

#[test]
fn members_have_kinds_and_priorities() {
    let text = GOOD.replace("c@10.0.0.3:6204:6004", "c@10.0.0.3:6204");
    let elect =
        load(&format!("{text}witnesses = \"c\"\npriorities = \"a=0, b=255\"\n")).unwrap().elect.unwrap();
    let members: Vec<_> =
        elect.config.members().iter().map(|m| format!("{} {:?} {}", m.id, m.kind, m.priority)).collect();
    assert_eq!(members, ["a Voter 0", "b Voter 255", "c Witness 0"]);
    assert_eq!((elect.peers.len(), elect.data_nodes.len(), elect.config.quorum()), (3, 2, 2));
    assert_eq!((elect.watchdog, elect.is_witness()), (None, false), "a is never primary");
    let usual = load(GOOD).unwrap().elect.unwrap();
    assert_eq!(elect.config.lease(), usual.config.lease(), "members have to agree on it");
    let observed = load(&format!("{GOOD}observers = \"c\"\n")).unwrap().elect.unwrap();
    assert_eq!((observed.data_nodes.len(), observed.config.voters()), (3, 2));
}

#[test]
fn a_witness_needs_nothing_of_a_server() {
    let text = "[cluster]\nnode_id = \"c\"\npeers = [\"a@127.0.0.1:6204:6004\", \"b@127.0.0.1:6304:6104\", \
                \"c@127.0.0.1:6404\"]\n[elect]\nenabled = true\nwitnesses = \"c\"\n";
    let settings = load(text).unwrap();
    assert_eq!(settings.warnings, Vec::<String>::new());
    let elect = settings.elect.unwrap();
    assert_eq!((elect.is_witness(), elect.listen.port(), elect.watchdog), (true, 6404, None));
}

#[test]
fn a_flag_that_contradicts_the_file_is_shown_with_its_own_value() {
    let mut flags = CliOverrides::default();
    flags.port = Some(7000);
    let said = load_with(GOOD, flags).unwrap_err();
    assert!(said.contains("[server] port = 7000: [cluster] peers lists client port 6004"), "{said}");
}

/// What is added to the end of a good file (or replaced in it), and the refusal in full.
const REFUSED: &[(&str, &str, &str)] = &[
    // What members are for.
    (
        "",
        "witnesses = \"d\"\n",
        "kevy.toml:9: [elect] witnesses = \"d\": is not in [cluster] peers; add it there, or correct its id",
    ),
    (
        "",
        "witnesses = \"c\"\n",
        "kevy.toml:6: [cluster] peers = c@10.0.0.3:6204:6004: is a witness ([elect] witnesses), which no client reaches; write \
         it as \"id@host:election port\"",
    ),
    (
        "",
        "observers = \"c\"\nwitnesses = \"c\"\n",
        "kevy.toml:9: [elect] observers = \"c\": stands twice; a member is a witness, or an observer, or neither",
    ),
    (
        "",
        "priorities = \"c=256\"\n",
        "kevy.toml:9: [elect] priorities = \"c=256\": use \"id=priority\" with a priority from 0 (never primary) to 255, as in \
         \"n1=200,n2=0\"",
    ),
    (
        "",
        "observers = \"c\"\npriorities = \"c=1\"\n",
        "kevy.toml:10: [elect] priorities = \"c=1\": is a witness or an observer, which is never primary; remove its priority",
    ),
    // The section itself.
    ("enabled = true\n", "enabled = \"yes\"\n", "kevy.toml:8: [elect] enabled = \"yes\": use true or false"),
    (
        "",
        "lease_mss = 5\n",
        "kevy.toml:9: [elect] lease_mss = 5: there is no such key; did you mean lease_ms?",
    ),
    (
        "",
        "quorum = 2\n",
        "kevy.toml:9: [elect] quorum = 2: there is no such key; the keys are enabled, heartbeat_interval_ms, \
         election_timeout_ms, lease_ms, max_clock_drift_percent, crash_detection, auto_elect_on_peer_loss, \
         settling_delay_ms, failback, failback_delay_ms, rank, loss_policy, watchdog, companion, realtime, shard_timeout_ms, \
         cluster_name, http, http_public, http_peers, sentinel, sentinel_master, sentinel_password, sentinel_peers, \
         sentinel_announce, continue_buffer_mb, move_between_shards, insecure, witnesses, observers, priorities",
    ),
    ("", "lease_ms = 0\n", "kevy.toml:9: [elect] lease_ms = 0: use whole milliseconds from 1 to 86400000"),
    (
        "",
        "lease_ms = 1.5\n",
        "kevy.toml:9: [elect] lease_ms = 1.5: use whole milliseconds from 1 to 86400000",
    ),
    (
        "",
        "loss_policy = \"max\"\n",
        "kevy.toml:9: [elect] loss_policy = \"max\": use \"sum\" or \"dominate\"",
    ),
    (
        "",
        "rank = \"seniority\"\n",
        "kevy.toml:9: [elect] rank = \"seniority\": that is for services without data, which use the library; a server with data \
         elects who has the most: use \"position\"",
    ),
    (
        "",
        "settling_delay_ms = 2000\n",
        "kevy.toml:9: [elect] settling_delay_ms = 2000: settling delay 2000 ms: at most the election timeout, 1000 ms; \
         to wait for that, say auto_elect_on_peer_loss = false",
    ),
    (
        "",
        "failback = true\nfailback_delay_ms = 200\n",
        "kevy.toml:10: [elect] failback_delay_ms = 200: failback after 200 ms: at least the election timeout, 1000 ms",
    ),
    (
        "",
        "crash_detection = true\n",
        "kevy.toml:9: [elect] crash_detection = true: use \"refused\" or \"off\"",
    ),
    (
        "",
        "http = \"9121\"\n",
        "kevy.toml:9: [elect] http = \"9121\": use an address and a port, as in \"127.0.0.1:9121\"",
    ),
    (
        "",
        "http = \"127.0.0.1:6004\"\n",
        "kevy.toml:9: [elect] http = \"127.0.0.1:6004\": is also [server] port; use another port",
    ),
    (
        "",
        "max_clock_drift_percent = 0\nlease_ms = 1000\n",
        "kevy.toml:10: [elect] lease_ms = 1000: lease 1000 ms is too long for an election timeout of 1000 ms: with the \
         configured clock drift a new primary could be elected while the old one still writes; use at most \
         990 ms, or leave it out",
    ),
    (
        "",
        "lease_ms = 950\n",
        "kevy.toml:9: [elect] lease_ms = 950: leaves the watchdog no time: it ends a primary that hangs 20 ms after its \
         lease, and a healthy one needs up to 25 ms to say that it does not hang. Use at most 945, or a longer \
         election_timeout_ms, or watchdog = false",
    ),
    (
        "",
        "election_timeout_ms = 150\n",
        "kevy.toml:9: [elect] election_timeout_ms = 150: election timeout 150 ms with a heartbeat interval of 100 ms: it \
         must be at least three intervals (one lost heartbeat must not start an election) and at most 3600000 ms",
    ),
    (
        "",
        "max_clock_drift_percent = 50\n",
        "kevy.toml:9: [elect] max_clock_drift_percent = 50: clock drift of 50 percent: use 0 to 20",
    ),
    // Against [cluster].
    (
        "node_id = \"a\"\n",
        "",
        "kevy.toml: [cluster] node_id: missing, and [elect] enabled needs it: which entry of [cluster] peers is this node?",
    ),
    (
        "node_id = \"a\"",
        "node_id = \"d\"",
        "kevy.toml:5: [cluster] node_id = \"d\": is not in [cluster] peers; add this node there, or correct its id",
    ),
    (
        ", \"c@10.0.0.3:6204:6004\"]",
        ", \"a@10.0.0.3:6204:6004\"]",
        "kevy.toml:6: [cluster] peers = a@10.0.0.3:6204:6004: node id a stands twice; every node needs its own",
    ),
    (
        "c@10.0.0.3:6204:6004",
        "c@10.0.0.2:6205:6004",
        "kevy.toml:6: [cluster] peers = c@10.0.0.2:6205:6004: has the host and client port of b; every node needs its own",
    ),
    (
        "c@10.0.0.3:6204:6004",
        "c@10.0.0.3:6204",
        "kevy.toml:6: [cluster] peers = c@10.0.0.3:6204: has no client port, so its replication port is not known; \
         write it as \"id@host:election port:client port\"",
    ),
    (
        "port = 6004\n",
        "port = 6005\n",
        "kevy.toml:2: [server] port = 6005: [cluster] peers lists client port 6004 for this node (a); make them equal",
    ),
    (
        "node_id = \"a\"\n",
        "node_id = \"a\"\nelect_port_base = 7000\n",
        "kevy.toml:6: [cluster] elect_port_base = 7000: [cluster] peers lists election port 6204 for this node (a); make \
         them equal",
    ),
    // Against the rest of kevy.
    (
        "[elect]",
        "[replication]\nupstream = \"10.0.0.2:16004\"\n[elect]",
        "kevy.toml:8: [replication] upstream = \"10.0.0.2:16004\": the election decides whom this node follows; remove it",
    ),
    (
        "[elect]",
        "[replication]\nrole = \"standalone\"\n[elect]",
        "kevy.toml:8: [replication] role = \"standalone\": a standalone server has no replicas; remove it, or use \
         \"primary\" on the node that should win a tie in a new cluster",
    ),
    (
        "node_id = \"a\"\n",
        "node_id = \"a\"\nenabled = true\n",
        "kevy.toml:6: [cluster] enabled = true: each replica would tell clients that it is the master of all slots; remove \
         it, and have clients ask for the primary through [elect] sentinel",
    ),
    (
        "[elect]",
        "[expiry]\nhz = 0\n[elect]",
        "kevy.toml:8: [expiry] hz = 0: without ticks no promotion would ever end; use 1 or more",
    ),
    (
        "[elect]",
        "[metrics]\nlisten_port = 9121\n[elect]",
        "kevy.toml:8: [metrics] listen_port = 9121: is not supported together with elections; use [elect] http",
    ),
    // kevy's own refusals, in the same form.
    ("port = 6004\n", "prot = 6004\n", "kevy.toml:2: [server] prot = 6004: unknown [server] key: prot"),
    ("[elect]", "[elects]", "kevy.toml:8: [elects] enabled = true: unknown section [elects]"),
];

#[test]
fn every_refusal_names_line_key_value_and_reason() {
    for (found, instead, said) in REFUSED {
        let text = match *found {
            "" => format!("{GOOD}{instead}"),
            found => {
                assert!(GOOD.contains(found), "{found:?} must be in the good file");
                GOOD.replacen(found, instead, 1)
            }
        };
        assert_eq!(load(&text).unwrap_err(), *said, "\n{text}");
    }
}

/// What is a line of TOML, and what only looks like one.
#[test]
fn lines_are_right_behind_long_strings_and_inside_inline_tables() {
    let zero = "[elect] lease_ms = 0: use whole milliseconds from 1 to 86400000";
    let (kevys, _) = GOOD.split_once("[elect]").unwrap();
    for (text, said) in [
        // A section, a key and an open bracket in the middle of a string.
        (
            format!("{GOOD}cluster_name = \"\"\"\n[server]\nport = 1 [\n\"\"\"\nlease_ms = 0\n"),
            format!("kevy.toml:13: {zero}"),
        ),
        (format!("{GOOD}cluster_name = '''\n[log]\n'''\nlease_ms = 0\n"), format!("kevy.toml:12: {zero}")),
        (format!("elect = {{ enabled = true, lease_ms = 0 }}\n{kevys}"), format!("kevy.toml:1: {zero}")),
        (format!("elect.enabled = true\nelect.lease_ms = 0\n{kevys}"), format!("kevy.toml:2: {zero}")),
        (format!("{GOOD}\"lease_ms\" = 0 # zero\n"), format!("kevy.toml:9: {zero}")),
        // What kevy reads stands where it stood, and so does what is wrong with it.
        (
            format!("elect = {{ enabled = true }}\n{kevys}elect_port_base = 7000\n"),
            "kevy.toml:8: [cluster] elect_port_base = 7000: [cluster] peers lists election port 6204 for this node (a); \
             make them equal"
                .to_owned(),
        ),
        (
            format!("{GOOD}cluster_name = \"\"\"\n[log]\n\"\"\"\n[log]\nlevle = 1\n"),
            "kevy.toml:13: [log] levle = 1: unknown [log] key: levle".to_owned(),
        ),
    ] {
        assert_eq!(load(&text).unwrap_err(), said, "\n{text}");
    }
    let inline = format!("elect = {{ enabled = true, lease_ms = 500 }}\n{kevys}");
    assert_eq!(load(&inline).unwrap().elect.unwrap().config.lease().as_millis(), 500);
}

#[test]
fn a_file_that_is_no_toml_is_refused_where_it_goes_wrong() {
    for (text, line) in [(format!("{GOOD}lease_ms = = 5\n"), 9), ("[server\nport = 7000\n".to_owned(), 1)] {
        let error = load(&text).unwrap_err();
        assert!(error.starts_with(&format!("kevy.toml:{line}: ")), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let said = Settings::load(Some("/no/such/kevy.toml".as_ref()), [], CliOverrides::default()).unwrap_err();
    assert!(said.to_string().starts_with("/no/such/kevy.toml: cannot be read: "), "{said}");
}

#[test]
fn pages_for_other_machines_must_be_meant() {
    let open = format!("{GOOD}http = \"0.0.0.0:9121\"\n");
    let error = load(&open).unwrap_err();
    assert!(error.starts_with("kevy.toml:9: [elect] http = \"0.0.0.0:9121\": other machines"), "{error}");
    assert!(error.contains("http_public = true"), "{error}");
    assert!(load(&open.replace("0.0.0.0", "[::]")).is_err());
    let elect = load(&format!("{open}http_public = true\n")).unwrap().elect.unwrap();
    assert_eq!(elect.http.unwrap().to_string(), "0.0.0.0:9121");
    for local in ["127.0.0.1", "127.1.2.3", "[::1]"] {
        assert!(load(&open.replace("0.0.0.0", local)).is_ok(), "{local}");
    }
}

#[test]
fn the_pages_of_the_others_are_at_our_port_or_where_the_file_says() {
    let own = "http = \"127.0.0.1:9121\"\n";
    let at =
        |more: &str| load(&format!("{GOOD}{own}{more}")).map(|settings| settings.elect.unwrap().http_peers);
    let addresses = |more: &str| at(more).unwrap().into_iter().map(|(_, at)| at).collect::<Vec<_>>();
    let ids: Vec<String> = at("").unwrap().iter().map(|(id, _)| id.to_string()).collect();
    assert!(!ids.is_empty() && addresses("").iter().all(|at| at.ends_with(":9121")), "{ids:?}");
    let listed = format!("http_peers = \"{}@10.9.9.9:80, \"\n", ids[0]);
    assert_eq!(addresses(&listed)[0], "10.9.9.9:80");
    for (wrong, why) in [
        ("elsewhere@10.0.0.9:80", "is not in [cluster] peers"),
        ("10.0.0.9:80", "id@host:port"),
        (&format!("{}@10.0.0.9", ids[0]), "id@host:port"),
        (&format!("{}@10.0.0.9:0", ids[0]), "id@host:port"),
        (&format!("{}@a b:80", ids[0]), "id@host:port"),
        (&format!("{0}@a:80,{0}@b:80", ids[0]), "stands twice"),
    ] {
        let error = at(&format!("http_peers = \"{wrong}\"\n")).unwrap_err();
        assert!(error.contains("[elect] http_peers") && error.contains(why), "{wrong}: {error}");
    }
    assert_eq!(load(GOOD).unwrap().elect.unwrap().http_peers, [], "no page, nobody to ask");
}

#[test]
fn other_machines_reach_links_without_keys_only_where_that_is_meant() {
    use kevy_elect_ops::config::Links;
    assert!(matches!(load(GOOD).unwrap().elect.unwrap().links, Links::Local));
    let open = GOOD.replace("port = 6004\n", "port = 6004\nbind = \"10.0.0.1\"\n");
    let error = load(&open).unwrap_err();
    assert!(
        error.starts_with("kevy.toml:3: [server] bind = \"10.0.0.1\": other machines reach elections"),
        "{error}"
    );
    let settings = load(&format!("{open}insecure = true\n")).unwrap();
    assert!(matches!(settings.elect.unwrap().links, Links::Open));
    assert!(settings.warnings.iter().any(|warning| warning.contains("insecure = true")));
    let keys = format!("peer_keys = \"b={}\"\n", "ab".repeat(32));
    for (added, said) in [
        ("secure = true\n", "[secure] private_key_file: missing"),
        (&*keys, "there are keys and nobody asks for them"),
        ("[replication]\nsecure = true\n", "say [cluster] secure = true"),
        ("[secure]\nprivate_key_file = \"/nowhere\"\n[cluster]\nsecure = true\n", "/nowhere"),
        ("secure = true\n[replication]\nupstream_key = \"ab\"\n", "64 hex"),
    ] {
        let text = match added.contains("[secure]") {
            true => GOOD.replace("[cluster]\n", added),
            false => GOOD.replace("[elect]\n", &format!("{added}[elect]\n")),
        };
        let error = load(&text).unwrap_err();
        assert!(error.contains(said), "{added}: {error}");
    }
    let both = GOOD.replace("[elect]\n", "secure = true\n[elect]\ninsecure = true\n");
    assert!(load(&both).unwrap_err().contains("contradicts [cluster] secure"));
}
