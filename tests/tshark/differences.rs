//! Where tshark (4.0.17, of Debian 12) is known to see something else than we do, and why. Each of these
//! must be needed by some message of the test, and none other is allowed.

use c1222::authentication::{Authentication, AuthenticationValue};
use c1222::{Apdu, Epsem, EpsemControl, UserInformation};
use serde_json::Value;

use crate::ours::hex;

/// A field of which both say something else.
#[derive(Debug)]
pub struct Mismatch<'a> {
    pub field: &'a str,
    pub ours: Option<&'a str>,
    pub theirs: Option<&'a str>,
}

/// One known difference.
pub struct Difference {
    /// Why it is tshark's.
    pub why: &'static str,
    pub kind: Kind,
}

/// What a difference is about, and whether something is one.
pub enum Kind {
    /// An APDU, with what `inspect` says, that tshark calls malformed or cuts into other services.
    Cut(fn(&Apdu<'_>, &Value) -> bool),
    /// A secured APDU whose MAC tshark cannot check.
    Unopened(fn(&Apdu<'_>) -> bool),
    /// A field.
    Field(fn(&Mismatch<'_>) -> bool),
}

/// All of them.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        why: "segments are not part of its grammar: it knows neither A3 nor the offset in BE (c1222.md §6)",
        kind: Kind::Cut(|apdu, _| matches!(apdu.user, UserInformation::Segment(_))),
    },
    Difference {
        why: "a service length of 00 is padding (c1222.md §2); it reads services of no octets",
        kind: Kind::Cut(|_, seen| is_padded(seen)),
    },
    Difference {
        why: "a session's later messages have no AC; their key id and IV are those of its Logon, which it does \
              not remember (c1222.md §4)",
        kind: Kind::Unopened(|apdu| apdu.envelope.authentication.is_none()),
    },
    Difference {
        why: "without key id 0 is meant, and enters the MAC (c1222.md §5); it leaves it out",
        kind: Kind::Unopened(|apdu| {
            matches!(
                apdu.envelope.authentication,
                Some(Authentication { value: AuthenticationValue::C1222 { key_id: None, .. }, .. })
            )
        }),
    },
    Difference {
        why: "it demands A2 in what it canonifies; absent elements are skipped (c1222.md §5)",
        kind: Kind::Unopened(|apdu| apdu.envelope.called.is_none()),
    },
    Difference {
        why: "it takes the lengths of BE, 28 and 81 to have equally many octets, and canonifies too many or \
              too few octets when EPSEMs of 124 to 127, 250 to 255 .. octets have different ones",
        kind: Kind::Unopened(has_lengths_of_different_forms),
    },
    Difference {
        why: "it counts the octets of a sealed message in 16 bits, rounded up to blocks. In mode 1 it then writes \
              past its memory, so that no such message can be shown to it",
        kind: Kind::Unopened(|apdu| apdu.epsem().is_some_and(|epsem| epsem.len() - 5 > 0xfff0)),
    },
    Difference {
        why: "it knows C12.18's Logon, which has no time-out",
        kind: Kind::Field(|it| it.field == "c1222.logon.timeout" && it.theirs.is_none()),
    },
    Difference {
        why: "it has no names for these services",
        kind: Kind::Field(|it| {
            const UNNAMED: [&str; 6] =
                ["deregistration", "resolve", "trace", "registration", "index-read", "index-write"];
            let ours = it.ours.is_some_and(|ours| UNNAMED.contains(&ours));
            it.field == "name" && it.theirs == Some("Unknown") && ours
        }),
    },
    Difference {
        why: "it shows every Negotiate as that without baud rates",
        kind: Kind::Field(|it| {
            let rates =
                it.ours.and_then(|code| code.parse().ok()).is_some_and(|code| (0x61..=0x6b).contains(&code));
            it.field == "c1222.cmd" && rates && it.theirs == Some("96")
        }),
    },
    Difference {
        why: "arcs have 32 bits in it",
        kind: Kind::Field(|it| {
            let large = |arc: &str| arc.parse::<u64>().is_ok_and(|arc| arc > u64::from(u32::MAX));
            let ours = it.ours.is_some_and(|title| title.split('.').any(large));
            it.field.contains("_ap_title_") && ours && it.theirs == Some("")
        }),
    },
    Difference {
        why: "a count of FFFF means that another block follows (c1222.md §3); it shows the first one",
        kind: Kind::Field(|it| it.field == "c1222.write.continued" && it.theirs.is_none()),
    },
];

/// Whether services end two octets before the EPSEM does, or more.
fn is_padded(seen: &Value) -> bool {
    if seen["epsem_plaintext"].is_null() {
        return false;
    }
    let control = hex(&seen["epsem_control"])[0];
    let plaintext = hex(&seen["epsem_plaintext"]);
    let mut services = Epsem::of_plaintext(EpsemControl(control), &plaintext).unwrap().services();
    services.by_ref().for_each(drop);
    services.padding().len() > 1
}

/// Whether the lengths of BE, 28 and 81 differ in how many octets they have.
fn has_lengths_of_different_forms(apdu: &Apdu<'_>) -> bool {
    let len = apdu.epsem().map_or(0, <[u8]>::len);
    let octets = |len: usize| match len {
        0..0x80 => 1,
        0x80..0x100 => 2,
        0x100..0x1_0000 => 3,
        _ => 4,
    };
    let external = 1 + octets(len) + len;
    let information = 1 + octets(external) + external;
    octets(len) != octets(information)
}
