//! Where a PIN or a passphrase comes from: an environment variable or a file, never the configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::TokenError;
use super::file;

/// The longest PIN or passphrase, in octets.
const PIN_MAX: usize = 1024;

/// `{ env = "VARIABLE" }` or `{ file = "PATH" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PinSource {
    /// An environment variable.
    Env(String),
    /// A file that only its owner may read; a line end at its end does not count.
    File(PathBuf),
}

impl PinSource {
    /// The secret; relative paths are from `folder`.
    pub(crate) fn read(&self, folder: &Path) -> Result<Zeroizing<String>, TokenError> {
        let refused = |reason: &str| TokenError::Pin { place: self.place(), reason: reason.to_owned() };
        let secret = match self {
            Self::Env(name) => Zeroizing::new(std::env::var(name).map_err(|_| refused("it is not set"))?),
            Self::File(path) => {
                let octets = file::read_secret(&folder.join(path), PIN_MAX)?;
                let text = std::str::from_utf8(&octets).map_err(|_| refused("it is no text"))?;
                Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        };
        match secret.len() {
            0 => Err(refused("it is empty")),
            1..=PIN_MAX => Ok(secret),
            _ => Err(refused("it is too long")),
        }
    }

    /// Paths from `folder` made absolute.
    pub(crate) fn absolute(&self, folder: &Path) -> Self {
        match self {
            Self::File(path) => {
                let path = folder.join(path);
                Self::File(std::path::absolute(&path).unwrap_or(path))
            }
            env @ Self::Env(_) => env.clone(),
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Env(name) => format!("the environment variable {name}"),
            Self::File(path) => format!("{}", path.display()),
        }
    }
}

/// By hand, because a derived one shows what it finds instead; and that would be the PIN.
impl<'de> Deserialize<'de> for PinSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Source;
        impl<'de> Visitor<'de> for Source {
            type Value = PinSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`{ env = \"VARIABLE\" }` or `{ file = \"PATH\" }`")
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<PinSource, E> {
                Err(E::custom(
                    "a PIN does not stand here, but `{ env = \"VARIABLE\" }` or `{ file = \"PATH\" }`",
                ))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<PinSource, E> {
                self.visit_str("")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PinSource, A::Error> {
                let source = match map.next_key::<String>()?.as_deref() {
                    Some("env") => PinSource::Env(map.next_value()?),
                    Some("file") => PinSource::File(map.next_value()?),
                    _ => return Err(de::Error::custom("a PIN has either `env` or `file`")),
                };
                match map.next_key::<de::IgnoredAny>()? {
                    None => Ok(source),
                    Some(_) => Err(de::Error::custom("a PIN has either `env` or `file`, and nothing else")),
                }
            }
        }
        deserializer.deserialize_any(Source)
    }
}
