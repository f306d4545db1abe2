//! The page's files: markup and style as they stand, and one script made of ours and its libraries by their lock file.

use anyhow::Result;

/// The markup; it names the other two.
pub(super) const MARKUP: &str = include_str!("../../../page/src/index.html");
/// The style sheet.
pub(super) const STYLE: &str = include_str!("../../../page/src/style.css");

/// The script that was bundled when this program was built, as the release workflow does: it needs no Node.js.
///
/// # Errors
///
/// None; the other form of it has some.
#[cfg(feature = "bundled")]
pub(super) async fn script(_progress: impl Fn(&str)) -> Result<String> {
    Ok(include_str!("../../../page/bundle.js").to_owned())
}

/// Bundles the script. Takes a second, and the install before the first time a few.
///
/// # Errors
///
/// One line that says what to do: Node.js is missing, or the install failed.
#[cfg(not(feature = "bundled"))]
pub(super) async fn script(progress: impl Fn(&str)) -> Result<String> {
    use anyhow::Context as _;
    use standins::npm::Package;

    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/page").into();
    let package = Package { folder, what: "the libraries of the graph page,", size: "about 20 MB" };
    package.install(progress).await?;
    let script = package.run("npm", &["run", "--silent", "bundle"], "the graph page's script cannot be made").await?;
    String::from_utf8(script).context("the graph page's script is no text")
}
