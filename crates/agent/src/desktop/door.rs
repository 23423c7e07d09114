//! Where programs of the sandbox ask the agent for something of the desktop, each with one line:
//!
//! ```text
//!   greet          ◄── what to say in a terminal, once the host has said it
//!   open ADDRESS   ◄── nothing when the page is being shown, or what went wrong
//! ```
//! The answer ends with the connection.

use super::Desk;
use crate::{agent::Agent, listen::retry};
use std::{rc::Rc, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::spawn_local,
    time::timeout,
};

/// The longest line: `open` and an address that a browser still takes.
const LINE_MAX: u64 = 32 * 1024;

/// The most programs that may ask at a time.
const ASKING_MAX: usize = 16;

/// How long a program may take to ask.
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// Answers for ever.
pub(super) async fn serve(agent: Rc<Agent>, desk: Rc<Desk>, listener: UnixListener) {
    let asking = Arc::new(Semaphore::new(ASKING_MAX));
    let mut again = retry();
    while let Ok(permit) = asking.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((program, _)) => {
                let (agent, desk) = (agent.clone(), desk.clone());
                spawn_local(async move {
                    answer(&agent, &desk, program).await;
                    drop(permit);
                });
            }
            Err(_) => drop(again.tick().await),
        }
    }
}

async fn answer(agent: &Rc<Agent>, desk: &Desk, mut program: UnixStream) {
    let (reader, mut writer) = program.split();
    let mut reader = BufReader::new(reader.take(LINE_MAX));
    let mut line = String::new();
    if !matches!(timeout(ASK_WITHIN, reader.read_line(&mut line)).await, Ok(Ok(_))) {
        return;
    }
    let said = match line.trim_end().split_once(' ') {
        None if line.trim_end() == "greet" => {
            desk.terminal_asked.send_replace(true);
            let mut greeting = desk.greeting.subscribe();
            let mut more = [0; 1];
            let text = tokio::select! {
                text = greeting.wait_for(Option::is_some) => text.ok().and_then(|text| text.clone()),
                // It has asked all that it may: it is gone.
                _ = reader.read(&mut more) => None,
            };
            text.unwrap_or_default()
        }
        Some(("open", address)) => desk.open(agent, address).await.err().unwrap_or_default(),
        None | Some(_) => "no such request\n".to_owned(),
    };
    let _ = writer.write_all(said.as_bytes()).await;
}
