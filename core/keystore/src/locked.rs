//! Memory that is not swapped out, for the keys that a process keeps as long as it lives (security layer §4).

use zeroize::Zeroizing;

/// A value alone on its pages.
#[repr(C, align(4096))]
struct Pages<T>(T);

/// A value on pages of its own, which the system is asked to keep out of swap. It wipes itself when it is
/// dropped, as its type does.
pub(crate) struct Locked<T> {
    // Dropped first: a page is swapped out under pressure, not in the instant between unlocking and wiping.
    guard: Option<region::LockGuard>,
    pages: Box<Pages<T>>,
}

impl<T> Locked<T> {
    /// Takes over a value. Where the system does not allow to lock memory (`ulimit -l`) it is kept anyway:
    /// [`Locked::is_locked`] says so.
    // In a frame of its own: a page on the caller's stack would push his secrets below what he scrubs.
    #[inline(never)]
    pub(crate) fn new(value: T) -> Self {
        let pages = Box::new(Pages(value));
        let guard = region::lock(&raw const *pages, size_of::<Pages<T>>()).ok();
        Self { guard, pages }
    }

    /// Whether the memory is really locked.
    pub(crate) fn is_locked(&self) -> bool {
        self.guard.is_some()
    }

    /// The value.
    pub(crate) fn get(&self) -> &T {
        &self.pages.0
    }

    /// The value, to change it in place.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.pages.0
    }
}

impl<T> std::ops::Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.get()
    }
}

/// 32 random octets of the system, wiped when they are dropped.
pub(crate) fn random_32() -> Result<Zeroizing<[u8; 32]>, getrandom::Error> {
    let mut octets = Zeroizing::new([0; 32]);
    getrandom::fill(octets.as_mut_slice())?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lies_on_locked_pages_of_its_own() {
        let locked_kib = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
            line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let mut key = Locked::new([7_u8; 5000]);
        assert!(key.is_locked(), "`ulimit -l` allows no locked memory here");
        assert!(locked_kib() >= 8);
        let address = &raw const *key.get() as usize;
        assert_eq!(address % 4096, 0);
        key.get_mut().fill(8);
        assert_eq!(key.get(), &[8; 5000]);
    }
}
