//! Each rule refuses with its code; no counter repeats over crashes; a rebuild knows the same.

use std::collections::HashSet;

use c1222::device_profile::{Classes, DeviceProfile, Identity};
use c1222::tables::{Format, ProcedureId};
use proptest::collection::vec;
use proptest::prelude::*;
use seal::command::{Classes as ClassSet, KeyItem, SignedCommand};
use seal::control::{Item, Outcome};
use seal::ids::Gid;
use seal::signature::Signer as _;

use super::*;
use crate::group::Membership;
use crate::policy::tests::{key, text};

const SYSTEM: System = System([1; 8]);
const SKID: u8 = 1;
const NOW: u64 = 1_000_000;
const CLASSIC: Dev = Dev([7; 8]);
const GID: Gid = Gid(0x8000_0001);
/// Reads ST1.
const READ: [u8; 5] = [0x80, 3, 0x30, 0, 1];
/// MP1 by ST7.
const SWITCH: [u8; 11] = [0x80, 9, 0x40, 0, 7, 0, 3, 1, 8, 0, 0xf7];

struct Meters(ProfileClassifier);

fn meters() -> Meters {
    let classes = Classes {
        reads: [(c1222::TableId::standard(1), 0)].into(),
        procedures: [(ProcedureId::manufacturer(1), 3)].into(),
        ..Classes::default()
    };
    Meters(ProfileClassifier(DeviceProfile {
        name: String::new(),
        identity: Identity::default(),
        format: Format::default(),
        utc_offset_min: 0,
        freshness_s: 0,
        tables: Vec::new(),
        load_profiles: Vec::new(),
        service_switch: None,
        classes,
    }))
}

impl Fleet for Meters {
    fn member(&self, dev: Dev) -> Option<Member> {
        (dev.0[0] < 100).then_some(Member { profile: 0, classic: dev == CLASSIC })
    }

    fn profile(&self, profile: u32) -> Option<&ProfileClassifier> {
        (profile == 0).then_some(&self.0)
    }
}

fn dev(number: u8) -> Dev {
    Dev([number, 0, 0, 0, 0, 0, 0, 0])
}

fn signer() -> Signer {
    let mut signer = Signer::new(SYSTEM, SKID);
    signer.set_policy(Policy::read(&text(1)).unwrap());
    signer
}

fn intent(id: u8, addressee: Addressee, class: Class, body: &[u8]) -> Intent {
    Intent {
        id: CommandId([id; 16]),
        system: SYSTEM,
        skid: SKID,
        class,
        addressee,
        membership: 0,
        body: body.to_vec(),
        nbf: NOW as u32,
        ttl: 10,
        requester: "alice".to_owned(),
    }
}

/// An order to the group of these devices.
fn broadcast(id: u8, class: Class, body: &[u8], members: &[u8]) -> Intent {
    let membership: Membership = members.iter().map(|number| dev(*number)).collect();
    Intent { membership: membership.version(), ..intent(id, Addressee::Group(GID), class, body) }
}

fn approval(intent: &Intent, approver: &str, number: u8) -> Approval {
    let Ok(signature) = key(number).sign(&crate::approval::prehash(&intent.digest()));
    Approval { approver: approver.to_owned(), signature }
}

fn ask(signer: &mut Signer, intent: &Intent, approvals: Vec<Approval>, now: u64) -> Verdict {
    signer.authorise(&SigningRequest { intent: intent.clone(), approvals }.octets(), now, &meters())
}

fn refused(signer: &mut Signer, intent: &Intent, approvals: Vec<Approval>) -> SignRefusal {
    match ask(signer, intent, approvals, NOW) {
        Verdict::Refused { refusal, intent: Some(_) } => refusal,
        other => panic!("{other:?}"),
    }
}

fn sign(signer: &mut Signer, intent: &Intent, approvals: Vec<Approval>) -> u32 {
    match ask(signer, intent, approvals, NOW) {
        Verdict::Authorised(authorised) => {
            let Ok(octets) = authorised.sign(&key(5));
            let read = SignedCommand::read(&octets).unwrap();
            assert!(read.verifies(&key(5).verifying_key(), SYSTEM, intent.addressee));
            assert_eq!((read.command.ctr, read.command.body), (authorised.ctr(), &intent.body[..]));
            signer.signed(&authorised);
            authorised.ctr()
        }
        other => panic!("{other:?}"),
    }
}

fn result(signer: &mut Signer, dev: Dev, kind: u8, ctr: u32, result: u8) {
    signer.result(dev, &Outcome { skid: SKID, kind, ctr, result, rest: &[] });
}

/// Makes `member` one of the group, as its device answers.
fn join(signer: &mut Signer, id: u8, member: Dev) {
    let mut body = Vec::new();
    KeyItem::Join { gid: GID, classes: ClassSet(0b1111) }.write(&mut body);
    let ctr = sign(signer, &intent(id, Addressee::Device(member), Class::Keys, &body), vec![]);
    result(signer, member, 1, ctr, 0);
}

#[test]
fn a_restored_state_skips_what_its_lost_life_may_have_signed() {
    let mut signer = signer();
    join(&mut signer, 1, dev(1));
    let read = |id, number| intent(id, Addressee::Device(dev(number)), Class::Read, &READ);
    let broadcast = |id| broadcast(id, Class::Read, &READ, &[1]);
    assert_eq!((sign(&mut signer, &read(2, 1), vec![]), sign(&mut signer, &broadcast(3), vec![])), (2, 1));
    let mut backup = Vec::new();
    signer.entries(&mut |entry| backup.push(entry.to_vec()));
    let mut restored = rebuild(&backup, &[]);
    restored.restored(9, 1000);
    // Also one that the backup does not know, and one whose last command nobody knows the end of.
    for id in 0..2_u8 {
        assert_eq!(sign(&mut restored, &read(10 + id, 1 + 7 * id), vec![]), [1003, 1001][usize::from(id)]);
    }
    assert_eq!(sign(&mut restored, &broadcast(12), vec![]), 1002);
    // The record of a restore may be met again; a checkpoint says that it was.
    let mut checkpoint = Vec::new();
    restored.entries(&mut |entry| checkpoint.push(entry.to_vec()));
    let mut again = rebuild(&checkpoint, &[]);
    again.restored(9, 1000);
    assert_eq!(sign(&mut again, &broadcast(13), vec![]), 1003);
    assert_eq!(sign(&mut again, &read(14, 9), vec![]), 1001);
    again.restored(12, 1000);
    assert_eq!(
        (sign(&mut again, &broadcast(15), vec![]), sign(&mut again, &read(16, 10), vec![])),
        (2004, 2001)
    );
}

#[test]
fn counters_begin_at_one_and_all_groups_share_a_sequence() {
    let mut signer = signer();
    let read = |id, number| intent(id, Addressee::Device(dev(number)), Class::Read, &READ);
    assert_eq!((sign(&mut signer, &read(1, 1), vec![]), sign(&mut signer, &read(2, 2), vec![])), (1, 1));
    // One at a time to each device.
    assert_eq!(refused(&mut signer, &read(3, 1), vec![]), SignRefusal::Outstanding(dev(1)));
    result(&mut signer, dev(1), 1, 2, 0);
    assert_eq!(refused(&mut signer, &read(3, 1), vec![]), SignRefusal::Outstanding(dev(1)));
    result(&mut signer, dev(1), 1, 1, 18);
    assert_eq!(sign(&mut signer, &read(3, 1), vec![]), 2);
    join(&mut signer, 4, dev(3));
    let read = |id| broadcast(id, Class::Read, &READ, &[3]);
    assert_eq!((sign(&mut signer, &read(5), vec![]), sign(&mut signer, &read(6), vec![])), (1, 2));
}

#[test]
fn an_id_signs_once() {
    let mut signer = signer();
    let read = intent(1, Addressee::Device(dev(1)), Class::Read, &READ);
    let Verdict::Authorised(authorised) = ask(&mut signer, &read, vec![], NOW) else { panic!("refused") };
    assert!(matches!(ask(&mut signer, &read, vec![], NOW), Verdict::InFlight));
    signer.cancel(&authorised);
    assert!(signer.is_idle());
    assert_eq!(sign(&mut signer, &read, vec![]), 2, "a counter is not used again");
    assert_eq!(refused(&mut signer, &read, vec![]), SignRefusal::Signed);
    let other = Intent { addressee: Addressee::Device(dev(2)), ..read.clone() };
    assert_eq!(refused(&mut signer, &other, vec![]), SignRefusal::Signed);
    // When its time has passed it is forgotten, and refused for that.
    let late = ask(&mut signer, &read, vec![], read.ends_at() + 100);
    assert!(matches!(late, Verdict::Refused { refusal: SignRefusal::When(_), .. }));
    assert!(signer.ids.is_empty());
}

#[test]
fn the_policy_is_asked_first() {
    let mut signer = Signer::new(SYSTEM, SKID);
    let read = intent(1, Addressee::Device(dev(1)), Class::Read, &READ);
    assert_eq!(refused(&mut signer, &read, vec![]), SignRefusal::NoPolicy);
    signer.set_policy(Policy::read(&text(1)).unwrap());
    let ada = "ada".to_owned();
    for other in [
        Intent { system: System([2; 8]), ..read.clone() },
        Intent { skid: 2, ..read.clone() },
        Intent { body: vec![0; BODY_MAX + 1], ..read.clone() },
        Intent { requester: "zoe".to_owned(), ..read.clone() },
        Intent { requester: ada, class: Class::Keys, body: vec![5, 3], ..read.clone() },
        Intent { ttl: 0, ..read.clone() },
        Intent { ttl: 1441, class: Class::Load, ..read.clone() },
        Intent { nbf: (NOW - 601) as u32, ..read.clone() },
        Intent { nbf: (NOW + 7 * 86_400 + 1) as u32, ..read.clone() },
        Intent { addressee: Addressee::Device(dev(100)), ..read.clone() },
        Intent { addressee: Addressee::Group(GID), ..read.clone() },
    ] {
        let refusal = refused(&mut signer, &other, vec![]);
        assert_eq!(refusal.code(), "SEC-CMD-POLICY", "{refusal}");
        assert!(refusal.to_string().starts_with("SEC-CMD-POLICY: "));
    }
    let junk = signer.authorise(&[1, 2, 3], NOW, &meters());
    assert!(matches!(junk, Verdict::Refused { intent: None, refusal: SignRefusal::Foreign(_) }));
    assert_eq!(sign(&mut signer, &read, vec![]), 1, "what was refused used no counter");
}

#[test]
fn the_class_is_computed() {
    let mut signer = signer();
    let hidden = [&READ[..], &SWITCH[1..]].concat();
    for (class, body, computed) in [
        (Class::Read, &SWITCH[..], Some(3)),
        (Class::Firmware, &hidden, Some(3)),
        (Class::Load, &[0x80, 3, 0x30, 0, 2], Some(4)),
        (Class::Load, &[0x80, 3, 0x30, 0], None),
        (Class::Keys, &READ, None),
        (Class::Time, &[0; 15], None),
    ] {
        let refusal = refused(&mut signer, &intent(1, Addressee::Device(dev(1)), class, body), vec![]);
        let class = class.octet();
        assert_eq!(refusal, SignRefusal::Class { computed: Computed(computed), class });
        assert_eq!(refusal.code(), "SEC-CMD-CLASS");
    }
    assert_eq!(sign(&mut signer, &intent(1, Addressee::Device(dev(1)), Class::Load, &hidden), vec![]), 1);
}

#[test]
fn class_3_to_a_group_takes_two_different_approvers_who_did_not_ask() {
    let mut signer = signer();
    join(&mut signer, 1, dev(1));
    join(&mut signer, 2, dev(2));
    let order = broadcast(3, Class::Load, &SWITCH, &[1, 2]);
    let (ada, bob) = (approval(&order, "ada", 1), approval(&order, "bob", 2));
    let other = Intent { nbf: order.nbf + 1, ..order.clone() };
    for (approvals, have) in [
        (vec![], 0),
        (vec![ada.clone()], 1),
        (vec![ada.clone(), ada.clone()], 1),
        (vec![ada.clone(), approval(&order, "bob", 1)], 1),
        (vec![ada.clone(), approval(&order, "zoe", 2)], 1),
        (vec![ada.clone(), approval(&other, "bob", 2)], 1),
    ] {
        assert_eq!(refused(&mut signer, &order, approvals), SignRefusal::Approval { have, need: 2 });
    }
    let by_ada = Intent { requester: "ada".to_owned(), ..order.clone() };
    let approvals = vec![approval(&by_ada, "ada", 1), approval(&by_ada, "bob", 2)];
    assert_eq!(refused(&mut signer, &by_ada, approvals).code(), "SEC-CMD-APPROVAL");
    let Verdict::Authorised(authorised) = ask(&mut signer, &order, vec![ada, bob], NOW) else {
        panic!("refused")
    };
    let entry = authorised.audit(5);
    assert_eq!((entry.actor.as_str(), entry.count), ("alice; approved by ada, bob", 2));
    assert_eq!(entry.digest, order.digest());
    // To one device it takes none.
    sign(
        &mut signer,
        &Intent { nbf: order.nbf + 1, ..intent(4, Addressee::Device(dev(3)), Class::Load, &SWITCH) },
        vec![],
    );
}

#[test]
fn an_order_is_for_the_members_that_its_requester_saw() {
    let mut signer = signer();
    join(&mut signer, 1, dev(1));
    join(&mut signer, 2, dev(2));
    let membership = |members: &[u8]| broadcast(9, Class::Read, &READ, members).membership;
    let ledger = membership(&[2, 1]);
    for others in [&[1][..], &[], &[1, 2, 3]] {
        let order = broadcast(9, Class::Read, &READ, others);
        let refusal = refused(&mut signer, &order, vec![]);
        assert_eq!(refusal, SignRefusal::Membership { gid: GID, intent: membership(others), ledger });
        assert_eq!(refusal.code(), "SEC-CMD-POLICY");
        assert!(refusal.to_string().contains("members came or went"), "{refusal}");
    }
    assert_eq!(sign(&mut signer, &broadcast(3, Class::Read, &READ, &[2, 1]), vec![]), 1);
    // A device leaves, and then says once more that it had joined.
    let mut body = Vec::new();
    KeyItem::Leave { gid: GID }.write(&mut body);
    let ctr = sign(&mut signer, &intent(4, Addressee::Device(dev(2)), Class::Keys, &body), vec![]);
    assert_eq!(ctr, 2);
    result(&mut signer, dev(2), 1, ctr, 0);
    result(&mut signer, dev(2), 1, 1, 0);
    let late = refused(&mut signer, &broadcast(5, Class::Read, &READ, &[1, 2]), vec![]);
    assert_eq!(late.code(), "SEC-CMD-POLICY");
    assert_eq!(sign(&mut signer, &broadcast(5, Class::Read, &READ, &[1]), vec![]), 2);
    // A start knows the same members by the same number.
    let mut checkpoint = Vec::new();
    signer.entries(&mut |entry| checkpoint.push(entry.to_vec()));
    let mut again = rebuild(&checkpoint, &[]);
    assert_eq!(sign(&mut again, &broadcast(6, Class::Read, &READ, &[1]), vec![]), 3);
    again.revoked(dev(1));
    assert_eq!(again.books.membership(GID), Membership::EMPTY);
}

#[test]
fn a_classic_device_takes_class_3_by_exception_only() {
    let mut signer = signer();
    let order = Intent { nbf: NOW as u32, ..intent(1, Addressee::Device(CLASSIC), Class::Load, &SWITCH) };
    assert_eq!(refused(&mut signer, &order, vec![]), SignRefusal::Legacy(CLASSIC));
    // The exception of the policy ended at 2000.
    let early = Intent { nbf: 1000, ..order };
    let mut signer = self::signer();
    assert!(matches!(ask(&mut signer, &early, vec![], 1500), Verdict::Authorised(_)));
}

#[test]
fn class_3_is_later_than_the_last_to_each_device_by_whatever_way() {
    let mut signer = signer();
    join(&mut signer, 1, dev(1));
    let at =
        |id, addressee, nbf: u64| Intent { nbf: nbf as u32, ..intent(id, addressee, Class::Load, &SWITCH) };
    let one = Addressee::Device(dev(1));
    let group = |signer: &mut Signer, id, nbf: u64| {
        let membership = signer.books.membership(GID).version();
        let order = Intent { membership, ..at(id, Addressee::Group(GID), nbf) };
        let approvals = vec![approval(&order, "ada", 1), approval(&order, "bob", 2)];
        match ask(signer, &order, approvals, NOW) {
            Verdict::Authorised(authorised) => {
                signer.signed(&authorised);
                None
            }
            Verdict::Refused { refusal, .. } => Some(refusal),
            Verdict::InFlight => panic!("in flight"),
        }
    };
    let ctr = sign(&mut signer, &at(2, one, NOW + 5), vec![]);
    result(&mut signer, dev(1), 1, ctr, 0);
    assert!(matches!(group(&mut signer, 3, NOW + 5), Some(SignRefusal::Order { .. })));
    assert_eq!(group(&mut signer, 3, NOW + 6), None);
    let same = at(4, one, NOW + 6);
    assert_eq!(refused(&mut signer, &same, vec![]).code(), "SEC-SEQ");
    // Another device may share the second; one that joins later brings what it has.
    let ctr = sign(&mut signer, &at(5, Addressee::Device(dev(2)), NOW + 9), vec![]);
    result(&mut signer, dev(2), 1, ctr, 0);
    assert_eq!(group(&mut signer, 6, NOW + 8), None);
    join(&mut signer, 7, dev(2));
    assert!(matches!(group(&mut signer, 8, NOW + 9), Some(SignRefusal::Order { .. })));
    // Who leaves takes along what the group had.
    assert_eq!(group(&mut signer, 8, NOW + 20), None);
    let mut body = Vec::new();
    KeyItem::Leave { gid: GID }.write(&mut body);
    let ctr = sign(&mut signer, &intent(9, one, Class::Keys, &body), vec![]);
    result(&mut signer, dev(1), 1, ctr, 0);
    assert!(matches!(refused(&mut signer, &at(10, one, NOW + 20), vec![]), SignRefusal::Order { .. }));
    assert_eq!(signer.books.members(GID).count(), 1);
    signer.revoked(dev(2));
    assert_eq!(signer.books.members(GID).count(), 0);
}

#[test]
fn a_clock_that_stepped_back_closes_signing_until_it_has_caught_up() {
    let mut signer = signer();
    let read = |id| intent(id, Addressee::Device(dev(id)), Class::Read, &READ);
    sign(&mut signer, &read(1), vec![]);
    let back = ask(&mut signer, &read(2), vec![], NOW - 3);
    assert!(matches!(back, Verdict::Refused { refusal: SignRefusal::Clock(3), .. }));
    assert!(matches!(ask(&mut signer, &read(2), vec![], NOW - 2), Verdict::Authorised(_)));
}

#[test]
fn a_clock_that_stepped_forward_closes_signing_and_its_time_is_not_taken() {
    let mut signer = signer();
    let read = |id| intent(id, Addressee::Device(dev(id)), Class::Read, &READ);
    let look = |signer: &mut Signer, running: u64, wall: u64| {
        signer.look(ClockLook { before: running * 1000, wall: wall * 1000, after: running * 1000 })
    };
    assert_eq!(look(&mut signer, 0, NOW), None);
    sign(&mut signer, &read(1), vec![]);
    let closed = SignRefusal::Stepped(3_600_000);
    assert_eq!(look(&mut signer, 1, NOW + 3601), Some(closed.clone()));
    assert_eq!(look(&mut signer, 2, NOW + 3602), None, "said once");
    let far = ask(&mut signer, &read(2), vec![], NOW + 3602);
    assert!(matches!(far, Verdict::Refused { refusal, .. } if refusal == closed));
    assert_eq!(closed.code(), "SEC-SEQ");
    assert_eq!(look(&mut signer, 3, NOW + 3), None);
    sign(&mut signer, &read(2), vec![]);
    // A start before the time that the log knows believes its clock only when that has caught up.
    let mut checkpoint = Vec::new();
    signer.entries(&mut |entry| checkpoint.push(entry.to_vec()));
    let mut again = rebuild(&checkpoint, &[]);
    assert_eq!(look(&mut again, 4, NOW - 3600), None);
    let early = ask(&mut again, &read(3), vec![], NOW - 3600);
    assert!(matches!(early, Verdict::Refused { refusal: SignRefusal::Clock(3600), .. }));
    assert_eq!(look(&mut again, 5, NOW + 5), None);
    sign(&mut again, &read(3), vec![]);
    assert!(look(&mut again, 6, NOW - 3600).is_some());
}

/// A step of the world.
#[derive(Clone, Debug)]
enum Step {
    Ask {
        dev: u8,
        group: bool,
        class3: bool,
        ahead: u8,
    },
    /// The oldest reservation on its way is settled: durable, and signed, or not.
    Settle {
        durable: bool,
        signed: bool,
    },
    Answer {
        dev: u8,
    },
    /// Cut, and begun anew from a checkpoint and what is durable after it.
    Crash,
    Checkpoint,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_u8, any::<bool>(), any::<bool>(), 0..9_u8)
            .prop_map(|(dev, group, class3, ahead)| Step::Ask { dev, group, class3, ahead }),
        4 => (prop::bool::weighted(0.8), prop::bool::weighted(0.8))
            .prop_map(|(durable, signed)| Step::Settle { durable, signed }),
        3 => (0..3_u8).prop_map(|dev| Step::Answer { dev }),
        1 => Just(Step::Crash),
        1 => Just(Step::Checkpoint),
    ];
    vec(step, 1..80)
}

#[derive(Clone)]
enum Logged {
    Ctr(Reservation),
    Signed(CommandId, Vec<u8>),
    Result(Dev, u8, u32),
}

fn rebuild(checkpoint: &[Vec<u8>], log: &[Logged]) -> Signer {
    let mut signer = signer();
    checkpoint.iter().for_each(|entry| signer.restore(entry).unwrap());
    for logged in log {
        match logged {
            Logged::Ctr(reservation) => signer.replay_reservation(*reservation),
            Logged::Signed(id, octets) => signer.replay_signed(*id, octets),
            Logged::Result(dev, kind, ctr) => result(&mut signer, *dev, *kind, *ctr, 0),
        }
    }
    signer.rebuilt();
    signer
}

proptest! {
    #[test]
    fn no_counter_is_signed_twice_and_class_3_goes_up_whatever_is_cut(steps in steps()) {
        let mut signer = signer();
        (0..3).for_each(|number| join(&mut signer, 200 + number, dev(number)));
        let (mut checkpoint, mut log) = (Vec::new(), Vec::<Logged>::new());
        signer.entries(&mut |entry| checkpoint.push(entry.to_vec()));
        let mut on_its_way = std::collections::VecDeque::new();
        let (mut id, mut used) = (0_u8, HashSet::new());
        let mut last_load = [0_u32; 3];
        let (mut signed_ids, mut last_ctr) = (HashSet::new(), [0_u32; 3]);
        for step in steps {
            match step {
                Step::Ask { dev: number, group, class3, ahead } => {
                    id = id.wrapping_add(1);
                    let addressee = if group { Addressee::Group(GID) } else { Addressee::Device(dev(number)) };
                    let (class, body) = if class3 { (Class::Load, &SWITCH[..]) } else { (Class::Read, &READ[..]) };
                    let membership = if group { signer.books.membership(GID).version() } else { 0 };
                    let nbf = NOW as u32 + u32::from(ahead);
                    let order = Intent { nbf, membership, ..intent(id, addressee, class, body) };
                    let approvals = vec![approval(&order, "ada", 1), approval(&order, "bob", 2)];
                    if let Verdict::Authorised(authorised) = ask(&mut signer, &order, approvals, NOW) {
                        on_its_way.push_back(authorised);
                    }
                }
                Step::Settle { durable, signed } => {
                    let Some(authorised) = on_its_way.pop_front() else { continue };
                    if !durable {
                        signer.cancel(&authorised);
                        continue;
                    }
                    log.push(Logged::Ctr(authorised.reservation()));
                    if !signed {
                        signer.cancel(&authorised);
                        continue;
                    }
                    let Ok(octets) = authorised.sign(&key(5));
                    let addressee = authorised.intent.addressee;
                    prop_assert!(used.insert((addressee.kind(), match addressee {
                        Addressee::Device(dev) => Some(dev), Addressee::Group(_) => None,
                    }, authorised.ctr())), "a counter came twice");
                    prop_assert!(signed_ids.insert(authorised.intent.id));
                    if authorised.intent.class == Class::Load {
                        for (number, last) in last_load.iter_mut().enumerate() {
                            if addressee == Addressee::Device(dev(number as u8)) || matches!(addressee, Addressee::Group(_)) {
                                prop_assert!(authorised.intent.nbf > *last, "class 3 out of order");
                                *last = authorised.intent.nbf;
                            }
                        }
                    }
                    if let Addressee::Device(Dev([number, ..])) = addressee {
                        last_ctr[usize::from(number)] = authorised.ctr();
                    }
                    log.push(Logged::Signed(authorised.intent.id, octets));
                    signer.signed(&authorised);
                }
                Step::Answer { dev: number } => {
                    let ctr = last_ctr[usize::from(number)];
                    result(&mut signer, dev(number), 1, ctr, 0);
                    log.push(Logged::Result(dev(number), 1, ctr));
                }
                Step::Crash => {
                    on_its_way.clear();
                    signer = rebuild(&checkpoint, &log);
                }
                Step::Checkpoint if signer.is_idle() => {
                    let rebuilt = rebuild(&checkpoint, &log);
                    prop_assert_eq!(&rebuilt.ids, &signer.ids);
let members = |signer: &Signer| signer.books.members(GID).collect::<HashSet<_>>();
                    prop_assert_eq!(members(&rebuilt), members(&signer));
                    checkpoint.clear();
                    log.clear();
                    signer.entries(&mut |entry| checkpoint.push(entry.to_vec()));
                }
                Step::Checkpoint => {}
            }
        }
    }

    #[test]
    fn any_chunk_is_restored_or_refused(chunk in vec(0..9_u8, 0..80)) {
        let _ = signer().restore(&chunk);
    }

    #[test]
    fn any_request_is_decided(octets: Vec<u8>, now: u64) {
        let _ = signer().authorise(&octets, now, &meters());
    }
}
