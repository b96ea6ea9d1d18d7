//! The device half: seals reports, opens acknowledgements.

use c1222::authentication::Authentication;
use c1222::epsem::{MAC_LEN, ResponseControl};
use c1222::tables::TableId;
use c1222::{
    ApTitleBuf, Apdu, Envelope, EpsemControl, EpsemWriter, InvocationId, Leniency, Qualifier, Request,
    SecurityMode, TableData, carriage,
};
use end_device::classic_reporter::seal_apdu;
use end_device::meter::Meter;
use end_device::report::{ReportLayout, Scratch};
use keystore::shipment::{Row, RowKeys};
use seal::control::{Ack, Down, Items};
use seal::frame::{Bound, FrameType, Head};
use seal::ids::{Dev, Epoch, Sid, System};
use seal::profile1::Channel;
use seal::schedule::{self, AssociationKeys};
use seal::secret::Key128;

pub const PROFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../graphs/profiles/residential.toml");

/// The head-end's title.
pub fn host() -> ApTitleBuf {
    ApTitleBuf::parse(".1").unwrap()
}

pub fn layout() -> ReportLayout {
    let text = std::fs::read_to_string(PROFILE).unwrap();
    ReportLayout::new(graph::device_profile::parse(&text).0.unwrap()).unwrap()
}

/// A device of profile 1.
pub struct Device {
    pub system: System,
    pub dev: Dev,
    pub sid: Sid,
    pub epoch: Epoch,
    pub keys: AssociationKeys,
    pub title: ApTitleBuf,
}

/// An EPSEM that says nothing that a billing system wants.
pub fn plain() -> Vec<u8> {
    let mut out = Vec::new();
    let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Never);
    EpsemWriter::new(&mut out, control, Some(*b"MGRF"))
        .request(&Request::FullWrite { table: TableId::standard(5), data: TableData::of(b"hello") });
    out
}

impl Device {
    pub fn of(system: System, row: &Row) -> Option<Self> {
        let RowKeys::Profile1(prk) = &row.keys else { return None };
        let keys = schedule::derive(prk, row.sid);
        Some(Self { system, dev: row.dev, sid: row.sid, epoch: row.epoch, keys, title: row.title.clone() })
    }

    fn bound(&self) -> Bound {
        Bound { system: self.system, scope: self.dev.into(), epoch: self.epoch }
    }

    /// A frame of this type.
    pub fn frame(&self, frame_type: FrameType, seq: u32, plaintext: &[u8]) -> Vec<u8> {
        let channel = Channel { key: &self.keys.up, common_iv: &self.keys.common_iv, bound: self.bound() };
        let head = channel.head(frame_type, self.sid.0, seq);
        let mut frame = head.octets().to_vec();
        assert!(channel.seal(&head, plaintext, &mut frame));
        frame
    }

    /// The APDU that carries a frame.
    pub fn carry(&self, frame: &[u8]) -> Vec<u8> {
        carry(Some(&self.title), frame)
    }

    /// As [`Self::carry`], also for a frame that no codec would carry.
    pub fn carry_any(&self, frame: &[u8]) -> Vec<u8> {
        let good = self.frame(FrameType::Report, 0, &vec![0; frame.len() - 17]);
        let mut apdu = self.carry(&good);
        let head = apdu.windows(9).position(|octets| octets == &good[..9]).unwrap();
        apdu[head..head + 9].copy_from_slice(&frame[..9]);
        let body = apdu.len() - (good.len() - 9);
        apdu[body..].copy_from_slice(&frame[9..]);
        apdu
    }

    /// A report with these services.
    pub fn report(&self, seq: u32, epsem: &[u8]) -> Vec<u8> {
        self.carry(&self.frame(FrameType::Report, seq, epsem))
    }

    /// What its meter measured: no two numbers bring the same interval.
    pub fn readings(&self, layout: &ReportLayout, number: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let meter = Meter::new(1, self.dev);
        layout.write(SecurityMode::Clear, meter, number, &mut Scratch::default(), &mut out).unwrap();
        out
    }

    pub fn message_id(&self, seq: u32) -> String {
        format!("{}-{}-{seq}", self.dev, self.epoch.0)
    }

    /// Opens what came down, when it is for this device: head and acknowledgement.
    pub fn open(&self, apdu: &[u8]) -> Option<(Head, Ack)> {
        let apdu = Apdu::decode(apdu, Leniency::Strict).unwrap();
        let carried = carriage::read(&apdu).unwrap()?;
        let head = Head::read(carried.head, carried.body.len()).unwrap();
        if head.id != self.sid.0 {
            return None;
        }
        assert_eq!(head.frame_type, FrameType::DownControl);
        assert!(apdu.envelope.called.unwrap().same_node(&self.title.as_title()));
        assert!(apdu.envelope.calling.unwrap().same_node(&host().as_title()));
        let channel = Channel { key: &self.keys.dn, common_iv: &self.keys.common_iv, bound: self.bound() };
        let mut body = carried.body.to_vec();
        let plaintext = channel.open(&head, &mut body).expect("the tag is K_dn's");
        let items: Vec<Down<'_>> = Items::read(plaintext).unwrap().collect();
        match items[..] {
            [Down::Ack(ack)] => Some((head, ack)),
            _ => panic!("{items:?}"),
        }
    }
}

/// The APDU that carries a frame, from a device with this title.
pub fn carry(title: Option<&ApTitleBuf>, frame: &[u8]) -> Vec<u8> {
    let (host, mut out) = (host(), Vec::new());
    let envelope = Envelope {
        called: Some(host.as_title()),
        calling: title.map(ApTitleBuf::as_title),
        qualifier: Some(Qualifier::NOTIFICATION),
        ..Envelope::new(InvocationId::new(7))
    };
    carriage::write(&mut out, &envelope, frame).unwrap();
    out
}

/// A classic device.
pub struct Classic {
    pub dev: Dev,
    pub sid: Sid,
    pub title: ApTitleBuf,
    pub key_id: u8,
    pub key: Key128,
}

/// One message of a classic device.
#[derive(Clone)]
pub struct Message {
    pub called: Option<ApTitleBuf>,
    pub calling: ApTitleBuf,
    pub qualifier: Option<Qualifier>,
    pub invocation: u32,
    /// Which key it claims.
    pub key_id: u8,
    /// No authentication value without it: a message of a session, or in clear.
    pub iv: Option<u32>,
    pub answer_to: Option<u32>,
    pub control: EpsemControl,
    /// What follows the control octet, before it is sealed.
    pub payload: Vec<u8>,
}

impl Classic {
    pub fn of(row: &Row) -> Option<Self> {
        let RowKeys::Classic(keys) = &row.keys else { return None };
        let (key_id, key) = keys.iter().next().unwrap();
        let key = Key128::from_octets(*key.expose());
        Some(Self { dev: row.dev, sid: row.sid, title: row.title.clone(), key_id, key })
    }

    /// A notification of mode 2, to be changed by the test.
    pub fn message(&self, invocation: u32, iv: u32) -> Message {
        let mut payload = Vec::new();
        EpsemWriter::new(&mut payload, EpsemControl(0x80), Some(*b"MGRF"))
            .request(&Request::FullWrite { table: TableId::standard(5), data: TableData::of(b"hello") });
        payload.remove(0);
        let control = EpsemControl::new(SecurityMode::Cipher, ResponseControl::Never);
        Message {
            called: Some(host()),
            calling: self.title.clone(),
            qualifier: Some(Qualifier::NOTIFICATION),
            invocation,
            key_id: self.key_id,
            iv: Some(iv),
            answer_to: None,
            control: control.with(EpsemControl::ED_CLASS_INCLUDED),
            payload,
        }
    }

    /// The APDU of a message, sealed where its control octet says so.
    pub fn seal(&self, message: &Message) -> Vec<u8> {
        let mode = message.control.security_mode().unwrap();
        let mut out = vec![message.control.0];
        out.extend_from_slice(&message.payload);
        if mode != SecurityMode::Clear {
            out.extend_from_slice(&[0; MAC_LEN]);
        }
        let envelope = Envelope {
            called: message.called.as_ref().map(ApTitleBuf::as_title),
            answer_to: message.answer_to.map(InvocationId::new),
            calling: Some(message.calling.as_title()),
            qualifier: message.qualifier,
            authentication: message.iv.map(|iv| Authentication::c1222(message.key_id, iv.to_be_bytes())),
            ..Envelope::new(InvocationId::new(message.invocation))
        };
        envelope.wrap(&mut out, 0);
        if mode != SecurityMode::Clear && message.iv.is_some() {
            seal_apdu(&self.key, None, &mut out, &mut Vec::new()).unwrap();
        }
        out
    }
}
