//! What the stand-in answers: the same for the same prompt, at every provider.
//!
//! | prompt | answer |
//! |---|---|
//! | `What is A op B?` (`+ - * / x`) | the number |
//! | `echo X` | X |
//! | `count to N` | `1 2 3 … N`, in exactly N chunks |
//! | `use tool: COMMAND` | a call of the tool's own shell, then `done: ` and the first line it printed, in small pieces |
//! | anything else | one polite sentence with the prompt's first words |
//!
//! `[fault:…]` anywhere in a prompt asks for a [`Fault`], and is no part of the question.

use std::time::Duration;

/// The longest count: a prompt cannot ask for more memory than this is worth.
const MAX_COUNT: u64 = 10_000;

/// How many characters a piece has.
const PIECE: usize = 5;

/// A prompt, understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Question {
    /// What to say to it.
    pub(crate) answer: Answer,
    /// What to do wrong on the way.
    pub(crate) fault: Option<Fault>,
}

/// What the model says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Text, in the chunks in which it is streamed.
    Text(Vec<String>),
    /// A call of the tool's own shell with this command.
    Shell(String),
}

/// What goes wrong on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `[fault:400]`: the prompt is refused, with what it asks for as the reason.
    BadRequest,
    /// `[fault:401]`: the credential is refused.
    Unauthorized,
    /// `[fault:429]`: too many requests, `retry-after: 7`.
    RateLimited,
    /// `[fault:500]`: a fault of the provider.
    Internal,
    /// `[fault:529]`: the provider is overloaded.
    Overloaded,
    /// `[fault:slow MS]`: this long before every chunk.
    Slow(Duration),
    /// `[fault:stall]`: half of the chunks, then silence until the client leaves.
    Stall,
    /// `[fault:cut]`: half of the chunks, then the connection is cut.
    Cut,
}

impl Question {
    /// Understands a prompt.
    pub(crate) fn read(prompt: &str) -> Self {
        let (text, fault) = take_fault(prompt);
        Self { answer: answer(text.trim()), fault }
    }

    /// What follows the output of the shell that [`Answer::Shell`] asked for.
    pub(crate) fn after_shell(output: &str) -> Self {
        let first = output.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Self { answer: Answer::pieces(&format!("done: {}", first.trim())), fault: None }
    }
}

impl Answer {
    /// What it comes to.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Text(chunks) => chunks.concat(),
            Self::Shell(command) => command.clone(),
        }
    }

    /// A text, streamed word by word.
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.split_inclusive(' ').map(str::to_owned).collect())
    }

    /// A text, streamed in pieces that know no words, as a model's own do.
    fn pieces(text: &str) -> Self {
        let characters: Vec<char> = text.chars().collect();
        Self::Text(characters.chunks(PIECE).map(String::from_iter).collect())
    }
}

/// Takes every `<tag …>…</tag>` out of a text: tools put reminders of their own
/// into the same message as the prompt.
pub(crate) fn without_tag(text: &str, tag: &str) -> String {
    let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once(open.as_str()) {
        kept.push_str(before);
        rest = inside.split_once(close.as_str()).map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    kept
}

fn take_fault(prompt: &str) -> (String, Option<Fault>) {
    let Some((before, rest)) = prompt.split_once("[fault:") else { return (prompt.to_owned(), None) };
    let Some((name, after)) = rest.split_once(']') else { return (prompt.to_owned(), None) };
    let fault = match name.trim() {
        "400" => Fault::BadRequest,
        "401" => Fault::Unauthorized,
        "429" => Fault::RateLimited,
        "500" => Fault::Internal,
        "529" => Fault::Overloaded,
        "stall" => Fault::Stall,
        "cut" => Fault::Cut,
        other => match other.strip_prefix("slow").and_then(|ms| ms.trim().parse().ok()) {
            Some(ms) => Fault::Slow(Duration::from_millis(ms)),
            None => return (prompt.to_owned(), None),
        },
    };
    (format!("{before}{after}"), Some(fault))
}

fn answer(text: &str) -> Answer {
    if let Some(number) = after(text, "what is ").and_then(calculate) {
        return Answer::Text(vec![number]);
    }
    if let Some(words) = after(text, "echo ") {
        return Answer::text(words);
    }
    if let Some(count) = after(text, "count to ").and_then(|n| n.trim_end_matches(['.', '!', '?']).parse::<u64>().ok())
    {
        let count = count.min(MAX_COUNT);
        return Answer::Text((1..=count).map(|n| if n == 1 { n.to_string() } else { format!(" {n}") }).collect());
    }
    if let Some(command) = after(text, "use tool: ") {
        return Answer::Shell(command.to_owned());
    }
    let words: Vec<&str> = text.split_whitespace().take(8).collect();
    Answer::text(&format!("Thank you for asking about \"{}\"; this is a stand-in and knows no more.", words.join(" ")))
}

fn after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let head = text.get(..start.len())?;
    head.eq_ignore_ascii_case(start).then(|| text[start.len()..].trim())
}

fn calculate(text: &str) -> Option<String> {
    let text = text.trim_end_matches(['?', '.', ' ']);
    // From the second character on, so that a leading minus is a sign.
    let at = text.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-' | '*' | '/' | 'x' | '×' | '÷'))?;
    let left: f64 = text[..at.0].trim().parse().ok()?;
    let right: f64 = text[at.0 + at.1.len_utf8()..].trim().parse().ok()?;
    let value = match at.1 {
        '+' => left + right,
        '-' => left - right,
        '/' | '÷' if right == 0.0 => return Some("undefined".to_owned()),
        '/' | '÷' => left / right,
        _ => left * right,
    };
    Some(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(prompt: &str) -> String {
        match Question::read(prompt).answer {
            Answer::Text(chunks) => chunks.concat(),
            Answer::Shell(command) => panic!("a call of `{command}`"),
        }
    }

    #[test]
    fn calculates() {
        for (prompt, number) in [
            ("What is 2+2?", "4"),
            ("what is 1000 - 1", "999"),
            ("What is 6 x 7?", "42"),
            ("What is 7/2?", "3.5"),
            ("What is -3 * 4?", "-12"),
            ("What is 1/0?", "undefined"),
        ] {
            assert_eq!(says(prompt), number, "{prompt}");
        }
    }

    #[test]
    fn counts_in_as_many_chunks() {
        let Answer::Text(chunks) = Question::read("Count to 5.").answer else { panic!("a call") };
        assert_eq!(chunks, ["1", " 2", " 3", " 4", " 5"]);
    }

    #[test]
    fn echoes_and_is_polite() {
        assert_eq!(says("echo Grüße, Welt"), "Grüße, Welt");
        assert_eq!(
            says("Tell me of Rome"),
            "Thank you for asking about \"Tell me of Rome\"; this is a stand-in and knows no more."
        );
        assert!(says("ÄÖÜ").contains("ÄÖÜ"));
    }

    #[test]
    fn a_fault_is_no_part_of_the_question() {
        let question = Question::read("[fault:slow 250] What is 2+2?");
        assert_eq!(question.fault, Some(Fault::Slow(Duration::from_millis(250))));
        assert_eq!(question.answer, Answer::Text(vec!["4".to_owned()]));
        assert_eq!(Question::read("[fault:nothing] echo a").fault, None);
    }

    #[test]
    fn calls_the_shell_and_reads_its_first_line() {
        assert_eq!(Question::read("use tool: echo a b").answer, Answer::Shell("echo a b".to_owned()));
        assert_eq!(Question::after_shell("\n  hi\nthere").answer, Answer::pieces("done: hi"));
    }

    #[test]
    fn reminders_are_taken_out() {
        let text = "<system-reminder>\nnow\n</system-reminder>\n\nWhat is 2+2?<system-reminder>x";
        assert_eq!(without_tag(text, "system-reminder").trim(), "What is 2+2?");
    }
}
