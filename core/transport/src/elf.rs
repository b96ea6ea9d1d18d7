//! A look at a library before the dynamic linker maps it: one that is cut short would bring the process
//! down (SIGBUS) instead of being refused.

/// Octets of the header of a 64-bit ELF file.
const HEADER: usize = 64;
/// Octets of one program header.
const PROGRAM_HEADER: usize = 56;
/// `ET_DYN`
const SHARED: u16 = 3;
/// `PT_LOAD`
const LOAD: u32 = 1;
/// `EM_X86_64`, `EM_AARCH64`
const MACHINES: [(&str, u16); 2] = [("x86_64", 62), ("aarch64", 183)];

/// Whether a file can be a shared library of this machine, with all its octets.
///
/// # Errors
/// What it is instead.
pub fn check(octets: &[u8]) -> Result<(), &'static str> {
    let Some(header) = octets.first_chunk::<HEADER>() else { return Err("it is no shared library") };
    if !header.starts_with(b"\x7fELF") {
        return Err("it is no shared library");
    }
    let machine = MACHINES.iter().find(|(name, _)| *name == std::env::consts::ARCH);
    // 64 bits, little-endian; what other machines have is left to the dynamic linker.
    let Some((_, machine)) = machine else { return Ok(()) };
    if header.get(4..6) != Some(&[2, 1]) || half(header, 18) != Some(*machine) {
        return Err("it is built for another machine");
    }
    if half(header, 16) != Some(SHARED) {
        return Err("it is a program or an object file, no shared library");
    }
    segments_are_whole(octets).then_some(()).ok_or("it is cut short")
}

fn segments_are_whole(octets: &[u8]) -> bool {
    let table = (|| {
        let start = usize::try_from(word(octets, 32)?).ok()?;
        let size = usize::from(half(octets, 54)?);
        let count = usize::from(half(octets, 56)?);
        let table = octets.get(start..start.checked_add(size.checked_mul(count)?)?)?;
        (size == PROGRAM_HEADER).then_some(table)
    })();
    let whole = |segment: &[u8]| {
        let loaded = segment.first_chunk::<4>().map(|kind| u32::from_le_bytes(*kind)) == Some(LOAD);
        let end = word(segment, 8).zip(word(segment, 32)).and_then(|(offset, size)| offset.checked_add(size));
        !loaded || end.is_some_and(|end| end <= octets.len() as u64)
    };
    table.is_some_and(|table| table.chunks_exact(PROGRAM_HEADER).all(whole))
}

fn half(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().map(|value| u16::from_le_bytes(*value))
}

fn word(octets: &[u8], at: usize) -> Option<u64> {
    octets.get(at..)?.first_chunk().map(|value| u64::from_le_bytes(*value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The library that cargo built beside this test.
    fn library() -> Vec<u8> {
        let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        std::fs::read(folder.join("libmetergraph_tcp.so")).unwrap()
    }

    #[test]
    fn a_whole_library_passes_and_a_cut_one_does_not() {
        let library = library();
        assert_eq!(check(&library), Ok(()));
        for length in [0, 1, 63] {
            assert_eq!(check(&library[..length]), Err("it is no shared library"));
        }
        for length in [64, 200, 2000, 4096, 100_000] {
            assert_eq!(check(&library[..length]), Err("it is cut short"), "{length}");
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        let mut library = library();
        assert_eq!(check(b"#!/bin/sh\n"), Err("it is no shared library"));
        library[16] = 1;
        assert_eq!(check(&library), Err("it is a program or an object file, no shared library"));
        library[18] ^= 0xff;
        assert_eq!(check(&library), Err("it is built for another machine"));
    }

    proptest! {
        #[test]
        fn any_octets_get_an_answer(mut octets in prop::collection::vec(any::<u8>(), 0..300), is_elf: bool) {
            if let (true, Some(start)) = (is_elf, octets.get_mut(..20)) {
                start.copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
            }
            let _ = check(&octets);
        }
    }
}
