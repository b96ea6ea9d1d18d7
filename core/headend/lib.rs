//! Metergraph: an open head-end for advanced metering.
