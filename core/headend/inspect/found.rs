//! What is known of one APDU, as JSON for scripts and as text for people.

use std::fmt;

use c1222::registration::Registration;
use c1222::{Apdu, Request, Response, UserInformation};
use seal::hex::Hex;
use serde::Serialize;

/// One APDU. The first fields are spelt as in `tests/vectors/c1222/messages.json`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Seen {
    /// The id of a hex line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// Where it was found.
    pub(super) place: String,
    /// Its octets.
    pub(super) apdu: String,
    /// ACSE elements in the order in which they stand.
    pub(super) elements: Vec<&'static str>,
    /// The EPSEM control octet.
    pub(super) epsem_control: Option<String>,
    /// 0 clear, 1 with MAC, 2 encrypted with MAC.
    pub(super) security_mode: Option<u8>,
    /// What follows the control octet, without MAC, ED class first; null while it is encrypted.
    pub(super) epsem_plaintext: Option<String>,
    /// The services, each without its length; null while they are encrypted.
    pub(super) services: Option<Vec<String>>,
    /// The services in words.
    pub(super) service_names: Option<Vec<String>>,
    /// Whether the MAC (or the tag of a profile-1 frame) is right; null without one, or without a key.
    pub(super) mac_valid: Option<bool>,
    /// The first thing that is wrong, by its kebab-case name or code.
    pub(super) error: Option<String>,
    /// `request` or `response`.
    pub(super) role: Option<&'static str>,
    /// Whom it is for (A2).
    pub(super) called: Option<String>,
    /// Who sent it (A6).
    pub(super) calling: Option<String>,
    /// Its number (A8).
    pub(super) invocation_id: Option<u32>,
    /// The number of the request that it answers (A4).
    pub(super) answers: Option<u32>,
    /// NOTIFICATION, URGENT, TEST (A7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) qualifier: Option<String>,
    /// Key id and IV that its MAC was checked with, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_id_and_iv: Option<String>,
    /// Those came from the session's Logon.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) from_session: bool,
    /// A segment: where it belongs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) segment: Option<SegmentSeen>,
    /// It was put together from segments.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) reassembled: bool,
    /// A profile-1 frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) frame: Option<FrameSeen>,
}

/// A part of a segmented APDU.
#[derive(Debug, Serialize)]
pub(super) struct SegmentSeen {
    offset: u32,
    octets: usize,
    total: u32,
}

/// A profile-1 frame.
#[derive(Debug, Serialize)]
pub(super) struct FrameSeen {
    /// `report`, `command`, `group-command`, `down-control`, `up-control`, `edhoc`.
    #[serde(rename = "type")]
    pub(super) frame_type: &'static str,
    /// `sid` or `gid`, 8 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// The epoch: its low octet, or all of it when the frame has opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<u16>,
    /// The counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seq: Option<u32>,
    /// The end device, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dev: Option<String>,
    /// The opened body, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) plaintext: Option<String>,
    /// The items of a control frame in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) items: Vec<String>,
}

impl Seen {
    /// The first fault is the one that is told.
    pub(super) fn fault(&mut self, name: &str) {
        if self.error.is_none() {
            self.error = Some(name.to_owned());
        }
    }

    /// What the envelope says.
    pub(super) fn envelope(&mut self, apdu: &Apdu<'_>) {
        let envelope = &apdu.envelope;
        self.elements = apdu.elements().iter().map(|tag| tag.hex()).collect();
        self.called = envelope.called.map(|title| title.to_string());
        self.calling = envelope.calling.map(|title| title.to_string());
        self.invocation_id = Some(envelope.invocation.value());
        self.answers = envelope.answer_to.map(|id| id.value());
        self.qualifier = envelope.qualifier.map(|qualifier| {
            use c1222::Qualifier as Q;
            let names = [(Q::TEST, "test"), (Q::URGENT, "urgent"), (Q::NOTIFICATION, "notification")];
            let set = names.iter().filter(|(bit, _)| qualifier.has(*bit)).map(|(_, name)| *name);
            set.collect::<Vec<_>>().join(" ")
        });
        if let UserInformation::Segment(segment) = apdu.user {
            let (offset, octets, total) = (segment.offset, segment.part.len(), segment.total);
            self.segment = Some(SegmentSeen { offset, octets, total });
        }
    }
}

/// A request in a few words.
pub(super) fn request(request: &Request<'_>) -> String {
    let name = request.code().name();
    match request {
        Request::FullRead(table) => format!("{name} {table}"),
        Request::IndexRead { table, elements, .. } => format!("{name} {table}, {elements} elements"),
        Request::OffsetRead { table, offset, count } => {
            format!("{name} {table}, {count} octets from {}", offset.get())
        }
        Request::FullWrite { table, data } | Request::IndexWrite { table, data, .. } => {
            format!("{name} {table}, {} octets", data.len())
        }
        Request::OffsetWrite { table, offset, data } => {
            format!("{name} {table}, {} octets from {}", data.len(), offset.get())
        }
        Request::Logon { user_id, timeout_s: Some(timeout), .. } => {
            format!("{name} of user {user_id}, idle {timeout} s")
        }
        Request::Logon { user_id, .. } => format!("{name} of user {user_id}"),
        Request::Deregistration(title) | Request::Resolve(title) | Request::Trace(title) => {
            format!("{name} {title}")
        }
        Request::Registration(Registration { period_s, .. }) => {
            format!("{name}, every {} s", period_s.get())
        }
        Request::Wait(seconds) => format!("{name} {seconds} s"),
        Request::Other { code, .. } => format!("service {code}"),
        _ => name.to_owned(),
    }
}

/// A response in a few words.
pub(super) fn response(response: &Response<'_>) -> String {
    let code = response.code().name();
    match response {
        Response::Read(data) => format!("{code}, {} octets", data.len()),
        Response::Logon(Some(seconds)) => format!("{code}, idle {seconds} s"),
        Response::Other(octets) => format!("{code}, {} octets", octets.len()),
        _ => code.to_owned(),
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".into());
        let id = self.id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
        let whole = if self.reassembled { " (from segments)" } else { "" };
        writeln!(f, "{}{id}{whole}  {} octets", self.place, self.apdu.len() / 2)?;
        if self.elements.is_empty() {
            writeln!(f, "  no APDU: {}", or(&self.error))?;
            return writeln!(f, "  {}", self.apdu);
        }
        let answers = self.answers.map(|id| format!(", answers {id}")).unwrap_or_default();
        let number = self.invocation_id.unwrap_or_default();
        let qualifier = self.qualifier.as_ref().map(|text| format!(", {text}")).unwrap_or_default();
        writeln!(f, "  {} -> {}  id {number}{answers}{qualifier}", or(&self.calling), or(&self.called))?;
        if let Some(SegmentSeen { offset, octets, total }) = &self.segment {
            writeln!(f, "  segment: {octets} octets from {offset} of {total}")?;
        }
        if let Some(frame) = &self.frame {
            write!(f, "  profile 1 {}", frame.frame_type)?;
            if let (Some(id), Some(epoch), Some(seq)) = (&frame.id, frame.epoch, frame.seq) {
                write!(f, " {id}, epoch {epoch}, seq {seq}")?;
            }
            if let Some(dev) = &frame.dev {
                write!(f, ", device {dev}")?;
            }
            writeln!(f)?;
            for item in &frame.items {
                writeln!(f, "    {item}")?;
            }
        }
        if let (Some(mode), Some(control)) = (self.security_mode, &self.epsem_control) {
            let mac = match self.mac_valid {
                Some(true) => ", MAC right",
                Some(false) => ", MAC WRONG",
                None if mode == 0 => "",
                None => ", MAC not checked: no key",
            };
            let session = if self.from_session { " (key and IV of the session)" } else { "" };
            writeln!(f, "  control {control}, security mode {mode}{mac}{session}")?;
        }
        for name in self.service_names.iter().flatten() {
            writeln!(f, "    {name}")?;
        }
        match &self.error {
            Some(error) => writeln!(f, "  error: {error}"),
            None => Ok(()),
        }
    }
}

/// Octets as hex digits.
pub(super) fn hex(octets: &[u8]) -> String {
    Hex(octets).to_string()
}
