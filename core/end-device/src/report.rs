//! What a simulated meter reports: its clock, its registers and one load-profile block, as its device profile
//! lays them out.

use c1222::device_profile::{DeviceProfile, TimeSource, WriteError};
use c1222::epsem::ResponseControl;
use c1222::tables::{Clock, Decimal, TableId, TimeFormat};
use c1222::{EpsemControl, EpsemWriter, Request, SecurityMode, TableData};
use seal::frame::PLAINTEXT_MAX;

use crate::meter::{BASE_S, Measured, Meter};

/// Minutes from one report to the next of a device without load profile.
const SPAN_MIN: u64 = 60;

/// Why devices of a profile cannot report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// No table of it gives readings.
    #[error("device profile `{0}` lays out nothing that could be reported")]
    Empty(String),
    /// A report is longer than a frame.
    #[error("a report of device profile `{profile}` has {octets} octets; a frame holds {PLAINTEXT_MAX}")]
    TooLong {
        /// The profile's name.
        profile: String,
        /// Octets of an EPSEM.
        octets: usize,
    },
    /// A table cannot be written.
    #[error("device profile `{profile}`: {source}")]
    Write {
        /// The profile's name.
        profile: String,
        /// Why.
        source: WriteError,
    },
}

/// What the reports of a device profile hold. Report `n` of a device brings its blocks `n`, so no two bring
/// the same interval; each stands for as many minutes as the longest block.
#[derive(Clone, Debug)]
pub struct ReportLayout {
    profile: DeviceProfile,
    parts: Vec<Part>,
    /// Minutes that a report stands for.
    span_min: u64,
    /// The raster of the registers.
    step_min: u64,
    octets: usize,
}

/// One service.
#[derive(Clone, Debug)]
enum Part {
    Clock,
    Registers { table: TableId, measured: Vec<Measured> },
    Block { table: TableId, measured: Vec<Measured>, intervals: usize, step_min: u64 },
}

/// Room that is used again for each report.
#[derive(Debug, Default)]
pub struct Scratch {
    counts: Vec<i64>,
    data: Vec<u8>,
}

impl ReportLayout {
    /// The layout of a profile's reports.
    ///
    /// # Errors
    /// [`LayoutError`]
    pub fn new(profile: DeviceProfile) -> Result<Self, LayoutError> {
        let has_clock = profile.format.time != TimeFormat::Absent;
        let mut parts: Vec<Part> = has_clock.then_some(Part::Clock).into_iter().collect();
        parts.extend(profile.tables.iter().filter_map(|layout| {
            let measured: Vec<_> = layout.registers().map(|field| Measured::of(&field.quantity)).collect();
            (!measured.is_empty()).then_some(Part::Registers { table: layout.table, measured })
        }));
        parts.extend(profile.load_profiles.iter().map(|set| Part::Block {
            table: set.table,
            measured: set.channels.iter().map(Measured::of).collect(),
            intervals: set.layout.intervals,
            step_min: u64::from(set.interval_min),
        }));
        let spans = parts.iter().filter_map(Part::span_min);
        let span_min = spans.max().unwrap_or(SPAN_MIN).max(1);
        let step_min = profile.load_profiles.first().map_or(SPAN_MIN, |set| u64::from(set.interval_min));
        let name = profile.name.clone();
        if parts.iter().all(|part| matches!(part, Part::Clock)) {
            return Err(LayoutError::Empty(name));
        }
        let mut layout = Self { profile, parts, span_min, step_min, octets: 0 };
        let mut octets = Vec::new();
        layout
            .write(
                SecurityMode::Clear,
                Meter::new(0, seal::ids::Dev([0; 8])),
                0,
                &mut Scratch::default(),
                &mut octets,
            )
            .map_err(|source| LayoutError::Write { profile: name.clone(), source })?;
        layout.octets = octets.len();
        if layout.octets > PLAINTEXT_MAX {
            return Err(LayoutError::TooLong { profile: name, octets: layout.octets });
        }
        Ok(layout)
    }

    /// The profile's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.profile.name
    }

    /// The device profile.
    #[must_use]
    pub fn profile(&self) -> &DeviceProfile {
        &self.profile
    }

    /// The devices' class, as ST0 and reports have it.
    #[must_use]
    pub fn device_class(&self) -> [u8; 4] {
        self.profile.identity.device_class
    }

    /// Octets of each report's EPSEM.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Whether the device knows the time of each reading. It does not where a profile takes the moment of
    /// arrival.
    #[must_use]
    pub fn knows_times(&self) -> bool {
        self.profile.tables.iter().all(|layout| layout.time != Some(TimeSource::Received))
    }

    /// Appends the EPSEM of a report: Full Write services, ED class, no response wanted.
    ///
    /// # Errors
    /// [`WriteError`], mostly [`WriteError::Time`] once the device's clock has come to its end; nothing is
    /// appended then.
    pub fn write(
        &self,
        mode: SecurityMode,
        meter: Meter,
        number: u32,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        let start = out.len();
        let class = self.profile.identity.device_class;
        let mut epsem = EpsemWriter::new(out, EpsemControl::new(mode, ResponseControl::Never), Some(class));
        for part in &self.parts {
            let Scratch { counts, data } = scratch;
            counts.clear();
            data.clear();
            let written = match part {
                Part::Clock => {
                    self.profile.write_clock(self.clock(meter, number), data).map(|()| Clock::TABLE)
                }
                Part::Registers { table, measured } => {
                    counts.extend(measured.iter().map(|measured| self.register(meter, *measured, number)));
                    let clock = self.clock(meter, number);
                    self.profile.write_registers(*table, clock, counts, data).map(|()| *table)
                }
                Part::Block { table, measured, intervals, step_min } => {
                    interleave(counts, measured, *intervals, |measured| {
                        meter.intervals(
                            measured,
                            begin_min(number, *intervals, *step_min),
                            *step_min,
                            *intervals,
                        )
                    });
                    let end = at(begin_min(number, *intervals, *step_min) + *intervals as u64 * step_min);
                    self.profile.write_block(*table, end, counts, data).map(|()| *table)
                }
            };
            match written {
                Ok(table) => epsem.request(&Request::FullWrite { table, data: TableData::of(data) }),
                Err(error) => {
                    out.truncate(start);
                    return Err(error);
                }
            };
        }
        Ok(())
    }

    /// The readings of a report in the order in which an MDM gets them: reading type, end of the interval (or
    /// moment of the register) in Unix seconds, value.
    pub fn rows(&self, meter: Meter, number: u32, mut sink: impl FnMut(&str, u64, Decimal)) {
        for part in &self.parts {
            match part {
                Part::Clock => {}
                Part::Registers { table, measured } => {
                    let fields = self.profile.table(*table).into_iter().flat_map(|layout| layout.registers());
                    for (field, measured) in fields.zip(measured) {
                        let count = i128::from(self.register(meter, *measured, number));
                        let Some(reading_type) = &field.quantity.reading_type else { continue };
                        sink(reading_type, self.clock(meter, number), field.quantity.value(count));
                    }
                }
                Part::Block { table, measured, intervals, step_min } => {
                    let begin = begin_min(number, *intervals, *step_min);
                    let channels = self.profile.load_profile(*table).map_or(&[][..], |set| &set.channels);
                    for place in 0..*intervals as u64 {
                        let begin = begin + place * step_min;
                        for (channel, measured) in channels.iter().zip(measured) {
                            let Some(reading_type) = &channel.reading_type else { continue };
                            let count = meter.intervals(*measured, begin, *step_min, 1).next().unwrap_or(0);
                            sink(reading_type, at(begin + step_min), channel.value(i128::from(count)));
                        }
                    }
                }
            }
        }
    }

    fn register(&self, meter: Meter, measured: Measured, number: u32) -> i64 {
        // The registers as they stood when the block ended.
        let minute = (u64::from(number) + 1) * self.span_min / self.step_min * self.step_min;
        meter.register(measured, minute, self.step_min)
    }

    /// The clock of a report: some whole minutes after the block ended, Unix seconds.
    fn clock(&self, meter: Meter, number: u32) -> u64 {
        at((u64::from(number) + 1) * self.span_min + meter.delay_min(number))
    }
}

impl Part {
    fn span_min(&self) -> Option<u64> {
        match self {
            Self::Block { intervals, step_min, .. } => Some(*intervals as u64 * step_min),
            _ => None,
        }
    }
}

/// The minute in which block `number` begins.
fn begin_min(number: u32, intervals: usize, step_min: u64) -> u64 {
    (intervals as u64).saturating_mul(step_min).saturating_mul(u64::from(number))
}

/// A minute as Unix seconds.
fn at(minute: u64) -> u64 {
    BASE_S.saturating_add(minute.saturating_mul(60))
}

/// The counts of all channels of the first interval, then of the second, and so on.
fn interleave<I: Iterator<Item = i64>>(
    counts: &mut Vec<i64>,
    measured: &[Measured],
    intervals: usize,
    mut of: impl FnMut(Measured) -> I,
) {
    let channels = measured.len();
    counts.resize(channels.saturating_mul(intervals), 0);
    for (channel, measured) in measured.iter().enumerate() {
        let places = counts.iter_mut().skip(channel).step_by(channels.max(1));
        places.zip(of(*measured)).for_each(|(place, count)| *place = count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use c1222::Epsem;
    use c1222::device_profile::Stamp;
    use proptest::prelude::*;
    use seal::ids::Dev;

    const RESIDENTIAL: &str = include_str!("../../../graphs/profiles/residential.toml");
    const OTHER: &str = r#"
        device_profile = 1
        name = "other"
        [identity]
        device_class = "ABCD"
        manufacturer = "M"
        model = "X"
        [format]
        byte_order = "big-endian"
        time_format = "bcd"
        utc_offset_min = -300
        [[table]]
        table = "ST28"
        size = 9
        time = { offset = 0, form = "short" }
        [[table.field]]
        name = "forward"
        offset = 5
        type = "bcd"
        size = 4
        scale = 0
        unit = "kWh"
        reading_type = "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
        [[load_profile]]
        table = "ST64"
        interval_min = 30
        intervals = 10
        blocks = 9
        status = "simple"
        [[load_profile.channel]]
        name = "forward"
        type = "uint"
        size = 2
        scale = -3
        unit = "kWh"
        reading_type = "0.0.5.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
        [[load_profile.channel]]
        name = "reverse"
        type = "uint"
        size = 1
        scale = -2
        multiplier = 3
        unit = "kWh"
        reading_type = "0.0.5.4.19.1.12.0.0.0.0.0.0.0.0.3.72.0"
    "#;

    fn layout(text: &str) -> ReportLayout {
        let (profile, faults) = graph::device_profile::parse(text);
        ReportLayout::new(profile.unwrap_or_else(|| panic!("{faults:?}"))).unwrap()
    }

    type Row = (String, u64, Decimal);

    fn rows(layout: &ReportLayout, meter: Meter, number: u32) -> Vec<Row> {
        let mut rows = Vec::new();
        layout.rows(meter, number, |reading_type, end_time, value| {
            rows.push((reading_type.to_owned(), end_time, value));
        });
        rows
    }

    /// What a head-end reads in the octets.
    fn read(layout: &ReportLayout, epsem: &[u8]) -> Vec<Row> {
        let epsem = Epsem::decode(epsem).unwrap();
        assert_eq!(epsem.ed_class, Some(layout.profile.identity.device_class));
        assert_eq!(epsem.control.response_control(), ResponseControl::Never);
        let (mut stamp, mut rows) = (Stamp::received(7), Vec::new());
        for service in epsem.services() {
            let Request::FullWrite { table, data } = Request::decode(service.unwrap()).unwrap() else {
                panic!("another service");
            };
            data.check().unwrap();
            layout
                .profile
                .readings(table, data.as_single().unwrap(), &mut stamp, |reading| {
                    rows.push((reading.reading_type.to_owned(), reading.end_time, reading.value));
                })
                .unwrap();
        }
        rows
    }

    proptest! {
        #[test]
        fn a_head_end_reads_the_rows_that_the_device_says(seed: u64, dev: [u8; 8], number in 0..100_000_u32) {
            let meter = Meter::new(seed, Dev(dev));
            for text in [RESIDENTIAL, OTHER] {
                let layout = layout(text);
                let mut octets = b"before".to_vec();
                layout.write(SecurityMode::Clear, meter, number, &mut Scratch::default(), &mut octets).unwrap();
                prop_assert_eq!(octets.len() - 6, layout.octets());
                let read = read(&layout, &octets[6..]);
                prop_assert_eq!(&read, &rows(&layout, meter, number));
            }
        }
    }

    #[test]
    fn intervals_follow_each_other_and_end_on_quarter_hours() {
        let (layout, meter) = (layout(RESIDENTIAL), Meter::new(1, Dev([1; 8])));
        let intervals: Vec<u64> = (0..48)
            .flat_map(|number| rows(&layout, meter, number))
            .filter(|(reading_type, ..)| reading_type.starts_with("0.0.2.4."))
            .map(|(_, end_time, _)| end_time)
            .collect();
        assert_eq!(intervals.first(), Some(&(BASE_S + 900)));
        assert!(intervals.windows(2).all(|pair| pair[1] == pair[0] + 900));
        assert_eq!(intervals.len(), 48 * 4);
    }

    #[test]
    fn the_registers_of_the_report_are_the_sum_of_its_intervals() {
        let (layout, meter) = (layout(RESIDENTIAL), Meter::new(1, Dev([1; 8])));
        let forward = |number| rows(&layout, meter, number)[0].2.mantissa;
        for number in 1..100 {
            let added: i128 = rows(&layout, meter, number)[2..].iter().map(|row| row.2.mantissa).sum();
            assert_eq!(forward(number) - forward(number - 1), added);
        }
    }

    #[test]
    fn a_profile_that_cannot_report_says_why() {
        let empty = graph::device_profile::parse("device_profile = 1\nname = \"x\"\n").0.unwrap();
        assert_eq!(ReportLayout::new(empty).unwrap_err(), LayoutError::Empty("x".into()));
        let long = RESIDENTIAL.replace("intervals    = 4 ", "intervals    = 200 ");
        let long = graph::device_profile::parse(&long).0.unwrap();
        let error = ReportLayout::new(long).unwrap_err();
        assert_eq!(error, LayoutError::TooLong { profile: "residential".into(), octets: 649 });
        assert!(layout(RESIDENTIAL).knows_times());
        let received = RESIDENTIAL.replace("time  = \"clock\"", "time  = \"received\"");
        assert!(!layout(&received).knows_times());
    }

    #[test]
    fn a_clock_that_has_ended_is_an_error() {
        let (layout, mut out) = (layout(RESIDENTIAL), b"before".to_vec());
        let meter = Meter::new(1, Dev([1; 8]));
        let error = layout.write(SecurityMode::Clear, meter, 1 << 20, &mut Scratch::default(), &mut out);
        assert!(matches!(error, Err(WriteError::Time(_))), "{error:?}");
        assert_eq!(out, b"before");
    }
}
