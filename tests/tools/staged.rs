//! What ships: a folder that holds exactly that, and does the job from there. Here with the executable under test; the
//! continuous build does the same with the release build.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use activity::ship::stage::stage;
use serde_json::json;
use standins::host::HostOptions;

use crate::world::{HANDLER, Setting};

fn files(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match path.is_dir() {
            true => files.extend(self::files(&path).into_iter().map(|file| format!("{name}/{file}"))),
            false => files.push(name),
        }
    }
    files.sort();
    files
}

/// Taken out: with the executable under another name or without its bit, the host finds no handler; with the settings or the
/// repository beside it, they would be published.
#[tokio::test]
async fn what_ships_is_laid_out_alone_and_does_the_job_from_its_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    let dist = folder.path().join("dist");
    stage(Path::new(HANDLER), &dist).unwrap();
    // Once more: what was there before is gone.
    fs::write(dist.join("QueueEvents/left.txt"), "").unwrap();
    let staged = stage(Path::new(HANDLER), &dist).unwrap();
    let expected = ["QueueEvents/function.json", "StoreEvents/function.json", "handler", "host.json"];
    assert_eq!(files(&dist), expected);
    assert_eq!(staged.files.len(), expected.len());
    assert_eq!(fs::metadata(dist.join("handler")).unwrap().permissions().mode() & 0o777, 0o755);

    let setting = Setting::default();
    let world = Setting { host: HostOptions { app_root: dist, ..setting.host.clone() }, ..setting }.start().await;
    for number in 0..3 {
        world.publish(30 + number, &[&format!("r{number}"), "twice"]);
    }
    let tick = world.tick().await;
    assert_eq!(tick.exchange()["queued"], json!(3), "{}", tick.line);
    assert!(world.store_all().await.succeeded() > 0);
    assert_eq!(world.ids().await, ["r0", "r1", "r2", "twice"]);
    assert_eq!(world.tick().await.exchange()["queued"], json!(0));
}

/// Taken out: a folder named by mistake would be emptied.
#[tokio::test]
async fn a_folder_that_holds_anything_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
    let error = stage(Path::new(HANDLER), folder.path()).unwrap_err().to_string();
    assert!(error.contains("thesis.txt") && error.contains("was not staged"), "{error}");
    assert_eq!(files(folder.path()), ["thesis.txt"]);
}
