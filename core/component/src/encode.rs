//! From a core module, as compilers write it, to a component.

use wit_component::ComponentEncoder;

/// Why a core module cannot become a component.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It is no WebAssembly.
    #[error("it is no WebAssembly module")]
    NotWasm,
    /// It is one already.
    #[error("it is a component already")]
    IsComponent,
    /// It does not say which world it is for, or does not fit it.
    #[error("it does not become a component: {0}")]
    Unfit(String),
}

/// The component of a core module that carries its world, as bindings generators leave it.
///
/// # Errors
/// [`EncodeError`].
pub fn encode(core: &[u8]) -> Result<Vec<u8>, EncodeError> {
    match core.first_chunk::<8>() {
        Some(b"\0asm\x01\0\0\0") => {}
        Some(head) if head.starts_with(b"\0asm") => return Err(EncodeError::IsComponent),
        _ => return Err(EncodeError::NotWasm),
    }
    ComponentEncoder::default().validate(true).module(core).and_then(|encoder| encoder.encode()).map_err(
        |error| EncodeError::Unfit(format!("{error:#}").lines().next().unwrap_or_default().to_owned()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_core_module_is_named() {
        assert!(matches!(encode(b"\x7fELF1234"), Err(EncodeError::NotWasm)));
        assert!(matches!(encode(b"\0asm\x0d\0\x01\0"), Err(EncodeError::IsComponent)));
        assert!(matches!(encode(b"\0asm\x01\0\0\0\xff"), Err(EncodeError::Unfit(_))));
    }
}
