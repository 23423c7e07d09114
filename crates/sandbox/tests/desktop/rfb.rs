//! A viewer: the client's side of RFB 3.8 (RFC 6143), raw pixels only.

use crate::support::SHOTS;
use anyhow::{Context, Result, bail, ensure};
use polydev_sandbox::Stream;
use std::{collections::VecDeque, fs::File, io::BufWriter, path::Path, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// How long the screen may take to look or say something.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keys, by X's numbers.
pub(crate) const RETURN: u32 = 0xff0d;
pub(crate) const SHIFT: u32 = 0xffe1;
pub(crate) const CONTROL: u32 = 0xffe3;

const RAW: i32 = 0;
const DESKTOP_SIZE: i32 = -223;
const EXTENDED_DESKTOP_SIZE: i32 = -308;

/// A viewer of one screen.
pub(crate) struct Viewer {
    stream: Stream,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Red, green, blue of each pixel.
    pixels: Vec<[u8; 3]>,
    /// What was copied in the desktop and nobody has looked at yet.
    copied: VecDeque<String>,
}

impl Viewer {
    pub(crate) async fn connect(mut stream: Stream) -> Result<Self> {
        let mut version = [0; 12];
        stream.read_exact(&mut version).await?;
        ensure!(&version == b"RFB 003.008\n", "{version:?}");
        stream.write_all(&version).await?;
        let count = stream.read_u8().await?;
        let mut kinds = vec![0; count.into()];
        stream.read_exact(&mut kinds).await?;
        ensure!(kinds == [1], "security types {kinds:?}");
        stream.write_u8(1).await?;
        ensure!(stream.read_u32().await? == 0, "refused");
        // Shared with other viewers.
        stream.write_u8(1).await?;
        let (width, height) = (stream.read_u16().await?, stream.read_u16().await?);
        let mut format = [0; 16];
        stream.read_exact(&mut format).await?;
        let mut name = vec![0; stream.read_u32().await? as usize];
        stream.read_exact(&mut name).await?;

        let mut viewer = Self { stream, width: 0, height: 0, pixels: Vec::new(), copied: VecDeque::new() };
        viewer.resized(width, height);
        // 32 bits a pixel, of them 24, little-endian, true colour, red at bit 16.
        let format = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
        let mut hello = vec![0, 0, 0, 0];
        hello.extend(format);
        hello.extend([2, 0, 0, 3]);
        for encoding in [RAW, DESKTOP_SIZE, EXTENDED_DESKTOP_SIZE] {
            hello.extend(encoding.to_be_bytes());
        }
        viewer.stream.write_all(&hello).await?;
        Ok(viewer)
    }

    fn resized(&mut self, width: u16, height: u16) {
        (self.width, self.height) = (width.into(), height.into());
        self.pixels = vec![[0; 3]; self.width * self.height];
    }

    /// Asks for the whole screen and takes what comes until it has come.
    pub(crate) async fn look(&mut self) -> Result<()> {
        timeout(PATIENCE, self.update(false)).await.context("no picture of the screen")?
    }

    /// Looks at the screen again and again, as it changes, until it looks so.
    pub(crate) async fn until(&mut self, what: &str, mut looks: impl FnMut(&Self) -> bool) -> Result<()> {
        let watch = async {
            self.look().await?;
            while !looks(self) {
                self.update(true).await?;
            }
            Ok(())
        };
        match timeout(PATIENCE, watch).await {
            Ok(seen) => seen,
            Err(_) => {
                let shot = SHOTS.join(format!("never-{}.png", what.replace(' ', "-")));
                self.keep(&shot)?;
                bail!("never seen: {what}; what was there is in `{}`", shot.display())
            }
        }
    }

    /// Asks for the screen, or its changes, and takes messages until the picture has changed.
    async fn update(&mut self, mut changes: bool) -> Result<()> {
        loop {
            let [width, height] = [self.width as u16, self.height as u16].map(u16::to_be_bytes);
            let ask = [3, changes.into(), 0, 0, 0, 0, width[0], width[1], height[0], height[1]];
            self.stream.write_all(&ask).await?;
            // The whole screen is first answered by its size alone; the rest counts as changed then.
            changes = true;
            loop {
                match self.message().await? {
                    Some(true) => return Ok(()),
                    Some(false) => break,
                    None => {}
                }
            }
        }
    }

    /// Takes one message: whether an update had pixels; `None` of anything else.
    async fn message(&mut self) -> Result<Option<bool>> {
        match self.stream.read_u8().await? {
            0 => {
                self.stream.read_u8().await?;
                let count = self.stream.read_u16().await?;
                let mut pixels = false;
                for _ in 0..count {
                    pixels |= self.rectangle().await?;
                }
                Ok(Some(pixels))
            }
            2 => Ok(None), // a bell
            3 => {
                let mut padding = [0; 3];
                self.stream.read_exact(&mut padding).await?;
                let len = self.stream.read_u32().await?;
                ensure!(len < 1 << 20, "{len} bytes were copied");
                let mut text = vec![0; len as usize];
                self.stream.read_exact(&mut text).await?;
                self.copied.push_back(text.into_iter().map(char::from).collect());
                Ok(None)
            }
            other => bail!("a message of kind {other}"),
        }
    }

    /// Takes one rectangle. Whether it was of pixels.
    async fn rectangle(&mut self) -> Result<bool> {
        let mut head = [0; 4];
        for field in &mut head {
            *field = self.stream.read_u16().await?;
        }
        let [x, y, width, height] = head;
        match self.stream.read_i32().await? {
            RAW => {
                let [x, y, width, height] = [x, y, width, height].map(usize::from);
                ensure!(x + width <= self.width && y + height <= self.height, "pixels beside the screen");
                let mut line = vec![0; width * 4];
                for row in y..y + height {
                    self.stream.read_exact(&mut line).await?;
                    let at = row * self.width + x;
                    for (pixel, bytes) in self.pixels[at..at + width].iter_mut().zip(line.chunks_exact(4)) {
                        *pixel = [bytes[2], bytes[1], bytes[0]];
                    }
                }
                return Ok(true);
            }
            DESKTOP_SIZE => self.resized(width, height),
            EXTENDED_DESKTOP_SIZE => {
                let screens = self.stream.read_u8().await?;
                let mut rest = vec![0; 3 + usize::from(screens) * 16];
                self.stream.read_exact(&mut rest).await?;
                // `y` tells how it went with a size that was asked for.
                ensure!(y == 0, "the size was refused: {y}");
                if (self.width, self.height) != (width.into(), height.into()) {
                    self.resized(width, height);
                }
            }
            other => bail!("an encoding that was not asked for: {other}"),
        }
        Ok(false)
    }

    /// Presses and lets go of keys, by their X names' numbers: those of ASCII are its own.
    pub(crate) async fn press(&mut self, keys: &[u32]) -> Result<()> {
        for down in [1, 0] {
            for key in keys {
                let mut event = vec![4, down, 0, 0];
                event.extend(key.to_be_bytes());
                self.stream.write_all(&event).await?;
            }
        }
        Ok(())
    }

    /// Types a text, with Return for its newlines.
    pub(crate) async fn type_in(&mut self, text: &str) -> Result<()> {
        for c in text.chars() {
            let key = if c == '\n' { RETURN } else { u32::from(c) };
            self.press(&[key]).await?;
        }
        Ok(())
    }

    pub(crate) async fn click(&mut self, x: u16, y: u16) -> Result<()> {
        for buttons in [0, 1, 0] {
            let [x, y] = [x, y].map(u16::to_be_bytes);
            self.stream.write_all(&[5, buttons, x[0], x[1], y[0], y[1]]).await?;
        }
        Ok(())
    }

    /// Gives the desktop something to paste.
    pub(crate) async fn copy(&mut self, text: &str) -> Result<()> {
        let mut message = vec![6, 0, 0, 0];
        message.extend((text.len() as u32).to_be_bytes());
        message.extend(text.bytes());
        Ok(self.stream.write_all(&message).await?)
    }

    /// Waits for something that was copied in the desktop.
    pub(crate) async fn copied(&mut self) -> Result<String> {
        let wait = async {
            loop {
                if let Some(text) = self.copied.pop_front() {
                    return Ok(text);
                }
                self.message().await?;
            }
        };
        timeout(PATIENCE, wait).await.context("nothing was copied")?
    }

    /// Asks for another size, and waits for it.
    pub(crate) async fn resize(&mut self, width: u16, height: u16) -> Result<()> {
        self.look().await?;
        let mut ask = vec![251, 0];
        for number in [width, height] {
            ask.extend(number.to_be_bytes());
        }
        // One screen of that size at the corner.
        ask.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for number in [width, height] {
            ask.extend(number.to_be_bytes());
        }
        ask.extend([0; 4]);
        self.stream.write_all(&ask).await?;
        let so = (usize::from(width), usize::from(height));
        self.until("another size", |viewer| (viewer.width, viewer.height) == so).await
    }

    /// One pixel's red, green and blue.
    pub(crate) fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        self.pixels[y * self.width + x]
    }

    /// How many pixels of a part of the screen look so.
    pub(crate) fn count(
        &self,
        columns: std::ops::Range<usize>,
        rows: std::ops::Range<usize>,
        looks: impl Fn([u8; 3]) -> bool,
    ) -> usize {
        rows.flat_map(|y| columns.clone().map(move |x| (x, y))).filter(|(x, y)| looks(self.pixel(*x, *y))).count()
    }

    /// Keeps the picture, for people to look at.
    pub(crate) fn keep(&self, path: &Path) -> Result<()> {
        let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        Ok(encoder.write_header()?.write_image_data(self.pixels.as_flattened())?)
    }
}
