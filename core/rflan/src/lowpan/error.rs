//! Why a payload is not taken or not built.

/// Why a payload is not one of this link's 6LoWPAN packets, or cannot become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LowpanError {
    /// The payload ends within a header.
    #[error("lowpan-truncated")]
    Truncated,
    /// A dispatch that this link does not use.
    #[error("dispatch-not-used")]
    Dispatch,
    /// A 16-bit originator, or a 16-bit final address other than FFFFh.
    #[error("mesh-short-address")]
    MeshShortAddress,
    /// A mesh broadcast without its sequence header.
    #[error("broadcast-without-sequence")]
    BroadcastWithoutSequence,
    /// Every hop is used up.
    #[error("hops-exhausted")]
    HopsExhausted,
    /// A later fragment with offset zero, or one that starts inside the IPv6 and UDP headers or past the end.
    #[error("fragment-offset")]
    FragmentOffset,
    /// A fragment that is empty, or not a multiple of eight octets and not the last.
    #[error("fragment-length")]
    FragmentLength,
    /// A datagram size with no room for the IPv6 and UDP headers.
    #[error("datagram-too-short")]
    DatagramTooShort,
    /// A datagram larger than the memory for reassembly.
    #[error("datagram-over-memory")]
    DatagramOverMemory,
    /// An IPHC header that needs a context.
    #[error("iphc-stateful")]
    IphcStateful,
    /// An IPHC address form that is reserved, or that the link addresses do not allow.
    #[error("iphc-address")]
    IphcAddress,
    /// What follows IPv6 is not compressed UDP.
    #[error("not-udp")]
    NotUdp,
    /// The UDP checksum is elided, which RFC 6282 4.3.2 allows only by agreement.
    #[error("udp-checksum-elided")]
    ChecksumElided,
    /// The UDP checksum is wrong.
    #[error("udp-checksum-bad")]
    Checksum,
    /// Not to port 1153.
    #[error("port-not-c1222")]
    Port,
    /// An APDU past the configured maximum.
    #[error("apdu-too-long")]
    ApduTooLong,
    /// No room for a fragment of eight octets.
    #[error("mtu-too-small")]
    MtuTooSmall,
}
