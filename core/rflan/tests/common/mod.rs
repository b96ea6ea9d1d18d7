//! What the tests send, and between whom.

#![allow(dead_code, reason = "each test binary uses its part")]

use rflan::Eui64;

/// The cell id.
pub const CELL: u16 = 0x1234;
/// EUI-64s of the documentation range of RFC 9542.
pub const RELAY: Eui64 = Eui64(0x0000_5EEF_1000_0001);
/// A meter next to the relay.
pub const FORWARDER: Eui64 = Eui64(0x0000_5EEF_1000_0002);
/// A meter two hops away.
pub const METER: Eui64 = Eui64(0x0000_5EEF_1000_0003);

/// A C12.22 response with tables 0, 3 and 5, in clear: `itron-read-0-3-5-rsp` of the project's
/// `tests/vectors/c1222/messages.hex`.
pub const TABLE_RESPONSE: &str = "606ba2058003442105a40402020101a6058003442103a80402026e27be4f284d814b8227000023030b8b54454d500200 \
    0000010007010000000029000000000018012000000000000001c30800000404410100ba180000145465737435363738 \
    39303132333435363738393010";

/// The octets of hexadecimal digits; blanks are skipped.
pub fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// The same response with one table long enough for an APDU of `len` octets, 300 to 999.
pub fn long_response(len: usize) -> Vec<u8> {
    let be = |number: usize| (number as u16).to_be_bytes();
    let short = octets(TABLE_RESPONSE);
    // Titles and invocation ids stay; user information is built anew.
    let titles = &short[2..28];
    // Lengths in two octets: APDU 4, titles 26, user information 4, EXTERNAL 4, octet string 4, control 1,
    // service length 3, response 3, sum 1.
    let data_len = len - 4 - titles.len() - 4 - 4 - 4 - 1 - 3 - 3 - 1;
    let data: Vec<u8> = (0..data_len).map(|at| (at * 7) as u8).collect();
    let sum = data.iter().fold(0_u8, |sum, octet| sum.wrapping_add(*octet)).wrapping_neg();
    let mut service = vec![0x00];
    service.extend(be(data_len));
    service.extend(data);
    service.push(sum);
    let mut apdu = service;
    for lead in [[0x00, 0x82], [0x81, 0x82], [0x28, 0x82], [0xBE, 0x82]] {
        let mut wrapped = Vec::new();
        if lead[0] == 0x00 {
            // EPSEM control, then the length of the service.
            wrapped.extend([0x82, 0x82]);
        } else {
            wrapped.extend(lead);
        }
        wrapped.extend(be(apdu.len()));
        wrapped.extend(apdu);
        apdu = wrapped;
    }
    let mut whole = vec![0x60, 0x82];
    whole.extend(be(titles.len() + apdu.len()));
    whole.extend(titles);
    whole.extend(apdu);
    assert_eq!(whole.len(), len);
    whole
}
