//! X itself, asked from outside: node in the sandbox carries the bytes of its socket.

use anyhow::{Context, Result};
use polydev_sandbox::{
    Guest,
    guest::{JobOutput, OutputStream},
    proto::{Exec, Overflow, Ring},
};
use std::{collections::BTreeMap, os::unix::net::UnixStream, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::spawn_blocking,
};
use x11rb::{
    connection::Connection,
    protocol::xproto::{AtomEnum, ConnectionExt, MapState, Window},
    rust_connection::{DefaultStream, RustConnection},
};

const CARRY: &str =
    "const s = require('net').connect('/tmp/.X11-unix/X0'); process.stdin.pipe(s); s.pipe(process.stdout)";

/// A window, as the window manager and X have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) id: Window,
    /// `WM_CLASS`: what program's it is.
    pub(crate) class: String,
    pub(crate) visible: bool,
    /// What kind, of `_NET_WM_WINDOW_TYPE`: `NORMAL`, `DOCK`, …
    pub(crate) kind: String,
    /// Of `_NET_WM_STATE`: `MAXIMIZED_VERT`, …
    pub(crate) states: Vec<String>,
    /// `_NET_WM_STRUT_PARTIAL`: left, right, top, bottom, and where along each.
    pub(crate) strut: Vec<u32>,
    pub(crate) x: i16,
    pub(crate) y: i16,
    pub(crate) width: u16,
    pub(crate) height: u16,
}

/// All that X tells.
#[derive(Debug)]
pub(crate) struct Desktop {
    /// From the lowest to the highest.
    pub(crate) windows: Vec<Shown>,
    pub(crate) active: Window,
}

impl Desktop {
    pub(crate) fn of(&self, class: &str) -> Result<&Shown> {
        self.windows.iter().find(|shown| shown.class == class).with_context(|| format!("no {class} in {self:#?}"))
    }

    /// Where a program's window lies among the others.
    pub(crate) fn height_of(&self, class: &str) -> Result<usize> {
        self.windows.iter().position(|shown| shown.class == class).with_context(|| format!("no {class} in {self:#?}"))
    }
}

/// A connection to X.
#[derive(Debug, Clone)]
pub(crate) struct X(Arc<RustConnection>);

impl X {
    pub(crate) async fn connect(guest: &Guest) -> Result<Self> {
        let (here, there) = UnixStream::pair()?;
        carry(guest.clone(), there).await?;
        let connected = spawn_blocking(move || {
            let (stream, _peer) = DefaultStream::from_unix_stream(here)?;
            Ok::<_, anyhow::Error>(RustConnection::connect_to_stream(stream, 0)?)
        });
        Ok(Self(Arc::new(connected.await??)))
    }

    /// Asks for all that there is.
    pub(crate) async fn look(&self) -> Result<Desktop> {
        let x = self.0.clone();
        spawn_blocking(move || ask(&x)).await?
    }
}

/// Has a job in the sandbox carry the bytes of X.
async fn carry(guest: Guest, stream: UnixStream) -> Result<()> {
    let job = "x".to_owned();
    let ring = Ring { capacity: 64 * 1024, overflow: Overflow::Block };
    let exec = Exec {
        job: job.clone(),
        argv: ["node", "-e", CARRY].map(str::to_owned).into(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        cwd: "/".to_owned(),
        stdin: true,
        pty: None,
        stdout: ring,
        stderr: ring,
    };
    guest.exec(exec).await?;
    stream.set_nonblocking(true)?;
    let (mut reader, mut writer) = tokio::net::UnixStream::from_std(stream)?.into_split();
    let mut input = guest.stdin(&job).await?;
    let mut output = guest.attach(&job, 0, 0).await?;
    tokio::spawn(async move {
        let mut chunk = vec![0; 64 * 1024];
        let mut read = 0;
        loop {
            tokio::select! {
                asked = reader.read(&mut chunk) => match asked? {
                    0 => return Ok::<_, anyhow::Error>(input.end().await?),
                    count => input.write(&chunk[..count]).await?,
                },
                said = output.next() => match said? {
                    Some(JobOutput::Bytes { stream: OutputStream::Stdout, bytes, .. }) => {
                        writer.write_all(&bytes).await?;
                        read += bytes.len() as u64;
                        output.ack(read, 0).await?;
                    }
                    Some(JobOutput::Bytes { bytes, .. }) => println!("{}", String::from_utf8_lossy(&bytes)),
                    Some(JobOutput::Exit(_)) | None => return Ok(()),
                },
            }
        }
    });
    Ok(())
}

fn ask(x: &RustConnection) -> Result<Desktop> {
    let root = x.setup().roots[0].root;
    let asked = Asked { x };
    let windows = asked.numbers(root, "_NET_CLIENT_LIST_STACKING", AtomEnum::WINDOW)?;
    let active = asked.numbers(root, "_NET_ACTIVE_WINDOW", AtomEnum::WINDOW)?;
    let active = *active.first().context("no window is active")?;
    let windows = windows.into_iter().map(|id| asked.shown(root, id)).collect::<Result<_>>()?;
    Ok(Desktop { windows, active })
}

struct Asked<'a> {
    x: &'a RustConnection,
}

impl Asked<'_> {
    fn shown(&self, root: Window, id: Window) -> Result<Shown> {
        let place = self.x.translate_coordinates(id, root, 0, 0)?.reply()?;
        let size = self.x.get_geometry(id)?.reply()?;
        Ok(Shown {
            id,
            class: self.text(id, "WM_CLASS")?.split('\0').nth(1).unwrap_or_default().to_owned(),
            visible: self.x.get_window_attributes(id)?.reply()?.map_state == MapState::VIEWABLE,
            kind: self.names(id, "_NET_WM_WINDOW_TYPE")?.into_iter().next().unwrap_or_default(),
            states: self.names(id, "_NET_WM_STATE")?,
            strut: self.numbers(id, "_NET_WM_STRUT_PARTIAL", AtomEnum::CARDINAL)?,
            x: place.dst_x,
            y: place.dst_y,
            width: size.width,
            height: size.height,
        })
    }

    fn property(&self, of: Window, name: &str, kind: AtomEnum) -> Result<x11rb::protocol::xproto::GetPropertyReply> {
        let name = self.x.intern_atom(false, name.as_bytes())?.reply()?.atom;
        Ok(self.x.get_property(false, of, name, kind, 0, 1024)?.reply()?)
    }

    fn numbers(&self, of: Window, name: &str, kind: AtomEnum) -> Result<Vec<u32>> {
        Ok(self.property(of, name, kind)?.value32().map(Iterator::collect).unwrap_or_default())
    }

    fn text(&self, of: Window, name: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.property(of, name, AtomEnum::STRING)?.value).into_owned())
    }

    /// The names of atoms, without what all of their kind begin with.
    fn names(&self, of: Window, name: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for atom in self.numbers(of, name, AtomEnum::ATOM)? {
            let full = String::from_utf8(self.x.get_atom_name(atom)?.reply()?.name)?;
            names.push(full.trim_start_matches(name).trim_start_matches('_').to_owned());
        }
        Ok(names)
    }
}
