//! One window, from making its query to its verdict: looked at until it ends, read until two readings in a row agree, made anew or
//! halved where it comes to nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, TimeDelta, Utc};
use handler::clock::rfc3339;
use handler::database::DatabaseError;
use handler::document::{ContentType, Document, Feed};
use handler::store_events::DocumentMaker;
use tokio::sync::mpsc;

use super::budget::Budget;
use super::clean::{Envelope, record};
use super::client::{SearchClient, SearchError};
use super::ledger::{End, Entry, Ledger};
use super::pass::Union;
use super::shelf::{Kept, Shelf};
use super::window::Window;
use super::wire::{Counts, NewQuery, Query, RecordPage};
use crate::case::manifest::Verdict;

/// A window is closed only when it is this old: records come late.
pub(crate) const CLOSED_AFTER: TimeDelta = TimeDelta::hours(24);
/// What every licence keeps.
pub(super) const SURE_REACH: TimeDelta = TimeDelta::days(180);
/// A query that has not ended by then will not.
const MAX_TIME: TimeDelta = TimeDelta::hours(4);
/// Between two looks at a query, the first time and at most.
const FIRST_LOOK: Duration = Duration::from_secs(30);
const MAX_LOOK: Duration = Duration::from_secs(60);
/// Readings of one query to its last page, and those that broke off.
const MAX_PASSES: usize = 6;
const MAX_BROKEN: usize = 3;
const BROKEN_PAUSE: Duration = Duration::from_secs(30);
/// Looks in a row that say that a query is gone, before that is believed: one that was just made may not be there everywhere.
const MAX_GONE: u32 = 3;
/// Looks in a row without a usable answer, before a query is left to a later run.
const MAX_UNANSWERED: u32 = 10;
/// How often a query whose answer was lost is looked for, and the pause before.
const LOST_LOOKS: u32 = 3;
const LOST_PAUSE: Duration = Duration::from_secs(10);
/// Queries of which neither an answer nor a trace in the list came, before the window is left to a later run.
const MAX_UNLISTED: u32 = 2;
/// A difference between the service's own count and ours that is worth a word: a tenth, if it is more than a few.
const FEW: u64 = 10;
/// Seconds that are waited where the database is not answering, before the window is begun again; after the last the run ends.
const DATABASE_PAUSES: [u64; 4] = [30, 60, 120, 240];
/// Pages that a reading may have: something is wrong beyond.
const MAX_PAGES: u64 = 100_000;

pub(super) const NO_RECORDS: &str = "no record was found, and nothing says that there was none";

/// What all windows are searched with.
pub(super) struct Searcher {
    pub(super) client: SearchClient,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) budget: Budget,
    pub(super) maker: DocumentMaker,
    pub(super) shelf: Shelf,
    /// One window is read at a time, so that what is remembered of its records is there once.
    pub(super) reading: tokio::sync::Mutex<()>,
    /// Tells this run's queries from all others.
    pub(super) run: String,
}

/// How far a window came.
#[derive(Debug)]
pub(super) enum Step {
    /// It has a verdict.
    Ended(Verdict),
    /// Its halves are to be searched; whether for a query that was lost.
    Halved([Window; 2], bool),
    /// It is left to a later run, and so is all that was not begun.
    Waits(String),
    /// It alone is left to a later run: others may fare better.
    Left(String),
}

/// A query that was made.
struct MadeQuery {
    id: String,
    name: String,
    made: DateTime<Utc>,
    is_echo_right: bool,
}

/// Why a query's rows are not all there, or not known to be.
enum Outcome {
    /// Two readings agreed.
    Settled,
    /// Nothing more is expected of it.
    Lost(String),
    /// It is read by a later run.
    Waits(String),
}

/// What came of a window so far.
#[derive(Default)]
struct Found {
    union: Union,
    kept: Kept,
    left_out: u64,
    erased: u64,
    /// A page told of a next one, and not where: whether it was the last nobody knows.
    has_empty_link: bool,
}

impl Searcher {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, entry: Entry) -> Result<()> {
        self.ledger().note(entry)
    }

    /// Searches a window. `is_half_of_lost`: it was made by halving one whose queries were lost, and is not halved for that again.
    ///
    /// Where the database is not answering, what was read may not be stored. The window is then begun again as after a kill: its query
    /// is there, and what was stored of it counts as duplicate.
    ///
    /// # Errors
    /// Nothing can be asked any more, or what came cannot be kept.
    pub(super) async fn search(&self, window: Window, is_half_of_lost: bool) -> Result<Step> {
        for pause in DATABASE_PAUSES {
            match self.search_once(window, is_half_of_lost).await {
                Err(error) if is_passing(&error) => self.client.pauses().wait(Duration::from_secs(pause)).await,
                ended => return ended,
            }
        }
        match self.search_once(window, is_half_of_lost).await {
            Err(error) if is_passing(&error) => Ok(Step::Waits(format!("{error:#}"))),
            ended => ended,
        }
    }

    async fn search_once(&self, window: Window, is_half_of_lost: bool) -> Result<Step> {
        let standing = self.ledger().known().standing(window);
        if let (Some((_, is_for_loss)), Some(halves)) = (standing.halved, window.halves()) {
            return Ok(Step::Halved(halves, is_for_loss));
        }
        let (mut found, mut losses, mut unlisted) = (Found::default(), 0, 0);
        loop {
            let mut query = match self.begin(window).await? {
                Begun::Query(query) => query,
                Begun::Unlisted if unlisted < MAX_UNLISTED => {
                    unlisted += 1;
                    continue;
                }
                Begun::Unlisted => return Ok(Step::Left("no answer comes to the making of queries".to_owned())),
                Begun::Waits(why) => return Ok(Step::Waits(why)),
            };
            let counts = match self.wait_for(window, &mut query).await? {
                Ok(counts) => counts,
                Err(Unfinished::Waits(why)) => return Ok(Step::Waits(why)),
                Err(Unfinished::Left(why)) => return Ok(Step::Left(why)),
                Err(Unfinished::Lost(why)) => {
                    self.note(Entry::GivenUp { window, name: query.name.clone(), why: why.clone() })?;
                    losses += 1;
                    if let Some(step) = self.after_loss(window, losses, is_half_of_lost, &why, &found)? {
                        return Ok(step);
                    }
                    continue;
                }
            };
            if let Some(step) = self.halved_if_cut(window, counts)? {
                return Ok(step);
            }
            // What a query with a wrong echo finds is kept, and another is tried.
            let outcome = self.read(window, &query, &mut found).await?;
            let is_last = losses > 0;
            let lost = match outcome {
                Outcome::Waits(why) => return Ok(Step::Waits(why)),
                Outcome::Lost(why) => Some(why),
                Outcome::Settled if !query.is_echo_right && !is_last => Some("its echo is not what was asked".to_owned()),
                Outcome::Settled => None,
            };
            let Some(why) = lost else {
                // It may have counted on while its pages were read.
                let counts = self.counted(window, &query, counts).await?;
                if let Some(step) = self.halved_if_cut(window, counts)? {
                    return Ok(step);
                }
                let end = self.judge(window, &query, counts, &found);
                let verdict = end.verdict;
                self.note(Entry::Ended { window, end })?;
                return Ok(Step::Ended(verdict));
            };
            self.note(Entry::GivenUp { window, name: query.name.clone(), why: why.clone() })?;
            losses += 1;
            if let Some(step) = self.after_loss(window, losses, is_half_of_lost, &why, &found)? {
                return Ok(step);
            }
        }
    }

    /// A result that was cut is asked for in halves, as far as a window can be halved.
    fn halved_if_cut(&self, window: Window, counts: Counts) -> Result<Option<Step>> {
        let is_cut = counts.is_record_count_limit_exceeded == Some(true);
        let (true, Some(halves)) = (is_cut, window.halves()) else { return Ok(None) };
        let why = "the result was cut at the limit of records".to_owned();
        self.note(Entry::Halved { window, why, is_for_loss: false })?;
        Ok(Some(Step::Halved(halves, false)))
    }

    /// What a query says of its size at the end; what it said before, if it gives no answer any more.
    async fn counted(&self, window: Window, query: &MadeQuery, before: Counts) -> Result<Counts> {
        let Ok(told) = self.client.look(&query.id).await else { return Ok(before) };
        let counts = told.counts;
        if counts != before {
            self.note(Entry::Counted { window, id: query.id.clone(), counts, echoed: told.echoed() })?;
        }
        Ok(counts)
    }

    /// The first time a query is made anew; the second time the window is halved; a half is not halved again.
    fn after_loss(&self, window: Window, losses: usize, is_half_of_lost: bool, why: &str, found: &Found) -> Result<Option<Step>> {
        if losses < 2 {
            return Ok(None);
        }
        if let (false, Some(halves)) = (is_half_of_lost, window.halves()) {
            self.note(Entry::Halved { window, why: why.to_owned(), is_for_loss: true })?;
            return Ok(Some(Step::Halved(halves, true)));
        }
        let end = End { verdict: Verdict::Incomplete, why: why.to_owned(), is_final: false, ..self.end(found) };
        self.note(Entry::Ended { window, end })?;
        Ok(Some(Step::Ended(Verdict::Incomplete)))
    }

    /// The query that an earlier run left open, or a new one.
    async fn begin(&self, window: Window) -> Result<Begun> {
        let standing = self.ledger().known().standing(window);
        let Some(open) = standing.open_query() else { return self.make(window).await };
        match &open.query_id {
            Some(id) => Ok(Begun::Query(MadeQuery {
                id: id.clone(),
                name: open.display_name.clone(),
                made: open.made.unwrap_or_else(|| self.client.now()),
                is_echo_right: open.is_echo_right,
            })),
            // A run was killed between the intent and the answer.
            None => self.find_lost(window, open.display_name.clone(), open.intended).await,
        }
    }

    async fn make(&self, window: Window) -> Result<Begun> {
        let asked = window.asked();
        let name = format!("{} {}", self.run, window_name(window, self.ledger().known().standing(window).queries.len()));
        let now = self.client.now();
        if !self.budget.take(&name, now)? {
            return Ok(Begun::Waits(self.budget.why_none(now)?));
        }
        self.note(Entry::Intended { at: now, window, name: name.clone() })?;
        match self.client.make(&NewQuery::new(&name, asked)).await {
            Ok(query) => self.made(window, name, &query, self.client.now()).map(Begun::Query),
            Err(SearchError::Lost { .. } | SearchError::Passing { .. }) => self.find_lost(window, name, now).await,
            Err(error) => {
                self.note(Entry::GivenUp { window, name, why: format!("it was not made: {error}") })?;
                if error.is_final() { Err(error.into()) } else { Ok(Begun::Waits(error.to_string())) }
            }
        }
    }

    fn made(&self, window: Window, name: String, query: &Query, made: DateTime<Utc>) -> Result<MadeQuery> {
        let is_echo_right = query.is_echo_right(window.asked());
        self.note(Entry::Made {
            window,
            name: name.clone(),
            id: query.id.clone(),
            made,
            root: self.client.root(),
            echoed: query.echoed(),
            is_echo_right,
        })?;
        Ok(MadeQuery { id: query.id.clone(), name, made, is_echo_right })
    }

    /// Looks for a query by its name, since nobody knows whether it was made. One that was made saw what had arrived when it was
    /// asked for, however much later it is found.
    async fn find_lost(&self, window: Window, name: String, intended: DateTime<Utc>) -> Result<Begun> {
        for _ in 0..LOST_LOOKS {
            self.client.pauses().wait(LOST_PAUSE).await;
            match self.client.named(&name).await {
                Ok(queries) => {
                    // The name holds the window, so that one of this name is the one.
                    if let Some(query) = queries.first() {
                        return self.made(window, name, query, intended).map(Begun::Query);
                    }
                }
                Err(error) if error.is_final() => return Err(error.into()),
                Err(error) => return Ok(Begun::Waits(error.to_string())),
            }
        }
        let why = "the answer to its making was lost, and the list does not show it".to_owned();
        self.note(Entry::GivenUp { window, name, why })?;
        Ok(Begun::Unlisted)
    }

    /// Looks at a query until it has succeeded.
    async fn wait_for(&self, window: Window, query: &mut MadeQuery) -> Result<Result<Counts, Unfinished>> {
        let (mut pause, mut last, mut unanswered) = (FIRST_LOOK, String::new(), 0);
        loop {
            let looked = self.client.look(&query.id).await;
            let now = self.client.now();
            let is_late = now - query.made > MAX_TIME;
            let late = || Ok(Err(Unfinished::Lost(format!("it has not ended after {} hours", MAX_TIME.num_hours()))));
            let told = match looked {
                Ok(told) => told,
                Err(error) if error.is_final() => return Err(error.into()),
                Err(error) => {
                    unanswered += 1;
                    match error {
                        SearchError::Gone(_) if unanswered >= MAX_GONE => return Ok(Err(Unfinished::Lost("it is gone".to_owned()))),
                        SearchError::Busy { .. } => return Ok(Err(Unfinished::Waits(error.to_string()))),
                        _ if unanswered >= MAX_UNANSWERED && is_late => return late(),
                        error if unanswered >= MAX_UNANSWERED => return Ok(Err(Unfinished::Left(error.to_string()))),
                        _ => self.client.pauses().wait(pause).await,
                    }
                    continue;
                }
            };
            unanswered = 0;
            let status = told.status();
            if status != last {
                self.note(Entry::Seen { window, id: query.id.clone(), at: now, status: status.to_owned() })?;
                status.clone_into(&mut last);
            }
            match status.to_ascii_lowercase().as_str() {
                "succeeded" => {
                    let counts = told.counts;
                    self.note(Entry::Counted { window, id: query.id.clone(), counts, echoed: told.echoed() })?;
                    query.is_echo_right &= told.is_echo_right(window.asked());
                    return Ok(Ok(counts));
                }
                "failed" | "cancelled" | "canceled" => return Ok(Err(Unfinished::Lost(format!("it ended as {status}")))),
                // Any other word is no end.
                _ if is_late => return late(),
                _ => self.client.pauses().wait(pause).await,
            }
            pause = (pause * 3 / 2).min(MAX_LOOK);
        }
    }

    /// Reads a query's pages again and again until two readings in a row have all.
    async fn read(&self, window: Window, query: &MadeQuery, found: &mut Found) -> Result<Outcome> {
        let _one_at_a_time = self.reading.lock().await;
        let (mut passes, mut broken) = (0, 0);
        // A reading of another query is no neighbour of one of this.
        found.union.broke_off();
        loop {
            self.shelf.look_first().await?;
            let (sender, receiver) = mpsc::channel(2);
            let (read, kept) = futures::join!(self.read_once(window, query, found, sender), self.shelf.keep(receiver));
            let kept = kept.context("documents cannot be kept")?;
            found.kept.add(&kept);
            match read {
                Ok(()) => {
                    let (pass, is_settled) = found.union.end();
                    self.note(Entry::Read { window, id: query.id.clone(), pass })?;
                    passes += 1;
                    if is_settled {
                        return Ok(Outcome::Settled);
                    }
                    if passes == MAX_PASSES {
                        return Ok(Outcome::Lost(format!("{passes} readings of it do not agree")));
                    }
                }
                Err(error) if error.is_final() => return Err(error.into()),
                Err(error @ SearchError::Busy { .. }) => return Ok(Outcome::Waits(error.to_string())),
                Err(error) => {
                    found.union.broke_off();
                    broken += 1;
                    match error {
                        _ if broken < MAX_BROKEN => self.client.pauses().wait(BROKEN_PAUSE).await,
                        SearchError::Gone(_) => return Ok(Outcome::Lost("it is gone".to_owned())),
                        error => return Ok(Outcome::Lost(format!("its pages cannot be read: {error}"))),
                    }
                }
            }
        }
    }

    /// Reads all pages once, and hands on the documents of records that no reading had before.
    async fn read_once(
        &self,
        window: Window,
        query: &MadeQuery,
        found: &mut Found,
        documents: mpsc::Sender<Vec<Document>>,
    ) -> Result<(), SearchError> {
        let feed = Feed::new(Some(ContentType::AuditSearch), &query.id, Some(&rfc3339(query.made)));
        found.union.begin();
        let mut next = Some(self.client.records(&query.id)?);
        let mut seen = std::collections::HashSet::new();
        while let Some(url) = next.take() {
            if !seen.insert(super::clean::digest(url.as_str())) || seen.len() as u64 > MAX_PAGES {
                return Err(SearchError::Link("its pages repeat without end"));
            }
            let (made, link) = self.read_page(window, &feed, found, url).await?;
            if documents.send(made).await.is_err() {
                // Nothing can be kept any more, and why is told there.
                return Ok(());
            }
            match link.as_deref() {
                Some("") => found.has_empty_link = true,
                Some(link) => next = Some(self.client.next_page(link, &query.id)?),
                None => {}
            }
        }
        Ok(())
    }

    /// A page that does not parse is a failed page, and asked for again.
    async fn read_page(
        &self,
        window: Window,
        feed: &Feed,
        found: &mut Found,
        url: url::Url,
    ) -> Result<(Vec<Document>, Option<String>), SearchError> {
        const TRIES: u32 = 3;
        let mut tries = 1;
        loop {
            let body = self.client.page(url.clone()).await?;
            match serde_json::from_slice::<RecordPage<'_>>(&body) {
                Ok(page) => return Ok((self.documents(window, feed, found, &page), page.next)),
                Err(_) if tries < TRIES => self.client.pauses().wait(Duration::from_secs(2) * tries).await,
                Err(_) => return Err(SearchError::Passing { what: "read records", why: "a page is no JSON of the known form".to_owned() }),
            }
            tries += 1;
        }
    }

    fn documents(&self, window: Window, feed: &Feed, found: &mut Found, page: &RecordPage<'_>) -> Vec<Document> {
        found.union.page(page.value.len());
        let mut array = String::from("[");
        for row in &page.value {
            let envelope = Envelope::of(row);
            let Some(record) = record(&envelope) else {
                found.union.nothing(envelope.id());
                continue;
            };
            if found.union.take(&record, window) {
                if array.len() > 1 {
                    array.push(',');
                }
                array.push_str(&record.text);
            }
        }
        array.push(']');
        let made = self.maker.make(array.as_bytes(), feed);
        debug_assert!(made.is_ok(), "each record is JSON, so that together they are an array");
        let made = made.unwrap_or_default();
        found.left_out += made.left_out;
        found.erased += made.erased;
        made.documents
    }

    fn end(&self, found: &Found) -> End {
        End {
            at: self.client.now(),
            verdict: Verdict::Complete,
            why: String::new(),
            is_final: true,
            records: found.union.inside(),
            documents: found.kept.documents,
            duplicates: found.kept.duplicates,
            left_out: found.left_out,
            erased: found.erased,
            reduced: found.kept.reduced,
            refused: found.kept.refused,
            findings: Vec::new(),
        }
    }

    /// The one place where a window that was read gets its verdict.
    fn judge(&self, window: Window, query: &MadeQuery, counts: Counts, found: &Found) -> End {
        let (oddities, records) = (found.union.oddities(), found.union.inside());
        let mut doubts: Vec<(Verdict, String, bool)> = Vec::new();
        let mut doubt = |applies: bool, verdict: Verdict, why: String, is_final: bool| {
            if applies {
                doubts.push((verdict, why, is_final));
            }
        };
        let is_cut = counts.is_record_count_limit_exceeded;
        let names = oddities.nothing.iter().map(|id| if id.is_empty() { "one without an id" } else { id });
        let named = names.collect::<Vec<_>>().join(", ");
        doubt(
            is_cut == Some(true),
            Verdict::Incomplete,
            "the result was cut at the limit of records, and cannot be halved".to_owned(),
            true,
        );
        doubt(oddities.nothing_count > 0, Verdict::Incomplete, format!("rows hold no record: {named}"), false);
        let no_object = oddities.no_object;
        doubt(no_object > 0, Verdict::Incomplete, format!("{no_object} rows hold a text that is no record, kept as it came"), false);
        doubt(found.kept.refused > 0, Verdict::Incomplete, format!("the database refused {} documents", found.kept.refused), false);
        doubt(
            found.kept.reduced > 0,
            Verdict::Incomplete,
            format!("{} documents lack something of their record", found.kept.reduced),
            true,
        );
        doubt(is_cut.is_none(), Verdict::Unproven, "the service does not say whether it cut the result".to_owned(), true);
        doubt(!query.is_echo_right, Verdict::Unproven, "the service says that it was asked something else".to_owned(), false);
        let bodies = oddities.bodies.len();
        doubt(bodies > 0, Verdict::Unproven, format!("{bodies} records came with two bodies, of which the first is kept"), true);
        doubt(found.has_empty_link, Verdict::Unproven, "a page's link to the next one was empty".to_owned(), false);
        let is_young = query.made - window.to < CLOSED_AFTER;
        doubt(is_young, Verdict::Unproven, "it was younger than 24 hours when it was asked, and records come late".to_owned(), false);
        let is_beyond = query.made - window.from > SURE_REACH;
        doubt(
            is_beyond,
            Verdict::Unproven,
            "it began more than 180 days before it was asked, which not every record reaches".to_owned(),
            true,
        );
        doubt(records == 0 && is_cut.is_some(), Verdict::Unproven, NO_RECORDS.to_owned(), true);
        let verdict = doubts.iter().map(|(verdict, ..)| *verdict).max().unwrap_or(Verdict::Complete);
        let why = doubts.iter().map(|(_, why, _)| why.as_str()).collect::<Vec<_>>().join("; ");
        let why = if why.is_empty() { "two readings in a row had the same records, and none was cut".to_owned() } else { why };
        let is_final = doubts.iter().all(|(.., is_final)| *is_final);
        End { verdict, why, is_final, findings: findings(counts, found), ..self.end(found) }
    }
}

/// Whether the database is away for a while.
fn is_passing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(DatabaseError::Passing(_)))
}

/// What is worth a word and proves nothing.
fn findings(counts: Counts, found: &Found) -> Vec<String> {
    let (oddities, records) = (found.union.oddities(), found.union.len());
    let mut findings = Vec::new();
    let mut tell = |count: u64, what: &str| {
        if count > 0 {
            findings.push(format!("{count} {what}"));
        }
    };
    tell(oddities.unlike, "envelopes have another id than their record, whose own stands");
    tell(oddities.outside, "records happened outside of what was asked for");
    if let Some(told) = counts.approximate_returned_record_count
        && told.abs_diff(records) > FEW.max(records / 10)
    {
        findings.push(format!("the service counts {told} records approximately, and {records} were found"));
    }
    findings
}

/// How a query began.
enum Begun {
    Query(MadeQuery),
    /// It was asked for, and there is no trace of it.
    Unlisted,
    Waits(String),
}

/// Why a query is not waited for any longer.
enum Unfinished {
    /// Nothing more is expected of it.
    Lost(String),
    /// Nothing more is to be asked in this run.
    Waits(String),
    /// A later run looks at it again.
    Left(String),
}

fn window_name(window: Window, number: usize) -> String {
    let time = |time: DateTime<Utc>| time.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    format!("{} to {} #{number}", time(window.from), time(window.to))
}
