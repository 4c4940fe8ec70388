//! `--members`: who votes is changed while clients write.

use kevy_elect_harness::failure::Failure;
use kevy_elect_harness::outcome::elections;
use kevy_elect_harness::round::Stage;
use kevy_elect_harness::verdict::{self, Ack};
use std::fmt::Write;

/// What came of it.
pub(crate) struct Changes {
    /// For people.
    pub(crate) text: String,
    /// Nothing was lost, nobody was elected for it, never two nodes at once.
    pub(crate) innocent: bool,
    /// For the audit at the end.
    pub(crate) confirmed: Vec<Ack>,
}

/// Takes the vote of each replica and gives it back.
pub(crate) fn change(stage: &mut Stage<'_>) -> Result<Changes, Failure> {
    let begun = stage.clock.now();
    stage.writers.go();
    let primary = stage.warm_up()?;
    let (from, mut spans) = (stage.clock.now(), Vec::new());
    for node in (0..stage.cluster.members.len()).filter(|node| *node != primary) {
        for votes in [false, true] {
            let asked = stage.clock.now();
            stage.set_vote(node, votes)?;
            spans.push((node, votes, asked, stage.clock.now()));
        }
    }
    let to = stage.clock.now();
    let last = stage.whole()?;
    stage.progress.say("reading every write back");
    let acks = stage.collect()?;
    let lost = verdict::lost(&acks, &stage.read_back(last, &acks)?);
    let elected = elections(&stage.events(begun));
    let dual = verdict::dual(&acks, &elected, None);
    let needless = elected.iter().filter(|elected| elected.at >= from).count();
    let mut text = String::new();
    for (node, votes, asked, done) in spans {
        let what = if votes { "votes again" } else { "has no vote" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {} {what} after {:.0} ms",
            stage.name(node),
            (done - asked).as_secs_f64() * 1e3
        );
    }
    let gap = verdict::outage(&acks, from, to).as_secs_f64() * 1e3;
    let _ = writeln!(
        text,
        "  meanwhile {} writes acknowledged, the longest pause {gap:.0} ms; {needless} elections; {} confirmed writes lost, {} others\n",
        acks.len(),
        lost.waited,
        lost.unwaited
    );
    let innocent = lost.waited == 0 && lost.unwaited == 0 && dual.is_none();
    Ok(Changes { text, innocent, confirmed: acks.into_iter().filter(|ack| ack.waited.is_some()).collect() })
}
