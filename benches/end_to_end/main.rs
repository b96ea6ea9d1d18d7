//! Frames a second from end device to acknowledgement.

fn main() {}
