use super::folder::{self, Fields, octets};
use super::receiver::Receiver;
use crate::control::{Down, Item};

#[test]
fn vector_replay_window() {
    for sequence in folder::cases("profile/window.json", "sequences") {
        let mut receiver = Receiver::new(&sequence, "k_up");
        let epoch = receiver.association.epoch();
        for step in sequence.list("steps") {
            let place = format!("{}: {step}", sequence.str("title"));
            match step.str("op") {
                "frame" => {
                    assert_eq!(receiver.receive(&step.octets("frame")).0, step.str("verdict"), "{place}")
                }
                operation => receiver.settle(operation == "commit"),
            }
            let live = receiver.association.live(epoch);
            assert_eq!(live.map(|view| u64::from(view.highest)), step["highest"].as_u64(), "{place}");
            let seen: Vec<u64> = live
                .iter()
                .flat_map(|view| (0..64).rev().filter(|n| view.bits >> n & 1 == 1).map(|n| view.highest - n))
                .map(u64::from)
                .collect();
            let expected: Vec<u64> = step.list("seen").iter().filter_map(|seq| seq.as_u64()).collect();
            assert_eq!(seen, expected, "{place}");
            let ack = receiver.association.ack(epoch).map(|ack| {
                let mut item = Vec::new();
                Down::Ack(ack).write(&mut item);
                item
            });
            assert_eq!(ack, step["ack"].as_str().map(octets), "{place}");
        }
    }
}
