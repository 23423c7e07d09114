//! Runs the providers' real command-line tools against the stand-in, without a sandbox.
//!
//! ```text
//! cargo run -p polydev-server --example real_tools -- TOOLS_PATH [PROVIDER…]
//! ```
//!
//! `TOOLS_PATH` is a `PATH` on which `claude`, `codex`, `gemini` and `node` are
//! found, readable for everybody. Every run gets a fresh home with exactly the
//! files of its `Invocation`, and as root another user: so it proves what a
//! provider file says of its tool, and that no host but its own is asked. It
//! prints a line a run and fails if one is not as expected.

use anyhow::{Context, ensure};
use polydev_server::{
    domain::{event::EventBody, failure::Code, id},
    providers::{Credential, Invocation, Outcome, PROVIDERS, Prompt, Provider, Step, ToolEnd, Tools},
};
use polydev_standin::{Options, Standin, credential_id};
use secrecy::ExposeSecret;
use std::{
    io::Write,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// The user of sandboxes.
const UID: u32 = 10001;

/// More than any of the tools takes for its attempts.
const DEADLINE: Duration = Duration::from_secs(120);

/// What is asked, and what must come of it: a text in the answer, or a failure of this code.
struct Case {
    name: &'static str,
    prompt: Prompt,
    expected: Result<&'static str, Code>,
}

fn cases() -> Vec<Case> {
    let prompt = |text: &str| Prompt { text: text.to_owned(), model: None, system: None, tools: Tools::All };
    let case = |name, text: &str, expected| Case { name, prompt: prompt(text), expected };
    let without_tools = Prompt { tools: Tools::None, ..prompt("What is 17*23?") };
    let with_system = Prompt { system: Some("canary of the system prompt".into()), ..prompt("What is 17*23?") };
    let large = "Some words ".repeat((1 << 20) / "Some words ".len());
    vec![
        case("plain", "What is 17*23?", Ok("391")),
        case("tool", "use tool: echo hi", Ok("done: hi")),
        Case { name: "no tools", prompt: without_tools, expected: Ok("391") },
        Case { name: "system", prompt: with_system, expected: Ok("391") },
        case("1 MiB", &large, Ok("asking about \"Some words")),
        case("401", "[fault:401] What is 17*23?", Err(Code::NeedsReconnect)),
        case("429", "[fault:429] What is 17*23?", Err(Code::RateLimited)),
        case("500", "[fault:500] What is 17*23?", Err(Code::ProviderUnavailable)),
        case("cut", "[fault:cut] count to 10", Err(Code::ProviderUnavailable)),
    ]
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("the first argument is the `PATH` of the tools")?;
    let wanted: Vec<String> = arguments.collect();
    let mut out = std::io::stdout();
    let mut bad = 0;
    for provider in PROVIDERS {
        let name = provider.about().name;
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        for case in cases() {
            let started = Instant::now();
            let result = run(*provider, &case, &path).await;
            let took = started.elapsed().as_millis();
            bad += usize::from(result.is_err());
            let told = result.unwrap_or_else(|e| format!("NOT AS EXPECTED: {e:#}"));
            writeln!(out, "{name:7} {:8} {took:6} ms  {told}", case.name)?;
        }
    }
    ensure!(bad == 0, "{bad} runs were not as expected");
    Ok(())
}

/// One run. Tells the answer's beginning, or the failure's message.
async fn run(provider: &dyn Provider, case: &Case, path: &str) -> anyhow::Result<String> {
    let begins = match provider.about().name {
        "claude" => "sk-ant-standin-",
        "codex" => "sk-standin-",
        _ => "AIzaStandin",
    };
    let key = format!("{begins}{}", id::random::<10>());
    let invocation = match provider.invoke(&Credential::ApiKey(key.as_str().into()), &case.prompt) {
        Ok(invocation) => invocation,
        Err(refused) if refused.code == Code::Unsupported => return Ok(refused.message),
        Err(refused) => anyhow::bail!("refused: {refused:?}"),
    };
    let standin = Standin::start(Options::default()).await?;
    // Codex wants no home in `/tmp`.
    let home = tempfile::Builder::new().prefix("polydev-tool-").tempdir_in("/var/tmp")?;
    let mut tool = start(&invocation, home.path(), path, &standin)?;
    let ended = timeout(DEADLINE, converse(&mut tool, &invocation, provider, &case.prompt)).await;
    tool.kill().await.ok();
    let (answer, outcome) = ended.context("no end within the deadline")??;

    let hosts = invocation.hosts;
    let requests = standin.requests();
    if let Some(other) = requests.iter().find(|r| !hosts.contains(&r.host.as_str())) {
        anyhow::bail!("it asked `{}`", other.host);
    }
    let used = Some(credential_id(&key));
    ensure!(requests.iter().any(|r| r.credential == used), "it did not use the key");
    if case.prompt.system.is_some() {
        ensure!(requests.iter().any(|r| r.body.contains("canary of the system")), "no system prompt was sent");
    }
    match (&case.expected, outcome) {
        (Ok(part), Outcome::Answered { .. }) => {
            ensure!(answer.contains(part), "the answer is `{answer:.200}`");
            Ok(format!("{answer:.60}"))
        }
        (Err(code), Outcome::Failed(failure)) => {
            ensure!(failure.code == *code, "{failure:?}");
            Ok(format!("{:.100}", failure.message))
        }
        (_, outcome) => anyhow::bail!("{outcome:?} after `{answer:.200}`"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the tool runs here as it would in a sandbox")]
fn start(invocation: &Invocation, home: &Path, path: &str, standin: &Standin) -> anyhow::Result<Child> {
    let work = home.join("workspace");
    std::fs::create_dir(&work)?;
    let ca = home.join("ca.pem");
    std::fs::write(&ca, standin.ca_pem())?;
    for file in &invocation.files {
        let at = home.join(file.path);
        std::fs::create_dir_all(at.parent().context("a file lies in the home")?)?;
        std::fs::write(&at, file.content.expose_secret())?;
        std::fs::set_permissions(&at, PermissionsExt::from_mode(file.mode))?;
    }
    let (program, arguments) = invocation.argv.split_first().context("a command has a name")?;
    let mut command = Command::new("env");
    command
        .env_clear()
        .args(["-C", work.to_str().context("a plain path")?, program])
        .args(arguments)
        .env("PATH", path)
        .env("HOME", home)
        .env("HTTPS_PROXY", standin.proxy_url())
        .env("NODE_EXTRA_CA_CERTS", &ca)
        .env("SSL_CERT_FILE", &ca)
        .envs(invocation.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if rustix::process::geteuid().is_root() {
        chown(home)?;
        command.uid(UID).gid(UID);
    }
    Ok(command.spawn()?)
}

fn chown(path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::chown(path, Some(UID), Some(UID))?;
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            chown(&entry?.path())?;
        }
    }
    Ok(())
}

/// Speaks with the tool until one of both ends it.
async fn converse(
    tool: &mut Child,
    invocation: &Invocation,
    provider: &dyn Provider,
    prompt: &Prompt,
) -> anyhow::Result<(String, Outcome)> {
    let mut stdin = tool.stdin.take();
    let mut stderr = tool.stderr.take().context("its standard error is ours")?;
    let stderr = tokio::spawn(async move {
        let mut said = String::new();
        stderr.read_to_string(&mut said).await.map(|_| said)
    });
    let mut lines = BufReader::new(tool.stdout.take().context("its standard output is ours")?).split(b'\n');
    if !invocation.interactive {
        let text = invocation.stdin.clone().unwrap_or_default();
        let mut stdin = stdin.take().context("its standard input is ours")?;
        tokio::spawn(async move { stdin.write_all(text.as_bytes()).await });
    }
    let mut dialogue = provider.dialogue(prompt);
    let mut answer = String::new();
    let mut steps = dialogue.begin();
    loop {
        for step in steps {
            match step {
                Step::Emit(EventBody::Text { text }) => answer.push_str(&text),
                Step::Emit(_) => {}
                Step::Send(line) => {
                    let stdin = stdin.as_mut().context("a tool that is spoken to is interactive")?;
                    stdin.write_all(format!("{line}\n").as_bytes()).await?;
                }
                Step::End(outcome) => return Ok((answer, outcome)),
            }
        }
        let Some(line) = lines.next_segment().await? else { break };
        steps = dialogue.line(&line);
    }
    let status = tool.wait().await?;
    let end = ToolEnd { code: status.code(), signal: status.signal(), stderr: stderr.await?? };
    Ok((answer, dialogue.exit(&end)))
}
