//! Sessions: from Logon to Logoff, or to the end of an idle time.

use c1222::ApTitleBuf;
use c1222::canonified::KeyIv;

/// Sessions at a time.
pub(super) const SESSIONS_MAX: usize = 8;
/// Idle time that is granted where none is asked for, in seconds.
const TIMEOUT_S: u16 = 60;
/// The longest idle time that is granted, in seconds.
const TIMEOUT_MAX_S: u16 = 300;
const NS_PER_S: u64 = 1_000_000_000;

/// One session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    caller: Option<ApTitleBuf>,
    /// Who logged on.
    pub user: u16,
    /// Whether a password was shown that allows to write.
    pub may_write: bool,
    /// The key and the initialization vector of the Logon, when it was secured.
    pub key_iv: Option<KeyIv>,
    timeout_ns: u64,
    deadline: u64,
}

/// The sessions of a device, at most one a caller.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Vec<Session>);

impl Sessions {
    /// Ends those that were idle for too long.
    pub fn expire(&mut self, now: u64) {
        self.0.retain(|session| now < session.deadline);
    }

    /// The session of a caller.
    pub fn of(&mut self, caller: &Option<ApTitleBuf>) -> Option<&mut Session> {
        self.0.iter_mut().find(|session| session.caller == *caller)
    }

    /// Begins a session, in the place of one that the caller may have left open. Answers the idle time that
    /// is granted, in seconds; `None` when there are as many sessions as can be.
    pub fn begin(
        &mut self,
        caller: &Option<ApTitleBuf>,
        user: u16,
        key_iv: Option<KeyIv>,
        asked_s: Option<u16>,
        now: u64,
    ) -> Option<u16> {
        self.end(caller);
        if self.0.len() >= SESSIONS_MAX {
            return None;
        }
        let timeout_s =
            asked_s.filter(|asked| *asked > 0).map_or(TIMEOUT_S, |asked| asked.min(TIMEOUT_MAX_S));
        let timeout_ns = u64::from(timeout_s) * NS_PER_S;
        let deadline = now.saturating_add(timeout_ns);
        let (caller, may_write) = (caller.clone(), false);
        self.0.push(Session { caller, user, may_write, key_iv, timeout_ns, deadline });
        Some(timeout_s)
    }

    /// Ends the session of a caller; whether there was one.
    pub fn end(&mut self, caller: &Option<ApTitleBuf>) -> bool {
        let before = self.0.len();
        self.0.retain(|session| session.caller != *caller);
        self.0.len() < before
    }
}

impl Session {
    /// A message of it came: the idle time begins anew.
    pub fn touch(&mut self, now: u64) {
        self.deadline = now.saturating_add(self.timeout_ns);
    }

    /// It may be idle until so many seconds from now, once.
    pub fn wait(&mut self, seconds: u8, now: u64) {
        self.deadline = self.deadline.max(now.saturating_add(u64::from(seconds) * NS_PER_S));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = NS_PER_S;

    fn caller(text: &str) -> Option<ApTitleBuf> {
        Some(ApTitleBuf::parse(text).unwrap())
    }

    #[test]
    fn idle_sessions_end() {
        let mut sessions = Sessions::default();
        let (one, two) = (caller(".1"), caller(".2"));
        assert_eq!(sessions.begin(&one, 7, None, Some(10), 0), Some(10));
        assert_eq!(sessions.begin(&two, 8, None, None, 0), Some(60));
        sessions.of(&one).unwrap().touch(9 * S);
        sessions.expire(18 * S);
        assert_eq!(sessions.of(&one).unwrap().user, 7);
        sessions.of(&one).unwrap().wait(30, 18 * S);
        sessions.of(&one).unwrap().wait(1, 18 * S);
        sessions.expire(47 * S);
        assert!(sessions.of(&one).is_some());
        sessions.expire(48 * S);
        assert!(sessions.of(&one).is_none());
        assert!(sessions.end(&two) && !sessions.end(&two));
    }

    #[test]
    fn there_are_only_so_many_and_one_a_caller() {
        let mut sessions = Sessions::default();
        for number in 0..SESSIONS_MAX {
            assert_eq!(sessions.begin(&caller(&format!(".{number}")), 1, None, Some(0), 0), Some(60));
        }
        assert_eq!(sessions.begin(&None, 1, None, Some(u16::MAX), 0), None);
        assert_eq!(sessions.begin(&caller(".0"), 2, None, Some(u16::MAX), 0), Some(300));
        assert_eq!(sessions.of(&caller(".0")).unwrap().user, 2);
    }
}
