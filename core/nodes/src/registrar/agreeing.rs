//! The one operation of the token: r·G_X, and with it the answer to message_1, on a thread of its own, so
//! that a slow token holds up nothing else.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::{self, JoinHandle};

use node::{Doorbell, Reason};
use seal::edhoc::{Agreement, HeadEndCredential, Message1, PublicKey, Run};
use seal::ids::Sid;
use seal::secret::{SharedSecret, scrubbed};

use super::means::{Closed, Means};
use super::reception::Token;
use crate::tally::reasons;

/// Registrations that wait for the token.
const QUEUE_MAX: usize = 1024;
/// After a failure the token is left alone for so long, doubled each time.
const PAUSE_NS: u64 = 1_000_000_000;
/// At most so long.
const PAUSE_MAX_NS: u64 = 60_000_000_000;

struct Key<'a>(&'a dyn Means);

impl Agreement for Key<'_> {
    type Error = String;

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, String> {
        self.0.agree(peer)
    }
}

struct Job {
    message_1: Message1,
    sid: Sid,
}

/// What the token made of a message_1.
pub struct Agreed {
    /// The association that it is about.
    pub sid: Sid,
    /// G_X of the message.
    pub g_x: [u8; 32],
    /// The run that began, or why none did. Boxed: what a channel hands on stays in its memory, too.
    pub run: Result<Box<Run>, (Reason, String)>,
}

/// The way to the thread, and what is known of its token.
pub struct Agreeing {
    jobs: Option<SyncSender<Job>>,
    agreed: Receiver<Agreed>,
    thread: Option<JoinHandle<()>>,
    asked: usize,
    /// The token is left alone until then, and why.
    closed_until: u64,
    closed_by: Reason,
    pause: u64,
}

impl Agreeing {
    /// Starts the thread. It rings `doorbell` when answers wait.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        means: Arc<dyn Means>,
        credential: HeadEndCredential,
        doorbell: Doorbell,
    ) -> std::io::Result<Self> {
        let (jobs, to_do) = sync_channel::<Job>(QUEUE_MAX);
        let (done, agreed) = channel();
        let work = move || {
            for Job { message_1, sid } in to_do {
                let answer = |ephemeral| message_1.answer(&credential, &Key(&*means), ephemeral, sid);
                let run = |answer| Box::new(Run::new(&message_1, answer));
                let begin = || means.ephemeral().and_then(answer).map(run).map_err(Closed::Hsm);
                let run = means.fence().and_then(|()| scrubbed::<32, _>(begin)).map_err(Closed::told);
                if done.send(Agreed { sid, g_x: message_1.g_x(), run }).is_err() {
                    return;
                }
                doorbell.ring();
            }
        };
        let thread = thread::Builder::new().name("registrar-token".to_owned()).spawn(work)?;
        let (jobs, thread) = (Some(jobs), Some(thread));
        Ok(Self { jobs, agreed, thread, asked: 0, closed_until: 0, closed_by: reasons::HSM, pause: PAUSE_NS })
    }

    /// What the token can do at `now` (monotonic ns). After a failure it is tried with one at a time.
    #[must_use]
    pub fn token(&self, now: u64) -> Token {
        let trying = self.closed_until > 0 && self.asked > 0;
        if now < self.closed_until || trying {
            Token::Gone(self.closed_by)
        } else if self.asked >= QUEUE_MAX {
            Token::Busy
        } else {
            Token::Ready
        }
    }

    /// How many wait for the token.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// Hands a message_1 to the token; `false` when the thread is gone.
    pub fn ask(&mut self, message_1: Message1, sid: Sid) -> bool {
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(Job { message_1, sid }).is_ok());
        self.asked += usize::from(sent);
        sent
    }

    /// The next answer.
    pub fn next(&mut self, now: u64) -> Option<Agreed> {
        let agreed = match self.agreed.try_recv() {
            Ok(agreed) => agreed,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
        };
        self.asked = self.asked.saturating_sub(1);
        match &agreed.run {
            Ok(_) => (self.closed_until, self.pause) = (0, PAUSE_NS),
            Err((reason, _)) => {
                self.closed_by = *reason;
                if now >= self.closed_until {
                    self.closed_until = now.saturating_add(self.pause);
                    self.pause = self.pause.saturating_mul(2).min(PAUSE_MAX_NS);
                }
            }
        }
        Some(agreed)
    }
}

impl Drop for Agreeing {
    /// Ends the thread when it has done what it was asked; a token that hangs is not waited for.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            drop(thread.join());
        }
    }
}
