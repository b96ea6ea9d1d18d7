//! The class of a command's services, computed and never believed (security layer §7).

use std::collections::BTreeMap;

use super::DeviceProfile;
use crate::epsem::{Epsem, SecurityMode};
use crate::request::Request;
use crate::service_code::ServiceCode;
use crate::table_id::TableId;
use crate::tables::{Format, Initiate, ProcedureId};

/// 0: reads.
pub const READ: u8 = 0;
/// 1: writes.
pub const WRITE: u8 = 1;
/// 2: firmware.
pub const FIRMWARE: u8 = 2;
/// 3: load: disconnect, reconnect, arm, limit, demand response.
pub const LOAD: u8 = 3;
/// 4: keys; also all that is not listed.
pub const KEYS: u8 = 4;

/// Tables of passwords, access and keys (ST42, ST44, ST45, ST46): class 4, whatever a profile says.
pub const KEY_TABLES: [TableId; 4] =
    [TableId::standard(42), TableId::standard(44), TableId::standard(45), TableId::standard(46)];

/// The bit of a control octet that is always 1.
const ALWAYS: u8 = 0x80;
/// Bits of a table id that name the table; pending and reserved bits are none of them.
const NAME: u16 = 0x0fff;

/// The classes of a device's tables, procedures and services, 0 to 4. What is not listed is class 4.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// Reading a table.
    pub reads: BTreeMap<TableId, u8>,
    /// Writing a table, whole or in part, at once or pending.
    pub writes: BTreeMap<TableId, u8>,
    /// Starting a procedure.
    pub procedures: BTreeMap<ProcedureId, u8>,
    /// Services that name no table.
    pub services: BTreeMap<u8, u8>,
}

impl Classes {
    /// The class of reading a table.
    #[must_use]
    pub fn read(&self, table: TableId) -> u8 {
        listed(&self.reads, table)
    }

    /// The class of writing a table. ST7 starts procedures: [`Self::procedure`].
    #[must_use]
    pub fn write(&self, table: TableId) -> u8 {
        if name(table) == Initiate::TABLE { KEYS } else { listed(&self.writes, table) }
    }

    /// The class of starting a procedure.
    #[must_use]
    pub fn procedure(&self, procedure: ProcedureId) -> u8 {
        at_most_keys(self.procedures.get(&procedure))
    }

    /// The class of a service that names no table.
    #[must_use]
    pub fn service(&self, code: ServiceCode) -> u8 {
        at_most_keys(self.services.get(&code.0))
    }

    /// The highest class of all services of an EPSEM, for a device that writes its tables in this format.
    /// `None` when it does not parse or holds no service, has an inner security mode, a session service, or
    /// anything but zeros after the first service of length 00.
    #[must_use]
    pub fn of_body(&self, format: &Format, body: &[u8]) -> Option<u8> {
        let epsem = Epsem::decode(body).ok()?;
        // Mode 1 reads as well, and bit 7 is always 1.
        let control = epsem.control;
        if control.security_mode() != Ok(SecurityMode::Clear) || !control.has(ALWAYS) {
            return None;
        }
        epsem.check().ok()?;
        let mut highest = None;
        for service in epsem.services() {
            let request = Request::decode(service.ok()?).ok()?;
            highest = highest.max(Some(self.of_request(format, &request)?));
        }
        highest
    }

    /// The class of one service; `None` for those of sessions.
    fn of_request(&self, format: &Format, request: &Request<'_>) -> Option<u8> {
        match request {
            Request::FullRead(table)
            | Request::IndexRead { table, .. }
            | Request::OffsetRead { table, .. } => Some(self.read(*table)),
            Request::FullWrite { table: Initiate::TABLE, .. } => {
                Some(initiated(format, request).map_or(KEYS, |procedure| self.procedure(procedure)))
            }
            Request::FullWrite { table, .. }
            | Request::IndexWrite { table, .. }
            | Request::OffsetWrite { table, .. } => Some(self.write(*table)),
            Request::Terminate
            | Request::Disconnect
            | Request::Logon { .. }
            | Request::Security { .. }
            | Request::Logoff
            | Request::Wait(_) => None,
            Request::Identification
            | Request::Deregistration(_)
            | Request::Resolve(_)
            | Request::Trace(_)
            | Request::Registration(_)
            | Request::DefaultRead
            | Request::Other { .. } => Some(self.service(request.code())),
        }
    }
}

impl DeviceProfile {
    /// The class of a command's body, 0 to 4: [`Classes::of_body`].
    #[must_use]
    pub fn class(&self, body: &[u8]) -> Option<u8> {
        self.classes.of_body(&self.format, body)
    }
}

/// The procedure that a whole, correct write of ST7 starts.
fn initiated(format: &Format, request: &Request<'_>) -> Option<ProcedureId> {
    request.check().ok()?;
    let Request::FullWrite { data, .. } = request else { return None };
    Initiate::read(data.as_single()?, format).ok().map(|initiate| initiate.procedure)
}

fn name(table: TableId) -> TableId {
    TableId(table.0 & NAME)
}

fn listed(list: &BTreeMap<TableId, u8>, table: TableId) -> u8 {
    let table = name(table);
    if KEY_TABLES.contains(&table) { KEYS } else { at_most_keys(list.get(&table)) }
}

fn at_most_keys(class: Option<&u8>) -> u8 {
    class.map_or(KEYS, |class| (*class).min(KEYS))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::TableData;
    use crate::epsem::{EpsemControl, EpsemWriter, ResponseControl};
    use crate::request::{Index, Password};
    use crate::u24::U24;

    const ST6: TableId = TableId::standard(6);
    const DISCONNECT: [u8; 4] = [1, 8, 9, 0];

    fn classes() -> Classes {
        let st = TableId::standard;
        let mp = ProcedureId::manufacturer;
        Classes {
            reads: [(st(1), READ), (st(8), READ), (st(23), READ), (st(42), READ)].into(),
            writes: [(ST6, WRITE), (st(7), WRITE), (st(112), LOAD), (st(45), WRITE)].into(),
            procedures: [(mp(1), LOAD), (mp(2), FIRMWARE), (ProcedureId::standard(9), WRITE)].into(),
            services: [(0x20, READ), (0x51, READ)].into(),
        }
    }

    fn body(requests: &[Request<'_>]) -> Vec<u8> {
        let mut body = Vec::new();
        let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Always);
        let mut writer = EpsemWriter::new(&mut body, control, None);
        for request in requests {
            writer.request(request);
        }
        writer.pad(32);
        body
    }

    fn class(requests: &[Request<'_>]) -> Option<u8> {
        classes().of_body(&Format::default(), &body(requests))
    }

    fn write(table: TableId, data: &[u8]) -> Request<'_> {
        Request::FullWrite { table, data: TableData::of(data) }
    }

    #[test]
    fn each_service_has_its_class() {
        let (one, octets) = (Index::new(&[0]).unwrap(), TableData::of(&DISCONNECT));
        let (offset, st7) = (U24::new(0).unwrap(), Initiate::TABLE);
        let read = |number| Request::FullRead(TableId::standard(number));
        for (request, expected) in [
            (read(23), READ),
            (Request::IndexRead { table: TableId::standard(23), index: one, elements: 1 }, READ),
            (Request::OffsetRead { table: TableId(0x1017), offset, count: 1 }, READ),
            (read(24), KEYS),
            (read(42), KEYS),
            (Request::FullRead(TableId::manufacturer(23)), KEYS),
            (write(ST6, &[1]), WRITE),
            (write(TableId(0x1006), &[1]), WRITE),
            (Request::OffsetWrite { table: ST6, offset, data: octets }, WRITE),
            (write(TableId::standard(112), &[1]), LOAD),
            (write(TableId::standard(45), &[1]), KEYS),
            (write(TableId(0x102d), &[1]), KEYS),
            (write(st7, &DISCONNECT), LOAD),
            (write(st7, &[2, 8, 0]), FIRMWARE),
            (write(st7, &[9, 0x30, 0]), WRITE),
            (write(st7, &[3, 8, 0]), KEYS),
            (write(st7, &[1]), KEYS),
            (write(TableId(0x1007), &DISCONNECT), KEYS),
            (Request::OffsetWrite { table: st7, offset, data: octets }, KEYS),
            (Request::IndexWrite { table: st7, index: one, data: octets }, KEYS),
            (Request::Identification, READ),
            (Request::DefaultRead, KEYS),
            (Request::Other { code: ServiceCode(0x4e), parameters: &[] }, KEYS),
        ] {
            assert_eq!(class(&[request]), Some(expected), "{request:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_sessionless_services_has_no_class() {
        let user = b"0123456789";
        for request in [
            Request::Logon { user_id: 1, user, timeout_s: None },
            Request::Security { password: Password::new(&[0; 20]), user_id: None },
            Request::Logoff,
            Request::Terminate,
            Request::Disconnect,
            Request::Wait(1),
        ] {
            assert_eq!(class(&[Request::Identification, request]), None, "{request:?}");
        }
        let classes = classes();
        for octets in [
            &[][..],
            &[0x80],
            &[0x80, 0, 0],
            &[0x00, 1, 0x20],
            &[0x84, 1, 0x20, 0, 0, 0, 0],
            &[0x88, 1, 0x20, 0, 0, 0, 0],
            &[0x80, 2, 0x20],
            &[0x80, 1, 0x20, 0, 1],
            &[0x80, 2, 0x20, 0],
            &[0x80, 2, 0x30, 0],
        ] {
            assert_eq!(classes.of_body(&Format::default(), octets), None, "{octets:02x?}");
        }
        let mut wrong = body(&[write(Initiate::TABLE, &DISCONNECT)]);
        wrong[11] ^= 1;
        assert_eq!(classes.of_body(&Format::default(), &wrong), Some(KEYS), "the checksum is wrong");
    }

    fn service() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (0..130_u16).prop_map(|table| [&[0x30][..], &table.to_be_bytes()].concat()),
            (0..130_u16, vec(any::<u8>(), 0..9)).prop_map(|(table, data)| {
                let mut out = Vec::new();
                write(TableId(table), &data).encode(&mut out);
                out
            }),
            vec(any::<u8>(), 1..12),
        ]
    }

    fn epsem(services: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![0x80];
        for service in services {
            body.push(service.len() as u8);
            body.extend(service);
        }
        body
    }

    proptest! {
        #[test]
        fn any_octets_have_a_class_or_none(octets in vec(any::<u8>(), 0..80), control in 0x80..0x84_u8) {
            for start in [&[][..], &[control], &[control, 3, 0x30, 0]] {
                let class = classes().of_body(&Format::default(), &[start, &octets].concat());
                prop_assert!(class.is_none_or(|class| class <= KEYS));
            }
        }

        #[test]
        fn the_highest_class_of_all_services_is_that_of_the_body(services in vec(service(), 1..6)) {
            let of = |services: &[Vec<u8>]| classes().of_body(&Format::default(), &epsem(services));
            let each: Option<Vec<u8>> = services.iter().map(|one| of(std::slice::from_ref(one))).collect();
            prop_assert_eq!(of(&services), each.and_then(|each| each.into_iter().max()));
        }

        #[test]
        fn a_disconnect_among_reads_is_found(reads in 0..30_usize, at: prop::sample::Index, pad: bool) {
            let mut requests = vec![Request::FullRead(TableId::standard(23)); reads];
            requests.insert(at.index(reads + 1), write(Initiate::TABLE, &DISCONNECT));
            let mut body = body(&requests);
            if !pad {
                body.truncate(body.iter().rposition(|octet| *octet != 0).unwrap() + 1);
            }
            prop_assert_eq!(classes().of_body(&Format::default(), &body), Some(LOAD));
        }
    }
}
