//! Commands that root signed.

use seal::command::ROOT;

use super::*;
use crate::front::SignedSubmission;

fn root() -> SigningKey {
    SigningKey::from_octets(&[77; 32]).unwrap()
}

fn revoke(skid: u8) -> Vec<u8> {
    let mut body = Vec::new();
    KeyItem::SignerRevoke { skid }.write(&mut body);
    body
}

fn command(now: u64, ctr: u32, body: &[u8]) -> Command<'_> {
    Command { skid: ROOT, class: 4, ctr, nbf: now as u32, ttl: 10, body }
}

fn signed(command: &Command<'_>, addressee: Addressee, key: &SigningKey) -> SignedSubmission {
    let Ok(octets) = sign(command.octets().unwrap(), SYSTEM, addressee, key);
    SignedSubmission { addressee, octets, requester: "ann".into(), roles: Roles::SECURITY }
}

impl World {
    fn of_root(&self, submission: &SignedSubmission) -> Result<Taken, Refusal> {
        let key = root().verifying_key();
        self.desk.of_root(&OfRoot::read(submission, SYSTEM, Some(&key))?, 0, self.now)
    }

    /// Takes a revocation by root, where the desk takes it.
    pub(super) fn take_of_root(&mut self, addressee: Addressee, ctr: u32) -> Option<CommandId> {
        let submission = signed(&command(self.now, ctr, &revoke(2)), addressee, &root());
        let taken = self.of_root(&submission).ok()?;
        if self.desk.requested(&taken.request_id).is_some() {
            return None;
        }
        let id = taken.id;
        self.signed.insert(id, submission.octets);
        self.roots.push(id);
        self.tell(Some(self.now), Heard::Taken(Box::new(taken)));
        Some(id)
    }

    fn sent_to(&self, number: u8) -> Vec<Vec<u8>> {
        let to = |action: &Action| match action {
            Action::Send { dev: to, signed, .. } if *to == dev(number) => Some(signed.clone()),
            _ => None,
        };
        self.sent.iter().filter_map(to).collect()
    }
}

#[test]
fn a_command_is_born_signed_repeated_as_it_is_and_ends_by_the_device_alone() {
    let mut world = World::new();
    let to = Addressee::Device(dev(0));
    // What the signer does not sign, or a device does not answer, holds up nothing of root's.
    let waits = world.take(to, Class::Read, read(), "waits");
    let id = world.take_of_root(to, 5).unwrap();
    let second = world.take_of_root(to, 6).unwrap();
    assert_eq!(world.desk.state(id), Some(CommandState::Signed));
    assert_eq!(world.desk.of_device(dev(0)), (Some(id), 2));
    let asked_signer = |world: &World| world.signed.contains_key(&waits);
    for _ in 0..4 {
        world.act(false);
        world.now += 100;
    }
    assert!(!asked_signer(&world));
    let sent = world.sent_to(0);
    assert!(sent.len() > 2 && sent.iter().all(|octets| *octets == world.signed[&id]), "the same, in turn");
    let view = world.desk.command(id, Page::NONE).unwrap();
    assert_eq!((view.order, view.class, view.state), ("signer-revoke", 4, CommandState::Sent));
    assert_eq!(
        crate::intent::Intent::read(&view.intent).map(|intent| (intent.skid, intent.id)),
        Some((ROOT, id))
    );
    // The same counter under another key, from another device, or to a group, is another command.
    for (from, skid, kind) in [(0, 1, 1), (1, 0, 1), (0, 0, 2)] {
        let heard = Heard::Result { dev: dev(from), skid, kind, ctr: 5, result: 0, rest: vec![] };
        world.tell(Some(world.now), heard);
    }
    assert_eq!(world.outcome(id), None);
    world.result(0, id, 0, false);
    assert_eq!(world.outcome(id), Some(Outcome::Done { result: 0, response: b"epsem".to_vec() }));
    world.sent.clear();
    world.act(false);
    assert_eq!(world.sent_to(0), [world.signed[&second].clone()], "the next of root's");
    world.result(0, second, 16, false);
    let refused = Outcome::Refused { by: By::Device, code: "SEC-DN-SIG".into() };
    assert_eq!(world.outcome(second), Some(refused));
    for at in 0..=world.log.len() {
        assert!(world.rebuilt(at) == world.desk, "{at}");
    }
}

#[test]
fn one_that_nobody_answers_expires() {
    let mut world = World::new();
    let id = world.take_of_root(Addressee::Device(dev(0)), 1).unwrap();
    world.finish(false);
    assert_eq!(world.outcome(id), Some(Outcome::Expired));
}

#[test]
fn a_group_is_told_whatever_counter_the_signer_has_reached() {
    let mut world = World::new();
    world.group();
    for number in 0..2 {
        let join = world.item(number, &KeyItem::Join { gid: GID, classes: Classes(0x3f) });
        world.act(true);
        world.result(number, join, 0, false);
    }
    world.ctr = 900;
    let ordinary = world.take(Addressee::Group(GID), Class::Read, read(), "g");
    world.act(true);
    let id = world.take_of_root(Addressee::Group(GID), 3).unwrap();
    world.now += 1;
    world.act(true);
    let told = |id: CommandId| {
        let broadcast =
            |action: &Action| matches!(action, Action::Broadcast { id: other, .. } if *other == id);
        world.sent.iter().any(broadcast)
    };
    assert!(told(ordinary) && told(id), "the counters of two keys say nothing of each other");
    for number in 0..2 {
        assert_eq!(world.outcome(id), None);
        world.result(number, id, 0, false);
    }
    assert_eq!(world.outcome(id), Some(Outcome::Done { result: 0, response: vec![] }));
    // Below that no member takes one, and the desk would not repeat it.
    let late = signed(&command(world.now, 2, &revoke(2)), Addressee::Group(GID), &root());
    assert_eq!(world.of_root(&late), Err(RootError::Counter(2).into()));
}

#[test]
fn the_same_command_has_one_name_however_it_was_signed() {
    let mut world = World::new();
    let to = Addressee::Device(dev(0));
    let key = root().verifying_key();
    let body = revoke(2);
    let one = signed(&command(world.now, 5, &body), to, &root());
    let name = |submission: &SignedSubmission| {
        let read = OfRoot::read(submission, SYSTEM, Some(&key)).unwrap();
        (read.request_id(), read.content())
    };
    world.take_of_root(to, 5).unwrap();
    let requested = world.desk.requested(&name(&one).0).unwrap();
    assert_eq!(requested.content, name(&one).1);
    // Another under the same counter has the same name, and another content.
    let other = signed(&command(world.now, 5, &revoke(3)), to, &root());
    assert!(name(&other).0 == name(&one).0 && name(&other).1 != name(&one).1);
    // Nobody else takes such a name before.
    let squatter = Submission {
        request_id: name(&signed(&command(world.now, 6, &body), to, &root())).0,
        ..advance(dev(0), 1, [0; 8], String::new())
    };
    assert!(matches!(world.desk.check(&squatter), Err(Refusal::Invalid(_))));
}

#[test]
fn what_is_not_roots_is_refused() {
    let mut world = World::new();
    world.group();
    let (now, to, body) = (world.now, Addressee::Device(dev(0)), revoke(2));
    let good = command(now, 5, &body);
    let refused = |submission: &SignedSubmission| world.of_root(submission).unwrap_err();
    let by_root = |command: &Command<'_>| refused(&signed(command, to, &root()));
    assert!(world.of_root(&signed(&good, to, &root())).is_ok());

    assert_eq!(refused(&signed(&good, to, &head_end())), RootError::Signature.into());
    let moved = SignedSubmission { addressee: Addressee::Device(dev(1)), ..signed(&good, to, &root()) };
    assert_eq!(refused(&moved), RootError::Signature.into());
    let read = OfRoot::read(&moved, System([2; 8]), Some(&root().verifying_key()));
    assert_eq!(read.unwrap_err(), RootError::Signature.into());
    let unknown = signed(&good, to, &root());
    assert_eq!(OfRoot::read(&unknown, SYSTEM, None).unwrap_err(), RootError::NoRoot.into());
    assert_eq!(by_root(&Command { skid: 1, ..good }), RootError::Skid(1).into());
    for class in [0, 1, 2, 3, 5, 9] {
        assert_eq!(by_root(&Command { class, ..good }).code(), "SEC-CMD-CLASS");
    }
    let mut join = body.clone();
    KeyItem::Join { gid: GID, classes: Classes(1) }.write(&mut join);
    for body in [&b""[..], b"\x05", b"\xff", &join] {
        assert_eq!(by_root(&Command { body, ..good }).code(), "SEC-CMD-CLASS", "{body:?}");
    }
    for cut in [0, 1, 75] {
        let mut short = signed(&good, to, &root());
        short.octets.truncate(cut);
        assert_eq!(refused(&short).code(), "SEC-CMD-CLASS");
    }
    for (nbf, ttl) in [(now - 601, 10), (now, 0), (now + 301, 10)] {
        let when = by_root(&Command { nbf: nbf as u32, ttl, ..good });
        assert!(matches!(when, Refusal::Root(RootError::When(_))), "{when}");
    }
    assert!(world.of_root(&signed(&Command { nbf: (now - 600) as u32, ..good }, to, &root())).is_ok());
    let nobody = signed(&good, Addressee::Group(GID), &root());
    assert_eq!(refused(&nobody), Refusal::EmptyGroup(GID));
    let weak = SignedSubmission { roles: Roles::OPERATOR, ..signed(&good, to, &root()) };
    assert_eq!(refused(&weak), Refusal::Role("security"));

    // And what root alone may is refused under any other key.
    let order = OrderKind::SignerRevoke { skid: 2 };
    let roles = Roles::SECURITY;
    let asked = Submission { order, roles, ..advance(dev(0), 1, [0; 8], "x".into()) };
    assert_eq!(world.desk.check(&asked), Err(Refusal::RootOnly));
}
