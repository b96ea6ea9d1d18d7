//! What the tests of this crate share.

pub mod model;

use crate::report::ReportLayout;

/// The reports of the residential example profile.
pub fn residential() -> ReportLayout {
    let text = include_str!("../../../graphs/profiles/residential.toml");
    let (profile, faults) = graph::device_profile::parse(text);
    ReportLayout::new(profile.unwrap_or_else(|| panic!("{faults:?}"))).unwrap()
}
