//! Web pages cannot write.

use crate::SHARDS;
use crate::common::{Cluster, until};
use crate::contents::text;
use crate::wire::Wire;
use kevy_resp::Reply;

/// A request as a browser sends it, with a body that a page has chosen.
fn request(method: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} /x HTTP/1.1\r\nAccept: */*\r\nHost: 127.0.0.1:6379\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn nothing_of_an_http_request_is_executed_and_its_connection_ends() {
    let commands = "SET web 1\r\n*3\r\n$3\r\nSET\r\n$4\r\nweb2\r\n$1\r\n1\r\nMULTI\r\nSET web3 1\r\nEXEC\r\nDISCARD\r\nFLUSHALL\r\n";
    let spaces = " ".repeat(100_000);
    let bodies = [
        commands.to_owned(),
        format!("{spaces}\r\n{}{commands}", "\r\n".repeat(10_000)),
        format!("{}{commands}", "NOTHING\r\n".repeat(20_000)),
        format!("{commands}{}", "SET web 1\r\n".repeat(20_000)),
    ];
    for shards in SHARDS {
        let cluster = Cluster::new(1, shards);
        let node = cluster.start(0);
        node.promote(1);
        let mut other = Wire::open(node.port);
        other.ask("SET there 1");
        // A browser sends no body with GET.
        for (method, bodies) in
            [("POST", &bodies[..]), ("post", &bodies[..]), ("PUT", &bodies[..]), ("GET", &bodies[..1])]
        {
            for body in bodies {
                let mut page = Wire::open(node.port);
                page.send(&request(method, body));
                let said: Vec<Reply> = std::iter::from_fn(|| page.reply()).collect();
                let errors = said.iter().filter(|reply| matches!(reply, Reply::Error(_))).count();
                assert!(
                    errors > 0 && said.iter().all(|reply| matches!(reply, Reply::Error(_) | Reply::Nil)),
                    "{said:?}"
                );
                // Who has nothing to do with it is told an error at most once, in the very turn of the request, or has
                // to connect anew where that turn has told too many already.
                let refused = "-ERR this is not a web server";
                let keys = until("it is not taken for the page's", || {
                    let said = other.try_ask("KEYS *").map(|said| text(&said));
                    if said.is_none() {
                        other = Wire::open(node.port);
                    }
                    said.filter(|said| !said.starts_with(refused))
                });
                assert_eq!(keys, "[there]", "{method} on {shards} shards");
                assert_eq!(text(&other.ask("SET there 2")), "OK", "it goes on");
            }
        }
    }
}

#[test]
fn a_transaction_with_such_a_line_is_not_executed() {
    let cluster = Cluster::new(1, 1);
    let node = cluster.start(0);
    node.promote(1);
    let mut wire = Wire::open(node.port);
    wire.ask("MULTI");
    assert!(matches!(wire.ask("POST / HTTP/1.1"), Reply::Error(_)));
    wire.ask("SET k v");
    assert!(text(&wire.ask("EXEC")).starts_with("-EXECABORT"));
}
