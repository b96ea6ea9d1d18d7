//! The transport plugin contract: loader, host services, driver worker.
