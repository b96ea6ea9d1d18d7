//! Tests over the vectors in `tests/vectors`, or in the folder that `METERGRAPH_VECTORS` names.

mod at_rest;
mod ccm;
mod command;
mod control;
mod cose;
mod derivation;
mod device;
mod eax_prime;
mod epochs;
pub(crate) mod folder;
mod group;
mod key_schedule;
mod negative;
mod receiver;
mod restore;
mod signature;
mod upstream;
mod window;
