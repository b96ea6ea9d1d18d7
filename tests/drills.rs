//! Compromise drills: one secret is stolen, the attacker does with it what he can to real meters and head-ends, the
//! documented answer is carried out, and what is still trusted is computed by asking. THREATS.md tells each in
//! words.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

mod drills {
    pub mod house;
    pub mod meter;
    pub mod standing;
}

use std::collections::HashSet;
use std::path::Path;

use commands::approval::{Approval, prehash};
use commands::class::ProfileClassifier;
use commands::code::SignRefusal;
use commands::front::CommandId;
use commands::group::Membership;
use commands::intent::{Intent, SigningRequest};
use commands::policy::{Policy, PolicyError};
use commands::signer::{Fleet, Member, Signer, Verdict};
use drills::house::{
    GID, House, NEXT, ROOT, SKID, SYSTEM, carried, carry, frame, registration_key, signed, signing_key,
    switch,
};
use drills::meter::{BEGIN, Secrets, profile};
use drills::standing::Standing;
use keystore::token::{self, Holder};
use keystore::{Keys, Store, StoreError};
use seal::command::{Addressee, Class, Classes, Command, KeyItem, Point, Receipt};
use seal::control::{Ack, Down, Item};
use seal::frame::{Bound, FrameType, Head};
use seal::group::GroupKeys;
use seal::ids::{Dev, Epoch, Sid};
use seal::profile1::Channel;
use seal::schedule::{self, AssociationKeys};
use seal::secret::{Key128, Prk};
use seal::signature::{Signer as _, SigningKey, VerifyingKey};
use support::lab::{Lab, SYSTEM as LAB_SYSTEM};
use support::office::{Office, dev};

const HOUR: u64 = 3600;

/// The keys of one association in one epoch, in the hands of somebody else.
struct Loot {
    dev: Dev,
    sid: Sid,
    epoch: Epoch,
    prk: [u8; 32],
    keys: AssociationKeys,
}

impl Loot {
    fn new(dev: Dev, (sid, prk): (Sid, [u8; 32]), epoch: u16) -> Self {
        Self { dev, sid, epoch: Epoch(epoch), prk, keys: schedule::derive(&Prk::from_octets(prk), sid) }
    }

    /// He can turn the ratchet forwards as well as the owner.
    fn next(&self) -> Self {
        let next = self.epoch.next().unwrap();
        let prk = *schedule::advance(&Prk::from_octets(self.prk), next).expose();
        Self::new(self.dev, (self.sid, prk), next.0)
    }

    fn channel(&self, up: bool) -> Channel<'_> {
        let bound = Bound { system: SYSTEM, scope: self.dev.into(), epoch: self.epoch };
        let key = if up { &self.keys.up } else { &self.keys.dn };
        Channel { key, common_iv: &self.keys.common_iv, bound }
    }

    /// A made-up report, in an APDU.
    fn report(&self, seq: u32) -> Vec<u8> {
        carry(&frame(&self.channel(true), FrameType::Report, self.sid.0, seq, &[0x80, 1, 0x20]))
    }

    fn down(&self, frame_type: FrameType, seq: u32, plaintext: &[u8]) -> Vec<u8> {
        carry(&frame(&self.channel(false), frame_type, self.sid.0, seq, plaintext))
    }

    fn opens(&self, apdu: &[u8]) -> bool {
        opens(&self.channel(true), apdu) || opens(&self.channel(false), apdu)
    }
}

fn opens(channel: &Channel<'_>, apdu: &[u8]) -> bool {
    let (head, mut body) = carried(apdu);
    let head = Head::read(&head, body.len()).unwrap();
    channel.open(&head, &mut body).is_some()
}

/// A frame to the group under a stolen key, with a command signed by a key that he has.
fn to_group((epoch, gms): (Epoch, [u8; 16]), seq: u32, signed: &[u8]) -> Vec<u8> {
    let keys = GroupKeys::derive(&Key128::from_octets(gms), GID, epoch);
    carry(&frame(&keys.channel(SYSTEM), FrameType::GroupCommand, GID.0, seq, signed))
}

/// What an attacker orders: to switch off, in due time, with a counter that was never used.
fn off(skid: u8, ctr: u32, now: u64, body: &[u8]) -> Command<'_> {
    Command { skid, class: 3, ctr, nbf: (BEGIN + now) as u32 + 60, ttl: 60, body }
}

#[test]
fn one_meter_is_opened() {
    let (mut house, [a, mut b, mut c]) = House::with_meters();
    // Stolen: everything that meter A stores.
    let receiver = a.agent.receiver().unwrap();
    let association = &receiver.association;
    let loot = Loot::new(a.dev(), (association.sid(), *association.prk().expose()), 0);
    let group = (Epoch(1), *receiver.groups.all()[0].held[0].gms.expose());

    // He reports as A, reads what the group is told, and registers as A.
    house.handle(&loot.report(40));
    assert_eq!(house.reports.last(), Some(&a.dev()));
    let told = house.broadcast();
    let keys = GroupKeys::derive(&Key128::from_octets(group.1), GID, group.0);
    assert!(opens(&keys.channel(SYSTEM), &told));
    let mut twin = house.make(a.secrets);
    assert!(house.register(&mut twin));
    let loot = Loot::new(a.dev(), house.prk(a.dev()), 0);

    // He opens nothing of B, does not register as B, orders nobody, and proves nothing of B.
    b.report();
    let of_b = b.sends();
    assert!(!of_b.is_empty() && of_b.iter().all(|apdu| !loot.opens(apdu)));
    let as_b = Loot { dev: b.dev(), ..Loot::new(a.dev(), house.prk(a.dev()), 0) };
    assert!(of_b.iter().all(|apdu| !as_b.opens(apdu)));
    house.settle(&mut b);
    let mut pretender = house.make(Secrets { dev: b.dev(), ..a.secrets });
    assert!(!house.register(&mut pretender));
    assert_eq!(house.refused.last(), Some(&"SEC-REG-MAC"));
    let body = switch(false);
    let forged = signed(&off(SKID, 900, 0, &body), Addressee::Group(GID), &a.secrets.signing_key());
    assert_eq!(b.take(&to_group(group, 5000, &forged)), ["SEC-DN-SIG"]);
    assert!(!b.switched_off());
    let receipt = Receipt { system: SYSTEM, dev: b.dev(), digest: [1; 32], result: 0, executed_at: 1 };
    let Ok(signature) = receipt.sign(&a.secrets.signing_key());
    assert!(!receipt.verifies(&b.secrets.public().1, &signature));

    // The answer: A is revoked, the group gets a new key at once, and the old one goes after 72 hours.
    house.revoke(a.dev());
    house.rekey();
    house.deliver(&mut b);
    house.deliver(&mut c);
    let told = house.broadcast();
    let guessed = GroupKeys::derive(&Key128::from_octets(group.1), GID, house.gms().0);
    assert!(!opens(&guessed.channel(SYSTEM), &told));
    assert!(b.take(&told).is_empty() && c.take(&told).is_empty());
    assert!(b.switched_off() && c.switched_off(), "the group is told, and A does not hear it");
    house.now += 73 * HOUR;
    b.now = house.now;

    house.handle(&loot.report(50));
    let association = house.refused.last() != Some(&"SEC-UP-REVOKED");
    let credential = house.register(&mut twin);
    assert_eq!(house.refused.last(), Some(&"SEC-REG-REVOKED"));
    let old_key = b.take(&to_group(group, 5001, &forged)) != ["SEC-DN-EPOCH"];
    let standing = Standing::default()
        .of("meter A's association", association)
        .of("meter A's credential", credential)
        .of("the group's key of then", old_key)
        .of("meter B", house.hears(&mut b))
        .of("meter C", house.hears(&mut c))
        .of("SK_cmd", house.commands(&mut b, SKID))
        .of("SK_reg", house.register(&mut c));
    standing.must_be(
        "one meter opened",
        &["meter B", "meter C", "SK_cmd", "SK_reg"],
        &["meter A's association", "meter A's credential", "the group's key of then"],
    );
}

/// The same against a head-end that runs: the thief is a second fleet with the secrets of one meter.
#[test]
fn an_opened_meter_is_revoked_at_a_running_head_end() {
    let office = Office::open(4);
    let head_end = office.lab.head_end();
    let text = std::fs::read_to_string(office.lab.file("lab.secrets.csv")).unwrap();
    let (shared, rows) = text.split_once("agreement,signing\n").unwrap();
    let stolen = rows.lines().find(|row| row.starts_with(&dev(1))).unwrap();
    let loot = office.lab.file("stolen.secrets.csv");
    std::fs::write(&loot, format!("{shared}agreement,signing\n{stolen}\n")).unwrap();
    let registers = |file: &Path| {
        let output = office
            .lab
            .program()
            .args(["fleet", "--json", "--rate", "4", "--duration", "6", "--relays", "1", "--grace", "4"])
            // What is lost while the head-end still gets its token is soon repeated.
            .args(["--time-scale", "60"])
            .args(["--connect", &format!("127.0.0.1:{}", office.lab.port), "--manifest-secrets"])
            .arg(file)
            .output()
            .unwrap();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        said["registered"].as_u64().unwrap()
    };
    assert_eq!(registers(&loot), 1, "he is the meter");

    office.done(&["device", "revoke", &dev(1)]);
    let as_the_meter = registers(&loot) == 1;
    let others = registers(&office.lab.file("lab.secrets.csv")) == 3;
    let revoked = office.done(&["device", "show", &dev(1)])["revoked"] == true;
    Standing::default()
        .of("the opened meter", as_the_meter || !revoked)
        .of("the other three", others)
        .must_be("one meter opened, running", &["the other three"], &["the opened meter"]);
    office.lab.stop(head_end);
}

#[test]
fn the_decrypt_host_is_taken() {
    let (mut house, [mut a, mut b, mut c]) = House::with_meters();
    a.report();
    let earlier = a.sends();
    earlier.iter().for_each(|apdu| drop(house.handle(apdu)));
    // An epoch later the host is taken: associations and group keys, of all its shards.
    house.issue(a.dev());
    let mut advance = Vec::new();
    KeyItem::Advance { campaign: 1, delta: 1, challenge: &[7; 8] }.write(&mut advance);
    assert_eq!(house.order(&mut a, SKID, Class::Keys, &advance), Some(0));
    let loot = Loot::new(a.dev(), house.prk(a.dev()), 1);
    let of_b = Loot::new(b.dev(), house.prk(b.dev()), 0);
    let group = house.gms();

    // He reads what comes, makes up reports, and takes a reading from B by an acknowledgement of his own.
    a.report();
    let sent = a.sends();
    assert!(!sent.is_empty() && sent.iter().all(|apdu| loot.opens(apdu)));
    sent.iter().for_each(|apdu| drop(house.handle(apdu)));
    house.handle(&of_b.report(60));
    assert_eq!(house.reports.last(), Some(&b.dev()));
    b.report();
    assert!(!b.sends().is_empty() && b.agent.waiting() > 0);
    let mut ack = Vec::new();
    Down::Ack(Ack { epoch: Epoch(0), highest: 63, bitmap: u64::MAX }).write(&mut ack);
    b.take(&of_b.down(FrameType::DownControl, 5000, &ack));
    assert_eq!(b.agent.waiting(), 0, "it believes that it is durable");
    // The next epoch does not heal: he ratchets along.
    house.issue(a.dev());
    advance.clear();
    KeyItem::Advance { campaign: 2, delta: 1, challenge: &[7; 8] }.write(&mut advance);
    assert_eq!(house.order(&mut a, SKID, Class::Keys, &advance), Some(0));
    a.report();
    assert!(a.sends().iter().all(|apdu| loot.next().opens(apdu)));

    // He opens nothing of an earlier epoch, orders nobody, and registers neither as a meter nor as the head-end.
    assert!(earlier.iter().all(|apdu| !loot.opens(apdu)));
    let (body, own) = (switch(false), signing_key("the attacker's"));
    let forged = signed(&off(SKID, 900, house.now, &body), Addressee::Device(b.dev()), &own);
    assert_eq!(b.take(&of_b.down(FrameType::Command, 5001, &forged)), ["SEC-DN-SIG"]);
    let forged = signed(&off(SKID, 900, house.now, &body), Addressee::Group(GID), &own);
    assert_eq!(c.take(&to_group(group, 5000, &forged)), ["SEC-DN-SIG"]);
    assert!(!b.switched_off() && !c.switched_off());
    let mut pretender = house.make(Secrets { dev: c.dev(), ..Secrets::of(9) });
    assert!(!house.register(&mut pretender));
    let mut rogue = House::new(registration_key(0, "the attacker's"), 900);
    assert!(!rogue.register(&mut c));

    // The answer: every association of that host is made anew, the group gets a new key.
    house.now += 400;
    for meter in [&mut a, &mut b, &mut c] {
        meter.now = house.now;
        house.settle(meter);
        assert!(house.register(meter));
    }
    house.rekey();
    for meter in [&mut a, &mut b, &mut c] {
        house.deliver(meter);
    }
    b.report();
    assert!(b.sends().iter().all(|apdu| !of_b.opens(apdu)));
    house.settle(&mut b);
    house.now += 73 * HOUR;
    (b.now, c.now) = (house.now, house.now);

    house.handle(&of_b.report(61));
    let up = house.refused.last() != Some(&"SEC-UP-UNKNOWN");
    let down = b.take(&of_b.down(FrameType::Command, 5002, &forged)) != ["SEC-DN-EPOCH"];
    let old_key = c.take(&to_group(group, 5001, &forged)) != ["SEC-DN-EPOCH"];
    Standing::default()
        .of("reports under the associations of then", up)
        .of("orders under the associations of then", down)
        .of("the group's key of then", old_key)
        .of("meters' credentials", house.register(&mut a))
        .of("SK_reg", house.register(&mut b))
        .of("SK_cmd", house.commands(&mut b, SKID))
        .of("the associations made since", house.hears(&mut c))
        .must_be(
            "decrypt host taken",
            &["meters' credentials", "SK_reg", "SK_cmd", "the associations made since"],
            &[
                "reports under the associations of then",
                "orders under the associations of then",
                "the group's key of then",
            ],
        );
}

#[test]
fn the_registration_key_is_stolen() {
    let (mut house, [mut a, mut b, mut c]) = House::with_meters();
    // A registration that he recorded before.
    c.agent.register(drills::meter::at(0));
    let message_1 = c.sends().remove(0);
    house.handle(&message_1).iter().for_each(|apdu| drop(c.take(apdu)));
    let message_3 = c.sends().into_iter().find(|apdu| carried(apdu).0[0] == 0x1a).unwrap();
    house.handle(&message_3).iter().for_each(|apdu| drop(c.take(apdu)));
    house.settle(&mut c);

    // Stolen: SK_reg. A head-end of his own has it, and signing keys of his own.
    let mut rogue = House::new(registration_key(0, "SK_reg"), 900);
    rogue.keys.insert(SKID, signing_key("the attacker's"));
    // A meter in his reach registers with him; he reads its reports.
    assert!(rogue.register(&mut a) && rogue.hears(&mut a));
    // It does not do what he says; what others registered stays theirs; what he recorded stays closed.
    assert_eq!(rogue.order(&mut a, SKID, Class::Load, &switch(false)), Some(16));
    assert!(!a.switched_off());
    assert!(house.hears(&mut b));
    let answer = rogue.handle(&message_1).remove(0);
    assert_eq!(carried(&answer).0[0], 0x19);
    let (head, body) = carried(&message_3);
    // His own run's association in the place of the recorded one: 900 was A's, this is the next.
    let sid = Sid::new(0, 901).unwrap().0.to_be_bytes();
    rogue.handle(&carry(&[&head[..1], &sid, &body].concat()));
    assert_eq!(rogue.refused, ["SEC-REG-MAC"]);
    let mut pretender = house.make(Secrets { dev: b.dev(), ..Secrets::of(9) });
    assert!(!house.register(&mut pretender), "SK_reg makes nobody a meter");

    // The answer: he is cut off, A comes back, all are told of the next credential and register with it.
    house.now += 400;
    assert!(house.register(&mut a));
    let next = registration_key(1, "SK_reg, the next");
    let (x, y) = (next.0.key.x(), next.0.key.y());
    let mut item = Vec::new();
    KeyItem::CredentialNext { kid: 1, point: Point { x: &x, y: &y } }.write(&mut item);
    for meter in [&mut a, &mut b, &mut c] {
        meter.now = house.now;
        assert_eq!(house.order(meter, SKID, Class::Keys, &item), Some(0));
    }
    let before = house.hears(&mut b);
    house.registration = next;
    for meter in [&mut a, &mut b, &mut c] {
        assert!(house.register(meter));
    }

    rogue.now = house.now;
    let stolen = rogue.register(&mut c);
    Standing::default()
        .of("SK_reg that was stolen", stolen)
        .of("the associations made before", before)
        .of("SK_reg, the next", house.register(&mut b))
        .of("meters' credentials", house.register(&mut a))
        .of("SK_cmd", house.commands(&mut b, SKID))
        .must_be(
            "SK_reg stolen",
            &["the associations made before", "SK_reg, the next", "meters' credentials", "SK_cmd"],
            &["SK_reg that was stolen"],
        );
}

#[test]
fn the_command_key_is_stolen() {
    let (mut house, [a, mut b, mut c]) = House::with_meters();
    // Stolen: SK_cmd; and, what makes it worst, the group's key out of an opened meter.
    let stolen = signing_key("SK_cmd 1");
    let group = (Epoch(1), *a.agent.receiver().unwrap().groups.all()[0].held[0].gms.expose());

    // With SK_cmd alone he reaches nobody: he has no key that seals.
    let body = switch(false);
    let order = signed(&off(SKID, 900, 0, &body), Addressee::Device(b.dev()), &stolen);
    let guess = Loot::new(b.dev(), (house.prk(b.dev()).0, [9; 32]), 0);
    assert_eq!(b.take(&guess.down(FrameType::Command, 5000, &order)), ["SEC-DN-AUTH"]);
    assert!(!b.switched_off());
    // With both he switches the whole group off, and brings in a key of his own.
    let order = signed(&off(SKID, 900, 0, &body), Addressee::Group(GID), &stolen);
    for meter in [&mut b, &mut c] {
        assert!(meter.take(&to_group(group, 5000, &order)).is_empty());
        assert!(meter.switched_off());
    }
    let own = signing_key("the attacker's");
    let [_, xy @ ..] = own.verifying_key().uncompressed();
    let point = Point { x: xy[..32].try_into().unwrap(), y: xy[32..].try_into().unwrap() };
    let mut add = Vec::new();
    KeyItem::SignerAdd { skid: 66, point, classes: Classes(0b11_1111), not_before: 0 }.write(&mut add);
    let add = Command { class: 4, ctr: 901, body: &add, ..off(SKID, 0, 0, &[]) };
    let add = signed(&add, Addressee::Group(GID), &stolen);
    // He cannot revoke the next key: that is root's alone.
    let mut revoke = Vec::new();
    KeyItem::SignerRevoke { skid: NEXT }.write(&mut revoke);
    let revoke = Command { class: 4, ctr: 902, body: &revoke, ..off(SKID, 0, 0, &[]) };
    let revoke = signed(&revoke, Addressee::Group(GID), &stolen);
    for meter in [&mut b, &mut c] {
        meter.take(&to_group(group, 5001, &add));
        meter.take(&to_group(group, 5002, &revoke));
        house.settle(meter);
        let signers = &meter.agent.receiver().unwrap().signers;
        assert!(signers.get(66).is_some() && signers.get(NEXT).is_some());
    }
    // It is noticed: RESULTs come, signed for, of commands that nobody asked for.
    let foreign =
        house.results.iter().filter(|(dev, skid, result)| *dev == b.dev() && (*skid, *result) == (SKID, 5));
    assert_eq!(foreign.count(), 1);

    // The answer: root revokes both; the next key, which meters know already, takes over. Class 3 of an order
    // that was ahead of time is waited for.
    house.now += 400;
    let mut revoke = Vec::new();
    for skid in [SKID, 66] {
        KeyItem::SignerRevoke { skid }.write(&mut revoke);
    }
    for meter in [&mut b, &mut c] {
        meter.now = house.now;
        assert_eq!(house.order(meter, ROOT, Class::Keys, &revoke), Some(0));
        assert_eq!(house.order(meter, NEXT, Class::Load, &switch(true)), Some(0));
        assert!(!meter.switched_off());
    }
    // Nobody brings them back.
    let mut again = Vec::new();
    KeyItem::SignerAdd { skid: 66, point, classes: Classes(1), not_before: 0 }.write(&mut again);
    assert_eq!(house.order(&mut b, NEXT, Class::Keys, &again), Some(3));

    let mut believes = |skid: u8, key: &SigningKey, ctr: u32| {
        let order = signed(&off(skid, ctr, house.now, &body), Addressee::Group(GID), key);
        b.take(&to_group(group, 5000 + ctr, &order)) != ["SEC-DN-SIG"] || b.switched_off()
    };
    let (first, own) = (believes(SKID, &stolen, 910), believes(66, &own, 911));
    Standing::default()
        .of("SK_cmd 1", first)
        .of("the key that he brought in", own)
        .of(
            "root",
            house.order(&mut c, ROOT, Class::Keys, &{
                let mut item = Vec::new();
                KeyItem::SignerRevoke { skid: 77 }.write(&mut item);
                item
            }) == Some(0),
        )
        .of("SK_cmd 2", house.commands(&mut b, NEXT))
        .of("associations", house.hears(&mut b))
        .of("SK_reg", house.register(&mut c))
        .must_be(
            "SK_cmd stolen",
            &["root", "SK_cmd 2", "associations", "SK_reg"],
            &["SK_cmd 1", "the key that he brought in"],
        );
}

/// K_up of all associations that the key store in a folder holds; what a thief opens a copy with.
fn keys_of(folder: &Path) -> Result<HashSet<[u8; 16]>, StoreError> {
    let mut found = HashSet::new();
    let vault = Store::open(folder)?.into_vault();
    vault.load(&|_| true, &mut |association| {
        if let Keys::Profile1 { keys, .. } = &association.keys {
            found.insert(*keys.up.expose());
        }
    })?;
    Ok(found)
}

/// A copy of what lies on the disk of a key store, with this KEK and no other token.
fn copy(lab: &Lab, name: &str, kek: &[u8]) -> std::path::PathBuf {
    let (from, to) = (lab.state().join(keystore::FOLDER), lab.file(name));
    assert!(std::process::Command::new("cp").arg("-a").arg(&from).arg(&to).status().unwrap().success());
    for file in ["tokens.toml", "signer.token", "registrar.token", "audit.token", "kek"] {
        let _ = std::fs::remove_file(to.join(file));
    }
    let file = to.join("kek");
    std::fs::write(&file, kek).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    to
}

#[test]
fn the_key_encryption_key_is_stolen() {
    let lab = Lab::registering(6);
    let run = |arguments: &[&str]| {
        let output = lab.program().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let registered = || {
        let head_end = lab.head_end();
        // What is lost while the head-end still gets its token is soon repeated.
        let fleet =
            ["--rate", "6", "--duration", "6", "--relays", "1", "--time-scale", "60", "--grace", "20"];
        let said = lab.fleet_end(lab.devices(&fleet));
        lab.stop(head_end);
        said["registered"].as_u64().unwrap()
    };
    assert_eq!(registered(), 6);
    // Stolen: the KEK, and a copy of the disk. Either alone is nothing.
    let kek = std::fs::read(lab.state().join(keystore::FOLDER).join("kek")).unwrap();
    let stolen = copy(&lab, "stolen", &kek);
    let loot = keys_of(&stolen).unwrap();
    assert_eq!(loot.len(), 6, "he has the keys of all associations");
    assert!(matches!(keys_of(&copy(&lab, "disk-alone", &[7; 32])), Err(StoreError::WrongKek { .. })));
    // Other holders' keys are not wrapped by it.
    for holder in [Holder::Signer, Holder::Registrar, Holder::Audit] {
        assert!(token::open(&stolen, holder).is_err());
    }
    // New data keys alone are no answer: the same KEK wraps them.
    let later = copy(&lab, "later", &kek);
    Store::open(&later).unwrap().rotate_deks(&(0..1024).collect::<Vec<u16>>()).unwrap();
    assert_eq!(keys_of(&later).unwrap().len(), 6);

    let state = lab.state().display().to_string();
    let public =
        || serde_json::from_str::<serde_json::Value>(&run(&["keys", "public", "--state", &state])).unwrap();
    let before = public();
    // The answer: a key store with a new KEK, the other holders' tokens as they are, devices from the manifest;
    // all register anew.
    let tokens = lab.file("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let mut config = String::new();
    for holder in ["signer", "registrar", "audit"] {
        let file = format!("{holder}.token");
        std::fs::rename(lab.state().join(keystore::FOLDER).join(&file), tokens.join(&file)).unwrap();
        config += &format!("[{holder}]\nprovider = \"software\"\nfile = \"{file}\"\nunprotected = true\n");
    }
    config += "[key-store]\nprovider = \"software\"\nfile = \"kek\"\nunprotected = true\n";
    std::fs::write(tokens.join("tokens.toml"), config).unwrap();
    let trusted = run(&["keys", "trust", "list", "--state", &state]);
    let manufacturer = trusted.lines().find(|line| !line.starts_with("root")).unwrap();
    let (name, key) = manufacturer.split_once(char::is_whitespace).unwrap();
    std::fs::rename(lab.state(), lab.file("state.old")).unwrap();
    let (root, config) = (lab.file("root.key"), tokens.join("tokens.toml"));
    let (root, config) = (root.display().to_string(), config.display().to_string());
    run(&[
        "keys",
        "init",
        "--system",
        LAB_SYSTEM,
        "--lab-root",
        &root,
        "--token",
        &config,
        "--state",
        &state,
    ]);
    run(&["keys", "trust", "add", name, key.trim(), "--lab-root", &root, "--state", &state]);
    run(&["keys", "import", &lab.shipment().display().to_string(), "--state", &state]);
    let all_again = registered() == 6;

    let now = keys_of(&lab.state().join(keystore::FOLDER)).unwrap();
    let old_kek = keys_of(&copy(&lab, "new-disk", &kek)).is_ok();
    let after = public();
    let same = |what: &str| before[what] == after[what] && !after[what].is_null();
    Standing::default()
        .of("the KEK that was stolen", old_kek)
        .of("the associations of the copy", !now.is_disjoint(&loot))
        .of("the new KEK", now.len() == 6)
        .of("meters' credentials, SK_reg", all_again)
        .of("SK_cmd, SK_audit", same("command") && same("audit"))
        .must_be(
            "KEK stolen",
            &["the new KEK", "meters' credentials, SK_reg", "SK_cmd, SK_audit"],
            &["the KEK that was stolen", "the associations of the copy"],
        );
}

/// What the signer asks about meters: three of the residential profile.
struct Meters(ProfileClassifier);

impl Fleet for Meters {
    fn member(&self, _: Dev) -> Option<Member> {
        Some(Member { profile: 0, classic: false })
    }

    fn profile(&self, _: u32) -> Option<&ProfileClassifier> {
        Some(&self.0)
    }
}

/// A signer with a group, and the keys of approvers in a laboratory's folder.
struct Desk {
    folder: tempfile::TempDir,
    signer: Signer,
    members: Membership,
    asked: u8,
}

impl Desk {
    fn new() -> Self {
        let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::new(SYSTEM, SKID));
        let mut desk = Self { folder, signer, members: Membership::EMPTY, asked: 0 };
        let (state, root) = (desk.path(""), desk.path("root.key"));
        desk.run(&["keys", "init", "--system", LAB_SYSTEM, "--lab-root", &root, "--state", &state]);
        desk.run(&["policy", "sample", "--state", &state, "--lab-root", &root, "--approvers", "ada,bob,eve"]);
        let policy = desk.accept("policy.toml", None).unwrap();
        desk.signer.set_policy(policy);
        // A member, as its meter answered.
        let mut join = Vec::new();
        KeyItem::Join { gid: GID, classes: Classes(0b00_1000) }.write(&mut join);
        let member = Dev([1; 8]);
        let join = desk.intent(Addressee::Device(member), Class::Keys, &join);
        let Verdict::Authorised(authorised) = desk.ask(&join, vec![]) else { panic!("refused") };
        desk.signer.signed(&authorised);
        let done =
            seal::control::Outcome { skid: SKID, kind: 1, ctr: authorised.ctr(), result: 0, rest: &[] };
        desk.signer.result(member, &done);
        desk.members.change(member);
        desk
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn run(&self, arguments: &[&str]) {
        let output = support::program().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn key(&self, name: &str) -> SigningKey {
        let text = std::fs::read_to_string(self.path(&format!("{name}.key"))).unwrap();
        SigningKey::from_octets(&seal::hex::read(text.trim()).unwrap()).unwrap()
    }

    fn root(&self) -> VerifyingKey {
        self.key("root").verifying_key()
    }

    fn accept(&self, file: &str, before: Option<&Policy>) -> Result<Policy, PolicyError> {
        let read = |name: String| std::fs::read_to_string(name).unwrap();
        let (text, signatures) = (read(self.path(file)), read(self.path(&format!("{file}.sig"))));
        Policy::accept(&text, &signatures, before, Some(&self.root()))
    }

    fn intent(&mut self, addressee: Addressee, class: Class, body: &[u8]) -> Intent {
        self.asked += 1;
        let group = matches!(addressee, Addressee::Group(_));
        Intent {
            id: CommandId([self.asked; 16]),
            system: SYSTEM,
            skid: SKID,
            class,
            addressee,
            membership: if group { self.members.version() } else { 0 },
            body: body.to_vec(),
            nbf: BEGIN as u32 + u32::from(self.asked),
            ttl: 60,
            requester: "alice".to_owned(),
        }
    }

    fn ask(&mut self, intent: &Intent, approvals: Vec<Approval>) -> Verdict {
        let octets = SigningRequest { intent: intent.clone(), approvals }.octets();
        self.signer.authorise(&octets, BEGIN, &Meters(ProfileClassifier(profile())))
    }

    /// Orders the group off with the approvals of these, `(name, whose key)`: how many counted, where refused.
    fn order(&mut self, by: &[(&str, &str)]) -> Result<(), usize> {
        let order = self.intent(Addressee::Group(GID), Class::Load, &switch(false));
        let approve = |(name, key): &(&str, &str)| {
            let Ok(signature) = self.key(key).sign(&prehash(&order.digest()));
            Approval { approver: (*name).to_owned(), signature }
        };
        let approvals = by.iter().map(approve).collect();
        match self.ask(&order, approvals) {
            Verdict::Authorised(authorised) => {
                self.signer.signed(&authorised);
                Ok(())
            }
            Verdict::Refused { refusal: SignRefusal::Approval { have, need: 2 }, .. } => Err(have),
            other => panic!("{other:?}"),
        }
    }

    /// Writes a policy with a line changed, signed by these with the real program.
    fn change(&self, file: &str, change: impl Fn(String) -> String, by: &[(&str, &str)]) {
        let text = change(std::fs::read_to_string(self.path("policy.toml")).unwrap());
        std::fs::write(self.path(file), text).unwrap();
        for (name, key) in by {
            let key = self.path(&format!("{key}.key"));
            self.run(&["policy", "sign", &self.path(file), "--key", &key, "--by", name]);
        }
    }
}

#[test]
fn an_approvers_key_is_stolen() {
    let mut desk = Desk::new();
    // Stolen: ada's key. It is one of two, whatever name it signs under.
    assert_eq!(desk.order(&[("ada", "ada")]), Err(1));
    assert_eq!(desk.order(&[("ada", "ada"), ("ada", "ada")]), Err(1));
    assert_eq!(desk.order(&[("ada", "ada"), ("bob", "ada")]), Err(1));
    // Nor does it change the policy alone.
    let version =
        |number: u64| move |text: String| text.replace("version = 1", &format!("version = {number}"));
    desk.change("his.toml", version(2), &[("ada", "ada"), ("bob", "ada")]);
    let in_force = desk.signer.policy().unwrap().clone();
    assert_eq!(desk.accept("his.toml", Some(&in_force)), Err(PolicyError::Signatures { valid: 1 }));
    // With one who is deceived it is enough: that is what he can do.
    assert_eq!(desk.order(&[("ada", "ada"), ("bob", "bob")]), Ok(()));

    // The answer: a policy without ada, signed by the two others.
    let without = |text: String| {
        let parts: Vec<&str> = text.split("\n[[approver]]").collect();
        let kept: Vec<&str> = parts.into_iter().filter(|part| !part.contains("name = \"ada\"")).collect();
        version(2)(kept.join("\n[[approver]]"))
    };
    desk.change("next.toml", without, &[("bob", "bob"), ("eve", "eve")]);
    let next = desk.accept("next.toml", Some(&in_force)).unwrap();
    assert_eq!(next.version(), 2);
    desk.signer.set_policy(next.clone());

    let ada = desk.order(&[("ada", "ada"), ("bob", "bob")]).is_ok();
    let back = desk.accept("policy.toml", Some(&next)).is_ok();
    desk.change("his-next.toml", version(3), &[("ada", "ada"), ("bob", "bob")]);
    let ada_on_policies = desk.accept("his-next.toml", Some(&next)).is_ok();
    let others = desk.order(&[("bob", "bob"), ("eve", "eve")]).is_ok();
    desk.change("by-root.toml", version(4), &[("root", "root")]);
    let root = desk.accept("by-root.toml", Some(&next)).is_ok();
    Standing::default()
        .of("ada's approvals", ada)
        .of("ada's signatures of policies", ada_on_policies)
        .of("the policy of then", back)
        .of("bob and eve", others)
        .of("root", root)
        .must_be(
            "an approver's key stolen",
            &["bob and eve", "root"],
            &["ada's approvals", "ada's signatures of policies", "the policy of then"],
        );
}
