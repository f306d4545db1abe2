//! The storm alone.

use std::process::ExitCode;
use clap::Parser;
use local::storm::{StormOptions, storm};

#[derive(Parser)]
enum Cli { Storm(StormOptions) }

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Cli::Storm(options) = Cli::parse();
    let handler = std::path::PathBuf::from(std::env::var("HANDLER")?);
    let account = storm(options, &handler, |line| if std::env::var("VERBOSE").is_ok() { println!("{line}") }).await?;
    println!("{account}");
    Ok(if account.is_kept() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
