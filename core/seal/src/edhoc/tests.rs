//! Tests of the whole: published values, our own vectors, and what no octets may do.

mod interop;
mod parties;
mod points;
mod properties;
mod published;
mod registration;
mod repeats;
