//! History into the collector's database as a person has it: the command asks a simulated tenant and writes into Microsoft's emulator,
//! and is held against what the handler wrote of the same tenant's feed.

use std::sync::OnceLock;

use activity::collect::stack::{Settings, Source, Stack, StackOptions};
use activity::explore::database::{Credential, connect};
use activity::screen::Screen;
use activity::ship::executable::build;
use azure_core::credentials::Secret;
use azure_core::http::RetryOptions;
use handler::azure::Connection;
use handler::config::Config;
use handler::state::State;
use standins::azurite::{Azurite, AzuriteOptions, Storage};
use standins::cosmos::{Cosmos, CosmosFault, CosmosFaultKind, CosmosOptions};
use standins::host::QueueUntil;
use uuid::Uuid;

use super::*;

/// The connection string of an Azurite that lives as long as the process: it ends when its standard input does.
fn azurite() -> Result<&'static str> {
    static AZURITE: OnceLock<Option<String>> = OnceLock::new();
    let start = || {
        let (sender, receiver) = std::sync::mpsc::channel();
        // Its own thread and runtime: a test's runtime ends with the test.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let azurite = Azurite::start(AzuriteOptions::default()).await?;
                sender.send(azurite.connection_string())?;
                std::future::pending::<Result<()>>().await
            })
        });
        receiver.recv().ok()
    };
    AZURITE.get_or_init(start).as_deref().context("Azurite does not start")
}

/// A database of four physical partitions, and the settings that a collector of the tenant has for it.
struct Place {
    cosmos: Cosmos,
    settings: Settings,
}

impl Place {
    async fn new(tenant: &Tenant) -> Result<Self> {
        Self::with(tenant, CosmosOptions { partitions: 4, ..CosmosOptions::default() }).await
    }

    async fn with(tenant: &Tenant, options: CosmosOptions) -> Result<Self> {
        let cosmos = Cosmos::start(options).await?;
        let mut settings = tenant.graph_settings();
        settings.extend(cosmos.settings());
        settings.insert("AzureWebJobsStorage".to_owned(), azurite()?.to_owned());
        settings.insert("STATE_CONTAINER".to_owned(), format!("state-{}", Uuid::new_v4()));
        Ok(Self { cosmos, settings })
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Documents as text, by id, without where they came from, how long they stay, and what the database adds.
    async fn documents(&self) -> Result<BTreeMap<String, String>> {
        bare(&self.cosmos).await
    }
}

async fn bare(cosmos: &Cosmos) -> Result<BTreeMap<String, String>> {
    let mut documents = BTreeMap::new();
    for mut document in cosmos.documents().await? {
        let fields = document.as_object_mut().context("a document is an object")?;
        fields.retain(|name, _| !matches!(name.as_str(), "feed" | "ttl" | "_rid" | "_self" | "_etag" | "_attachments" | "_ts"));
        let id = fields["id"].as_str().context("an id")?.to_owned();
        ensure!(documents.insert(id, document.to_string()).is_none(), "an id is there twice");
    }
    Ok(documents)
}

impl Desk {
    fn backfill(&self, place: &Place, folder: &str, arguments: &[&str]) -> Command {
        self.backfill_with(&place.settings, folder, arguments)
    }

    fn backfill_with(&self, settings: &Settings, folder: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_activity"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
        command.env("XDG_STATE_HOME", self.folder.path().join("state")).envs(settings);
        command.args(["backfill", "--hurry", HURRY]).arg("--out").arg(self.case(folder)).args(arguments);
        command
    }

    /// What it printed.
    async fn backfilled(&self, place: &Place, folder: &str, arguments: &[&str]) -> Result<String> {
        let done = output(self.backfill(place, folder, arguments)).await?;
        ensure!(done.status.success(), "{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8(done.stdout)?)
    }

    async fn refused(&self, place: &Place, folder: &str, arguments: &[&str]) -> Result<String> {
        let done = output(self.backfill(place, folder, arguments)).await?;
        ensure!(done.status.code() == Some(1), "{}", String::from_utf8_lossy(&done.stdout));
        Ok(String::from_utf8(done.stderr)?)
    }

    async fn exported(&self, place: &Place, name: &str, arguments: &[&str]) -> Result<Manifest> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_activity"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null()).envs(&place.settings);
        command.args(["export", "--out"]).arg(self.case(name)).args(arguments);
        let done = output(command).await?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Manifest::read(&self.case(name))
    }
}

/// Documents that were created, and that were there, as the windows count them.
fn counted(desk: &Desk, folder: &str) -> Result<(u64, u64)> {
    let windows = windows(desk, folder)?;
    let sum = |name: &str| windows.iter().filter_map(|window| window[name].as_u64()).sum();
    Ok((sum("documents"), sum("duplicates")))
}

/// A tenant that the handler has collected from: both functions under a host, until nothing is left.
async fn collected_by_handler(source: Source, settings: &[(&str, &str)]) -> Result<Stack> {
    let cosmos = CosmosOptions { partitions: 4, ..CosmosOptions::default() };
    let mut stack = Stack::start(StackOptions { source, state: None, cosmos }, &Screen::quiet()).await?;
    stack.settings.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let host = stack.host(&build(&Screen::quiet()).await?, None).await?;
    for _ in 0..2 {
        let tick = host.run_timer("QueueEvents").await;
        ensure!(tick.outcome.is_success(), "{tick:?}");
        host.run_queue(QueueUntil::empty().within(Duration::from_secs(300))).await?;
    }
    host.stop().await;
    Ok(stack)
}

/// The same tenant's history in another database, under the same settings, must be what the handler wrote.
async fn equal_to_the_handlers(stack: &Stack, range: &[&str]) -> Result<BTreeMap<String, String>> {
    let (tenant, desk) = (stack.tenant.as_ref().context("a tenant")?, Desk::new()?);
    tenant.set_search(|search| search.push = TimeDelta::minutes(2));
    let mut place = Place::new(tenant).await?;
    for (name, value) in &stack.settings {
        place.settings.entry(name.clone()).or_insert_with(|| value.clone());
    }
    desk.backfilled(&place, "history", range).await?;
    let (handlers, mut history) = (bare(stack.cosmos.as_ref().context("a database")?).await?, place.documents().await?);
    // The searches' own records came after the feed was read.
    history.retain(|_, document| !document.contains("\"Operation\":\"AuditSearchCompleted\""));
    let missing: Vec<_> = handlers.keys().filter(|id| !history.contains_key(*id)).take(5).collect();
    assert_eq!((handlers.len(), missing), (history.len(), Vec::new()));
    for (id, document) in &handlers {
        assert_eq!(history.get(id), Some(document));
    }
    for document in place.cosmos.documents().await? {
        assert_eq!(document["feed"]["contentType"], "AuditSearch");
        assert_eq!(document["ttl"], json!(90 * 86_400), "counted from now");
    }
    Ok(handlers)
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_history_are_those_that_the_handler_made() -> Result<()> {
    let stack = collected_by_handler(Source::Generated { count: 3_000, seed: 5, is_calm: false }, &[]).await?;
    let from = day(8).to_string();
    let handlers = equal_to_the_handlers(&stack, &["--from", &from]).await?;
    assert!(handlers.len() > 2_500, "{}", handlers.len());
    assert!(handlers.values().any(|document| document.contains("\"findings\":")));

    // Into the handler's own database nothing is written: what is there stays.
    let (tenant, desk) = (stack.tenant.as_ref().context("a tenant")?, Desk::new()?);
    let cosmos = stack.cosmos.as_ref().context("a database")?;
    let before = whole(cosmos, "").await?;
    let mut settings = tenant.graph_settings();
    settings.extend(stack.settings.clone());
    let told = output(desk.backfill_with(&settings, "history", &["--from", &from])).await?;
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert!(String::from_utf8_lossy(&told.stdout).contains("judged by those that are stored"), "{}", String::from_utf8_lossy(&told.stdout));
    assert!(before == whole(cosmos, "AuditSearchCompleted").await?, "a document was touched");
    let (_, duplicates) = counted(&desk, "history")?;
    assert!(duplicates >= before.len() as u64, "{duplicates} of {}", before.len());
    Ok(())
}

/// All documents with what the database adds, less those of an operation.
async fn whole(cosmos: &Cosmos, without: &str) -> Result<BTreeSet<String>> {
    let documents = cosmos.documents().await?;
    Ok(documents.iter().filter(|document| document["Operation"] != without).map(Value::to_string).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collectors_settings_hold_for_history_as_for_the_feed() -> Result<()> {
    let settings = [
        ("PARTITIONS_PER_DAY", "2"),
        ("DLP_VALUES", "hash"),
        ("DLP_HASH_KEY", "a key of nobody else's"),
        ("LEAVE_OUT", "Audit.SharePoint/FileModified,*/UserLoggedIn"),
        ("FINDINGS", "off"),
    ];
    let stack = collected_by_handler(Source::Generated { count: 2_000, seed: 9, is_calm: false }, &settings).await?;
    let handlers = equal_to_the_handlers(&stack, &["--from", &day(8).to_string()]).await?;
    assert!(handlers.values().any(|document| document.contains("\"redacted\":")), "a value was matched");
    let left_out = ["\"Operation\":\"FileModified\"", "\"Operation\":\"UserLoggedIn\""];
    assert!(
        !handlers
            .values()
            .any(|document| left_out.iter().any(|operation| document.contains(operation)) || document.contains("\"findings\":"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_real_records_are_those_that_the_handler_made() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/audit-records.ndjson");
    if !file.exists() {
        eprintln!("SKIPPED: there is no {}", file.display());
        return Ok(());
    }
    let desk = Desk::new()?;
    let records = desk.case("distinct.ndjson");
    let count = write_distinct(&file, &records)?;
    let stack = collected_by_handler(Source::Playback { records, seed: 1 }, &[]).await?;
    stack.tenant.as_ref().context("a tenant")?.set_search(|search| search.reach = TimeDelta::days(9_000));
    let range = ["--from", "2021-03-20", "--to", "2021-08-01", "--reach-days", "3653"];
    assert_eq!(equal_to_the_handlers(&stack, &range).await?.len(), count);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_once_is_not_written_again_and_stays_for_the_days_that_were_asked() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    (20..23).for_each(|days_ago| publish_day(&tenant, day(days_ago), 200));
    let place = Place::new(&tenant).await?;
    let (from, to) = (day(22).to_string(), day(19).to_string());
    let range = ["--from", &from, "--to", &to, "--keep-days", "365"];
    let told = desk.backfilled(&place, "history", &range).await?;
    assert!(told.contains("nobody knows how many documents it comes to") && told.contains("14,000,000 request units"), "{told}");
    assert!(told.contains("600 records found") && told.contains("The history is complete"), "{told}");
    assert!(place.cosmos.documents().await?.iter().all(|document| document["ttl"] == json!(365 * 86_400)));
    // A record within five seconds of midnight is in two windows.
    let (documents, duplicates) = counted(&desk, "history")?;
    assert_eq!((documents, duplicates <= 2), (600, true));

    let (batches, submitted) = (place.cosmos.requests().batches, tenant.submissions().len());
    desk.backfilled(&place, "history", &range).await?;
    assert_eq!((place.cosmos.requests().batches, tenant.submissions().len()), (batches, submitted), "all of it was proven");

    // Another folder knows nothing of that, and finds everything there.
    let before = whole(&place.cosmos, "").await?;
    desk.backfilled(&place, "other", &range[..4]).await?;
    assert_eq!((counted(&desk, "other")?.0, before == whole(&place.cosmos, "").await?), (0, true));
    // What is proven for one database is not there in another, and not in files.
    let elsewhere = Place::new(&tenant).await?;
    let refused = desk.refused(&elsewhere, "history", &range).await?;
    assert!(refused.contains("choose another folder"), "{refused}");
    let refused = output(desk.collect(&tenant, "history", &["--source", "search", "--from", &from])).await?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("choose another folder"), "{}", String::from_utf8_lossy(&refused.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_partitions_is_refused_before_anything_is_asked() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    (20..22).for_each(|days_ago| publish_day(&tenant, day(days_ago), 60));
    let place = Place::new(&tenant).await?.set("PARTITIONS_PER_DAY", "4");
    let (from, to) = (day(21).to_string(), day(19).to_string());
    desk.backfilled(&place, "history", &["--from", &from, "--to", &to]).await?;
    let submitted = tenant.submissions().len();
    let mut place = place;
    for number in ["2", "3", "5", "8", "100"] {
        place = place.set("PARTITIONS_PER_DAY", number);
        // Of the stored days, and of others that lie beside them.
        for range in [[from.as_str(), to.as_str()], ["2026-01-01", "2026-01-02"]] {
            let refused = desk.refused(&place, "other", &["--from", range[0], "--to", range[1]]).await?;
            assert!(refused.contains(&format!("PARTITIONS_PER_DAY={number}")), "{refused}");
        }
    }
    assert_eq!(tenant.submissions().len(), submitted);
    desk.backfilled(&place.set("PARTITIONS_PER_DAY", "4"), "other", &["--from", &from, "--to", &to]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_stays_away_and_without_the_list_nothing_is_stored() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    publish_day(&tenant, day(20), 50);
    let place = Place::new(&tenant).await?;
    Storage::new(azurite()?)?.create_container(&place.settings["STATE_CONTAINER"]).await?;
    let config = Config::from_vars(|name| place.settings.get(name).cloned())?;
    let state = State::new(&config, &Connection::new(&config, RetryOptions::none())?)?;
    let erased: Vec<String> = (0..5).map(|number| format!("{}-{number}", day(20))).collect();
    state.append_erased(erased.iter().map(String::as_str)).await?;
    let (from, to) = (day(20).to_string(), day(19).to_string());
    let range = ["--from", &from, "--to", &to];
    let told = desk.backfilled(&place, "history", &range).await?;
    assert!(told.contains("50 records found") && told.contains("The history is complete"), "{told}");
    let documents = place.documents().await?;
    assert_eq!((documents.len(), documents.keys().any(|id| erased.contains(id))), (45, false));
    assert_eq!(windows(&desk, "history")?[0]["erased"], 5);
    // What is left out on purpose is not missing.
    let manifest =
        desk.exported(&place, "case", &["--from", &from, "--to", &to, "--history", &desk.case("history").display().to_string()]).await?;
    assert_eq!(manifest.completeness.verdict, Verdict::Complete, "{}", manifest.completeness.why);

    let key = azurite()?.split(';').find_map(|part| part.strip_prefix("AccountKey=")).context("a key")?;
    let place = Place::new(&tenant).await?.set("AzureWebJobsStorage", &azurite()?.replace(key, "d3Jvbmc="));
    let refused = desk.refused(&place, "other", &range).await?;
    assert!(refused.contains("erased on request"), "{refused}");
    assert_eq!(place.cosmos.document_count().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_is_killed_goes_on_where_it_was() -> Result<()> {
    filled_in_though_killed(4, 8).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn a_backfill_that_is_killed_twenty_times_goes_on_where_it_was() -> Result<()> {
    filled_in_though_killed(20, 40).await
}

async fn filled_in_though_killed(kills: u64, days: i64) -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    (10..10 + days).for_each(|days_ago| publish_day(&tenant, day(days_ago), 80));
    let place = Place::new(&tenant).await?;
    let (from, to) = (day(9 + days).to_string(), day(9).to_string());
    let range = ["--from", &from, "--to", &to];
    for kill in 0..kills {
        killed_after(250 + 131 * (kill * 7 % 11), &mut desk.backfill(&place, "history", &range)).await?;
    }
    let told = desk.backfilled(&place, "history", &range).await?;
    assert!(told.contains("The history is complete"), "{told}");
    assert_eq!(place.cosmos.document_count().await?, 80 * days as usize);
    // No window is asked twice that was proven or under way: a query whose answer was lost in a kill is found in the list.
    assert_eq!(tenant.submissions().len(), days as usize);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_for_a_while_costs_no_record_and_no_query() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    (20..23).for_each(|days_ago| publish_day(&tenant, day(days_ago), 200));
    let place = Place::new(&tenant).await?;
    place.cosmos.fail(CosmosFault::times(CosmosFaultKind::throttled(Duration::from_millis(1)), 30));
    place.cosmos.fail(CosmosFault::times(CosmosFaultKind::status(503), 4));
    place.cosmos.fail(CosmosFault::times(CosmosFaultKind::LostAnswer, 2));
    let (from, to) = (day(22).to_string(), day(19).to_string());
    let told = desk.backfilled(&place, "history", &["--from", &from, "--to", &to, "--pace", "100000"]).await?;
    assert!(told.contains("The history is complete"), "{told}");
    assert_eq!((place.cosmos.document_count().await?, tenant.submissions().len()), (600, 3));

    // One that refuses is told, and what is proven stays.
    let other = Place::new(&tenant).await?;
    other.cosmos.fail(CosmosFault::lasting(CosmosFaultKind::status(403)));
    let refused = desk.refused(&other, "refused", &["--from", &from, "--to", &to]).await?;
    assert!(refused.contains("the key is read-only"), "{refused}");
    assert!(desk.case("refused").join("windows.ndjson").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_takes_the_days_that_the_search_proved_and_holds_them_against_the_database() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    (20..23).for_each(|days_ago| publish_day(&tenant, day(days_ago), 40));
    let place = Place::new(&tenant).await?;
    let (from, to) = (day(22).to_string(), day(19).to_string());
    desk.backfilled(&place, "history", &["--from", &from, "--to", &to]).await?;
    let history = desk.case("history").display().to_string();
    let range = ["--from", &from, "--to", &to, "--history", &history];
    let without = desk.exported(&place, "without", &range[..4]).await?;
    assert_eq!(without.completeness.verdict, Verdict::Incomplete);
    let manifest = desk.exported(&place, "case", &range).await?;
    assert_eq!(manifest.completeness.verdict, Verdict::Complete, "{}", manifest.completeness.why);
    assert_eq!(searched(&manifest).values().map(|day| (day.listed, day.verdict)).collect::<Vec<_>>(), [(40, Some(Verdict::Complete)); 3]);
    assert_eq!(windows(&desk, "case")?, windows(&desk, "history")?);
    assert_eq!(verify(&VerifyOptions { folder: desk.case("case") })?.exit_code(), 0);

    // A range that is longer than what was searched is not proven by it.
    let longer = desk.exported(&place, "longer", &["--from", &day(30).to_string(), "--to", &to, "--history", &history]).await?;
    assert_eq!(longer.completeness.verdict, Verdict::Incomplete, "{}", longer.completeness.why);

    // A document that is gone since is missing, whatever was proven.
    let key = Credential::Key(Secret::new(place.cosmos.key().to_owned()));
    let container = connect(place.cosmos.endpoint().as_str(), key, "office365", "activity").await?;
    let gone =
        place.cosmos.documents().await?.into_iter().find(|document| document["id"] == format!("{}-7", day(21))).context("it is there")?;
    container.delete_item(gone["pk"].as_str().context("a partition")?.to_owned(), gone["id"].as_str().context("an id")?, None).await?;
    let manifest = desk.exported(&place, "case", &range).await?;
    assert_eq!(manifest.completeness.verdict, Verdict::Incomplete);
    assert!(
        manifest.completeness.why.contains("40 records were found, and the database holds 39 documents of that day"),
        "{}",
        manifest.completeness.why
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_the_feed_left_is_closed_by_a_search_of_it() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    (10..14).for_each(|days_ago| publish_day(&tenant, day(days_ago), 10));
    let place = Place::new(&tenant).await?;
    let storage = Storage::new(azurite()?)?;
    let container = &place.settings["STATE_CONTAINER"];
    storage.create_container(container).await?;
    let time = |days_ago: i64| start(day(days_ago)).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let gap = json!({"at": time(10), "event": "gap", "type": "Audit.Exchange", "from": time(12), "to": time(11), "reason": "too old"});
    storage.write_blob(container, "gaps.ndjson", &format!("{gap}\n")).await?;
    let (from, to) = (day(13).to_string(), day(10).to_string());
    let range = ["--from", &from, "--to", &to];
    let without = desk.exported(&place, "without", &range).await?;
    assert_eq!(without.completeness.gaps.len(), 1, "{:?}", without.completeness);
    desk.backfilled(&place, "history", &range).await?;
    let history = desk.case("history").display().to_string();
    let with = desk.exported(&place, "with", &[range.as_slice(), &["--history", &history]].concat()).await?;
    assert_eq!((with.completeness.verdict, with.completeness.gaps.len()), (Verdict::Complete, 0), "{}", with.completeness.why);
    Ok(())
}

/// `HISTORY_RECORDS` says how many; a million takes an optimised build.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and much longer without optimisation"]
async fn a_large_history_into_the_database_takes_at_most_128_mib_and_twice_the_feeds_cpu() -> Result<()> {
    let (tenant, desk) = (tenant().await?, Desk::new()?);
    let (count, from, to) = publish_large(&tenant);
    let place = Place::with(&tenant, CosmosOptions { discards: true, ..CosmosOptions::default() }).await?;
    let command = desk.backfill(&place, "history", &["--from", &from, "--to", &to]);
    let measured = measured(command).await?;
    eprintln!("{count} records into the database: {measured}");
    ensure!(place.cosmos.created() == count, "{} documents", place.cosmos.created());
    ensure!(windows(&desk, "history")?.iter().all(|window| window["verdict"] == "complete"), "not complete");
    hold_to_the_aim(&measured).await
}
