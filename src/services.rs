//! The clients and settings that both functions work with, built once a process.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context;
use azure_core::http::RetryOptions;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Mutex, Semaphore};

use crate::{
    azure::{Connection, identity::ActivityToken},
    clock::Clock,
    config::{Config, LeaveOut},
    database::Database,
    document::{LifeFrom, Rules, Table, redact::Treatment},
    error_text::chain,
    findings::{RuleSet, Silences},
    management_api::{ActivityClient, Refusals},
    outbox::Outbox,
    queue::ContentQueue,
    state::{OwnRules, State},
    workload::Workload,
};

/// Content blobs in flight in the whole process, whatever the number of messages: a bound of memory.
const FETCHES: usize = 8;
/// Batches being written in the whole process: likewise.
const WRITES: usize = 4;

/// The time after which the administrator's own rules are read again.
const OWN_RULES_STAY: TimeDelta = TimeDelta::hours(1);

/// All of it. Each function is handed the clients and its own part.
pub struct Services {
    /// The clients that both functions use.
    pub clients: Clients,
    /// The settings of QueueEvents.
    pub listing: ListingSettings,
    /// The database, the settings and the bounds of StoreEvents.
    pub storing: Storing,
}

/// The clients that both functions use.
pub struct Clients {
    pub(crate) clock: Arc<Clock>,
    pub(crate) activity: ActivityClient,
    pub(crate) state: Arc<State>,
    pub(crate) outbox: Outbox,
}

/// The settings of QueueEvents.
pub struct ListingSettings {
    pub(crate) workloads: Vec<Workload>,
    pub(crate) lookback: TimeDelta,
    pub(crate) batch_size: usize,
}

/// The database, the settings and the bounds of StoreEvents.
pub struct Storing {
    pub(crate) database: Database,
    retention: TimeDelta,
    partitions_per_day: u8,
    matched_values: Treatment,
    leave_out: LeaveOut,
    /// With the rows of the state container, once there were any.
    table: RwLock<Option<Arc<Table>>>,
    findings: bool,
    /// The rules, and when the administrator's own were last read.
    rule_set: Mutex<Option<(DateTime<Utc>, Arc<RuleSet>)>>,
    /// One permit a content blob in flight.
    pub(crate) fetches: Semaphore,
    /// One permit a batch being written.
    pub(crate) writes: Semaphore,
    pub(crate) refusals: Refusals,
}

impl Services {
    /// Builds every client; none of them connects yet.
    ///
    /// # Errors
    /// The settings, valid one by one, do not make a client here.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let connection = Connection::new(config, RetryOptions::default())?;
        let token = ActivityToken::new(config, &connection.transport).context("no credential for the Activity API")?;
        Self::with_token(config, &connection, token)
    }

    /// The same, where tokens for the Activity API come from elsewhere.
    ///
    /// # Errors
    /// See [`Services::new`].
    pub fn with_token(config: &Config, connection: &Connection, token: ActivityToken) -> anyhow::Result<Self> {
        if config.storage.needs_identity() || config.cosmos.key.is_none() {
            connection.identity().context("no managed identity, which storage or database need")?;
        }
        Ok(Self {
            clients: Clients::new(config, connection, token)?,
            listing: ListingSettings {
                workloads: config.workloads.clone(),
                lookback: TimeDelta::from_std(config.lookback)?,
                batch_size: config.batch_size,
            },
            storing: Storing {
                database: Database::new(&config.cosmos, connection.identity().ok()),
                retention: TimeDelta::from_std(config.documents.retention)?,
                partitions_per_day: config.documents.partitions_per_day,
                matched_values: Treatment::new(&config.documents.dlp_values, &config.office365.tenant_id),
                leave_out: config.documents.leave_out.clone(),
                table: RwLock::default(),
                findings: config.documents.findings,
                rule_set: Mutex::new(None),
                fetches: Semaphore::new(FETCHES),
                writes: Semaphore::new(WRITES),
                refusals: Refusals::default(),
            },
        })
    }
}

impl Clients {
    fn new(config: &Config, connection: &Connection, token: ActivityToken) -> anyhow::Result<Self> {
        let clock = Arc::new(Clock::default());
        let activity = ActivityClient::with_token(config, connection, token, Arc::clone(&clock))?;
        let queue = ContentQueue::new(config, connection).context("the content queue")?;
        let state = Arc::new(State::new(config, connection).context("the state container")?);
        Ok(Self { outbox: Outbox::new(queue, Arc::clone(&state), Arc::clone(&clock)), clock, activity, state })
    }
}

impl Clients {
    /// The client of the Activity API.
    #[must_use]
    pub fn activity(&self) -> &ActivityClient {
        &self.activity
    }

    /// The state container: what was erased, for example.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The service's time.
    #[must_use]
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }
}

impl Storing {
    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Writes at most so many request units a second from here on.
    pub fn set_pace(&mut self, request_units: u32) {
        self.database.set_pace(request_units);
    }

    /// The table of edges with the rows of the state container, where there are any.
    pub(crate) fn own_table(&self) -> Option<Arc<Table>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_table(&self, table: Table) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(table));
    }

    /// The rules by which documents are made at this time, with a table of edges; the built-in one if there is no other.
    pub(crate) fn rules<'a>(&'a self, now: DateTime<Utc>, table: Option<&'a Table>) -> Rules<'a> {
        Rules {
            partitions_per_day: self.partitions_per_day,
            retention: self.retention,
            life_from: LifeFrom::Event,
            now,
            matched_values: self.matched_values,
            leave_out: &self.leave_out,
            table: match table {
                Some(table) => table,
                None => Table::built_in(),
            },
        }
    }

    /// Asks the built-in rules alone from here on, where there is no state container that could hold others.
    pub async fn ask_built_in_rules(&self) {
        let ours = Arc::new(own_rule_set(&OwnRules::default()));
        *self.rule_set.lock().await = Some((DateTime::<Utc>::MAX_UTC, ours));
    }

    /// The rules that are asked of each record: ours, and the administrator's own, which are read at the first call and hourly.
    /// None: `FINDINGS=off`. What cannot be read or used is a warning, and never stops anything.
    pub(crate) async fn rule_set(&self, state: &State, now: DateTime<Utc>) -> Option<Arc<RuleSet>> {
        if !self.findings {
            return None;
        }
        let mut current = self.rule_set.lock().await;
        if let Some((read, set)) = &*current
            && now - *read < OWN_RULES_STAY
        {
            return Some(Arc::clone(set));
        }
        let set = match state.own_rules().await {
            Ok(own) => Arc::new(own_rule_set(&own)),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the administrator's own rules cannot be read; those known before are asked");
                current.as_ref().map_or_else(|| Arc::new(own_rule_set(&OwnRules::default())), |(_, set)| Arc::clone(set))
            }
        };
        *current = Some((now, Arc::clone(&set)));
        Some(set)
    }
}

/// Our rules and the administrator's; warns of each that cannot be used.
fn own_rule_set(own: &OwnRules) -> RuleSet {
    let silences = own.silence.as_deref().map_or_else(|| Ok(Silences::default()), Silences::read).unwrap_or_else(|error| {
        tracing::warn!(%error, "rules/silence.toml is not followed");
        Silences::default()
    });
    let set = RuleSet::with(own.files.iter().map(|(name, text)| (name.as_str(), text.as_str())), silences);
    for refused in set.refused() {
        tracing::warn!(file = refused.file, why = refused.why, "a rule is not asked");
    }
    set
}
