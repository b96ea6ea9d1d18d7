//! Why octets are not a frame.

/// Why octets are not one of the frames of this link layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The PSDU ends before its header or check does.
    #[error("frame-truncated")]
    Truncated,
    /// The FCS-32 is wrong.
    #[error("fcs-bad")]
    Fcs,
    /// Not frame version 2.
    #[error("frame-version-not-used")]
    Version,
    /// Neither a data frame nor an acknowledgment.
    #[error("frame-type-not-used")]
    Type,
    /// Address modes or PAN id compression that no frame of this link has.
    #[error("addressing-not-used")]
    Addressing,
    /// No sequence number.
    #[error("sequence-suppressed")]
    SequenceSuppressed,
    /// A security level other than 6, or a key id mode other than 1.
    #[error("security-not-used")]
    Security,
    /// A header IE that runs past the frame.
    #[error("header-ie-truncated")]
    HeaderIe,
    /// A payload IE among the header IEs, or a payload IE that runs past the frame.
    #[error("payload-ie-malformed")]
    PayloadIe,
    /// A vendor IE of our own with a body of the wrong length.
    #[error("vendor-ie-length")]
    VendorIe,
    /// More hops than a ROUTE IE may have.
    #[error("route-too-long")]
    RouteTooLong,
}
