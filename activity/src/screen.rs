//! What a person sees while the stack works: one line for each thing done, and on a terminal a bar for what is being done.
//! What is said is the callers' matter.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::visible::visible;

/// Between two lines about the same task where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// Between two frames of a spinner.
const FRAME: Duration = Duration::from_millis(100);
/// Width of the word that a line begins with.
const LABEL: usize = 9;

/// Where lines and bars go: standard output.
#[derive(Clone, Debug)]
pub struct Screen {
    /// `None` where standard output is no terminal, or nobody looks.
    bars: Option<MultiProgress>,
    is_quiet: bool,
}

impl Screen {
    /// Bars and lines on a terminal, else lines alone.
    pub fn stdout() -> Self {
        let bars = || MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        Self { bars: stdout().is_terminal().then(bars), is_quiet: false }
    }

    /// Shows nothing, for tests.
    pub fn quiet() -> Self {
        Self { bars: None, is_quiet: true }
    }

    /// A line, above the bars.
    pub fn line(&self, text: impl Display) {
        match &self.bars {
            _ if self.is_quiet => {}
            Some(bars) => drop(bars.println(text.to_string())),
            None => line(text),
        }
    }

    /// A line that begins with the part of the stack that it is about.
    pub fn part(&self, label: &str, text: impl Display) {
        self.line(format_args!("{label:<LABEL$} {}", visible(&text.to_string())));
    }

    /// Something that takes a while.
    pub fn task(&self, label: &'static str, what: &str) -> Task<'_> {
        let bar = match &self.bars {
            Some(bars) => bars.add(ProgressBar::new_spinner().with_style(spinner()).with_prefix(format!("{label:<LABEL$}"))),
            None => ProgressBar::hidden(),
        };
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(FRAME);
        Task { screen: self, label, bar, begin: Instant::now(), told: Mutex::new(Told { at: Some(Instant::now()), text: String::new() }) }
    }
}

/// Prints a line for which no screen is at hand. A reader who has gone is no trouble.
pub fn line(text: impl Display) {
    let _ = writeln!(stdout(), "{text}");
}

/// The last plain line about a task.
#[derive(Debug)]
struct Told {
    /// `None`: the next may follow at once.
    at: Option<Instant>,
    text: String,
}

/// What takes a while. Its bar goes when it is dropped.
#[derive(Debug)]
pub struct Task<'a> {
    screen: &'a Screen,
    label: &'static str,
    bar: ProgressBar,
    begin: Instant,
    told: Mutex<Told>,
}

impl Task<'_> {
    /// What is being done now.
    pub fn now(&self, what: impl Display) {
        let what = what.to_string();
        self.bar.set_message(what.clone());
        if self.is_due(&what) {
            self.screen.part(self.label, what);
        }
    }

    /// As [`Task::now`], of something that takes long: told at once.
    pub fn begins(&self, what: impl Display) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).at = None;
        self.now(what);
    }

    /// How much of it is done.
    pub fn at(&self, done: u64, all: u64, what: impl Display) {
        if self.bar.length() != Some(all) {
            self.bar.set_style(bar());
            self.bar.set_length(all);
        }
        self.bar.set_position(done);
        self.now(what);
    }

    /// Whether a plain line should say so: now and then, and only news.
    fn is_due(&self, what: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = told.at.is_none_or(|at| at.elapsed() >= PLAIN_EVERY);
        let is_due = self.screen.bars.is_none() && is_time && told.text != what;
        if is_due {
            *told = Told { at: Some(Instant::now()), text: what.to_owned() };
        }
        is_due
    }

    /// Takes the bar away and leaves a line in its place.
    pub fn done(self, result: impl Display) {
        let (screen, label) = (self.screen, self.label);
        drop(self);
        screen.part(label, result);
    }

    /// Since it began.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A text as one line, whatever it holds.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The templates are constants and valid; should one not be, the default style shows the same figures less well.
fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} {spinner} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn bar() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} {bar:24} {elapsed}  {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}
