//! What the documentation says of the code, held against the code.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed")]

mod layers;
mod pages;

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder and below that end in `.{extension}`, without what is built or fetched.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let left_out = ["target", "node_modules", "dist", ".git"];
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| !left_out.iter().any(|name| path.ends_with(name)))
        .flat_map(|path| if path.is_dir() { files(&path, extension) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|end| end == extension))
        .collect()
}
