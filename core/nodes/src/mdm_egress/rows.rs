//! From a journal record to CSV rows.

use std::collections::HashMap;

use c1222::device_profile::{DeviceProfile, Reading, Stamp};
use c1222::{Epsem, Request};
use keystore::{Directory, ProfileId};
use node::Reason;

use super::gaps::Gaps;
use super::utc;
use crate::record::{Origin, Report};

const NS_PER_S: u64 = 1_000_000_000;

/// The header of a readings file (RFC 4180; end times are interval-ending UTC).
pub(super) const HEADER: &[u8] =
    b"meter,reading_type,end_time,value,quality,source,received_time,message_id\n";

/// Device profiles, read once each.
#[derive(Debug, Default)]
pub(super) struct Profiles(HashMap<ProfileId, Option<DeviceProfile>>);

impl Profiles {
    fn get(&mut self, directory: &Directory, id: ProfileId) -> Option<&DeviceProfile> {
        self.0
            .entry(id)
            .or_insert_with(|| directory.profile(id).and_then(|text| graph::device_profile::parse(text).0))
            .as_ref()
    }
}

/// Rows and gaps as they are gathered.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    /// CSV rows.
    pub rows: Vec<u8>,
    /// Rows of the gap report.
    pub gaps: Vec<u8>,
    /// How many rows.
    pub readings: u64,
    /// Readings left out: their period came before, in another report.
    pub repeated: u64,
}

impl Sheet {
    /// Whether there is nothing to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.readings == 0 && self.gaps.is_empty()
    }

    /// Empties it, keeping its memory.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.gaps.clear();
        (self.readings, self.repeated) = (0, 0);
    }
}

/// Why a report, or a part of it, gives no rows.
pub(super) type Fault = (Reason, String);

/// Appends the rows of a report; what gives none is told to `fault`.
pub(super) fn push(
    sheet: &mut Sheet,
    gaps: &mut Gaps,
    profiles: &mut Profiles,
    directory: &Directory,
    report: &Report,
    body: &[u8],
    mut fault: impl FnMut(Fault),
) {
    let source = match report.origin {
        Origin::Report => "profile1",
        Origin::ClassicReport => "classic",
        // No readings: results and events have readers of their own, raw bodies none.
        Origin::Control | Origin::Raw | Origin::ClassicUnmatched => return,
    };
    let Some(device) = directory.device(report.sid) else {
        return fault((Reason("unknown-device"), format!("association {}", report.sid)));
    };
    let Some(profile) = profiles.get(directory, device.profile) else {
        return fault((Reason("device-profile"), format!("device profile {}", device.profile)));
    };
    let epsem = match Epsem::decode(body) {
        Ok(epsem) => epsem,
        Err(error) => return fault((Reason(error.name()), error.to_string())),
    };
    let tail = Tail::new(report, source);
    let mut stamp = Stamp::received(report.received / NS_PER_S);
    let mut joined = Vec::new();
    let (mut fresh_intervals, mut repeated_intervals) = (0_u64, 0_u64);
    let (rows_before, readings_before) = (sheet.rows.len(), sheet.readings);
    for service in epsem.services() {
        let request = match service.and_then(Request::decode) {
            Ok(request) => request,
            Err(error) => {
                fault((Reason(error.name()), error.to_string()));
                continue;
            }
        };
        let Request::FullWrite { table, data } = request else {
            // A report is made of whole tables; anything else in it is not for billing.
            fault((Reason("not-a-table"), "a service that writes no whole table".into()));
            continue;
        };
        if let Err(error) = data.check() {
            fault((Reason(error.name()), format!("{table}: {error}")));
            continue;
        }
        let octets = match data.as_single() {
            Some(octets) => octets,
            None => {
                joined.clear();
                data.append_to(&mut joined);
                &joined
            }
        };
        let result = profile.readings(table, octets, &mut stamp, |reading| {
            let fresh = gaps.take(report.dev, &reading, &mut sheet.gaps);
            if reading.interval_s > 0 {
                *(if fresh { &mut fresh_intervals } else { &mut repeated_intervals }) += 1;
            }
            if fresh {
                row(&mut sheet.rows, &reading, &tail);
                sheet.readings += 1;
            } else {
                sheet.repeated += 1;
            }
        });
        if let Err(error) = result {
            fault((Reason(error.name()), error.to_string()));
        }
    }
    // All its periods came before: it is a report sealed anew, and its registers came before too.
    if repeated_intervals > 0 && fresh_intervals == 0 {
        sheet.rows.truncate(rows_before);
        sheet.repeated += sheet.readings - readings_before;
        sheet.readings = readings_before;
    }
}

/// What the rows of one report have in common: `meter,` and `,source,received_time,message_id`.
struct Tail {
    meter: [u8; 17],
    tail: Vec<u8>,
}

impl Tail {
    fn new(report: &Report, source: &str) -> Self {
        let mut meter = [b','; 17];
        for (pair, octet) in meter.chunks_exact_mut(2).zip(report.dev.0) {
            pair.copy_from_slice(&hex(octet));
        }
        let mut tail = Vec::with_capacity(80);
        tail.push(b',');
        tail.extend_from_slice(source.as_bytes());
        tail.push(b',');
        utc::push(&mut tail, report.received / NS_PER_S);
        tail.push(b',');
        tail.extend_from_slice(report.message_id().as_bytes());
        tail.push(b'\n');
        Self { meter, tail }
    }
}

fn hex(octet: u8) -> [u8; 2] {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    [digit(octet >> 4), digit(octet & 15)]
}

/// No value needs quoting: all are digits, dots, letters and colons.
fn row(out: &mut Vec<u8>, reading: &Reading<'_>, tail: &Tail) {
    out.extend_from_slice(&tail.meter);
    out.extend_from_slice(reading.reading_type.as_bytes());
    out.push(b',');
    utc::push(out, reading.end_time);
    out.push(b',');
    reading.value.push_to(out);
    out.push(b',');
    out.extend_from_slice(reading.quality.code().as_bytes());
    out.extend_from_slice(&tail.tail);
}
