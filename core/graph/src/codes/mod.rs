//! The codes of faults in graph files, each with its explanation.
//!
//! A code that a node kind gives to its own findings begins with `node::` and is explained in here too.

use crate::diagnostic::Code;

/// Declares codes as statics, and `ALL` with all of them.
macro_rules! codes {
    ($($name:ident $severity:ident $code:literal $text:literal $example:literal;)*) => {
        $(
            #[doc = $text]
            pub static $name: Code = Code {
                name: $code,
                severity: crate::diagnostic::Severity::$severity,
                text: $text,
                example: $example,
            };
        )*
        /// All codes of this file.
        pub(super) static ALL: &[&Code] = &[$(&$name),*];
    };
}

mod edges;
mod file;
mod kinds;
mod nodes;
mod transports;
mod values;

pub use edges::*;
pub use file::*;
pub use nodes::*;
pub use transports::*;
pub use values::*;

/// All codes of graph files.
pub fn all() -> impl Iterator<Item = &'static Code> {
    [file::ALL, values::ALL, nodes::ALL, edges::ALL, transports::ALL, kinds::ALL]
        .into_iter()
        .flatten()
        .copied()
}
