//! The power goes in the middle of everything, again and again, over a file layer that then forgets what was
//! not synced.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use common::Random;
use common::fleet::Fleet;
use common::graph::{Graph, Wishes};
use common::site::Site;

/// Lives of one head-end with a cut at the end of each, at an operation that the seed chooses.
fn lives(seed: u64, count: u64) {
    let mut random = Random(seed);
    let (site, files) = Site::forgetful(12, 0);
    let mut fleet = Fleet::of(&site);
    for life in 0..count {
        let settings = vec![
            ("journal", "segment_mib", 1.into()),
            // Checkpoints all the time, or hardly ever.
            ("decrypt", "checkpoint_mib", (random.below(2) as i64).into()),
            ("mdm", "meters_max", (1 + random.below(12) as i64).into()),
        ];
        let shards = 1 + random.below(3) as usize;
        let graph = Graph::start_with(&site, &Wishes { shards, mdm: true, settings, ..Wishes::default() });
        fleet.repeat(&graph, 9);
        let (rounds, at) = (5 + random.below(25), random.below(20));
        for round in 0..rounds {
            if round == at {
                files.stop_after(random.below(60));
            }
            fleet.report(&site, &graph, 1);
            fleet.hear(&site, &graph);
            if random.below(3) == 0 {
                std::thread::sleep(std::time::Duration::from_micros(random.below(3000)));
            }
        }
        let graph = graph.stop();
        fleet.hear(&site, &graph);
        let (received, ends) = graph.account();
        assert_eq!(received, ends, "seed {seed}, life {life}");
        if random.below(4) == 0 { files.kill(seed + life) } else { files.cut(seed * 1000 + life) }
    }
    let graph = Graph::start_with(&site, &Wishes { mdm: true, ..Wishes::default() });
    fleet.finish(&site, &graph);
    graph.drain();
    fleet.judge(&site, true);
    assert!(fleet.acknowledged() > 100, "seed {seed}: only {}", fleet.acknowledged());
}

#[test]
fn every_acknowledged_report_is_exported_once_whenever_the_power_goes() {
    let seed = std::env::var("METERGRAPH_SEED").ok().and_then(|seed| seed.parse().ok());
    match seed {
        Some(seed) => lives(seed, 8),
        None => (1..=16).for_each(|seed| lives(seed, 8)),
    }
}
