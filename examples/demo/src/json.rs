//! One line of JSON per round, for programs.

use crate::cli::Options;
use kevy_elect_harness::outcome::Round;
use serde::Serialize;
use std::time::Duration;

/// A round. Times are milliseconds with three decimals; `null`: the servers logged no such decision.
#[derive(Debug, Serialize)]
struct Line<'a> {
    round: u32,
    fault: &'static str,
    restart: &'static str,
    old_primary: &'a str,
    new_primary: &'a str,
    /// Keys and values on each node, and whether clients wrote as fast as they could.
    data_bytes: u64,
    load: bool,
    /// From the fault to the first acknowledged write on another node.
    failover_ms: f64,
    /// From the fault to the first one that `WAIT 1` confirmed; `null`: none was.
    confirmed_ms: Option<f64>,
    /// From the fault to the first survivor that noticed.
    detect_ms: Option<f64>,
    /// From there to the won election.
    elect_ms: Option<f64>,
    /// From there to the promoted server.
    promote_ms: Option<f64>,
    /// From the fault to a write that both replicas confirmed again.
    rejoined_ms: f64,
    /// From the return of the old primary to the same.
    return_ms: f64,
    /// Copies of whole data that survivors took, and frames that they fetched; `null`: the servers do not count them.
    snapshots: Option<u64>,
    frames: Option<u64>,
    /// Copies that the old primary took when it came back.
    return_snapshots: Option<u64>,
    /// Reads that survivors refused with `-LOADING`.
    loading: usize,
    /// The longest time without an acknowledged write while the old primary came back.
    gap_ms: f64,
    /// For how long a processor was away from the fault to the first confirmed write.
    away_ms: Option<f64>,
    stall_ms: f64,
    stall_queued_ms: Option<f64>,
    stall_away_ms: Option<f64>,
    acked: usize,
    acked_waited: usize,
    lost_waited: usize,
    lost_unwaited: usize,
    dual_ack_ms: f64,
}

/// `round` as one line, without the line end.
pub(crate) fn line(round: &Round, names: &[String], options: &Options) -> String {
    let line = Line {
        round: round.number,
        fault: round.fault.name(),
        restart: round.restart.name(),
        old_primary: &names[round.old],
        new_primary: &names[round.new],
        data_bytes: options.data.0,
        load: options.load,
        failover_ms: ms(round.failover()),
        confirmed_ms: round.confirmed().map(ms),
        detect_ms: round.detect().map(ms),
        elect_ms: round.elect().map(ms),
        promote_ms: round.promote().map(ms),
        rejoined_ms: ms(round.whole.saturating_sub(round.struck)),
        return_ms: ms(round.rejoined()),
        snapshots: round.copied.map(|copied| copied.survivors.snapshots),
        frames: round.copied.map(|copied| copied.survivors.frames),
        return_snapshots: round.copied.map(|copied| copied.returned.snapshots),
        loading: round.loading,
        gap_ms: ms(round.gap),
        away_ms: round.away.map(ms),
        stall_ms: ms(round.stall),
        stall_queued_ms: round.stall_queued.map(ms),
        stall_away_ms: round.stall_away.map(ms),
        acked: round.acked,
        acked_waited: round.waited,
        lost_waited: round.lost.waited,
        lost_unwaited: round.lost.unwaited,
        // Never rounded down to the 0 that means "did not happen".
        dual_ack_ms: round.dual.map_or(0.0, |dual| ms(dual.lasted).max(0.001)),
    };
    // Plain numbers and strings: there is nothing in it that could fail to serialise.
    serde_json::to_string(&line).unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::tests::{names, round};
    use kevy_elect_harness::verdict::Dual;

    fn options() -> Options {
        Options::read(["demo", "--data", "1gb", "--load"].map(Into::into)).unwrap()
    }

    #[test]
    fn a_round_is_one_object_on_one_line() {
        assert_eq!(
            line(&round(), &names(), &options()),
            r#"{"round":1,"fault":"kill","restart":"later","old_primary":"n1","new_primary":"n2","data_bytes":1000000000,"load":true,"failover_ms":12.0,"confirmed_ms":21.0,"detect_ms":1.2,"elect_ms":2.2,"promote_ms":4.7,"rejoined_ms":480.5,"return_ms":160.5,"snapshots":0,"frames":7,"return_snapshots":1,"loading":0,"gap_ms":12.0,"away_ms":0.5,"stall_ms":1.5,"stall_queued_ms":1.2,"stall_away_ms":0.3,"acked":2134,"acked_waited":1201,"lost_waited":0,"lost_unwaited":0,"dual_ack_ms":0.0}"#
        );
    }

    #[test]
    fn even_the_shortest_overlap_is_not_zero() {
        let mut round = round();
        round.dual =
            Some(Dual { nodes: [0, 1], acks: [1, 1], in_flight: 0, lasted: Duration::from_nanos(1) });
        assert!(line(&round, &names(), &options()).contains("\"dual_ack_ms\":0.001}"));
    }
}
