//! x
use kevy_elect_plugin::sim::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (a, b) = args[1].split_once("..").unwrap();
    let (a, b): (u64, u64) = (a.parse().unwrap(), b.parse().unwrap());
    let profile = Profile::named(&args[2]).unwrap();
    let nodes: usize = args[3].parse().unwrap();
    let start = std::time::Instant::now();
    let mut stats = Stats::default();
    let mut kinds = std::collections::BTreeMap::<&str, Vec<u64>>::new();
    for seed in a..b {
        let plan = Plan::draw(seed, nodes, profile);
        let outcome = run(&plan, false);
        stats.add(&outcome.stats);
        if let Some(v) = outcome.violation {
            kinds.entry(v.invariant).or_default().push(seed);
        }
    }
    let t = start.elapsed().as_secs_f64();
    println!(
        "{} {nodes}: {:.0} seeds/s {:.0} steps/s p50 {} p99 {} max {:?} stuck {} old-epoch {} promoted {}",
        profile.name,
        (b - a) as f64 / t,
        stats.steps as f64 / t,
        stats.settled_percentile(50.0),
        stats.settled_percentile(99.0),
        stats.settled.keys().last(),
        stats.stuck_by_policy,
        stats.deposed_by_old_epoch,
        stats.promoted
    );
    for (k, v) in &kinds {
        println!("  {k}: {} {:?}", v.len(), &v[..v.len().min(5)]);
    }
    if b == a + 1 || args.len() > 4 {
        if let Some(seed) = kinds.values().next().map(|v| v[0]) {
            let plan = shrink(&Plan::draw(seed, nodes, profile));
            println!("seed {seed} {:?}", plan.setup);
            for f in &plan.faults {
                println!("{f}");
            }
            for l in run(&plan, true).trace {
                println!("{l}");
            }
        }
    }
}
