//! The handler's commands for the person who operates it: `check` tries everything it needs, `status` tells
//! how far it is, `explain` what becomes of a record. None of them serves the host, starts a subscription or moves a checkpoint.

mod check;
mod explain;
pub mod input;
mod paper;
mod status;

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

/// Collects Office 365 audit activity into Cosmos DB.
///
/// Without a command it serves the Azure Functions host, which starts it. With one it
/// reads the same settings from the environment, prints what it finds, and ends.
#[derive(Debug, Parser)]
#[command(name = "handler", version, disable_help_subcommand = true, verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

/// A person's command to the handler.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tries all that the collector needs, and says what to do about what is wrong
    ///
    /// Checks each setting, the token and its permissions, each subscription and listing,
    /// the clock, the state container, the content queue and the database. What it writes
    /// to try them it removes again; it starts no subscription and moves no checkpoint.
    ///
    /// Exit code 0: all that is needed is well. 1: something is not.
    #[command(verbatim_doc_comment)]
    Check(Form),
    /// Tells how far the collector is, from what it has written down
    ///
    /// For each workload: whether it is Active (subscription on, content seen), Pending (on,
    /// nothing yet) or Inactive (off), the checkpoint, and what became of the content blobs
    /// of the last 24 hours and seven days. Reads the state container and nothing else.
    #[command(verbatim_doc_comment)]
    Status(Form),
    /// Tells what becomes of records: each one's document, and which row gave which edge
    ///
    /// Reads records from stdin, one a line. Needs no setting, and reaches nothing.
    ///
    /// Exit code 0: each line is a record. 1: a line is no JSON.
    #[command(verbatim_doc_comment)]
    Explain {
        /// For machines: one line of JSON for each line put in, in their order
        #[arg(long)]
        json: bool,
    },
}

/// The form of the answer.
#[derive(Args, Clone, Copy, Debug)]
pub struct Form {
    /// For machines: one JSON object
    #[arg(long)]
    json: bool,
}

/// The command that the process was started with; none: serve. Help and mistakes are printed, and end the process.
#[must_use]
pub fn command() -> Option<Command> {
    Cli::parse().command
}

/// Does as asked, prints it, and says by its exit code whether all is well.
///
/// # Errors
/// The settings cannot be used, or the state cannot be read.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check(form) => {
            let checked = check::check(|name| std::env::var(name).ok()).await;
            print(&checked, form)?;
            Ok(if checked.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Status(form) => {
            print(&status::status(&crate::config::Config::from_env()?).await?, form)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Explain { json } => explain::explain(json, |name| std::env::var(name).ok()),
    }
}

/// A reader who has gone is no trouble.
fn print<T: serde::Serialize + std::fmt::Display>(told: &T, form: Form) -> anyhow::Result<()> {
    let text = if form.json { serde_json::to_string_pretty(told)? + "\n" } else { told.to_string() };
    let _ = stdout().write_all(text.as_bytes());
    Ok(())
}
