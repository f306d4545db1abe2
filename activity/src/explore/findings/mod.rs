//! What to look at first: the findings of a database over a time, those of rules over time and what is new for an account among them.

mod habits;
mod judge;
mod rows;

use std::collections::BTreeMap;
use std::io::{Write as _, stderr, stdout};
use std::time::Duration;

use anyhow::{Context as _, Result};
use azure_core::http::RetryOptions;
use azure_data_cosmos::clients::ContainerClient;
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use clap::Args;
use futures::TryStreamExt as _;
use handler::azure::Connection;
use handler::config::Config;
use handler::findings::{Level, RuleSet, Silences};
use handler::state::State;
use tokio::time::timeout;

pub use self::judge::{Judge, Judgement};
pub use self::rows::{Row, table};
use crate::case::export::settings;
use crate::case::filter::instant;
use crate::explore::database::DatabaseOptions;
use crate::explore::documents::{of_partition, partitions};
use crate::geoip::GeoIpOptions;
use crate::screen::{Screen, one_line};
use crate::text_table::Count;
use crate::visible::visible_json;

/// Rows that are shown where nobody asked for them.
const FEW: usize = 8;
/// A storage account that does not answer holds nobody up for longer.
const STATE_LIMIT: Duration = Duration::from_secs(20);

/// Which findings, and how they are told.
#[derive(Args, Clone, Debug)]
pub struct FindingsOptions {
    /// What happened from this time on, UTC, a day or RFC 3339. What is older tells what is new for an account
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub from: Option<DateTime<Utc>>,
    /// What happened before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub to: Option<DateTime<Utc>>,
    /// Ask today's rules of each document, in place of the findings that it was stored with
    #[arg(long)]
    pub again: bool,
    /// The level from which on the exit code is 3: informational, low, medium, high or critical
    #[arg(long, value_name = "LEVEL", default_value = "high")]
    pub fail_on: Level,
    /// Leave out what is below this level
    #[arg(long, value_name = "LEVEL", default_value = "informational")]
    pub min_level: Level,
    /// Print one JSON array
    #[arg(long, conflicts_with = "ndjson")]
    pub json: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub ndjson: bool,
    /// What tells country and network of an address, for what is new for an account
    #[command(flatten)]
    pub geoip: GeoIpOptions,
    /// Which database
    #[command(flatten)]
    pub database: DatabaseOptions,
}

/// Prints the findings. Returns whether there is one of the level that is to fail.
///
/// # Errors
///
/// The database cannot be read. A state container that cannot be read is told, and costs the administrator's own rules and silences.
pub async fn findings(options: &FindingsOptions, screen: &Screen) -> Result<bool> {
    let geoip = options.geoip.open()?;
    let database = options.database.or_kept()?;
    let container = database.open().await?;
    let set = rules(&database).await;
    let judgement = if options.again { Judgement::Anew } else { Judgement::AsStored };
    let task = screen.task("findings", "reading documents");
    let mut judge = Judge::new(&set, judgement, options.from, geoip);
    let mut count = 0;
    judge_all(&container, (options.from, options.to), set.longest_timespan(), &mut judge, || {
        count += 1;
        if count % 1000 == 0 {
            task.now(format_args!("{} documents read", Count(count)));
        }
    })
    .await?;
    let rows = judge.rows();
    task.done(format_args!("{} of {} documents", Count(rows.len() as u64), Count(count)));
    let is_failure = rows.iter().any(|row| row.level >= options.fail_on);
    let shown: Vec<_> = rows.into_iter().filter(|row| row.level >= options.min_level).collect();
    // A reader who has gone is no trouble.
    let _ = print(options, &shown);
    Ok(is_failure)
}

fn print(options: &FindingsOptions, rows: &[Row]) -> Result<()> {
    let mut out = stdout().lock();
    if options.json {
        writeln!(out, "{}", visible_json(&serde_json::to_string(rows)?))?;
    } else if options.ndjson {
        for row in rows {
            writeln!(out, "{}", visible_json(&serde_json::to_string(row)?))?;
        }
    } else if rows.is_empty() {
        writeln!(out, "Nothing was found.")?;
    } else {
        write!(out, "{}", table(rows))?;
    }
    Ok(out.flush()?)
}

/// The worst of what was found, in a few lines; nothing where all of it is daily work.
#[must_use]
pub fn worst(rows: &[Row]) -> Option<String> {
    let is_worth_a_look = |row: &&Row| row.level >= Level::Medium;
    let count = rows.iter().filter(is_worth_a_look).count();
    let worst: Vec<_> = rows.iter().filter(is_worth_a_look).take(FEW).cloned().collect();
    let head = if count > FEW { format!("What to look at first ({FEW} of {count}):") } else { "What to look at first:".to_owned() };
    (count > 0).then(|| format!("{head}\n\n{}", table(&worst)))
}

/// Our rules and, as far as the state container of the collector can be read, the administrator's own and what they silenced.
pub(crate) async fn rules(database: &DatabaseOptions) -> RuleSet {
    let read = async {
        let config = Config::from_vars(settings(database)?)?;
        let connection = Connection::new(&config, RetryOptions::none())?;
        let state = State::new(&config, &connection).context("the state container")?;
        let own = timeout(STATE_LIMIT, state.own_rules()).await.context("no answer")??;
        let silences = own.silence.as_deref().map(Silences::read).transpose()?.unwrap_or_default();
        anyhow::Ok(RuleSet::with(own.files.iter().map(|(name, text)| (name.as_str(), text.as_str())), silences))
    };
    match read.await {
        Ok(set) => {
            set.refused().iter().for_each(|refused| note(&format!("a rule is not asked: {refused}")));
            set
        }
        Err(error) => {
            note(&format!(
                "only the built-in rules are asked, and nothing is silenced, since the state container cannot be read: {error:#}"
            ));
            RuleSet::with([], Silences::default())
        }
    }
}

fn note(text: &str) {
    let _ = writeln!(stderr(), "note: {}", one_line(text));
}

/// Hands all documents of a time to a judge, day after day, and before them what it looks back on.
async fn judge_all(
    container: &ContainerClient,
    (from, to): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    timespan: TimeDelta,
    judge: &mut Judge<'_>,
    mut tell: impl FnMut(),
) -> Result<()> {
    for (day, partitions) in by_day(partitions(container).await?) {
        let (begin, end) = (start(day), day.and_then(|day| start(day.succ_opt())));
        if to.zip(begin).is_some_and(|(to, begin)| begin >= to) {
            continue;
        }
        // Of what no rule over time can go back to, little is read.
        let is_long_ago = from.zip(end).is_some_and(|(from, end)| end <= from - timespan);
        let sql = if is_long_ago { habits::FIELDS } else { "SELECT * FROM c" };
        for partition in partitions {
            let mut documents = of_partition(container, &partition, sql).await?;
            while let Some(document) = documents.try_next().await? {
                tell();
                let at = judge::time(&document);
                match (from.zip(at), to.zip(at)) {
                    _ if is_long_ago => judge.learn(&document),
                    (_, Some((to, at))) if at >= to => {}
                    (Some((from, at)), _) if at < from => judge.look_back(&document),
                    // Never left out for a time that nobody can read.
                    _ => judge.take(&document),
                }
            }
        }
        judge.end_day();
    }
    Ok(())
}

/// Partitions by the day of their records' CreationTime; first those whose day is not known.
fn by_day(partitions: Vec<String>) -> BTreeMap<Option<NaiveDate>, Vec<String>> {
    let mut days: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for partition in partitions {
        let day = partition.rsplit_once('-').and_then(|(day, _)| day.parse::<NaiveDate>().ok());
        days.entry(day).or_default().push(partition);
    }
    days
}

fn start(day: Option<NaiveDate>) -> Option<DateTime<Utc>> {
    day.map(|day| day.and_time(NaiveTime::MIN).and_utc())
}
