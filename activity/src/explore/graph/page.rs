//! The page's files: markup and style as they stand, and one script made of ours and its libraries by their lock file.

use anyhow::{Context as _, Result};

use standins::npm::Package;

const PACKAGE: Package =
    Package { folder: concat!(env!("CARGO_MANIFEST_DIR"), "/page"), what: "the libraries of the graph page,", size: "about 20 MB" };

/// What makes one script of ours and its libraries.
const BUNDLE: [&str; 10] = [
    "node_modules/esbuild/bin/esbuild",
    "src/main.ts",
    "--bundle",
    "--minify",
    "--format=iife",
    "--target=es2022",
    "--charset=utf8",
    "--legal-comments=inline",
    "--define:process.env.NODE_ENV=\"production\"",
    "--log-level=error",
];

/// The markup; it names the other two.
pub(super) const MARKUP: &str = include_str!("../../../page/src/index.html");
/// The style sheet.
pub(super) const STYLE: &str = include_str!("../../../page/src/style.css");

/// Bundles the script. Takes a fraction of a second, and the install before the first time a few.
///
/// # Errors
///
/// One line that says what to do: Node.js is missing, or the install failed.
pub(super) async fn script(progress: impl Fn(&str)) -> Result<String> {
    PACKAGE.install(progress).await?;
    let script = PACKAGE.run("node", &BUNDLE, "the graph page's script cannot be made").await?;
    String::from_utf8(script).context("the graph page's script is no text")
}
