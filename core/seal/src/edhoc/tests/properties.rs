use proptest::prelude::*;

use super::parties::{Parties, SID};
use crate::edhoc::{
    Agreement, Ephemeral, FAILURES_MAX, MESSAGE_1_LEN, MESSAGE_2_LEN, MESSAGE_3_LEN, MESSAGE_4_LEN, Message1,
    Opened, PublicKey, Refusal, Run,
};
use crate::secret::SharedSecret;

fn parties() -> Parties {
    Parties::new([[1; 32], [2; 32], [3; 32], [4; 32]])
}

/// Every way to flip one bit.
fn flips(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..message.len() * 8).map(|bit| {
        let mut flipped = message.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

proptest! {
    #[test]
    fn both_roles_end_with_the_same_keys(keys: [[u8; 32]; 4]) {
        let parties = Parties::new(keys);
        let (_, responder, initiator, messages) = parties.run();
        prop_assert_eq!(messages.message_1.len(), MESSAGE_1_LEN);
        let (at_head_end, message_4) = responder.message_3(&messages.message_3, |dev| parties.known(dev)).ok().unwrap();
        let at_device = initiator.message_4(&message_4).ok().unwrap();
        prop_assert_eq!((at_head_end.dev, at_head_end.sid), (parties.device.0.kid, SID));
        prop_assert_eq!((at_device.dev, at_device.sid), (parties.device.0.kid, SID));
        prop_assert_eq!(at_head_end.prk.expose(), at_device.prk.expose());
        let (here, there) = (at_head_end.keys(), at_device.keys());
        prop_assert_eq!((here.up.expose(), here.dn.expose()), (there.up.expose(), there.dn.expose()));
    }

    #[test]
    fn a_stranger_on_either_side_is_refused(keys: [[u8; 32]; 4], other: [[u8; 32]; 4]) {
        let (parties, strangers) = (Parties::new(keys), Parties::new(other));
        prop_assume!(parties.device.0 != strangers.device.0 && parties.head_end.0 != strangers.head_end.0);
        let (initiator, message_1) = parties.begin();
        let (_, message_2) = strangers.answer(&message_1).unwrap();
        prop_assert_eq!(parties.message_2(&initiator, &message_2).err(), Some(Refusal::Mac));
        // A device with another key under the same name, which knows the head-end.
        let pretender = Parties { head_end: Parties::new(keys).head_end, ..strangers };
        let (initiator, message_1) = pretender.begin();
        let (responder, message_2) = parties.answer(&message_1).unwrap();
        let (_, message_3) = pretender.message_2(&initiator, &message_2).ok().unwrap();
        let refused = responder.message_3(&message_3, |dev| parties.known(dev)).err();
        prop_assert_eq!(refused, Some(Refusal::Mac));
    }

    #[test]
    fn a_flipped_bit_is_refused_sooner_or_later(keys: [[u8; 32]; 4], which in 1..=4, at: prop::sample::Index) {
        let parties = Parties::new(keys);
        let (initiator, responder, last, messages) = parties.run();
        let (_, message_4) = responder.message_3(&messages.message_3, |dev| parties.known(dev)).ok().unwrap();
        let flipped = |message: &[u8]| flips(message).nth(at.index(message.len() * 8)).unwrap();
        let refused = match which {
            1 => parties.answer(&flipped(&messages.message_1)).map(|(_, message_2)| {
                parties.message_2(&initiator, &message_2).is_err()
            }).unwrap_or(true),
            2 => parties.message_2(&initiator, &flipped(&messages.message_2)).is_err(),
            3 => responder.message_3(&flipped(&messages.message_3), |dev| parties.known(dev)).is_err(),
            _ => last.message_4(&flipped(&message_4)).is_err(),
        };
        prop_assert!(refused);
    }

    #[test]
    fn no_octets_are_taken_or_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let parties = parties();
        let (initiator, responder, last, _) = parties.run();
        let _ = Message1::read(&octets);
        prop_assert!(parties.message_2(&initiator, &octets).is_err());
        prop_assert!(responder.message_3(&octets, |dev| parties.known(dev)).is_err());
        prop_assert!(last.message_4(&octets).is_err());
    }

    #[test]
    fn no_octets_in_the_right_frame_are_taken_or_panic(
        g: [u8; 32], after in prop::collection::vec(any::<u8>(), 0..70), text: [u8; 26],
    ) {
        let parties = parties();
        let (initiator, responder, last, _) = parties.run();
        let _ = parties.answer(&[&[3, 2, 0x58, 32], &g[..], &[0], &after].concat());
        let x = Ephemeral::from_octets(&g).map_or(g, |ephemeral| ephemeral.g);
        prop_assert!(parties.message_2(&initiator, &[&[0x58, 0x2f], &x[..], &text[..15]].concat()).is_err());
        let message_3 = [&[0x58, 0x1a], &text[..]].concat();
        prop_assert!(responder.message_3(&message_3, |dev| parties.known(dev)).is_err());
        prop_assert!(last.message_4(&[&[0x48], &text[..8]].concat()).is_err());
    }
}

#[test]
fn every_flipped_bit_is_refused_sooner_or_later() {
    let parties = parties();
    let (initiator, responder, last, messages) = parties.run();
    let (_, message_4) = responder.message_3(&messages.message_3, |dev| parties.known(dev)).ok().unwrap();
    for message_1 in flips(&messages.message_1) {
        if let Ok((_, message_2)) = parties.answer(&message_1) {
            assert!(parties.message_2(&initiator, &message_2).is_err(), "{message_1:02x?}");
        }
    }
    for message_2 in flips(&messages.message_2) {
        assert!(parties.message_2(&initiator, &message_2).is_err(), "{message_2:02x?}");
    }
    for message_3 in flips(&messages.message_3) {
        assert!(responder.message_3(&message_3, |dev| parties.known(dev)).is_err(), "{message_3:02x?}");
    }
    for message_4 in flips(&message_4) {
        assert!(last.message_4(&message_4).is_err(), "{message_4:02x?}");
    }
}

#[test]
fn other_lengths_are_no_messages() {
    let parties = parties();
    let (initiator, responder, last, messages) = parties.run();
    let (_, message_4) = responder.message_3(&messages.message_3, |dev| parties.known(dev)).ok().unwrap();
    let other =
        |message: &[u8], len: usize| -> Vec<u8> { message.iter().copied().cycle().take(len).collect() };
    for len in (0..120).filter(|len| *len != MESSAGE_2_LEN) {
        let refused = parties.message_2(&initiator, &other(&messages.message_2, len)).err();
        assert_eq!(refused, Some(Refusal::Format));
    }
    for len in (0..120).filter(|len| *len != MESSAGE_3_LEN) {
        let message_3 = other(&messages.message_3, len);
        assert_eq!(responder.message_3(&message_3, |dev| parties.known(dev)).err(), Some(Refusal::Format));
    }
    for len in (0..120).filter(|len| *len != MESSAGE_4_LEN) {
        assert_eq!(last.message_4(&other(&message_4, len)).err(), Some(Refusal::Format));
    }
}

#[test]
fn a_run_answers_repeats_only_once_the_association_is_durable() {
    let parties = parties();
    let (_, _, initiator, messages) = parties.run();
    let message_1 = Message1::read(&messages.message_1).unwrap();
    let mut run = Run::new(&message_1, parties.answer(&messages.message_1).unwrap());
    assert!(run.began_with(&messages.message_1) && !run.began_with(&messages.message_1[1..]));
    assert_eq!((run.message_2(), run.sid()), (&messages.message_2, SID));
    let take = |run: &mut Run| run.message_3(&messages.message_3, |dev| parties.known(dev));

    assert!(matches!(take(&mut run), Ok(Opened::New(_))));
    assert!(matches!(take(&mut run), Ok(Opened::Writing)));
    assert_eq!(run.settle(false), None);
    assert!(matches!(take(&mut run), Ok(Opened::New(_))));
    let message_4 = run.settle(true).unwrap();
    assert!(initiator.message_4(&message_4).is_ok());
    for failure in 0..=FAILURES_MAX {
        let refused = run.message_3(&[0x58, 0x1a], |dev| parties.known(dev)).err().unwrap();
        assert_eq!(refused.refusal, Refusal::Mac);
        assert_eq!(refused.reply.is_some(), failure < FAILURES_MAX);
    }
    assert!(matches!(take(&mut run), Ok(Opened::Again(again)) if again == message_4));
}

#[test]
fn the_point_that_stands_in_for_an_unknown_key_opens_nothing() {
    for octet in 1..9 {
        // A device whose static key is its ephemeral one.
        let parties = Parties::new([[octet; 32], [2; 32], [octet; 32], [4; 32]]);
        let (_, responder, _, messages) = parties.run();
        for refusal in [Refusal::Unknown, Refusal::Revoked] {
            assert_eq!(responder.message_3(&messages.message_3, |_| Err(refusal)).err(), Some(refusal));
        }
        assert!(responder.message_3(&messages.message_3, |dev| parties.known(dev)).is_ok());
    }
}

#[test]
fn a_token_that_does_not_answer_ends_nothing() {
    struct Unplugged;
    impl Agreement for Unplugged {
        type Error = &'static str;
        fn agree(&self, _: &PublicKey) -> Result<SharedSecret, &'static str> {
            Err("no token")
        }
    }
    let parties = parties();
    let (_, message_1) = parties.begin();
    let ephemeral = Ephemeral::from_octets(&parties.y).unwrap();
    let answer = Message1::read(&message_1).unwrap().answer(&parties.head_end.0, &Unplugged, ephemeral, SID);
    assert_eq!(answer.err(), Some("no token"));
    assert!(parties.answer(&message_1).is_ok());
}
