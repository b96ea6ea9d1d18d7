//! The key schedules of AES (FIPS 197 §5.2), written here so that the scan shares no code with what it scans.

/// All round keys, of 16 octets each, the key's own octets first; of a key of 16 or 32 octets.
pub fn schedule(key: &[u8]) -> Vec<[u8; 16]> {
    let (words, s) = (key.len() / 4, sbox());
    let total = 4 * (words + 7);
    let mut w: Vec<[u8; 4]> = key.chunks_exact(4).map(|word| word.try_into().unwrap()).collect();
    let mut round = 1_u8;
    for at in words..total {
        let mut word = w[at - 1];
        if at % words == 0 {
            word.rotate_left(1);
            word = word.map(|octet| s[octet as usize]);
            word[0] ^= round;
            round = times(round, 2);
        } else if words > 6 && at % words == 4 {
            word = word.map(|octet| s[octet as usize]);
        }
        let before = w[at - words];
        w.push(std::array::from_fn(|octet| word[octet] ^ before[octet]));
    }
    w.chunks_exact(4).map(|four| four.concat().try_into().unwrap()).collect()
}

/// The round keys of the equivalent inverse cipher (§5.3.5) that are not among [`schedule`]'s.
pub fn inverse(schedule: &[[u8; 16]]) -> Vec<[u8; 16]> {
    schedule[1..schedule.len() - 1].iter().map(unmix).collect()
}

fn unmix(round_key: &[u8; 16]) -> [u8; 16] {
    std::array::from_fn(|at| {
        let column = &round_key[at / 4 * 4..][..4];
        [14, 11, 13, 9].iter().enumerate().fold(0, |sum, (i, by)| sum ^ times(column[(at + i) % 4], *by))
    })
}

fn times(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        product ^= if b & 1 == 1 { a } else { 0 };
        a = (a << 1) ^ if a & 0x80 == 0 { 0 } else { 0x1b };
        b >>= 1;
    }
    product
}

fn sbox() -> [u8; 256] {
    let inverse = |a: u8| (0..=255).find(|b| times(a, *b) == 1).unwrap_or(0);
    std::array::from_fn(|a| {
        let b = inverse(a as u8);
        (1..5).fold(b ^ 0x63, |sum, turn| sum ^ b.rotate_left(turn))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal::hex::Hex;

    #[test]
    fn schedules_are_those_of_fips_197() {
        let key: [u8; 16] = seal::hex::read("2b7e151628aed2a6abf7158809cf4f3c").unwrap();
        let rounds = schedule(&key);
        assert_eq!((rounds.len(), rounds[0]), (11, key));
        assert_eq!(Hex(&rounds[10]).to_string(), "d014f9a8c9ee2589e13f0cc8b6630ca6");
        let key: [u8; 32] =
            seal::hex::read("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4").unwrap();
        let rounds = schedule(&key);
        assert_eq!((rounds.len(), rounds.as_flattened()[..32] == key), (15, true));
        assert_eq!(Hex(&rounds[14]).to_string(), "fe4890d1e6188d0b046df344706c631e");
        // Appendix C.1, the inverse cipher: the round key after the first step of the key 000102...
        let key: [u8; 16] = seal::hex::read("000102030405060708090a0b0c0d0e0f").unwrap();
        let all = inverse(&schedule(&key));
        assert_eq!(Hex(all.last().unwrap()).to_string(), "13aa29be9c8faff6f770f58000f7bf03");
    }
}
