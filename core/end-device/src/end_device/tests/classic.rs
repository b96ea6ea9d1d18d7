//! EAX': what a classic device takes, refuses and answers.

use c1222::epsem::ResponseControl;
use c1222::tables::TableId;
use c1222::{Request, ResponseCode, SecurityMode};
use proptest::prelude::*;
use seal::secret::Key128;

use super::super::testing::*;
use super::super::{Classic, EndDevice, Refusal, Setup, Verdict};

use ResponseCode::{Isc, Ok as OK, Sme};

const ST5: Request<'_> = Request::FullRead(TableId::standard(5));

/// A message that is refused as a whole, and what its caller is told in clear.
fn refusal(device: &mut EndDevice, client: &mut Client, message: &[u8], seconds: u64) -> Refusal {
    let answer = client.send(device, message, at(seconds));
    let Verdict::Refused(refusal) = answer.verdict else { panic!("{answer:?}") };
    assert_eq!((answer.codes(), answer.mode), (vec![Sme], Some(SecurityMode::Clear)), "{refusal}");
    refusal
}

#[test]
fn it_answers_as_it_is_asked() {
    let mut device = classic_device();
    let mut ivs = Vec::new();
    for mode in [SecurityMode::Mac, SecurityMode::Cipher] {
        for key_id in [0, 2] {
            let mut client = Client { key_id, invocation: ivs.len() as u32 * 10, ..Client::sealing(mode) };
            let answer = client.ask(&mut device, &[ST5, Request::FullRead(TableId::standard(23))], at(1));
            assert_eq!((answer.codes(), answer.mode), (vec![OK, OK], Some(mode)));
            ivs.push(answer.iv.unwrap());
        }
    }
    let first = ivs.len();
    ivs.sort_unstable();
    ivs.dedup();
    assert_eq!(ivs.len(), first, "an IV was used twice");
}

#[test]
fn a_draft_era_caller_is_answered_with_titles_as_it_writes_them() {
    let in_table = |text: &str| {
        let octets =
            [&[0x0d], &[title(text).as_title().arcs().len() as u8], title(text).as_title().arcs()].concat();
        Some(c1222::ApTitleBuf::from(c1222::ApTitle::decode(&octets).unwrap()))
    };
    let mut client = Client::sealing(SecurityMode::Cipher);
    (client.called, client.title) = (in_table(TITLE), in_table(CALLER));
    let message = client.message(&[ST5], at(1));
    let mut out = Vec::new();
    assert_eq!(classic_device().receive(1, &message, at(1), &mut out), Verdict::Served);
    let apdu = c1222::Apdu::decode(&out, c1222::Leniency::Draft).unwrap();
    assert!(apdu.is_draft());
    client.keys.open(&apdu, None, at(1), &mut Vec::new()).unwrap();
}

#[test]
fn in_clear_it_says_only_who_it_is() {
    let own = title(TITLE);
    let mut device = classic_device();
    let requests = [
        Request::Identification,
        ST5,
        Request::Trace(own.as_title()),
        Request::Deregistration(own.as_title()),
        Request::Wait(1),
        Request::DefaultRead,
    ];
    assert_eq!(Client::clear().codes(&mut device, &requests, at(1)), [OK, Isc, OK, Isc, Isc, Isc]);
}

#[test]
fn after_profile_1_it_takes_no_other_security() {
    let own = title(TITLE);
    let setup = Setup { classic: Some(classic(900)), profile1_only: true, ..setup() };
    let mut device = EndDevice::new(setup, at(0));
    let requests = [Request::Identification, Request::Trace(own.as_title()), ST5];
    assert_eq!(Client::clear().codes(&mut device, &requests, at(1)), [OK, OK, Isc]);
    let mut client = Client::sealing(SecurityMode::Cipher);
    let message = client.message(&[ST5], at(1));
    assert_eq!(refusal(&mut device, &mut client, &message, 1), Refusal::NoEaxPrime);
}

#[test]
fn a_device_without_keys_opens_nothing() {
    let mut client = Client::sealing(SecurityMode::Mac);
    let message = client.message(&[ST5], at(1));
    assert_eq!(refusal(&mut open_device(), &mut client, &message, 1), Refusal::NoEaxPrime);
}

#[test]
fn each_flaw_has_its_name() {
    let mut device = classic_device();
    let mut client = Client::sealing(SecurityMode::Cipher);
    client.key_id = 2;
    client.keys = Classic::new([(2, &Key128::from_octets([8; 16]))], 0);
    let message = client.message(&[ST5], at(1));
    assert_eq!(refusal(&mut device, &mut client, &message, 1), Refusal::WrongMac);
    client.key_id = 5;
    client.keys = Classic::new([(5, &Key128::from_octets(KEY))], 0);
    let message = client.message(&[ST5], at(1));
    assert_eq!(refusal(&mut device, &mut client, &message, 1), Refusal::UnknownKey(5));
    for strip in [|client: &mut Client| client.called = None, |client: &mut Client| client.title = None] {
        let mut client = Client::sealing(SecurityMode::Cipher);
        strip(&mut client);
        let message = client.message(&[ST5], at(1));
        assert_eq!(refusal(&mut device, &mut client, &message, 1), Refusal::NoTitles);
    }
    let mut client = Client::sealing(SecurityMode::Cipher);
    client.session = Some(c1222::canonified::KeyIv { key_id: 0, iv: [0; 4] });
    let message = client.message(&[ST5], at(1));
    assert_eq!(refusal(&mut device, &mut client, &message, 1), Refusal::NoSession);
    let mut client =
        Client { response_control: ResponseControl::Never, ..Client::sealing(SecurityMode::Mac) };
    let mut message = client.message(&[ST5], at(1));
    *message.last_mut().unwrap() ^= 1;
    let answer = client.send(&mut device, &message, at(1));
    assert_eq!((answer.verdict, answer.apdu.len()), (Verdict::Refused(Refusal::WrongMac), 0));
}

#[test]
fn only_fresh_messages_are_taken() {
    let now = at(10_000).unix_s as u32;
    for (iv, recovery, taken) in [
        (now, false, true),
        (now - 900, false, true),
        (now + 900, false, true),
        (now - 901, false, false),
        (now + 901, false, false),
        (0, false, false),
        (u32::MAX, false, false),
        (now - 901, true, true),
        (0, true, true),
    ] {
        let mut device = classic_device();
        let mut client = Client { iv: Some(iv), recovery, ..Client::sealing(SecurityMode::Cipher) };
        let message = client.message(&[ST5], at(10_000));
        if taken {
            assert_eq!(client.send(&mut device, &message, at(10_000)).codes(), [OK], "{iv}");
        } else {
            let refusal = refusal(&mut device, &mut client, &message, 10_000);
            assert!(matches!(refusal, Refusal::Stale { .. }), "{iv} {refusal}");
        }
    }
}

#[test]
fn nothing_is_taken_twice() {
    let mut device = classic_device();
    let mut client = Client { iv: Some(at(800).unix_s as u32), ..Client::sealing(SecurityMode::Cipher) };
    let message = client.message(&[ST5], at(1));
    assert_eq!(client.send(&mut device, &message, at(1)).codes(), [OK]);
    // A repetition is dropped; later it is a replay, and at last stale.
    assert_eq!(client.send(&mut device, &message, at(120)).verdict, Verdict::Repeated);
    for later in [121, 900, 1700] {
        assert_eq!(refusal(&mut device, &mut client, &message, later), Refusal::Replayed, "{later}");
    }
    assert!(matches!(refusal(&mut device, &mut client, &message, 1701), Refusal::Stale { .. }));
    // The same request sealed anew is another message, but of the same id it is the same request.
    let mut again = Client { invocation: client.invocation - 1, ..Client::sealing(SecurityMode::Cipher) };
    assert_eq!(again.ask(&mut device, &[ST5], at(1702)).codes(), [OK]);
    again.invocation -= 1;
    assert_eq!(again.ask(&mut device, &[ST5], at(1702)).verdict, Verdict::Repeated);
}

proptest! {
    #[test]
    fn any_flipped_bit_is_refused(bit in 0..8_usize, place in 0..4096_usize, mac_only: bool) {
        let mode = if mac_only { SecurityMode::Mac } else { SecurityMode::Cipher };
        let mut device = classic_device();
        let mut client = Client::sealing(mode);
        let message = client.message(&[ST5], at(1));
        let mut flipped = message.clone();
        let place = place % message.len();
        flipped[place] ^= 1 << bit;
        let mut out = Vec::new();
        let verdict = device.receive(1, &flipped, at(1), &mut out);
        // Where the mode is flipped to clear, nothing but refusals comes of it.
        let in_clear = verdict == Verdict::Served;
        prop_assert!(matches!(verdict, Verdict::Refused(_)) || in_clear, "{place}: {verdict:?}");
        if in_clear {
            let answer = c1222::Apdu::decode(&out, c1222::Leniency::Strict).unwrap();
            let epsem = c1222::Epsem::decode(answer.epsem().unwrap()).unwrap();
            prop_assert!(epsem.services().all(|service| service.unwrap()[0] != 0));
        }
        prop_assert_eq!(client.send(&mut device, &message, at(1)).codes(), [OK]);
    }
}
