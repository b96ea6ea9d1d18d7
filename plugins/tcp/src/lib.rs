//! C12.22 over TCP (RFC 6142) as a transport plugin.
