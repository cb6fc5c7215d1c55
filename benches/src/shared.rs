//! Shared memory as a message.

use crate::record::{emit_bytes, emit_micros};
use crate::workload::{MIB, Workload, buffers, touch};
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use procession::prelude::*;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::time::Instant;

const LARGE: usize = 64 * MIB;
const MADE: &str = "shared_1m_gbs";
const FRESH: &str = "shared_1m_fresh_gbs";
const LARGE_FRESH: &str = "shared_64m_fresh_gbs";

#[derive(Debug, Default)]
pub(crate) struct Reader;

#[actor]
impl Reader {
    fn whole(&mut self, payload: SharedBytes) -> u64 {
        touch(&payload)
    }
    fn ends(&mut self, payload: SharedBytes) -> (u8, u8) {
        (payload[0], payload[payload.len() - 1])
    }
}

pub(crate) async fn ours(peer: &str, workload: Workload) -> procession::Result<()> {
    let reader = Reader::spawn().await?;
    let n = workload.payloads[0].2;
    let made: Vec<_> = buffers(MIB, n)
        .iter()
        .map(|bytes| SharedBytes::from_slice(bytes))
        .collect::<Result<_, _>>()?;
    let begin = Instant::now();
    for payload in &made {
        reader.whole(payload.clone()).await?;
    }
    emit_bytes(peer, MADE, MIB * n, begin);
    drop(made);
    let sources = buffers(MIB, n);
    let begin = Instant::now();
    for source in &sources {
        reader.whole(SharedBytes::from_slice(source)?).await?;
    }
    emit_bytes(peer, FRESH, MIB * n, begin);
    let same = SharedBytes::from_slice(&sources[0])?;
    let begin = Instant::now();
    for _ in 0..n {
        reader.whole(same.clone()).await?;
    }
    emit_bytes(peer, "shared_1m_again_gbs", MIB * n, begin);

    let large = SharedBytes::from_slice(&vec![7; LARGE])?;
    let mut times = Vec::new();
    for _ in 0..workload.sleeps {
        let begin = Instant::now();
        assert_eq!(reader.ends(large.clone()).await?, (7, 7));
        times.push(begin.elapsed());
    }
    emit_micros(peer, "shared_64m_again_us", times);

    let source = vec![7; LARGE];
    let n = workload.payloads[1].2;
    let begin = Instant::now();
    for _ in 0..n {
        reader.ends(SharedBytes::from_slice(&source)?).await?;
    }
    emit_bytes(peer, LARGE_FRESH, LARGE * n, begin);
    Ok(())
}

/// What one is made of and read by, and nothing in between: all in this process.
pub(crate) fn raw(peer: &str, workload: Workload) {
    let n = workload.payloads[0].2;
    let sources = buffers(MIB, n);
    let made: Vec<_> = sources.iter().map(|source| sealed(source)).collect();
    let begin = Instant::now();
    made.iter().for_each(read);
    emit_bytes(peer, MADE, MIB * n, begin);
    drop(made);
    let begin = Instant::now();
    sources.iter().for_each(|source| read(&sealed(source)));
    emit_bytes(peer, FRESH, MIB * n, begin);

    let source = vec![7; LARGE];
    let n = workload.payloads[1].2;
    let begin = Instant::now();
    for _ in 0..n {
        drop(sealed(&source));
    }
    emit_bytes(peer, LARGE_FRESH, LARGE * n, begin);
}

fn sealed(source: &[u8]) -> OwnedFd {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memory = memfd_create(c"raw", flags).expect("memory");
    fallocate(&memory, FallocateFlags::empty(), 0, source.len() as i64).expect("memory");
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: the memory is nobody else's yet.
    #[allow(unsafe_code)]
    unsafe {
        with_mapped(&memory, source.len(), access, MapFlags::MAP_SHARED, |at| {
            at.copy_from_nonoverlapping(source.as_ptr(), source.len());
        });
    }
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals)).expect("seals");
    memory
}

fn read(memory: &OwnedFd) {
    // SAFETY: it is sealed, so nobody writes what is read.
    #[allow(unsafe_code)]
    let read = unsafe {
        with_mapped(memory, MIB, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE, |at| {
            touch(std::slice::from_raw_parts(at, MIB))
        })
    };
    std::hint::black_box(read);
}

/// Lends so much memory, mapped.
#[allow(unsafe_code)]
unsafe fn with_mapped<R>(
    memory: &OwnedFd,
    len: usize,
    access: ProtFlags,
    flags: MapFlags,
    lend: impl FnOnce(*mut u8) -> R,
) -> R {
    let size = NonZeroUsize::new(len).expect("a length");
    // SAFETY: the mapping is new, and gone before this returns.
    unsafe {
        let at = mmap(None, size, access, flags, memory, 0).expect("a mapping");
        let result = lend(at.cast::<u8>().as_ptr());
        munmap(at, len).expect("the mapping");
        result
    }
}
