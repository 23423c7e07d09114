//! A viewer: RFB 3.8 (RFC 6143) in the binary messages of a WebSocket.

use super::Socket;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

/// Somebody who looks at a screen.
#[derive(Debug)]
pub(super) struct Viewer {
    socket: Socket,
    unread: Vec<u8>,
    /// The screen's size, as it said.
    pub(super) size: (u16, u16),
    /// Its name.
    pub(super) name: String,
}

/// Why a screen ends: the close code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed(pub(super) Option<u16>);

impl Viewer {
    /// Shakes hands.
    pub(super) async fn new(socket: Socket) -> Result<Self, Closed> {
        let mut viewer = Self { socket, unread: Vec::new(), size: (0, 0), name: String::new() };
        assert_eq!(viewer.read(12).await?, b"RFB 003.008\n");
        viewer.send(b"RFB 003.008\n").await;
        // One security type: None.
        assert_eq!(viewer.read(2).await?, [1, 1]);
        viewer.send(&[1]).await;
        assert_eq!(viewer.read(4).await?, [0; 4], "it lets us in");
        // Others may look too: who may, is not the screen's to say.
        viewer.send(&[1]).await;
        let head = viewer.read(24).await?;
        viewer.size = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
        let length = u32::from_be_bytes([head[20], head[21], head[22], head[23]]) as usize;
        viewer.name = String::from_utf8(viewer.read(length).await?).unwrap();
        Ok(viewer)
    }

    /// Types a text of ASCII; a newline is the Return key.
    pub(super) async fn types(&mut self, text: &str) {
        for key in text.bytes() {
            let key = if key == b'\n' { 0xff0d } else { u32::from(key) };
            for down in [1, 0] {
                let mut event = vec![4, down, 0, 0];
                event.extend(key.to_be_bytes());
                self.send(&event).await;
            }
        }
    }

    /// Waits until the screen has come to everything that was typed: it answers in order. The rest of its answer is left.
    pub(super) async fn heard(&mut self) -> Result<(), Closed> {
        // One pixel, in the upper left corner.
        self.send(&[3, 0, 0, 0, 0, 0, 0, 1, 0, 1]).await;
        // A bell is one byte.
        while self.read(1).await? != [0] {}
        Ok(())
    }

    /// Asks for the whole screen, and does not read it.
    pub(super) async fn asks_for_everything(&mut self) {
        let (width, height) = self.size;
        // Raw is the only encoding that need not be asked for.
        self.send(&[2, 0, 0, 1, 0, 0, 0, 0]).await;
        let mut request = vec![3, 0, 0, 0, 0, 0];
        request.extend(width.to_be_bytes());
        request.extend(height.to_be_bytes());
        self.send(&request).await;
    }

    /// Asks for the whole screen and reads it: its pixels, each 4 bytes as the screen keeps them.
    pub(super) async fn pixels(&mut self) -> Result<Vec<u8>, Closed> {
        let (width, height) = self.size;
        self.asks_for_everything().await;
        let (mut screen, mut seen) = (vec![0; usize::from(width) * usize::from(height) * 4], 0);
        while seen < screen.len() {
            match self.read(1).await?[0] {
                0 => {}
                // A bell, a colour map, a clipboard: none of it is looked at.
                2 => continue,
                other => panic!("a message {other}"),
            }
            let head = self.read(3).await?;
            for _ in 0..u16::from_be_bytes([head[1], head[2]]) {
                let head = self.read(12).await?;
                let number = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
                let (x, y, w, h) = (number(0), number(2), number(4), number(6));
                assert_eq!(head[8..], [0; 4], "raw");
                let piece = self.read(w * h * 4).await?;
                for row in 0..h {
                    let to = ((y + row) * usize::from(width) + x) * 4;
                    screen[to..to + w * 4].copy_from_slice(&piece[row * w * 4..(row + 1) * w * 4]);
                }
                seen += piece.len();
            }
        }
        Ok(screen)
    }

    /// Reads on until it is closed, and with which code.
    pub(super) async fn closed(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.read(1).await {
                return closed;
            }
        }
    }

    /// Closes, and reads the answer.
    pub(super) async fn close(mut self) -> Closed {
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        self.says(Message::Close(Some(close))).await;
        self.closed().await
    }

    /// Sends another kind of message than bytes.
    pub(super) async fn says(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    async fn send(&mut self, bytes: &[u8]) {
        // Who has closed says why to the next read.
        let _ = self.socket.send(Message::Binary(bytes.to_vec().into())).await;
    }

    async fn read(&mut self, count: usize) -> Result<Vec<u8>, Closed> {
        while self.unread.len() < count {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => self.unread.extend_from_slice(&bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(close))) => return Err(Closed(close.map(|close| close.code.into()))),
                Some(Ok(other)) => panic!("{other:?}"),
                Some(Err(_)) | None => return Err(Closed(None)),
            }
        }
        Ok(self.unread.drain(..count).collect())
    }
}

/// How many pixels differ.
pub(super) fn changed(before: &[u8], after: &[u8]) -> usize {
    before.chunks(4).zip(after.chunks(4)).filter(|(before, after)| before != after).count()
}
