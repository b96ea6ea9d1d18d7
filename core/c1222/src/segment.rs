//! Cutting an APDU into segments, where a link carries only short messages. Seal first, then cut.

use crate::apdu::Apdu;
use crate::envelope::{Cut, Envelope};
use crate::error::{DecodeError, Leniency};
use crate::response_code::ResponseCode;

/// Offsets have up to 3 octets.
const TOTAL_MAX: u32 = 1 << 24;

/// Why segments are refused, or an APDU is not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SegmentError {
    /// What is to be cut is no APDU, or itself a segment.
    #[error("not one whole APDU: {0}")]
    NotWhole(DecodeError),
    /// A segment of that size has no room for octets of the APDU.
    #[error("segments of that size have no room")]
    NoRoom,
    /// The APDU has no A3.
    #[error("not a segment")]
    NotASegment,
    /// The whole would be larger than the limit.
    #[error("the segmented APDU is too large")]
    MessageTooLarge,
    /// The link, or all of them, has as many unfinished APDUs as the limit allows.
    #[error("too many unfinished segmented APDUs")]
    TooManyMessages,
    /// The unfinished APDUs of the link, or of all, take as many octets as the limit allows.
    #[error("unfinished segmented APDUs take too many octets")]
    TooManyOctets,
    /// The APDU comes in more scattered parts than the limit allows.
    #[error("too many scattered parts")]
    TooManyParts,
    /// Two segments say different octets for the same place.
    #[error("segments contradict each other")]
    Mismatch,
}

impl SegmentError {
    /// The kebab-case name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotWhole(error) => error.name(),
            Self::NoRoom => "segment-no-room",
            Self::NotASegment => "not-a-segment",
            Self::MessageTooLarge => "segmented-too-large",
            Self::TooManyMessages => "segmented-too-many",
            Self::TooManyOctets => "segmented-octets",
            Self::TooManyParts => "segmented-parts",
            Self::Mismatch => "segment-mismatch",
        }
    }

    /// What the sender is answered, where it is answered.
    #[must_use]
    pub fn response_code(&self) -> Option<ResponseCode> {
        match self {
            Self::MessageTooLarge => Some(ResponseCode::Rqtl),
            Self::TooManyParts | Self::Mismatch => Some(ResponseCode::Sgerr),
            Self::TooManyMessages | Self::TooManyOctets => Some(ResponseCode::Bsy),
            Self::NotWhole(_) | Self::NoRoom | Self::NotASegment => None,
        }
    }
}

/// Hands `emit` one APDU after the other: `apdu` itself when it has at most `octets_max` octets, else its
/// segments, each as long as `octets_max` allows. Answers how many.
///
/// # Errors
/// [`SegmentError::NotWhole`], [`SegmentError::NoRoom`], [`SegmentError::MessageTooLarge`] from 16 MiB on.
pub fn split(apdu: &[u8], octets_max: usize, mut emit: impl FnMut(&[u8])) -> Result<usize, SegmentError> {
    if apdu.len() <= octets_max {
        emit(apdu);
        return Ok(1);
    }
    let whole = Apdu::decode(apdu, Leniency::Draft).map_err(SegmentError::NotWhole)?;
    if whole.epsem().is_none() {
        return Err(SegmentError::NotWhole(DecodeError::BadSegment));
    }
    let total = u32::try_from(apdu.len()).unwrap_or(u32::MAX);
    if total > TOTAL_MAX {
        return Err(SegmentError::MessageTooLarge);
    }
    // What says whose message it is travels in every segment; the rest only inside.
    let envelope = Envelope { answer_to: None, mechanism: None, authentication: None, ..whole.envelope };
    // The first segments have the shorter offsets, so a last offset that fits tells that all do.
    let mut segment = Vec::with_capacity(octets_max.min(apdu.len()));
    let (mut rest, mut offset, mut count) = (apdu, 0_u32, 0_usize);
    part_len(&envelope, Cut { total, offset: total }, apdu.len(), octets_max)?;
    while !rest.is_empty() {
        let cut = Cut { total, offset };
        let len = part_len(&envelope, cut, rest.len(), octets_max)?;
        let (part, after) = rest.split_at_checked(len).ok_or(SegmentError::NoRoom)?;
        segment.clear();
        envelope.write_head_of(&mut segment, len, Some(cut));
        segment.extend_from_slice(part);
        emit(&segment);
        rest = after;
        offset = offset.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// The longest part, up to `rest`, of a segment of at most `octets_max` octets.
fn part_len(
    envelope: &Envelope<'_>,
    cut: Cut,
    rest: usize,
    octets_max: usize,
) -> Result<usize, SegmentError> {
    let room = octets_max.saturating_sub(envelope.encoded_len(0, Some(cut)));
    // The lengths of a longer part may need a few octets more than those of an empty one.
    let mut len = rest.min(room);
    while len > 0 && envelope.encoded_len(len, Some(cut)) > octets_max {
        len -= 1;
    }
    if len > 0 { Ok(len) } else { Err(SegmentError::NoRoom) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ap_title::ApTitleBuf;
    use crate::apdu::UserInformation;
    use crate::invocation_id::InvocationId;

    fn apdu(len: usize) -> Vec<u8> {
        let title = ApTitleBuf::parse(".123.4").unwrap();
        let called = Some(title.as_title());
        let mut out = Vec::new();
        Envelope { called, answer_to: Some(InvocationId::new(1)), ..Envelope::new(InvocationId::new(9)) }
            .write_head(&mut out, len);
        out.extend((0..len).map(|n| u8::try_from(n % 256).unwrap()));
        out
    }

    #[test]
    fn segments_fill_what_is_allowed_and_join_to_the_whole() {
        let whole = apdu(5000);
        for octets_max in [40, 127, 146, 150, 1280, 4000, 5031] {
            let (mut joined, mut longest) = (Vec::new(), 0);
            let count = split(&whole, octets_max, |segment| {
                let decoded = Apdu::decode(segment, Leniency::Strict).unwrap();
                let UserInformation::Segment(part) = decoded.user else { panic!("no segment") };
                assert_eq!((part.total as usize, part.offset as usize), (whole.len(), joined.len()));
                assert_eq!(decoded.envelope.answer_to, None);
                joined.extend_from_slice(part.part);
                longest = longest.max(segment.len());
            });
            assert_eq!(joined, whole);
            assert!(longest <= octets_max && longest + 1 >= octets_max, "{longest} of {octets_max}");
            assert!(count.unwrap() >= 2);
        }
    }

    #[test]
    fn a_short_apdu_stays_whole() {
        let whole = apdu(20);
        assert_eq!(split(&whole, whole.len(), |segment| assert_eq!(segment, whole)), Ok(1));
    }

    #[test]
    fn what_cannot_be_cut_is_said() {
        let never = |_: &[u8]| panic!("nothing to emit");
        assert_eq!(split(&apdu(5000), 29, never), Err(SegmentError::NoRoom));
        assert_eq!(split(&apdu(5000), 0, never), Err(SegmentError::NoRoom));
        assert_eq!(split(&[0x60; 50], 40, never), Err(SegmentError::NotWhole(DecodeError::Truncated)));
        let mut segments = Vec::new();
        split(&apdu(5000), 100, |octets| segments.push(octets.to_vec())).unwrap();
        let refused = SegmentError::NotWhole(DecodeError::BadSegment);
        assert_eq!(split(&segments[0], 60, never), Err(refused));
    }
}
