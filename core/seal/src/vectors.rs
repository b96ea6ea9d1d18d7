//! Tests over the vectors in `tests/vectors`, or in the folder that `METERGRAPH_VECTORS` names.

mod at_rest;
mod ccm;
mod control;
mod derivation;
mod eax_prime;
mod epochs;
pub(crate) mod folder;
mod key_schedule;
mod negative;
mod receiver;
mod upstream;
mod window;
