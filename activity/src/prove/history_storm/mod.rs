//! The storm over history: by each seed a tenant whose audit search has several faults at once, and the command that collects from it.
//! Nothing may be called complete that lacks a record which had arrived when its query was made.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use standins::tenant::audit_search::{Oddity, PageFault, SearchFault};
use standins::tenant::{Fault, FaultKind, NewBlob, Operation, Tenant, TenantOptions};
use tokio::process::Command;

pub use self::report::HistoryStormReport;
use self::report::{DayEnd, SeedReport, WindowEnd};
use crate::case::manifest::{Day, Manifest, Verdict};
use crate::screen::Screen;

/// Days that are searched, the youngest so many days ago: older than a search needs to be proven.
const DAYS: i64 = 8;
const YOUNGEST: i64 = 20;
/// Queries that the command may make, and may not exceed: mostly enough, else hardly one for each day.
const MAX_SUBMISSIONS: usize = 60;
const FEW_SUBMISSIONS: usize = 10;
/// Divides the command's pauses; the tenant's clock is pushed by its looks.
const HURRY: &str = "20000";
/// Every so many seeds, one is run without faults as well.
const CALM_EVERY: u64 = 10;

/// Lets the storms of some seeds pass, one after another. `activity` is the command's executable.
///
/// # Errors
/// A tenant cannot be started, or the command fails; what is called complete and is not stands in the report.
pub async fn history_storm(seeds: Range<u64>, activity: &Path, screen: &Screen) -> Result<HistoryStormReport> {
    let (mut report, all) = (HistoryStormReport::default(), seeds.end - seeds.start);
    let task = screen.task("storm", "history");
    for (done, seed) in (1..).zip(seeds) {
        if (done - 1) % CALM_EVERY == 0 {
            report.add(&run(seed, activity, false).await.with_context(|| format!("seed {seed}, without faults"))?);
        }
        report.add(&run(seed, activity, true).await.with_context(|| format!("seed {seed}"))?);
        task.at(done, all, format_args!("{done} of {all} seeds"));
    }
    task.done(format_args!("{all} seeds"));
    Ok(report)
}

/// One seed: the tenant, the command, and what it says held against what the tenant has.
async fn run(seed: u64, activity: &Path, has_faults: bool) -> Result<SeedReport> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let tenant = Tenant::start(TenantOptions::default()).await?;
    for day in (0..DAYS).map(|number| day(YOUNGEST + number)) {
        publish_day(&tenant, day, random.random_range(0..60));
        publish_edges(&tenant, day);
    }
    tenant.set_search(|search| {
        search.push = TimeDelta::minutes(2);
        search.is_end_included = random.random();
        search.page_size = random.random_range(5..40);
        search.max_page_size = search.page_size;
    });
    let mut report = SeedReport { seed, has_faults, max_submissions: MAX_SUBMISSIONS, ..SeedReport::default() };
    if has_faults {
        report.faults = plan(&tenant, &mut random);
        report.max_submissions = if random.random_ratio(1, 4) { FEW_SUBMISSIONS } else { MAX_SUBMISSIONS };
    }
    let folder = tempfile::tempdir()?;
    let case = folder.path().join("case");
    collect(&tenant, activity, folder.path(), report.max_submissions).await?;
    report.submissions = tenant.submissions().len();
    report.counted = counted(folder.path())?;
    let found = ids(&case)?;
    report.windows = windows(&tenant, &case, &found)?;
    report.records = found.len();
    report.judge();
    report.judge_days(&days(&tenant, &case, &found, &report.windows)?);
    if has_faults {
        // The faults have passed, and the tenant takes queries again.
        tenant.clear_faults();
        tenant.clear_search_faults();
        tenant.push_clock(TimeDelta::hours(25));
        collect(&tenant, activity, folder.path(), MAX_SUBMISSIONS).await?;
        let found = ids(&case)?;
        let windows = windows(&tenant, &case, &found)?;
        report.judge_next_run(&windows);
        report.judge_days(&days(&tenant, &case, &found, &windows)?);
    }
    Ok(report)
}

async fn collect(tenant: &Tenant, activity: &Path, folder: &Path, max_submissions: usize) -> Result<()> {
    let (from, to) = (day(YOUNGEST + DAYS - 1).to_string(), day(YOUNGEST - 1).to_string());
    let max = max_submissions.to_string();
    let mut command = Command::new(activity);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null()).kill_on_drop(true);
    command.env("XDG_STATE_HOME", folder.join("state")).envs(tenant.graph_settings());
    command.args(["collect", "--source", "search", "--hurry", HURRY, "--max-searches", &max, "--from", &from, "--to", &to]);
    let case = folder.join("case");
    let done = command.arg("--out").arg(case).output().await.with_context(|| format!("{} cannot be run", activity.display()))?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Queries that the command counted before it made them.
fn counted(folder: &Path) -> Result<usize> {
    Ok(fs::read_to_string(folder.join("state/office365-activity/submissions.ndjson"))?.lines().count())
}

/// Every window that ended or was never asked, and how many records are missing that a query found which was made when its last was.
fn windows(tenant: &Tenant, case: &Path, found: &BTreeSet<String>) -> Result<Vec<WindowEnd>> {
    let mut ends = Vec::new();
    for line in fs::read_to_string(case.join("windows.ndjson"))?.lines() {
        let window: Value = serde_json::from_str(line)?;
        // One that was halved ends with its halves.
        let Ok(verdict) = serde_json::from_value::<Verdict>(window["verdict"].clone()) else { continue };
        let time = |name: &str| -> Result<DateTime<Utc>> {
            let text = window[name].as_str().with_context(|| format!("{name} of {window}"))?;
            Ok(DateTime::parse_from_rfc3339(text)?.to_utc())
        };
        let (from, to, made) = (time("from")?, time("to")?, time("made").unwrap_or_else(|_| tenant.now()));
        let missing = tenant.findable(from, to, made).difference(found).cloned().collect();
        let why = window["why"].as_str().unwrap_or_default().to_owned();
        ends.push(WindowEnd { from, to, made, verdict, why, missing, is_proven: is_proven(&window) });
    }
    Ok(ends)
}

/// Every day with its verdict, and how many records are missing of all of it, also between its windows, that the first of its last
/// queries could find.
fn days(tenant: &Tenant, case: &Path, found: &BTreeSet<String>, windows: &[WindowEnd]) -> Result<Vec<DayEnd>> {
    let of_day = |day: &Day| {
        let from = start(day.day.parse()?);
        let to = from + TimeDelta::days(1);
        let made = windows.iter().filter(|window| from <= window.from && window.to <= to).map(|window| window.made).min();
        let findable = tenant.findable(from, to, made.unwrap_or_else(|| tenant.now()));
        let missing = findable.difference(found).cloned().collect();
        Ok(DayEnd {
            day: day.day.clone(),
            verdict: day.verdict,
            why: day.why.clone().unwrap_or_default(),
            has_records: !findable.is_empty(),
            missing,
        })
    };
    Manifest::read(case)?.completeness.workloads.iter().map(of_day).collect()
}

/// True if the line holds what a proof takes: an echo that is right, the word that nothing was cut, and two readings in a row alike.
fn is_proven(window: &Value) -> bool {
    let passes = window["passes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_alike = |one: &Value, other: &Value| one["digest"] == other["digest"] && one["ids"] == other["ids"];
    let is_read_twice = matches!(passes, [.., one, other] if is_alike(one, other));
    is_read_twice && window["isRecordCountLimitExceeded"] == false && window["echoed"] == window["asked"]
}

fn ids(case: &Path) -> Result<BTreeSet<String>> {
    let id = |line: &str| Ok(serde_json::from_str::<Value>(line)?["id"].as_str().context("a document has an id")?.to_owned());
    fs::read_to_string(case.join("records.ndjson"))?.lines().map(id).collect()
}

/// Plans faults of searches by day, and of the wire for whichever request comes. Returns the names of those that each day's queries meet.
fn plan(tenant: &Tenant, random: &mut ChaCha8Rng) -> BTreeMap<NaiveDate, BTreeSet<&'static str>> {
    tenant.set_search(|search| {
        search.has_v1 = random.random();
        search.late = (random.random_range(0..30), TimeDelta::days(random.random_range(0..40)));
        search.max_records = random.random_range(25..200);
    });
    let mut planned: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for number in 0..DAYS {
        let day = day(YOUNGEST + number);
        for (name, fault) in faults(random) {
            // What one reading leaves out the next has: of each query at most one that leaves rows out.
            if planned.entry(day).or_default().insert(name) {
                tenant.fail_searches_of(start(day) + TimeDelta::hours(7), fault, random.random_range(1..4));
            }
        }
    }
    let throttled = FaultKind::Status {
        status: 429,
        body: r#"{"error":{"code":"TooManyRequests"}}"#.into(),
        content_type: "application/json".into(),
        retry_after: Some(random.random_range(1..20)),
    };
    tenant.fail(Fault::once(Operation::CreateQuery, throttled).after(random.random_range(0..8)));
    tenant.fail(Fault::once(Operation::ListRecords, FaultKind::InvalidToken401).after(random.random_range(0..20)));
    tenant.fail(Fault::once(Operation::ReadQuery, FaultKind::Html).after(random.random_range(0..20)));
    planned
}

/// A few of all faults, by name.
fn faults(random: &mut ChaCha8Rng) -> Vec<(&'static str, SearchFault)> {
    let passes = random.random_range(1..3);
    let page = |what| SearchFault::Page { page: 0, passes, what };
    let odd = |what| SearchFault::Odd { percent: 20, what };
    let all = [
        ("answer to the POST lost", SearchFault::LosesAnswer { is_listed: random.random() }),
        ("stuck", SearchFault::Stuck),
        ("failed", SearchFault::Fails),
        ("cancelled", SearchFault::Cancelled),
        ("vanishes", SearchFault::Vanishes),
        ("slow", SearchFault::Slow(TimeDelta::minutes(random.random_range(10..200)))),
        ("unknown status", SearchFault::Word("queued")),
        ("statuses with a capital", SearchFault::Capitals),
        ("400 when looked at", SearchFault::RefusesLooks(random.random_range(1..4))),
        ("404 when looked at", SearchFault::NotThereYet(random.random_range(1..4))),
        ("counts missing", SearchFault::CountsMissing),
        ("count wrong", SearchFault::CountsWrong(random.random_range(0..400))),
        ("counts of other kinds", SearchFault::CountsOdd),
        ("cut, and told late", SearchFault::CutToldLate),
        ("echo altered", SearchFault::EchoAltered),
        ("echo altered later", SearchFault::EchoAlteredLater),
        ("not made", SearchFault::NotMade),
        ("times ignored", SearchFault::IgnoresTimes),
        ("success without rows", SearchFault::NoRows),
        ("15 % left out of a reading", SearchFault::LeavesOut { percent: 15, pass: random.random_range(0..2) }),
        ("other rows left out of each reading", SearchFault::NeverWhole { of: random.random_range(3..20) }),
        ("rows repeated", SearchFault::Repeats { percent: 20 }),
        ("500 after some records", SearchFault::ErrorAfter { rows: random.random_range(0..50), passes }),
        ("link loops", page(PageFault::LoopingLink)),
        ("link to another host", page(PageFault::ForeignLink)),
        ("link to another query", page(PageFault::StrayLink)),
        ("link expired", page(PageFault::Expired)),
        ("page cut short", page(PageFault::CutShort)),
        ("HTML for a page", page(PageFault::Html)),
        ("empty page", page(PageFault::Empty)),
        ("id unlike the record's", odd(Oddity::IdUnlike)),
        ("id empty", odd(Oddity::IdEmpty)),
        ("ID for Id", odd(Oddity::UpperId)),
        ("dynamicProperties", odd(Oddity::DynamicProperties)),
        ("record as text", odd(Oddity::AsText)),
        ("two bodies", odd(Oddity::TwoBodies)),
        ("two bodies in unlike envelopes", odd(Oddity::Twin)),
        ("id a number", odd(Oddity::IdNumber)),
        ("record cut short in a text", odd(Oddity::NoObject)),
        ("row without a record", odd(Oddity::Nothing)),
        ("record of an annotation alone", odd(Oddity::OnlyAnnotation)),
        ("row that is null", odd(Oddity::NoEnvelope)),
    ];
    (0..random.random_range(1..4)).map(|_| all[random.random_range(0..all.len())].clone()).collect()
}

/// Publishes so many records on a day, at even distances, which arrive two hours after each.
pub fn publish_day(tenant: &Tenant, day: NaiveDate, count: i64) {
    for number in 0..count {
        let at = start(day) + TimeDelta::seconds(86_400 * number / count);
        publish_record(tenant, &format!("{day}-{number}"), at);
    }
}

/// Publishes records that stand close to where a day begins and where it is halved, where a window that is cut wrongly would lose them.
fn publish_edges(tenant: &Tenant, day: NaiveDate) {
    let edges = [TimeDelta::zero(), TimeDelta::hours(12)].map(|edge| start(day) + edge);
    for (edge, seconds) in edges.into_iter().flat_map(|edge| (-12..=12).step_by(4).map(move |seconds| (edge, seconds))) {
        let at = edge + TimeDelta::seconds(seconds);
        publish_record(tenant, &format!("{day}-{}{seconds:+}", edge.format("%H")), at);
    }
}

fn publish_record(tenant: &Tenant, id: &str, at: DateTime<Utc>) {
    tenant.publish(NewBlob::new("Audit.Exchange", at + TimeDelta::hours(2), vec![record(id, at, json!({}))]));
}

/// A record of Exchange, with further members.
pub fn record(id: &str, at: DateTime<Utc>, more: Value) -> String {
    let mut record = json!({
        "CreationTime": at.format("%Y-%m-%dT%H:%M:%S").to_string(), "Id": id, "Operation": "Set-Mailbox",
        "OrganizationId": "0873ee4d-d342-44f2-8961-74c442a2fad2", "RecordType": 1, "UserKey": "k", "UserType": 2, "Workload": "Exchange",
        "UserId": "megan@contoso.example", "ClientIP": "192.0.2.7:443", "Parameters": [{"Name": "A", "Value": "1"}],
    });
    if let (Some(record), Value::Object(more)) = (record.as_object_mut(), more) {
        record.extend(more);
    }
    record.to_string()
}

/// The day so many days ago.
pub fn day(days_ago: i64) -> NaiveDate {
    (Utc::now() - TimeDelta::days(days_ago)).date_naive()
}

/// The first moment of a day.
pub fn start(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}
