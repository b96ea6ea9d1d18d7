//! What root signed: by no signer, durable, and one command however often it comes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use commands::desk::{Heard, RootError};
use commands::front::{CommandState, Outcome, Page, Refusal, Roles, SignedSubmission};
use metergraph_nodes::command_signer::RootKey;
use seal::command::{Addressee, Command, KeyItem, ROOT, sign};
use seal::control::Item;
use seal::signature::SigningKey;

use super::common::wait_for;
use super::house::{House, SYSTEM, Told, dev, read};
use commands::intent::Intent;
use seal::signature::sha256;

fn revoke(to: Addressee, ctr: u32, skid: u8) -> SignedSubmission {
    let mut body = Vec::new();
    KeyItem::SignerRevoke { skid }.write(&mut body);
    let nbf = u32::try_from(node::event::unix_ns() / 1_000_000_000).unwrap();
    let command = Command { skid: ROOT, class: 4, ctr, nbf, ttl: 60, body: &body };
    let key = SigningKey::from_octets(&[77; 32]).unwrap();
    let Ok(octets) = sign(command.octets().unwrap(), SYSTEM, to, &key);
    SignedSubmission { addressee: to, octets, requester: "alice".into(), roles: Roles::SECURITY }
}

#[test]
fn it_is_sent_as_it_is_until_it_is_answered_over_a_cut() {
    let mut house = House::open(1);
    house.faults.signer_sleeps.store(true, Ordering::SeqCst);
    let to = Addressee::Device(dev(0));
    let submission = revoke(to, 7, 2);
    assert_eq!(house.front().submit_signed(submission.clone()), Err(RootError::NoRoot.into()));
    let key = SigningKey::from_octets(&[77; 32]).unwrap().verifying_key();
    house.services.provide("signer", Arc::new(RootKey(key)));
    // One that waits for the signer holds it up no longer than it takes to say so.
    house.front().submit(read("waits", to)).unwrap();
    let stranger = Addressee::Device(dev(9));
    assert_eq!(house.front().submit_signed(revoke(stranger, 1, 2)), Err(Refusal::NoDevice(dev(9))));

    let accepted = house.front().submit_signed(submission.clone()).unwrap();
    assert!(!accepted.repeated);
    assert_eq!(house.sent(dev(0)), submission.octets);
    house.cut();
    wait_for("the desk", || house.front().groups().ok());
    let again = house.front().submit_signed(submission.clone()).unwrap();
    assert_eq!((again.id, again.digest, again.repeated), (accepted.id, accepted.digest, true));
    assert_eq!(house.front().submit_signed(revoke(to, 7, 3)), Err(RootError::Counter(7).into()));
    let before = house.told().len();
    wait_for("a repeat after the cut", || (house.told().len() > before).then_some(()));
    let same = Told::Send(dev(0), submission.octets.clone());
    assert!(house.told().iter().all(|told| *told == same), "{:?}", house.told());
    assert_eq!(house.front().command(accepted.id, Page::NONE).unwrap().state, CommandState::Sent);

    house.answer(dev(0), &submission.octets, 1, 0);
    let view = house.end(accepted.id);
    assert_eq!(
        (view.order, view.outcome),
        ("signer-revoke", Some(Outcome::Done { result: 0, response: vec![] }))
    );
    wait_for("the records of it", || {
        let heard = house.heard();
        let taken = |heard: &Heard| matches!(heard, Heard::Taken(taken) if taken.signed.as_ref() == Some(&submission.octets));
        let closed = |heard: &Heard| matches!(heard, Heard::Closed { id, .. } if *id == accepted.id);
        (heard.iter().filter(|heard| taken(heard)).count() == 1 && heard.iter().any(closed)).then_some(())
    });
}

fn with_root(house: &House) {
    let key = SigningKey::from_octets(&[77; 32]).unwrap().verifying_key();
    house.services.provide("signer", Arc::new(RootKey(key)));
}

/// How often a command of this counter was taken.
fn taken(house: &House, submission: &SignedSubmission) -> usize {
    let is = |heard: &Heard| matches!(heard, Heard::Taken(taken) if taken.signed.as_ref() == Some(&submission.octets));
    house.heard().iter().filter(|heard| is(heard)).count()
}

#[test]
fn the_audit_log_has_it_before_it_goes_out() {
    let house = House::open(1);
    with_root(&house);
    let to = Addressee::Device(dev(0));
    let submission = revoke(to, 7, 2);
    // The log cannot be written: nothing is taken, and nothing goes out.
    house.faults.audit_fails.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(house.front().submit_signed(submission.clone()), Err(RootError::Audit.into()));
    }
    assert_eq!((house.told(), taken(&house, &submission), house.audited()), (vec![], 0, vec![]));
    // Others are taken as ever.
    house.front().submit(read("goes on", to)).unwrap();
    house.faults.audit_fails.store(false, Ordering::SeqCst);
    let accepted = house.front().submit_signed(submission.clone()).unwrap();
    assert!(!accepted.repeated);
    let to_it = Told::Send(dev(0), submission.octets.clone());
    wait_for("the command", || house.told().contains(&to_it).then_some(()));
    let [entry] = &*house.audited() else { panic!("{:?}", house.audited()) };
    let view = house.front().command(accepted.id, Page::NONE).unwrap();
    assert_eq!((&*entry.code, &*entry.actor, entry.count), ("command", "alice", 1));
    assert_eq!((&entry.scope[..], &entry.message[..]), (&dev(0).0[..], &accepted.id.0[..]));
    assert_eq!(
        (&entry.digest[..], entry.result.as_str()),
        (&accepted.digest[..], "class 4, skid 0, ctr 7: signed by root")
    );
    assert_eq!(sha256(&Intent::read(&view.intent).unwrap().octets()), accepted.digest);
    // A repeat is no second entry; what is refused has one under its code.
    assert!(house.front().submit_signed(submission).unwrap().repeated);
    let mut forged = revoke(to, 8, 2);
    *forged.octets.last_mut().unwrap() ^= 1;
    assert_eq!(house.front().submit_signed(forged), Err(RootError::Signature.into()));
    let all = wait_for("the second entry", || Some(house.audited()).filter(|all| all.len() > 1));
    assert_eq!(all.iter().map(|entry| &*entry.code).collect::<Vec<_>>(), ["command", "SEC-CMD-APPROVAL"]);
}

#[test]
fn cut_between_entry_and_release_it_is_neither_lost_nor_two() {
    let mut house = House::open(1);
    with_root(&house);
    let to = Addressee::Device(dev(0));
    let submission = revoke(to, 7, 2);
    let ask = |house: &House, submission: &SignedSubmission| {
        let (front, submission) = (house.front(), submission.clone());
        std::thread::spawn(move || front.submit_signed(submission))
    };
    // The entry is durable, the command is not: it was not taken, and may be asked for again.
    house.faults.journal_waits.store(true, Ordering::SeqCst);
    let asking = ask(&house, &submission);
    wait_for("the entry", || (house.audited().len() == 1).then_some(()));
    // While it is on its way it is taken by nobody a second time.
    assert_eq!(house.front().submit_signed(submission.clone()), Err(Refusal::TimedOut));
    house.cut();
    assert!(asking.join().unwrap().is_err());
    house.faults.journal_waits.store(false, Ordering::SeqCst);
    wait_for("the desk", || house.front().groups().ok());
    assert_eq!((taken(&house, &submission), house.told()), (0, vec![]));
    // Now it is durable, and no shard has heard of it.
    house.faults.shards_wait.store(true, Ordering::SeqCst);
    let accepted = ask(&house, &submission).join().unwrap().unwrap();
    assert!(!accepted.repeated);
    house.cut();
    assert_eq!(house.told(), []);
    house.faults.shards_wait.store(false, Ordering::SeqCst);
    assert_eq!(house.sent(dev(0)), submission.octets);
    assert!(ask(&house, &submission).join().unwrap().unwrap().repeated);
    let same = Told::Send(dev(0), submission.octets.clone());
    assert!(house.told().iter().all(|told| *told == same), "{:?}", house.told());
    assert_eq!(taken(&house, &submission), 1);
    // One counter of root's stays one command, whatever was cut.
    assert_eq!(house.front().submit_signed(revoke(to, 7, 3)), Err(RootError::Counter(7).into()));
    let messages: Vec<_> = house
        .audited()
        .into_iter()
        .filter(|entry| entry.code == "command")
        .map(|entry| entry.message)
        .collect();
    assert!(
        messages.len() == 2 && messages.iter().all(|message| *message == accepted.id.0),
        "one command, asked for twice"
    );
}
