//! Connected pairs of stream sockets, and bytes sent over them together with descriptors.
//!
//! Descriptors travel with the first byte of the write that carries them, so they arrive not later than that byte.
//! Every read is a `recvmsg`: a plain `read` silently closes the descriptors that come with what it reads. What
//! arrives is close-on-exec from the start. A write to a peer that is gone is an error, never a signal.

use bytes::{BufMut, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// The most descriptors that the kernel takes with one write (`SCM_MAX_FD`).
pub(crate) const MAX_DESCRIPTORS: usize = 253;

/// How much may be on its way, of which the kernel makes twice as much for its own books: a large message then needs
/// fewer turns of its two processes.
const SEND_BUFFER: usize = 512 << 10;

/// How much may be on its way where the rest is held back for last words.
const RESERVED_BUFFER: usize = 160 << 10;

/// Space for one control message with [`MAX_DESCRIPTORS`], in words so that it is aligned as `cmsghdr` must be.
type Control = [MaybeUninit<u64>; CONTROL_WORDS];
const CONTROL_WORDS: usize = control_space(MAX_DESCRIPTORS).div_ceil(size_of::<u64>());

/// What one [`recv`] brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes read; 0 is the end of file.
    pub(crate) len: usize,
    /// Descriptors came with them: the kernel ended the read there, more may be waiting.
    pub(crate) control: bool,
    /// The kernel dropped descriptors: more than fit, or this process is out of them.
    pub(crate) truncated: bool,
}

/// A connected pair, non-blocking and close-on-exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (a, b) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
    for end in [&a, &b] {
        // Less than that is as good, only slower: the kernel gives what its limit allows.
        let _ = setsockopt(end, sockopt::SndBuf, &SEND_BUFFER);
    }
    Ok((a, b))
}

/// Holds back some of what a socket of a [`pair`] may have on its way.
pub(crate) fn reserve(socket: BorrowedFd<'_>) {
    use nix::sys::socket::{setsockopt, sockopt};
    // Without it last words may find no room, and the peer takes the end for a death.
    let _ = setsockopt(&socket, sockopt::SndBuf, &RESERVED_BUFFER);
}

/// Frees what was held back: a socket that is full takes some bytes more.
pub(crate) fn use_reserve(socket: BorrowedFd<'_>) {
    use nix::sys::socket::{setsockopt, sockopt};
    let _ = setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER);
}

/// Writes what fits, and with its first byte `fds`, of which all go or none.
pub(crate) fn send<F: AsFd>(socket: BorrowedFd<'_>, bytes: &[IoSlice<'_>], fds: &[F]) -> io::Result<usize> {
    match bytes {
        [only] if fds.is_empty() => send_one(socket, only),
        _ => send_message(socket, bytes, fds),
    }
}

/// Appends to `buf` what is there, up to its spare capacity, and the descriptors to `fds`.
pub(crate) fn recv(
    socket: BorrowedFd<'_>,
    buf: &mut BytesMut,
    fds: &mut VecDeque<OwnedFd>,
) -> io::Result<Received> {
    let spare = buf.spare_capacity_mut();
    let mut iov = libc::iovec {
        iov_base: spare.as_mut_ptr().cast(),
        iov_len: spare.len(),
    };
    let mut control: Control = [MaybeUninit::uninit(); CONTROL_WORDS];
    let mut message = header(&raw mut iov, 1, control.as_mut_ptr().cast(), size_of::<Control>());
    // SAFETY: `message` describes one vector of writable spare capacity and an aligned control buffer, both of
    // which outlive the call.
    let n = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let len = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has written `len` bytes at the start of the spare capacity.
    unsafe { buf.advance_mut(len) };
    let control = message.msg_controllen > 0;
    if control {
        // SAFETY: the kernel has filled the control buffer that `message` points to.
        unsafe { take_descriptors(&message, fds) };
    }
    Ok(Received {
        len,
        control,
        truncated: message.msg_flags & libc::MSG_CTRUNC != 0,
    })
}

/// Ends this side's writing: the peer reads what was written, then the end of file.
pub(crate) fn shutdown_write(socket: BorrowedFd<'_>) -> io::Result<()> {
    use nix::sys::socket::{Shutdown, shutdown};
    Ok(shutdown(socket.as_raw_fd(), Shutdown::Write)?)
}

fn send_one(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of a live slice.
    let n = unsafe {
        libc::send(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

fn send_message<F: AsFd>(socket: BorrowedFd<'_>, bytes: &[IoSlice<'_>], fds: &[F]) -> io::Result<usize> {
    if fds.len() > MAX_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut control: Control = [MaybeUninit::uninit(); CONTROL_WORDS];
    // `IoSlice` has the layout of `iovec`, as its documentation guarantees; the kernel only reads them.
    let vectors = bytes.as_ptr().cast_mut().cast::<libc::iovec>();
    let mut message = header(vectors, bytes.len(), ptr::null_mut(), 0);
    if !fds.is_empty() {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = control_space(fds.len()) as _;
        // SAFETY: the control buffer is aligned and has the space of `MAX_DESCRIPTORS`, of which there are no more.
        unsafe { put_descriptors(&message, fds) };
    }
    // SAFETY: `message` describes live slices and a control buffer filled above; the kernel writes to neither.
    let n = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// # Safety
///
/// `message` must have an aligned control buffer with the space of `fds.len()` descriptors.
unsafe fn put_descriptors<F: AsFd>(message: &libc::msghdr, fds: &[F]) {
    // SAFETY: by the contract the buffer holds one header and the descriptors behind it.
    unsafe {
        let head = libc::CMSG_FIRSTHDR(message);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        (*head).cmsg_len = libc::CMSG_LEN(descriptor_bytes(fds.len())) as _;
        let data = libc::CMSG_DATA(head).cast::<RawFd>();
        for (i, fd) in fds.iter().enumerate() {
            data.add(i).write_unaligned(fd.as_fd().as_raw_fd());
        }
    }
}

/// # Safety
///
/// `message` must have been filled by a successful `recvmsg`, and its descriptors not be owned yet.
unsafe fn take_descriptors(message: &libc::msghdr, fds: &mut VecDeque<OwnedFd>) {
    // SAFETY: the `CMSG` macros walk what the kernel wrote; each descriptor of an `SCM_RIGHTS` message is new in this
    // process and is taken once.
    unsafe {
        let mut head = libc::CMSG_FIRSTHDR(message);
        while let Some(cmsg) = head.as_ref() {
            if cmsg.cmsg_level == libc::SOL_SOCKET && cmsg.cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(cmsg).cast::<RawFd>();
                // The width of `cmsg_len` differs between systems.
                #[allow(clippy::unnecessary_cast)]
                let bytes = cmsg.cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for i in 0..bytes / size_of::<RawFd>() {
                    fds.push_back(OwnedFd::from_raw_fd(data.add(i).read_unaligned()));
                }
            }
            head = libc::CMSG_NXTHDR(message, head);
        }
    }
}

fn header(
    vectors: *mut libc::iovec,
    n_vectors: usize,
    control: *mut libc::c_void,
    space: usize,
) -> libc::msghdr {
    // SAFETY: a `msghdr` of zeros is valid: null pointers and no lengths.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = vectors;
    message.msg_iovlen = n_vectors as _;
    message.msg_control = control;
    message.msg_controllen = space as _;
    message
}

const fn control_space(n_fds: usize) -> usize {
    // SAFETY: arithmetic only.
    unsafe { libc::CMSG_SPACE(descriptor_bytes(n_fds)) as usize }
}

const fn descriptor_bytes(n_fds: usize) -> u32 {
    (n_fds * size_of::<RawFd>()) as u32
}
