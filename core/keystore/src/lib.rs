//! Associations and classic keys behind a key-encryption key, in sled.
