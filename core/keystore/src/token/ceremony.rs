//! Ceremonies: the keys are made, backed up, restored. Each leaves a transcript that shows no key.

use std::time::{SystemTime, UNIX_EPOCH};

use seal::hex::{self, Hex};
use seal::key_wrap;
use seal::secret::Key256;
use seal::signature::sha256;
use zeroize::Zeroizing;

use super::backup::{self, Backup, Secret, Wrapped};
use super::config::{Config, Place};
use super::pkcs11::Officer;
use super::provider::Mark;
use super::{Holder, Object, Token, TokenError};

/// What was done, line by line.
pub struct Transcript {
    text: String,
}

impl Transcript {
    fn new(title: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { text: format!("metergraph {}: {title}\nUnix time {now}\n", env!("CARGO_PKG_VERSION")) }
    }

    fn say(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// The whole of it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A backup and the shares that open it.
pub struct MadeBackup {
    /// The text of the backup's file; no secret without the shares.
    pub backup: String,
    /// The texts of the shares' files, each for another holder of it.
    pub shares: Vec<Zeroizing<String>>,
    /// What was done.
    pub transcript: Transcript,
}

/// Creates the objects of every holder that are not there yet, in its own token, and tests them. With
/// `backup` the keys can be wrapped by a trusted key (for [`make_backup`]), else they never leave.
///
/// # Errors
/// [`TokenError`]; what was created before stays.
pub fn create(config: &Config, backup: bool) -> Result<Transcript, TokenError> {
    let mut transcript = Transcript::new("key ceremony");
    transcript.say(if backup {
        "Keys are made sensitive, and can be wrapped by a trusted key only."
    } else {
        "Keys are made sensitive and can never leave their token."
    });
    for holder in Holder::ALL {
        let created = match config.place(holder)? {
            Place::Software(place) => place.draw(&config.objects(holder))?,
            Place::Pkcs11(place) => {
                let officer = Officer::new(place);
                transcript.say(&officer.describe()?);
                officer.create(backup)?
            }
        };
        let token = config.open(holder)?;
        transcript.say(&format!("{holder}: {}", token.name()));
        for object in config.objects(holder) {
            let new = if created.contains(&object) { "created" } else { "was there" };
            transcript.say(&format!("  {object}: {new}{}", public_text(&token, object)?));
        }
        transcript.say("  self-test passed");
    }
    Ok(transcript)
}

/// Wraps every key of every holder under a backup key that exists only meanwhile: the security officer makes
/// it trusted in each token, and it is destroyed there; `of` shares are made of it, `threshold` of which open
/// the backup.
///
/// # Errors
/// [`TokenError::Backup`] for numbers that make no sense; those of the tokens.
pub fn make_backup(config: &Config, threshold: u8, of: u8) -> Result<MadeBackup, TokenError> {
    if threshold < 2 || of < threshold {
        return Err(TokenError::backup(format!(
            "{threshold} of {of} shares: it takes at least 2, of at least as many"
        )));
    }
    let mut transcript = Transcript::new("backup of the tokens");
    let secret = Secret::draw()?;
    let mut id = [0; 8];
    getrandom::fill(&mut id)?;
    let id = Hex(&id).to_string();
    let (mut keys, mut incarnation) = (Vec::new(), 0);
    for holder in Holder::ALL {
        // Closed again before the officer logs in: a token has one user at a time.
        let (name, publics) = {
            let token = config.open(holder)?;
            if holder == Holder::KeyStore {
                incarnation = token.incarnation()?.read()?;
            }
            let objects = config.objects(holder).into_iter();
            let publics: Result<Vec<_>, TokenError> =
                objects.map(|object| Ok((object, public(&token, object)?))).collect();
            (token.name().to_owned(), publics?)
        };
        transcript.say(&format!("{holder}: {name}"));
        let (provider, wrapped) = match config.place(holder)? {
            Place::Software(place) => {
                let wrap = |(object, key): (Object, Key256)| {
                    (object, key_wrap::wrap(&secret.wrapping(), &key).to_vec())
                };
                ("software", place.read()?.into_iter().map(wrap).collect())
            }
            Place::Pkcs11(place) => ("pkcs11", Officer::new(place).wrap(&secret.wrapping())?),
        };
        for (object, wrapped) in wrapped {
            transcript.say(&format!("  {object}: wrapped"));
            let public = publics.iter().find(|(other, _)| *other == object).and_then(|(_, key)| key.clone());
            keys.push(Wrapped {
                holder: holder.name().to_owned(),
                object: object.to_string(),
                provider: provider.to_owned(),
                public,
                wrapped: Hex(&wrapped).to_string(),
            });
        }
        if provider == "pkcs11" {
            // Nothing but the holder's own keys is there now: the self-test looks for others.
            drop(config.open(holder)?);
            transcript.say("  the backup key is destroyed in the token");
        }
    }
    let made_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let version = backup::VERSION;
    let backup = Backup { version, id: id.clone(), made_at, threshold, shares: of, incarnation, keys };
    let text = backup.write(&secret)?;
    let shares = secret.share(&id, threshold, of);
    transcript.say(&format!("backup {id}, incarnation {incarnation}, SHA-256 {}", digest(&text)));
    for (share, number) in shares.iter().zip(1..) {
        transcript.say(&format!("share {number} of {of}, SHA-256 {}", digest(share)));
    }
    transcript
        .say(&format!("any {threshold} of the shares open it; the backup key is gone from this machine"));
    Ok(MadeBackup { backup: text, shares, transcript })
}

/// Creates in the tokens of `config`, which must be empty of them, what a backup holds, and tests it: each
/// key pair has the public key that it had. The incarnation is that of the backup, or `incarnation` where the
/// installation has gone on since (security layer §8).
///
/// # Errors
/// [`TokenError::Backup`] for too few shares, shares of another backup, a changed backup, tokens that hold
/// keys already; those of the tokens.
pub fn restore(
    config: &Config,
    backup: &str,
    shares: &[Zeroizing<String>],
    incarnation: Option<u64>,
) -> Result<Transcript, TokenError> {
    let read = Backup::read(backup)?;
    let secret = Secret::recover(&read.id, read.threshold, shares)?;
    if !Backup::is_sealed(backup, &secret) {
        return Err(TokenError::backup("it was changed, or the shares are not its own"));
    }
    let mut transcript = Transcript::new("restore of the tokens");
    transcript.say(&format!("backup {}, SHA-256 {}, {} shares given", read.id, digest(backup), shares.len()));
    let value = incarnation.unwrap_or(0).max(read.incarnation);
    let mark = Mark { value, ..Mark::default() };
    for holder in Holder::ALL {
        let keys = keys_of(&read, holder, config.holder(holder).is_software())?;
        match config.place(holder)? {
            Place::Software(place) => {
                if place.exists() {
                    return Err(TokenError::Exists { path: place.file });
                }
                let unwrap = |(object, wrapped, _): &(Object, Vec<u8>, _)| {
                    let wrapped = wrapped.as_slice().try_into().map_err(|_| unopened(holder))?;
                    let key = key_wrap::unwrap(&secret.wrapping(), wrapped).map_err(|_| unopened(holder))?;
                    Ok((*object, key))
                };
                place.write(&keys.iter().map(unwrap).collect::<Result<_, TokenError>>()?)?;
                if holder == Holder::KeyStore {
                    place.write_incarnation(mark)?;
                }
            }
            Place::Pkcs11(place) => {
                let officer = Officer::new(place);
                transcript.say(&officer.describe()?);
                officer.restore(&secret.wrapping(), &keys, mark)?;
            }
        }
        let token = config.open(holder)?;
        transcript.say(&format!("{holder}: {}", token.name()));
        for (object, _, before) in &keys {
            if *object != Object::Kek
                && before.map(|key| Hex(&key.uncompressed()).to_string()) != public(&token, *object)?
            {
                return Err(TokenError::backup(format!("{object} came back as another key")));
            }
            transcript.say(&format!("  {object}: restored{}", public_text(&token, *object)?));
        }
        transcript.say("  self-test passed");
    }
    transcript.say(&format!("incarnation {value}"));
    Ok(transcript)
}

type KeyOf = (Object, Vec<u8>, Option<seal::edhoc::PublicKey>);

/// The keys of one holder in a backup.
fn keys_of(backup: &Backup, holder: Holder, software: bool) -> Result<Vec<KeyOf>, TokenError> {
    let provider = if software { "software" } else { "pkcs11" };
    let mut keys = Vec::new();
    for key in backup.keys.iter().filter(|key| key.holder == holder.name()) {
        let refused = |reason: &str| TokenError::backup(format!("{} of the {holder}: {reason}", key.object));
        if key.provider != provider {
            return Err(refused(&format!("it was wrapped by {}, and here is {provider}", key.provider)));
        }
        let object = Object::named(&key.object).ok_or_else(|| refused("no such object"))?;
        let wrapped = octets(&key.wrapped).ok_or_else(|| refused("it is damaged"))?;
        keys.push((object, wrapped, key.public_key()));
    }
    Ok(keys)
}

fn octets(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| hex::read::<1>(std::str::from_utf8(pair).ok()?).ok().map(|[octet]| octet)).collect()
}

fn unopened(holder: Holder) -> TokenError {
    TokenError::backup(format!("a key of the {holder} does not open"))
}

/// A key pair's public key, as hex of `04 ‖ x ‖ y`.
fn public(token: &Token, object: Object) -> Result<Option<String>, TokenError> {
    let octets = match object {
        Object::Command(skid) => token.command(skid)?.verifying_key().uncompressed(),
        Object::Audit => token.audit()?.verifying_key().uncompressed(),
        Object::Registration => token.registration()?.public_key().uncompressed(),
        Object::Kek | Object::Incarnation => return Ok(None),
    };
    Ok(Some(Hex(&octets).to_string()))
}

fn public_text(token: &Token, object: Object) -> Result<String, TokenError> {
    Ok(public(token, object)?.map(|key| format!(", public key {key}")).unwrap_or_default())
}

fn digest(text: &str) -> String {
    Hex(&sha256(text.as_bytes())).to_string()
}
