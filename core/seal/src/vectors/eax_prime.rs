use super::folder::{self, Fields};
use crate::eax_prime::{EaxPrime, Job, Mode, open_batch};
use crate::refusal::Refusal;
use crate::secret::Key128;

/// One message both ways, and every spoilt bit of MAC, header and body refused with the body untouched.
fn check(key: [u8; 16], mode: Mode, header: &[u8], plaintext: &[u8], sealed: &[u8], mac: [u8; 4]) {
    let eax = EaxPrime::new(&Key128::from_octets(key));
    let mut body = plaintext.to_vec();
    assert_eq!(eax.seal(mode, header, &mut body), Ok(mac));
    assert_eq!(body, sealed);
    assert_eq!(eax.open(mode, header, &mut body, mac), Ok(()));
    assert_eq!(body, plaintext);
    for bit in 0..32 {
        let mac = (u32::from_be_bytes(mac) ^ (1 << bit)).to_be_bytes();
        let mut body = sealed.to_vec();
        assert_eq!(eax.open(mode, header, &mut body, mac), Err(Refusal::Auth));
        assert_eq!(body, sealed);
    }
    for octet in 0..header.len() {
        let mut header = header.to_vec();
        header[octet] ^= 1;
        assert_eq!(eax.open(mode, &header, &mut sealed.to_vec(), mac), Err(Refusal::Auth));
    }
    for octet in 0..sealed.len() {
        let mut body = sealed.to_vec();
        body[octet] ^= 0x80;
        assert_eq!(eax.open(mode, header, &mut body, mac), Err(Refusal::Auth));
    }
}

#[test]
fn vector_eax_prime_paper() {
    for case in folder::cases("c1222/eax_prime.json", "paper") {
        let mode = if case.number("mode") == 1 { Mode::Clear } else { Mode::Cipher };
        let header = case.octets("canonified_cleartext");
        check(
            case.array("key"),
            mode,
            &header,
            &case.octets("plaintext"),
            &case.octets("ciphertext"),
            case.array("mac"),
        );
    }
}

#[test]
fn vector_eax_prime_edge() {
    for case in folder::cases("c1222/eax_prime.json", "edge") {
        let (header, plaintext) = (case.octets("canonified_cleartext"), case.octets("plaintext"));
        let key = case.array("key");
        check(key, Mode::Cipher, &header, &plaintext, &case.octets("ciphertext"), case.array("mac_mode2"));
        check(key, Mode::Clear, &header, &plaintext, &plaintext, case.array("mac_mode1"));
    }
}

#[test]
fn vector_eax_prime_must_reject() {
    for case in folder::cases("c1222/eax_prime.json", "must_reject") {
        let header = case.octets("canonified_cleartext");
        for key in 0..64 {
            let eax = EaxPrime::new(&Key128::from_octets([key; 16]));
            for mode in [Mode::Cipher, Mode::Clear] {
                let refused = eax.open(mode, &header, &mut case.octets("ciphertext"), case.array("mac"));
                assert!(refused.is_err(), "{case}");
                let short = header.len() < 17;
                assert!(!short || refused == Err(Refusal::Format), "{case}");
                assert_eq!(eax.seal(mode, &header, &mut []).is_err(), short);
            }
        }
    }
}

#[test]
fn vector_eax_prime_edge_as_one_batch() {
    let cases = folder::cases("c1222/eax_prime.json", "edge");
    let keys: Vec<Key128> = cases.iter().map(|case| Key128::from_octets(case.array("key"))).collect();
    let (mut headers, mut data, mut plain, mut jobs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (case, key) in cases.iter().zip(&keys) {
        let (header, body) = (case.octets("canonified_cleartext"), case.octets("ciphertext"));
        jobs.push(Job {
            key,
            mode: Mode::Cipher,
            header: headers.len()..headers.len() + header.len(),
            body: data.len()..data.len() + body.len(),
            mac: case.array("mac_mode2"),
        });
        headers.extend(header);
        data.extend(body);
        plain.extend(case.octets("plaintext"));
    }
    let mut verdicts = Vec::new();
    open_batch(&mut data, &headers, &jobs, &mut verdicts);
    assert!(verdicts.len() == jobs.len() && verdicts.iter().all(Result::is_ok));
    assert_eq!(data, plain);
}

#[test]
fn vector_eax_prime_of_whole_messages() {
    for case in folder::cases("c1222/messages.json", "messages") {
        if !case["key"].is_string() || !case["mac"].is_string() {
            continue;
        }
        let mode = if case.number("security_mode") == 1 { Mode::Clear } else { Mode::Cipher };
        let (apdu, plaintext) = (case.octets("apdu"), case.octets("epsem_plaintext"));
        let mac: [u8; 4] = case.array("mac");
        // The MAC ends the user information, which ends these APDUs.
        let end = apdu.windows(4).rposition(|window| window == mac).expect("the MAC is in the APDU");
        let header = case.octets("canonified_cleartext");
        check(case.array("key"), mode, &header, &plaintext, &apdu[end - plaintext.len()..end], mac);
    }
}
