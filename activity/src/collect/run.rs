//! The collecting run: starts the stack, runs both functions until nothing is left to do, runs them once more, and holds what
//! they say of it against what the services saw. What is read of it, and how it looks, is in the submodules.

mod check;
pub mod log;
mod report;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::time::interval;

use crate::collect::stack::{Stack, StackOptions};
use crate::screen::Screen;
use crate::ship::executable::build_beside;
use crate::ship::stage::EXECUTABLE;
use crate::text_table::Count;
use check::Witness;
use log::{Log, LogTotals};
use standins::host::{Host, Invocation, InvocationOutcome, QueueUntil};

/// The timer function's name.
pub const TIMER: &str = "QueueEvents";
/// A real tenant never rests: after so many ticks, what it published meanwhile is the next run's.
const MAX_TICKS: usize = 10;
/// Between two looks at how far the queue is.
const LOOK: Duration = Duration::from_millis(100);

/// What came of a run, and the stack that holds it.
pub struct RunReport {
    /// All that the handler said until nothing was left to do.
    pub first: LogTotals,
    /// How long that took.
    pub seconds: f64,
    /// What it said when it was run once more.
    pub again: LogTotals,
    /// How long that took.
    pub again_seconds: f64,
    /// What failed, and where the handler's account is not what the services saw.
    pub faults: Vec<String>,
    /// The executable that ran.
    pub handler: PathBuf,
    /// A user to ask the database about.
    pub somebody: Option<String>,
    /// Still running; all of it ends when this is dropped.
    pub stack: Stack,
}

/// Starts everything, collects all there is with the handler that is staged in a folder, or else with one that is built for
/// it, and ends the handler.
///
/// # Errors
///
/// One line that says what to do: a part could not be started, or the functions cannot work at all.
pub async fn collect(options: StackOptions, staged: Option<&Path>, screen: &Screen) -> Result<RunReport> {
    let log = Arc::new(Log::default());
    let (stack, handler, host) = match staged {
        Some(folder) => {
            let stack = Stack::start(options, screen).await?;
            screen.part("handler", format_args!("what is staged in {}", folder.display()));
            let host = stack.staged_host(folder, Some(log.sink(screen))).await?;
            (stack, folder.join(EXECUTABLE), host)
        }
        None => {
            let (stack, handler) = start_and_build(options, screen).await?;
            let host = stack.host(&handler, Some(log.sink(screen))).await?;
            (stack, handler, host)
        }
    };
    screen.part("host", format_args!("stand-in for the Functions host, the handler answered after {} ms", host.ready_after().as_millis()));
    screen.line("");

    let mut run = Run { stack: &stack, host: &host, log: &log, screen, faults: Vec::new() };
    let (first, seconds) = run.until_nothing_is_left().await?;
    let (again, again_seconds) = run.once_more().await?;
    let faults = run.faults;
    host.stop().await;
    let somebody = match &stack.cosmos {
        Some(cosmos) => report::somebody(cosmos).await?,
        None => None,
    };
    Ok(RunReport { first, seconds, again, again_seconds, faults, handler, somebody, stack })
}

/// Starts the stack while cargo builds the handler: the first time, both take minutes. If both fail, the stack's error is
/// returned.
async fn start_and_build(options: StackOptions, screen: &Screen) -> Result<(Stack, PathBuf)> {
    let (mut building, mut built) = (pin!(build_beside(screen)), None);
    let stack = {
        let mut starting = pin!(Stack::start(options, screen));
        loop {
            tokio::select! {
                stack = &mut starting => break stack?,
                result = &mut building, if built.is_none() => built = Some(result),
            }
        }
    };
    let handler = match built {
        Some(result) => result?,
        None => building.await?,
    };
    Ok((stack, handler))
}

/// A run in progress.
struct Run<'a> {
    stack: &'a Stack,
    host: &'a Host,
    log: &'a Log,
    screen: &'a Screen,
    faults: Vec<String>,
}

impl Run<'_> {
    /// Timer and queue, until the timer queues nothing.
    async fn until_nothing_is_left(&mut self) -> Result<(LogTotals, f64)> {
        let begin = Instant::now();
        let mut ticks = 0;
        let mut sums = LogTotals::default();
        loop {
            ticks += 1;
            let tick = self.tick().await?;
            let is_idle = tick.total().queued == 0;
            sums.add(if is_idle && ticks > 1 { tick.without_listed() } else { tick });
            if is_idle || ticks == MAX_TICKS {
                break;
            }
        }
        let seconds = begin.elapsed().as_secs_f64();
        let witness = Witness::of(self.stack).await?;
        self.faults.extend(check::collected(&sums, &witness));
        Ok((sums, seconds))
    }

    /// One more tick, which has nothing to do, and must not do anything.
    async fn once_more(&mut self) -> Result<(LogTotals, f64)> {
        let begin = Instant::now();
        let before = Witness::of(self.stack).await?;
        let again = self.tick().await?;
        let seconds = begin.elapsed().as_secs_f64();
        self.faults.extend(check::idle(&again, &before, &Witness::of(self.stack).await?));
        Ok((again, seconds))
    }

    /// One run of the timer, and the queue until it is empty.
    async fn tick(&mut self) -> Result<LogTotals> {
        let task = self.screen.task("listing", "what became available");
        let timer = [self.host.run_timer(TIMER).await];
        self.note(&timer).await;
        let listed = self.log.sums();
        let total = listed.total();
        if total.listed == 0 && !timer[0].outcome.is_success() {
            bail!("{}", listed.failures.last().cloned().unwrap_or_else(|| reason(&timer[0])));
        }
        task.done(format_args!(
            "{} content blobs listed on {} pages, {} queued",
            Count(total.listed),
            Count(total.pages),
            Count(total.queued)
        ));
        self.queue(total.queued).await?;
        Ok(self.log.take())
    }

    async fn queue(&mut self, queued: u64) -> Result<()> {
        let task = self.screen.task("storing", "");
        let mut looks = interval(LOOK);
        let mut listener = std::pin::pin!(self.host.run_queue(QueueUntil::empty()));
        let summary = loop {
            tokio::select! {
                summary = &mut listener => break summary?,
                _ = looks.tick(), if queued > 0 => {
                    let sums = self.log.sums();
                    let total = sums.total();
                    task.at(total.fetched + total.lost, queued, report::progress(&sums, queued));
                }
            }
        };
        self.note(&summary.invocations).await;
        if summary.poisoned > 0 {
            self.faults.push(format!("{} messages failed every time and went to the poison queue", summary.poisoned));
        }
        if let Some(reason) = self.host.failure() {
            bail!("the handler is down: {reason}");
        }
        if !summary.invocations.is_empty() {
            task.done(report::progress(&self.log.sums(), queued));
        }
        Ok(())
    }

    /// Notes what failed, and whose line is missing.
    async fn note(&mut self, invocations: &[Invocation]) {
        let untold = self.log.untold(invocations).await;
        let failed = invocations.iter().filter(|invocation| !invocation.outcome.is_success()).map(reason);
        let untold =
            untold.into_iter().map(|invocation| format!("{} {} ended without its line in the log", invocation.function, invocation.id));
        self.faults.extend(failed.chain(untold));
    }
}

fn reason(invocation: &Invocation) -> String {
    match &invocation.outcome {
        InvocationOutcome::Succeeded { .. } => String::new(),
        InvocationOutcome::Failed { reason } => format!("{} failed: {reason}", invocation.function),
        InvocationOutcome::TimedOut => format!("{} did not end in time, and the handler was killed for it", invocation.function),
    }
}
