//! `/facts`: what this node was told and what its machine gives it, as JSON. What the election believes is in `/status`; this is what somebody
//! compares who looks for what is wrong (`kevy-electctl doctor`).

use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::ids::NodeId;
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A member, and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is for.
    pub member: Member,
    /// Its pages.
    pub page: Option<String>,
    /// Its data.
    pub client: Option<String>,
}

/// Says who the members are, of those that are in force.
pub type Members = Box<dyn Fn() -> Vec<Listed> + Send + Sync>;

/// What changes only with the members while the process runs.
pub struct Facts {
    program: &'static str,
    version: &'static str,
    node: NodeId,
    cluster: String,
    links: &'static str,
    members: Members,
    times: Value,
    data_dir: PathBuf,
}

/// What a program tells of itself.
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What its links prove: `secure`, `local` or `insecure`.
    pub links: &'static str,
    /// Where it keeps its data and its vote record.
    pub data_dir: PathBuf,
}

impl Facts {
    /// Of a node that was told this.
    pub fn new(program: Program, config: &Config, members: Members) -> Self {
        Self {
            program: program.name,
            version: program.version,
            node: config.node(),
            cluster: config.cluster().to_owned(),
            links: program.links,
            members,
            times: json!({
                "heartbeat_ms": ms(config.heartbeat_interval()),
                "election_timeout_ms": ms(config.election_timeout()),
                "lease_ms": ms(config.lease()),
                "drift_percent": config.drift_percent(),
            }),
            data_dir: program.data_dir,
        }
    }

    /// With what the machine says now.
    pub(super) fn now(&self) -> Value {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // One is that of the directory itself.
        let open = std::fs::read_dir("/proc/self/fd").ok().map(|all| all.count().saturating_sub(1));
        let of = |Listed { member, page, client }: Listed| {
            json!({
                "id": member.id.as_str(),
                "kind": member.kind.as_str(),
                "priority": member.priority,
                "page": page,
                "client": client,
            })
        };
        let members: Vec<Value> = (self.members)().into_iter().map(of).collect();
        let disk = rustix::fs::statvfs(&self.data_dir).ok();
        json!({
            "program": self.program,
            "version": self.version,
            "node": self.node.as_str(),
            "cluster": self.cluster,
            "links": self.links,
            "now_ms": ms(since_1970),
            "members": members,
            "times": self.times,
            "descriptors": { "open": open, "limit": getrlimit(Resource::Nofile).current },
            "disk": disk.map(|disk| json!({
                "free_bytes": disk.f_bavail.saturating_mul(disk.f_frsize),
                "bytes": disk.f_blocks.saturating_mul(disk.f_frsize),
            })),
        })
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
