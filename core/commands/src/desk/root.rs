//! Commands that the offline root signed (security layer §7, §8): the desk takes the octets as they are, and
//! neither signer nor counter of its own has a part in them.

use seal::command::{Addressee, Class, Command, KeyItem, ROOT, SignedCommand, sig_structure};
use seal::control::Items;
use seal::ids::System;
use seal::signature::{VerifyingKey, sha256};

use super::{Desk, Taken};
use crate::audit::AuditEntry;
use crate::front::{CommandId, Refusal, Roles, SignedSubmission};
use crate::intent::{Intent, REQUESTER_MAX};

/// Request ids that begin so are root's.
pub(super) const REQUESTS: &str = "root-";
/// A command may be so much ahead of the clock, in seconds: as for end devices.
const SKEW_S: u64 = 300;

/// Why octets are no command of root's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// Too short, or not what a class-4 command holds.
    #[error("SEC-CMD-CLASS: {0}")]
    Class(&'static str),
    /// Signed under another key.
    #[error("SEC-CMD-POLICY: signed under skid {0}; what others than root (skid 0) sign goes by the signer")]
    Skid(u8),
    /// Nobody knows whose signature it should be.
    #[error("SEC-CMD-POLICY: root's public key is not known")]
    NoRoot,
    /// Somebody else's signature, or that of another command.
    #[error("SEC-CMD-APPROVAL: the signature is not root's for this installation, addressee and command")]
    Signature,
    /// Not now.
    #[error("SEC-CMD-POLICY: {0}")]
    When(&'static str),
    /// Not the next.
    #[error("SEC-SEQ: root has used counter {0}, or a later one, for another command to the same")]
    Counter(u32),
    /// The audit log has not got it: nothing may act that it does not know.
    #[error("SEC-AUDIT: the audit log cannot be written")]
    Audit,
}

impl RootError {
    /// The code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Class(_) => "SEC-CMD-CLASS",
            Self::Skid(_) | Self::NoRoot | Self::When(_) => "SEC-CMD-POLICY",
            Self::Signature => "SEC-CMD-APPROVAL",
            Self::Counter(_) => "SEC-SEQ",
            Self::Audit => "SEC-AUDIT",
        }
    }
}

/// A command under root's signature, which is good.
#[derive(Clone, Debug)]
pub struct OfRoot<'a> {
    submission: &'a SignedSubmission,
    system: System,
    command: Command<'a>,
    /// What its first item does.
    word: &'static str,
    /// SHA-256 over what is signed: the same command has the same, however often it was signed.
    content: [u8; 32],
}

impl<'a> OfRoot<'a> {
    /// Reads it: root's name, class 4, items that concern keys of the head-end, root's signature.
    ///
    /// # Errors
    /// [`Refusal::Role`], [`Refusal::Invalid`], [`Refusal::Root`].
    pub fn read(
        submission: &'a SignedSubmission,
        system: System,
        root: Option<&VerifyingKey>,
    ) -> Result<Self, Refusal> {
        let SignedSubmission { addressee, octets, requester, roles } = submission;
        if !roles.cover(Roles::SECURITY) {
            return Err(Refusal::Role("security"));
        }
        if requester.is_empty() || requester.len() > REQUESTER_MAX {
            return Err(Refusal::Invalid("a requester's name has 1 to 64 octets"));
        }
        let read = SignedCommand::read(octets).ok_or(RootError::Class("too short for a signed command"))?;
        let command = read.command;
        if command.skid != ROOT {
            return Err(RootError::Skid(command.skid).into());
        }
        if command.class != Class::Keys.octet() {
            return Err(RootError::Class("root signs class 4 alone").into());
        }
        let word = word(command.body)?;
        if !read.verifies(root.ok_or(RootError::NoRoot)?, system, *addressee) {
            return Err(RootError::Signature.into());
        }
        let content = sha256(&sig_structure(system, *addressee, read.signed));
        Ok(Self { submission, system, command, word, content })
    }

    /// The desk's name for the request: one for each counter of root's. A RESULT names no group, so root has
    /// one sequence for all of them, as the signer has.
    #[must_use]
    pub fn request_id(&self) -> String {
        match self.submission.addressee {
            Addressee::Device(dev) => format!("{REQUESTS}{dev}-{}", self.command.ctr),
            Addressee::Group(_) => format!("{REQUESTS}groups-{}", self.command.ctr),
        }
    }

    /// SHA-256 over what is signed.
    #[must_use]
    pub fn content(&self) -> [u8; 32] {
        self.content
    }

    fn id(&self) -> CommandId {
        let mut id = [0; 16];
        id.iter_mut().zip(self.content).for_each(|(octet, content)| *octet = content);
        CommandId(id)
    }

    /// What another command under the same counter is answered.
    #[must_use]
    pub fn used(&self) -> Refusal {
        RootError::Counter(self.command.ctr).into()
    }

    fn timely(&self, now: u64) -> Result<(), RootError> {
        let nbf = u64::from(self.command.nbf);
        let ends_at = nbf.saturating_add(u64::from(self.command.ttl).saturating_mul(60));
        if self.command.ttl == 0 || now > ends_at {
            return Err(RootError::When("its time has passed"));
        }
        if nbf > now.saturating_add(SKEW_S) {
            return Err(RootError::When("its time begins in more than 300 s"));
        }
        Ok(())
    }
}

/// What the first of the items does. Groups and epochs are in the books of signer and desk, which root does
/// not keep.
fn word(body: &[u8]) -> Result<&'static str, RootError> {
    let items = Items::<KeyItem<'_>>::read(body)
        .map_err(|_| RootError::Class("the body is no list of items that concern keys"))?;
    let mut first = None;
    for item in items {
        let word = match item {
            KeyItem::SignerAdd { .. } => "signer-add",
            KeyItem::SignerRevoke { .. } => "signer-revoke",
            KeyItem::CredentialNext { .. } => "credential-next",
            KeyItem::Advance { .. } | KeyItem::Join { .. } | KeyItem::Leave { .. } => {
                return Err(RootError::Class("groups and epochs are ordered by the signer, not by root"));
            }
        };
        first = first.or(Some(word));
    }
    first.ok_or(RootError::Class("the list is empty"))
}

impl RootError {
    /// What the audit log is told of octets that were not taken for this reason.
    #[must_use]
    pub fn audit(&self, submission: &SignedSubmission, time_ms: u64) -> AuditEntry {
        AuditEntry {
            time_ms,
            code: self.code().to_owned(),
            actor: submission.requester.clone(),
            scope: submission.addressee.scope().0.to_vec(),
            message: Vec::new(),
            digest: sha256(&submission.octets).to_vec(),
            result: self.to_string(),
            count: 1,
        }
    }
}

impl Taken {
    /// What the audit log must have before a command of root's is written, and so before it can be sent
    /// (security layer §7, §11).
    #[must_use]
    pub fn audit(&self, time_ms: u64) -> AuditEntry {
        let signed = self.signed.as_deref().and_then(SignedCommand::read);
        let ctr = signed.map_or(0, |signed| signed.command.ctr);
        AuditEntry {
            time_ms,
            code: "command".to_owned(),
            actor: self.requester.clone(),
            scope: self.addressee.scope().0.to_vec(),
            message: self.id.0.to_vec(),
            digest: self.digest.to_vec(),
            result: format!("class {}, skid {ROOT}, ctr {ctr}: signed by root", self.class.octet()),
            count: self.device().map_or(self.members, |_| 1),
        }
    }
}

impl Desk {
    /// Checks a command of root's that is new; `membership` is the version of its group. Answers it as it is
    /// to be written: signed from the beginning.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn of_root(&self, root: &OfRoot<'_>, membership: u64, now: u64) -> Result<Taken, Refusal> {
        let SignedSubmission { addressee, octets, requester, .. } = root.submission;
        root.timely(now)?;
        self.check_addressee(*addressee, false)?;
        self.check_group_class(*addressee, Class::Keys)?;
        if let Addressee::Group(gid) = addressee
            && self.table.newest(*gid, ROOT).is_some_and(|newest| newest >= root.command.ctr)
        {
            return Err(root.used());
        }
        let members = match addressee {
            Addressee::Group(gid) => self.groups.version(*gid).map_or(0, |(_, members)| members),
            Addressee::Device(_) => 0,
        };
        let intent = Intent {
            id: root.id(),
            system: root.system,
            skid: ROOT,
            class: Class::Keys,
            addressee: *addressee,
            membership,
            body: root.command.body.to_vec(),
            nbf: root.command.nbf,
            ttl: root.command.ttl,
            requester: requester.clone(),
        };
        let written = intent.octets();
        Ok(Taken {
            id: intent.id,
            request_id: root.request_id(),
            content: root.content,
            word: root.word,
            members,
            addressee: intent.addressee,
            class: intent.class,
            nbf: intent.nbf,
            ttl_min: intent.ttl,
            requester: intent.requester,
            digest: sha256(&written),
            body: intent.body,
            intent: written,
            signed: Some(octets.clone()),
        })
    }
}
