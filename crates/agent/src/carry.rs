//! Bytes both ways between the host and a program of the sandbox, looked at by nobody.

use crate::listen::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{io, os::fd::AsFd};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::{tcp, unix},
};

/// Copies both ways, at most `chunk` bytes at once, until both have ended, or one is broken.
pub(crate) async fn carry(
    host: &mut Stream,
    (reader, writer): (impl Readable, impl AsyncWrite + Unpin),
    chunk: usize,
) -> io::Result<()> {
    let watched = host.as_fd().try_clone_to_owned()?;
    let (host_reader, host_writer) = host.split();
    let out = copy(reader, host_writer, chunk);
    let back = async {
        copy(host_reader, writer, chunk).await?;
        // A host that closed for good takes no more bytes either; one that only ended writing does.
        if hung_up(&watched) { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    };
    tokio::try_join!(out, back)?;
    Ok(())
}

/// Copies one way to the end, and passes the end on. The buffer lives only while there is something in it.
async fn copy(reader: impl Readable, mut writer: impl AsyncWrite + Unpin, max: usize) -> io::Result<()> {
    loop {
        reader.readable().await?;
        let mut chunk = Vec::with_capacity(max);
        match reader.try_read(&mut chunk) {
            Ok(0) => return writer.shutdown().await,
            Ok(_) => writer.write_all(&chunk).await?,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

/// A socket that can be waited for without a buffer.
pub(crate) trait Readable {
    async fn readable(&self) -> io::Result<()>;
    fn try_read(&self, chunk: &mut Vec<u8>) -> io::Result<usize>;
}

impl Readable for tcp::ReadHalf<'_> {
    async fn readable(&self) -> io::Result<()> {
        self.as_ref().readable().await
    }

    fn try_read(&self, chunk: &mut Vec<u8>) -> io::Result<usize> {
        self.as_ref().try_read_buf(chunk)
    }
}

impl Readable for unix::ReadHalf<'_> {
    async fn readable(&self) -> io::Result<()> {
        self.as_ref().readable().await
    }

    fn try_read(&self, chunk: &mut Vec<u8>) -> io::Result<usize> {
        self.as_ref().try_read_buf(chunk)
    }
}

fn hung_up(socket: impl AsFd) -> bool {
    let mut watched = [PollFd::new(&socket, PollFlags::empty())];
    poll(&mut watched, Some(&Timespec::default())).is_ok() && watched[0].revents().contains(PollFlags::HUP)
}
