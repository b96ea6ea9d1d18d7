//! The holders of keys and the objects in their tokens.

use std::fmt;

/// Who has a token of its own (security layer §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// The command signer: SK_cmd.
    Signer,
    /// The registrar: SK_reg.
    Registrar,
    /// The audit log: SK_audit.
    Audit,
    /// The key store: KEK and incarnation.
    KeyStore,
}

impl Holder {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Signer, Self::Registrar, Self::Audit, Self::KeyStore];

    /// Its name in `tokens.toml` and in backups.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Signer => "signer",
            Self::Registrar => "registrar",
            Self::Audit => "audit",
            Self::KeyStore => "key-store",
        }
    }

    /// What its token holds; the signer's, for these signing keys.
    pub(crate) fn objects(self, skids: &[u8]) -> Vec<Object> {
        match self {
            Self::Signer => skids.iter().copied().map(Object::Command).collect(),
            Self::Registrar => vec![Object::Registration],
            Self::Audit => vec![Object::Audit],
            Self::KeyStore => vec![Object::Kek, Object::Incarnation],
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signer => "command signer",
            Self::Registrar => "registrar",
            Self::Audit => "audit log",
            Self::KeyStore => "key store",
        })
    }
}

/// One object of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// SK_cmd of this `skid`: signs commands.
    Command(u8),
    /// SK_reg: static Diffie-Hellman.
    Registration,
    /// SK_audit: signs checkpoints.
    Audit,
    /// The key-encryption key.
    Kek,
    /// The incarnation; no key.
    Incarnation,
}

impl Object {
    /// Whether it is a key pair of P-256 that signs.
    pub(crate) fn signs(self) -> bool {
        matches!(self, Self::Command(_) | Self::Audit)
    }

    /// The object that [`Object`]'s `Display` names so.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "sk-reg" => Some(Self::Registration),
            "sk-audit" => Some(Self::Audit),
            "kek" => Some(Self::Kek),
            "incarnation" => Some(Self::Incarnation),
            other => other.strip_prefix("sk-cmd-")?.parse().ok().map(Self::Command),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(skid) => write!(f, "sk-cmd-{skid}"),
            Self::Registration => f.write_str("sk-reg"),
            Self::Audit => f.write_str("sk-audit"),
            Self::Kek => f.write_str("kek"),
            Self::Incarnation => f.write_str("incarnation"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_by_their_names() {
        for holder in Holder::ALL {
            for object in holder.objects(&[0, 1, 255]) {
                assert_eq!(Object::named(&object.to_string()), Some(object));
            }
        }
        for name in ["", "sk-cmd-", "sk-cmd-256", "sk-cmd--1", "KEK"] {
            assert_eq!(Object::named(name), None, "{name}");
        }
    }
}
