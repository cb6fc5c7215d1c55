//! The executable as it lies in memory: where, and which build.

use std::fmt::Write as _;
use std::ops::Range;

/// Where the executable is mapped. Addresses in it less the start are the same in every process of this build.
pub(crate) fn span() -> Range<usize> {
    executable().span
}

/// The build id that the linker wrote, as hexadecimal digits; a hash of the program headers if it wrote none.
pub(crate) fn build_id() -> String {
    let mut text = String::new();
    for byte in executable().id {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

struct Executable {
    span: Range<usize>,
    id: Vec<u8>,
}

fn executable() -> Executable {
    let mut found = Executable {
        span: 0..0,
        id: vec![],
    };
    // SAFETY: `first` is called synchronously, with the pointer that is given here.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
    found
}

/// The loader lists the executable first.
unsafe extern "C" fn first(info: *mut libc::dl_phdr_info, _: usize, found: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the loader passes a valid description, and what `executable` gave it.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<Executable>()) };
    // SAFETY: the loader states how many headers there are; they are mapped for the life of the process.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
    let base = info.dlpi_addr as usize;
    let loaded = headers.iter().filter(|h| h.p_type == libc::PT_LOAD);
    let end = loaded
        .map(|h| (h.p_vaddr + h.p_memsz) as usize)
        .max()
        .unwrap_or(0);
    found.span = base..base + end;
    let notes = headers.iter().filter(|h| h.p_type == libc::PT_NOTE);
    // SAFETY: a note segment is part of a loaded one, so it is mapped and readable for the life of the process.
    let bytes = |h: &libc::Elf64_Phdr| unsafe {
        std::slice::from_raw_parts((base + h.p_vaddr as usize) as *const u8, h.p_memsz as usize)
    };
    found.id = notes
        .map(bytes)
        .find_map(build_id_note)
        .unwrap_or_else(|| hash(headers));
    1
}

/// The description of the note of type 3 and owner `GNU`.
fn build_id_note(mut notes: &[u8]) -> Option<Vec<u8>> {
    let word = |bytes: &[u8], at: usize| -> Option<usize> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
    };
    loop {
        let (name, description, kind) = (word(notes, 0)?, word(notes, 4)?, word(notes, 8)?);
        let start = 12 + name.next_multiple_of(4);
        if kind == 3 && notes.get(12..16) == Some(b"GNU\0") {
            return notes.get(start..start + description).map(<[u8]>::to_vec);
        }
        notes = notes.get(start + description.next_multiple_of(4)..)?;
    }
}

/// FNV-1a over the addresses and sizes of the segments.
fn hash(headers: &[libc::Elf64_Phdr]) -> Vec<u8> {
    let fields = headers
        .iter()
        .flat_map(|h| [u64::from(h.p_type), h.p_vaddr, h.p_memsz, h.p_filesz]);
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = fields
        .flat_map(u64::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, step);
    hash.to_be_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_holds_this_function_and_has_an_id() {
        let here = the_executable_holds_this_function_and_has_an_id as fn() as usize;
        assert!(span().contains(&here));
        assert!(build_id().len() >= 16);
    }
}
