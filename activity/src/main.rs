//! The command line. All of it is in the library, so that it is compiled once: asynchronous code is compiled where it is first awaited.

use std::process::ExitCode;

fn main() -> ExitCode {
    activity::command::obey()
}
