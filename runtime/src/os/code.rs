//! The code of this process, and its constants: pages of files, which the kernel maps where they are touched, 64 KiB at
//! once.
//!
//! What a process needed to come up it does not need again. [`give_back`] unmaps it all, and what is used is mapped again.
//! A page that is the process's own stays: somebody has written there, a debugger's breakpoint for one.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Where pages are of another size nothing is done.
const PAGE: usize = 4096;

/// To look at more than this takes longer than it is worth.
const MOST: usize = 64 << 20;

/// How many pages are looked at in one call.
const AT_ONCE: usize = 64;

/// Unmaps what is the same in the file.
pub(crate) fn give_back() -> io::Result<()> {
    // SAFETY: no memory is passed.
    if unsafe { libc::sysconf(libc::_SC_PAGESIZE) } != PAGE as libc::c_long {
        return Ok(());
    }
    let map = File::open("/proc/self/pagemap")?;
    for area in areas().into_iter().filter(|area| area.len() <= MOST) {
        let mut at = area.start;
        while at < area.end {
            let end = area.end.min(at + AT_ONCE * PAGE);
            for run in of_files(&map, at..end)? {
                // SAFETY: the pages are those of a mapped file, private and not written to, so they are the same when
                // they are mapped again. Where that is refused, as for memory that is locked, they stay.
                unsafe { libc::madvise(run.start as *mut _, run.len(), libc::MADV_DONTNEED) };
            }
            at = end;
        }
    }
    Ok(())
}

/// The runs of pages in this range that are not the process's own.
fn of_files(map: &File, range: Range<usize>) -> io::Result<impl Iterator<Item = Range<usize>>> {
    let mut entries = [0; 8 * AT_ONCE];
    let entries = &mut entries[..range.len() / PAGE * 8];
    map.read_exact_at(entries, (range.start / PAGE * 8) as u64)?;
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (entry, at) in entries.chunks_exact(8).zip(range.step_by(PAGE)) {
        match runs.last_mut() {
            _ if !is_of_file(entry) => {}
            Some(run) if run.end == at => run.end += PAGE,
            _ => runs.push(at..at + PAGE),
        }
    }
    Ok(runs.into_iter())
}

/// Present, and a page of a file.
fn is_of_file(entry: &[u8]) -> bool {
    let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
    entry >> 61 & 0b111 == 0b101
}

/// What of the executable and its libraries nobody writes to, in whole pages.
fn areas() -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // SAFETY: `each` is called synchronously, with the pointer that is given here.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut found).cast()) };
    found
}

unsafe extern "C" fn each(info: *mut libc::dl_phdr_info, _: usize, found: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the loader passes a valid description, and what `areas` gave it.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<Vec<Range<usize>>>()) };
    // SAFETY: reads the auxiliary vector.
    let kernels = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    if info.dlpi_phdr.is_null() || info.dlpi_addr == kernels {
        return 0;
    }
    // SAFETY: the loader states how many headers there are; they are mapped as long as the object is.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
    let is_constant = |h: &&libc::Elf64_Phdr| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0;
    for header in headers.iter().filter(is_constant) {
        let start = info.dlpi_addr as usize + header.p_vaddr as usize;
        let (first, end) = (start / PAGE * PAGE, start + header.p_filesz as usize);
        found.push(first..end.next_multiple_of(PAGE));
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    fn here() -> usize {
        here as fn() -> usize as usize
    }

    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(2).unwrap().parse().unwrap()
    }

    #[test]
    fn the_code_is_where_functions_are() {
        assert!(areas().iter().any(|area| area.contains(&here())));
    }

    #[test]
    fn what_is_given_back_is_there_again_and_what_was_written_stays() {
        let memory = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/proc/self/mem")
            .unwrap();
        let byte = |at: usize| {
            let mut byte = [0];
            memory.read_exact_at(&mut byte, at as u64).unwrap();
            byte[0]
        };
        // In the padding between two functions, where nothing runs; written over itself where there is none.
        let at = here();
        let before = byte(at);
        memory.write_all_at(&[before], at as u64).unwrap();
        let mapped = resident();
        give_back().unwrap();
        assert!(resident() < mapped, "{} of {mapped}", resident());
        assert_eq!((here(), byte(at)), (at, before));
        let map = File::open("/proc/self/pagemap").unwrap();
        let page = at / PAGE * PAGE;
        assert_eq!(
            of_files(&map, page..page + PAGE).unwrap().count(),
            0,
            "its own still"
        );
    }
}
