//! Node kind `api`: commands and devices over HTTP.
