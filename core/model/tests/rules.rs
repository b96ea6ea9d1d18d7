//! With all rules every life within the bounds keeps every property; without any one of them there is a life
//! that breaks one.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;

use metergraph_model::{Bounds, Machine, Property, Rule, Rules};
use stateright::{Checker, Model};

/// A life with more states is too long for a test.
const STATES_MAX: usize = 3_000_000;

/// What each life is about.
fn lives() -> Vec<(&'static str, Bounds)> {
    let none = Bounds::default();
    vec![
        ("reports", Bounds { reports: 1, head_end_cuts: 1, sealed: 2, ..none }),
        ("reports of a device that is cut", Bounds { reports: 2, end_device_cuts: 1, ..none }),
        ("commands", Bounds { disconnects: 2, head_end_cuts: 1, end_device_cuts: 1, sealed: 3, ..none }),
        ("epochs", Bounds { campaigns: 2, head_end_cuts: 1, sealed: 4, ..none }),
        ("copies", Bounds { disconnects: 2, copy: true, head_end_cuts: 1, sealed: 3, ..none }),
        ("clones", Bounds { disconnects: 2, clone: true, head_end_cuts: 1, sealed: 3, ..none }),
        ("restores", Bounds { disconnects: 2, head_end_cuts: 2, restores: 2, sealed: 3, ..none }),
        (
            "reports after a restore",
            Bounds { reports: 1, campaigns: 1, head_end_cuts: 1, restores: 1, sealed: 2, ..none },
        ),
    ]
}

/// Walks through every life and names the properties that some life breaks.
fn broken(rules: Rules) -> BTreeSet<&'static str> {
    let mut broken = BTreeSet::new();
    for (life, bounds) in lives() {
        let machine = Machine { rules, bounds };
        let checker = machine.checker().threads(2).target_state_count(STATES_MAX).spawn_bfs().join();
        assert!(checker.state_count() < STATES_MAX, "{life}: too long to be walked through");
        println!("{life}: {} states", checker.unique_state_count());
        for (property, path) in checker.discoveries() {
            println!("{life} breaks `{property}`: {:?}", path.into_actions());
            broken.insert(property);
        }
    }
    broken
}

#[test]
fn with_all_rules_nothing_breaks() {
    assert_eq!(broken(Rules::all()), BTreeSet::new());
}

#[test]
fn without_any_one_rule_something_breaks() {
    for rule in Rule::ALL {
        println!("without {rule:?}:");
        let broken = broken(Rules::without(rule));
        assert!(broken.contains(breaks(rule).name()), "without {rule:?}: {broken:?}");
    }
}

/// What each rule is there for.
fn breaks(rule: Rule) -> Property {
    match rule {
        Rule::HeadEndReserves
        | Rule::EndDeviceReserves
        | Rule::FenceAtStart
        | Rule::FenceAtReservation
        | Rule::BackupRaises
        | Rule::RestoreSkipsSeq
        | Rule::OneRestore => Property::NoNonceTwice,
        Rule::CtrBeforeSignature | Rule::RestoreSkipsCtr => Property::NoCtrTwice,
        Rule::StoreBeforeAct | Rule::CtrRises => Property::NoCommandTwice,
        Rule::WindowWithReport | Rule::RestoreChallenges => Property::NoReplay,
        Rule::AcknowledgeDurable => Property::NothingLost,
        Rule::IssueBeforeSending
        | Rule::OldEpochUntilProof
        | Rule::HoldOlderKeys
        | Rule::CampaignRises
        | Rule::HigherCandidatesStay => Property::NoOrphan,
    }
}
