//! The address of a C12.22 node.

use std::fmt;
use std::str::FromStr;

use crate::ber::{self, Tlv};
use crate::error::DecodeError;
use crate::oid;

/// 2.16.124.113620.1.22.0, under which relative titles hang.
pub const ROOT: [u8; 8] = [0x60, 0x7c, 0x86, 0xf7, 0x54, 0x01, 0x16, 0x00];

/// How a title is tagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// `06`: a whole object identifier.
    Absolute,
    /// `80`: relative to [`ROOT`].
    Relative,
    /// `0d`: relative to [`ROOT`], as written inside tables and services, and by draft-era nodes everywhere.
    RelativeOid,
}

impl Form {
    /// The tag octet.
    #[must_use]
    pub fn tag(self) -> u8 {
        match self {
            Self::Absolute => 0x06,
            Self::Relative => 0x80,
            Self::RelativeOid => 0x0d,
        }
    }

    pub(crate) fn of(tag: u8) -> Option<Self> {
        match tag {
            0x06 => Some(Self::Absolute),
            0x80 => Some(Self::Relative),
            0x0d => Some(Self::RelativeOid),
            _ => None,
        }
    }
}

/// The address of one node, of a group or of every node below a point, borrowed from octets.
///
/// `==` compares form and octets; [`ApTitle::same_node`] compares the meaning.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApTitle<'a> {
    form: Form,
    arcs: &'a [u8],
}

impl<'a> ApTitle<'a> {
    /// Octets of the longest title, without tag and length.
    pub const LEN_MAX: usize = 64;

    /// Checks the octets after tag and length.
    ///
    /// # Errors
    /// [`DecodeError::BadApTitle`] when empty or over [`Self::LEN_MAX`] octets,
    /// [`DecodeError::BadObjectIdentifier`] when they are no whole arcs.
    #[inline]
    pub fn new(form: Form, arcs: &'a [u8]) -> Result<Self, DecodeError> {
        if arcs.is_empty() || arcs.len() > Self::LEN_MAX {
            return Err(DecodeError::BadApTitle);
        }
        if !oid::is_whole(arcs) {
            return Err(DecodeError::BadObjectIdentifier);
        }
        Ok(Self { form, arcs })
    }

    /// Reads tag, length and arcs, as they stand inside tables and services: tag 06, 80 or 0d.
    ///
    /// # Errors
    /// As [`Self::new`]; [`DecodeError::BadLength`] and [`DecodeError::TrailingOctets`] when the octets are
    /// not exactly one title.
    pub fn decode(octets: &'a [u8]) -> Result<Self, DecodeError> {
        Self::of_tlv(&ber::Reader::new(octets).only()?)
    }

    #[inline]
    pub(crate) fn of_tlv(tlv: &Tlv<'a>) -> Result<Self, DecodeError> {
        Self::new(Form::of(tlv.tag).ok_or(DecodeError::BadApTitle)?, tlv.content.rest())
    }

    /// How it is tagged.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// Whether it is a whole object identifier.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.form == Form::Absolute
    }

    /// The octets after tag and length.
    #[must_use]
    pub fn arcs(&self) -> &'a [u8] {
        self.arcs
    }

    /// The same address in its shorter form: relative (80) where it lies under [`ROOT`], else absolute.
    /// Two titles mean the same node when their canonical forms are equal, so this is the form for keys.
    #[must_use]
    pub fn canonical(&self) -> Self {
        match self.below_root() {
            Some(arcs) => Self { form: Form::Relative, arcs },
            None => *self,
        }
    }

    /// Whether both are the address of the same node, in whatever form.
    #[must_use]
    pub fn same_node(&self, other: &ApTitle<'_>) -> bool {
        self.canonical() == other.canonical()
    }

    /// Whether it means every node whose title begins with the arcs before its last: the last arc is 0.
    /// Only under [`ROOT`]; elsewhere the last arc may be 0 in the title of one node.
    #[must_use]
    pub fn is_broadcast(&self) -> bool {
        self.below_root().and_then(last_arc) == Some(0)
    }

    /// Whether it names a group: an arc before the last is 0, and the last is not. Only under [`ROOT`].
    #[must_use]
    pub fn is_group(&self) -> bool {
        self.below_root().is_some_and(|arcs| last_arc(arcs) != Some(0) && oid::arcs(arcs).any(|arc| arc == 0))
    }

    /// Whether this is a broadcast title that means this node too.
    #[must_use]
    pub fn covers(&self, node: &ApTitle<'_>) -> bool {
        match (self.below_root(), node.below_root()) {
            // The last arc of a broadcast title is one octet, 00.
            (Some([before @ .., 0]), Some(node)) if self.is_broadcast() => node.starts_with(before),
            _ => false,
        }
    }

    /// Appends the octets of the absolute form, without tag and length.
    pub fn write_absolute(&self, out: &mut Vec<u8>) {
        if !self.is_absolute() {
            out.extend_from_slice(&ROOT);
        }
        out.extend_from_slice(self.arcs);
    }

    /// Appends tag, length and arcs.
    pub fn write(&self, out: &mut Vec<u8>) {
        ber::write_tlv(out, self.form.tag(), self.arcs);
    }

    pub(crate) fn encoded_len(&self) -> usize {
        ber::tlv_len(self.arcs.len())
    }

    /// The arcs below [`ROOT`], when it lies there.
    fn below_root(&self) -> Option<&'a [u8]> {
        match self.form {
            Form::Absolute => self.arcs.strip_prefix(&ROOT).filter(|arcs| !arcs.is_empty()),
            Form::Relative | Form::RelativeOid => Some(self.arcs),
        }
    }
}

fn last_arc(arcs: &[u8]) -> Option<u64> {
    oid::arcs(arcs).last()
}

impl fmt::Display for ApTitle<'_> {
    /// `.68.33.3` or `2.16.124.113620.1.22.0.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            Form::Absolute => match oid::Oid::new(self.arcs) {
                Ok(oid) => oid.fmt(f),
                Err(_) => Ok(()),
            },
            Form::Relative | Form::RelativeOid => oid::write_arcs(f, oid::arcs(self.arcs)),
        }
    }
}

impl fmt::Debug for ApTitle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApTitle({self})")
    }
}

/// A text that is no ApTitle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no ApTitle: write .68.33.3 or 2.16.124.113620.1.22.0.5")]
pub struct ApTitleTextError(String);

/// An [`ApTitle`] that owns its octets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ApTitleBuf {
    form: Form,
    arcs: Box<[u8]>,
}

impl ApTitleBuf {
    /// Reads `.68.33.3` (relative, tag 80) or `2.16.124.113620.1.22.0.5` (absolute).
    ///
    /// # Errors
    /// [`ApTitleTextError`] when it is neither.
    pub fn parse(text: &str) -> Result<Self, ApTitleTextError> {
        read_text(text).ok_or_else(|| ApTitleTextError(text.to_owned()))
    }

    /// The title, borrowed.
    #[must_use]
    pub fn as_title(&self) -> ApTitle<'_> {
        ApTitle { form: self.form, arcs: &self.arcs }
    }
}

fn read_text(text: &str) -> Option<ApTitleBuf> {
    let mut out = Vec::new();
    let (form, rest) = match text.strip_prefix('.') {
        Some(rest) => (Form::Relative, rest),
        None => {
            let (a, rest) = text.split_once('.')?;
            let (b, rest) = rest.split_once('.')?;
            let (a, b) = (number(a)?, number(b)?);
            if a > 2 || (a < 2 && b > 39) {
                return None;
            }
            oid::push_arc(&mut out, (40 * a).checked_add(b)?)?;
            (Form::Absolute, rest)
        }
    };
    for arc in rest.split('.') {
        oid::push_arc(&mut out, number(arc)?)?;
    }
    ApTitle::new(form, &out).ok().map(ApTitleBuf::from)
}

/// A decimal number without sign.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|octet| octet.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl From<ApTitle<'_>> for ApTitleBuf {
    fn from(title: ApTitle<'_>) -> Self {
        Self { form: title.form, arcs: title.arcs.into() }
    }
}

impl FromStr for ApTitleBuf {
    type Err = ApTitleTextError;

    fn from_str(text: &str) -> Result<Self, ApTitleTextError> {
        Self::parse(text)
    }
}

impl fmt::Display for ApTitleBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_title().fmt(f)
    }
}

impl fmt::Debug for ApTitleBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_title().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn title(text: &str) -> ApTitleBuf {
        ApTitleBuf::parse(text).unwrap()
    }

    #[test]
    fn text_and_octets_agree() {
        let relative = title(".123.8437");
        let mut out = Vec::new();
        relative.as_title().write(&mut out);
        assert_eq!(out, [0x80, 3, 0x7b, 0xc1, 0x75]);
        assert_eq!(ApTitle::decode(&out).unwrap().to_string(), ".123.8437");
        assert_eq!(title("2.16.124.113620.1.22.0").as_title().arcs(), ROOT);
        for text in ["1.3.6.1.4.1.33507.1.12345.0", ".0", ".9223372036854775807", "2.999.1"] {
            assert_eq!(title(text).to_string(), text);
        }
    }

    #[test]
    fn bad_texts_are_refused() {
        for text in
            ["", ".", "2", "2.16", "3.1.1", "1.40.1", ".1..2", ".1.", ".+1", "..1", ".9223372036854775808"]
        {
            assert_eq!(ApTitleBuf::parse(text), Err(ApTitleTextError(text.to_owned())), "{text}");
        }
        assert!(ApTitleBuf::parse(&".1".repeat(65)).is_err());
    }

    #[test]
    fn forms_compare_by_meaning() {
        let (relative, absolute) = (title(".68.33.3"), title("2.16.124.113620.1.22.0.68.33.3"));
        assert!(relative.as_title().same_node(&absolute.as_title()));
        assert_ne!(relative, absolute);
        let in_table = ApTitle::decode(&[0x0d, 3, 0x44, 0x21, 0x03]).unwrap();
        assert!(in_table.same_node(&absolute.as_title()));
        assert_eq!(absolute.as_title().canonical(), relative.as_title());
        assert!(!relative.as_title().same_node(&title("2.16.124.113620.1.22.68.33.3").as_title()));
        let mut octets = Vec::new();
        relative.as_title().write_absolute(&mut octets);
        assert_eq!(octets, absolute.as_title().arcs());
    }

    #[test]
    fn broadcasts_and_groups_live_under_the_root() {
        for (text, broadcast, group) in [
            (".123.0", true, false),
            (".0", true, false),
            (".123.0.98", false, true),
            (".123.98", false, false),
            (".123.0.98.0", true, false),
            ("2.16.124.113620.1.22.0.7.0", true, false),
            ("1.3.6.1.4.1.33507.1.0", false, false),
            ("2.16.124.113620.1.22.0", false, false),
        ] {
            let title = title(text);
            assert_eq!(title.as_title().is_broadcast(), broadcast, "{text}");
            assert_eq!(title.as_title().is_group(), group, "{text}");
        }
    }

    #[test]
    fn a_broadcast_covers_what_lies_below() {
        let all = title(".123.0");
        for (node, covered) in
            [(".123.5", true), (".123.5.1", true), (".123", true), (".124.5", false), (".5", false)]
        {
            assert_eq!(all.as_title().covers(&title(node).as_title()), covered, "{node}");
        }
        assert!(title(".0").as_title().covers(&title("2.16.124.113620.1.22.0.9").as_title()));
        assert!(!title(".123").as_title().covers(&title(".123.1").as_title()));
    }
}
