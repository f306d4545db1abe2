//! Where things lie on this machine: the repository, what a stack that is kept up leaves beside what is built, and what this user's runs
//! remember.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The folder of `host.json`.
pub fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Says where a stack that is kept up is, and what opens it: below the repository, or below the current folder where there is
/// no repository.
pub fn keep_file() -> PathBuf {
    let root = if repository().is_dir() { repository() } else { Path::new("") };
    root.join("target/activity/keep.json")
}

/// What is remembered between runs of this user, whatever folder they work in.
/// <https://specifications.freedesktop.org/basedir-spec/latest/>
pub(crate) fn user_state_folder() -> Result<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/state")));
    Ok(state.context("there is no user's state folder: set XDG_STATE_HOME or HOME")?.join("office365-activity"))
}
