//! Who may do what, where passwords are asked for.

use c1222::request::Password;
use zeroize::Zeroize;

/// A user and the password that shows it.
pub struct User {
    id: u16,
    password: [u8; 20],
    may_write: bool,
}

impl User {
    /// A user; one who may not write may read only.
    #[must_use]
    pub fn new(id: u16, password: [u8; 20], may_write: bool) -> Self {
        Self { id, password, may_write }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

/// The users of a device. Without any, every password is right and everybody may write: the keys, where there
/// are some, say who asks.
#[derive(Default)]
pub(super) struct Users(pub Vec<User>);

impl Users {
    /// Whether one who has shown no password may write.
    pub fn anybody_may_write(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the user with this password may write; `None` when the password is wrong, or there is no
    /// such user.
    pub fn check(&self, id: u16, password: Password<'_>) -> Option<bool> {
        if self.0.is_empty() {
            return Some(true);
        }
        let user = self.0.iter().find(|user| user.id == id)?;
        (Password::new(&user.password) == password).then_some(user.may_write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_opens_for_its_user_only() {
        let users = Users(vec![User::new(2, [b'a'; 20], true), User::new(3, [b'b'; 20], false)]);
        let check = |id, octet| users.check(id, Password::new(&[octet; 20]));
        assert_eq!((check(2, b'a'), check(3, b'b')), (Some(true), Some(false)));
        assert_eq!((check(2, b'b'), check(9, b'a')), (None, None));
        assert!(!users.anybody_may_write());
        assert_eq!(Users::default().check(9, Password::new(&[0; 20])), Some(true));
    }
}
