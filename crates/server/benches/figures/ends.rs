//! The two ends of what the part `bridge` measures: what a screen is replaced by, and who looks at it.
//!
//! ```text
//!   viewer ── ask: `e` or `s`, count ──►  [ nothing | websockify | polydev | polydev, agent ] ──► source
//!   viewer ◄──── that many bytes ───────
//! ```
//! The viewer speaks TCP, or in it WebSocket (RFC 6455) as a browser does; it is a thread that does nothing else.

use anyhow::{Context, Result, bail, ensure};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Sends that many bytes.
const SEND: u8 = b's';
/// Sends that many bytes back.
const ECHO: u8 = b'e';
/// How many bytes a source writes at a time, and a viewer reads.
const CHUNK: usize = 64 * 1024;
/// The bytes of a round trip: about a key that is pressed.
const TRIP: usize = 64;
/// What a browser's bytes are hidden by: any four.
const MASK: [u8; 4] = [1, 2, 3, 4];

/// Does what a viewer asks for, until that has left.
pub(crate) async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut chunk = vec![7; CHUNK];
    loop {
        let kind = stream.read_u8().await?;
        let mut left = stream.read_u64().await? as usize;
        while left > 0 {
            let now = left.min(CHUNK);
            let count = if kind == ECHO { stream.read(&mut chunk[..now]).await? } else { now };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            stream.write_all(&chunk[..count]).await?;
            left -= count;
        }
    }
}

/// Somebody who looks.
pub(crate) struct Viewer {
    stream: TcpStream,
    /// In frames of a WebSocket, or as they are.
    framed: bool,
    buffer: Vec<u8>,
    /// What is read and not looked at.
    unread: std::ops::Range<usize>,
    /// Bytes that are still to come of a frame of bytes.
    of_frame: usize,
}

impl Viewer {
    pub(crate) fn plain(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, framed: false, buffer: vec![0; CHUNK], unread: 0..0, of_frame: 0 })
    }

    /// By way of a WebSocket at this path, with this key.
    pub(crate) fn framed(address: SocketAddr, path: &str, key: &str) -> Result<Self> {
        let mut viewer = Self { framed: true, ..Self::plain(address)? };
        write!(
            viewer.stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: binary\r\nAuthorization: Bearer {key}\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") && answer.len() < CHUNK {
            answer.push(viewer.byte()?);
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        ensure!(answer.starts_with("HTTP/1.1 101"), "no WebSocket: {answer}");
        Ok(viewer)
    }

    /// Has so many bytes sent, and does not take them yet.
    pub(crate) fn ask(&mut self, count: usize) -> Result<()> {
        self.say(SEND, count)
    }

    /// Takes so many bytes.
    pub(crate) fn take(&mut self, mut count: usize) -> Result<()> {
        while count > 0 {
            if self.framed && self.of_frame == 0 {
                self.of_frame = self.head()?;
                continue;
            }
            self.fill()?;
            let most = if self.framed { self.of_frame } else { usize::MAX };
            let now = self.unread.len().min(count).min(most);
            ensure!(self.buffer[self.unread.start] == 7, "another byte came than was sent");
            self.unread.start += now;
            self.of_frame = self.of_frame.saturating_sub(now);
            count -= now;
        }
        Ok(())
    }

    /// Says something short and reads it back, so many times: how long each took, microseconds.
    pub(crate) fn trips(&mut self, count: usize) -> Result<Vec<f64>> {
        self.say(ECHO, count * TRIP)?;
        let trip = |_| {
            let began = std::time::Instant::now();
            self.send(&[7; TRIP])?;
            self.take(TRIP)?;
            Ok(began.elapsed().as_secs_f64() * 1e6)
        };
        (0..count).map(trip).collect()
    }

    fn say(&mut self, kind: u8, count: usize) -> Result<()> {
        let mut ask = vec![kind];
        ask.extend((count as u64).to_be_bytes());
        self.send(&ask)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.framed {
            return Ok(self.stream.write_all(bytes)?);
        }
        self.frame(0x82, bytes)
    }

    /// A whole frame of at most 125 bytes, as a client sends it.
    fn frame(&mut self, head: u8, bytes: &[u8]) -> Result<()> {
        let mut frame = vec![head, 0x80 | u8::try_from(bytes.len())?];
        frame.extend(MASK);
        frame.extend(bytes.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        Ok(self.stream.write_all(&frame)?)
    }

    /// Reads the head of the next frame of bytes: how many they are.
    fn head(&mut self) -> Result<usize> {
        let (kind, short) = (self.byte()?, usize::from(self.byte()?));
        let more = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mut length = if more == 0 { short } else { 0 };
        for _ in 0..more {
            length = length << 8 | usize::from(self.byte()?);
        }
        match kind & 0x0f {
            // Bytes, and more of them.
            0 | 2 => Ok(length),
            // A ping.
            9 => {
                let said = (0..length).map(|_| self.byte()).collect::<Result<Vec<u8>>>()?;
                self.frame(0x8a, &said)?;
                Ok(0)
            }
            8 => bail!("it was closed"),
            other => bail!("a frame of kind {other}"),
        }
    }

    fn byte(&mut self) -> Result<u8> {
        self.fill()?;
        let byte = self.buffer[self.unread.start];
        self.unread.start += 1;
        Ok(byte)
    }

    fn fill(&mut self) -> Result<()> {
        if self.unread.is_empty() {
            let count = self.stream.read(&mut self.buffer).context("a viewer's connection")?;
            ensure!(count > 0, "a viewer's connection ended");
            self.unread = 0..count;
        }
        Ok(())
    }
}
