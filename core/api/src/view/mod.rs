//! What travels: the bodies of requests and answers, for the server and for clients.
//!
//! Octets are lower-case hex, times Unix seconds, durations minutes where they say so.

mod campaign;
mod command;
mod device;
mod group;
mod order;
mod text;

pub use campaign::{Campaign, NewCampaign};
pub use command::REQUEST_ID_MAX;
pub use command::{
    Accepted, Command, CommandList, Counts, Intent, MemberResult, NewApproval, NewCommand, NewSigned,
    Outcome, Receipt, Step,
};
pub use device::{Device, Whoami};
pub use group::{AcceptedList, Group, GroupList, Members, NewGroup};
pub use order::{Order, Part, Table, To};
pub use text::FieldError;
pub(crate) use text::{Named, classes, octets, octets_of};
