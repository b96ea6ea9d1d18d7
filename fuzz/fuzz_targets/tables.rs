//! Any octets as the data of standard tables, under any format and dimensions: read or refused, no panic.
#![no_main]

use c1222::tables::{
    ByteOrder, Clock, Constants, DataSelection, DeviceIdentification, EventsIdentified, Format, GenConfig,
    Initiate, LoadProfileControl, LoadProfileDimensions, LoadProfileStatus, Log, LogDimensions,
    ManufacturerId, ModeStatus, NiFormat, ProcedureResponse, RegisterDimensions, Registers, SourceDimensions,
    SourceLinks, TimeFormat, Units,
};
use libfuzzer_sys::fuzz_target;

/// Octets of dimensions in front of the data.
const DIMENSIONS: usize = 16;

fuzz_target!(|octets: &[u8]| {
    let Some(([order, ni1, ni2, time], rest)) = octets.split_first_chunk::<4>() else { return };
    let (dimensions, data) = rest.split_at(rest.len().min(DIMENSIONS));
    let mut format = Format { order: ByteOrder::Little, ..Format::default() };
    if order & 1 == 1 {
        format.order = ByteOrder::Big;
    }
    if let (Some(ni1), Some(ni2)) = (NiFormat::from_code(ni1 % 14), NiFormat::from_code(ni2 % 14)) {
        (format.ni1, format.ni2) = (ni1, ni2);
    }
    if let Some(time) = TimeFormat::from_code(time % 5) {
        format.time = time;
    }
    let _ = GenConfig::read(data).map(|config| config.has_procedure(c1222::tables::ProcedureId::standard(10)));
    let _ = ManufacturerId::read(data, &format);
    let _ = ModeStatus::read(data, &format);
    let _ = DeviceIdentification::read(data, &format);
    let _ = Initiate::read(data, &format).map(|initiate| initiate.exception(&format));
    let _ = ProcedureResponse::read(data, &format);
    let _ = Clock::read(data, &format);
    if let Ok(sizes) = SourceDimensions::read(dimensions, &format) {
        let _ = Units::read(data, &sizes, &format).map(|units| units.iter().count());
        let _ = Constants::read(data, &sizes, &format).map(|constants| constants.iter().count());
        let _ = SourceLinks::read(data, &sizes, &format).map(|links| links.iter().count());
    }
    if let Ok(sizes) = RegisterDimensions::read(dimensions, &format) {
        let _ = DataSelection::read(data, &sizes, &format);
        if let Ok(registers) = Registers::read(data, &sizes, &format) {
            for block in registers.tiers().chain([registers.total()]) {
                let _ = (block.summations().count(), block.demands().count(), block.coincidents().count());
            }
        }
    }
    if let Ok(sizes) = LoadProfileDimensions::read(dimensions, &format) {
        let _ = LoadProfileControl::read(data, &sizes, &format);
        let _ = LoadProfileStatus::read(data, &sizes, &format);
    }
    if let Ok(sizes) = LogDimensions::read(dimensions, &format) {
        let _ = Log::read_history(data, &sizes, &format).map(|log| log.entries().count());
        let _ = Log::read_events(data, &sizes, &format).map(|log| log.entries().count());
        let _ = EventsIdentified::read(data, &sizes, &format);
    }
});
