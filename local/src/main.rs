//! The command line of the local stack: collects from a simulated or a real tenant, measures, lets a
//! storm of faults pass, or asks the database. Every
//! error is one line, and nothing that was started outlives this program.

use std::env;
use std::io::{Write as _, stderr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use local::bench::{BenchOptions, bench};
use local::cosmos::CosmosOptions;
use local::executable::build;
use local::query::{QueryOptions, query};
use local::run::collect;
use local::screen::{Screen, line};
use local::stack::{Source, StackOptions, real_tenant};
use local::storm::{StormOptions, storm};
use tokio::signal::unix::{SignalKind, signal};

/// By convention: ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Collects Office 365 audit activity into a database on this machine, and shows it.
///
/// The tenant is a simulated one, unless OFFICE365_TENANT_ID, OFFICE365_CLIENT_ID and OFFICE365_CLIENT_SECRET are set: then
/// it is that one. Storage and database are emulators, unless (with a real tenant) AzureWebJobsStorage or COSMOS_ENDPOINT are set.
#[derive(Parser)]
#[command(name = "local", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    collect: CollectOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Measures the handler: records a second, CPU time, memory, API calls, start-up
    Bench(BenchOptions),
    /// Lets a storm of faults pass over two handlers, and accounts for every record
    Storm(StormOptions),
    /// Asks the database of a stack that is kept up (--keep)
    Query(QueryOptions),
}

#[derive(Args)]
struct CollectOptions {
    /// Audit records for the simulated tenant, one JSON object a line
    #[arg(long, value_name = "FILE.ndjson", conflicts_with = "records_count")]
    records: Option<PathBuf>,
    /// How many records to make up for the simulated tenant [default: 20000]
    #[arg(long, value_name = "N")]
    records_count: Option<usize>,
    /// What the simulated tenant is made from: the same seed makes the same tenant [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Keep everything up afterwards, to look at the data, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Keep queue, checkpoints and journal in this directory; in memory if not given
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Port of the database; a free one if not given
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let command = async {
        match cli.command {
            None => collect_and_show(cli.collect).await,
            Some(Command::Bench(options)) => bench(options, &Screen::stdout()).await.map(|()| ExitCode::SUCCESS),
            Some(Command::Storm(options)) => rage(options).await,
            Some(Command::Query(options)) => ask(options).await,
        }
    };
    // The command is dropped when it is interrupted, and with it every process and every port that it holds.
    tokio::select! {
        biased;
        result = command => result.unwrap_or_else(|error| {
            let _ = writeln!(stderr(), "error: {}", one_line(&format!("{error:#}")));
            ExitCode::FAILURE
        }),
        () = interrupted() => ExitCode::from(INTERRUPTED),
    }
}

async fn collect_and_show(options: CollectOptions) -> Result<ExitCode> {
    let keep = options.keep;
    let account = collect(stack_options(options)?, &Screen::stdout()).await?;
    line(format_args!("\n{}", account.table()));
    for fault in &account.faults {
        let _ = writeln!(stderr(), "error: {}", one_line(fault));
    }
    let code = if account.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    line(account.verdict());
    if keep {
        line(account.addresses());
        interrupted().await;
    } else {
        line("To look at the data, run the same command with --keep.");
    }
    account.stack.stop().await;
    Ok(code)
}

fn stack_options(options: CollectOptions) -> Result<StackOptions> {
    Ok(StackOptions {
        source: source(&options)?,
        state: options.state,
        cosmos: CosmosOptions { port: options.port, ..CosmosOptions::default() },
    })
}

fn source(options: &CollectOptions) -> Result<Source> {
    let is_simulated = options.records.is_some() || options.records_count.is_some() || options.seed.is_some();
    let seed = options.seed.unwrap_or(1);
    match (real_tenant(env::vars()), options.records.clone()) {
        (Some(_), _) if is_simulated => {
            bail!(
                "OFFICE365_CLIENT_SECRET is set, which means the real tenant, but --records, --records-count and --seed mean a simulated one: drop one of them"
            )
        }
        (Some(settings), _) => Ok(Source::Real(settings)),
        (None, Some(records)) => Ok(Source::Playback { records, seed }),
        (None, None) => Ok(Source::Generated { count: options.records_count.unwrap_or(20_000), seed }),
    }
}

async fn rage(options: StormOptions) -> Result<ExitCode> {
    let screen = Screen::stdout();
    let handler = build(&screen).await?;
    let account = storm(options, &handler, &screen).await?;
    line(format_args!("\n{account}"));
    let Some(difference) = account.differences.first() else { return Ok(ExitCode::SUCCESS) };
    let _ = writeln!(stderr(), "error: {}", one_line(difference));
    Ok(ExitCode::FAILURE)
}

async fn ask(options: QueryOptions) -> Result<ExitCode> {
    let count = query(&options).await?;
    let _ = writeln!(stderr(), "{count} {}", if count == 1 { "result" } else { "results" });
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C, or a polite request to end.
async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
