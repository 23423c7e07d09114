//! What this program is when others in the sandbox start it: `greet` in a terminal, and `open` for pages.

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::{
    ffi::OsString,
    io::{self, Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    process::Command,
};

/// Says what the host has to say, once it says it, and becomes the program. What is typed meanwhile waits for that.
///
/// `greet DOOR PROGRAM ARGUMENT…`
pub(crate) fn greet(mut args: impl Iterator<Item = OsString>) -> Result<(), String> {
    let (Some(door), Some(program)) = (args.next(), args.next()) else {
        return Err("usage: greet DOOR PROGRAM ARGUMENT…".to_owned());
    };
    // A terminal without a greeting is still a terminal.
    let _ = silently(|| ask(Path::new(&door), b"greet\n", &mut io::stdout()));
    #[expect(clippy::disallowed_methods, reason = "it starts nothing: it becomes the program")]
    let error = Command::new(&program).args(args).exec();
    Err(format!("program `{}`: {error}", program.display()))
}

/// Asks for each page to be shown.
///
/// `open DOOR ADDRESS…`
pub(crate) fn open(mut args: impl Iterator<Item = OsString>) -> Result<(), String> {
    let door = args.next().ok_or("usage: open DOOR ADDRESS…")?;
    for address in args {
        let address = address.into_string().map_err(|_| "an address is text")?;
        let mut said = Vec::new();
        // One line is one request.
        let asked = format!("open {}\n", address.replace(['\r', '\n'], ""));
        ask(Path::new(&door), asked.as_bytes(), &mut said).map_err(|e| format!("asking for the browser: {e}"))?;
        if !said.is_empty() {
            return Err(String::from_utf8_lossy(&said).trim_end().to_owned());
        }
    }
    Ok(())
}

fn ask(door: &Path, what: &[u8], said: &mut dyn Write) -> io::Result<()> {
    let mut stream = UnixStream::connect(door)?;
    stream.write_all(what)?;
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk)? {
            0 => return said.flush(),
            count => said.write_all(&chunk[..count])?,
        }
    }
}

/// What is typed is shown by the program that reads it, and not by the terminal before that too.
fn silently<T>(work: impl FnOnce() -> T) -> T {
    let terminal = rustix::stdio::stdin();
    let usual = tcgetattr(terminal);
    if let Ok(usual) = &usual {
        let mut silent = usual.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        let _ = tcsetattr(terminal, OptionalActions::Now, &silent);
    }
    let done = work();
    if let Ok(usual) = &usual {
        let _ = tcsetattr(terminal, OptionalActions::Now, usual);
    }
    done
}
