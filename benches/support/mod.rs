//! What all benches share: figures that are printed, and a folder on a disk.

mod figures;
mod folder;

pub use figures::{Figures, Spread};
pub use folder::Folder;

/// Why a bench ends.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
