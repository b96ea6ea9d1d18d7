mod classifier;
mod cuts;
mod folder;
mod head_end;
mod life;
mod refusals;
mod registration;
pub(super) mod support;
mod vectors;
