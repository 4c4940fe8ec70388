//! `SHUTDOWN`, in every way in which a command can reach a server: either nothing comes of it, or the server ends in order. Then it has
//! handed its office over, and what was confirmed is there.

use crate::SHARDS;
use crate::common::Cluster;
use crate::common::process::{Process, confirmed, primary};
use crate::common::rolling::PATIENT;
use crate::contents::text;
use crate::ways::Way;
use crate::wire::{Wire, words};

#[test]
fn a_shutdown_hands_over_or_is_refused_whichever_way_it_comes() {
    for shards in SHARDS {
        let cluster = Cluster::new(3, shards);
        let mut nodes = Process::start_three(&cluster, PATIENT);
        for (turn, way) in Way::ALL.iter().copied().enumerate() {
            let first = primary(&nodes);
            let write = format!("SET confirmed-{turn} {way:?}");
            confirmed(&nodes[first], &write);
            let mut wire = Wire::open(nodes[first].port);
            let sha = text(&wire.ask_all(&[Way::prepare()])[0]);
            let command = words(["SHUTDOWN", "SHUTDOWN NOSAVE", "SHUTDOWN SAVE"][turn % 3]);
            let group = way.group(&command, &sha, false).unwrap();
            if let Some(first) = &group.first {
                wire.ask_all(std::slice::from_ref(first));
            }
            wire.send(&group.bytes);
            if way.is_script() {
                let said: Vec<_> = (0..group.commands).map(|_| wire.reply().unwrap()).collect();
                assert!(way.refused(&said), "{way:?}: {:?}", said.iter().map(text).collect::<Vec<_>>());
                assert_eq!(text(&wire.ask("SET still-primary 1")), "OK", "{way:?}");
                continue;
            }
            let status = nodes[first].wait();
            assert_eq!(status.code(), Some(0), "{way:?}");
            let others: Vec<usize> = (0..3).filter(|node| *node != first).collect();
            let next = crate::common::until("another one takes over", || {
                others.iter().copied().find(|node| nodes[*node].ask("SET probe 1").as_deref() == Some("OK"))
            });
            let key = format!("GET confirmed-{turn}");
            assert_eq!(nodes[next].ask(&key).as_deref(), Some(format!("{way:?}").as_str()), "{way:?}");
            nodes[first] = Process::start(&cluster, first, PATIENT);
        }
    }
}
