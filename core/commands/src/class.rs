//! The class of a body by a device profile, for those who speak of classes as the security layer does.

use c1222::TableId;
use c1222::device_profile::DeviceProfile;
use c1222::tables::ProcedureId;
use seal::command::{Class, KeyItem, SetTime};
use seal::control::Items;
use seal::receiver::Classifier;

use crate::body::ProcedureClass;

/// A device profile that computes classes.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileClassifier(pub DeviceProfile);

impl ProfileClassifier {
    /// Whether a body is what a command of this class may carry (§7): classes 0 to 3 an EPSEM of services of
    /// no higher class, 4 a list of items, 5 a time. What was computed comes back where it is not.
    ///
    /// # Errors
    /// The class that was computed, `None` for a body that does not parse.
    pub fn admits(&self, class: Class, body: &[u8]) -> Result<(), Option<Class>> {
        if let Some(fits) = universal(class, body) {
            return fits;
        }
        match self.class(body) {
            Some(computed) if computed <= class => Ok(()),
            computed => Err(computed),
        }
    }
}

/// Whether a body of class 4 or 5 is one; `None` for other classes, whose bodies a profile judges.
#[must_use]
pub fn universal(class: Class, body: &[u8]) -> Option<Result<(), Option<Class>>> {
    let fits = match class {
        Class::Keys => Items::<KeyItem<'_>>::read(body).is_ok(),
        Class::Time => SetTime::read(body).is_some(),
        Class::Read | Class::Write | Class::Firmware | Class::Load => return None,
    };
    Some(if fits { Ok(()) } else { Err(None) })
}

impl Classifier for ProfileClassifier {
    fn class(&self, body: &[u8]) -> Option<Class> {
        self.0.class(body).and_then(Class::from_octet)
    }
}

impl ProcedureClass for ProfileClassifier {
    fn procedure(&self, procedure: ProcedureId) -> Class {
        Class::from_octet(self.0.classes.procedure(procedure)).unwrap_or(Class::Keys)
    }

    fn write(&self, table: TableId) -> Class {
        Class::from_octet(self.0.classes.write(table)).unwrap_or(Class::Keys)
    }
}
