//! History by Graph's audit log queries: what the feed does not have any more, with the proof of what of it is all there. The client
//! keeps to the tenant's floors, goes on where it was killed, and calls nothing complete that was not read twice alike.

mod access;
mod budget;
mod check;
mod clean;
mod client;
mod history;
mod ledger;
mod pass;
mod proof;
mod search;
mod shelf;
mod window;
mod wire;

use std::collections::{HashSet, VecDeque};
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use azure_core::http::RetryOptions;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use handler::azure::Connection;
use handler::clock::rfc3339;
use handler::config::{Config, CosmosAccount};
use handler::services::Clients;
use handler::store_events::DocumentMaker;

pub use self::check::{CheckOptions, Checked, check};
pub use self::client::Pauses;
pub(crate) use self::history::{Counts, History};
pub(crate) use self::proof::{REPORT, Reports, WORKLOAD, note_report};
pub(crate) use self::search::CLOSED_AFTER;
pub(crate) use self::shelf::{Shelf, UNREAD};
pub(crate) use self::window::{Range, Window, next_day};
use access::Access;
use budget::{Budget, MAX_SUBMISSIONS};
use client::SearchClient;
use ledger::{Entry, Ledger, Planned};
use search::{SURE_REACH, Searcher, Step};

use crate::case::manifest::{Day, Gap};
use crate::screen::Screen;

/// Queries that are open at a time: more than a few fail under load.
const OPEN: usize = 2;
/// Windows in a row that had to be left to a later run, before nothing more is begun: then it is not for them.
const MAX_LEFT: usize = 3;
/// Kept from the edge of the reach, which moves while a collection lasts.
const EDGE: TimeDelta = TimeDelta::hours(1);

/// What a search may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Days back that a query can reach.
    pub(crate) reach_days: u32,
    /// Queries made in 24 hours.
    pub(crate) max_submissions: usize,
    pub(crate) pauses: Pauses,
}

impl Default for Limits {
    fn default() -> Self {
        Self { reach_days: 180, max_submissions: MAX_SUBMISSIONS, pauses: Pauses::REAL }
    }
}

/// What is to be asked, told before it is.
pub(crate) struct Plan {
    /// Days, oldest first, since those leave the reach first.
    pub(crate) windows: Vec<Window>,
    /// Days that no query reaches, and that no earlier run has proven.
    out_of_reach: Vec<Window>,
    /// Of the windows, proven by an earlier run.
    done: usize,
    /// Of the windows, too young to be closed.
    young: usize,
    left: usize,
    max: usize,
    reach_days: u32,
}

impl Plan {
    /// Queries that it takes at least.
    pub(crate) fn queries(&self) -> usize {
        self.windows.len() - self.done
    }

    /// What no query reaches, as the manifest has it.
    pub(crate) fn gaps(&self) -> Vec<Gap> {
        self.out_of_reach.iter().map(|window| gap(*window)).collect()
    }

    fn write_queries(&self, days: usize, f: &mut Formatter<'_>) -> fmt::Result {
        let (queries, max) = (self.queries(), self.max.max(1));
        write!(f, "{days} days by search, {} of them proven already: {queries} queries or more, ", self.done)?;
        write!(f, "{} of {max} left in these 24 hours", self.left)?;
        match queries.saturating_sub(self.left).div_ceil(max) {
            0 => f.write_str(", so that one run can do"),
            later => write!(f, ", so that it takes {} runs on {} days", later + 1, later + 1),
        }
    }
}

fn gap(window: Window) -> Gap {
    Gap { workload: WORKLOAD.to_owned(), from: rfc3339(window.from), to: rfc3339(window.to), reason: proof::OUT_OF_REACH.to_owned() }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.windows.len() {
            0 => f.write_str("no day of it can be searched")?,
            days => self.write_queries(days, f)?,
        }
        if self.young > 0 {
            write!(f, "; {} days are younger than 24 hours and stay unproven until a later run", self.young)?;
        }
        for Window { from, to } in &self.out_of_reach {
            write!(f, "; out of reach: from {} to {}, as a query reaches {} days", rfc3339(*from), rfc3339(*to), self.reach_days)?;
        }
        if self.out_of_reach.is_empty() { Ok(()) } else { f.write_str(" (--reach-days says how far the tenant's licences go)") }
    }
}

/// A search of a range of time into one shelf.
pub(crate) struct AuditSearch {
    searcher: Searcher,
    limits: Limits,
    tenant: String,
    /// Address and names of the database that the documents go to; none: files beside the ledger.
    database: Option<String>,
}

impl AuditSearch {
    /// Signs in, and refuses before anything is asked where the permission is missing.
    ///
    /// # Errors
    /// The settings do not name a root or a credential, the token lacks the permission, neither version answers, or the state cannot
    /// be written.
    pub(crate) async fn open(
        config: &Config,
        lookup: impl Fn(&str) -> Option<String>,
        clients: &Clients,
        state: &Path,
        shelf: Shelf,
        maker: DocumentMaker,
        limits: Limits,
    ) -> Result<Self> {
        let ledger = Ledger::open(state)?;
        let tenant = config.office365.tenant_id.clone();
        let database = shelf.is_database().then(|| address(config));
        ledger.check(&tenant, database.as_deref())?;
        let connection = Connection::new(config, RetryOptions::none())?;
        let access = Access::new(config, &connection, lookup)?;
        access.check().await?;
        let client = SearchClient::new(connection.http.clone(), access, limits.pauses, Arc::clone(clients.clock()));
        client.probe().await?;
        client.ask_time(clients.activity()).await?;
        let budget = Budget::of(&tenant, limits.max_submissions)?;
        let run = format!("office365-activity {}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let searcher = Searcher { client, ledger: Mutex::new(ledger), budget, maker, shelf, reading: tokio::sync::Mutex::new(()), run };
        Ok(Self { searcher, limits, tenant, database })
    }

    /// The service's time.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.searcher.client.now()
    }

    /// Root and version that answer.
    pub(crate) fn root(&self) -> String {
        self.searcher.client.root()
    }

    /// What a range comes to, which is written down.
    ///
    /// # Errors
    /// The count of submissions cannot be read, or the plan not be written.
    pub(crate) fn plan(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Plan> {
        let now = self.now();
        let oldest = (now - TimeDelta::days(i64::from(self.limits.reach_days)) + EDGE).trunc_subsecs(0);
        let mut ledger = self.searcher.ledger();
        let (mut windows, mut out_of_reach) = (Vec::new(), Vec::new());
        for day in Window::days(from, to.min(now)) {
            if oldest <= day.from || ledger.known().covers(day) {
                windows.push(day);
                continue;
            }
            // Of the day in which the reach begins, the part that is reached; or more of it, if an earlier run reached further.
            let reached = Window { from: oldest.min(day.to), ..day };
            let reached = ledger.known().covered_end(day).filter(|proven| proven.holds(reached)).unwrap_or(reached);
            extend(&mut out_of_reach, Window { to: reached.from, ..day });
            if reached.from < day.to {
                windows.push(reached);
            }
        }
        let done = windows.iter().filter(|window| ledger.known().covers(**window)).count();
        let young = windows.iter().filter(|window| now - window.to < CLOSED_AFTER).count();
        let (left, _) = self.searcher.budget.left(now)?;
        ledger.note(Entry::Planned(Planned {
            at: now,
            tenant: self.tenant.clone(),
            database: self.database.clone(),
            windows: windows.clone(),
            out_of_reach: out_of_reach.clone(),
        }))?;
        let Limits { reach_days, max_submissions: max, .. } = self.limits;
        Ok(Plan { windows, out_of_reach, done, young, left, max, reach_days })
    }

    /// Searches all windows of a plan, as far as the floors allow. Returns why some of them wait, if any do.
    ///
    /// # Errors
    /// Nothing can be asked any more, or what came cannot be kept. What was proven until then stays.
    pub(crate) async fn run(&self, plan: &Plan, screen: &Screen) -> Result<Option<String>> {
        let searcher = &self.searcher;
        let task = screen.task("search", "asking Graph");
        let all = plan.windows.len() as u64;
        if plan.queries() > 0 {
            task.begins(format_args!("asking Graph, {OPEN} queries at a time: each takes minutes, on large tenants an hour"));
        }
        let mut queue: VecDeque<(Window, bool)> = plan.windows.iter().map(|window| (*window, false)).collect();
        let (mut running, mut waiting) = (FuturesUnordered::new(), None);
        let (mut left_in_a_row, mut left) = (0, None);
        loop {
            while running.len() < OPEN
                && let Some((window, is_half_of_lost)) = queue.pop_front()
            {
                let standing = searcher.ledger().known().standing(window);
                // Where no more can be made, what is open is finished all the same.
                let may_begin = waiting.is_none() || standing.open_query().is_some() || standing.halved.is_some();
                if may_begin && !searcher.ledger().known().covers(window) {
                    running.push(async move { (window, searcher.search(window, is_half_of_lost).await) });
                }
            }
            let Some((window, step)) = running.next().await else { break };
            let step = match step {
                // Nobody can be asked any more: what was proven stays, and what runs comes to its end by itself.
                Err(error) if error.is::<client::SearchError>() => {
                    queue.clear();
                    Step::Waits(error.to_string())
                }
                step => step?,
            };
            left_in_a_row = if matches!(step, Step::Left(_)) { left_in_a_row + 1 } else { 0 };
            match step {
                Step::Ended(verdict) => screen.part("search", format_args!("{} is {verdict}", shown(window))),
                Step::Halved(halves, is_for_loss) => halves.into_iter().rev().for_each(|half| queue.push_front((half, is_for_loss))),
                Step::Waits(why) => waiting = Some(why),
                Step::Left(why) if left_in_a_row == MAX_LEFT => waiting = Some(why),
                Step::Left(why) => {
                    screen.part("search", format_args!("{} is left to the next run: {why}", shown(window)));
                    left = Some(why);
                }
            }
            let done = plan.windows.iter().filter(|window| self.is_done(**window)).count() as u64;
            let left = searcher.budget.left(self.now())?.0;
            task.at(done, all, format_args!("{done} of {all} days, {left} of {} queries left in these 24 hours", plan.max));
        }
        let waiting = waiting.or(left);
        let done = plan.windows.iter().filter(|window| self.is_done(**window)).count();
        task.done(format_args!(
            "{done} of {all} days{}",
            waiting.as_ref().map(|why| format!(", the rest waits: {why}")).unwrap_or_default()
        ));
        Ok(waiting)
    }

    /// True if a window has a verdict, or each of its halves has one.
    fn is_done(&self, window: Window) -> bool {
        let standing = self.searcher.ledger().known().standing(window);
        let halves = window.halves().filter(|_| standing.halved.is_some());
        standing.end.is_some() || halves.is_some_and(|halves| halves.into_iter().all(|half| self.is_done(half)))
    }

    /// Takes in what queries say of themselves in the audit log. A window without a record whose query counts some is asked again by
    /// the next run.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub(crate) fn take_reports(&self, reports: &Reports) -> Result<()> {
        let mut ledger = self.searcher.ledger();
        let contradicted = proof::contradicted(ledger.known(), reports);
        contradicted.into_iter().try_for_each(|window| ledger.note(Entry::Contradicted { window }))
    }

    /// A row for each day of a plan.
    pub(crate) fn days(&self, plan: &Plan, reports: &Reports, waiting: Option<&str>) -> Vec<Day> {
        let reason = waiting.map(|why| format!(": {why}")).unwrap_or_default();
        proof::days(self.searcher.ledger().known(), &plan.windows, &plan.out_of_reach, reports, &reason)
    }

    /// A line for each window that was asked.
    ///
    /// # Errors
    /// None that can occur.
    pub(crate) fn lines(&self, reports: &Reports) -> Result<Vec<String>> {
        proof::lines(self.searcher.ledger().known(), reports)
    }

    /// Ids of the queries that were made.
    pub(crate) fn queries(&self) -> HashSet<String> {
        self.searcher.ledger().known().queries()
    }
}

/// What tells a database from others.
fn address(config: &Config) -> String {
    let CosmosAccount { endpoint, database, container, .. } = &config.cosmos;
    format!("{endpoint}{database}/{container}")
}

/// Adds a window, as a longer last one where it begins at that one's end.
fn extend(windows: &mut Vec<Window>, window: Window) {
    match windows.last_mut() {
        Some(last) if last.to == window.from => last.to = window.to,
        _ => windows.push(window),
    }
}

fn shown(window: Window) -> String {
    let is_day = window.to - window.from == TimeDelta::days(1);
    if is_day { window.day() } else { window.to_string() }
}

const _: () = assert!(SURE_REACH.num_days() == 180, "the plan's default reach is what every licence keeps");
