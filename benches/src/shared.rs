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
const FRESH: &str = "shared_64m_fresh_gbs";

#[derive(Debug, Default)]
pub(crate) struct Reader {
    held: Option<SharedBytes>,
}

#[actor]
impl Reader {
    fn whole(&mut self, payload: SharedBytes) -> u64 {
        touch(&payload)
    }
    fn ends(&mut self, payload: SharedBytes) -> (u8, u8) {
        (payload[0], payload[payload.len() - 1])
    }
    fn hold(&mut self, payload: SharedBytes) {
        self.held = Some(payload);
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
    for payload in made {
        reader.whole(payload).await?;
    }
    emit_bytes(peer, "shared_1m_gbs", MIB * n, begin);
    let sources = buffers(MIB, n);
    let begin = Instant::now();
    for source in &sources {
        reader.whole(SharedBytes::from_slice(source)?).await?;
    }
    emit_bytes(peer, "shared_1m_fresh_gbs", MIB * n, begin);

    let large = SharedBytes::from_slice(&vec![7; LARGE])?;
    again(peer, "shared_64m_again_us", &reader, &large, workload).await?;
    reader.hold(large.clone()).await?;
    again(peer, "shared_64m_held_us", &reader, &large, workload).await?;

    let source = vec![7; LARGE];
    let n = workload.payloads[1].2;
    let begin = Instant::now();
    for _ in 0..n {
        reader.ends(SharedBytes::from_slice(&source)?).await?;
    }
    emit_bytes(peer, FRESH, LARGE * n, begin);
    Ok(())
}

/// The same memory, sent again and again.
async fn again(
    peer: &str,
    metric: &str,
    reader: &ReaderRef,
    large: &SharedBytes,
    workload: Workload,
) -> procession::Result<()> {
    let mut times = Vec::new();
    for _ in 0..workload.sleeps {
        let begin = Instant::now();
        assert_eq!(reader.ends(large.clone()).await?, (7, 7));
        times.push(begin.elapsed());
    }
    emit_micros(peer, metric, times);
    Ok(())
}

/// What one is made of, and nothing in between; nobody gets it.
pub(crate) fn raw(peer: &str, workload: Workload) {
    let source = vec![7; LARGE];
    let n = workload.payloads[1].2;
    let begin = Instant::now();
    for _ in 0..n {
        drop(sealed(&source));
    }
    emit_bytes(peer, FRESH, LARGE * n, begin);
}

fn sealed(source: &[u8]) -> OwnedFd {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memory = memfd_create(c"raw", flags).expect("memory");
    fallocate(&memory, FallocateFlags::empty(), 0, source.len() as i64).expect("memory");
    let len = NonZeroUsize::new(source.len()).expect("a length");
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: the mapping is new, as long as it says, of memory that nobody else has, and gone before this returns.
    #[allow(unsafe_code)]
    unsafe {
        let at = mmap(None, len, access, MapFlags::MAP_SHARED, &memory, 0).expect("a mapping");
        at.cast::<u8>()
            .as_ptr()
            .copy_from_nonoverlapping(source.as_ptr(), source.len());
        munmap(at, source.len()).expect("the mapping");
    }
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals)).expect("seals");
    memory
}
