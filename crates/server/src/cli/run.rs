//! `polydev run`: a prompt goes in, the answer streams out.

use super::{
    client::Client,
    download::{self, Folder},
    output::{self, CliError, Format, exit},
    upload,
};
use crate::{
    api::{BODY_MAX, runs::RunView},
    domain::event::{Event, EventBody, LogLevel},
    providers::Tools,
};
use backon::{ExponentialBuilder, Retryable};
use clap::Args;
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use reqwest::{Method, Response};
use serde_json::json;
use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
    time::Duration,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Give a prompt to a provider's tool, and stream its answer.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// claude, codex or gemini.
    provider: String,
    /// The prompt; read from standard input when absent.
    prompt: Option<String>,
    /// The model; the provider's default when absent.
    #[arg(long)]
    model: Option<String>,
    /// `new`, or the id of a conversation (to come).
    #[arg(long, value_name = "new|ID")]
    conversation: Option<String>,
    /// A file or folder to put into the tool's workspace, under its own name; may be given again.
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Where to save what the tool made or changed: a folder, made if it is missing. Files in it are overwritten.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Which of its own tools the tool may use, inside its sandbox.
    #[arg(long, value_parser = ["none", "all"])]
    tools: Option<String>,
    /// How long it may take: 90, 90s, 30m, 2h.
    #[arg(long, value_parser = super::duration::seconds)]
    timeout: Option<i64>,
    /// What to add to the tool's own system prompt.
    #[arg(long)]
    system: Option<String>,
}

/// How often a broken stream is taken up again before giving up.
const RESUMES: u32 = 5;
/// How long Ctrl-C waits for the server.
const CANCEL_WITHIN: Duration = Duration::from_secs(10);

/// Runs the command.
pub async fn run(args: RunArgs, client: &Client, format: Format) -> Result<(), CliError> {
    let out = args.out.as_deref().map(Folder::open).transpose()?;
    let prompt = match args.prompt {
        Some(prompt) => prompt,
        None => read_prompt()?,
    };
    let mut body = json!({ "provider": args.provider, "prompt": prompt });
    let mut set = |name: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            body[name] = value;
        }
    };
    set("model", args.model.map(Into::into));
    set("conversation", args.conversation.map(Into::into));
    set("system", args.system.map(Into::into));
    set("timeout_s", args.timeout.map(Into::into));
    set("tools", args.tools.map(|tools| json!(if tools == "none" { Tools::None } else { Tools::All })));
    set("files", (!args.files.is_empty()).then(|| upload::read(&args.files)).transpose()?);
    let body = serde_json::to_vec(&body).map_err(CliError::failed)?;
    if !args.files.is_empty() && body.len() > BODY_MAX {
        return Err(upload::too_large());
    }

    let request = client.request(Method::POST, "/runs").header("accept", "text/event-stream");
    let request = request.header("content-type", "application/json").body(body);
    let mut follower = Follower { client, format, run: None, seq: 0, told: false, cancels: true, ended: false };
    let mut interrupts = interrupts();
    let mut sent = std::pin::pin!(client.send(request));
    let response = tokio::select! {
        response = &mut sent => response?,
        _ = interrupts.recv() => {
            // It may be accepted already: what it is called must be known to cancel it.
            if let Ok(Ok(response)) = tokio::time::timeout(CANCEL_WITHIN, sent).await {
                follower.run = run_of(&response);
            }
            return follower.cancel().await;
        }
    };
    follower.run = run_of(&response);
    let end = follower.follow(response, &mut interrupts).await;
    let (Some(out), Some(run), true) = (out, follower.run, follower.ended) else { return end };
    let saved = tokio::select! {
        saved = download::download(client, &run, &out) => saved,
        _ = interrupts.recv() => Err(CliError::silent(exit::CTRL_C)),
    };
    match (end, saved) {
        (Ok(()), saved) => saved,
        (Err(error), Ok(())) => Err(error),
        // What became of the run matters more, and is told last.
        (Err(error), Err(not_saved)) => {
            not_saved.print();
            Err(error)
        }
    }
}

/// The run that the server says it has made.
fn run_of(response: &Response) -> Option<String> {
    let location = response.headers().get(reqwest::header::LOCATION)?.to_str().ok()?;
    Some(location.rsplit('/').next()?.to_owned())
}

/// Hears Ctrl-C from now on, between two waits too.
pub fn interrupts() -> Signal {
    signal(SignalKind::interrupt()).expect("a process can listen for its signals")
}

fn read_prompt() -> Result<String, CliError> {
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        output::note("Type the prompt, then Ctrl-D:");
    }
    let mut prompt = String::new();
    stdin
        .read_to_string(&mut prompt)
        .map_err(|error| CliError::usage(format!("standard input cannot be read: {error}")))?;
    Ok(prompt)
}

/// Prints a run's events as they come, and cancels it on Ctrl-C.
pub struct Follower<'a> {
    /// The server.
    pub client: &'a Client,
    /// How to print.
    pub format: Format,
    /// The run, once it is known.
    pub run: Option<String>,
    /// The number of the last event that came.
    pub seq: i64,
    /// Whether a piece of the answer was printed.
    pub told: bool,
    /// Whether Ctrl-C cancels the run, and does not only stop following it.
    pub cancels: bool,
    /// Whether the run has ended by itself, with an answer or without.
    pub ended: bool,
}

impl Follower<'_> {
    /// Prints the events of a stream, taken up again where it breaks, to the run's end.
    pub async fn follow(&mut self, first: Response, interrupts: &mut Signal) -> Result<(), CliError> {
        let mut response = first;
        let mut resumes = 0;
        loop {
            let before = self.seq;
            let broken = tokio::select! {
                end = self.read(response) => match end {
                    Ok(end) => return end,
                    Err(broken) => broken,
                },
                _ = interrupts.recv() => return self.cancel().await,
            };
            if self.seq > before {
                resumes = 0;
            }
            resumes += 1;
            let Some(run) = self.run.clone().filter(|_| resumes <= RESUMES) else {
                return Err(broken);
            };
            tracing::debug!(broken = broken.message, resumes, "the stream broke; taking it up again");
            let request =
                self.client.request(Method::GET, &format!("/runs/{run}/events")).header("last-event-id", self.seq);
            let send = || self.client.send(request.try_clone().expect("a request without a body"));
            let patience = ExponentialBuilder::default().with_min_delay(Duration::from_millis(200)).with_max_times(5);
            let resumed = send.retry(patience).when(|error| error.status == exit::UNREACHABLE);
            response = tokio::select! {
                response = resumed.into_future() => response?,
                _ = interrupts.recv() => return self.cancel().await,
            };
        }
    }

    /// Reads a stream to the run's end; `Err` when it breaks before.
    async fn read(&mut self, response: Response) -> Result<Result<(), CliError>, CliError> {
        let mut events = response.bytes_stream().eventsource();
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(eventsource_stream::EventStreamError::Transport(error)) => {
                    return Err(self.client.unreachable(&error));
                }
                Err(error) => return Ok(Err(CliError::failed(format!("the server's stream cannot be read: {error}")))),
            };
            let Ok(event) = serde_json::from_str::<Event>(&event.data) else { continue };
            self.seq = event.seq;
            match self.print(&event).await {
                Ok(None) => {}
                Ok(Some(end)) => return Ok(end),
                // Nobody reads any more. The run goes on, as it does for a client that leaves.
                Err(_) => return Ok(Err(CliError::silent(exit::FAILED))),
            }
        }
        // A proxy on the way may end what it finds too long.
        Err(CliError::failed("the stream ended before the run did").hint("`polydev runs` shows what became of it."))
    }

    /// Prints an event; how the command ends, if it was the last. `Err`: nobody reads any more.
    async fn print(&mut self, event: &Event) -> std::io::Result<Option<Result<(), CliError>>> {
        if self.format == Format::StreamJson {
            output::json_line(event)?;
        }
        let text = self.format == Format::Text;
        match &event.body {
            EventBody::Queued { run_id } => self.run = Some(run_id.clone()),
            EventBody::Text { text: piece } if text => {
                output::piece(piece)?;
                self.told = true;
            }
            EventBody::ToolCall { name, input, .. } if text => {
                output::note(format!("  · {name} {}", brief(&input.to_string())));
            }
            EventBody::ToolResult { ok: false, output: words, .. } if text => {
                output::note(format!("  · it did not work: {}", brief(words)));
            }
            EventBody::Log { level: LogLevel::Warn | LogLevel::Error, text: words } if text => output::note(words),
            EventBody::Started { .. }
            | EventBody::Text { .. }
            | EventBody::Reasoning { .. }
            | EventBody::ToolCall { .. }
            | EventBody::ToolResult { .. }
            | EventBody::Usage(_)
            | EventBody::Log { .. } => {}
            EventBody::Completed { .. } => {
                self.ended = true;
                return Ok(Some(self.end().await));
            }
            EventBody::Failed { error } => {
                self.ended = true;
                let end = self.end().await;
                return Ok(Some(end.and(Err(error.clone().into()))));
            }
            EventBody::Cancelled => {
                let end = self.end().await;
                return Ok(Some(end.and(Err(CliError::failed("the run was cancelled")))));
            }
        }
        Ok(None)
    }

    async fn end(&self) -> Result<(), CliError> {
        match self.format {
            Format::Text if self.told => output::text(""),
            Format::Json => {
                let run = self.run.as_deref().unwrap_or_default();
                output::json(
                    &self.client.json::<RunView>(self.client.request(Method::GET, &format!("/runs/{run}"))).await?,
                );
            }
            Format::Text | Format::StreamJson => {}
        }
        Ok(())
    }

    async fn cancel(&self) -> Result<(), CliError> {
        if self.told {
            output::text("");
        }
        if let Some(run) = self.run.as_ref().filter(|_| self.cancels) {
            let request = self.client.request(Method::POST, &format!("/runs/{run}/cancel")).timeout(CANCEL_WITHIN);
            match self.client.send(request).await {
                Ok(_) => output::note("cancelled"),
                Err(error) => output::note(format!("`{run}` may still run: {}", error.message)),
            }
        }
        Err(CliError::silent(exit::CTRL_C))
    }
}

/// The first line of something long.
fn brief(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut brief: String = line.chars().take(100).collect();
    if brief.len() < text.len() {
        brief.push('…');
    }
    brief
}
