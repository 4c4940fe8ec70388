//! Writes through redis-rs, which asks the Sentinel ports of all nodes where the primary is.

use std::time::Duration;
// docs/clients.md: begin
use redis::sentinel::{SentinelClient, SentinelServerType};
use redis::{Commands, Connection, RedisResult};

/// A connection to the primary. Ask again after every error: the connection stays with the node that it was made to.
fn connect(sentinels: &[String], name: &str) -> RedisResult<Connection> {
    let mut client =
        SentinelClient::build(sentinels.to_vec(), name.to_owned(), None, SentinelServerType::Master)?;
    let connection = client.get_connection()?;
    connection.set_read_timeout(Some(Duration::from_millis(500)))?;
    Ok(connection)
}
// docs/clients.md: end

/// The application: this program again, because it is in the same language.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) {
    let name = arguments.next().unwrap_or_default();
    let sentinels: Vec<String> = arguments.map(|address| format!("redis://{address}/")).collect();
    let mut connection: Option<Connection> = None;
    for number in 1_u64.. {
        let key = format!("app:{}", number % 1000);
        let outcome = match &mut connection {
            Some(connection) => connection.set::<_, _, ()>(key, number),
            None => connect(&sentinels, &name).map(|new| connection = Some(new)),
        };
        match outcome {
            Ok(()) => println!("ack {}", now()),
            Err(error) => {
                connection = None;
                println!("error {} {}", now(), error.to_string().replace('\n', " "));
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn now() -> u128 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u128::from(time.tv_sec.unsigned_abs()) * 1_000_000_000 + u128::from(time.tv_nsec.unsigned_abs())
}
