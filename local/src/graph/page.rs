//! The page's files: markup and style as they stand, and one script made of ours and its libraries by their lock file.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::npm::{Package, last_lines};

const PACKAGE: Package = Package { folder: "graph", what: "the libraries of the graph page,", size: "about 20 MB" };

/// The markup; it names the other two.
pub(super) const MARKUP: &str = include_str!("../../graph/page/index.html");
/// The style sheet.
pub(super) const STYLE: &str = include_str!("../../graph/page/style.css");

/// Bundles the script. Takes a fraction of a second, and the install before the first time a few.
///
/// # Errors
///
/// One line that says what to do: Node.js is missing, or the install failed.
pub(super) async fn script(progress: impl Fn(&str)) -> Result<String> {
    PACKAGE.install(progress).await?;
    let output = Command::new("node")
        .args(["node_modules/esbuild/bin/esbuild", "page/main.ts", "--bundle", "--minify", "--format=iife", "--target=es2022"])
        .args(["--charset=utf8", "--legal-comments=inline", "--define:process.env.NODE_ENV=\"production\"", "--log-level=error"])
        .current_dir(PACKAGE.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| PACKAGE.cannot_run("node", &error))?;
    let complaint = || last_lines(&String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "the graph page's script cannot be made: {}", complaint());
    String::from_utf8(output.stdout).context("the graph page's script is no text")
}
