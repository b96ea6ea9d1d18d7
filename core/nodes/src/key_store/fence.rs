//! The fence (security layer §8): of two copies of one installation only one seals.
//!
//! The incarnation is raised at every start, in a mark beside the journal first, then in the token. A state
//! whose mark is that of the token, or one ahead after a crash between the two, is ours; one behind it is a
//! copy that was restored. The token is read again before each reservation, so that a copy that was started
//! later closes this one.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use journal::files::{FileError, Files};
use keystore::token::{Incarnation, TokenError};

/// The mark's file in the journal's folder.
const MARK: &str = "incarnation";

/// The token's number.
pub(super) trait Number: Send + Sync {
    fn read(&self) -> Result<u64, TokenError>;
    fn raise(&self, to: u64) -> Result<(), TokenError>;
}

impl Number for Incarnation {
    fn read(&self) -> Result<u64, TokenError> {
        Self::read(self)
    }

    fn raise(&self, to: u64) -> Result<(), TokenError> {
        Self::raise(self, to)
    }
}

/// Why nothing may be sealed.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// The incarnation is not raised yet.
    #[error("SEC-FENCE: the incarnation has not been raised yet")]
    NotYet,
    /// This state is a copy, or another copy runs. It stays so.
    #[error("SEC-FENCE: {why}")]
    Closed {
        /// What was found.
        why: String,
    },
    /// The token does not answer; it may do so later.
    #[error(transparent)]
    Token(TokenError),
    /// The mark cannot be read or written.
    #[error("SEC-STORE: the incarnation's mark: {0}")]
    Mark(#[from] FileError),
}

impl FenceError {
    /// Its code in security layer §10.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotYet | Self::Closed { .. } => "SEC-FENCE",
            Self::Token(_) => "SEC-HSM",
            Self::Mark(_) => "SEC-STORE",
        }
    }
}

/// Asked by all who reserve counters, before each reservation.
pub struct Fence {
    number: Box<dyn Number>,
    state: Mutex<State>,
}

enum State {
    NotYet,
    /// Raised to this number.
    Open(u64),
    Closed(String),
}

impl Fence {
    pub(super) fn new(number: Box<dyn Number>) -> Self {
        Self { number, state: Mutex::new(State::NotYet) }
    }

    /// Whether counters may be reserved: the token is read.
    ///
    /// # Errors
    /// [`FenceError`]; nothing may be reserved then, and nothing signed.
    pub fn check(&self) -> Result<(), FenceError> {
        let mut state = self.state();
        match &*state {
            State::NotYet => Err(FenceError::NotYet),
            State::Closed(why) => Err(FenceError::Closed { why: why.clone() }),
            State::Open(ours) => match self.number.read() {
                Ok(found) if found == *ours => Ok(()),
                Ok(found) => Err(close(
                    &mut state,
                    format!(
                        "the incarnation in the token is {found}: another copy of this installation runs"
                    ),
                )),
                Err(error) => Err(self.refused(&mut state, error)),
            },
        }
    }

    /// The number of this run; `None` while the fence is not open.
    #[must_use]
    pub fn incarnation(&self) -> Option<u64> {
        match &*self.state() {
            State::Open(number) => Some(*number),
            State::NotYet | State::Closed(_) => None,
        }
    }

    /// Raises the incarnation, once in a process: the mark in `folder`, then the token.
    pub(super) fn raise(&self, files: &dyn Files, folder: &Path) -> Result<(), FenceError> {
        let mut state = self.state();
        match &*state {
            State::Open(_) => return Ok(()),
            State::Closed(why) => return Err(FenceError::Closed { why: why.clone() }),
            State::NotYet => {}
        }
        let mark = incarnation_mark(files, folder)?;
        let token = match self.number.read() {
            Ok(token) => token,
            Err(error) => return Err(self.refused(&mut state, error)),
        };
        let to = if mark == token {
            let to = token.saturating_add(1);
            set_incarnation_mark(files, folder, to)?;
            to
        } else if mark == token.saturating_add(1) {
            // A start before this one was cut between the two.
            mark
        } else {
            let why = format!(
                "the incarnation of this state is {mark}, the token's is {token}: a copy that was restored \
                 seals nothing until `metergraph restore`"
            );
            return Err(close(&mut state, why));
        };
        match self.number.raise(to) {
            Ok(()) => {
                *state = State::Open(to);
                Ok(())
            }
            Err(error) => Err(self.refused(&mut state, error)),
        }
    }

    fn refused(&self, state: &mut State, error: TokenError) -> FenceError {
        match error {
            TokenError::Raised { .. } | TokenError::Behind { .. } => {
                let why = error.to_string();
                close(state, why.strip_prefix("SEC-FENCE: ").unwrap_or(&why).to_owned())
            }
            error => FenceError::Token(error),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn close(state: &mut State, why: String) -> FenceError {
    *state = State::Closed(why.clone());
    FenceError::Closed { why }
}

/// The incarnation that stands beside the journal in `folder`; 0 where none does.
///
/// # Errors
/// [`FileError`] when it cannot be read, or is damaged.
pub fn incarnation_mark(files: &dyn Files, folder: &Path) -> Result<u64, FileError> {
    let path = folder.join(MARK);
    let octets = match files.read(&path, 16) {
        Err(error) if error.is_missing() => return Ok(0),
        read => read?,
    };
    let halves = octets.split_first_chunk().zip(octets.split_last_chunk());
    let mark = halves.map(|((mark, _), (_, check))| (u64::from_be_bytes(*mark), u64::from_be_bytes(*check)));
    match mark {
        Some((mark, check)) if octets.len() == 16 && mark == !check => Ok(mark),
        _ => Err(FileError::new("read", &path, std::io::Error::other("it is damaged"))),
    }
}

/// Sets it: what `metergraph restore` does, when it has made sure that nothing comes twice.
///
/// # Errors
/// [`FileError`]; it is then as before, or as set.
pub fn set_incarnation_mark(files: &dyn Files, folder: &Path, mark: u64) -> Result<(), FileError> {
    let octets = [mark.to_be_bytes(), (!mark).to_be_bytes()].concat();
    files.write_atomically(&folder.join(MARK), &octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::files::ForgetfulFiles;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

    /// A token that others may raise too.
    #[derive(Clone, Default)]
    struct Shared {
        number: Arc<AtomicU64>,
        gone: Arc<AtomicBool>,
    }

    impl Number for Shared {
        fn read(&self) -> Result<u64, TokenError> {
            if self.gone.load(SeqCst) {
                return Err(TokenError::Damaged { path: "token".into(), what: "it is gone" });
            }
            Ok(self.number.load(SeqCst))
        }

        fn raise(&self, to: u64) -> Result<(), TokenError> {
            self.read()?;
            self.number.store(to, SeqCst);
            Ok(())
        }
    }

    fn start(token: &Shared, files: &ForgetfulFiles) -> (Fence, Result<(), FenceError>) {
        let fence = Fence::new(Box::new(token.clone()));
        assert!(matches!(fence.check(), Err(FenceError::NotYet)));
        let raised = fence.raise(files, Path::new("/journal"));
        (fence, raised)
    }

    fn files() -> ForgetfulFiles {
        let files = ForgetfulFiles::default();
        files.create_folder(Path::new("/journal")).unwrap();
        files
    }

    #[test]
    fn each_start_raises_the_incarnation() {
        let (token, files) = (Shared::default(), files());
        for number in 1..4 {
            let (fence, raised) = start(&token, &files);
            raised.unwrap();
            fence.raise(&files, Path::new("/journal")).unwrap();
            assert_eq!((fence.incarnation(), token.number.load(SeqCst)), (Some(number), number));
            fence.check().unwrap();
        }
    }

    #[test]
    fn a_copy_that_starts_later_closes_the_first_one() {
        let (token, files) = (Shared::default(), files());
        let (first, raised) = start(&token, &files);
        raised.unwrap();
        let (second, raised) = start(&token, &files);
        raised.unwrap();
        second.check().unwrap();
        let closed = first.check().unwrap_err();
        assert!(closed.to_string().starts_with("SEC-FENCE: the incarnation in the token is 2"), "{closed}");
        token.number.store(1, SeqCst);
        assert!(matches!(first.check(), Err(FenceError::Closed { .. })), "it stays closed");
    }

    #[test]
    fn a_restored_copy_seals_nothing_until_its_mark_is_set() {
        let (token, files) = (Shared::default(), files());
        token.number.store(5, SeqCst);
        for mark in [0, 4, 7] {
            set_incarnation_mark(&files, Path::new("/journal"), mark).unwrap();
            let (fence, raised) = start(&token, &files);
            assert_eq!(raised.unwrap_err().code(), "SEC-FENCE", "{mark}");
            assert!(matches!(fence.check(), Err(FenceError::Closed { .. })));
            assert_eq!(token.number.load(SeqCst), 5);
        }
        set_incarnation_mark(&files, Path::new("/journal"), 5).unwrap();
        start(&token, &files).1.unwrap();
    }

    #[test]
    fn a_start_that_was_cut_anywhere_is_ours() {
        for stop in 0..8 {
            for seed in 0..50 {
                let (token, files) = (Shared::default(), files());
                start(&token, &files).1.unwrap();
                // Twice in a row, with the token failing or the power.
                for _ in 0..2 {
                    files.stop_after(stop);
                    token.gone.store(seed % 3 == 0, SeqCst);
                    let _ = start(&token, &files);
                    token.gone.store(false, SeqCst);
                    files.cut(seed);
                }
                let (fence, raised) = start(&token, &files);
                raised.unwrap_or_else(|error| panic!("{error}, stop {stop} seed {seed}"));
                fence.check().unwrap();
            }
        }
    }

    #[test]
    fn a_token_that_is_away_closes_nothing_for_ever() {
        let (token, files) = (Shared::default(), files());
        let (fence, raised) = start(&token, &files);
        raised.unwrap();
        token.gone.store(true, SeqCst);
        assert_eq!(fence.check().unwrap_err().code(), "SEC-HSM");
        token.gone.store(false, SeqCst);
        fence.check().unwrap();
    }

    #[test]
    fn a_damaged_mark_is_named() {
        let files = files();
        for octets in [&[0; 16][..], &[1], &[], &[0; 17]] {
            files.write_atomically(Path::new("/journal/incarnation"), octets).unwrap();
            assert!(incarnation_mark(&files, Path::new("/journal")).is_err());
        }
    }
}
