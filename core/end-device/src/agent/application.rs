//! What an end device does when it is told to: the side of it that knows tables, not keys.

use std::sync::Arc;

use c1222::ApTitleBuf;
use c1222::SecurityMode;
use c1222::device_profile::SwitchPosition;
use c1222::tables::Outcome;
use seal::command::Class;

use crate::end_device::{EndDevice, Moment, Verdict};
use crate::meter::Meter;
use crate::report::{ReportLayout, Scratch};

/// Tables, switch and reports of an end device.
pub trait Application: Send {
    /// The class of a command's body, computed from the signed device profile; see [`seal::receiver::Classifier`].
    fn class(&self, body: &[u8]) -> Option<Class>;

    /// Carries out the EPSEM of a command of class 0 to 3. At most `room` octets of response EPSEM are
    /// appended.
    fn execute(&mut self, body: &[u8], now: Moment, room: usize, response: &mut Vec<u8>) -> Outcome;

    /// Appends the EPSEM of this report; `false` when there is none, now or ever.
    fn report(&mut self, number: u32, out: &mut Vec<u8>) -> bool;

    /// Takes an APDU that is no frame of profile 1; `out` becomes the answer, if there is one.
    fn clear(&mut self, link: u64, apdu: &[u8], now: Moment, out: &mut Vec<u8>) -> Verdict;

    /// The device has completed a registration: from now on it takes no EAX' (security layer §9).
    fn registered(&mut self);

    /// The head-end gave it this address.
    fn set_title(&mut self, title: &ApTitleBuf);

    /// Four octets, as ST0 has them.
    fn device_class(&self) -> [u8; 4];

    /// Where the service switch stands, where there is one.
    fn switch(&self) -> Option<SwitchPosition> {
        None
    }

    /// Appends what is to outlive a restart.
    fn keep(&self, out: &mut Vec<u8>);

    /// Takes back what was kept; `false` when it is not its own.
    fn restore(&mut self, kept: &[u8]) -> bool;
}

/// A simulated meter: an [`EndDevice`]'s tables, and reports of what its [`Meter`] measures.
pub struct MeterApplication {
    device: EndDevice,
    meter: Meter,
    layout: Arc<ReportLayout>,
    scratch: Scratch,
}

impl MeterApplication {
    /// A meter of the layout's device profile, which also says which class a command has.
    #[must_use]
    pub fn new(device: EndDevice, meter: Meter, layout: Arc<ReportLayout>) -> Self {
        Self { device, meter, layout, scratch: Scratch::default() }
    }

    /// The tables.
    #[must_use]
    pub fn device(&self) -> &EndDevice {
        &self.device
    }
}

impl Application for MeterApplication {
    fn class(&self, body: &[u8]) -> Option<Class> {
        self.layout.profile().class(body).and_then(Class::from_octet)
    }

    fn execute(&mut self, body: &[u8], now: Moment, room: usize, response: &mut Vec<u8>) -> Outcome {
        self.device.execute(body, now, room, response)
    }

    fn report(&mut self, number: u32, out: &mut Vec<u8>) -> bool {
        self.layout.write(SecurityMode::Clear, self.meter, number, &mut self.scratch, out).is_ok()
    }

    fn clear(&mut self, link: u64, apdu: &[u8], now: Moment, out: &mut Vec<u8>) -> Verdict {
        self.device.receive(link, apdu, now, out)
    }

    fn registered(&mut self) {
        self.device.end_legacy();
    }

    fn set_title(&mut self, title: &ApTitleBuf) {
        self.device.set_title(title.clone());
    }

    fn device_class(&self) -> [u8; 4] {
        self.layout.device_class()
    }

    fn switch(&self) -> Option<SwitchPosition> {
        self.layout.profile().service_switch.as_ref().map(|_| self.device.switch())
    }

    fn keep(&self, out: &mut Vec<u8>) {
        self.device.keep(out);
    }

    fn restore(&mut self, kept: &[u8]) -> bool {
        self.device.restore(kept)
    }
}
