//! Where things lie on this machine: the repository, and what a stack that is kept up leaves beside what is built.

use std::path::{Path, PathBuf};

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
