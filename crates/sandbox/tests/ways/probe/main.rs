//! The probe: tries one way out of a sandbox, by exact system calls, and says on one line what came of it:
//!
//! ```text
//!   got WHAT IT READ
//!   refused AT-WHICH-STEP ERRNO-OR-CODE
//! ```
//!
//! It lies in the image of the tests and is started there as a job. By the name `runtime-…`, on the host, it is the
//! OCI runtime that takes a rule away first (see `edit.rs`).

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

#[path = "../edit.rs"]
mod edit;
mod files;
mod kernel;
mod network;
mod runtime;
mod surface;
mod sys;

use std::{io, path::PathBuf, process::ExitCode};

/// What came of a try: what was read on the other side, or who said no.
type Tried = Result<String, Refused>;

/// At which step, and why: the number of an error of the system, or a code of the gateway.
#[derive(Debug)]
struct Refused {
    at: &'static str,
    why: String,
}

/// Names the step that an error belongs to.
trait At<T> {
    fn at(self, step: &'static str) -> Result<T, Refused>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, at: &'static str) -> Result<T, Refused> {
        self.map_err(|error| {
            let number = error.raw_os_error().map(|number| number.to_string());
            Refused { at, why: number.unwrap_or_else(|| format!("{:?}", error.kind())) }
        })
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args();
    let name = PathBuf::from(args.next().unwrap_or_default());
    let args: Vec<String> = args.collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if name.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(edit::RUNTIME.as_bytes())) {
        // Returns only when it could not become the runtime.
        println!("{}", runtime::run(&name.with_extension("json"), &args));
        return ExitCode::FAILURE;
    }
    let tried = network::try_one(&args)
        .or_else(|| kernel::try_one(&args))
        .or_else(|| surface::try_one(&args))
        .or_else(|| files::try_one(&args));
    match tried {
        Some(Ok(read)) => println!("got {}", read.trim_end().replace('\n', " ")),
        Some(Err(Refused { at, why })) => println!("refused {at} {why}"),
        None => {
            println!("there is no such way: {args:?}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
