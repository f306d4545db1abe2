//! The storm: two handlers on one queue and one state, a tenant that goes on publishing, and trouble by a seeded plan; then
//! calm; then the account: every record is a document once, or its loss is on record and the tenant confirms it.

mod account;
mod content;
mod evidence;
mod figures;
pub mod plan;
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::TimeDelta;
use clap::Args;

pub use account::StormReport;
use evidence::Evidence;
use world::World;

use crate::screen::Screen;

/// Minutes by which the clock goes ahead after the storm, before each run of the timer. What was queued over an hour ago and
/// not stored is queued again by then; what is older than 26 hours, by the deep sweep that is due after half a day.
const HOMEWARD: [i64; 6] = [61, 64, 70, 13 * 60, 61, 66];
/// Then days, until all that could not be had is too old to be listed, and is given up.
const BEYOND: [i64; 4] = [2, 2, 2, 2];

/// What kind of storm.
#[derive(Args, Clone, Copy, Debug)]
pub struct StormOptions {
    /// The same seed makes the same plan of faults
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How long the faults go on
    #[arg(long, value_name = "M", default_value_t = 2.0, value_parser = minutes)]
    pub minutes: f64,
    /// Records of the simulated tenant
    #[arg(long, value_name = "K", default_value_t = 20_000)]
    pub records_count: usize,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.01..=24.0 * 60.0).contains(&minutes) => Ok(minutes),
        _ => Err("minutes from 0.01 to 1440".to_owned()),
    }
}

/// Lets a storm pass over two processes of a handler, waits for calm, and gives account.
///
/// # Errors
///
/// A part could not be started, or something does not come to an end; what is lost is no error, but in the account.
pub async fn storm(options: StormOptions, handler: &Path, screen: &Screen) -> Result<StormReport> {
    let begin = Instant::now();
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let plan = plan::plan(options.seed, length);
    let mut world = World::start(handler, options.seed, options.records_count).await?;
    world.run(&plan, screen).await?;
    let ahead = HOMEWARD.map(TimeDelta::minutes).into_iter().chain(BEYOND.map(TimeDelta::days));
    for (run, by) in ahead.enumerate() {
        screen.part("calm", format_args!("the clock goes ahead by {} minutes, and the timer fires", by.num_minutes()));
        world.advance(by);
        // The queue hides messages by its own clock, which does not go ahead: what it hides for an hour would wait on for good.
        world.purge_queue().await?;
        world.calm_tick(run % 2).await?;
    }
    let evidence = Evidence::gather(&world).await?;
    let account = StormReport::new(options, world.figures.counts(), &evidence, begin.elapsed());
    world.stop().await;
    Ok(account)
}
