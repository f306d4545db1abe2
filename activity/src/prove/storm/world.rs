//! The parts that a storm rages over, and what each step of its plan does to them. What came of it is for the account.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use chrono::TimeDelta;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::content::{Feed, LEAVE_OUT};
use super::figures::StormFigures;
use super::plan::{Act, DatabaseSpell, Step, TenantSpell};
use crate::case::export::{ExportOptions, export_with};
use crate::case::filter::Filter;
use crate::case::forms::{Form, FormOptions};
use crate::case::manifest::Manifest;
use crate::explore::database::DatabaseOptions;
use crate::geoip::GeoIpOptions;
use crate::paths::repository;
use crate::screen::Screen;
use standins::azurite::{Azurite, AzuriteOptions, Storage};
use standins::cosmos::{Cosmos, CosmosFault, CosmosFaultKind, CosmosOptions};
use standins::host::{Host, HostOptions, QueueSummary, QueueUntil};
use standins::tenant::{Fault, FaultKind, Operation, Tenant, TenantOptions};

/// The content queue; what fails too often goes to `content-poison`.
pub(super) const QUEUE: &str = "content";
/// Checkpoints and journal.
pub(super) const STATE: &str = "activity-state";
/// Where a collector of another tenant would journal.
pub(super) const STRANGERS_STATE: &str = "strangers-state";
/// Access tokens live this long, so that every storm outlives a few.
const TOKEN_LIFETIME: Duration = Duration::from_secs(30);
/// Few enough that most listings have several pages.
const PAGE: usize = 10;
/// A message whose handler was killed comes back after this, in place of ten minutes.
const LEASE: Duration = Duration::from_secs(20);
/// A handler ends by itself so long after its host at the latest.
const ORPHAN_LIMIT: Duration = Duration::from_secs(2);
/// The listeners look up so often, to see whether the storm is over.
const SHIFT: Duration = Duration::from_secs(2);
/// In calm, a queue on which nothing is visible for so long is worked off.
const QUIET: Duration = Duration::from_millis(600);
/// What still runs when the storm ends has this long to come to an end, without any fault.
const LAST_RUNS: Duration = Duration::from_secs(90);
/// What is visible on the queue has this long to be worked off, at each step of the calm.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);

/// Everything that runs. It is all gone when this is dropped.
pub(super) struct World {
    pub(super) tenant: Tenant,
    pub(super) cosmos: Cosmos,
    pub(super) storage: Storage,
    pub(super) feed: Feed,
    pub(super) figures: Arc<StormFigures>,
    pub(super) foreign_calls: Arc<AtomicUsize>,
    foreign_url: String,
    hosts: [Arc<Place>; 2],
    /// A handler whose settings name another tenant, on the same queue.
    stranger: Arc<Host>,
    azurite: Azurite,
    background: JoinSet<()>,
    offset: TimeDelta,
    /// The spells that go on, and how many requests had met a fault when they began.
    tenant_spell: Option<(String, u64)>,
    database_spell: Option<(String, u64)>,
}

/// One host after another, all with the same settings.
struct Place {
    handler: PathBuf,
    settings: BTreeMap<String, String>,
    figures: Arc<StormFigures>,
    host: Mutex<Arc<Host>>,
}

impl Place {
    async fn start(handler: &Path, settings: &BTreeMap<String, String>, figures: &Arc<StormFigures>) -> Result<Arc<Self>> {
        let host = Mutex::new(Arc::new(host(handler, settings, figures).await?));
        Ok(Arc::new(Self { handler: handler.to_owned(), settings: settings.clone(), figures: figures.clone(), host }))
    }

    fn host(&self) -> Arc<Host> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the host die. The handler that it leaves behind ends by itself; then another host takes its place.
    async fn lose_host(&self) -> Result<()> {
        let dead = self.host();
        if let Some(orphan) = dead.die().await {
            let begin = Instant::now();
            while let Some(state) = process_state(orphan) {
                ensure!(begin.elapsed() < ORPHAN_LIMIT, "a handler outlived its host by {} s, in state {state}", ORPHAN_LIMIT.as_secs());
                sleep(Duration::from_millis(20)).await;
            }
        }
        let next = Arc::new(host(&self.handler, &self.settings, &self.figures).await?);
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

/// The kernel's letter for what a process does; none once it has ended, also where nobody has asked for its exit code yet.
/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
fn process_state(id: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before it is in brackets, and may hold some.
    let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
    (!matches!(state, 'Z' | 'X')).then_some(state)
}

impl World {
    /// Starts two handlers, which share everything, on a tenant that has content of days.
    pub(super) async fn start(handler: &Path, seed: u64, records: usize) -> Result<Self> {
        let options = TenantOptions { token_lifetime: TOKEN_LIFETIME, page_size: PAGE, subscribed: true, seed, ..TenantOptions::default() };
        let tenant = Tenant::start(options).await?;
        let cosmos = Cosmos::start(CosmosOptions { partitions: 64, ..CosmosOptions::default() }).await?;
        let azurite = Azurite::start(AzuriteOptions::default()).await?;
        let storage = Storage::new(&azurite.connection_string())?;
        let mut background = JoinSet::new();
        let foreign_calls = Arc::new(AtomicUsize::new(0));
        let foreign_url = foreign_host(&mut background, foreign_calls.clone()).await?;
        let feed = Feed::open(&tenant, seed, records, format!("{foreign_url}api/v1.0/{}/activity/feed/audit/", tenant.tenant_id()));

        let figures = Arc::new(StormFigures::default());
        let mut settings = tenant.settings();
        settings.extend(cosmos.settings());
        let own = [
            ("AzureWebJobsStorage", azurite.connection_string().as_str()),
            ("CONTENT_QUEUE", QUEUE),
            ("STATE_CONTAINER", STATE),
            // Documents are compared with their records, which hold matched values.
            ("DLP_VALUES", "keep"),
            ("LEAVE_OUT", LEAVE_OUT),
            ("SCHEDULE", "0 */5 * * * *"),
            // The emulator is slow where many documents share a key.
            ("PARTITIONS_PER_DAY", "16"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        settings.extend(own);
        let hosts = [Place::start(handler, &settings, &figures).await?, Place::start(handler, &settings, &figures).await?];
        settings.insert("OFFICE365_TENANT_ID".to_owned(), Uuid::new_v4().to_string());
        settings.insert("STATE_CONTAINER".to_owned(), STRANGERS_STATE.to_owned());
        let stranger = Arc::new(host(handler, &settings, &figures).await?);
        Ok(Self {
            tenant,
            cosmos,
            storage,
            feed,
            figures,
            foreign_calls,
            foreign_url,
            hosts,
            stranger,
            azurite,
            background,
            offset: TimeDelta::zero(),
            tenant_spell: None,
            database_spell: None,
        })
    }

    /// Carries out a plan; both listeners are on all the time.
    pub(super) async fn run(&mut self, plan: &[Step], screen: &Screen) -> Result<()> {
        let over = Arc::new(AtomicBool::new(false));
        let mut listeners = JoinSet::new();
        for host in self.hosts.clone() {
            listeners.spawn(listen(host, self.figures.clone(), over.clone()));
        }
        let begin = Instant::now();
        let mut timers = JoinSet::new();
        let mut losses = JoinSet::new();
        for step in plan {
            sleep_until(begin + step.at).await;
            while timers.try_join_next().is_some() {}
            if let Some(kind) = step.act.kind() {
                screen.part("storm", format_args!("{:>6.1} s  {kind}", step.at.as_secs_f64()));
            }
            self.carry_out(&step.act, &mut timers, &mut losses)?;
        }
        self.clear_up()?;
        over.store(true, Ordering::Relaxed);
        let ending = async {
            while let Some(loss) = losses.join_next().await {
                loss??;
            }
            while timers.join_next().await.is_some() {}
            while listeners.join_next().await.is_some() {}
            Ok(())
        };
        timeout(LAST_RUNS, ending).await.unwrap_or_else(|_| bail!("a run did not end within {} s after the storm", LAST_RUNS.as_secs()))?;
        self.are_up()
    }

    fn carry_out(&mut self, act: &Act, timers: &mut JoinSet<()>, losses: &mut JoinSet<Result<()>>) -> Result<()> {
        if let Some(kind) = act.kind() {
            self.figures.count(&kind);
        }
        match act {
            Act::Tick { alongside, .. } if !timers.is_empty() && !alongside => self.figures.count("timer waits for the last run"),
            Act::Tick { host, .. } => {
                let (host, figures) = (self.hosts[*host].host(), self.figures.clone());
                timers.spawn(async move { figures.timer(&host.run_timer("QueueEvents").await) });
            }
            Act::Publish { blobs, kind } => self.feed.publish(&self.tenant, *blobs, *kind),
            Act::Withdraw => self.feed.withdraw(&self.tenant),
            Act::Kill(host) => self.hosts[*host].host().kill(),
            Act::Stranger(milliseconds) => {
                let (stranger, figures) = (self.stranger.clone(), self.figures.clone());
                let time = Duration::from_millis(*milliseconds);
                self.background.spawn(async move {
                    if let Ok(summary) = stranger.run_queue(QueueUntil::empty().within(time)).await {
                        figures.queue(&summary);
                    }
                });
            }
            Act::HostDies(host) => {
                let place = self.hosts[*host].clone();
                losses.spawn(async move { place.lose_host().await });
            }
            Act::RevokeTokens => self.tenant.revoke_tokens(),
            Act::Jump(minutes) => self.advance(TimeDelta::minutes(i64::try_from(*minutes)?)),
            Act::Purge => {
                // Beside the plan: storage may be paused.
                let storage = self.storage.clone();
                self.background.spawn(async move { drop(storage.clear_queue(QUEUE).await) });
            }
            Act::PauseStorage => self.azurite.pause()?,
            Act::ResumeStorage => self.azurite.resume()?,
            Act::Tenant(spell) => self.cast_on_tenant(*spell),
            Act::Database(spell) => self.cast_on_database(*spell),
        }
        Ok(())
    }

    /// Sets the tenant's clock ahead, and with it what the handlers take for now.
    pub(super) fn advance(&mut self, by: TimeDelta) {
        self.offset += by;
        self.tenant.set_clock_offset(self.offset);
    }

    fn cast_on_tenant(&mut self, spell: Option<TenantSpell>) {
        self.tenant.clear_faults();
        let struck = self.tenant.struck();
        let before = std::mem::replace(&mut self.tenant_spell, spell.map(|spell| (format!("API: {spell}"), struck)));
        if let Some((kind, since)) = before {
            self.figures.met(&kind, struck - since);
        }
        for fault in spell.into_iter().flat_map(|spell| faults(spell, &self.foreign_url)) {
            self.tenant.fail(fault);
        }
    }

    fn cast_on_database(&mut self, spell: Option<DatabaseSpell>) {
        self.cosmos.clear_faults();
        let struck = self.cosmos.requests().struck;
        let before = std::mem::replace(&mut self.database_spell, spell.map(|spell| (format!("database: {spell}"), struck)));
        if let Some((kind, since)) = before {
            self.figures.met(&kind, struck - since);
        }
        if let Some(spell) = spell {
            self.cosmos.fail(CosmosFault::lasting(trouble(spell)));
        }
    }

    /// No fault is left.
    fn clear_up(&mut self) -> Result<()> {
        self.cast_on_tenant(None);
        self.cast_on_database(None);
        self.azurite.resume()
    }

    fn are_up(&self) -> Result<()> {
        for host in self.hosts.iter().map(|place| place.host()).chain([self.stranger.clone()]) {
            ensure!(host.failure().is_none(), "a handler is down: {}", host.failure().unwrap_or_default());
        }
        Ok(())
    }

    /// One run of the timer, then all that is visible on the queue.
    pub(super) async fn calm_tick(&self, host: usize) -> Result<()> {
        let timer = self.hosts[host].host().run_timer("QueueEvents").await;
        self.figures.timer(&timer);
        ensure!(timer.outcome.is_success(), "in calm, the timer failed: {:?}; {}", timer.outcome, self.figures.last_failure());
        let begin = Instant::now();
        loop {
            let until = QueueUntil::empty().within(QUIET);
            let [first, second] = self.hosts.each_ref().map(|place| place.host());
            let (one, other) = tokio::try_join!(first.run_queue(until), second.run_queue(until))?;
            let is_quiet = one.invocations.len() + other.invocations.len() == 0;
            [one, other].iter().for_each(|summary| self.figures.queue(summary));
            if is_quiet {
                return self.are_up();
            }
            ensure!(begin.elapsed() < DRAIN_LIMIT, "in calm, the queue was not worked off within {} s", DRAIN_LIMIT.as_secs());
        }
    }

    /// Empties the content queue, of what it hides too.
    pub(super) async fn purge_queue(&self) -> Result<()> {
        self.storage.clear_queue(QUEUE).await
    }

    /// Exports what the storm left, as the collector's administrator would.
    pub(super) async fn export(&self) -> Result<Manifest> {
        let (folder, settings) = (tempfile::tempdir()?, &self.hosts[0].settings);
        let database = DatabaseOptions::of(self.cosmos.endpoint().as_str(), self.cosmos.key());
        let options = ExportOptions {
            out: folder.path().to_owned(),
            forms: FormOptions { forms: vec![Form::Ndjson], geoip: GeoIpOptions { files: Vec::new() } },
            filter: Filter::default(),
            pseudonyms: false,
            key_file: None,
            database: database.clone(),
            history: None,
            sign: None,
        };
        export_with(&options, &database, |name| settings.get(name).cloned(), &Screen::quiet()).await
    }

    /// Ends everything in good order.
    pub(super) async fn stop(mut self) {
        self.background.shutdown().await;
        // The places have let go of theirs by now.
        for host in self.hosts.map(|place| place.host()).into_iter().chain([self.stranger]) {
            if let Some(host) = Arc::into_inner(host) {
                host.stop().await;
            }
        }
        self.azurite.stop().await;
        self.cosmos.stop().await;
        self.tenant.stop().await;
    }
}

async fn host(handler: &Path, settings: &BTreeMap<String, String>, figures: &Arc<StormFigures>) -> Result<Host> {
    let figures = figures.clone();
    let options = HostOptions {
        app_root: repository().to_owned(),
        executable: Some(handler.to_owned()),
        settings: settings.clone(),
        visibility_timeout: Some(Duration::from_secs(1)),
        message_lease: Some(LEASE),
        on_line: Some(Arc::new(move |line| figures.read(line))),
        ..HostOptions::default()
    };
    Host::start(options).await
}

async fn listen(place: Arc<Place>, figures: Arc<StormFigures>, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let summary: Result<QueueSummary> = place.host().run_queue(QueueUntil::empty().within(SHIFT)).await;
        match summary {
            Ok(summary) => figures.queue(&summary),
            Err(_) => figures.count("listener gave up on the queue, and began anew"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// A host that is not the tenant's. Nobody should ever call: any connection is counted.
async fn foreign_host(background: &mut JoinSet<()>, calls: Arc<AtomicUsize>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://127.0.0.1:{}/", listener.local_addr()?.port());
    background.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            calls.fetch_add(1, Ordering::Relaxed);
            drop(stream);
        }
    });
    Ok(url)
}

/// What a spell is on the wire.
fn faults(spell: TenantSpell, foreign: &str) -> Vec<Fault> {
    use Operation::{FetchContent, ListContent, ListSubscriptions, Token};
    let on = |operations: &[Operation], what: &FaultKind| operations.iter().map(|on| Fault::always(*on, what.clone())).collect::<Vec<_>>();
    let feed = [ListSubscriptions, ListContent, FetchContent];
    // Work goes on between them, and meets them at every stage.
    let some = |what: &FaultKind| {
        let every_third = |on: &Operation| (0..100).map(|turn| Fault::once(*on, what.clone()).after(3 * turn)).collect::<Vec<_>>();
        feed[1..].iter().flat_map(every_third).collect::<Vec<_>>()
    };
    match spell {
        TenantSpell::Throttled { status, retry_after: None } => on(&feed, &FaultKind::throttled(status)),
        TenantSpell::Throttled { status, retry_after } => {
            let body = r#"{"error":{"code":"AF429","message":"Too many requests."}}"#.to_owned();
            on(&feed, &FaultKind::Status { status, body, content_type: "application/json".to_owned(), retry_after })
        }
        TenantSpell::ListingsFail => on(&[ListContent], &FaultKind::internal()),
        TenantSpell::FetchesFail => on(&[FetchContent], &FaultKind::internal()),
        TenantSpell::EverythingFails => on(&feed, &FaultKind::internal()),
        TenantSpell::PagesFail => vec![Fault::always(ListContent, FaultKind::internal()).matching("nextPage=")],
        TenantSpell::Cut(bytes) => some(&FaultKind::Truncated { bytes }),
        TenantSpell::Clipped(bytes) => some(&FaultKind::Clipped { bytes }),
        TenantSpell::Html => some(&FaultKind::Html),
        TenantSpell::Empty => some(&FaultKind::EmptyBody),
        TenantSpell::Reset => some(&FaultKind::Reset),
        TenantSpell::Slow(milliseconds) => on(&feed[1..], &FaultKind::Delay(Duration::from_millis(milliseconds))),
        TenantSpell::Stall(milliseconds) => some(&FaultKind::Stall { bytes: 100, pause: Duration::from_millis(milliseconds) }),
        TenantSpell::Unauthorised => on(&feed, &FaultKind::InvalidToken401),
        TenantSpell::Refused(code) => {
            let status = if code == "AF20050" { 404 } else { 400 };
            on(&[FetchContent], &FaultKind::Code { status, code, message: "Refused.".to_owned() })
        }
        TenantSpell::NoTokens => {
            let body = "Service Unavailable".to_owned();
            on(&[Token], &FaultKind::Status { status: 503, body, content_type: "text/plain".to_owned(), retry_after: None })
        }
        TenantSpell::ForeignPage => on(&[ListContent], &FaultKind::ForeignNextPage(format!("{foreign}api/v1.0/next"))),
        TenantSpell::RepeatedPage => on(&[ListContent], &FaultKind::RepeatNextPage),
        TenantSpell::EmptyPages => on(&[ListContent], &FaultKind::EmptyPage),
    }
}

fn trouble(spell: DatabaseSpell) -> CosmosFaultKind {
    match spell {
        DatabaseSpell::Throttled(milliseconds) => CosmosFaultKind::throttled(Duration::from_millis(milliseconds)),
        DatabaseSpell::Status(status) => CosmosFaultKind::status(status),
        DatabaseSpell::Reset => CosmosFaultKind::Reset,
        DatabaseSpell::LostAnswer => CosmosFaultKind::LostAnswer,
        DatabaseSpell::Slow(milliseconds) => CosmosFaultKind::Delay(Duration::from_millis(milliseconds)),
    }
}
