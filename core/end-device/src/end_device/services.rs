//! One service after the other.

use c1222::ap_title::Form;
use c1222::canonified::KeyIv;
use c1222::identification::{Feature, Identification};
use c1222::native_address::ShortOctets;
use c1222::registration::TaggedId;
use c1222::request::Password;
use c1222::response::{Detail, Titles};
use c1222::{ApTitle, ApTitleBuf, Request, Response, ResponseCode};

use super::classic::MECHANISM;
use super::session::SESSIONS_MAX;
use super::table_services::Part;
use super::{EndDevice, Moment};

/// 1: 7-bit ASCII.
const ASCII: u8 = 1;

/// Who asks, and what they may do.
pub(super) struct Caller {
    /// In its canonical form.
    pub title: Option<ApTitleBuf>,
    /// It was secured, or need not be.
    pub is_trusted: bool,
    /// The key and IV that secured it.
    pub key_iv: Option<KeyIv>,
    pub in_session: bool,
    /// A session began in this message.
    pub logged_on: bool,
    pub user: u16,
    pub may_write: bool,
}

/// Why a service is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Because(ResponseCode),
    /// RSTL, with the most octets of table data that are possible.
    TooLarge(u32),
    /// Trace: the way ends here.
    NoWay,
}

impl From<ResponseCode> for Refused {
    fn from(code: ResponseCode) -> Self {
        Self::Because(code)
    }
}

impl Refused {
    /// Appends the response of a node with this title.
    pub fn encode(self, own: ApTitle<'_>, out: &mut Vec<u8>) {
        let way = [own];
        let (code, detail) = match self {
            Self::Because(code) => (code, Detail::None),
            Self::TooLarge(max) => (ResponseCode::Rstl, Detail::SizeMax(max)),
            Self::NoWay => (ResponseCode::Uat, Detail::Way(Titles::of(&way))),
        };
        Response::Refused { code, detail }.encode(out);
    }
}

impl EndDevice {
    /// Carries out one service; its response goes to `out`, of which `room` octets may be used.
    pub(super) fn serve(
        &mut self,
        service: &[u8],
        caller: &mut Caller,
        now: Moment,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let request = Request::decode(service).map_err(|_| ResponseCode::Err)?;
        match request {
            Request::Identification => {
                self.identify(out);
                return Ok(());
            }
            Request::Resolve(title) => return self.resolve(title, out),
            Request::Trace(title) => return self.trace(title, out),
            // A master relay's service, or none of C12.22.
            Request::Registration(_) | Request::Other { .. } => return Err(ResponseCode::Sns.into()),
            _ if !caller.is_trusted => return Err(ResponseCode::Isc.into()),
            _ => {}
        }
        match request {
            Request::Deregistration(title) => self.deregister(title, caller)?,
            Request::Logon { user_id, timeout_s, .. } => {
                let granted = self.log_on(user_id, timeout_s, caller, now)?;
                Response::Logon(timeout_s.map(|_| granted)).encode(out);
                return Ok(());
            }
            Request::Security { password, user_id } => self.show_password(password, user_id, caller)?,
            Request::Wait(seconds) => {
                let session = self.state.sessions.of(&caller.title).filter(|_| caller.in_session);
                session.ok_or(ResponseCode::Isss)?.wait(seconds, now.steady_ns);
            }
            Request::Logoff | Request::Terminate | Request::Disconnect => self.log_off(caller)?,
            Request::FullRead(table) => return self.read(table, Part::Whole, caller, now, room, out),
            Request::DefaultRead => {
                return self.read(self.tables.default(), Part::Whole, caller, now, room, out);
            }
            Request::OffsetRead { table, offset, count } => {
                let part = Part::Octets { offset: offset.get(), count: usize::from(count) };
                return self.read(table, part, caller, now, room, out);
            }
            Request::IndexRead { table, index, elements } => {
                let part = Part::Elements { index, count: Some(elements) };
                return self.read(table, part, caller, now, room, out);
            }
            Request::FullWrite { table, data } => self.write(table, Part::Whole, data, caller, now)?,
            Request::OffsetWrite { table, offset, data } => {
                let part = Part::Octets { offset: offset.get(), count: data.len() };
                self.write(table, part, data, caller, now)?;
            }
            Request::IndexWrite { table, index, data } => {
                self.write(table, Part::Elements { index, count: None }, data, caller, now)?;
            }
            Request::Identification
            | Request::Resolve(_)
            | Request::Trace(_)
            | Request::Registration(_)
            | Request::Other { .. } => {}
        }
        Response::Done.encode(out);
        Ok(())
    }

    fn identify(&self, out: &mut Vec<u8>) {
        let class = self.tables.profile.identity.device_class;
        let mechanism = TaggedId { form: Form::Absolute, octets: &MECHANISM };
        let features = [
            Feature::SecurityMechanism(mechanism),
            Feature::Sessions { sessionless: true, sessions: SESSIONS_MAX as u8 },
            Feature::DeviceClass(TaggedId { form: Form::RelativeOid, octets: &class }),
            Feature::Identity { format: ASCII, octets: self.serial.as_bytes() },
        ];
        let secured = self.classic.is_some() && !self.profile1_only;
        let features = if secured { &features[..] } else { features.get(1..).unwrap_or_default() };
        Response::Identification(Identification::c1222(features)).encode(out);
    }

    fn is_own(&self, title: ApTitle<'_>) -> bool {
        title.same_node(&self.title.as_title())
    }

    fn resolve(&self, title: ApTitle<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        if !self.is_own(title) {
            return Err(ResponseCode::Uat.into());
        }
        let mut octets = Vec::new();
        self.native_address.ok_or(ResponseCode::Onp)?.encode(&mut octets);
        Response::Resolve(ShortOctets::new(&octets).ok_or(ResponseCode::Onp)?).encode(out);
        Ok(())
    }

    /// The way to this node ends with it; to others it knows none.
    fn trace(&self, title: ApTitle<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        if !self.is_own(title) {
            return Err(Refused::NoWay);
        }
        Response::Trace(Titles::of(&[self.title.as_title()])).encode(out);
        Ok(())
    }

    /// It is told to leave the network. It holds no registration, so nothing more is to be done.
    fn deregister(&self, title: ApTitle<'_>, caller: &Caller) -> Result<(), Refused> {
        match (self.is_own(title), caller.may_write) {
            (false, _) => Err(ResponseCode::Uat.into()),
            (true, false) => Err(ResponseCode::Isc.into()),
            (true, true) => Ok(()),
        }
    }

    fn log_on(
        &mut self,
        user: u16,
        timeout_s: Option<u16>,
        caller: &mut Caller,
        now: Moment,
    ) -> Result<u16, Refused> {
        let granted = self.state.sessions.begin(&caller.title, user, caller.key_iv, timeout_s, now.steady_ns);
        let granted = granted.ok_or(ResponseCode::Bsy)?;
        (caller.in_session, caller.logged_on, caller.user) = (true, true, user);
        caller.may_write = self.users.anybody_may_write();
        Ok(granted)
    }

    fn log_off(&mut self, caller: &mut Caller) -> Result<(), Refused> {
        if !caller.in_session || !self.state.sessions.end(&caller.title) {
            return Err(ResponseCode::Isss.into());
        }
        (caller.in_session, caller.user) = (false, 0);
        caller.may_write = self.users.anybody_may_write();
        // The invocation ids of a session end with it.
        if let Some(title) = &caller.title {
            self.answered.forget(|(other, _)| other == title);
        }
        Ok(())
    }

    /// In a session the user is whoever logged on; outside, the request says who.
    fn show_password(
        &mut self,
        password: Password<'_>,
        user_id: Option<u16>,
        caller: &mut Caller,
    ) -> Result<(), Refused> {
        let user = match user_id {
            Some(user) => user,
            None if caller.in_session => caller.user,
            None => return Err(ResponseCode::Isss.into()),
        };
        let right = self.users.check(user, password);
        caller.user = user;
        caller.may_write = right.unwrap_or(false);
        if caller.in_session
            && let Some(session) = self.state.sessions.of(&caller.title)
        {
            (session.user, session.may_write) = (user, caller.may_write);
        }
        if right.is_some() { Ok(()) } else { Err(ResponseCode::Isc.into()) }
    }
}
