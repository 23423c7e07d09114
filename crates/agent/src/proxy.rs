//! The way out: connections to a loopback port, each carried over a channel that the host opened for it.
//!
//! ```text
//!   program ─► 127.0.0.1 ─► queue ─┐
//!                                  ├─ first with first ─► bytes both ways
//!   host ─► egress channel ─► turn ┘
//! ```
//! The bytes are not looked at: what may leave is decided on the host.

use crate::{
    carry::carry,
    channel::answer,
    listen::{Stream, retry},
    refuse::Ended,
};
use polydev_proto::{Answer, STREAMS_MAX};
use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use std::{cell::RefCell, collections::VecDeque, io, net::SocketAddr, os::fd::AsFd};
use tokio::{
    io::Interest,
    net::{TcpListener, TcpStream},
    sync::{Mutex, Notify},
};

/// The most that is copied at once.
const CHUNK: usize = 64 * 1024;

/// The loopback listener and what waits at it.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    /// Accepted connections that no channel has taken yet, oldest first.
    queue: RefCell<VecDeque<TcpStream>>,
    /// Held by the channel whose turn it is. A tokio mutex is fair: the first that waits is the first served.
    turn: Mutex<()>,
    arrived: Notify,
    taken: Notify,
}

impl Proxy {
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            queue: RefCell::default(),
            turn: Mutex::new(()),
            arrived: Notify::new(),
            taken: Notify::new(),
        })
    }

    /// Accepts for ever, at most as many ahead as there may be channels.
    pub(crate) async fn accept(&self) {
        let mut again = retry();
        loop {
            while self.queue.borrow().len() >= STREAMS_MAX {
                self.taken.notified().await;
            }
            match self.listener.accept().await {
                Ok((program, _)) => {
                    let _ = program.set_nodelay(true);
                    self.queue.borrow_mut().push_back(program);
                    self.arrived.notify_one();
                }
                Err(_) => drop(again.tick().await),
            }
        }
    }

    /// Serves one egress channel: it waits for a connection and carries it.
    pub(crate) async fn serve(&self, host: &mut Stream) -> Result<(), Ended> {
        answer(host, Answer::Done).await?;
        let program = tokio::select! {
            program = self.next(host) => program,
            () = left(host) => None,
        };
        if let Some(mut program) = program {
            carry(host, program.split(), CHUNK).await?;
        }
        Ok(())
    }

    /// The next connection, when it is this channel's turn. None: the host went meanwhile.
    async fn next(&self, host: &Stream) -> Option<TcpStream> {
        let _turn = self.turn.lock().await;
        loop {
            if !self.queue.borrow().is_empty() && peek(host) != Peek::Nothing {
                return None;
            }
            let first = self.queue.borrow_mut().pop_front();
            match first {
                Some(program) => {
                    self.taken.notify_one();
                    // A program that gave up before its turn needs no channel.
                    if peek(&program) != Peek::End {
                        return Some(program);
                    }
                }
                None => self.arrived.notified().await,
            }
        }
    }
}

/// Waits until the host closes. It has nothing to say before there is a connection: bytes end the channel too.
async fn left(host: &Stream) {
    let looked = || match peek(host) {
        Peek::Nothing => Err(io::ErrorKind::WouldBlock.into()),
        Peek::Bytes | Peek::End => Ok(()),
    };
    // The runtime takes a socket for readable until somebody finds that it is not.
    while host.readable().await.is_ok() && host.try_io(Interest::READABLE, looked).is_err() {}
}

/// What stands in a socket's receive queue.
#[derive(Debug, PartialEq, Eq)]
enum Peek {
    Nothing,
    Bytes,
    End,
}

fn peek(socket: impl AsFd) -> Peek {
    let mut byte = [0];
    match recv(socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((0, _)) => Peek::End,
        Ok(_) => Peek::Bytes,
        Err(Errno::AGAIN | Errno::INTR) => Peek::Nothing,
        Err(_) => Peek::End,
    }
}
