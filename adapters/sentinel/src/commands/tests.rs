use super::*;
use crate::members::{Members, three};
use crate::view::{MemberView, View};
use std::cell::Cell;
use std::time::Duration;

/// A client that talks to a node.
struct Talk {
    members: Members,
    session: Session,
    primary: Option<usize>,
    last: Option<usize>,
    password: Option<&'static str>,
    begun: Instant,
    waited: Duration,
    stepped_down: Cell<bool>,
    nobody_ready: bool,
    forwarding: bool,
    subscribers: usize,
}

impl Talk {
    fn new(primary: Option<usize>) -> Self {
        Self {
            members: three("n1"),
            session: Session::new(7),
            primary,
            last: primary,
            password: None,
            begun: Instant::now(),
            waited: Duration::ZERO,
            stepped_down: Cell::new(false),
            nobody_ready: false,
            forwarding: false,
            subscribers: 0,
        }
    }

    fn send(&mut self, input: &str) -> (String, Next) {
        let view = View {
            taken: self.begun,
            epoch: 5,
            primary: None,
            members: vec![
                MemberView { up: true, silence: Some(Duration::ZERO), offset: 9 },
                MemberView { up: true, silence: Some(Duration::from_millis(3)), offset: 8 },
                MemberView { up: false, silence: Some(Duration::from_millis(1500)), offset: 7 },
            ],
            quorum: 2,
            reachable: 2,
        };
        let hand_over = || {
            self.stepped_down.set(!self.nobody_ready);
            if self.nobody_ready { Err("n2: it cannot be reached".to_owned()) } else { Ok(()) }
        };
        let mut context = Context {
            members: &self.members,
            view: &view,
            primary: self.primary,
            last: self.last,
            now: self.begun + self.waited,
            promise: Duration::from_secs(1),
            password: self.password,
            clients: 1,
            subscribers: self.subscribers,
            uptime: Duration::from_secs(60),
            hand_over: &hand_over,
            forwarding: self.forwarding,
        };
        let mut out = Vec::new();
        let next = self.session.go_on(input.as_bytes(), &mut context, &mut out, 1 << 16);
        (String::from_utf8(out).unwrap(), next)
    }

    fn ask(&mut self, command: &str) -> String {
        let (answer, next) = self.send(&format!("{command}\r\n"));
        assert_eq!(next, Next::Read, "{command}: {answer}");
        answer
    }
}

const ADDRESS: &str = "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n7002\r\n";

#[test]
fn the_primary_is_named_to_clients_of_both_protocols() {
    let mut talk = Talk::new(Some(1));
    assert_eq!(talk.ask("SENTINEL get-master-addr-by-name mymaster"), ADDRESS);
    assert_eq!(talk.ask("sentinel Get-Master-Addr-By-Name other"), "*-1\r\n");
    assert!(talk.ask("HELLO 3").starts_with("%6\r\n$6\r\nserver\r\n$5\r\nredis\r\n"));
    assert_eq!(talk.ask("SENTINEL get-master-addr-by-name mymaster"), ADDRESS);
    assert_eq!(talk.ask("SENTINEL get-master-addr-by-name other"), "_\r\n");
    assert_eq!(talk.ask("SENTINEL master other"), "-ERR No such master with that name\r\n");
}

#[test]
fn fields_come_in_the_order_that_clients_read_by() {
    let mut talk = Talk::new(Some(1));
    let primary = talk.ask("SENTINEL MASTERS");
    let head = "*1\r\n*40\r\n$4\r\nname\r\n$8\r\nmymaster\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$4\r\n7002\r\n$5\r\nrunid\r\n";
    assert!(primary.starts_with(head), "{primary}");
    assert!(primary.contains("\r\nflags\r\n$6\r\nmaster\r\n"), "{primary}");
    assert!(primary.contains("\r\nnum-other-sentinels\r\n$1\r\n2\r\n"), "{primary}");
    let replicas = talk.ask("SENTINEL REPLICAS mymaster");
    assert!(replicas.starts_with("*2\r\n*42\r\n$4\r\nname\r\n$14\r\n127.0.0.1:7001\r\n"), "{replicas}");
    assert!(replicas.contains("\r\n$25\r\ns_down,slave,disconnected\r\n"), "{replicas}");
    assert!(replicas.contains("\r\n$11\r\ns-down-time\r\n$4\r\n1500\r\n"), "{replicas}");
    assert_eq!(talk.ask("SENTINEL SLAVES mymaster"), replicas);
    let sentinels = talk.ask("SENTINEL SENTINELS mymaster");
    assert!(sentinels.starts_with("*2\r\n*28\r\n$4\r\nname\r\n$40\r\n"), "{sentinels}");
    assert!(
        sentinels.contains("\r\nport\r\n$5\r\n27002\r\n"),
        "the node itself is not among them: {sentinels}"
    );
    talk.ask("HELLO 3");
    assert!(talk.ask("SENTINEL MASTERS").starts_with("*1\r\n%20\r\n$4\r\nname\r\n"));
}

#[test]
fn a_question_waits_for_a_primary_and_then_says_that_there_is_none() {
    let mut talk = Talk::new(None);
    let (answer, next) = talk.send("PING\r\nSENTINEL get-master-addr-by-name mymaster\r\nPING\r\n");
    assert_eq!((answer.as_str(), next), ("+PONG\r\n", Next::Wait(talk.begun + HOLD_MAX)));
    talk.waited = HOLD_MAX / 2;
    assert_eq!(
        talk.send(""),
        (String::new(), Next::Wait(talk.begun + HOLD_MAX)),
        "it waits no longer for being asked"
    );
    talk.primary = Some(1);
    assert_eq!(talk.send(""), (format!("{ADDRESS}+PONG\r\n"), Next::Read));

    talk.primary = None;
    talk.last = Some(1);
    assert_eq!(talk.send("SENTINEL get-master-addr-by-name mymaster\r\n").0, "");
    talk.waited += HOLD_MAX;
    assert_eq!(talk.send(""), ("*-1\r\n".to_owned(), Next::Read));
    assert_eq!(talk.send("SENTINEL master mymaster\r\n").0, "");
    talk.waited += HOLD_MAX;
    let (answer, _) = talk.send("");
    assert!(answer.contains("\r\nflags\r\n$33\r\ns_down,o_down,master,disconnected\r\n"), "{answer}");
    // Those who do not ask where to write have no reason to wait.
    assert!(talk.ask("INFO sentinel").contains("status=odown"));
    assert!(talk.ask("SENTINEL REPLICAS mymaster").contains("master-link-status\r\n$3\r\nerr\r\n"));
}

#[test]
fn an_error_does_not_end_the_connection() {
    let mut talk = Talk::new(Some(0));
    for (wrong, answer) in [
        ("GET x", "-ERR unknown command 'GET', with args beginning with: 'x' \r\n"),
        ("SENTINEL nope", "-ERR unknown subcommand 'nope'. Try SENTINEL HELP.\r\n"),
        ("SENTINEL master", "-ERR wrong number of arguments for 'sentinel|master' command\r\n"),
        ("SENTINEL", "-ERR wrong number of arguments for 'sentinel' command\r\n"),
        ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n"),
        ("SENTINEL IS-MASTER-DOWN-BY-ADDR h x 0 *", "-ERR value is not an integer or out of range\r\n"),
        ("CLIENT nope", "-ERR unknown subcommand 'nope'. Try CLIENT HELP.\r\n"),
    ] {
        assert_eq!(talk.ask(wrong), answer);
    }
    assert!(talk.ask("SENTINEL SET mymaster quorum 1").starts_with("-ERR the members"));
    let broken = talk.send("*1\r\n$x\r\n");
    assert_eq!(broken, ("-ERR Protocol error: malformed frame: bad bulk length\r\n".to_owned(), Next::Close));
    let long = Talk::new(Some(0)).send(&format!("*1\r\n$100000\r\n{}", "x".repeat(COMMAND_BYTES_MAX)));
    assert_eq!(long, ("-ERR Protocol error: the command is too long\r\n".to_owned(), Next::Close));
}

#[test]
fn what_clients_send_when_they_connect_is_answered() {
    let mut talk = Talk::new(Some(0));
    assert_eq!(talk.ask("CLIENT SETNAME app"), "+OK\r\n");
    assert_eq!(talk.ask("CLIENT SETINFO LIB-NAME redis-py"), "+OK\r\n");
    assert_eq!(talk.ask("CLIENT GETNAME"), "$3\r\napp\r\n");
    assert_eq!(talk.ask("CLIENT ID"), ":7\r\n");
    assert_eq!(talk.ask("ROLE"), "*2\r\n$8\r\nsentinel\r\n*1\r\n$8\r\nmymaster\r\n");
    assert_eq!(talk.ask("COMMAND"), "*0\r\n");
    assert!(talk.ask("INFO").contains("redis_mode:sentinel\r\n"));
    assert!(
        talk.ask("INFO")
            .contains("master0:name=mymaster,status=ok,address=127.0.0.1:7001,slaves=2,sentinels=3\r\n")
    );
    assert!(talk.ask("SENTINEL CKQUORUM mymaster").starts_with("+OK 2 usable Sentinels."));
    assert_eq!(
        talk.ask("SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 7003 0 *"),
        "*3\r\n:1\r\n$1\r\n*\r\n:0\r\n"
    );
    assert_eq!(
        talk.ask("SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 7001 0 *"),
        "*3\r\n:0\r\n$1\r\n*\r\n:0\r\n"
    );
    assert_eq!(
        talk.ask("SENTINEL CONFIG GET resolve-hostnames"),
        "*2\r\n$17\r\nresolve-hostnames\r\n$3\r\nyes\r\n"
    );
    assert_eq!(talk.ask("SENTINEL CONFIG GET announce-p*"), "*2\r\n$13\r\nannounce-port\r\n$1\r\n0\r\n");
    assert_eq!(talk.ask("SENTINEL INFO-CACHE other"), "*0\r\n");
    let known = talk.ask("SENTINEL INFO-CACHE mymaster");
    assert!(known.starts_with("*2\r\n$8\r\nmymaster\r\n*3\r\n*2\r\n:0\r\n$"), "{known}");
    assert!(known.contains("role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:7001\r\n"), "{known}");
    assert_eq!(talk.send("QUIT\r\n"), ("+OK\r\n".to_owned(), Next::Close));
}

#[test]
fn only_the_primary_hands_its_office_over() {
    let mut talk = Talk::new(Some(1));
    let command = "SENTINEL FAILOVER mymaster";
    assert_eq!(talk.send(&format!("{command}\r\nPING\r\n")), (String::new(), Next::Forward(1)));
    talk.session.forwarded("+OK".to_owned());
    assert_eq!(talk.send(""), ("+OK\r\n+PONG\r\n".to_owned(), Next::Read));
    // Another client's wish is under way; and who was asked by another node asks nobody.
    talk.forwarding = true;
    assert_eq!(talk.ask(command), "-INPROG Failover already in progress\r\n");
    talk.forwarding = false;
    assert_eq!(talk.ask(&format!("{command} HERE")), "-INPROG Failover already in progress\r\n");
    assert!(!talk.stepped_down.get());
    for command in [command, "SENTINEL FAILOVER mymaster here"] {
        talk = Talk::new(Some(0));
        assert_eq!(talk.ask(command), "+OK\r\n");
        assert!(talk.stepped_down.get());
    }
    talk = Talk { nobody_ready: true, ..Talk::new(Some(0)) };
    let refused = "-NOGOODSLAVE No suitable replica to promote: n2: it cannot be reached\r\n";
    assert_eq!(talk.ask(command), refused);
    assert!(talk.ask("SENTINEL FAILOVER mymaster there").contains("wrong number of arguments"));
    talk = Talk { primary: None, waited: HOLD_MAX, ..Talk::new(None) };
    assert!(talk.ask(command).starts_with("-INPROG nobody takes writes"));
}

#[test]
fn a_password_is_asked_for_where_there_is_one() {
    let mut talk = Talk::new(Some(0));
    assert!(talk.ask("AUTH x").starts_with("-ERR AUTH <password> called without any password"));
    assert!(
        talk.ask("HELLO 3 AUTH default x").starts_with("%6"),
        "as in Redis any is right where there is none"
    );
    talk = Talk { password: Some("secret"), ..Talk::new(Some(0)) };
    assert_eq!(talk.ask("PING"), "-NOAUTH Authentication required.\r\n");
    assert!(talk.ask("HELLO 3").starts_with("-NOAUTH "));
    for wrong in ["AUTH secre", "AUTH secrets", "AUTH other secret", "HELLO 3 AUTH default x"] {
        assert!(talk.ask(wrong).starts_with("-WRONGPASS "), "{wrong}");
        assert_eq!(talk.ask("PING"), "-NOAUTH Authentication required.\r\n");
    }
    assert!(talk.ask("HELLO 3 AUTH default secret SETNAME app").starts_with("%6"));
    assert_eq!(talk.ask("CLIENT GETNAME"), "$3\r\napp\r\n");
    assert_eq!(talk.ask("RESET"), "+RESET\r\n");
    assert_eq!(talk.ask("AUTH secret"), "+OK\r\n");
    assert_eq!(talk.ask("PING"), "+PONG\r\n");
}

#[test]
fn messages_reach_those_who_listen_in_their_protocol() {
    let mut talk = Talk::new(Some(0));
    let said = Message { channel: "+switch-master", text: "m a 1 b 2".to_owned() };
    let told = |talk: &Talk| {
        let mut out = Vec::new();
        talk.session.tell(&said, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(told(&talk), "");
    assert_eq!(
        talk.ask("SUBSCRIBE +switch-master"),
        "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"
    );
    assert_eq!(talk.ask("PSUBSCRIBE *"), "*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:2\r\n");
    let message = "$14\r\n+switch-master\r\n$9\r\nm a 1 b 2\r\n";
    assert_eq!(
        told(&talk),
        format!("*3\r\n$7\r\nmessage\r\n{message}*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n{message}")
    );
    assert_eq!(talk.ask("PING"), "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    assert!(talk.ask("INFO").starts_with("-ERR Can't execute 'info'"));
    assert_eq!(talk.ask("UNSUBSCRIBE"), "*3\r\n$11\r\nunsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n");
    assert_eq!(talk.ask("UNSUBSCRIBE"), "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:1\r\n");
    assert_eq!(talk.ask("PUNSUBSCRIBE"), "*3\r\n$12\r\npunsubscribe\r\n$1\r\n*\r\n:0\r\n");
    talk.ask("HELLO 3");
    assert_eq!(
        talk.ask("SUBSCRIBE +switch-master"),
        ">3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"
    );
    assert!(told(&talk).starts_with(">3\r\n$7\r\nmessage\r\n"));
    assert!(talk.ask("INFO").starts_with('$'), "clients of RESP3 may go on asking");
}

#[test]
fn a_client_can_listen_for_so_many_channels_only() {
    let mut talk = Talk::new(Some(0));
    (0..64).for_each(|number| assert!(talk.ask(&format!("SUBSCRIBE {number}")).starts_with('*')));
    assert!(talk.ask("SUBSCRIBE more").starts_with("-ERR a client may listen for 64"));
    assert!(talk.ask("SUBSCRIBE 1").starts_with('*'));
}

#[test]
fn those_who_listen_leave_room_for_those_who_ask() {
    let mut talk = Talk::new(Some(0));
    assert!(talk.ask("SUBSCRIBE one").starts_with('*'));
    talk.subscribers = SUBSCRIBERS_MAX;
    assert!(talk.ask("SUBSCRIBE another").starts_with('*'), "it listens already");
    let mut other = Talk { subscribers: SUBSCRIBERS_MAX, ..Talk::new(Some(0)) };
    for refused in ["SUBSCRIBE one", "PSUBSCRIBE *"] {
        assert!(other.ask(refused).starts_with("-ERR 512 clients listen here already"));
    }
    assert_eq!(other.ask("PING"), "+PONG\r\n");
}

#[test]
fn a_client_that_does_not_read_is_not_answered_for_ever() {
    let mut talk = Talk::new(Some(0));
    let mut answered = 0;
    let (answer, next) = talk.send(&"SENTINEL MASTERS\r\n".repeat(500));
    assert_eq!(next, Next::More);
    assert!(answer.len() < (1 << 16) + 4096);
    answered += answer.matches("parallel-syncs").count();
    loop {
        let (answer, next) = talk.send("");
        answered += answer.matches("parallel-syncs").count();
        if next == Next::Read {
            break;
        }
    }
    assert_eq!(answered, 500);
}
