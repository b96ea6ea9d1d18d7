//! A batch of intents on its way: what was decided, and what is to be durable next.

use std::collections::BTreeMap;

use commands::audit::AuditEntry;
use commands::code::SignRefusal;
use commands::front::CommandId;
use commands::intent::Intent;
use commands::signer::Authorised;
use node::{Batch, Frame};

use super::policy_file::Accepted;
use crate::record::{self, Ctr, Refused};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Counters are on their way to the journal.
    Reserved,
    /// Entries are on their way to the audit log.
    Audited,
    /// Signed commands and refusals are on their way to the journal.
    Signed,
    /// Nothing.
    Ended,
}

/// One batch of intents, or one policy.
pub(super) struct Work {
    /// From 1, in the order of arrival.
    pub serial: u64,
    /// The edge and number of the batch; none for a policy.
    pub from: Option<(usize, u64)>,
    /// Intents in it.
    pub frames: u64,
    pub authorised: Vec<Authorised>,
    pub refused: Vec<(Option<Box<Intent>>, SignRefusal)>,
    pub policy: Option<Accepted>,
    pub step: Step,
}

impl Work {
    /// What must be durable before anything is signed.
    pub fn reservations(&self, mut batch: Batch) -> Batch {
        self.authorised
            .iter()
            .for_each(|authorised| record::push(&mut batch, &Ctr(authorised.reservation())));
        batch
    }

    /// What the audit log must have before anything is signed. Refusals alike are one entry with a count.
    pub fn entries(&self, time_ms: u64, mut batch: Batch) -> Batch {
        let mut push = |entry: &AuditEntry| batch.push_with(Frame::default(), |data| entry.write(data));
        self.authorised.iter().for_each(|authorised| push(&authorised.audit(time_ms)));
        let mut alike: BTreeMap<(&str, &str), AuditEntry> = BTreeMap::new();
        for (intent, refusal) in &self.refused {
            let requester = intent.as_ref().map_or("", |intent| intent.requester.as_str());
            let entry = alike.entry((refusal.code(), requester)).or_insert_with(|| AuditEntry {
                time_ms,
                code: refusal.code().to_owned(),
                actor: requester.to_owned(),
                scope: intent.as_ref().map_or_else(Vec::new, |intent| intent.addressee.scope().0.to_vec()),
                message: intent.as_ref().map_or_else(Vec::new, |intent| intent.id.0.to_vec()),
                digest: intent.as_ref().map_or_else(Vec::new, |intent| intent.digest().to_vec()),
                result: refusal.to_string(),
                count: 0,
            });
            entry.count = entry.count.saturating_add(1);
        }
        alike.values().for_each(&mut push);
        if let Some(Accepted { policy, .. }) = &self.policy {
            push(&AuditEntry {
                time_ms,
                code: "policy".to_owned(),
                actor: String::new(),
                scope: Vec::new(),
                message: Vec::new(),
                digest: policy.digest().to_vec(),
                result: format!("version {} comes into force", policy.version()),
                count: 1,
            });
        }
        batch
    }

    /// Appends the refusals of intents.
    pub fn refusals(&self, batch: &mut Batch) {
        for (intent, refusal) in &self.refused {
            let id: Option<CommandId> = intent.as_ref().map(|intent| intent.id);
            id.into_iter().for_each(|id| record::push(batch, &Refused { id, code: refusal.code() }));
        }
    }
}
