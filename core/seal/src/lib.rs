//! The security layer over octets: profile 1, the replay window, EAX'.
