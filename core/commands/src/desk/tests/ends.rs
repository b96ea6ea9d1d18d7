//! Commands, from their taking to their end.

use super::*;

#[test]
fn one_command_at_a_time_goes_to_a_device() {
    let mut world = World::new();
    let to = Addressee::Device(dev(0));
    let first = world.take(to, Class::Read, read(), "a");
    let second = world.take(to, Class::Read, read(), "b");
    let other = world.take(Addressee::Device(dev(1)), Class::Read, read(), "c");
    world.act(true);
    world.act(true);
    assert!(world.signed.contains_key(&first) && world.signed.contains_key(&other));
    assert!(!world.signed.contains_key(&second), "it waits");
    assert_eq!(world.desk.of_device(dev(0)), (Some(first), 1));
    // Repeats are the same octets, with growing gaps.
    let before = world.sent.len();
    (0..120).for_each(|_| {
        world.now += 1;
        world.act(true);
    });
    let repeats: Vec<_> = world.sent[before..].iter().collect();
    assert_eq!(repeats.len(), 4, "after 30 and 90 seconds, to each of two");
    assert!(repeats.iter().all(|action| world.sent[..before].contains(action)));
    world.result(0, first, 0, false);
    assert_eq!(world.outcome(first), Some(Outcome::Done { result: 0, response: b"epsem".to_vec() }));
    world.act(true);
    assert!(world.signed.contains_key(&second), "its turn");
    world.finish(true);
    assert_eq!(world.outcome(second), Some(Outcome::Expired));
    assert_eq!((world.ended["done"], world.ended["expired"], world.desk.pending()), (1, 2, 0));
}

#[test]
fn results_say_who_refused() {
    let mut world = World::new();
    let expected = [
        (16, Outcome::Refused { by: By::Device, code: "SEC-DN-SIG".into() }),
        (17, Outcome::Refused { by: By::Device, code: "SEC-DN-CLASS".into() }),
        (18, Outcome::Unknown),
        (19, Outcome::Refused { by: By::Device, code: "SEC-DN-TIME".into() }),
        (20, Outcome::Refused { by: By::Device, code: "SEC-DN-ORDER".into() }),
        (3, Outcome::Done { result: 3, response: b"epsem".to_vec() }),
    ];
    for (result, outcome) in expected {
        let id = world.take(Addressee::Device(dev(0)), Class::Read, read(), "");
        world.act(true);
        world.result(0, id, result, false);
        assert_eq!(world.outcome(id), Some(outcome));
    }
    let id = world.take(Addressee::Device(dev(0)), Class::Read, read(), "");
    let code = "SEC-CMD-POLICY".to_owned();
    world.tell(None, Heard::Refused { id, code: code.clone() });
    assert_eq!(world.outcome(id), Some(Outcome::Refused { by: By::Signer, code }));
}

#[test]
fn only_the_device_that_was_addressed_ends_a_command() {
    let mut world = World::new();
    let id = world.take(Addressee::Device(dev(0)), Class::Read, read(), "");
    world.act(true);
    world.result(1, id, 0, false);
    assert_eq!(world.outcome(id), None);
    world.result(0, id, 0, false);
    world.result(0, id, 0, false);
    world.result(0, id, 18, false);
    let view = world.desk.command(id, Page::NONE).unwrap();
    let late = view.history.iter().filter(|step| matches!(step.what, crate::front::Word::Late(18))).count();
    assert_eq!((late, view.history.len()), (1, 4), "a repeat is nothing, another result is late");
}

#[test]
fn a_switch_needs_the_devices_own_signature() {
    let mut world = World::new();
    let to = Addressee::Device(dev(0));
    let id = world.take(to, Class::Load, read(), "");
    world.act(true);
    world.result(0, id, 0, false);
    let receipt = world.desk.command(id, Page::NONE).unwrap().receipt.unwrap();
    assert!(receipt.verified && u64::from(receipt.executed_at) == world.now);
    let forged = world.take(to, Class::Load, read(), "");
    world.act(true);
    world.result(0, forged, 0, true);
    assert_eq!(world.outcome(forged), Some(Outcome::Unknown));
}

/// A store that says this of every device's key.
struct Says(Result<Option<VerifyingKey>, Unreadable>);

impl Fleet for Says {
    fn system(&self) -> System {
        SYSTEM
    }

    fn signing_key(&self, _: Dev) -> Result<Option<VerifyingKey>, Unreadable> {
        self.0
    }

    fn count(&self) -> u64 {
        0
    }

    fn each(&self, _: &mut dyn FnMut(Dev)) {}
}

#[test]
fn a_switch_whose_signature_cannot_be_checked_is_not_done() {
    let mut world = World::new();
    let id = world.take(Addressee::Device(dev(0)), Class::Load, read(), "");
    world.act(true);
    world.result(0, id, 0, false);
    let ended = |says: Result<Option<VerifyingKey>, Unreadable>| {
        let mut desk = Desk::new(world.settings);
        world.log.iter().for_each(|(at, heard)| _ = desk.hear(*at, heard, &Says(says)));
        let view = desk.command(id, Page::NONE).unwrap();
        (view.outcome.unwrap(), view.receipt.map(|receipt| receipt.verified))
    };
    assert_eq!(ended(Err(Unreadable)), (Outcome::Unknown, None));
    // One that was registered without a key of its own.
    assert!(matches!(ended(Ok(None)), (Outcome::Done { .. }, Some(false))));
}

#[test]
fn a_group_switch_waits_for_two_different_approvers() {
    let mut world = World::new();
    world.group();
    world.item(0, &KeyItem::Join { gid: GID, classes: Classes(0x3f) });
    world.act(true);
    world.result(0, CommandId([1; 16]), 0, false);
    let id = world.take(Addressee::Group(GID), Class::Load, read(), "");
    let approve = |world: &mut World, approver: &str| {
        let heard = Heard::Approved { id, approver: approver.into(), signature: [7; 64] };
        world.tell(Some(world.now), heard);
        world.act(true);
        world.signed.contains_key(&id)
    };
    assert_eq!(world.desk.awaits_approval(id), Ok(()));
    assert!(!approve(&mut world, "ann"));
    assert!(!approve(&mut world, "ann"));
    assert!(approve(&mut world, "bob"));
    assert_eq!(world.desk.awaits_approval(id), Err(Refusal::NotAwaiting(id)));
    world.result(0, id, 0, false);
    let view = world.desk.command(id, Page { skip: 0, count: 10 }).unwrap();
    assert_eq!(view.outcome, Some(Outcome::Done { result: 0, response: vec![] }));
    assert_eq!((view.counts.unwrap().done, view.counts.unwrap().missing, view.results.len()), (1, 0, 1));
    assert!(view.results[0].receipt.unwrap().verified);
}

#[test]
fn a_time_request_is_answered_once() {
    let mut world = World::new();
    let asked = Heard::TimeRequest { dev: dev(0), nonce: [5; 8] };
    world.tell(Some(world.now), asked.clone());
    world.tell(Some(world.now), asked);
    world.act(true);
    assert_eq!(world.taken(), 1);
    world.tell(Some(world.now - 100), Heard::TimeRequest { dev: dev(1), nonce: [5; 8] });
    world.act(true);
    assert_eq!(world.taken(), 1, "too late");
}

#[test]
fn old_commands_are_forgotten_when_they_are_filed() {
    let mut world = World::with(Settings { kept_max: 5, ..settings() });
    for _ in 0..20 {
        let id = world.take(Addressee::Device(dev(0)), Class::Read, read(), "");
        world.act(true);
        world.result(0, id, 0, false);
        world.now += 1;
        world.act(true);
    }
    let all = Page { skip: 0, count: 100 };
    assert_eq!(world.desk.commands(&Filter::default(), all).len(), 5);
    assert_eq!(world.ended["done"], 20);
}
