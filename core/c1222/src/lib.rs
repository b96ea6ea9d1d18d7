//! ANSI C12.22 octets to APDU, EPSEM, services, ApTitle and C12.19 tables, and back.
//!
//! Sans-I/O: no sockets, clock or keys. Decoders borrow, accept any octets without panic and name what is
//! wrong ([`DecodeError::name`]); encoders append to a `Vec<u8>` and emit minimal lengths in the order of
//! the standard. The layouts are those of ANSI C12.22-2008 / IEEE 1703-2012 and RFC 6142.

mod ber;
mod element;
mod oid;
mod parameters;

pub mod ap_title;
pub mod apdu;
pub mod authentication;
pub mod canonified;
pub mod carriage;
pub mod device_profile;
pub mod envelope;
pub mod epsem;
pub mod error;
pub mod identification;
pub mod invocation_id;
pub mod native_address;
pub mod reassembler;
pub mod registration;
pub mod request;
pub mod response;
pub mod response_code;
pub mod segment;
pub mod service_code;
pub mod table_data;
pub mod table_id;
pub mod tables;
pub mod u24;

pub use ap_title::{ApTitle, ApTitleBuf};
pub use apdu::{Apdu, UserInformation};
pub use element::Tag;
pub use envelope::{Envelope, Qualifier};
pub use epsem::{Epsem, EpsemControl, EpsemWriter, Sealing, SecurityMode};
pub use error::{DecodeError, Leniency};
pub use invocation_id::InvocationId;
pub use oid::Oid;
pub use request::Request;
pub use response::Response;
pub use response_code::ResponseCode;
pub use service_code::ServiceCode;
pub use table_data::TableData;
pub use table_id::TableId;
pub use u24::U24;
