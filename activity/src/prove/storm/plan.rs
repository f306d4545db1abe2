//! The plan of a storm: what is done to the parts, and when, from a seed. Pure: the same seed and length make the same plan.
//! Doing it is next door.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// The tenant's clock goes ahead by no more than this in a storm: with what is needed afterwards to bring all home, no
/// content leaves the seven days for which it can be listed.
const MAX_AHEAD: u64 = 12 * 60;

/// Something that is done at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the storm began.
    pub at: Duration,
    /// What.
    pub act: Act,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The timer fires on one handler; `alongside` a run that has not ended, too.
    Tick {
        /// Which handler.
        host: usize,
        /// Whether even though another run has not ended.
        alongside: bool,
    },
    /// PlannedContent blobs become available.
    Publish {
        /// How many.
        blobs: usize,
        /// Which kind.
        kind: PlannedContent,
    },
    /// The newest content blob is taken away by the service.
    Withdraw,
    /// A handler gets SIGKILL.
    Kill(usize),
    /// A collector of another tenant works at the same queue for so many milliseconds.
    Stranger(u64),
    /// A host dies, as the real one does when several invocations time out together, and another takes its place.
    HostDies(usize),
    /// All access tokens become worthless.
    RevokeTokens,
    /// The tenant's clock jumps ahead by so many minutes.
    Jump(u64),
    /// Every message of the content queue is gone.
    Purge,
    /// Storage stops answering (SIGSTOP)…
    PauseStorage,
    /// …and goes on (SIGCONT).
    ResumeStorage,
    /// The API answers badly, in place of what it did before; `None`: well.
    Tenant(Option<TenantSpell>),
    /// The database answers badly, in place of what it did before; `None`: well.
    Database(Option<DatabaseSpell>),
}

/// Kinds of content that become available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedContent {
    /// Created just now.
    Fresh,
    /// Created so many minutes ago, and seen by nobody before.
    Late(u64),
    /// Created just now, and gone in so many seconds.
    Expiring(u64),
    /// With a contentUri that leads to another host.
    Foreign,
}

/// How the API answers badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TenantSpell {
    /// AF429, as 403 or 429, with Retry-After in seconds where given.
    Throttled {
        /// HTTP status.
        status: u16,
        /// Seconds.
        retry_after: Option<u64>,
    },
    /// AF50000 to every listing.
    ListingsFail,
    /// AF50000 to every fetch.
    FetchesFail,
    /// AF50000 to everything.
    EverythingFails,
    /// AF50000 to every page but the first.
    PagesFail,
    /// Some bodies cut by a lost connection after so many bytes.
    Cut(usize),
    /// Some bodies that end politely after so many bytes.
    Clipped(usize),
    /// Some web pages in place of JSON.
    Html,
    /// Some answers without a body.
    Empty,
    /// Some connections reset before an answer.
    Reset,
    /// Answers late by so many milliseconds.
    Slow(u64),
    /// Some answers that fall silent for so many milliseconds.
    Stall(u64),
    /// 401 to valid tokens.
    Unauthorised,
    /// This code to every fetch, as where tenant or publisher are set wrong.
    Refused(&'static str),
    /// 503 from the token endpoint.
    NoTokens,
    /// NextPageUri leads to another host.
    ForeignPage,
    /// NextPageUri leads to the page itself.
    RepeatedPage,
    /// Pages without content that lead on.
    EmptyPages,
}

/// How the database answers badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DatabaseSpell {
    /// 429 with a wait in milliseconds.
    Throttled(u64),
    /// A plain status: 408, 449, 500 or 503.
    Status(u16),
    /// Connections closed before anything is written.
    Reset,
    /// Connections closed after the write.
    LostAnswer,
    /// Answers late by so many milliseconds.
    Slow(u64),
}

/// Makes the plan of a storm.
pub fn plan(seed: u64, length: Duration) -> Vec<Step> {
    let mut planner = Planner { rng: ChaCha8Rng::seed_from_u64(seed), length, steps: Vec::new() };
    planner.ticks();
    planner.content();
    planner.kills();
    planner.strangers();
    planner.tokens();
    planner.clock();
    planner.queue();
    planner.storage();
    planner.tenant();
    planner.database();
    planner.steps.sort_by_key(|step| step.at);
    planner.steps
}

struct Planner {
    rng: ChaCha8Rng,
    length: Duration,
    steps: Vec<Step>,
}

impl Planner {
    fn ticks(&mut self) {
        self.every(700..=1400, |rng| vec![(0, Act::Tick { host: rng.random_range(0..2), alongside: rng.random_ratio(1, 5) })]);
    }

    fn content(&mut self) {
        self.every(600..=2000, |rng| vec![(0, Act::Publish { blobs: rng.random_range(1..=4), kind: kind_of_content(rng) })]);
        // So soon after it was published that it may or may not have been listed, queued or fetched.
        self.every(8_000..=20_000, |rng| {
            let (publish, wait) = (Act::Publish { blobs: 1, kind: PlannedContent::Fresh }, rng.random_range(500..6000));
            vec![(0, publish), (wait, Act::Withdraw)]
        });
    }

    fn kills(&mut self) {
        self.every(1500..=8000, |rng| vec![(0, Act::Kill(rng.random_range(0..2)))]);
        self.every(25_000..=60_000, |_| vec![(0, Act::Kill(0)), (0, Act::Kill(1))]);
        self.every(10_000..=25_000, |rng| vec![(0, Act::HostDies(rng.random_range(0..2)))]);
    }

    fn strangers(&mut self) {
        self.every(7000..=15_000, |rng| vec![(0, Act::Stranger(rng.random_range(500..2500)))]);
    }

    fn tokens(&mut self) {
        self.every(5000..=15_000, |_| vec![(0, Act::RevokeTokens)]);
    }

    fn clock(&mut self) {
        let mut ahead = 0;
        self.every(6000..=14_000, |rng| {
            let minutes = if rng.random_ratio(1, 4) { rng.random_range(60..=150) } else { rng.random_range(2..=50) };
            let minutes = minutes.min(MAX_AHEAD - ahead);
            ahead += minutes;
            if minutes == 0 { Vec::new() } else { vec![(0, Act::Jump(minutes))] }
        });
    }

    fn queue(&mut self) {
        self.every(8000..=20_000, |_| vec![(0, Act::Purge)]);
    }

    fn storage(&mut self) {
        self.every(9000..=20_000, |rng| vec![(0, Act::PauseStorage), (rng.random_range(500..4000), Act::ResumeStorage)]);
    }

    fn tenant(&mut self) {
        self.every(3000..=8000, |rng| {
            let spell = tenant_spell(rng);
            vec![(0, Act::Tenant(Some(spell))), (rng.random_range(1000..7000), Act::Tenant(None))]
        });
    }

    fn database(&mut self) {
        self.every(2000..=7000, |rng| {
            let spell = database_spell(rng);
            vec![(0, Act::Database(Some(spell))), (rng.random_range(500..8000), Act::Database(None))]
        });
    }

    /// Plans acts at random intervals, in milliseconds; each act with its delay after the first.
    fn every(&mut self, interval: RangeInclusive<u64>, mut acts: impl FnMut(&mut ChaCha8Rng) -> Vec<(u64, Act)>) {
        // The first of each kind comes early, so that a short storm has some of all.
        let mut at = Duration::from_millis(self.rng.random_range(0..=*interval.start()));
        while at < self.length {
            let acts = acts(&mut self.rng);
            self.steps.extend(acts.into_iter().map(|(delay, act)| Step { at: at + Duration::from_millis(delay), act }));
            at += Duration::from_millis(self.rng.random_range(interval.clone()));
        }
    }
}

fn kind_of_content(rng: &mut ChaCha8Rng) -> PlannedContent {
    match rng.random_range(0..20) {
        0..10 => PlannedContent::Fresh,
        10..13 => PlannedContent::Late(rng.random_range(1..=120)),
        13..15 => PlannedContent::Late(rng.random_range(121..=26 * 60)),
        15..17 => PlannedContent::Late(rng.random_range(26 * 60..=4 * 24 * 60)),
        17..19 => PlannedContent::Expiring(rng.random_range(3..=900)),
        _ => PlannedContent::Foreign,
    }
}

fn tenant_spell(rng: &mut ChaCha8Rng) -> TenantSpell {
    use TenantSpell::*;
    let status = if rng.random() { 403 } else { 429 };
    let retry_after = [None, Some(1), Some(20)].choose(rng).copied().flatten();
    let (compressed, plain, pause) = (rng.random_range(0..8000), rng.random_range(0..40_000), rng.random_range(200..3000));
    let spells = [
        Throttled { status, retry_after },
        Throttled { status, retry_after },
        ListingsFail,
        FetchesFail,
        EverythingFails,
        PagesFail,
        Cut(compressed),
        Clipped(plain),
        Html,
        Empty,
        Reset,
        Slow(pause),
        Stall(pause),
        Unauthorised,
        Refused("AF20052"),
        Refused("AF20050"),
        NoTokens,
        ForeignPage,
        RepeatedPage,
        EmptyPages,
    ];
    *spells.choose(rng).unwrap_or(&EverythingFails)
}

fn database_spell(rng: &mut ChaCha8Rng) -> DatabaseSpell {
    use DatabaseSpell::*;
    let wait = rng.random_range(20..800);
    let status = *[408, 449, 500, 503].choose(rng).unwrap_or(&503);
    *[Throttled(wait), Status(status), Status(status), Reset, LostAnswer, Slow(wait)].choose(rng).unwrap_or(&Reset)
}

impl Act {
    /// The row of the account that counts it; `None` for the end of a spell.
    pub fn kind(&self) -> Option<String> {
        let kind = match self {
            Self::Tick { alongside: false, .. } => "timer fires".to_owned(),
            Self::Tick { alongside: true, .. } => "timer fires, on both at once if one still runs".to_owned(),
            Self::Publish { kind, .. } => format!("content: {kind}"),
            Self::Withdraw => "content: withdrawn by the service".to_owned(),
            Self::Kill(_) => "handler killed (SIGKILL)".to_owned(),
            Self::Stranger(_) => "another tenant's collector on the queue".to_owned(),
            Self::HostDies(_) => "host died, its handler left behind".to_owned(),
            Self::RevokeTokens => "tokens revoked".to_owned(),
            Self::Jump(_) => "clock jumps ahead".to_owned(),
            Self::Purge => "queue purged".to_owned(),
            Self::PauseStorage => "storage paused (SIGSTOP)".to_owned(),
            Self::Tenant(Some(spell)) => format!("API: {spell}"),
            Self::Database(Some(spell)) => format!("database: {spell}"),
            Self::ResumeStorage | Self::Tenant(None) | Self::Database(None) => return None,
        };
        Some(kind)
    }
}

impl Display for PlannedContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh => "fresh",
            Self::Late(..=120) => "late by up to 2 h",
            Self::Late(121..=1560) => "late by 2 to 26 h",
            Self::Late(_) => "late by 26 h to 4 d",
            Self::Expiring(_) => "gone in seconds",
            Self::Foreign => "at a foreign address",
        })
    }
}

impl Display for TenantSpell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throttled { status, retry_after } => {
                let wait = if retry_after.is_some() { ", Retry-After" } else { "" };
                return write!(f, "AF429 as {status}{wait}");
            }
            Self::ListingsFail => "AF50000 on listings",
            Self::FetchesFail => "AF50000 on fetches",
            Self::EverythingFails => "AF50000 on everything",
            Self::PagesFail => "AF50000 on further pages",
            Self::Cut(_) => "bodies cut",
            Self::Clipped(_) => "bodies ended early, politely",
            Self::Html => "HTML bodies",
            Self::Empty => "empty bodies",
            Self::Reset => "connections reset",
            Self::Slow(_) => "slow answers",
            Self::Stall(_) => "answers that fall silent",
            Self::Unauthorised => "401 to valid tokens",
            Self::Refused(code) => return write!(f, "{code} on every fetch"),
            Self::NoTokens => "503 from the token endpoint",
            Self::ForeignPage => "foreign NextPageUri",
            Self::RepeatedPage => "NextPageUri that repeats",
            Self::EmptyPages => "empty pages",
        })
    }
}

impl Display for DatabaseSpell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throttled(_) => "429",
            Self::Status(status) => return write!(f, "{status}"),
            Self::Reset => "connections reset",
            Self::LostAnswer => "written, answer lost",
            Self::Slow(_) => "slow answers",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(120);

    #[test]
    fn a_seed_makes_the_same_plan_again_and_another_seed_another() {
        for seed in 0..50 {
            assert_eq!(plan(seed, LENGTH), plan(seed, LENGTH));
            assert_ne!(plan(seed, LENGTH), plan(seed + 1, LENGTH));
        }
    }

    #[test]
    fn steps_come_in_order_and_the_clock_stays_within_its_bound() {
        for seed in 0..50 {
            let steps = plan(seed, LENGTH * 10);
            assert!(steps.is_sorted_by_key(|step| step.at));
            let ahead: u64 = steps.iter().map(|step| if let Act::Jump(minutes) = step.act { minutes } else { 0 }).sum();
            assert!(ahead <= MAX_AHEAD, "{ahead} minutes");
            assert!(steps.iter().any(|step| matches!(step.act, Act::Kill(_))));
            assert!(steps.iter().any(|step| matches!(step.act, Act::HostDies(_))));
        }
    }
}
