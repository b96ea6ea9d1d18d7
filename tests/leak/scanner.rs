//! Looks for many strings of octets at once: every form in which a secret could lie about.

use std::collections::{BTreeSet, HashMap};

use seal::hex::Hex;

use super::aes;

/// Octets that a search begins with; no needle is shorter.
const PREFIX: usize = 8;
/// Bits of the filter that most positions fail.
const FILTER_BITS: u32 = 22;

/// What a secret is, as far as it decides how it could be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// An AES key of 16 or 32 octets, which a cipher expands.
    Cipher,
    /// A number of the curve, which may be kept with its lowest octet first.
    Number,
    /// Any octets.
    Octets,
}

/// A form of a secret, and what it is called in findings.
type Form = (&'static str, Vec<u8>);

/// Every form in which a secret is looked for.
pub fn forms(octets: &[u8], nature: Nature) -> Vec<Form> {
    let hex = Hex(octets).to_string();
    let mut forms =
        vec![("raw", octets.to_vec()), ("hex", hex.to_uppercase().into_bytes()), ("hex", hex.into_bytes())];
    for shift in 0..3 {
        let text = base64(octets, shift);
        forms.push(("base64", text.replace('+', "-").replace('/', "_").into_bytes()));
        forms.push(("base64", text.into_bytes()));
    }
    let mut reversed = octets.to_vec();
    reversed.reverse();
    match nature {
        Nature::Number => forms.push(("reversed", reversed)),
        Nature::Cipher => {
            let rounds = aes::schedule(octets);
            let own = octets.len() / 16;
            let expanded = rounds[own..].iter().copied().chain(aes::inverse(&rounds));
            forms.extend(expanded.map(|round_key| ("schedule", round_key.to_vec())));
        }
        Nature::Octets => {}
    }
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// What of the base64 of a longer text is sure, when the secret begins so many octets after a group of three.
fn base64(octets: &[u8], shift: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |at: usize| octets.get(at / 8).map(|octet| octet >> (7 - at % 8) & 1);
    // Bits of the first whole letter on.
    let first = [0, 4, 2][shift];
    let whole = (octets.len() * 8 - first) / 6;
    let letter =
        |at: usize| (0..6).filter_map(|i| bit(first + at * 6 + i)).fold(0, |sum, bit| sum << 1 | bit);
    (0..whole).map(|at| char::from(LETTERS[letter(at) as usize])).collect()
}

struct Needle {
    secret: usize,
    form: &'static str,
    octets: Vec<u8>,
}

/// One find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Find {
    /// Which secret, in the order in which they were added.
    pub secret: usize,
    /// Its form.
    pub form: &'static str,
    /// The first octet.
    pub at: usize,
}

/// The search for all forms of all secrets.
pub struct Scanner {
    needles: Vec<Needle>,
    by_prefix: HashMap<[u8; PREFIX], Vec<usize>>,
    filter: Vec<u64>,
}

impl Scanner {
    /// A search for these secrets.
    pub fn new<'a>(secrets: impl Iterator<Item = (&'a [u8], Nature)>) -> Self {
        let mut scanner =
            Self { needles: Vec::new(), by_prefix: HashMap::new(), filter: vec![0; 1 << (FILTER_BITS - 6)] };
        for (secret, (octets, nature)) in secrets.enumerate() {
            for (form, octets) in forms(octets, nature) {
                let prefix = *octets.first_chunk().expect("a secret is longer");
                let different: BTreeSet<u8> = octets.iter().copied().collect();
                assert!(different.len() > 4, "a secret like {} would be found everywhere", Hex(&octets));
                let hash = hash(u64::from_le_bytes(prefix));
                scanner.filter[hash / 64] |= 1 << (hash % 64);
                scanner.by_prefix.entry(prefix).or_default().push(scanner.needles.len());
                scanner.needles.push(Needle { secret, form, octets });
            }
        }
        scanner
    }

    /// How many strings are looked for.
    pub fn needles(&self) -> usize {
        self.needles.len()
    }

    /// Everything that is found in these octets.
    pub fn scan(&self, octets: &[u8]) -> Vec<Find> {
        let mut finds = Vec::new();
        for (at, window) in octets.windows(PREFIX).enumerate() {
            let prefix: [u8; PREFIX] = window.try_into().unwrap();
            let hash = hash(u64::from_le_bytes(prefix));
            if self.filter[hash / 64] >> (hash % 64) & 1 == 0 {
                continue;
            }
            for needle in self.by_prefix.get(&prefix).into_iter().flatten() {
                let Needle { secret, form, octets: wanted } = &self.needles[*needle];
                if octets[at..].starts_with(wanted) {
                    finds.push(Find { secret: *secret, form, at });
                }
            }
        }
        finds
    }
}

fn hash(prefix: u64) -> usize {
    (prefix.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = *b"\x2b\x7e\x15\x16\x28\xae\xd2\xa6\xab\xf7\x15\x88\x09\xcf\x4f\xfb";

    fn forms_in(text: &[u8], nature: Nature) -> Vec<(&'static str, usize)> {
        let other = [0x55, 1, 2, 3, 4, 5, 6, 7, 8];
        let scanner = Scanner::new([(&other[..], Nature::Octets), (&KEY[..], nature)].into_iter());
        scanner.scan(text).iter().filter(|find| find.secret == 1).map(|find| (find.form, find.at)).collect()
    }

    #[test]
    fn every_form_is_found_at_every_place() {
        for at in 0..70 {
            for (nature, count) in [(Nature::Octets, 9), (Nature::Number, 10), (Nature::Cipher, 28)] {
                let all = forms(&KEY, nature);
                assert_eq!(all.len(), count, "the two alphabets differ, too");
                for (form, octets) in all {
                    let mut text = vec![b'x'; at];
                    text.extend_from_slice(&octets);
                    text.extend_from_slice(b"y");
                    assert_eq!(forms_in(&text, nature), [(form, at)]);
                    text.remove(at + 3);
                    assert_eq!(forms_in(&text, nature), []);
                }
            }
        }
    }

    #[test]
    fn base64_is_found_whatever_stands_around() {
        // By the alphabet's definition, three octets to four letters.
        let encode = |octets: &[u8]| {
            const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let mut out = Vec::new();
            for three in octets.chunks_exact(3) {
                let number = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
                out.extend([18, 12, 6, 0].map(|shift| LETTERS[(number >> shift & 63) as usize]));
            }
            out
        };
        for before in 0..9 {
            let mut text = vec![0xb7; before];
            text.extend_from_slice(&KEY);
            text.resize(27, 0x9c);
            let found = forms_in(&encode(&text), Nature::Octets);
            assert!(matches!(found[..], [("base64", _)]), "{before}: {found:?}");
        }
    }

    #[test]
    fn all_of_many_are_found() {
        let secrets: Vec<[u8; 16]> = (0..500_u64)
            .map(|n| {
                std::array::from_fn(|i| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (i * 4)) as u8 ^ i as u8)
            })
            .collect();
        let scanner = Scanner::new(secrets.iter().skip(1).map(|secret| (&secret[..], Nature::Octets)));
        let found = scanner.scan(&secrets.concat());
        let mut which: Vec<usize> = found.iter().map(|find| find.secret).collect();
        which.dedup();
        assert_eq!(which, (0..499).collect::<Vec<_>>());
    }
}
