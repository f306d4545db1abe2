//! History as a person has it: the command asks a simulated tenant's audit search, over the wire, and is held against the store.

#[path = "history/backfill.rs"]
mod backfill;
#[path = "history/half_a_year.rs"]
mod half_a_year;
#[path = "history/odd_records.rs"]
mod odd_records;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use activity::case::manifest::{Day, Manifest, Verdict};
use activity::case::verify::{VerifyOptions, verify};
use activity::prove::history_storm::{day, history_storm, publish_day, record, start};
use activity::screen::Screen;
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::StatusCode;
use serde_json::{Value, json};
use standins::tenant::audit_search::{Oddity, PageFault, SearchFault};
use standins::tenant::{Body, Fault, FaultKind, NewBlob, Operation, Tenant, TenantOptions, generate, playback};
use tempfile::TempDir;

/// Divides the client's pauses; the tenant's clock is pushed by its looks.
const HURRY: &str = "20000";

/// A tenant whose clock goes on by two minutes at each look at a query.
async fn tenant() -> Result<Tenant> {
    let tenant = Tenant::start(TenantOptions::default()).await?;
    tenant.set_search(|search| search.push = TimeDelta::minutes(2));
    Ok(tenant)
}

/// What one person has on one machine.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Result<Self> {
        Ok(Self { folder: TempDir::new()? })
    }

    fn case(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, tenant: &Tenant, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_activity"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
        command.env("XDG_STATE_HOME", self.folder.path().join("state")).envs(tenant.graph_settings()).args(arguments);
        command
    }

    fn collect(&self, tenant: &Tenant, case: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(tenant, &["collect", "--hurry", HURRY]);
        command.arg("--out").arg(self.case(case)).args(arguments);
        command
    }

    async fn collected(&self, tenant: &Tenant, case: &str, arguments: &[&str]) -> Result<Manifest> {
        let done = output(self.collect(tenant, case, arguments)).await?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Manifest::read(&self.case(case))
    }
}

/// Runs the command in a thread of its own, so that the tenant goes on.
async fn output(mut command: Command) -> Result<Output> {
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

fn lines(path: &Path) -> Result<Vec<Value>> {
    fs::read_to_string(path)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn windows(desk: &Desk, case: &str) -> Result<Vec<Value>> {
    lines(&desk.case(case).join("windows.ndjson"))
}

/// The documents as text, by their id, without where they came from. The member stands at the same place in each.
fn documents(desk: &Desk, case: &str) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(desk.case(case).join("records.ndjson"))?;
    let mut documents = BTreeMap::new();
    for line in text.lines() {
        let document: Value = serde_json::from_str(line)?;
        let feed = format!("\"feed\":{},", document["feed"]);
        ensure!(line.contains(&feed), "{line}");
        documents.insert(document["id"].as_str().context("an id")?.to_owned(), line.replacen(&feed, "", 1));
    }
    Ok(documents)
}

fn searched(manifest: &Manifest) -> BTreeMap<&str, &Day> {
    let days = manifest.completeness.workloads.iter().filter(|day| day.workload == "AuditSearch");
    days.map(|day| (day.day.as_str(), day)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_equal_byte_for_byte_whichever_api_they_came_by() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    generate::publish(&tenant, 5, 3_000);
    desk.collected(&tenant, "feed", &["--source", "feed"]).await?;
    let from = day(8).to_string();
    desk.collected(&tenant, "search", &["--source", "search", "--from", &from]).await?;
    let (feed, mut search) = (documents(&desk, "feed")?, documents(&desk, "search")?);
    // The searches' own records came after the feed was read.
    search.retain(|_, document| !document.contains("\"Operation\":\"AuditSearchCompleted\""));
    assert!(feed.len() > 2_500, "{}", feed.len());
    let missing: Vec<_> = feed.keys().filter(|id| !search.contains_key(*id)).take(5).collect();
    assert_eq!((feed.len(), missing), (search.len(), Vec::new()));
    for (id, document) in &feed {
        assert_eq!(search.get(id), Some(document));
    }
    // And where from is told.
    let one = lines(&desk.case("search").join("records.ndjson"))?.remove(0);
    assert_eq!(one["feed"]["contentType"], "AuditSearch");
    let made = one["feed"]["contentCreated"].as_str().context("when the query was made")?;
    let query = windows(&desk, "search")?.into_iter().find(|window| window["queryId"] == one["feed"]["contentId"]).context("its query")?;
    assert_eq!(
        DateTime::parse_from_rfc3339(made)?.timestamp(),
        DateTime::parse_from_rfc3339(query["made"].as_str().unwrap_or_default())?.timestamp()
    );
    Ok(())
}

/// Writes each Id's first record, and says how many: which of several deliveries comes first is nobody's promise.
fn write_distinct(file: &Path, to: &Path) -> Result<usize> {
    let (mut seen, text) = (BTreeSet::new(), fs::read_to_string(file)?);
    let is_first = |line: &&str| serde_json::from_str::<Value>(line).is_ok_and(|record| seen.insert(record["Id"].to_string()));
    let distinct: Vec<_> = text.lines().filter(is_first).collect();
    fs::write(to, distinct.join("\n"))?;
    Ok(distinct.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_real_records_are_equal_too() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/audit-records.ndjson");
    if !file.exists() {
        eprintln!("SKIPPED: there is no {}", file.display());
        return Ok(());
    }
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    let records = desk.case("distinct.ndjson");
    let count = write_distinct(&file, &records)?;
    playback::publish(&tenant, &records, 1)?;
    tenant.set_search(|search| search.reach = TimeDelta::days(9_000));
    desk.collected(&tenant, "feed", &["--source", "feed"]).await?;
    let range = ["--source", "search", "--from", "2021-03-20", "--to", "2021-08-01", "--reach-days", "3653"];
    let manifest = desk.collected(&tenant, "search", &range).await?;
    let (feed, search) = (documents(&desk, "feed")?, documents(&desk, "search")?);
    assert_eq!(feed.len(), count);
    assert_eq!(feed.len(), search.len());
    for (id, document) in &feed {
        assert_eq!(search.get(id), Some(document));
    }
    // Beyond what every licence keeps nothing is called complete.
    assert_eq!(manifest.completeness.verdict, Verdict::Unproven);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn days_older_than_a_day_that_have_records_are_complete_and_others_say_why_not() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    // The searches' own records come too late to say anything.
    tenant.set_search(|search| search.reports_after = TimeDelta::days(30));
    for days_ago in [40, 39, 37, 0] {
        publish_day(&tenant, day(days_ago), if days_ago == 0 { 1 } else { 200 });
    }
    let arguments = ["--source", "search", "--from", &day(40).to_string(), "--to", &(Utc::now() + TimeDelta::minutes(1)).to_rfc3339()];
    let manifest = desk.collected(&tenant, "case", &arguments).await?;
    let days = searched(&manifest);
    assert_eq!(days.len(), 41);
    let of = |days_ago| {
        (days[day(days_ago).to_string().as_str()].verdict, days[day(days_ago).to_string().as_str()].why.clone().unwrap_or_default())
    };
    assert_eq!([40, 39, 37].map(|days_ago| of(days_ago).0), [Some(Verdict::Complete); 3]);
    assert!(days.values().all(|day| day.listed == day.stored), "{days:?}");
    assert_eq!(of(38).0, Some(Verdict::Unproven));
    assert!(of(38).1.contains("no record"), "{}", of(38).1);
    assert!(of(0).1.contains("younger than 24 hours"), "{}", of(0).1);
    assert_eq!(manifest.completeness.verdict, Verdict::Unproven);
    let verified = verify(&VerifyOptions { folder: desk.case("case") })?;
    assert_eq!((verified.exit_code(), verified.damages), (2, Vec::<String>::new()));

    let window = windows(&desk, "case")?.remove(0);
    assert_eq!(
        (&window["verdict"], &window["isRecordCountLimitExceeded"], &window["approximateReturnedRecordCount"]),
        (&json!("complete"), &json!(false), &json!(201))
    );
    let passes = window["passes"].as_array().context("passes")?;
    assert_eq!((passes.len(), &passes[0]["ids"], &passes[0]["digest"]), (2, &json!(201), &passes[1]["digest"]));
    assert_eq!(window["states"].as_array().and_then(|states| states.last()).map(|state| state[1].clone()), Some(json!("succeeded")));
    assert_eq!(window["asked"], window["echoed"]);

    // A later run asks only for what may have changed: the young days.
    let before = tenant.submissions().len();
    tenant.push_clock(TimeDelta::hours(1));
    desk.collected(&tenant, "case", &arguments).await?;
    let again = tenant.submissions().len() - before;
    assert!((1..=2).contains(&again), "{again}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_without_records_is_complete_once_the_querys_own_record_says_so() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    let (from, to) = (day(30).to_string(), day(29).to_string());
    let manifest = desk.collected(&tenant, "case", &["--source", "search", "--from", &from, "--to", &to]).await?;
    assert_eq!(manifest.completeness.verdict, Verdict::Unproven);
    // The feed brings the record half an hour later, once it is subscribed to.
    tenant.push_clock(TimeDelta::minutes(40));
    let manifest = desk.collected(&tenant, "case", &["--from", &from]).await?;
    let days = searched(&manifest);
    assert_eq!(days[from.as_str()].verdict, Some(Verdict::Complete), "{:?}", days[from.as_str()]);
    assert_eq!(windows(&desk, "case")?[0]["reported"], 0);
    // Between what the search gives and what the feed gives nothing is left out.
    assert_eq!(manifest.completeness.gaps, Vec::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_querys_own_record_counts_another_number_the_window_says_so() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(30), 40);
    // It succeeds without a row, and says of itself that it found something.
    tenant.fail_searches(SearchFault::NoRows, 0, 1);
    let (from, to) = (day(30).to_string(), day(29).to_string());
    desk.collected(&tenant, "case", &["--source", "search", "--from", &from, "--to", &to]).await?;
    tenant.push_clock(TimeDelta::minutes(40));
    let manifest = desk.collected(&tenant, "case", &["--from", &from]).await?;
    assert_eq!(searched(&manifest)[from.as_str()].verdict, Some(Verdict::Unproven));
    let window = windows(&desk, "case")?.remove(0);
    assert_eq!(window["findings"], json!(["the query's own record in the audit log counts 1 results, and 0 were read"]), "{window:#}");
    // So the day is asked again, and nothing else is.
    let before = tenant.submissions().len();
    let manifest = desk.collected(&tenant, "case", &["--source", "search", "--from", &from, "--to", &to]).await?;
    assert_eq!((manifest.completeness.verdict, tenant.submissions().len() - before), (Verdict::Complete, 1));
    assert_eq!(windows(&desk, "case")?[0]["records"], 40);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_cut_is_halved_until_nothing_is_cut() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(20), 500);
    tenant.set_search(|search| search.max_records = 100);
    let (from, to) = (day(20).to_string(), day(19).to_string());
    let manifest = desk.collected(&tenant, "case", &["--source", "search", "--from", &from, "--to", &to]).await?;
    assert_eq!(manifest.completeness.verdict, Verdict::Complete, "{}", manifest.completeness.why);
    assert_eq!(documents(&desk, "case")?.len(), 500);
    // A minute that holds more than the limit cannot be halved, and is told.
    let at = start(day(18)) + TimeDelta::hours(3);
    for number in 0..150 {
        tenant.publish(NewBlob::new("Audit.Exchange", at, vec![record(&format!("busy-{number}"), at, json!({}))]));
    }
    let (from, to) = (day(18).to_string(), day(17).to_string());
    let manifest = desk.collected(&tenant, "busy", &["--source", "search", "--from", &from, "--to", &to]).await?;
    assert_eq!(manifest.completeness.verdict, Verdict::Incomplete);
    assert!(manifest.completeness.why.contains("cut at the limit"), "{}", manifest.completeness.why);
    assert_eq!(documents(&desk, "busy")?.len(), 100);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_proven_stays_so_once_no_query_reaches_it_any_more() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(179), 100);
    publish_day(&tenant, day(180), 24);
    // The day is proven in halves, and of the day before only what is reached.
    tenant.set_search(|search| search.max_records = 60);
    let (from, to) = (day(180).to_string(), day(178).to_string());
    let range = ["--source", "search", "--from", &from, "--to", &to];
    let told =
        |manifest: &Manifest| -> Vec<_> { searched(manifest).values().map(|day| (day.day.clone(), day.listed, day.verdict)).collect() };
    let first = desk.collected(&tenant, "case", &range).await?;
    assert_eq!(told(&first).last(), Some(&(day(179).to_string(), 100, Some(Verdict::Complete))));
    let reached_from = first.completeness.gaps[0].to.clone();
    // All that was asked of the day before is proven, but that is not the day.
    let before = &searched(&first)[day(180).to_string().as_str()];
    let why = before.why.clone().unwrap_or_default();
    assert!(before.verdict == Some(Verdict::Incomplete) && before.listed > 0, "{before:?}");
    assert!(why.contains(&format!("{reached_from}: older than a query reaches")), "{why}");
    let asked = tenant.submissions().len();
    tenant.push_clock(TimeDelta::hours(6));
    let again = desk.collected(&tenant, "case", &range).await?;
    assert_eq!((told(&again), &again.completeness.gaps[0].to), (told(&first), &reached_from));
    assert_eq!(tenant.submissions().len(), asked, "all of it was proven");
    tenant.push_clock(TimeDelta::days(30));
    let again = desk.collected(&tenant, "case", &range).await?;
    assert_eq!((told(&again), &again.completeness.gaps[0].to), (told(&first), &reached_from));
    assert_eq!(again.completeness.gaps.len(), 1, "{:?}", again.completeness.gaps);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_floor_of_submissions_is_never_passed_whatever_the_folder() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    tenant.set_search(|search| search.max_open = 2);
    (10..20).for_each(|days_ago| publish_day(&tenant, day(days_ago), 3));
    let (from, to) = (day(19).to_string(), day(9).to_string());
    let range = ["--source", "search", "--from", &from, "--to", &to, "--max-searches", "6"];
    let done = output(desk.collect(&tenant, "case", &range)).await?;
    assert!(
        String::from_utf8_lossy(&done.stdout).contains("10 queries or more, 6 of 6 left in these 24 hours, so that it takes 2 runs"),
        "{}",
        String::from_utf8_lossy(&done.stdout)
    );
    assert_eq!(tenant.submissions().len(), 6);
    let manifest = Manifest::read(&desk.case("case"))?;
    assert_eq!(manifest.completeness.verdict, Verdict::Incomplete);
    assert!(manifest.completeness.why.contains("takes no more queries in 24 hours, the next is free at"), "{}", manifest.completeness.why);
    // Two at a time: the tenant never had to refuse one.
    assert!(!tenant.calls().iter().any(|call| call.status == 429));
    // Another folder is no other tenant.
    desk.collected(&tenant, "other", &range).await?;
    assert_eq!(tenant.submissions().len(), 6);
    // A day later the rest is asked, and what was proven is not.
    tenant.push_clock(TimeDelta::hours(25));
    let manifest = desk.collected(&tenant, "case", &range).await?;
    assert_eq!((manifest.completeness.verdict, tenant.submissions().len()), (Verdict::Complete, 4));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_costs_no_second_submission_while_the_list_shows_the_query() -> Result<()> {
    for (is_listed, submissions) in [(true, 1), (false, 2)] {
        let (tenant, desk) = (tenant().await?, Desk::new()?);
        publish_day(&tenant, day(20), 30);
        tenant.fail_searches(SearchFault::LosesAnswer { is_listed }, 0, 1);
        let (from, to) = (day(20).to_string(), day(19).to_string());
        let manifest = desk.collected(&tenant, "case", &["--source", "search", "--from", &from, "--to", &to]).await?;
        assert_eq!(
            (manifest.completeness.verdict, tenant.submissions().len()),
            (Verdict::Complete, submissions),
            "{}",
            manifest.completeness.why
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_ends_in_all_that_can_be_had_or_in_a_reason() -> Result<()> {
    let page = |what, passes| SearchFault::Page { page: 0, passes, what };
    let odd = |what| SearchFault::Odd { percent: 30, what };
    // What hits one query, what the verdict is then, and what the reason or a finding says.
    let cases = [
        (SearchFault::Stuck, Verdict::Complete, ""),
        (SearchFault::Fails, Verdict::Complete, ""),
        (SearchFault::Cancelled, Verdict::Complete, ""),
        (SearchFault::Vanishes, Verdict::Complete, ""),
        (SearchFault::Slow(TimeDelta::minutes(50)), Verdict::Complete, ""),
        (SearchFault::Word("queued"), Verdict::Complete, ""),
        (SearchFault::Capitals, Verdict::Complete, ""),
        (SearchFault::RefusesLooks(3), Verdict::Complete, ""),
        (SearchFault::NotThereYet(2), Verdict::Complete, ""),
        (SearchFault::CountsMissing, Verdict::Unproven, "does not say whether it cut"),
        (SearchFault::CountsWrong(300), Verdict::Complete, "the service counts 363 records approximately"),
        (SearchFault::CountsOdd, Verdict::Complete, "\"recordCountLimit\":1000000"),
        (SearchFault::CutToldLate, Verdict::Complete, "asked in two halves: the result was cut"),
        (SearchFault::EchoAltered, Verdict::Complete, ""),
        (SearchFault::EchoAlteredLater, Verdict::Complete, "\"givenUp\":\"its echo is not what was asked\""),
        (SearchFault::IgnoresTimes, Verdict::Complete, "records happened outside of what was asked for"),
        (SearchFault::NoRows, Verdict::Unproven, "no record was found"),
        (SearchFault::LeavesOut { percent: 15, pass: 0 }, Verdict::Complete, ""),
        (SearchFault::LeavesOut { percent: 15, pass: 1 }, Verdict::Complete, ""),
        (SearchFault::NeverWhole { of: 6 }, Verdict::Complete, "6 readings of it do not agree"),
        (SearchFault::Repeats { percent: 20 }, Verdict::Complete, ""),
        (SearchFault::ErrorAfter { rows: 100, passes: 2 }, Verdict::Complete, ""),
        (SearchFault::ErrorAfter { rows: 100, passes: u32::MAX }, Verdict::Complete, ""),
        (page(PageFault::LoopingLink, 1), Verdict::Complete, ""),
        (page(PageFault::ForeignLink, 1), Verdict::Complete, ""),
        (page(PageFault::StrayLink, u32::MAX), Verdict::Complete, ""),
        (page(PageFault::EmptyLink, u32::MAX), Verdict::Complete, ""),
        (page(PageFault::ManyLines, u32::MAX), Verdict::Complete, ""),
        (page(PageFault::Expired, 1), Verdict::Complete, ""),
        (page(PageFault::CutShort, 1), Verdict::Complete, ""),
        (page(PageFault::Html, 1), Verdict::Complete, ""),
        (page(PageFault::Empty, 2), Verdict::Complete, ""),
        (odd(Oddity::IdUnlike), Verdict::Complete, "envelopes have another id than their record"),
        (odd(Oddity::IdEmpty), Verdict::Complete, ""),
        (odd(Oddity::UpperId), Verdict::Complete, ""),
        (odd(Oddity::DynamicProperties), Verdict::Complete, ""),
        (odd(Oddity::AsText), Verdict::Complete, ""),
        (odd(Oddity::TwoBodies), Verdict::Unproven, "came with two bodies"),
        (odd(Oddity::Twin), Verdict::Unproven, "came with two bodies"),
        (odd(Oddity::IdNumber), Verdict::Complete, ""),
        (odd(Oddity::Nothing), Verdict::Incomplete, "rows hold no record"),
        (odd(Oddity::OnlyAnnotation), Verdict::Incomplete, "rows hold no record"),
        (odd(Oddity::NoEnvelope), Verdict::Incomplete, "rows hold no record: one without an id"),
    ];
    let (tenant, desk, undisturbed) = (tenant().await?, Desk::new()?, Desk::new()?);
    let days: Vec<_> = (0..cases.len() as i64).map(|number| day(120 - number)).collect();
    days.iter().for_each(|day| publish_day(&tenant, *day, 120));
    tenant.set_search(|search| search.push = TimeDelta::minutes(10));
    publish_day(&tenant, day(150), 20);
    let (from, to) = (days[0].to_string(), (days[cases.len() - 1] + TimeDelta::days(1)).to_string());
    let arguments = ["--source", "search", "--from", &from, "--to", &to];
    undisturbed.collected(&tenant, "case", &arguments).await?;
    let all = documents(&undisturbed, "case")?;
    assert_eq!(all.len(), 120 * cases.len());

    tenant.push_clock(TimeDelta::hours(25));
    for (day, (fault, ..)) in days.iter().zip(&cases) {
        tenant.fail_searches_of(start(*day) + TimeDelta::hours(12), fault.clone(), 1);
    }
    let manifest = desk.collected(&tenant, "case", &arguments).await?;
    let (verdicts, windows, found) = (searched(&manifest), windows(&desk, "case")?, documents(&desk, "case")?);
    for (day, (fault, verdict, says)) in days.iter().zip(&cases) {
        let name = day.to_string();
        let told: Vec<_> = windows.iter().filter(|window| window["from"].as_str().is_some_and(|from| from.starts_with(&name))).collect();
        let told = json!(told).to_string();
        assert_eq!(verdicts[name.as_str()].verdict, Some(*verdict), "{fault:?}: {told}");
        assert!(told.contains(says), "{fault:?}: {told}");
        let of_day = |documents: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            documents.iter().filter(|(id, _)| id.starts_with(&name)).map(|(id, text)| (id.clone(), text.clone())).collect()
        };
        let (found, all) = (of_day(&found), of_day(&all));
        match fault {
            // Another query, whose times were ignored, had these records.
            SearchFault::NoRows | SearchFault::Odd { what: Oddity::Nothing | Oddity::OnlyAnnotation | Oddity::NoEnvelope, .. } => {}
            SearchFault::Odd { what: Oddity::UpperId, .. } => assert_eq!(found.keys().collect::<Vec<_>>(), all.keys().collect::<Vec<_>>()),
            // The members of the dictionary stand in another order.
            SearchFault::Odd { what: Oddity::DynamicProperties, .. } => {
                let value = |text: &String| serde_json::from_str::<Value>(text);
                for (id, document) in &all {
                    assert_eq!(value(found.get(id).context("a document")?)?, value(document)?);
                }
            }
            _ => assert!(found == all, "{fault:?}: {} of {}", found.len(), all.len()),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_comes_to_nothing_again_is_asked_in_halves() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(20), 40);
    let (from, to) = (day(20).to_string(), day(19).to_string());
    for (at, fault) in [SearchFault::Fails, SearchFault::Stuck, SearchFault::Vanishes].into_iter().enumerate() {
        tenant.fail_searches(fault, 0, 2);
        let case = format!("case-{at}");
        let before = tenant.submissions().len();
        let manifest = desk.collected(&tenant, &case, &["--source", "search", "--from", &from, "--to", &to]).await?;
        assert_eq!(manifest.completeness.verdict, Verdict::Complete, "{}", manifest.completeness.why);
        assert_eq!((tenant.submissions().len() - before, documents(&desk, &case)?.len()), (4, 40));
        let halved: Vec<_> = windows(&desk, &case)?.iter().map(|window| window["isHalved"].clone()).collect();
        assert_eq!(halved, [json!(false), json!(true), json!(false)]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_that_is_wrong_again_and_again_leaves_the_day_unproven_with_its_records() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(20), 40);
    tenant.fail_searches(SearchFault::EchoAltered, 0, 20);
    let (from, to) = (day(20).to_string(), day(19).to_string());
    let manifest = desk.collected(&tenant, "case", &["--source", "search", "--from", &from, "--to", &to]).await?;
    assert_eq!(manifest.completeness.verdict, Verdict::Unproven, "{}", manifest.completeness.why);
    assert!(manifest.completeness.why.contains("the service says that it was asked something else"), "{}", manifest.completeness.why);
    assert_eq!(documents(&desk, "case")?.len(), 40);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_that_was_proven_does_not_stand_for_the_day() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(20), 100);
    tenant.set_search(|search| search.max_records = 60);
    // The day is halved, since it is cut; for its second half no query is left. The record of noon is in both.
    let (from, to) = (day(20).to_string(), day(19).to_string());
    let range = ["--source", "search", "--from", &from, "--to", &to, "--max-searches", "2"];
    let manifest = desk.collected(&tenant, "case", &range).await?;
    assert_eq!(
        (manifest.completeness.verdict, documents(&desk, "case")?.len()),
        (Verdict::Incomplete, 51),
        "{}",
        manifest.completeness.why
    );
    tenant.push_clock(TimeDelta::hours(25));
    let manifest = desk.collected(&tenant, "case", &range).await?;
    assert_eq!((manifest.completeness.verdict, documents(&desk, "case")?.len()), (Verdict::Complete, 100), "{}", manifest.completeness.why);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_a_search_is_working_on_is_refused_to_the_feed() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(20), 10);
    // It waits for a query for as long as it is let.
    let mut first = desk.command(&tenant, &["collect", "--source", "search", "--from", &day(20).to_string(), "--to", &day(19).to_string()]);
    let first = first.arg("--out").arg(desk.case("case")).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    while tenant.submissions().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let second = output(desk.collect(&tenant, "case", &["--source", "feed"])).await?;
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("is being worked on by another process"));
    let process = first.id().to_string();
    ensure!(Command::new("kill").args(["-INT", &process]).status()?.success(), "it is there to be interrupted");
    let ended = tokio::task::spawn_blocking(move || first.wait_with_output()).await??;
    assert_eq!(ended.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("the same command goes on where it was"));
    assert_eq!(desk.collected(&tenant, "case", &["--source", "feed"]).await?.completeness.verdict, Verdict::Complete);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_on_the_wire_is_bridged_and_what_is_final_is_told_before_anything_is_asked() -> Result<()> {
    let (from, to) = (day(20).to_string(), day(19).to_string());
    let arguments = ["--source", "search", "--from", &from, "--to", &to];
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(20), 300);
    let throttled = FaultKind::Status {
        status: 429,
        body: r#"{"error":{"code":"TooManyRequests"}}"#.into(),
        content_type: "application/json".into(),
        retry_after: Some(2),
    };
    tenant.fail(Fault::once(Operation::CreateQuery, throttled.clone()));
    tenant.fail(Fault::once(Operation::ReadQuery, throttled));
    tenant.fail(Fault::once(Operation::ListRecords, FaultKind::InvalidToken401));
    tenant.fail(Fault::once(Operation::ReadQuery, FaultKind::ClaimsChallenge403).after(1));
    tenant.fail(Fault::once(Operation::ListRecords, FaultKind::Html).after(1));
    tenant.fail(Fault::once(Operation::ListRecords, FaultKind::EmptyBody).after(2));
    tenant.fail(Fault::once(Operation::ListRecords, FaultKind::Reset).after(3));
    let manifest = desk.collected(&tenant, "case", &arguments).await?;
    assert_eq!(manifest.completeness.verdict, Verdict::Complete, "{}", manifest.completeness.why);
    assert_eq!(tenant.submissions().len(), 1);

    // A permission that reaches only a part is none.
    tenant.set_search(|search| search.roles = vec!["AuditLogsQuery-Exchange.Read.All".to_owned()]);
    let refused = output(desk.collect(&tenant, "refused", &arguments)).await?;
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && told.contains("does not hold AuditLogsQuery.Read.All"), "{told}");
    assert_eq!(tenant.submissions().len(), 1);
    tenant.set_search(|search| search.roles = vec!["AuditLogsQuery.Read.All".to_owned()]);
    for is_inside in [false, true] {
        tenant.fail_searches(SearchFault::AuditingOff { is_inside }, 0, 1);
        let manifest = desk.collected(&tenant, if is_inside { "inside" } else { "top" }, &arguments).await?;
        assert_eq!(manifest.completeness.verdict, Verdict::Incomplete);
        assert!(manifest.completeness.why.contains("auditing is off in this tenant"), "{}", manifest.completeness.why);
    }
    tenant.fail_searches(SearchFault::Forbidden, 0, 1);
    let manifest = desk.collected(&tenant, "forbidden", &arguments).await?;
    assert!(manifest.completeness.why.contains("Graph refuses to be asked"), "{}", manifest.completeness.why);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_end_whose_clock_is_wrong_frees_no_queries() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    (20..23).for_each(|days_ago| publish_day(&tenant, day(days_ago), 3));
    let (from, to) = (day(22).to_string(), day(19).to_string());
    let range = ["--source", "search", "--from", &from, "--to", &to, "--max-searches", "1"];
    desk.collected(&tenant, "case", &range).await?;
    assert_eq!(tenant.submissions().len(), 1);
    // By this answer a day has gone by; the Activity API says that it has not.
    tenant.fail(Fault::once(Operation::ListQueries, FaultKind::Date(TimeDelta::hours(30))));
    desk.collected(&tenant, "case", &range).await?;
    assert_eq!(tenant.submissions().len(), 1);
    // By both it has.
    tenant.push_clock(TimeDelta::hours(30));
    desk.collected(&tenant, "case", &range).await?;
    assert_eq!((tenant.submissions().len(), tenant.searches().len()), (1, 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_v1_is_gone_beta_is_asked_and_the_window_says_so() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(20), 10);
    let (from, to) = (day(20).to_string(), day(19).to_string());
    for status in [StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST] {
        tenant.set_search(|search| (search.has_v1, search.unknown_path) = (false, status));
        let case = status.as_str();
        let manifest = desk.collected(&tenant, case, &["--source", "search", "--from", &from, "--to", &to]).await?;
        assert_eq!(manifest.completeness.verdict, Verdict::Complete, "{}", manifest.completeness.why);
        assert!(windows(&desk, case)?[0]["root"].as_str().is_some_and(|root| root.ends_with("/beta")));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_the_next_page_is_followed_in_each_of_its_forms() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(20), 100);
    tenant.set_search(|search| search.max_page_size = 40);
    let (from, to) = (day(20).to_string(), day(19).to_string());
    for what in [PageFault::RelativeLink, PageFault::EscapedLink] {
        let page = |page| SearchFault::Page { page, passes: u32::MAX, what };
        [0, 1].into_iter().for_each(|number| tenant.fail_searches(page(number), 0, 1));
        let case = format!("{what:?}");
        let manifest = desk.collected(&tenant, &case, &["--source", "search", "--from", &from, "--to", &to]).await?;
        assert_eq!(manifest.completeness.verdict, Verdict::Complete, "{}", manifest.completeness.why);
        let window = windows(&desk, &case)?.remove(0);
        assert_eq!((&window["earlier"], &window["passes"][0]["pages"]), (&json!([]), &json!(3)), "{window:#}");
        assert_eq!(documents(&desk, &case)?.len(), 100);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_cannot_be_made_holds_up_no_other_day() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    (20..26).for_each(|days_ago| publish_day(&tenant, day(days_ago), 10));
    let (from, to) = (day(25).to_string(), day(19).to_string());
    let arguments = ["--source", "search", "--from", &from, "--to", &to];
    tenant.fail_searches_of(start(day(24)) + TimeDelta::hours(12), SearchFault::NotMade, 100);
    let manifest = desk.collected(&tenant, "case", &arguments).await?;
    let verdicts = |manifest: &Manifest| searched(manifest).values().filter(|day| day.verdict == Some(Verdict::Complete)).count();
    assert_eq!((verdicts(&manifest), tenant.submissions().len()), (5, 5), "{}", manifest.completeness.why);
    assert!(manifest.completeness.why.contains("no answer comes to the making of queries"), "{}", manifest.completeness.why);
    // Where no query can be made at all, few are tried.
    tenant.push_clock(TimeDelta::hours(25));
    tenant.fail_searches(SearchFault::NotMade, 0, 100);
    let calls = tenant.calls().len();
    assert_eq!(verdicts(&desk.collected(&tenant, "other", &arguments).await?), 0);
    let tried = tenant.calls()[calls..].iter().filter(|call| call.operation == Operation::CreateQuery).count();
    assert!((9..=12).contains(&tried), "{tried}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_too_large_is_asked_for_in_smaller_ones() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    let at = start(day(20)) + TimeDelta::hours(12);
    let record = record("{id}", at, json!({"Long": "x".repeat(40_000)}));
    tenant.publish(NewBlob::of("Audit.Exchange", at + TimeDelta::hours(1), Body::Repeated { record, count: 950 }));
    let (from, to) = (day(20).to_string(), day(19).to_string());
    let manifest = desk.collected(&tenant, "case", &["--source", "search", "--from", &from, "--to", &to]).await?;
    let window = windows(&desk, "case")?.remove(0);
    let told = (manifest.completeness.verdict, &window["records"], &window["passes"][0]["pages"], tenant.submissions().len());
    assert_eq!(told, (Verdict::Complete, &json!(950), &json!(19), 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_found_late_in_the_list_saw_no_more_than_when_it_was_made() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(1), 40);
    tenant.fail_searches(SearchFault::LosesAnswer { is_listed: true }, 0, 1);
    let (from, to) = (day(1).to_string(), day(0).to_string());
    let arguments = ["--source", "search", "--from", &from, "--to", &to];
    // Killed while it waits before it looks for the query.
    let mut first = desk.command(&tenant, &["collect"]);
    first.arg("--out").arg(desk.case("case")).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = first.spawn()?;
    while tenant.submissions().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.kill()?;
    first.wait()?;
    // What comes meanwhile the query does not have.
    let event = start(day(1)) + TimeDelta::hours(12);
    tenant.publish(NewBlob::new("Audit.Exchange", Utc::now() + TimeDelta::hours(3), vec![record("late", event, json!({}))]));
    tenant.push_clock(TimeDelta::days(2));
    let manifest = desk.collected(&tenant, "case", &arguments).await?;
    assert_eq!((manifest.completeness.verdict, tenant.searches().len()), (Verdict::Unproven, 1));
    assert!(manifest.completeness.why.contains("younger than 24 hours when it was asked"), "{}", manifest.completeness.why);
    let manifest = desk.collected(&tenant, "case", &arguments).await?;
    assert_eq!((manifest.completeness.verdict, tenant.searches().len()), (Verdict::Complete, 2));
    assert!(documents(&desk, "case")?.contains_key("late"));
    Ok(())
}

/// Starts a command, and kills it so many milliseconds later.
async fn killed_after(milliseconds: u64, command: &mut Command) -> Result<()> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    child.kill()?;
    child.wait()?;
    Ok(())
}

async fn killed_and_undisturbed(kills: usize, days: i64) -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    (10..10 + days).for_each(|days_ago| publish_day(&tenant, day(days_ago), 40));
    let (from, to) = (day(9 + days).to_string(), day(9).to_string());
    let arguments = ["--source", "search", "--from", &from, "--to", &to];
    for kill in 0..kills {
        killed_after(150 + 97 * (kill as u64 * 7 % 11), &mut desk.collect(&tenant, "killed", &arguments)).await?;
    }
    let manifest = desk.collected(&tenant, "killed", &arguments).await?;
    let submitted = tenant.submissions().len();
    assert_eq!(manifest.completeness.verdict, Verdict::Complete, "{}", manifest.completeness.why);
    let undisturbed = Desk::new()?;
    tenant.push_clock(TimeDelta::hours(25));
    undisturbed.collected(&tenant, "case", &arguments).await?;
    assert!(documents(&desk, "killed")? == documents(&undisturbed, "case")?);
    // No window is asked twice that was proven or under way: a query whose answer was lost in a kill is found in the list.
    assert_eq!(submitted, days as usize);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_is_killed_goes_on_where_it_was() -> Result<()> {
    killed_and_undisturbed(4, 12).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn a_search_that_is_killed_twenty_times_goes_on_where_it_was() -> Result<()> {
    killed_and_undisturbed(20, 60).await
}

/// What the two ways to the records say of each other, and the exit code.
async fn compared(desk: &Desk, tenant: &Tenant, arguments: &[&str]) -> Result<(Value, Option<i32>)> {
    let mut command = desk.command(tenant, &["compare", "--hurry", HURRY, "--json"]);
    command.args(arguments);
    let done = output(command).await?;
    let told = serde_json::from_slice(&done.stdout);
    Ok((told.with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())?, done.status.code()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_feed_or_only_the_search_has_is_told_by_id() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(4), 50);
    publish_day(&tenant, day(3), 60);
    let (from, to) = (start(day(4)), start(day(2)));
    let all = tenant.findable(from, to, Utc::now());
    assert_eq!(all.len(), 110);
    // The search keeps what it had, and finds a part of the rest too late.
    let withdrawn: Vec<_> = tenant.blobs().into_iter().take(7).collect();
    withdrawn.iter().for_each(|blob| assert!(tenant.withdraw(&blob.id)));
    tenant.set_search(|search| search.late = (20, TimeDelta::days(30)));
    let (from, to) = (day(4).to_string(), day(2).to_string());
    let (told, code) = compared(&desk, &tenant, &["--from", &from, "--to", &to, "--ids"]).await?;
    let findable = tenant.findable(start(day(4)), start(day(2)), Utc::now());
    let listed = {
        let case = desk.collected(&tenant, "feed", &["--source", "feed"]).await?;
        assert_eq!(case.completeness.verdict, Verdict::Complete);
        documents(&desk, "feed")?.into_keys().collect::<BTreeSet<_>>()
    };
    let only = |way: &str| -> BTreeSet<String> {
        let ids = told["ids"].as_array().into_iter().flatten().filter(|id| id["only"] == way);
        ids.filter_map(|id| id["id"].as_str().map(str::to_owned)).collect()
    };
    let (only_feed, only_search): (BTreeSet<_>, BTreeSet<_>) = (
        listed.intersection(&all).filter(|id| !findable.contains(*id)).cloned().collect(),
        findable.difference(&listed).cloned().collect(),
    );
    assert!(only_feed.len() > 5 && only_search.len() > 2, "{only_feed:?} {only_search:?}");
    assert_eq!((only("feed"), only("search"), code), (only_feed.clone(), only_search.clone(), Some(3)));
    let row = &told["types"][0];
    assert_eq!((&row["workload"], &row["recordType"], &row["unlike"]), (&json!("Exchange"), &json!(1), &json!(0)));
    let both = listed.intersection(&findable).filter(|id| all.contains(*id)).count();
    let counts = ["both", "onlyFeed", "onlySearch"].map(|name| row[name].as_u64().unwrap_or_default() as usize);
    assert_eq!(counts, [both, only_feed.len(), only_search.len()]);
    assert_eq!(row["onlyFeedAfterSeconds"], json!({"min": 7200, "median": 7200, "max": 7200}));
    assert_eq!((&told["feed"]["verdict"], &told["search"]["verdict"]), (&json!("complete"), &json!("complete")));

    // People are told the same, and no id unless they ask; nothing stays behind.
    let mut command = desk.command(&tenant, &["compare", "--hurry", HURRY, "--from", &from, "--to", &to]);
    command.env("XDG_STATE_HOME", desk.folder.path().join("other"));
    let done = output(command).await?;
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(text.contains("only feed") && text.contains("2h") && text.contains("They do not have the same records."), "{text}");
    assert!(!only_feed.iter().any(|id| text.contains(id.as_str())), "{text}");
    let left: Vec<_> =
        fs::read_dir(desk.folder.path().join("other/office365-activity"))?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    assert_eq!(left, ["submissions.ndjson"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_that_is_killed_goes_on_where_it_was() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    (2..6).for_each(|days_ago| publish_day(&tenant, day(days_ago), 40));
    let (from, to) = (day(5).to_string(), day(1).to_string());
    let range = ["--from", &from, "--to", &to];
    for kill in 0..4 {
        killed_after(200 + 150 * kill, desk.command(&tenant, &["compare", "--hurry", HURRY]).args(range)).await?;
    }
    let (told, code) = compared(&desk, &tenant, &range).await?;
    assert_eq!((&told["types"][0]["both"], code), (&json!(160), Some(0)), "{told:#}");
    // No day is asked twice: the query of a killed run is found again.
    let asked: BTreeSet<_> = tenant.searches().iter().map(|query| query.start).collect();
    assert_eq!(tenant.submissions().len(), asked.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_cannot_be_listed_is_missing_and_is_said_to_be() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(3), 10);
    tenant.set_roles(&["ActivityFeed.Read"]);
    let manifest = desk.collected(&tenant, "case", &["--source", "feed"]).await?;
    assert_eq!(manifest.completeness.verdict, Verdict::Incomplete);
    assert!(manifest.completeness.why.contains("DLP.All was never listed"), "{}", manifest.completeness.why);
    let (from, to) = (day(3).to_string(), day(2).to_string());
    let (told, code) = compared(&desk, &tenant, &["--from", &from, "--to", &to]).await?;
    assert_eq!((&told["feed"]["verdict"], code), (&json!("incomplete"), Some(2)), "{told:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_both_have_the_same_records_the_comparison_says_so_and_what_is_not_proven() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    generate::publish(&tenant, 5, 2_000);
    let case = desk.case("kept");
    let kept = case.to_str().context("a path")?;
    // Named, since the hour at which the default range ends may pass between the two runs.
    let (from, to) = (day(6).to_string(), day(1).to_string());
    let range = ["--from", &from, "--to", &to, "--out", kept];
    let (told, code) = compared(&desk, &tenant, &range).await?;
    let days = told["days"].as_array().context("days")?;
    assert!(days.len() >= 5 && days.iter().all(|day| day["onlyFeed"] == 0 && day["onlySearch"] == 0), "{told:#}");
    assert!(told["types"].as_array().is_some_and(|types| types.len() > 10 && types.iter().all(|row| row["unlike"] == 0)), "{told:#}");
    assert_eq!((&told["search"]["verdict"], code), (&json!("complete"), Some(0)), "{told:#}");
    // What is proven is not asked again.
    let before = tenant.submissions().len();
    let (again, code) = compared(&desk, &tenant, &range).await?;
    assert_eq!((&again["types"], code), (&told["types"], Some(0)));
    assert!(tenant.submissions().len() <= before + 1);

    // What is not proven is told, even where no difference is known.
    tenant.fail_searches(SearchFault::CountsMissing, 0, 1);
    let (from, to) = (day(3).to_string(), day(2).to_string());
    let (told, code) = compared(&desk, &tenant, &["--from", &from, "--to", &to]).await?;
    assert_eq!((&told["search"]["verdict"], code), (&json!("unproven"), Some(2)), "{told:#}");
    assert!(told["days"][0]["why"].as_str().is_some_and(|why| why.contains("does not say whether it cut")), "{told:#}");

    let none = output(desk.command(&tenant, &["compare", "--from", "2020-01-01", "--to", "2020-02-01"])).await?;
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("both reach nothing of that time"));
    Ok(())
}

/// What the check says, and whether it ended well.
async fn checked(mut command: Command) -> Result<(String, Option<i32>)> {
    command.stderr(Stdio::inherit());
    let done = output(command).await?;
    Ok((String::from_utf8(done.stdout)?, done.status.code()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_whether_history_may_be_asked_with_one_query_that_counts() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    let check = || checked(desk.command(&tenant, &["check", "--hurry", HURRY]));
    let (told, code) = check().await?;
    assert_eq!(code, Some(0), "{told}");
    for found in ["the app registration's token", "AuditLogsQuery.Read.All", "v1.0 answers", "199 of 200 queries left"] {
        assert!(told.contains(found), "{found}: {told}");
    }
    let asked: Vec<_> = tenant.searches().iter().map(|query| query.end - query.start).collect();
    assert_eq!(asked, [TimeDelta::minutes(1)]);
    tenant.set_search(|search| search.has_v1 = false);
    assert!(check().await?.0.contains("beta answers, v1.0 does not"));

    // What is wrong is named, and what needs it is not tried.
    for is_inside in [false, true] {
        tenant.fail_searches(SearchFault::AuditingOff { is_inside }, 0, 1);
        let (told, code) = check().await?;
        assert!(code == Some(1) && told.contains("auditing    wrong    auditing is off in this tenant"), "{told}");
    }
    let before = tenant.submissions().len();
    tenant.set_search(|search| search.roles = vec!["AuditLogsQuery-Exchange.Read.All".to_owned()]);
    let (told, code) = check().await?;
    assert!(code == Some(1) && told.contains("permission  wrong") && told.contains("auditing    untried"), "{told}");
    assert_eq!(tenant.submissions().len(), before);
    let mut command = desk.command(&tenant, &["check", "--hurry", HURRY]);
    command.env("OFFICE365_CLIENT_SECRET", "not-this-one");
    let (told, code) = checked(command).await?;
    assert!(code == Some(1) && told.contains("sign-in     wrong") && !told.contains("not-this-one"), "{told}");
    assert_eq!(told.lines().count(), 4, "{told}");

    // It counts among the queries of all that ask this tenant.
    let (from, to) = (day(20).to_string(), day(19).to_string());
    let range = ["--source", "search", "--from", &from, "--to", &to, "--max-searches", "2"];
    tenant.set_search(|search| search.roles = vec!["AuditLogsQuery.Read.All".to_owned()]);
    assert_eq!(desk.collected(&tenant, "case", &range).await?.completeness.verdict, Verdict::Incomplete);
    assert_eq!(tenant.submissions().len(), before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_is_signed_in_may_ask_only_where_the_token_holds_the_permission() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    let check = |token: &str| {
        let answer = json!({"accessToken": token, "expires_on": (Utc::now() + TimeDelta::hours(1)).timestamp(), "tokenType": "Bearer"});
        let az = desk.folder.path().join("az");
        fs::write(&az, format!("#!/bin/sh\ncat <<'END'\n{answer}\nEND\n"))?;
        fs::set_permissions(&az, fs::Permissions::from_mode(0o755))?;
        let mut command = desk.command(&tenant, &["check", "--hurry", HURRY]);
        command.env_remove("OFFICE365_CLIENT_SECRET").env("PATH", format!("{}:/usr/bin:/bin", desk.folder.path().display()));
        anyhow::Ok(command)
    };
    let claims = |scp: &str, tid: &str| {
        let claims = URL_SAFE_NO_PAD.encode(json!({"scp": scp, "tid": tid}).to_string());
        format!("e30.{claims}.e30")
    };
    let tid = tenant.tenant_id().to_string();
    for (token, says) in [
        (claims("User.Read", &tid), "the token of `az login` does not hold AuditLogsQuery.Read.All"),
        (claims("AuditLogsQuery.Read.All", "11111111-2222-3333-4444-555555555555"), "is of the tenant 11111111"),
        ("opaque".to_owned(), "cannot be read"),
    ] {
        let (told, code) = checked(check(&token)?).await?;
        assert!(code == Some(1) && told.contains(says) && !told.contains(&token), "{told}");
    }
    assert!(!tenant.calls().iter().any(|call| call.path.contains("auditLog")));

    let settings = tenant.graph_settings();
    let of = |name: &str| settings.get(name).cloned().context(name.to_owned());
    let form = [
        ("grant_type", "client_credentials".to_owned()),
        ("client_id", of("OFFICE365_CLIENT_ID")?),
        ("client_secret", of("OFFICE365_CLIENT_SECRET")?),
        ("scope", format!("{}/.default", of("OFFICE365_GRAPH_URL")?)),
    ];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let ca = reqwest::Certificate::from_pem(&fs::read(tenant.ca_pem())?)?;
    let login = tenant.login_url().join(&format!("{tid}/oauth2/v2.0/token"))?;
    let http = reqwest::Client::builder().tls_certs_only([ca]).build()?;
    let answer = http.post(login).header("content-type", "application/x-www-form-urlencoded").body(form).send().await?;
    let answer: Value = serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?;
    let (told, code) = checked(check(answer["access_token"].as_str().context("a token")?)?).await?;
    assert!(code == Some(0) && told.contains("the token of `az login`"), "{told}");
    assert_eq!(tenant.submissions().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_called_complete_that_is_not_whatever_the_storm() -> Result<()> {
    let report = history_storm(1..4, Path::new(env!("CARGO_BIN_EXE_activity")), &Screen::quiet()).await?;
    assert!(report.is_kept(), "{report}\n{:#?}", report.differences);
    Ok(())
}

/// What a process took.
#[derive(Debug, Default)]
struct Measured {
    peak_kib: u64,
    /// Ticks of the clock that the system counts by, a hundred a second.
    cpu_ticks: u64,
    elapsed: Duration,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { peak_kib, cpu_ticks, elapsed } = self;
        write!(f, "{} MiB at most, {:.1} CPU seconds, {:.1} s", peak_kib / 1024, *cpu_ticks as f64 / 100.0, elapsed.as_secs_f64())
    }
}

/// Runs a command to its end, and looks at it as the system counts it.
/// <https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>, <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
async fn measured(mut command: Command) -> Result<Measured> {
    let begin = std::time::Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?;
    let process = child.id();
    let read = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).unwrap_or_default();
    let mut measured = Measured::default();
    let look = |measured: &mut Measured, status: &str, stat: &str| {
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        // Behind the name in brackets, which may hold spaces: fields 14 and 15 of all.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
        let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or_default();
        measured.peak_kib = measured.peak_kib.max(peak.unwrap_or_default());
        measured.cpu_ticks = measured.cpu_ticks.max(ticks(11) + ticks(12));
    };
    let status = loop {
        let (status, stat) = (read("status"), read("stat"));
        look(&mut measured, &status, &stat);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    ensure!(status.success(), "{status}");
    measured.elapsed = begin.elapsed();
    Ok(measured)
}

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok().and_then(|number| number.parse().ok())
}

/// `HISTORY_RECORDS` says how many records.
fn large_count() -> usize {
    number("HISTORY_RECORDS").unwrap_or(1_000_000)
}

/// One of them, with so many further members as `HISTORY_MEMBERS` says: each a list of objects with numbers in them.
fn large_record(id: &str, at: DateTime<Utc>) -> String {
    let value = |number| json!([{"Name": format!("Property{number}"), "OldValue": "before", "NewValue": "after", "Size": number}]);
    let members = (0..number("HISTORY_MEMBERS").unwrap_or(0)).map(|number| (format!("Member{number}"), value(number)));
    record(id, at, Value::Object(members.collect()))
}

/// Publishes them over four days, and says how many and the range.
fn publish_large(tenant: &Tenant) -> (usize, String, String) {
    const DAYS: u32 = 4;
    let count = large_count();
    for number in 0..DAYS {
        let at = start(day(20 - i64::from(number))) + TimeDelta::hours(12);
        let body = Body::Repeated { record: large_record("{id}", at), count: count / DAYS as usize };
        tenant.publish(NewBlob::of("Audit.Exchange", at + TimeDelta::hours(1), body));
    }
    (count, day(20).to_string(), day(20 - i64::from(DAYS)).to_string())
}

/// Refuses more memory than an instance should give it, and more CPU than twice the feed's path takes for as many records.
async fn hold_to_the_aim(measured: &Measured) -> Result<()> {
    let feed = measured_feed().await?;
    eprintln!("the feed's path: {feed}; {:.2} times its CPU", measured.cpu_ticks as f64 / feed.cpu_ticks as f64);
    ensure!(measured.peak_kib <= 128 * 1024 && measured.cpu_ticks <= 2 * feed.cpu_ticks, "{measured}; by the feed {feed}");
    Ok(())
}

/// A million records take an optimised build.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and much longer without optimisation"]
async fn a_large_history_takes_at_most_128_mib_and_twice_the_feeds_cpu() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    let (count, from, to) = publish_large(&tenant);
    let measured = measured(desk.collect(&tenant, "case", &["--source", "search", "--from", &from, "--to", &to])).await?;
    let manifest = Manifest::read(&desk.case("case"))?;
    let records: u64 = searched(&manifest).values().map(|day| day.listed).sum();
    eprintln!("{records} records into files: {measured}, {}", manifest.completeness.verdict);
    ensure!(records == count as u64 && manifest.completeness.verdict == Verdict::Complete, "{}", manifest.completeness.why);
    hold_to_the_aim(&measured).await
}

/// The feed's path beside it: the same records into files, in content blobs of the last days.
async fn measured_feed() -> Result<Measured> {
    const BLOB: usize = 1_000;
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    for number in 0..large_count() / BLOB {
        let at = Utc::now() - TimeDelta::hours(100) + TimeDelta::seconds(number as i64);
        tenant.publish(NewBlob::of("Audit.Exchange", at, Body::Repeated { record: large_record("{id}", at), count: BLOB }));
    }
    measured(desk.collect(&tenant, "case", &["--source", "feed"])).await
}
