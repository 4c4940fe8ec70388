//! An application that uses redis-rs.

use std::time::Duration;
// docs/clients.md: begin
use redis::{Client, Connection, RedisResult, cmd};

/// To connect to a node, and for the answer of a Sentinel port: longer than it takes to say that there is no primary.
const QUICK: Duration = Duration::from_millis(400);

/// A connection to the primary. Ask again after every error: the connection stays with the node that it was made to.
///
/// `SentinelClient` would do all of this but the time limits, and wait for ever for a node that takes connections and does not answer.
fn connect(sentinels: &mut [String], name: &str) -> RedisResult<Connection> {
    let mut outcome = ask(&sentinels[0], name);
    for _ in 1..sentinels.len() {
        if outcome.is_ok() {
            break;
        }
        // The next one first, also the next time.
        sentinels.rotate_left(1);
        outcome = ask(&sentinels[0], name);
    }
    outcome
}

fn ask(sentinel: &str, name: &str) -> RedisResult<Connection> {
    let mut sentinel = Client::open(sentinel)?.get_connection_with_timeout(QUICK)?;
    sentinel.set_read_timeout(Some(QUICK))?;
    let primary: (String, u16) =
        cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).query(&mut sentinel)?;
    let connection = Client::open(primary)?.get_connection_with_timeout(QUICK)?;
    // A node that does not answer is left. It must be longer than what a blocking command waits.
    connection.set_read_timeout(Some(Duration::from_millis(500)))?;
    Ok(connection)
}
// docs/clients.md: end

/// The application: this program again, because it is in the same language. Takes what the other ones take, without their mode.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) {
    let mut next = || arguments.next().unwrap_or_default();
    let (way, work, name) = (next(), next(), next());
    let mut addresses: Vec<String> = arguments.map(|address| format!("redis://{address}/")).collect();
    let mut open = || match &*way {
        "sentinel" => connect(&mut addresses, &name),
        _ => {
            let connection = Client::open(&*addresses[0])?.get_connection()?;
            connection.set_read_timeout(Some(Duration::from_millis(500)))?;
            Ok(connection)
        }
    };
    let mut connection: Option<Connection> = None;
    for number in 1_u64.. {
        let outcome = match &mut connection {
            Some(connection) if work == "subscribe" => listen(connection),
            Some(connection) => once(connection, &work, number),
            None => open().map(|new| {
                connection = Some(new);
                false
            }),
        };
        match outcome {
            Ok(true) => println!("ack {}", now()),
            Ok(false) => {}
            Err(error) => {
                connection = None;
                println!("error {} {}", now(), error.to_string().replace('\n', " "));
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if matches!(&*work, "write" | "transaction" | "script") {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Whether something was done.
fn once(connection: &mut Connection, work: &str, number: u64) -> RedisResult<bool> {
    let key = format!("app:{}", number % 1000);
    match work {
        "write" => cmd("SET").arg(key).arg(number).query::<()>(connection)?,
        "transaction" => {
            let mut pipe = redis::pipe();
            pipe.atomic().cmd("SET").arg(key).arg(number).cmd("INCR").arg("count").query::<()>(connection)?;
        }
        "script" => {
            let script = "return redis.call('SET', KEYS[1], ARGV[1])";
            cmd("EVAL").arg(script).arg(1).arg(key).arg(number).query::<()>(connection)?;
        }
        _ => {
            let item: Option<(String, String)> = cmd("BLPOP").arg("queue").arg("0.3").query(connection)?;
            return Ok(item.is_some());
        }
    }
    Ok(true)
}

/// Until something is wrong.
fn listen(connection: &mut Connection) -> RedisResult<bool> {
    let mut listener = connection.as_pubsub();
    listener.subscribe("news")?;
    loop {
        listener.get_message()?;
        println!("ack {}", now());
    }
}

fn now() -> u128 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u128::from(time.tv_sec.unsigned_abs()) * 1_000_000_000 + u128::from(time.tv_nsec.unsigned_abs())
}
