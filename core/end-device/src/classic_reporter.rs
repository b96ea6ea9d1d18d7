//! A classic device that reports: EAX' mode 2 notifications (C12.22 reference §5). Nobody acknowledges them.

use c1222::canonified::{self, KeyIv};
use c1222::device_profile::WriteError;
use c1222::{
    ApTitle, ApTitleBuf, Apdu, DecodeError, Envelope, InvocationId, Leniency, Qualifier, SecurityMode,
    ap_title, authentication::Authentication, epsem::MAC_LEN,
};
use seal::counter::{Counter, END_DEVICE_BLOCK};
use seal::eax_prime::{EaxPrime, Mode};
use seal::ids::{Dev, Epoch, Sid};
use seal::refusal::Refusal;
use seal::secret::Key128;

use crate::meter::Meter;
use crate::mix::mix;
use crate::report::{ReportLayout, Scratch};
use crate::reporter::Saved;

/// Why a message of a classic device could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassicError {
    /// A table cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The message has not the form that EAX' needs.
    #[error(transparent)]
    Form(#[from] DecodeError),
    /// EAX' refuses to seal it.
    #[error(transparent)]
    Seal(#[from] Refusal),
}

/// Seals an APDU in place: one with security mode 1 or 2 in its control octet, and room for the MAC at its end.
/// `session` says key id and IV where the message does not; `header` is room that is used again.
///
/// # Errors
/// [`ClassicError::Form`], [`ClassicError::Seal`]; the APDU is then as before.
pub fn seal_apdu(
    key: &Key128,
    session: Option<KeyIv>,
    apdu: &mut [u8],
    header: &mut Vec<u8>,
) -> Result<(), ClassicError> {
    header.clear();
    let message = Apdu::decode(apdu, Leniency::Strict)?;
    canonified::canonify(&message, session, &ap_title::ROOT, header)?;
    let places = canonified::sealed_places(&message)?.ok_or(DecodeError::NoMac)?;
    let mode = if places.mode == SecurityMode::Cipher { Mode::Cipher } else { Mode::Clear };
    let payload = apdu.get_mut(places.payload).ok_or(DecodeError::NoMac)?;
    let mac = EaxPrime::new(key).seal(mode, header, payload)?;
    apdu.get_mut(places.mac).ok_or(DecodeError::NoMac)?.copy_from_slice(&mac);
    Ok(())
}

/// Who a classic device is.
pub struct ClassicDevice {
    /// The device.
    pub dev: Dev,
    /// Its number in the head-end.
    pub sid: Sid,
    /// Its address.
    pub title: ApTitleBuf,
    /// Which of its keys it uses.
    pub key_id: u8,
    /// That key.
    pub key: Key128,
}

/// What tells one message of a classic device from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicMessage {
    /// Which of the device's reports it is.
    pub number: u32,
    /// Its IV.
    pub iv: u32,
    /// Its A8.
    pub invocation: u16,
}

/// A classic device that reports.
pub struct ClassicReporter {
    device: ClassicDevice,
    /// The numbers of its reports.
    counter: Counter,
    /// The last IV.
    iv: u32,
    invocation: u16,
    header: Vec<u8>,
}

impl ClassicReporter {
    /// A device that goes on where it was; with `None` one that has never reported.
    #[must_use]
    pub fn new(device: ClassicDevice, saved: Option<&Saved>) -> Self {
        let invocation = mix(u64::from(device.sid.0), u64::from(device.key_id)) as u16;
        let counter = Counter::resume(saved.map_or(0, |saved| saved.floor));
        let iv = saved.map_or(0, |saved| saved.mark);
        Self { device, counter, iv, invocation, header: Vec::new() }
    }

    /// Who it is.
    #[must_use]
    pub fn device(&self) -> &ClassicDevice {
        &self.device
    }

    /// Whether it may report in this Unix second: its IV is that second, and no IV is used twice.
    #[must_use]
    pub fn may_report(&self, unix_s: u32) -> bool {
        self.iv < unix_s && self.counter.is_reserved()
    }

    /// Appends the APDU of its next report; `None` when it [may not](Self::may_report) report.
    ///
    /// # Errors
    /// [`ClassicError`]; nothing is appended then.
    pub fn report(
        &mut self,
        layout: &ReportLayout,
        meter: Meter,
        head_end: ApTitle<'_>,
        unix_s: u32,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<Option<ClassicMessage>, ClassicError> {
        if !self.may_report(unix_s) {
            return Ok(None);
        }
        let Some(number) = self.counter.take() else { return Ok(None) };
        self.iv = unix_s;
        self.invocation = self.invocation.wrapping_add(1);
        let start = out.len();
        layout.write(SecurityMode::Cipher, meter, number, scratch, out)?;
        out.extend_from_slice(&[0; MAC_LEN]);
        let envelope = Envelope {
            called: Some(head_end),
            calling: Some(self.device.title.as_title()),
            qualifier: Some(Qualifier::NOTIFICATION),
            authentication: Some(Authentication::c1222(self.device.key_id, unix_s.to_be_bytes())),
            ..Envelope::new(InvocationId::new(u32::from(self.invocation)))
        };
        envelope.wrap(out, start);
        let apdu = out.get_mut(start..).unwrap_or_default();
        if let Err(error) = seal_apdu(&self.device.key, None, apdu, &mut self.header) {
            // What is not sealed must not leave the device.
            out.truncate(start);
            return Err(error);
        }
        Ok(Some(ClassicMessage { number, iv: unix_s, invocation: self.invocation }))
    }

    /// The number up to which reports should be durably reserved now.
    #[must_use]
    pub fn wanted_floor(&self) -> Option<u32> {
        self.counter.wanted(END_DEVICE_BLOCK)
    }

    /// Numbers up to `floor` are durably reserved.
    pub fn reserved(&mut self, floor: u32) {
        self.counter.reserved(floor);
    }

    /// What to keep while running, before numbers up to `floor` are used.
    #[must_use]
    pub fn reservation(&self, floor: u32) -> Saved {
        let ClassicDevice { dev, sid, key_id, .. } = self.device;
        let epoch = Epoch(u16::from(key_id));
        Saved { dev, sid, epoch, floor, number: floor, mark: self.iv, frames: Vec::new() }
    }

    /// What to keep at the end: its next report has the number after its last.
    #[must_use]
    pub fn saved(&self) -> Saved {
        self.reservation(self.counter.next_seq())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::residential;
    use c1222::{Epsem, EpsemControl};

    const NOW: u32 = 1_800_000_000;
    const KEY: [u8; 16] = [7; 16];

    fn reporter(saved: Option<&Saved>) -> ClassicReporter {
        let device = ClassicDevice {
            dev: Dev([1; 8]),
            sid: Sid(5),
            title: ApTitleBuf::parse(".68.33.3").unwrap(),
            key_id: 2,
            key: Key128::from_octets(KEY),
        };
        ClassicReporter::new(device, saved)
    }

    fn report(reporter: &mut ClassicReporter, unix_s: u32) -> Option<(ClassicMessage, Vec<u8>)> {
        let host = ApTitleBuf::parse(".1").unwrap();
        let (meter, mut out) = (Meter::new(1, Dev([1; 8])), Vec::new());
        let message = reporter
            .report(&residential(), meter, host.as_title(), unix_s, &mut Scratch::default(), &mut out)
            .unwrap()?;
        Some((message, out))
    }

    /// The plaintext EPSEM, as a head-end gets it.
    fn open(octets: &[u8], key: [u8; 16]) -> Result<Vec<u8>, Refusal> {
        let apdu = Apdu::decode(octets, Leniency::Strict).unwrap();
        let mut header = Vec::new();
        let key_iv = canonified::canonify(&apdu, None, &ap_title::ROOT, &mut header).unwrap();
        assert_eq!(key_iv.key_id, 2);
        let places = canonified::sealed_places(&apdu).unwrap().unwrap();
        let mut payload = octets[places.payload].to_vec();
        let mac = octets[places.mac].try_into().unwrap();
        EaxPrime::new(&Key128::from_octets(key)).open(Mode::Cipher, &header, &mut payload, mac)?;
        Ok(payload)
    }

    #[test]
    fn a_head_end_opens_the_report() {
        let mut reporter = reporter(None);
        reporter.reserved(32);
        let (message, octets) = report(&mut reporter, NOW).unwrap();
        let apdu = Apdu::decode(&octets, Leniency::Strict).unwrap();
        assert!(apdu.envelope.is_notification());
        assert_eq!(apdu.envelope.invocation.value(), u32::from(message.invocation));
        assert_eq!((message.number, message.iv), (0, NOW));
        let plaintext = open(&octets, KEY).unwrap();
        let control = EpsemControl(apdu.epsem().unwrap()[0]);
        assert_eq!(control.security_mode(), Ok(SecurityMode::Cipher));
        let epsem = Epsem::of_plaintext(control, &plaintext).unwrap();
        assert_eq!((epsem.ed_class, epsem.check()), (Some(*b"MGRF"), Ok(3)));
        assert_eq!(open(&octets, [8; 16]), Err(Refusal::Auth));
    }

    #[test]
    fn no_iv_is_used_twice() {
        let mut reporter = reporter(None);
        assert!(report(&mut reporter, NOW).is_none(), "nothing is reserved");
        reporter.reserved(32);
        assert!(report(&mut reporter, NOW).is_some());
        assert!(report(&mut reporter, NOW).is_none() && report(&mut reporter, NOW - 1).is_none());
        let (message, _) = report(&mut reporter, NOW + 1).unwrap();
        assert_eq!((message.number, message.iv), (1, NOW + 1));
    }

    #[test]
    fn a_restart_goes_on_in_number_and_iv() {
        let mut before = reporter(None);
        before.reserved(32);
        report(&mut before, NOW).unwrap();
        for (saved, number) in [(before.saved(), 1), (before.reservation(64), 64)] {
            let mut after = reporter(Some(&saved));
            after.reserved(96);
            assert!(report(&mut after, NOW).is_none());
            assert_eq!(report(&mut after, NOW + 1).unwrap().0.number, number);
        }
    }
}
