//! The command line: collects from a simulated or a real tenant, measures, lets a storm of faults pass, lays
//! out what ships, asks the database, or serves a graph of it. Every error is one line, and nothing that was started outlives
//! this program.

use std::env;
use std::io::{BufWriter, ErrorKind, Write as _, stderr, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::case::document::Document;
use crate::case::ecs::ecs;
use crate::case::export::{ExportOptions, export};
use crate::case::manifest::{Day, Manifest};
use crate::case::pseudonyms::{RevealOptions, reveal};
use crate::case::verify::{VerifyOptions, verify};
use crate::collect::audit_search::{CheckOptions, check};
use crate::collect::backfill::{BackfillOptions, Backfilled, backfill};
use crate::collect::case::{CaseOptions, collect_case};
use crate::collect::compare::{CompareOptions, compare};
use crate::collect::run::{RunReport, collect};
use crate::collect::stack::{Source, StackOptions, real_tenant};
use crate::explore::database::DatabaseOptions;
use crate::explore::findings::{FindingsOptions, Judge, Judgement, findings, worst};
use crate::explore::graph::{GraphOptions, GraphPage};
use crate::explore::person::{self, PersonOptions};
use crate::explore::query::{QueryOptions, query};
use crate::geoip::{GeoIp, GeoIpOptions};
use crate::keep::KeepFile;
use crate::prove::bench::{BenchOptions, bench};
use crate::prove::history_storm::history_storm;
use crate::prove::storm::{StormOptions, storm};
use crate::screen::{Screen, line, one_line};
use crate::ship::executable::build_beside;
use crate::ship::stage::{StageOptions, build_and_stage};
use crate::text_table::Count;
use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use handler::error_text::chain;
use handler::findings::RuleSet;
use serde_json::Value;
use standins::cosmos::CosmosOptions;
use tokio::signal::unix::{SignalKind, signal};

/// A finding of the level that is to fail.
const FOUND: u8 = 3;
/// By convention: ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Collects Office 365 audit activity into a database on this machine, and shows it.
///
/// The tenant is a simulated one, unless OFFICE365_TENANT_ID, OFFICE365_CLIENT_ID and OFFICE365_CLIENT_SECRET are set: then
/// it is that one. Storage and database are emulators, unless (with a real tenant) AzureWebJobsStorage or COSMOS_ENDPOINT are set.
#[derive(Parser)]
#[command(name = "activity", args_conflicts_with_subcommands = true)]
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
    ///
    /// With --history, faults of the audit search pass over `collect`, seed by seed from --seed on, and the table tells by fault how the
    /// windows ended. Ends with 1 where one is called complete that lacks a record.
    Storm(StormArgs),
    /// Builds what ships, and lays it out in a folder to publish from
    Stage(StageOptions),
    /// Asks the database of a stack that is kept up (--keep)
    Query(QueryOptions),
    /// Serves a graph to look at, of the database of a stack that is kept up, or of a real one
    ///
    /// Without an address it is that of the stack that is kept up, with the key that it noted. An account in Azure is opened with
    /// COSMOS_KEY (a read-only one is enough), or as you: after `az login`, with the role Cosmos DB Built-in Data Reader.
    Graph(GraphOptions),
    /// Tells what to look at first: what rules found in the database of a stack that is kept up, or in a real one
    ///
    /// One row for each rule and account, most severe first. Rules over time (24 wrong passwords, one sign-in) are asked here, and with --from
    /// what is new for an account: an application, an administrator's operation and, with --geoip, a country or a network.
    ///
    /// Ends with 0 where nothing is at level high or above (--fail-on LEVEL sets another level), 3 where something is, 1 where the
    /// database cannot be read.
    Findings(FindingsOptions),
    /// Lists the documents that concern one person, or erases them (--erase)
    ///
    /// Erasing notes the ids of the documents in the collector's state, in the storage account that AzureWebJobsStorage names, so that
    /// the same records are not stored again when they come again; then it removes the documents. It takes a key, or a role that may
    /// write.
    Person(PersonOptions),
    /// Turns audit records on stdin into events under Elastic's names, one a line, for each record one
    ///
    /// Takes one record a line, or the CSV that Purview's audit search exports. No setting is needed.
    Ecs(GeoIpOptions),
    /// Collects a tenant's content straight into a case on this machine, without Azure
    ///
    /// The tenant is the one that OFFICE365_TENANT_ID names, asked as the app registration of OFFICE365_CLIENT_ID and
    /// OFFICE365_CLIENT_SECRET, or without a secret as you, after `az login`. What was collected is kept in the folder: killed and started again, it goes on, and a later run brings what is new. What is older than the feed's seven
    /// days is asked for by Graph's audit search, and the plan is told first.
    Collect(CaseOptions),
    /// Fills the collector's database with history, by Graph's audit search: half a year and more, with proof
    ///
    /// The documents are those that the feed would have made, by the collector's settings, which stand in the environment
    /// (PARTITIONS_PER_DAY, RETENTION_DAYS, DLP_VALUES, DLP_HASH_KEY, LEAVE_OUT, FINDINGS, AzureWebJobsStorage, …); what is stored already
    /// stays as it is. Plan and cost are told first. Killed and started again, it goes on; what each day is worth is in windows.ndjson of
    /// the folder, and `export --history` takes it into the verdict.
    Backfill(BackfillOptions),
    /// Says whether history may be asked for: permission, auditing, which root answers
    ///
    /// It signs in as `collect` does, reads in the token whether AuditLogsQuery.Read.All is there, and makes one query of a minute's
    /// range, which counts among the queries of these 24 hours. Without the permission nothing is asked.
    ///
    /// Ends with 0 where all of it is well, else with 1.
    Check(CheckOptions),
    /// Compares the feed with Graph's audit search: which records only one of them has
    ///
    /// Both are asked for a range of time that both reach. A row for each workload and record type tells how many records both have,
    /// how many only one has, and how late those came. A row a day tells whether the search is proven there.
    ///
    /// Ends with 0 where both have the same records and both are proven to be whole, 2 where one of them is not proven, 3 where one has
    /// a record that the other lacks, 1 where they cannot be compared.
    Compare(CompareOptions),
    /// Writes a case: the documents of a database in the forms that others read, with the proof of what is missing
    ///
    /// The account key is taken from COSMOS_KEY; without it, an account of this machine is opened with the well-known key of
    /// Microsoft's emulators, and any other as you, after `az login`. What is missing is read from the collector's journal, in the
    /// storage account that AzureWebJobsStorage names.
    Export(Box<ExportOptions>),
    /// Turns tokens of a pseudonymised export back into the names that they stand for
    Reveal(RevealOptions),
    /// Proves that a case is as it was written, and says whether it is whole
    ///
    /// Ends with 0 where both holds, 1 where it is damaged, 2 where it is as it was but incomplete or unproven.
    Verify(VerifyOptions),
}

#[derive(Args)]
struct StormArgs {
    #[command(flatten)]
    options: StormOptions,
    /// Faults of the audit search, in place of those of the collector
    #[arg(long, conflicts_with_all = ["minutes", "records_count"])]
    history: bool,
    /// How many seeds, each a tenant of its own
    #[arg(long, value_name = "N", default_value_t = 20, requires = "history", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
}

#[derive(Args)]
struct CollectOptions {
    /// Audit records for the simulated tenant: one JSON object a line, or the CSV that Purview's audit search exports
    #[arg(long, value_name = "FILE", conflicts_with = "records_count")]
    records: Option<PathBuf>,
    /// How many records to make up for the simulated tenant [default: 20000]
    #[arg(long, value_name = "N")]
    records_count: Option<usize>,
    /// What the simulated tenant is made from: the same seed makes the same tenant [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Leave out the attack that is made up among the records
    #[arg(long, conflicts_with = "records")]
    calm: bool,
    /// Keep everything up afterwards, to look at the data, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Keep queue, checkpoints and journal in this directory; in memory if not given
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Run what was staged in this folder, and build nothing
    #[arg(long, value_name = "DIR")]
    staged: Option<PathBuf>,
    /// Port of the database; a free one if not given
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
}

/// Obeys the command that this process was started with. Help and mistakes in it are printed, and end the process.
#[tokio::main]
pub async fn obey() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        None => collect_and_show(cli.collect).await,
        Some(Command::Bench(options)) => unless_interrupted(bench(options, &Screen::stdout())).await.map(code),
        Some(Command::Storm(StormArgs { options, history: true, seeds })) => prove_history_in_storms(options.seed, seeds).await,
        Some(Command::Storm(StormArgs { options, .. })) => prove_in_a_storm(options).await,
        Some(Command::Stage(options)) => unless_interrupted(lay_out(options)).await.map(code),
        Some(Command::Query(options)) => unless_interrupted(ask(options)).await.map(code),
        Some(Command::Graph(options)) => serve_graph(options).await.map(code),
        Some(Command::Findings(options)) => look_first(options).await,
        Some(Command::Person(options)) => {
            unless_interrupted(concern(options)).await.map(|ended| ended.unwrap_or(ExitCode::from(INTERRUPTED)))
        }
        Some(Command::Ecs(geoip)) => print_events(&geoip),
        Some(Command::Collect(options)) => until_interrupted(write_collected(options)).await.map(code),
        Some(Command::Check(options)) => try_history(options).await,
        Some(Command::Backfill(options)) => until_interrupted(fill_in(options)).await.map(code),
        Some(Command::Compare(options)) => tell_differences(options).await,
        Some(Command::Export(options)) => unless_interrupted(write_case(*options)).await.map(code),
        Some(Command::Reveal(options)) => tell_names(&options),
        Some(Command::Verify(options)) => prove_case(&options),
    };
    ended.unwrap_or_else(|error| {
        say_error(&chain(error.as_ref()));
        ExitCode::FAILURE
    })
}

/// `None` when interrupted. Then the work is dropped, and with it every process and every port that it holds.
async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    tokio::select! {
        result = work => result.map(Some),
        () = interrupted() => Ok(None),
    }
}

/// The same for work that goes on where it was.
async fn until_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    let ended = unless_interrupted(work).await?;
    if ended.is_none() {
        let _ = writeln!(stderr(), "interrupted; the same command goes on where it was");
    }
    Ok(ended)
}

fn code(result: Option<()>) -> ExitCode {
    result.map_or(ExitCode::from(INTERRUPTED), |()| ExitCode::SUCCESS)
}

async fn collect_and_show(options: CollectOptions) -> Result<ExitCode> {
    let (keep, staged) = (options.keep, options.staged.clone());
    let Some(account) = unless_interrupted(collect(stack_options(options)?, staged.as_deref(), &Screen::stdout())).await? else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    line(format_args!("\n{}", account.table()));
    account.faults.iter().for_each(|fault| say_error(fault));
    line(account.verdict());
    first_look(&account).await?;
    if keep {
        let (settings, kept) = (account.stack.settings_file()?, account.stack.keep_file()?);
        line(account.addresses(settings.as_ref().map(|file| file.path()), kept.as_ref().map(KeepFile::path)));
        // Held until the end; without it the rest is still there to look at.
        if let Some(_graph) = unless_interrupted(graph_of(&account)).await? {
            interrupted().await;
        }
    } else {
        line("To look at the data, and at the graph that it makes, run the same command with --keep.");
    }
    account.stack.stop().await;
    Ok(if account.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn stack_options(options: CollectOptions) -> Result<StackOptions> {
    Ok(StackOptions {
        source: source(&options)?,
        state: options.state,
        cosmos: CosmosOptions { port: options.port, ..CosmosOptions::default() },
    })
}

fn source(options: &CollectOptions) -> Result<Source> {
    let is_simulated = options.records.is_some() || options.records_count.is_some() || options.seed.is_some() || options.calm;
    let seed = options.seed.unwrap_or(1);
    match (real_tenant(env::vars()), options.records.clone()) {
        (Some(_), _) if is_simulated => {
            bail!(
                "OFFICE365_CLIENT_SECRET is set, which means the real tenant, but --records, --records-count, --seed and --calm mean a simulated one: drop one of them"
            )
        }
        (Some(settings), _) => Ok(Source::Real(settings)),
        (None, Some(records)) => Ok(Source::Playback { records, seed }),
        (None, None) => Ok(Source::Generated { count: options.records_count.unwrap_or(20_000), seed, is_calm: options.calm }),
    }
}

/// Lets the storm pass, and gives account; a difference from what was promised is an error.
async fn prove_in_a_storm(options: StormOptions) -> Result<ExitCode> {
    let screen = Screen::stdout();
    let storming = async { storm(options, &build_beside(&screen).await?, &screen).await };
    let Some(account) = unless_interrupted(storming).await? else { return Ok(code(None)) };
    line(format_args!("\n{account}"));
    account.differences.first().into_iter().for_each(|difference| say_error(difference));
    Ok(if account.is_kept() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The same for storms over history.
async fn prove_history_in_storms(first: u64, seeds: u64) -> Result<ExitCode> {
    let activity = env::current_exe().context("this program cannot be found")?;
    let storming = async { history_storm(first..first.saturating_add(seeds), &activity, &Screen::stdout()).await };
    let Some(report) = unless_interrupted(storming).await? else { return Ok(code(None)) };
    line(format_args!("\n{report}"));
    report.differences.iter().for_each(|difference| say_error(difference));
    Ok(if report.is_kept() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn lay_out(options: StageOptions) -> Result<()> {
    let staged = build_and_stage(&options, &Screen::stdout()).await?;
    line(format_args!("\n{staged}"));
    Ok(())
}

async fn ask(options: QueryOptions) -> Result<()> {
    let count = query(&options).await?;
    let _ = writeln!(stderr(), "{count} {}", if count == 1 { "result" } else { "results" });
    Ok(())
}

async fn look_first(options: FindingsOptions) -> Result<ExitCode> {
    // Nothing but the answer for machines.
    let screen = if options.json || options.ndjson { Screen::quiet() } else { Screen::stdout() };
    let Some(is_failure) = unless_interrupted(findings(&options, &screen)).await? else { return Ok(code(None)) };
    Ok(if is_failure { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

async fn concern(options: PersonOptions) -> Result<ExitCode> {
    if !options.erase {
        return person::list(&options, &Screen::stdout()).await.map(|()| ExitCode::SUCCESS);
    }
    match person::erase(&options, &Screen::stdout()).await? {
        Some(_) => Ok(ExitCode::SUCCESS),
        None => bail!("that was not agreed to; nothing is removed"),
    }
}

/// Serves until interrupted, which is how it is meant to end.
async fn serve_graph(options: GraphOptions) -> Result<Option<()>> {
    let Some(graph) = unless_interrupted(GraphPage::start(&options, &Screen::stdout())).await? else { return Ok(None) };
    line(format_args!("\nServed until Ctrl-C; whoever knows the address can look."));
    line(address(&graph));
    interrupted().await;
    Ok(Some(()))
}

fn print_events(geoip: &GeoIpOptions) -> Result<ExitCode> {
    match ecs(stdin().lock(), BufWriter::new(stdout().lock()), &geoip.open()?) {
        // A reader who has gone is no trouble.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("the records cannot be read, or the events cannot be printed"),
        Ok(0) => Ok(ExitCode::SUCCESS),
        Ok(failed) => bail!("{failed} lines are no record; their events say why"),
    }
}

async fn write_case(options: ExportOptions) -> Result<()> {
    let manifest = export(&options, &Screen::stdout()).await?;
    show_case(&manifest);
    Ok(())
}

async fn write_collected(options: CaseOptions) -> Result<()> {
    let manifest = collect_case(&options, &Screen::stdout()).await?;
    show_case(&manifest);
    Ok(())
}

async fn try_history(options: CheckOptions) -> Result<ExitCode> {
    let Some(checked) = unless_interrupted(check(options)).await? else { return Ok(code(None)) };
    line(&checked);
    Ok(if checked.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn fill_in(options: BackfillOptions) -> Result<()> {
    let Backfilled { completeness, request_units } = backfill(&options, &Screen::stdout()).await?;
    let sum = |of: fn(&Day) -> u64| Count(completeness.workloads.iter().map(of).sum());
    line(format_args!("{} records found, {request_units:.0} request units charged for writing.", sum(|day| day.listed)));
    line(format_args!("The history is {}: {}.", completeness.verdict, completeness.why));
    Ok(())
}

async fn tell_differences(options: CompareOptions) -> Result<ExitCode> {
    // Nothing but the answer for machines.
    let screen = if options.json { Screen::quiet() } else { Screen::stdout() };
    let Some(comparison) = until_interrupted(compare(&options, &screen)).await? else { return Ok(code(None)) };
    match options.json {
        true => line(serde_json::to_string_pretty(&comparison)?),
        false => line(format_args!("\n{comparison}")),
    }
    Ok(ExitCode::from(comparison.exit_code()))
}

fn show_case(manifest: &Manifest) {
    for file in &manifest.files {
        line(format_args!("{:<20} {:>12} rows {:>14} bytes  {}", file.name, Count(file.rows), Count(file.bytes), file.sha256));
    }
    line(format_args!("The case is {}: {}.", manifest.completeness.verdict, manifest.completeness.why));
}

fn tell_names(options: &RevealOptions) -> Result<ExitCode> {
    reveal(options)?.iter().for_each(line);
    Ok(ExitCode::SUCCESS)
}

fn prove_case(options: &VerifyOptions) -> Result<ExitCode> {
    let verified = verify(options)?;
    verified.damages.iter().for_each(|damage| say_error(damage));
    line(format_args!("{} files are as they were written.", verified.files));
    line(format_args!("Passed over, since it is not in the manifest's list: {}.", verified.passed_over.join(", ")));
    if let Some(signature) = &verified.signature {
        line(format_args!("Signature: {signature}"));
    }
    if let Some(completeness) = &verified.completeness {
        line(format_args!("The case is {}: {}.", completeness.verdict, completeness.why));
    }
    Ok(ExitCode::from(verified.exit_code()))
}

fn address(graph: &GraphPage) -> String {
    format!("\nGraph      {}", graph.url())
}

/// Says what to look at first, if what was collected is in a database of ours.
async fn first_look(account: &RunReport) -> Result<()> {
    let Some(cosmos) = &account.stack.cosmos else { return Ok(()) };
    let mut judge = Judge::new(RuleSet::ours(), Judgement::AsStored, None, GeoIp::default());
    let take = |document| {
        if let Value::Object(fields) = document {
            judge.take(&Document::new(fields));
        }
    };
    cosmos.for_each_document(take).await?;
    if let Some(worst) = worst(&judge.rows()) {
        line(format_args!("\n{worst}"));
    }
    Ok(())
}

/// The graph of what was collected, if it is in a database of ours.
async fn graph_of(account: &RunReport) -> Result<Option<GraphPage>> {
    let setting = |name| account.stack.settings.get(name).map_or("", String::as_str);
    if account.stack.cosmos.is_none() {
        line("To look at the graph of that database: cargo activity graph");
        return Ok(None);
    }
    let database = DatabaseOptions {
        database: setting("COSMOS_DATABASE").to_owned(),
        container: setting("COSMOS_CONTAINER").to_owned(),
        ..DatabaseOptions::of(setting("COSMOS_ENDPOINT"), setting("COSMOS_KEY"))
    };
    match GraphPage::start(&GraphOptions::of(database), &Screen::stdout()).await {
        Ok(graph) => {
            line(address(&graph));
            Ok(Some(graph))
        }
        Err(error) => {
            say_error(&format!("there is no graph to look at: {error:#}"));
            Ok(None)
        }
    }
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

/// One line, whatever the text.
fn say_error(text: &str) {
    let _ = writeln!(stderr(), "error: {}", one_line(text));
}
