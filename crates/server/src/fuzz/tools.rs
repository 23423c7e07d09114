//! Whatever a tool prints, it is read to an end: nothing follows that, a server that takes over reads on alike, and
//! neither events nor what is kept of the reading grow beyond what was printed.

use crate::{
    domain::event::EventBody,
    providers::{
        self, PROVIDERS, Prompt, Step, ToolEnd, Tools,
        login::{Change, Files, change},
    },
};

/// How often a byte of a tool's may be told, at most: a line is told as an event, and once more where it is escaped
/// (a control character becomes six).
const TOLD_MOST: usize = 16;
/// What one line may cause beside that, bytes: our own words.
const OWN_WORDS: usize = 16 * 1024;

/// What Claude Code prints.
pub fn claude(data: &[u8]) {
    dialogue("claude", data);
}

/// What Codex's app server says.
pub fn codex(data: &[u8]) {
    dialogue("codex", data);
}

/// What Gemini CLI prints.
pub fn gemini(data: &[u8]) {
    dialogue("gemini", data);
}

fn dialogue(name: &str, data: &[u8]) {
    let provider = providers::by_name(name).expect("it is one of ours");
    let prompt = Prompt { text: "What is 17*23?".to_owned(), model: None, system: None, tools: Tools::All };
    let mut reader = provider.dialogue(&prompt);
    let (mut over, mut read) = (false, 0);
    let _first = reader.begin();
    for line in data.split(|byte| *byte == b'\n') {
        read += line.len() + 1;
        let mut successor = provider.dialogue(&prompt);
        let kept = reader.save();
        assert!(kept.to_string().len() <= TOLD_MOST * read + OWN_WORDS, "what is kept grows: {kept}");
        successor.restore(kept).expect("what was saved can be restored");
        let steps = reader.line(line);
        assert_eq!(successor.line(line), steps, "after a change of servers");
        assert_eq!(successor.save(), reader.save());
        for step in &steps {
            assert!(!over, "{step:?} follows the end");
            over = matches!(step, Step::End(_));
        }
        let told: usize = steps.iter().map(size).sum();
        assert!(told <= TOLD_MOST * line.len() + OWN_WORDS, "{told} bytes of {}", line.len());
        reader = successor;
    }
    let stderr = String::from_utf8_lossy(&data[..data.len().min(1000)]).into_owned();
    let code = data.first().map(|byte| i32::from(*byte));
    let _outcome = reader.exit(&ToolEnd { code, signal: None, stderr });
}

fn size(step: &Step) -> usize {
    let json = |body: &EventBody| serde_json::to_string(body).expect("events are JSON").len();
    match step {
        Step::Emit(body) => json(body),
        Step::Send(line) => line.len(),
        Step::End(_) => 0,
    }
}

/// A tool's files with zeros between them, read back from a sandbox: what is kept of them is read alike, and is of the
/// same account.
pub fn logins(data: &[u8]) {
    for provider in PROVIDERS {
        let sign_in = provider.sign_in();
        let contents = data.split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let names = sign_in.files().iter().map(|file| file.name.to_owned());
        let files: Files = names.zip(contents).collect();
        let Ok(login) = sign_in.read(&files) else { continue };
        let kept: usize = login.sealed().values().map(|content| content.len()).sum();
        assert!(kept <= TOLD_MOST * data.len() + OWN_WORDS, "{kept} bytes of {}", data.len());
        assert!(!sign_in.tokens(&login).is_empty(), "nothing of it is secret");
        let lent = sign_in.lent(&login);
        assert!(lent.is_none_or(|lent| lent.account == login.account));
        let sealed = login.sealed().into_iter().map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()));
        let again = sign_in.read(&sealed.collect());
        assert!(matches!(change(&login, again), Change::Same), "what is kept is another login");
    }
}
