//! The policy file: who may ask for what, who approves (security layer §7). It has a version and is signed by
//! two approvers of the version before, or by root; a version that is not higher is refused.
//!
//! ```toml
//! policy = 1                          # the form of the file
//! version = 2
//! horizon_days = 7                    # `nbf` is no later than so many days from now
//!
//! [roles]                             # which classes each may ask for
//! operator = [0, 1, 2, 3]
//! security = [4, 5]
//!
//! [requesters]                        # a name, its first word, or "*" for who is not named
//! alice = ["operator"]
//! campaign = ["security"]             # `campaign 7`
//!
//! [[approver]]                        # an ES256 public key
//! name = "ada"
//! x = "26e573ed..."                   # 64 hex digits
//! y = "1dff5453..."
//!
//! [[exception]]                       # class 3 to a classic (EAX') end device
//! dev = "8d9e8180dccdcbbb"
//! reason = "until its exchange in May"
//! until = 1798761600                  # Unix seconds
//! ```
//!
//! Its signatures stand in a file of their own: `[[signature]]` with `by`, an approver's name or `root`, and
//! `es256`, 128 hex digits over the octets of the policy file.

use std::collections::BTreeMap;

use seal::command::{Class, Classes};
use seal::ids::Dev;
use seal::signature::{SIGNATURE_LEN, VerifyingKey, sha256};
use serde::Deserialize;

/// The form of policy files that this program reads.
const FORM: u64 = 1;
/// Octets of a policy file, and of its signatures, at most.
pub const OCTETS_MAX: usize = 1 << 20;
/// Signatures of approvers that it takes.
const APPROVERS_NEEDED: usize = 2;
/// Whom `by` calls the offline root.
const ROOT: &str = "root";
/// Whoever is not named.
const ANYBODY: &str = "*";

/// Why a policy is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No TOML of this shape.
    #[error("{file}, line {line}: {reason}")]
    Shape {
        /// `policy` or `signatures`.
        file: &'static str,
        /// From 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// The form is another.
    #[error("policy: `policy = {0}` is not the form that this program reads, {FORM}")]
    Form(u64),
    /// Longer than [`OCTETS_MAX`].
    #[error("{0}: more than {OCTETS_MAX} octets")]
    TooLong(&'static str),
    /// A value that cannot be.
    #[error("policy: {at}: {reason}")]
    Value {
        /// Where.
        at: String,
        /// Why not.
        reason: &'static str,
    },
    /// Not above the version in force.
    #[error("policy: version {found} is not above {in_force}, which is in force")]
    Version {
        /// The file's.
        found: u64,
        /// That in force.
        in_force: u64,
    },
    /// Neither root nor two approvers of the version before signed it.
    #[error("policy: signed by {valid} approvers of the version before; two are needed, or root")]
    Signatures {
        /// Different approvers whose signature is valid.
        valid: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    policy: u64,
    version: u64,
    #[serde(default = "week")]
    horizon_days: u16,
    roles: BTreeMap<String, Vec<u8>>,
    requesters: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    approver: Vec<ApproverFile>,
    #[serde(default)]
    exception: Vec<ExceptionFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproverFile {
    name: String,
    x: String,
    y: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExceptionFile {
    dev: String,
    reason: String,
    until: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignaturesFile {
    #[serde(default)]
    signature: Vec<SignatureFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureFile {
    by: String,
    es256: String,
}

fn week() -> u16 {
    7
}

/// Who may ask for what, and who approves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    version: u64,
    horizon_s: u64,
    requesters: BTreeMap<String, Classes>,
    approvers: BTreeMap<String, VerifyingKey>,
    /// Until when, Unix seconds.
    exceptions: BTreeMap<Dev, u64>,
    digest: [u8; 32],
}

impl Policy {
    /// Reads the text of a policy that was taken before: its signatures are not asked for.
    ///
    /// # Errors
    /// [`PolicyError`]
    pub fn read(text: &str) -> Result<Self, PolicyError> {
        let file: File = parse("policy", text)?;
        if file.policy != FORM {
            return Err(PolicyError::Form(file.policy));
        }
        let fault = |at: String, reason| Err(PolicyError::Value { at, reason });
        let mut roles = BTreeMap::new();
        for (role, listed) in &file.roles {
            if listed.iter().any(|class| Class::from_octet(*class).is_none()) {
                return fault(format!("[roles] {role}"), "classes are 0 to 5");
            }
            roles.insert(role.as_str(), Classes(listed.iter().fold(0, |all, class| all | 1 << class)));
        }
        let mut requesters = BTreeMap::new();
        for (requester, named) in &file.requesters {
            let mut classes = Classes::default();
            for role in named {
                match roles.get(role.as_str()) {
                    Some(role) => classes.0 |= role.0,
                    None => return fault(format!("[requesters] {requester}"), "a role that `[roles]` lacks"),
                }
            }
            requesters.insert(requester.clone(), classes);
        }
        let mut approvers = BTreeMap::new();
        for approver in &file.approver {
            let at = || format!("[[approver]] `{}`", approver.name);
            if approver.name.is_empty() || approver.name == ROOT {
                return fault(at(), "not a name for an approver");
            }
            let Some((x, y)) = octets(&approver.x).zip(octets(&approver.y)) else {
                return fault(at(), "x and y have 64 hex digits");
            };
            let Some(key) = VerifyingKey::from_xy(&x, &y) else {
                return fault(at(), "the point is not on the curve");
            };
            // Two names for one key would be two approvers in one person.
            if approvers.values().any(|other| *other == key) || approvers.contains_key(&approver.name) {
                return fault(at(), "its name or key is that of another");
            }
            approvers.insert(approver.name.clone(), key);
        }
        let mut exceptions = BTreeMap::new();
        for exception in &file.exception {
            let at = || format!("[[exception]] `{}`", exception.dev);
            let Ok(dev) = exception.dev.parse::<Dev>() else {
                return fault(at(), "`dev` has 16 hex digits");
            };
            if exception.reason.trim().is_empty() {
                return fault(at(), "an exception has a reason");
            }
            exceptions.insert(dev, exception.until);
        }
        Ok(Self {
            version: file.version,
            horizon_s: u64::from(file.horizon_days).saturating_mul(86_400),
            requesters,
            approvers,
            exceptions,
            digest: sha256(text.as_bytes()),
        })
    }

    /// Takes a new policy: it is higher than the one before and signed by two approvers of that one, or by
    /// root. The first one is signed by root.
    ///
    /// # Errors
    /// [`PolicyError`]; the one before stays in force.
    pub fn accept(
        text: &str,
        signatures: &str,
        before: Option<&Self>,
        root: Option<&VerifyingKey>,
    ) -> Result<Self, PolicyError> {
        let policy = Self::read(text)?;
        let in_force = before.map_or(0, |before| before.version);
        if policy.version <= in_force {
            return Err(PolicyError::Version { found: policy.version, in_force });
        }
        let SignaturesFile { signature } = parse("signatures", signatures)?;
        let mut valid: Vec<&str> = Vec::new();
        for SignatureFile { by, es256 } in &signature {
            let Some(octets) = octets::<SIGNATURE_LEN>(es256) else { continue };
            let key = match by.as_str() {
                ROOT => root,
                name => before.and_then(|before| before.approvers.get(name)),
            };
            if !key.is_some_and(|key| key.verifies(&policy.digest, &octets)) {
                continue;
            }
            if by == ROOT {
                return Ok(policy);
            }
            if !valid.contains(&by.as_str()) {
                valid.push(by);
            }
        }
        if valid.len() < APPROVERS_NEEDED {
            return Err(PolicyError::Signatures { valid: valid.len() });
        }
        Ok(policy)
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// SHA-256 of its text: what is signed.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// How far `nbf` may lie ahead, in seconds.
    #[must_use]
    pub fn horizon_s(&self) -> u64 {
        self.horizon_s
    }

    /// Whether a requester may ask for a class. Who is not named counts by the first word of his name, else
    /// as anybody.
    #[must_use]
    pub fn permits(&self, requester: &str, class: Class) -> bool {
        let word = requester.split(' ').next().unwrap_or_default();
        let named = [requester, word, ANYBODY].into_iter().find_map(|name| self.requesters.get(name));
        named.is_some_and(|classes| classes.contain(class))
    }

    /// An approver's name and key.
    #[must_use]
    pub fn approver(&self, name: &str) -> Option<(&str, &VerifyingKey)> {
        self.approvers.get_key_value(name).map(|(name, key)| (name.as_str(), key))
    }

    /// Whether a classic device may be sent class 3 at this time, Unix seconds.
    #[must_use]
    pub fn excepts(&self, dev: Dev, now: u64) -> bool {
        self.exceptions.get(&dev).is_some_and(|until| now <= *until)
    }
}

fn parse<T: serde::de::DeserializeOwned>(file: &'static str, text: &str) -> Result<T, PolicyError> {
    if text.len() > OCTETS_MAX {
        return Err(PolicyError::TooLong(file));
    }
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count().saturating_add(1);
        PolicyError::Shape { file, line, reason: error.message().to_owned() }
    })
}

fn octets<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|nibble| u8::try_from(nibble).ok());
    let octets: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect();
    octets.filter(|_| rest.is_empty())?.try_into().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use seal::signature::{Signer, SigningKey};

    /// Approvers of the tests, by number; `root` is 9.
    pub(crate) fn key(number: u8) -> SigningKey {
        SigningKey::from_octets(&[number; 32]).unwrap()
    }

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    pub(crate) fn text(version: u64) -> String {
        let mut text = format!(
            "policy = 1\nversion = {version}\n[roles]\noperator = [0, 1, 2, 3]\nsecurity = [4, 5]\n\
             [requesters]\nalice = [\"operator\", \"security\"]\nada = [\"operator\"]\n\"*\" = []\ncampaign = [\"security\"]\n"
        );
        for (number, name) in [(1, "ada"), (2, "bob"), (3, "eve")] {
            let [_, xy @ ..] = key(number).verifying_key().uncompressed();
            let (x, y) = xy.split_at(32);
            text += &format!("[[approver]]\nname = \"{name}\"\nx = \"{}\"\ny = \"{}\"\n", hex(x), hex(y));
        }
        text + "[[exception]]\ndev = \"0707070707070707\"\nreason = \"old\"\nuntil = 2000\n"
    }

    fn signed(text: &str, by: &[(&str, u8)]) -> String {
        let digest = sha256(text.as_bytes());
        by.iter()
            .map(|(by, number)| {
                let Ok(signature) = key(*number).sign(&digest);
                format!("[[signature]]\nby = \"{by}\"\nes256 = \"{}\"\n", hex(&signature))
            })
            .collect()
    }

    #[test]
    fn two_approvers_of_the_version_before_or_root_sign_a_higher_one() {
        let root = key(9).verifying_key();
        let accept = |version, before: Option<&Policy>, by: &[(&str, u8)]| {
            let text = text(version);
            Policy::accept(&text, &signed(&text, by), before, Some(&root))
        };
        let first = accept(3, None, &[("root", 9)]).unwrap();
        assert_eq!(accept(3, None, &[("ada", 1), ("bob", 2)]), Err(PolicyError::Signatures { valid: 0 }));
        let before = Some(&first);
        assert_eq!(accept(4, before, &[("ada", 1), ("bob", 2)]).unwrap().version(), 4);
        assert_eq!(accept(9, before, &[("root", 9)]).unwrap().version(), 9);
        for (version, in_force) in [(3, 3), (2, 3)] {
            let refused = Err(PolicyError::Version { found: version, in_force });
            assert_eq!(accept(version, before, &[("root", 9)]), refused);
        }
        for (by, valid) in [
            (&[("ada", 1), ("ada", 1)][..], 1),
            (&[("ada", 1), ("bob", 1)], 1),
            (&[("ada", 1), ("zoe", 2)], 1),
            (&[("root", 1)], 0),
            (&[], 0),
        ] {
            assert_eq!(accept(4, before, by), Err(PolicyError::Signatures { valid }), "{by:?}");
        }
        // The signature is that of the text.
        let (text_4, text_5) = (text(4), text(5));
        let signatures = signed(&text_4, &[("ada", 1), ("bob", 2)]);
        let refused = Policy::accept(&text_5, &signatures, before, Some(&root));
        assert_eq!(refused, Err(PolicyError::Signatures { valid: 0 }));
        assert!(Policy::accept(&text_4, &signatures, before, None).is_ok());
    }

    #[test]
    fn roles_approvers_and_exceptions_are_as_written() {
        let policy = Policy::read(&text(1)).unwrap();
        assert!(policy.permits("alice", Class::Load) && policy.permits("alice", Class::Keys));
        assert!(policy.permits("ada", Class::Load) && !policy.permits("ada", Class::Keys));
        assert!(!policy.permits("zoe", Class::Read) && policy.permits("campaign 7", Class::Keys));
        assert!(policy.approver("bob").is_some() && policy.approver("alice").is_none());
        assert!(policy.excepts(Dev([7; 8]), 2000) && !policy.excepts(Dev([7; 8]), 2001));
        assert!(!policy.excepts(Dev([8; 8]), 1));
        assert_eq!(policy.horizon_s(), 7 * 86_400);
    }

    #[test]
    fn faults_are_named() {
        let text = text(1);
        let says = |text: &str| Policy::read(text).unwrap_err().to_string();
        for (from, to, says_this) in [
            ("policy = 1", "policy = 2", "policy = 2"),
            ("version = 1", "versoin = 1", "line 2: unknown field `versoin`"),
            ("version = 1", "version = -1", "line 2"),
            ("[0, 1, 2, 3]", "[0, 6]", "[roles] operator: classes are 0 to 5"),
            ("[\"operator\"]", "[\"operater\"]", "[requesters] ada: a role"),
            ("name = \"ada\"", "name = \"root\"", "`root`: not a name"),
            ("name = \"ada\"", "name = \"bob\"", "`bob`: its name or key"),
            ("x = \"", "x = \"0", "64 hex digits"),
            ("reason = \"old\"", "reason = \" \"", "an exception has a reason"),
            ("dev = \"07", "dev = \"7", "16 hex digits"),
        ] {
            let said = says(&text.replacen(from, to, 1));
            assert!(said.contains(says_this), "{said}");
        }
        let [_, xy @ ..] = key(1).verifying_key().uncompressed();
        let [_, other @ ..] = key(2).verifying_key().uncompressed();
        let twice =
            text.replace(&hex(&other[..32]), &hex(&xy[..32])).replace(&hex(&other[32..]), &hex(&xy[32..]));
        assert!(says(&twice).contains("its name or key is that of another"));
        let off = text.replace(&hex(&xy[..32]), &hex(&[0; 32]));
        assert!(says(&off).contains("not on the curve"));
        assert_eq!(Policy::read(&" ".repeat(OCTETS_MAX + 1)), Err(PolicyError::TooLong("policy")));
    }

    proptest! {
        #[test]
        fn any_change_is_read_or_refused(at: prop::sample::Index, length in 0..20_usize, put in "\\PC{0,8}") {
            let text = text(1);
            let start = at.index(text.len());
            let end = (start + length).min(text.len());
            let changed = format!("{}{put}{}", &text[..start], &text[end..]);
            let _ = Policy::read(&changed);
            let _ = Policy::accept(&text, &changed, None, None);
        }
    }
}
