//! The little of deterministic CBOR (RFC 8949 §4.2) that intents, approvals and audit entries need.

/// Appends an unsigned number, or the head of a string or array of major type `major`.
fn head(major: u8, number: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    let octets = number.to_be_bytes();
    let [.., e, f, g, h] = octets;
    match number {
        0..24 => out.push(major | h),
        24..0x100 => out.extend([major | 24, h]),
        0x100..0x1_0000 => out.extend([major | 25, g, h]),
        0x1_0000..0x1_0000_0000 => out.extend([major | 26, e, f, g, h]),
        _ => {
            out.push(major | 27);
            out.extend(octets);
        }
    }
}

pub(crate) fn number(number: u64, out: &mut Vec<u8>) {
    head(0, number, out);
}

pub(crate) fn octets(octets: &[u8], out: &mut Vec<u8>) {
    head(2, octets.len() as u64, out);
    out.extend_from_slice(octets);
}

pub(crate) fn text(text: &str, out: &mut Vec<u8>) {
    head(3, text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn array(items: usize, out: &mut Vec<u8>) {
    head(4, items as u64, out);
}

/// What is left to be read. Only the shortest forms are.
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn head(&mut self, major: u8) -> Option<u64> {
        let [first] = self.take()?;
        if first >> 5 != major {
            return None;
        }
        let (number, least) = match first & 31 {
            short @ 0..24 => (u64::from(short), 0),
            24 => (self.take().map(|[octet]| u64::from(octet))?, 24),
            25 => (self.take().map(u16::from_be_bytes)?.into(), 0x100),
            26 => (self.take().map(u32::from_be_bytes)?.into(), 0x1_0000),
            27 => (self.take().map(u64::from_be_bytes)?, 0x1_0000_0000),
            _ => return None,
        };
        (number >= least).then_some(number)
    }

    pub fn number(&mut self) -> Option<u64> {
        self.head(0)
    }

    /// A number of fewer octets.
    pub fn small<N: TryFrom<u64>>(&mut self) -> Option<N> {
        N::try_from(self.number()?).ok()
    }

    fn string(&mut self, major: u8) -> Option<&'a [u8]> {
        let length = usize::try_from(self.head(major)?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    pub fn octets(&mut self) -> Option<&'a [u8]> {
        self.string(2)
    }

    pub fn exactly<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.octets()?.try_into().ok()
    }

    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.string(3)?).ok()
    }

    pub fn array(&mut self) -> Option<usize> {
        usize::try_from(self.head(4)?).ok()
    }

    /// `Some` when nothing is left.
    pub fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}
