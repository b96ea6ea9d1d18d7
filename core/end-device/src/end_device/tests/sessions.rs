//! Sessions, in clear and sealed.

use c1222::canonified::KeyIv;
use c1222::request::Password;
use c1222::tables::TableId;
use c1222::{Request, ResponseCode, SecurityMode, TableData};

use super::super::testing::*;
use super::super::{EndDevice, Refusal, Setup, User, Verdict};

use ResponseCode::{Bsy, Isc, Isss, Ok as OK};

const ST5: Request<'_> = Request::FullRead(TableId::standard(5));

fn logon(timeout_s: Option<u16>) -> Request<'static> {
    Request::Logon { user_id: 2, user: b"OPERATOR  ", timeout_s }
}

#[test]
fn a_session_from_logon_to_logoff() {
    let mut device = open_device();
    let mut client = Client::clear();
    let answer = client.ask(&mut device, &[logon(Some(30)), ST5], at(1));
    assert_eq!(answer.responses[0], [0, 0, 30]);
    let security = Request::Security { password: Password::new(&[b' '; 20]), user_id: None };
    assert_eq!(client.codes(&mut device, &[security, ST5, Request::Wait(9)], at(2)), [OK; 3]);
    assert_eq!(client.codes(&mut device, &[Request::Logoff, Request::Logoff], at(3)), [OK, Isss]);
    for request in [security, Request::Wait(9), Request::Logoff, Request::Terminate, Request::Disconnect] {
        assert_eq!(client.codes(&mut device, &[request], at(4)), [Isss], "{request:?}");
    }
    for end in [Request::Terminate, Request::Disconnect] {
        assert_eq!(client.codes(&mut device, &[logon(None), end, end], at(5)), [OK, OK, Isss]);
    }
}

#[test]
fn idle_time_is_granted_within_limits() {
    for (asked, granted) in [
        (Some(30), &[0, 0, 30][..]),
        (Some(0), &[0, 0, 60]),
        (Some(9999), &[0, 0x01, 0x2c]),
        // C12.18 has no time-out.
        (None, &[0]),
    ] {
        let answer = Client::clear().ask(&mut open_device(), &[logon(asked)], at(1));
        assert_eq!(answer.responses[0], granted, "{asked:?}");
    }
}

#[test]
fn each_message_begins_the_idle_time_anew() {
    let mut device = open_device();
    let mut client = Client::clear();
    client.codes(&mut device, &[logon(Some(10))], at(0));
    for later in [9, 18, 27] {
        assert_eq!(client.codes(&mut device, &[Request::Wait(1)], at(later)), [OK], "{later}");
    }
    assert_eq!(client.codes(&mut device, &[Request::Wait(200)], at(36)), [OK]);
    assert_eq!(client.codes(&mut device, &[Request::Wait(1)], at(235)), [OK]);
    assert_eq!(client.codes(&mut device, &[Request::Wait(1)], at(245)), [Isss]);
}

#[test]
fn sessions_are_their_callers_and_only_so_many() {
    let mut device = open_device();
    let mut clients: Vec<Client> = (1..=9)
        .map(|number| Client { title: Some(title(&format!(".{number}"))), ..Client::clear() })
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let expected = if number < 8 { OK } else { Bsy };
        assert_eq!(client.codes(&mut device, &[logon(Some(10))], at(0)), [expected]);
    }
    assert_eq!(clients[8].codes(&mut device, &[Request::Logoff], at(1)), [Isss]);
    assert_eq!(clients[0].codes(&mut device, &[Request::Logoff], at(1)), [OK]);
    assert_eq!(clients[8].codes(&mut device, &[logon(Some(10))], at(1)), [OK]);
    // A caller that lost its session begins another.
    assert_eq!(clients[8].codes(&mut device, &[logon(Some(10))], at(1)), [OK]);
}

#[test]
fn a_password_counts_until_the_session_ends() {
    let users = vec![User::new(2, [b'w'; 20], true)];
    let mut device = EndDevice::new(Setup { users, ..setup() }, at(0));
    let mut client = Client::clear();
    let write = Request::FullWrite { table: TableId::standard(7), data: TableData::of(&[9, 0, 1, 1]) };
    let security = |octets| Request::Security { password: Password::new(octets), user_id: None };
    assert_eq!(client.codes(&mut device, &[logon(None), write], at(1)), [OK, Isc]);
    assert_eq!(client.codes(&mut device, &[security(&[b'w'; 20])], at(1)), [OK]);
    assert_eq!(client.codes(&mut device, &[write], at(1)), [OK]);
    assert_eq!(client.codes(&mut device, &[security(&[b'x'; 20]), write], at(1)), [Isc, Isc]);
    assert_eq!(client.codes(&mut device, &[security(&[b'w'; 20]), write], at(1)), [OK, OK]);
    assert_eq!(client.codes(&mut device, &[Request::Logoff, write], at(1)), [OK, Isc]);
    assert_eq!(client.codes(&mut device, &[write], at(1)), [Isc]);
}

#[test]
fn invocation_ids_begin_anew_with_each_session() {
    let mut device = open_device();
    for _ in 0..3 {
        let mut client = Client { invocation: 0, ..Client::clear() };
        assert_eq!(client.codes(&mut device, &[logon(Some(60))], at(1)), [OK]);
        assert_eq!(client.codes(&mut device, &[ST5], at(1)), [OK]);
        assert_eq!(client.codes(&mut device, &[Request::Logoff], at(1)), [OK]);
    }
    // Sealed, a Logon is told from its repetition even after a session that was never ended.
    let mut device = classic_device();
    let mut client = Client::sealing(SecurityMode::Cipher);
    for _ in 0..3 {
        (client.invocation, client.session) = (0, None);
        let message = client.message(&[logon(Some(60))], at(1));
        assert_eq!(client.send(&mut device, &message, at(1)).codes(), [OK]);
        assert_eq!(client.send(&mut device, &message, at(1)).verdict, Verdict::Repeated);
    }
}

/// Logs on, and goes on with the Logon's key and IV.
fn sealed_session(device: &mut EndDevice, mode: SecurityMode) -> Client {
    let mut client = Client::sealing(mode);
    client.iv = Some(at(1).unix_s as u32);
    let answer = client.ask(device, &[logon(Some(60)), ST5], at(1));
    let iv = client.iv.unwrap().to_be_bytes();
    // A session has one IV, and both sides go on with it.
    assert_eq!((answer.codes(), answer.mode, answer.iv), (vec![OK, OK], Some(mode), Some(iv)));
    client.session = Some(KeyIv { key_id: 0, iv });
    client
}

#[test]
fn a_sealed_session_goes_on_without_authentication_value() {
    for mode in [SecurityMode::Mac, SecurityMode::Cipher] {
        let mut device = classic_device();
        let mut client = sealed_session(&mut device, mode);
        // The session outlives the freshness of its IV.
        for later in (40..2000).step_by(40) {
            let answer = client.ask(&mut device, &[ST5], at(later));
            assert_eq!((answer.codes(), answer.mode, answer.iv), (vec![OK], Some(mode), None), "{later}");
        }
        let message = client.message(&[ST5], at(2000));
        assert_eq!(client.send(&mut device, &message, at(2000)).codes(), [OK]);
        assert_eq!(client.send(&mut device, &message, at(2001)).verdict, Verdict::Repeated);
        let answer = client.ask(&mut device, &[Request::Logoff], at(2001));
        assert_eq!((answer.codes(), answer.mode), (vec![OK], Some(mode)));
        let answer = client.ask(&mut device, &[ST5], at(2002));
        assert_eq!(answer.verdict, Verdict::Refused(Refusal::NoSession));
        assert_eq!((answer.codes(), answer.mode), (vec![ResponseCode::Sme], Some(SecurityMode::Clear)));
    }
}

#[test]
fn a_sealed_session_may_be_answered_beside_its_iv() {
    let mut device = classic_device();
    let mut client = sealed_session(&mut device, SecurityMode::Cipher);
    client.session = None;
    client.iv = Some(at(2).unix_s as u32);
    let answer = client.ask(&mut device, &[Request::Wait(5), ST5], at(2));
    assert_eq!(answer.codes(), [OK, OK]);
    assert!(answer.iv.is_some());
}

#[test]
fn nothing_in_clear_touches_a_sealed_session() {
    let mut device = classic_device();
    let mut client = sealed_session(&mut device, SecurityMode::Cipher);
    let mut forger = Client { invocation: 500, ..Client::clear() };
    let codes = forger.codes(&mut device, &[Request::Logoff, Request::Wait(255), ST5, logon(None)], at(50));
    assert_eq!(codes, [Isc; 4]);
    assert_eq!(client.codes(&mut device, &[ST5], at(60)), [OK]);
    assert!(forger.codes(&mut device, &[Request::Identification], at(110)) == [OK]);
    let answer = client.ask(&mut device, &[ST5], at(121));
    assert_eq!(answer.verdict, Verdict::Refused(Refusal::NoSession));
}
