//! The fence (security layer §8): of two copies of one installation only one seals.
//!
//! The incarnation is raised at every start, in a mark beside the journal first, then in the token. A state
//! whose mark is that of the token, or one ahead after a crash between the two, is ours; one behind it is a
//! copy that was restored. The token is read again before each reservation, so that a copy that was started
//! later closes this one.
//!
//! A token or a disk that fails at the start is asked again. What the token said first stays the measure: when
//! its number has moved meanwhile, and not by this start, another copy runs.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
#[derive(Clone, Debug, thiserror::Error)]
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
    Token(Arc<TokenError>),
    /// The mark cannot be read or written; it may be later.
    #[error("SEC-STORE: the incarnation's mark: {0}")]
    Mark(Arc<FileError>),
}

impl From<FileError> for FenceError {
    fn from(error: FileError) -> Self {
        Self::Mark(Arc::new(error))
    }
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
    NotYet(Tried),
    /// Raised to this number.
    Open(u64),
    Closed(String),
}

/// What came of raising so far.
#[derive(Default)]
struct Tried {
    /// The token's number when this start first read it.
    first: Option<u64>,
    /// Why it did not go.
    failed: Option<FenceError>,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not raised yet; it is tried again.
    Waiting,
    Open,
    /// For good.
    Refused,
}

impl Fence {
    pub(super) fn new(number: Box<dyn Number>) -> Self {
        Self { number, state: Mutex::new(State::NotYet(Tried::default())) }
    }

    /// How it stands, the token not asked; `None` while somebody else asks it.
    pub(super) fn standing(&self) -> Option<Standing> {
        Some(match &*self.state.try_lock().ok()? {
            State::NotYet(_) => Standing::Waiting,
            State::Open(_) => Standing::Open,
            State::Closed(_) => Standing::Refused,
        })
    }

    /// Whether counters may be reserved: the token is read.
    ///
    /// # Errors
    /// [`FenceError`]; nothing may be reserved then, and nothing signed.
    pub fn check(&self) -> Result<(), FenceError> {
        let mut state = self.state();
        match &*state {
            State::NotYet(tried) => Err(tried.failed.clone().unwrap_or(FenceError::NotYet)),
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
            State::NotYet(_) | State::Closed(_) => None,
        }
    }

    /// Raises the incarnation, once in a process: the mark in `folder`, then the token. What fails for a while
    /// may be tried again; what is refused stays so.
    pub(super) fn raise(&self, files: &dyn Files, folder: &Path) -> Result<(), FenceError> {
        let mut state = self.state();
        let first = match &*state {
            State::Open(_) => return Ok(()),
            State::Closed(why) => return Err(FenceError::Closed { why: why.clone() }),
            State::NotYet(tried) => tried.first,
        };
        let raised = self.raise_from(first, &mut state, files, folder);
        if let (State::NotYet(tried), Err(error)) = (&mut *state, &raised) {
            tried.failed = Some(error.clone());
        }
        raised
    }

    fn raise_from(
        &self,
        first: Option<u64>,
        state: &mut State,
        files: &dyn Files,
        folder: &Path,
    ) -> Result<(), FenceError> {
        let token = match first.map_or_else(|| self.number.read(), Ok) {
            Ok(token) => token,
            Err(error) => return Err(self.refused(state, error)),
        };
        if let State::NotYet(tried) = state {
            tried.first = Some(token);
        }
        let mark = incarnation_mark(files, folder)?;
        let to = token.saturating_add(1);
        if mark == token {
            set_incarnation_mark(files, folder, to)?;
        } else if mark != to {
            // One ahead is ours: a start before this one, or a try, was cut between the two.
            let why = format!(
                "the incarnation of this state is {mark}, the token's is {token}: a copy that was restored \
                 seals nothing until `metergraph restore`"
            );
            return Err(close(state, why));
        }
        match self.number.raise(to) {
            Ok(()) => {
                *state = State::Open(to);
                Ok(())
            }
            Err(error) => Err(self.refused(state, error)),
        }
    }

    fn refused(&self, state: &mut State, error: TokenError) -> FenceError {
        match error {
            TokenError::Raised { .. } | TokenError::Behind { .. } => {
                let why = error.to_string();
                close(state, why.strip_prefix("SEC-FENCE: ").unwrap_or(&why).to_owned())
            }
            error => FenceError::Token(Arc::new(error)),
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
        /// Read, but not raised.
        mute: Arc<AtomicBool>,
    }

    impl Number for Shared {
        fn read(&self) -> Result<u64, TokenError> {
            if self.gone.load(SeqCst) {
                return Err(gone());
            }
            Ok(self.number.load(SeqCst))
        }

        fn raise(&self, to: u64) -> Result<(), TokenError> {
            let found = self.read()?;
            if self.mute.load(SeqCst) {
                return Err(gone());
            }
            if found >= to {
                return Err(TokenError::Behind { token: "token".into(), found, wanted: to });
            }
            self.number.store(to, SeqCst);
            Ok(())
        }
    }

    fn gone() -> TokenError {
        TokenError::Damaged { path: "token".into(), what: "it is gone" }
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
    fn what_fails_at_the_start_is_said_and_opens_when_it_is_tried_again() {
        let folder = Path::new("/journal");
        let (token, files) = (Shared::default(), files());
        token.gone.store(true, SeqCst);
        let (fence, raised) = start(&token, &files);
        assert_eq!(raised.unwrap_err().code(), "SEC-HSM");
        assert_eq!(
            (fence.check().unwrap_err().code(), fence.standing()),
            ("SEC-HSM", Some(Standing::Waiting))
        );
        token.gone.store(false, SeqCst);
        token.mute.store(true, SeqCst);
        assert_eq!(fence.raise(&files, folder).unwrap_err().code(), "SEC-HSM");
        assert_eq!(incarnation_mark(&files, folder).unwrap(), 1, "journal first");
        token.mute.store(false, SeqCst);
        fence.raise(&files, folder).unwrap();
        fence.check().unwrap();
        assert_eq!((fence.incarnation(), fence.standing()), (Some(1), Some(Standing::Open)));
        // A disk that fails, too.
        files.stop_after(0);
        let (fence, raised) = start(&token, &files);
        assert_eq!(raised.unwrap_err().code(), "SEC-STORE");
        assert_eq!(fence.check().unwrap_err().code(), "SEC-STORE");
        files.kill(0);
        fence.raise(&files, folder).unwrap();
        assert_eq!(fence.incarnation(), Some(2));
    }

    #[test]
    fn a_copy_that_raised_the_token_before_it_was_tried_again_is_not_passed() {
        let folder = Path::new("/journal");
        let (token, ours, theirs) = (Shared::default(), files(), files());
        // The mark is ahead already, so that the raised token looks like ours.
        token.mute.store(true, SeqCst);
        let (first, raised) = start(&token, &ours);
        assert!(raised.is_err());
        token.mute.store(false, SeqCst);
        let (second, raised) = start(&token, &theirs);
        raised.unwrap();
        assert_eq!(first.raise(&ours, folder).unwrap_err().code(), "SEC-FENCE");
        for _ in 0..3 {
            assert!(matches!(first.raise(&ours, folder), Err(FenceError::Closed { .. })));
            assert!(matches!(first.check(), Err(FenceError::Closed { .. })));
        }
        assert_eq!(first.standing(), Some(Standing::Refused));
        second.check().unwrap();
        // Nor where the token was away from the beginning.
        token.gone.store(true, SeqCst);
        let late = files();
        set_incarnation_mark(&late, folder, 1).unwrap();
        let (third, raised) = start(&token, &late);
        assert!(raised.is_err());
        token.gone.store(false, SeqCst);
        start(&token, &theirs).1.unwrap();
        assert_eq!(third.raise(&late, folder).unwrap_err().code(), "SEC-FENCE");
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
