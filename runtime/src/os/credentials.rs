//! Bytes with the number of the process that wrote them.
//!
//! The kernel stamps each write on a Unix socket whose receiving end asked for it, and never joins bytes of
//! different writers in one receive.

use super::check;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Asks for the writers' numbers on all bytes that are written from now on.
pub(crate) fn ask(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option is an int, and `on` outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSCRED,
            (&raw const on).cast(),
            size,
        )
    })?;
    Ok(())
}

/// Receives without waiting, from one writer: how many bytes, and who wrote them.
///
/// Descriptors that a writer attached are not wanted, and closed by the kernel.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, i32)> {
    let mut control = [MaybeUninit::<u64>::uninit(); 8];
    let mut data = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all zeroes is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut data;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // The room is for the credentials alone, which the kernel writes first.
    // SAFETY: only arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as libc::c_uint) } as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    loop {
        // SAFETY: `message` points to `data` and `control`, which have room for what it states and outlive the call.
        let bytes = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, flags) };
        match usize::try_from(bytes).map_err(|_| io::Error::last_os_error()) {
            Ok(bytes) => return Ok((bytes, writer(&message))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How many bytes wait to be received.
pub(crate) fn waiting(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, which outlives the call.
    match check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &mut bytes) }) {
        Ok(_) => usize::try_from(bytes).unwrap_or(0),
        Err(_) => 0,
    }
}

/// The process that made the other end of a connected pair.
pub(crate) fn maker(socket: BorrowedFd<'_>) -> io::Result<i32> {
    let credentials = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials)?;
    Ok(credentials.pid())
}

fn writer(message: &libc::msghdr) -> i32 {
    // SAFETY: the kernel has filled the control buffer and set its length, and the walk stays within that.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(message);
        while let Some(head) = next.as_ref() {
            if head.cmsg_level == libc::SOL_SOCKET && head.cmsg_type == libc::SCM_CREDENTIALS {
                return libc::CMSG_DATA(next).cast::<libc::ucred>().read_unaligned().pid;
            }
            next = libc::CMSG_NXTHDR(message, next);
        }
    }
    0
}
