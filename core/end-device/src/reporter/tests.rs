use std::collections::BTreeMap;

use super::*;
use c1222::{Apdu, Leniency};
use proptest::collection::vec;
use proptest::prelude::*;
use seal::association::{Accepted, Association as HeadEnd};
use seal::control::{Down, GroupKey, Item};
use seal::ids::Gid;
use seal::secret::Prk;

const SYSTEM: System = System([9; 8]);
const DEV: Dev = Dev([8; 8]);
const SID: Sid = Sid(0x0012_3456);
const EPOCH: Epoch = Epoch(258);

fn keys(octet: u8) -> AssociationKeys {
    seal::schedule::derive(&Prk::from_octets([octet; 32]), SID)
}

fn association() -> Association {
    let title = ApTitleBuf::parse(".75.1.2").unwrap();
    Association { dev: DEV, sid: SID, epoch: EPOCH, keys: keys(1), title }
}

/// A device with nothing to store its counters on.
fn reporter() -> Reporter {
    let mut reporter = Reporter::new(association());
    reporter.reserved(1 << 20);
    reporter
}

fn host() -> ApTitleBuf {
    ApTitleBuf::parse(".1").unwrap()
}

/// Seals the next report, whose plaintext is its number; the APDU is the answer.
fn report(reporter: &mut Reporter, now_us: u64) -> Option<Vec<u8>> {
    let begun = reporter.begin(now_us)?;
    let mut body = Vec::new();
    assert!(reporter.upstream(SYSTEM).seal(&begun.head, &begun.number.to_be_bytes(), &mut body));
    reporter.keep(&begun, &body, now_us);
    let mut apdu = Vec::new();
    reporter.write_apdu(host().as_title(), &begun.head, &body, &mut apdu).unwrap();
    Some(apdu)
}

fn report_all(reporter: &mut Reporter, now_us: u64) -> usize {
    std::iter::from_fn(|| report(reporter, now_us)).count()
}

/// Cuts what was written back to back.
fn apdus(mut octets: &[u8]) -> Vec<Vec<u8>> {
    let mut apdus = Vec::new();
    while let Some(len) = c1222::apdu::measure(octets, 4096).unwrap() {
        let (apdu, rest) = octets.split_at(len);
        apdus.push(apdu.to_vec());
        octets = rest;
    }
    apdus
}

fn repeat(reporter: &mut Reporter, now_us: u64) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let count = reporter.repeat(host().as_title(), now_us, &mut out).unwrap();
    let apdus = apdus(&out);
    assert_eq!(apdus.len(), count);
    apdus
}

/// The frame in an APDU: head and body.
fn frame(apdu: &[u8]) -> (Head, Vec<u8>) {
    let apdu = Apdu::decode(apdu, Leniency::Strict).unwrap();
    let carried = carriage::read(&apdu).unwrap().unwrap();
    (Head::read(carried.head, carried.body.len()).unwrap(), carried.body.to_vec())
}

/// A type-4 frame of the head-end.
fn down(items: &[Down<'_>], seq: u32, key: u8) -> (Head, Vec<u8>) {
    let keys = keys(key);
    let bound = Bound { system: SYSTEM, scope: DEV.into(), epoch: EPOCH };
    let channel = Channel { key: &keys.dn, common_iv: &keys.common_iv, bound };
    let head = channel.head(FrameType::DownControl, SID.0, seq);
    let (mut plaintext, mut body) = (Vec::new(), Vec::new());
    items.iter().for_each(|item| item.write(&mut plaintext));
    assert!(channel.seal(&head, &plaintext, &mut body));
    (head, body)
}

/// Takes in a downstream frame; the numbers of the reports that it acknowledges.
fn hear(
    reporter: &mut Reporter,
    (head, body): &(Head, Vec<u8>),
    now_us: u64,
) -> Result<Vec<u32>, DownRefusal> {
    let mut body = body.clone();
    let opened = reporter.admit(head, SYSTEM)?.open(head, &mut body).map(|plaintext| plaintext.to_vec());
    let mut numbers = Vec::new();
    reporter.accept(head, opened.as_deref(), now_us, |frame| numbers.push(frame.number))?;
    Ok(numbers)
}

fn ack(highest: u32, bitmap: u64) -> Down<'static> {
    Down::Ack(Ack { epoch: EPOCH, highest, bitmap })
}

#[test]
fn at_most_32_are_unacknowledged() {
    let mut reporter = reporter();
    assert_eq!(report_all(&mut reporter, 1), 32);
    assert!(!reporter.may_report(1));
    assert_eq!(hear(&mut reporter, &down(&[ack(3, 0b111)], 0, 1), 2), Ok(vec![0, 1, 2, 3]));
    assert_eq!((report_all(&mut reporter, 3), reporter.unacknowledged().len()), (4, 32));
}

#[test]
fn no_counter_lies_over_63_above_the_oldest_unacknowledged() {
    let mut reporter = reporter();
    assert_eq!(report_all(&mut reporter, 1), 32);
    // All but 0.
    assert_eq!(hear(&mut reporter, &down(&[ack(31, (1 << 30) - 1)], 0, 1), 2).unwrap().len(), 31);
    assert_eq!(report_all(&mut reporter, 2), 31);
    assert_eq!(hear(&mut reporter, &down(&[ack(62, u64::MAX >> 3)], 1, 1), 3).unwrap().len(), 31);
    let seqs: Vec<u32> =
        std::iter::from_fn(|| report(&mut reporter, 4)).map(|apdu| frame(&apdu).0.seq).collect();
    assert_eq!(seqs, [63]);
    assert_eq!(hear(&mut reporter, &down(&[ack(63, 1 << 62)], 2, 1), 5), Ok(vec![0, 63]));
    assert_eq!(report_all(&mut reporter, 6), 32);
}

#[test]
fn a_repeat_is_the_same_but_for_its_a8() {
    let mut reporter = reporter();
    let first: Vec<_> = (0..3).map(|_| report(&mut reporter, 1).unwrap()).collect();
    assert_eq!(repeat(&mut reporter, 1 + REPEAT_MIN_US / 2), Vec::<Vec<u8>>::new());
    let due = reporter.due_us();
    assert!((REPEAT_MIN_US * 3 / 4..=1 + REPEAT_MIN_US * 5 / 4).contains(&due), "{due}");
    let mut ids = std::collections::BTreeSet::new();
    for round in 0..3 {
        let due = reporter.due_us();
        let again = repeat(&mut reporter, due);
        assert_eq!(again.len(), 3);
        for (first, again) in first.iter().zip(&again) {
            let ids_of = |octets| Apdu::decode(octets, Leniency::Strict).unwrap().envelope.invocation;
            let (a8, other) = (ids_of(first), ids_of(again));
            ids.extend([a8.value(), other.value()]);
            assert_eq!(frame(first), frame(again));
            let without = |octets: &[u8], a8: InvocationId| {
                let tlv =
                    [&[0xa8, a8.octets().len() as u8 + 2, 2, a8.octets().len() as u8], a8.octets()].concat();
                let at = octets.windows(tlv.len()).position(|window| window == tlv).unwrap();
                // From the first title to A8, and from there to the end.
                (octets[2..at].to_vec(), octets[at + tlv.len()..].to_vec())
            };
            assert_eq!(without(first, a8).1, without(again, other).1, "round {round}");
        }
    }
    assert_eq!(ids.len(), 12);
}

#[test]
fn a_report_goes_as_design_says() {
    let octets = report(&mut reporter(), 1).unwrap();
    let apdu = Apdu::decode(&octets, Leniency::Strict).unwrap();
    assert_eq!(apdu.envelope.called, Some(host().as_title()));
    assert_eq!(apdu.envelope.calling, Some(association().title.as_title()));
    assert_eq!(apdu.envelope.qualifier, Some(Qualifier::NOTIFICATION));
    assert_eq!(apdu.epsem().unwrap()[0], 0x8a);
    assert_eq!(frame(&octets).0, Head { frame_type: FrameType::Report, id: SID.0, epoch_low: 2, seq: 0 });
}

#[test]
fn repeats_come_ever_more_slowly_until_something_is_acknowledged() {
    let mut reporter = reporter();
    report_all(&mut reporter, 1);
    let mut pauses = Vec::new();
    let mut now = 1;
    for _ in 0..8 {
        let due = reporter.due_us();
        pauses.push(due - now);
        now = due;
        assert_eq!(repeat(&mut reporter, now).len(), 32);
        assert!(repeat(&mut reporter, now).is_empty());
    }
    for (pause, whole) in pauses.iter().zip([1, 2, 4, 8, 16, 16, 16, 16].map(|times| times * REPEAT_MIN_US)) {
        assert!((whole * 3 / 4..=whole * 5 / 4).contains(pause), "{pause} of {whole}");
    }
    assert_eq!(hear(&mut reporter, &down(&[ack(0, 0)], 0, 1), now + 1), Ok(vec![0]));
    assert!(reporter.due_us() <= now + REPEAT_MIN_US * 5 / 4);
    assert_eq!(hear(&mut reporter, &down(&[ack(31, u64::MAX)], 1, 1), now + 2).unwrap().len(), 31);
    assert_eq!(reporter.due_us(), u64::MAX);
}

#[test]
fn after_a_new_link_what_was_on_its_way_is_repeated_soon() {
    let mut reporter = reporter();
    report(&mut reporter, 10).unwrap();
    reporter.linked(20);
    report(&mut reporter, 30).unwrap();
    let due = reporter.due_us();
    assert!(due < 20 + RELINK_SPREAD_US);
    // That a later one is acknowledged says nothing of the first.
    assert_eq!(hear(&mut reporter, &down(&[ack(1, 0)], 0, 1), 40), Ok(vec![1]));
    assert_eq!(reporter.due_us(), due);
    let again = repeat(&mut reporter, due);
    assert_eq!(again.iter().map(|apdu| frame(apdu).0.seq).collect::<Vec<_>>(), [0]);
}

#[test]
fn replayed_forged_and_misdirected_frames_change_nothing() {
    let mut reporter = reporter();
    report_all(&mut reporter, 1);
    let good = down(&[ack(0, 0)], 7, 1);
    assert_eq!(hear(&mut reporter, &good, 2), Ok(vec![0]));
    assert_eq!(hear(&mut reporter, &good, 3), Err(DownRefusal::Replay));
    assert_eq!(hear(&mut reporter, &down(&[ack(31, u64::MAX)], 8, 2), 3), Err(DownRefusal::Auth));
    let mut flipped = down(&[ack(31, u64::MAX)], 9, 1);
    flipped.1[3] ^= 1;
    assert_eq!(hear(&mut reporter, &flipped, 3), Err(DownRefusal::Auth));
    for (change, refusal) in [
        (Head { id: SID.0 + 1, ..good.0 }, DownRefusal::Epoch),
        (Head { epoch_low: 3, ..good.0 }, DownRefusal::Epoch),
        (Head { frame_type: FrameType::Command, ..good.0 }, DownRefusal::Format),
        (Head { frame_type: FrameType::Report, ..good.0 }, DownRefusal::Format),
    ] {
        assert_eq!(hear(&mut reporter, &(change, good.1.clone()), 3), Err(refusal));
    }
    assert_eq!(reporter.unacknowledged().len(), 31);
    // A frame that was only late is taken.
    assert_eq!(hear(&mut reporter, &down(&[ack(1, 0)], 6, 1), 4), Ok(vec![1]));
    assert_eq!(hear(&mut reporter, &down(&[ack(2, 0)], 200, 1), 4), Ok(vec![2]));
    assert_eq!(hear(&mut reporter, &down(&[ack(3, 0)], 136, 1), 4), Err(DownRefusal::Replay));
}

#[test]
fn one_unknown_item_refuses_the_frame_and_one_of_another_epoch_is_skipped() {
    let mut reporter = reporter();
    report_all(&mut reporter, 1);
    let other = Down::Ack(Ack { epoch: Epoch(2), highest: 31, bitmap: u64::MAX });
    let group = Down::GroupKey(GroupKey { gid: Gid(1 << 31), epoch: EPOCH, gms: &[0; 16], activate_at: 0 });
    let (head, mut body) = down(&[other, group, ack(5, 0)], 0, 1);
    let opened = reporter.admit(&head, SYSTEM).unwrap().open(&head, &mut body).unwrap().to_vec();
    let mut numbers = Vec::new();
    let heard = reporter.accept(&head, Some(&opened), 2, |frame| numbers.push(frame.number));
    assert_eq!((heard, numbers), (Ok(Heard { used: 1, skipped: 2 }), vec![5]));
    let unknown = [opened.as_slice(), &[9]].concat();
    let head = Head { seq: 1, ..head };
    let refused = reporter.accept(&head, Some(&unknown), 2, |_| panic!("acknowledged"));
    assert_eq!(refused, Err(DownRefusal::Format));
}

#[test]
fn a_wait_holds_everything_back_and_is_capped() {
    let mut reporter = reporter();
    report(&mut reporter, 1).unwrap();
    let wait = |seconds| Down::Wait { seconds };
    assert_eq!(hear(&mut reporter, &down(&[wait(60)], 0, 1), 2), Ok(vec![]));
    assert!(report(&mut reporter, 60_000_001).is_none());
    assert!(repeat(&mut reporter, 60_000_001).is_empty());
    assert_eq!(reporter.due_us(), 60_000_002);
    assert_eq!(repeat(&mut reporter, 60_000_002).len(), 1);
    assert!(report(&mut reporter, 60_000_002).is_some());
    assert_eq!(hear(&mut reporter, &down(&[wait(u16::MAX)], 1, 1), 100_000_000), Ok(vec![]));
    assert!(!reporter.may_report(699_999_999) && reporter.may_report(700_000_000));
    // An acknowledgement is heard all the same.
    assert_eq!(hear(&mut reporter, &down(&[ack(0, 0)], 2, 1), 100_000_001), Ok(vec![0]));
}

#[test]
fn nothing_is_used_before_it_is_reserved() {
    let mut reporter = Reporter::new(association());
    assert_eq!((report_all(&mut reporter, 1), reporter.wanted_floor()), (0, Some(32)));
    reporter.reserved(32);
    assert_eq!((report_all(&mut reporter, 1), reporter.wanted_floor()), (32, Some(64)));
}

#[test]
fn a_restart_repeats_the_frames_that_were_kept() {
    let mut before = Reporter::new(association());
    before.reserved(32);
    let sent: Vec<_> = (0..20).map(|_| frame(&report(&mut before, 1).unwrap())).collect();
    hear(&mut before, &down(&[ack(9, 0x1ff)], 40, 1), 2).unwrap();
    let mut after = Reporter::resume(association(), before.saved(), SYSTEM);
    assert!(!after.may_report(1));
    after.reserved(64);
    after.linked(5);
    let due = after.due_us();
    let again: Vec<_> = repeat(&mut after, due).iter().map(|apdu| frame(apdu)).collect();
    assert_eq!(again, sent[10..]);
    // The next report goes on in number, and behind the block in counter.
    let begun = after.begin(due).unwrap();
    assert_eq!((begun.number, begun.head.seq), (20, 32));
    assert_eq!(hear(&mut after, &down(&[ack(9, 0x1ff)], 40, 1), 2), Err(DownRefusal::Replay));
    assert_eq!(hear(&mut after, &down(&[ack(19, 0)], 41, 1), 2), Ok(vec![19]));
}

#[test]
fn what_a_restart_lost_is_sealed_anew() {
    let mut before = Reporter::new(association());
    before.reserved(32);
    for _ in 0..20 {
        report(&mut before, 1).unwrap();
    }
    hear(&mut before, &down(&[ack(9, 0x1ff)], 0, 1), 2).unwrap();
    let cut = before.reservation(64);
    assert_eq!((cut.floor, cut.number, cut.frames.len()), (64, 10, 0));
    let mut after = Reporter::resume(association(), cut, SYSTEM);
    after.reserved(96);
    let begun = after.begin(1).unwrap();
    assert_eq!((begun.number, begun.head.seq), (10, 64));
    // Other keys, or another epoch: the kept frames are of no use.
    for (key, epoch, seq) in [(2, EPOCH, 32), (1, Epoch(259), 0)] {
        let other = Association { keys: keys(key), epoch, ..association() };
        let mut after = Reporter::resume(other, before.saved(), SYSTEM);
        after.reserved(96);
        let begun = after.begin(1).unwrap();
        assert_eq!((begun.number, begun.head.seq, after.unacknowledged().len()), (10, seq, 0));
    }
}

#[test]
fn a_fleet_holds_many_of_them() {
    assert!(size_of::<Reporter>() <= 256, "{}", size_of::<Reporter>());
}

/// What happens to one message or to the device.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many new reports; each is lost where the bit is 0.
    Report(u8, u16),
    /// So many milliseconds pass; repeats are lost where the bit is 0.
    Pass(u32, u64),
    /// The head-end acknowledges; the message is lost when `false`.
    Acknowledge(bool),
    /// The device is cut off: only its last reservation is left.
    Cut,
    /// The device is stopped and started.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..20_u8, any::<u16>()).prop_map(|(count, lost)| Step::Report(count, lost)),
        3 => (1..20_000_u32, any::<u64>()).prop_map(|(ms, lost)| Step::Pass(ms, lost)),
        6 => prop::bool::weighted(0.7).prop_map(Step::Acknowledge),
        1 => Just(Step::Cut),
        1 => Just(Step::Restart),
    ];
    vec(step, 1..150)
}

/// A device and a head-end over a lossy link.
struct World {
    reporter: Reporter,
    head_end: HeadEnd,
    saved: Saved,
    now_us: u64,
    down_seq: u32,
    /// Every frame ever sealed, by counter.
    sealed: BTreeMap<u32, Vec<u8>>,
    /// How often each report was delivered.
    delivered: BTreeMap<u32, u32>,
    cut: bool,
}

impl World {
    fn new() -> Self {
        let reporter = Reporter::new(association());
        let saved = reporter.saved();
        let head_end = HeadEnd::new(SID, DEV, EPOCH, keys(1));
        let (sealed, delivered) = (BTreeMap::new(), BTreeMap::new());
        Self { reporter, head_end, saved, now_us: 1, down_seq: 0, sealed, delivered, cut: false }
    }

    fn reserve(&mut self) {
        if let Some(floor) = self.reporter.wanted_floor() {
            self.saved = self.reporter.reservation(floor);
            self.reporter.reserved(floor);
        }
    }

    fn arrive(&mut self, apdu: &[u8]) {
        let (head, mut body) = frame(apdu);
        let channel = self.head_end.admit(&head, SYSTEM).unwrap_or_else(|refusal| panic!("{refusal}"));
        let opened = channel.open(&head, &mut body).map(|plaintext| plaintext.to_vec());
        match self.head_end.accept(&head, opened.is_some()) {
            Ok(Accepted::Fresh(epoch)) => {
                let number = u32::from_be_bytes(opened.unwrap().try_into().unwrap());
                *self.delivered.entry(number).or_default() += 1;
                self.head_end.committed(epoch, head.seq, 0);
            }
            Ok(Accepted::Duplicate { .. }) => {}
            Err(refusal) => panic!("{refusal}"),
        }
    }

    fn acknowledge(&mut self) {
        let Some(ack) = self.head_end.ack(EPOCH) else { return };
        self.down_seq += 1;
        let message = down(&[Down::Ack(ack)], self.down_seq, 1);
        hear(&mut self.reporter, &message, self.now_us).unwrap();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Report(count, kept) => {
                for place in 0..count {
                    self.reserve();
                    let Some(apdu) = report(&mut self.reporter, self.now_us) else { break };
                    let (head, body) = frame(&apdu);
                    let twice = self.sealed.insert(head.seq, body);
                    assert!(twice.is_none(), "counter {} was used twice", head.seq);
                    if kept >> (place % 16) & 1 == 1 {
                        self.arrive(&apdu);
                    }
                }
            }
            Step::Pass(ms, kept) => {
                self.now_us += u64::from(ms) * 1000;
                for (place, apdu) in repeat(&mut self.reporter, self.now_us).into_iter().enumerate() {
                    let (head, body) = frame(&apdu);
                    assert_eq!(self.sealed.get(&head.seq), Some(&body));
                    if kept >> (place % 64) & 1 == 1 {
                        self.arrive(&apdu);
                    }
                }
            }
            Step::Acknowledge(true) => self.acknowledge(),
            Step::Acknowledge(false) => self.down_seq += 1,
            Step::Cut => {
                self.cut = true;
                self.reporter = Reporter::resume(association(), self.saved.clone(), SYSTEM);
                self.reporter.linked(self.now_us);
            }
            Step::Restart => {
                self.saved = self.reporter.saved();
                self.reporter = Reporter::resume(association(), self.saved.clone(), SYSTEM);
                self.reporter.linked(self.now_us);
            }
        }
        let seqs: Vec<u32> = self.reporter.unacknowledged().map(|frame| frame.seq).collect();
        assert!(seqs.is_sorted() && seqs.len() <= UNACKNOWLEDGED_MAX);
    }
}

proptest! {
    /// Over a link that loses, over restarts and cuts: no counter is used twice, the window never passes a
    /// repeat, every report is delivered, and exactly once unless the device lost its memory.
    #[test]
    fn every_report_is_delivered(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        // After a cut it has to seal anew what it had sealed before.
        let target = world.delivered.keys().max().map_or(0, |number| number + 1);
        while world.reporter.saved().number < target || world.reporter.unacknowledged().len() > 0 {
            if world.reporter.saved().number < target {
                world.step(Step::Report(1, u16::MAX));
            }
            world.step(Step::Pass(200_000, u64::MAX));
            world.step(Step::Acknowledge(true));
        }
        let numbers: Vec<u32> = world.delivered.keys().copied().collect();
        prop_assert_eq!(numbers, (0..world.reporter.saved().number).collect::<Vec<_>>());
        if !world.cut {
            prop_assert!(world.delivered.values().all(|count| *count == 1));
        }
    }

    #[test]
    fn an_acknowledgement_takes_what_its_bits_say(sent in 1..40_usize, highest in 0..70_u32, bitmap: u64) {
        let mut reporter = reporter();
        for _ in 0..sent {
            report(&mut reporter, 1);
        }
        let all: Vec<u32> = reporter.unacknowledged().map(|frame| frame.seq).collect();
        let ack = Ack { epoch: EPOCH, highest, bitmap };
        let numbers = hear(&mut reporter, &down(&[Down::Ack(ack)], 0, 1), 2).unwrap();
        let (covered, left): (Vec<u32>, Vec<u32>) = all.into_iter().partition(|seq| ack.covers(*seq));
        prop_assert_eq!(numbers, covered);
        prop_assert_eq!(reporter.unacknowledged().map(|frame| frame.seq).collect::<Vec<_>>(), left);
    }

    #[test]
    fn no_downstream_octets_are_too_wild(plaintext: Vec<u8>, seq in 0..200_u32) {
        let mut reporter = reporter();
        report_all(&mut reporter, 1);
        let (head, _) = down(&[ack(0, 0)], seq, 1);
        let _ = reporter.accept(&head, Some(&plaintext), 2, |_| {});
    }
}
