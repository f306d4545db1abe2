//! The benchmark: the handler as it ships against the stand-ins, and what it cost, in a table to be pasted. What the
//! system knows of a process and of this machine is in `machine`.

mod machine;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use serde_json::Value;

use crate::collect::run::TIMER;
use crate::collect::run::log::{Log, LogTotals};
use crate::collect::stack::{Settings, Source, Stack, StackOptions};
use crate::screen::Screen;
use crate::ship::executable::build;
use crate::text_table::{Count, TextTable};
use machine::Usage;
use standins::cosmos::{Cosmos, CosmosOptions};
use standins::host::{Host, QueueSummary, QueueUntil};
use standins::tenant::{Body, CONTENT_TYPES, NewBlob, Operation, Tenant, TenantOptions, generate};

/// Starts of the handler that are timed.
const STARTS: usize = 11;
/// Size of the large content blob, in bytes.
const LARGE: usize = 100_000_000;
/// Length of a usual record, in bytes.
const RECORD: usize = 1400;
/// For the large blob, whose records are all of one day: the emulator copies all documents of a partition at every batch,
/// so that the usual four would keep it busy for minutes. Batches are as full with sixteen.
const LARGE_PARTITIONS_PER_DAY: &str = "16";
/// Content blobs on a page of the API's listings.
const PAGE: usize = 200;

/// What to measure with.
#[derive(Args, Clone, Copy, Debug)]
pub struct BenchOptions {
    /// Records of the simulated tenant
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub records_count: usize,
    /// The same seed makes the same tenant
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Measures and prints.
///
/// # Errors
///
/// A part could not be started, or the handler did not do what is to be measured.
pub async fn bench(options: BenchOptions, screen: &Screen) -> Result<()> {
    let description = machine::description();
    let source = Source::Generated { count: options.records_count, seed: options.seed, is_calm: false };
    let mut stack = Stack::start(StackOptions { source, state: None, cosmos: CosmosOptions::default() }, screen).await?;
    let executable = build(screen).await?;
    let mut starts = starts(&stack, &executable, screen).await?;
    let (listing, many) = both(&stack, &executable, screen).await?;
    let calls = Calls::of(&stack)?;
    large(&mut stack, &options, screen).await?;
    let (_, one) = both(&stack, &executable, screen).await?;
    ensure!(one.sums.total().documents == one.sums.total().records, "records of the large content blob were taken for each other");
    stack.stop().await;

    screen.line(format_args!("\n{description}"));
    screen.line(format_args!("\n{}", costs(&many, &one).markdown()));
    screen.line(format_args!("{}", listing_costs(&listing, &mut starts).markdown()));
    screen.line(format_args!("{}", calls.table().markdown()));
    screen.line(NOTES);
    Ok(())
}

const NOTES: &str = "\
CPU time is user and system time of the handler's process alone; a peak is that of a process that did nothing before.
Wall time says little: on the same cores, one program plays database, tenant and host, and its database, in memory, copies
a whole partition at every batch. What it took is the last row of the first table (Azurite, a process of its own, is not in
it). The large blob's records are all of one day and were spread over 16 partitions instead of 4 for that database's sake.
The host probes every 25 ms. The load is the average of the minute before, and says whether others were at work here.";

/// What one function did, and what it cost.
struct Cost {
    sums: LogTotals,
    usage: Usage,
    /// CPU time that this program took meanwhile: it plays the database, the tenant and the host.
    played: Duration,
    wall: Duration,
}

/// How long each start took.
async fn starts(stack: &Stack, executable: &Path, screen: &Screen) -> Result<Vec<Duration>> {
    let task = screen.task("start-up", "");
    let mut starts = Vec::new();
    for start in 1..=STARTS {
        task.at(start as u64, STARTS as u64, "from process start to the first answered probe");
        let host = stack.host(executable, None).await?;
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
    let before = own_cpu()?;
    let timer = host.run_timer(TIMER).await;
    let (usage, played) = (usage(host)?, own_cpu()?.saturating_sub(before));
    log.untold(std::slice::from_ref(&timer)).await;
    let sums = log.take();
    ensure!(timer.outcome.is_success(), "{TIMER} failed: {:?}", timer.outcome);
    task.done(format_args!("{} content blobs listed and queued", Count(sums.total().queued)));
    Ok(Cost { sums, usage, played, wall: timer.duration })
}

/// The queue until it is empty, by a process that has done nothing yet.
async fn storing(host: &Host, log: &Log, screen: &Screen, queued: u64) -> Result<Cost> {
    let (before, own_before) = (usage(host)?, own_cpu()?);
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
    let (after, played) = (usage(host)?, own_cpu()?.saturating_sub(own_before));
    log.untold(&summary.invocations).await;
    let sums = log.take();
    let total = sums.total();
    ensure!(summary.failed() == 0 && total.fetched == queued, "StoreEvents stored {} of {queued} content blobs", total.fetched);
    task.done(format_args!("{} records in {:.1} s", Count(total.records), summary.duration.as_secs_f64()));
    let usage = Usage { cpu: after.cpu.saturating_sub(before.cpu), ..after };
    Ok(Cost { sums, usage, played, wall: summary.duration })
}

fn usage(host: &Host) -> Result<Usage> {
    machine::usage(host.pid().context("the handler is not running")?)
}

fn own_cpu() -> Result<Duration> {
    Ok(machine::usage(std::process::id())?.cpu)
}

/// Puts another tenant with one content blob, an empty database, and other state in the place of what is there.
async fn large(stack: &mut Stack, options: &BenchOptions, screen: &Screen) -> Result<()> {
    let tenant = Tenant::start(TenantOptions::default()).await?;
    let cosmos = Cosmos::start(CosmosOptions::default()).await?;
    let record = usual_record(options.seed, tenant.now())?;
    let count = LARGE / (record.len() + 33); // "{id}" becomes 36 characters, and a comma follows
    let created = tenant.now() - TimeDelta::minutes(5);
    tenant.publish(NewBlob::of("Audit.Exchange", created, Body::Repeated { record, count }));
    screen.part(
        "tenant",
        format_args!("{} simulated: one content blob of {} MB with {} records", tenant.api_url(), LARGE / 1_000_000, Count(count as u64)),
    );
    stack.settings.extend(tenant.settings());
    stack.settings.extend(cosmos.settings());
    stack.settings.extend(Settings::from(
        [("STATE_CONTAINER", "large-state"), ("CONTENT_QUEUE", "large-content"), ("PARTITIONS_PER_DAY", LARGE_PARTITIONS_PER_DAY)]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    ));
    stack.tenant = Some(tenant);
    stack.cosmos = Some(cosmos);
    Ok(())
}

/// A made-up record of usual length, its Id left open.
fn usual_record(seed: u64, now: DateTime<Utc>) -> Result<String> {
    let records = generate::generate(seed, 1000, now).into_iter().filter_map(|blob| match blob.body {
        Body::Records(records) => Some(records),
        _ => None,
    });
    let record = records.flatten().min_by_key(|record| record.len().abs_diff(RECORD)).context("no record was made")?;
    let mut record: Value = serde_json::from_str(&record)?;
    record["Id"] = "{id}".into();
    Ok(record.to_string())
}

/// Requests to the tenant: made, and the fewest that could be.
struct Calls(Vec<(&'static str, usize, usize)>);

impl Calls {
    /// The fewest that could be: a token for each of the two processes; one look at the subscriptions, and a start of each;
    /// of each content type, windows of at most 24 hours that cover the 7 days, each with as many pages as its content
    /// blobs fill, but at least one; and each content blob once.
    fn of(stack: &Stack) -> Result<Self> {
        let tenant = stack.tenant.as_ref().context("no tenant")?;
        let (calls, blobs) = (tenant.calls(), tenant.blobs());
        let made = |operation| calls.iter().filter(|call| call.operation == operation).count();
        let now = tenant.now();
        let days = |content_type: &str| {
            let mut days = [0_usize; 7];
            for blob in blobs.iter().filter(|blob| blob.content_type == content_type) {
                let day = usize::try_from((now - blob.created).num_days()).unwrap_or(0);
                days[day.min(6)] += 1;
            }
            days
        };
        let pages = CONTENT_TYPES.iter().flat_map(|content_type| days(content_type)).map(|blobs| blobs.div_ceil(PAGE).max(1)).sum();
        Ok(Self(vec![
            ("token", made(Operation::Token), 2),
            ("subscriptions/list", made(Operation::ListSubscriptions), 1),
            ("subscriptions/start", made(Operation::StartSubscription), CONTENT_TYPES.len()),
            ("subscriptions/content (a page)", made(Operation::ListContent), pages),
            ("audit (a content blob)", made(Operation::FetchContent), blobs.len()),
        ]))
    }

    fn table(&self) -> TextTable {
        let mut table = TextTable::new(["API calls", "made", "fewest possible"]);
        let total = self.0.iter().fold((0, 0), |sum, (_, made, fewest)| (sum.0 + made, sum.1 + fewest));
        for (name, made, fewest) in self.0.iter().copied().chain([("all", total.0, total.1)]) {
            table.row([name.to_owned(), Count(made as u64).to_string(), Count(fewest as u64).to_string()]);
        }
        table
    }
}

/// StoreEvents, both ways.
fn costs(many: &Cost, one: &Cost) -> TextTable {
    let blobs = many.sums.total().fetched;
    let mut table = TextTable::new([
        "StoreEvents",
        &format!("{} content blobs", Count(blobs)),
        &format!("one content blob of {} MB", LARGE / 1_000_000),
    ]);
    let mut row = |name: &str, figure: fn(&Cost) -> String| table.row([name.to_owned(), figure(many), figure(one)]);
    row("records", |cost| Count(cost.sums.total().records).to_string());
    row("documents", |cost| Count(cost.sums.total().documents).to_string());
    row("bytes fetched (decompressed)", |cost| format!("{:.1} MB", cost.sums.bytes as f64 / 1e6));
    row("wall time, message to document", |cost| format!("{:.1} s", cost.wall.as_secs_f64()));
    row("records a second (wall)", |cost| rate(cost, cost.wall));
    row("CPU time of the handler", |cost| format!("{:.2} s", cost.usage.cpu.as_secs_f64()));
    row("records a CPU second", |cost| rate(cost, cost.usage.cpu));
    row("peak resident memory", |cost| mebibytes(cost.usage.peak));
    row("for comparison: CPU time of the simulated services", |cost| format!("{:.1} s", cost.played.as_secs_f64()));
    table
}

fn rate(cost: &Cost, time: Duration) -> String {
    Count((cost.sums.total().records as f64 / time.as_secs_f64().max(0.01)) as u64).to_string()
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// QueueEvents, and how long a start takes.
fn listing_costs(listing: &Cost, starts: &mut [Duration]) -> TextTable {
    starts.sort_unstable();
    let millis = |at: usize| starts.get(at).map_or(0.0, |start| start.as_secs_f64() * 1000.0);
    let mut table = TextTable::new(["QueueEvents and start-up", ""]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("content blobs listed and queued at the first run", Count(listing.sums.total().queued).to_string());
    row("wall time", format!("{:.1} s", listing.wall.as_secs_f64()));
    row("CPU time of the handler, its start included", format!("{:.2} s", listing.usage.cpu.as_secs_f64()));
    row("peak resident memory", mebibytes(listing.usage.peak));
    let span = format!("{:.0} / {:.0} / {:.0} ms", millis(0), millis(starts.len() / 2), millis(starts.len() - 1));
    row(&format!("process start to first answered probe, {} starts: min / median / max", starts.len()), span);
    table
}
