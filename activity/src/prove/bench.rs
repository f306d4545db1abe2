//! The benchmark: the handler as it ships against the stand-ins, and what it cost, in a table to be pasted. What the
//! system knows of a process and of this machine is in `machine`.

mod machine;
mod scenario;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use self::machine::Usage;
use self::scenario::{Measured, RECORDS_OF_100_MB, Scenario};
use crate::collect::run::TIMER;
use crate::collect::run::log::{Log, LogTotals};
use crate::collect::stack::{Settings, Source, Stack, StackOptions};
use crate::screen::Screen;
use crate::ship::executable::build;
use crate::text_table::{Count, TextTable};
use standins::cosmos::{Cosmos, CosmosOptions};
use standins::host::{Host, HostOptions, QueueSummary, QueueUntil};
use standins::tenant::{CONTENT_TYPES, Operation, Tenant, TenantOptions};

/// Starts of the handler that are timed.
const STARTS: usize = 11;
/// Between two probes of a handler whose start is timed; the host itself probes every 25 ms.
const PROBE_EVERY: Duration = Duration::from_millis(1);
/// Content blobs on a page of the API's listings.
const PAGE: usize = 200;
/// Records in a blob of a growing hour.
const RECORDS_OF_AN_HOURS_BLOB: u64 = 5;

/// What to measure, and with what to compare it.
#[derive(Args, Clone, Debug)]
pub struct BenchOptions {
    /// Records of each scenario but the large blob
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub records_count: u64,
    /// The same seed makes the same tenant
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// A handler that is built already; more than one are measured in turns
    #[arg(long, value_name = "FILE")]
    pub handler: Vec<PathBuf>,
    /// How often each is measured; the median is told
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub rounds: usize,
    /// Scenarios whose names hold this, and no others
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Further scenarios: so many records in blobs of 200
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    pub sizes: Vec<u64>,
    /// Further scenarios: so many content blobs of one content type within one hour
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    pub hours: Vec<u64>,
    /// A setting of the handler, such as FINDINGS=off
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub setting: Vec<(String, String)>,
    /// Figures of an earlier run, to print ratios to
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Where to keep the figures of the first handler
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| format!("{text} is not NAME=VALUE"))
}

impl BenchOptions {
    fn scenarios(&self) -> Vec<Scenario> {
        let count = self.records_count;
        let mut scenarios = vec![
            Scenario::new("blobs of 200", count, 200),
            Scenario::new("blobs of 30", count, 30),
            Scenario::new("one blob of 100 MB", RECORDS_OF_100_MB, RECORDS_OF_100_MB),
            Scenario::new("20 of 100 repeated", count, 200).repeating(20),
            Scenario::new("44 of 100 repeated", count, 200).repeating(44),
        ];
        scenarios.extend(self.sizes.iter().map(|size| Scenario::new(format!("{} records", Count(*size)), *size, 200)));
        scenarios.extend(self.hours.iter().map(|blobs| {
            let name = format!("an hour of {} blobs", Count(*blobs));
            Scenario::new(name, blobs * RECORDS_OF_AN_HOURS_BLOB, RECORDS_OF_AN_HOURS_BLOB).within_one_hour()
        }));
        scenarios.retain(|scenario| self.only.as_ref().is_none_or(|only| scenario.name.contains(only.as_str())));
        scenarios
    }
}

/// Figures of one handler, by scenario.
type BenchFigures = BTreeMap<String, Measured>;

/// Measures and prints.
///
/// # Errors
///
/// A part could not be started, a file cannot be read or written, or the handler did not do what is to be measured.
pub async fn bench(options: BenchOptions, screen: &Screen) -> Result<()> {
    let description = machine::description();
    let earlier: Option<BenchFigures> = options.against.as_ref().map(|path| read(path)).transpose()?;
    let handlers = if options.handler.is_empty() { vec![build(screen).await?] } else { options.handler.clone() };
    let source = Source::Generated { count: 0, seed: options.seed, is_calm: true };
    let mut stack = Stack::start(StackOptions { source, state: None, cosmos: CosmosOptions::default() }, screen).await?;
    stack.settings.extend(options.setting.iter().cloned());
    let mut all = Vec::new();
    let mut listings = TextTable::new(["QueueEvents, a first run", "pages", "fewest possible", "CPU seconds", "peak MiB"]);
    for scenario in options.scenarios() {
        let mut runs: Vec<Vec<Measured>> = handlers.iter().map(|_| Vec::new()).collect();
        for round in 0..options.rounds {
            for (handler, runs) in handlers.iter().zip(&mut runs) {
                anew(&mut stack, &scenario, options.seed).await?;
                let (listing, measured) = run(&stack, handler, screen).await?;
                runs.push(measured);
                if round == 0 {
                    let (pages, fewest) = pages(&stack)?;
                    let name = format!("{}, {}", scenario.name, handler.display());
                    let cpu = format!("{:.2}", listing.usage.cpu.as_secs_f64());
                    listings.row([name, pages.to_string(), fewest.to_string(), cpu, format!("{:.1}", mebibytes(listing.usage.peak))]);
                }
            }
        }
        all.push((scenario, runs.into_iter().map(median).collect::<Vec<_>>()));
    }
    let mut started = TextTable::new(["process start to first answered probe", "min / median / max"]);
    for handler in &handlers {
        started.row([handler.display().to_string(), span(starts(&stack, handler, screen).await?)]);
    }
    stack.stop().await;

    screen.line(format_args!("\n{description}"));
    screen.line(format_args!("\n{}", costs(&all, &handlers, earlier.as_ref()).markdown()));
    screen.line(format_args!("{}", listings.markdown()));
    screen.line(format_args!("{}", started.markdown()));
    screen.line(NOTES);
    if let Some(path) = &options.save {
        let first = |(scenario, of_each): &(Scenario, Vec<Measured>)| Some((scenario.name.clone(), of_each.first()?.clone()));
        let figures: BenchFigures = all.iter().filter_map(first).collect();
        fs::write(path, serde_json::to_string_pretty(&figures)? + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

const NOTES: &str = "\
CPU time is user and system time of the handler's process alone; a peak is that of a process that did nothing before. The
database keeps nothing but ids, and answers as Cosmos DB does; request units are of writes by size as Microsoft publishes them,
indexes aside. The load is the average of the minute before, and says whether others were at work here.";

fn read(path: &Path) -> Result<BenchFigures> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} holds no figures of this benchmark", path.display()))
}

/// The run in the middle, by CPU time.
fn median(mut runs: Vec<Measured>) -> Measured {
    runs.sort_by(|one, other| one.cpu_seconds.total_cmp(&other.cpu_seconds));
    let middle = runs.len() / 2;
    runs.into_iter().nth(middle).unwrap_or_default()
}

/// Puts another tenant with the scenario's content, an empty database, and other state in the place of what is there.
async fn anew(stack: &mut Stack, scenario: &Scenario, seed: u64) -> Result<()> {
    let tenant = Tenant::start(TenantOptions::default()).await?;
    scenario.publish(&tenant, seed)?;
    let cosmos = Cosmos::start(CosmosOptions { discards: true, partitions: 1, ..CosmosOptions::default() }).await?;
    stack.settings.extend(tenant.settings());
    stack.settings.extend(cosmos.settings());
    let name = format!("bench-{}", uuid::Uuid::new_v4().simple());
    stack.settings.extend(Settings::from([("STATE_CONTAINER".to_owned(), name.clone()), ("CONTENT_QUEUE".to_owned(), name)]));
    stack.tenant = Some(tenant);
    stack.cosmos = Some(cosmos);
    Ok(())
}

/// Listing, then storing what was listed.
async fn run(stack: &Stack, handler: &Path, screen: &Screen) -> Result<(Cost, Measured)> {
    let (listing, storing) = both(stack, handler, screen).await?;
    let total = storing.sums.total();
    ensure!(total.records > 0, "there was nothing to store, so nothing was measured");
    ensure!(total.documents + total.duplicates == total.records, "records were neither stored nor repeats");
    let cosmos = stack.cosmos.as_ref().context("no database")?;
    ensure!(cosmos.created() as u64 == total.documents, "{} documents were told, and {} created", total.documents, cosmos.created());
    let mut measured = Measured {
        records: total.records,
        documents: total.documents,
        messages: storing.messages,
        cpu_seconds: storing.usage.cpu.as_secs_f64(),
        peak_mib: mebibytes(storing.usage.peak),
        ..Measured::default()
    };
    measured.count(cosmos.requests());
    Ok((listing, measured))
}

/// What one function did, and what it cost.
struct Cost {
    sums: LogTotals,
    usage: Usage,
    messages: u64,
}

/// How long each start took.
async fn starts(stack: &Stack, executable: &Path, screen: &Screen) -> Result<Vec<Duration>> {
    let task = screen.task("start-up", "");
    let mut starts = Vec::new();
    for start in 1..=STARTS {
        task.at(start as u64, STARTS as u64, "from process start to the first answered probe");
        let host = Host::start(HostOptions { probe_every: Some(PROBE_EVERY), ..stack.host_options(executable) }).await?;
        starts.push(host.ready_after());
        host.stop().await;
    }
    task.done(format_args!("{STARTS} starts"));
    Ok(starts)
}

/// Listing, then storing what was listed, each by a process of its own: their peaks and times do not mix.
async fn both(stack: &Stack, executable: &Path, screen: &Screen) -> Result<(Cost, Cost)> {
    let log = Arc::new(Log::default());
    let host = stack.host(executable, Some(log.sink(screen))).await?;
    let listing = listing(&host, &log, screen).await?;
    host.restart().await;
    let storing = storing(&host, &log, screen, listing.sums.total().queued).await?;
    host.stop().await;
    Ok((listing, storing))
}

/// One tick of the timer.
async fn listing(host: &Host, log: &Log, screen: &Screen) -> Result<Cost> {
    let task = screen.task("listing", "what became available");
    let timer = host.run_timer(TIMER).await;
    let usage = usage(host)?;
    log.untold(std::slice::from_ref(&timer)).await;
    let sums = log.take();
    ensure!(timer.outcome.is_success(), "{TIMER} failed: {:?}", timer.outcome);
    task.done(format_args!("{} content blobs listed and queued", Count(sums.total().queued)));
    Ok(Cost { sums, usage, messages: 0 })
}

/// The queue until it is empty, by a process that has done nothing yet.
async fn storing(host: &Host, log: &Log, screen: &Screen, queued: u64) -> Result<Cost> {
    let before = usage(host)?;
    let task = screen.task("storing", "");
    let mut looks = tokio::time::interval(Duration::from_millis(200));
    let mut listener = std::pin::pin!(host.run_queue(QueueUntil::empty()));
    let summary: QueueSummary = loop {
        tokio::select! {
            summary = &mut listener => break summary?,
            _ = looks.tick() => {
                let total = log.sums().total();
                task.at(total.fetched, queued, format_args!("{} records, {} documents", Count(total.records), Count(total.documents)));
            }
        }
    };
    let after = usage(host)?;
    log.untold(&summary.invocations).await;
    let sums = log.take();
    let total = sums.total();
    ensure!(summary.failed() == 0 && total.fetched == queued, "StoreEvents stored {} of {queued} content blobs", total.fetched);
    task.done(format_args!("{} records in {:.1} s", Count(total.records), summary.duration.as_secs_f64()));
    let usage = Usage { cpu: after.cpu.saturating_sub(before.cpu), ..after };
    Ok(Cost { sums, usage, messages: summary.invocations.len() as u64 })
}

fn usage(host: &Host) -> Result<Usage> {
    machine::usage(host.pid().context("the handler is not running")?)
}

/// Pages of listings that were asked for, and the fewest that could be: for each content type, windows of at most 24 hours that
/// cover the 7 days, each with as many pages as its content blobs fill, but at least one.
fn pages(stack: &Stack) -> Result<(usize, usize)> {
    let tenant = stack.tenant.as_ref().context("no tenant")?;
    let (calls, blobs, now) = (tenant.calls(), tenant.blobs(), tenant.now());
    let made = calls.iter().filter(|call| call.operation == Operation::ListContent).count();
    let days = |content_type: &str| {
        let mut days = [0_usize; 7];
        for blob in blobs.iter().filter(|blob| blob.content_type == content_type) {
            let day = usize::try_from((now - blob.created).num_days()).unwrap_or(0);
            days[day.min(6)] += 1;
        }
        days
    };
    let fewest = CONTENT_TYPES.iter().flat_map(|content_type| days(content_type)).map(|blobs| blobs.div_ceil(PAGE).max(1)).sum();
    Ok((made, fewest))
}

/// StoreEvents of each scenario by each handler, beside the first handler and earlier figures.
fn costs(all: &[(Scenario, Vec<Measured>)], handlers: &[PathBuf], earlier: Option<&BenchFigures>) -> TextTable {
    let mut table = TextTable::new([
        "StoreEvents",
        "records",
        "records a CPU second",
        "ratio",
        "peak MiB",
        "CPU ms a message",
        "batches",
        "creates",
        "queries",
        "RU",
    ]);
    for (scenario, of_each) in all {
        let first = earlier.map_or(of_each.first(), |earlier| earlier.get(&scenario.name));
        for (handler, measured) in handlers.iter().zip(of_each) {
            let name = if handlers.len() > 1 { format!("{}, {}", scenario.name, handler.display()) } else { scenario.name.clone() };
            let ratio = first.map_or(f64::NAN, |first| measured.records_per_cpu_second() / first.records_per_cpu_second());
            let per_thousand = |requests| format!("{:.2}", measured.requests_per_thousand(requests));
            table.row([
                name,
                Count(measured.records).to_string(),
                Count(measured.records_per_cpu_second() as u64).to_string(),
                format!("{ratio:.2}"),
                format!("{:.1}", measured.peak_mib),
                format!("{:.2}", measured.cpu_ms_per_message()),
                per_thousand(measured.batches),
                per_thousand(measured.creates),
                per_thousand(measured.queries),
                format!("{:.2}", measured.request_units_per_record()),
            ]);
        }
    }
    table
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn span(mut starts: Vec<Duration>) -> String {
    starts.sort_unstable();
    let millis = |at: usize| starts.get(at).map_or(0.0, |start| start.as_secs_f64() * 1000.0);
    format!("{:.0} / {:.0} / {:.0} ms", millis(0), millis(starts.len() / 2), millis(starts.len().saturating_sub(1)))
}
