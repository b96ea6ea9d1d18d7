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
