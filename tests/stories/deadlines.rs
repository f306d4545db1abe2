//! Deadlines: both functions stop in good order when time runs out. The host's limit is minutes, so here each function is
//! given a few, in a process of its own: this test binary again, with the handler's settings for its environment.

use std::time::Duration;

use chrono::TimeDelta;
use handler::{clock::rfc3339, config::Config, envelope::QueueMessage, limits::Deadline, queue_events, services::Services, store_events};
use serde_json::{Value, json};
use standins::{
    cosmos::{CosmosFault, CosmosFaultKind},
    tenant::{Fault, FaultKind, Operation},
};
use tokio::{process::Command, time::Instant};

use crate::{
    wire::{At, What},
    world::{EXCHANGE, Setting, World, world},
};

/// Long enough for a busy machine to do what the stories expect of it before.
const TIME: Duration = Duration::from_secs(8);
const LONG: FaultKind = FaultKind::Delay(Duration::from_secs(120));

/// Taken out: without `timeout_at` around a workload's run, the host would kill the process in the middle of it.
#[tokio::test]
async fn a_tick_that_runs_out_of_time_leaves_the_rest_to_the_next_and_says_so() {
    let world = world().await;
    world.publish(90, &["a"]);
    world.tenant.fail(Fault::always(Operation::ListContent, LONG).after(1));
    let report = with_less_time(&world, None).await;
    assert_eq!((&report["workloads"][0]["outcome"], &report["succeeded"]), (&json!("deadline"), &json!(true)), "{report}");
    let reached = world.checkpoint(EXCHANGE).await.expect("the first window was listed, and only it");
    assert!(reached < world.ago(24 * 60).to_rfc3339(), "{reached}");

    world.tenant.clear_faults();
    assert_eq!(world.tick().await.exchange()["outcome"], json!("complete"));
    world.store_all().await;
    assert_eq!(world.ids().await, ["a"]);
}

/// Taken out: were a window of any size listed to its last page, a day that takes longer than a run would be listed for ever.
#[tokio::test]
async fn a_day_that_no_run_can_list_whole_is_listed_in_parts_over_some_runs() {
    let world = Setting::default().with("STORY_SECONDS", "4").start().await;
    world.write_checkpoint(EXCHANGE, &rfc3339(world.ago(24 * 60))).await;
    world.tenant.set_page_size(1);
    let ids: Vec<String> = (0..24).map(|at| format!("{at:02}")).collect();
    ids.iter().zip(0..).for_each(|(id, at)| drop(world.publish(13 * 60 - 30 * at, &[id])));
    // Thirty requests of a fifth of a second do not fit four seconds.
    world.tenant.fail(Fault::always(Operation::ListContent, FaultKind::Delay(Duration::from_millis(200))));
    let mut runs = 0;
    while with_less_time(&world, None).await["workloads"][0]["outcome"] != json!("complete") {
        runs += 1;
        assert!(runs < 20, "each run comes further");
    }
    assert!(runs > 0);
    assert_eq!(world.journalled("queued").await.len(), ids.len());
}

/// Taken out: without putting each back by itself, a message that is too much for one invocation is too much for every one.
#[tokio::test]
async fn a_message_that_runs_out_of_time_goes_back_blob_by_blob() {
    let world = world().await;
    let blobs = [world.publish(90, &["a"]), world.publish(80, &["b"])];
    world.tenant.fail(Fault::always(Operation::FetchContent, LONG));
    world.storage.create_queue(&world.queue).await.unwrap();
    let report = with_less_time(&world, Some(world.message(&blobs))).await;
    assert_eq!((&report["requeued"], &report["stored"], &report["succeeded"]), (&json!(2), &json!(0), &json!(true)), "{report}");
    assert_eq!(world.storage.message_count(&world.queue).await.unwrap(), 2);
    assert_eq!(world.journalled("queued").await.len(), 2);
}

/// Taken out: without the mark the next run begins the sweep anew, and a sweep that is longer than a run never ends; with the
/// mark left behind when it is through, the next sweep begins in its middle.
#[tokio::test]
async fn a_sweep_that_time_cut_off_goes_on_at_the_next_run() {
    let world = world().await;
    world.tick().await;
    world.travel(TimeDelta::hours(13));
    world.publish(90, &["a"]);
    let forward = world.tenant.calls().len();
    world.tenant.fail(Fault::always(Operation::ListContent, LONG).after(5));
    assert_eq!(with_less_time(&world, None).await["workloads"][0]["outcome"], json!("deadline"));
    assert!(world.tenant.calls().len() > forward);
    let mark = mark(&world).await.expect("the sweep notes how far it got");
    let within = world.ago(6 * 24 * 60 + 23 * 60).to_rfc3339()..world.ago(24 * 60).to_rfc3339();
    assert!(within.contains(&mark), "{mark}");

    world.tenant.clear_faults();
    world.tenant.clear_calls();
    assert_eq!(world.tick().await.exchange()["outcome"], json!("complete"));
    let starts: Vec<String> = world
        .calls(Operation::ListContent)
        .into_iter()
        .filter_map(|call| call.query.into_iter().find(|(name, _)| name == "startTime"))
        .map(|(_, at)| at)
        .collect();
    assert_eq!(starts.iter().min().map(String::as_str), mark.get(..19), "{starts:?}");
    assert_eq!(self::mark(&world).await, None);
}

/// Taken out: were the checkpoint's write cut off like a listing, it would have been carried out all the same, and the run would
/// take it for another's.
#[tokio::test]
async fn a_checkpoints_write_that_outlasts_the_time_does_not_pass_for_another_runs() {
    let world = Setting::default().wired().start().await;
    world.tick().await;
    world.travel(TimeDelta::hours(13));
    world.wire().spoil(At::Checkpoint, 0, 1, What::HeldAfter);
    let report = with_less_time(&world, None).await;
    assert_eq!((&report["workloads"][0]["outcome"], &report["succeeded"]), (&json!("deadline"), &json!(true)), "{report}");
    assert_eq!(world.tick().await.exchange()["outcome"], json!("complete"));
}

/// Taken out: without the end of all time an invocation that settles while storage is away is at it for as long as the library
/// tries, which was 139 s for one append; a few of those, and the host kills the process.
#[tokio::test]
async fn an_end_that_storage_holds_up_fails_the_message_in_good_order() {
    let world = Setting::default().wired().start().await;
    let blob = world.publish(90, &["a"]);
    world.storage.create_container(&world.container).await.unwrap();
    world.wire().spoil(At::Append, 0, usize::MAX, What::HeldBefore);
    let report = with_less_time(&world, Some(world.message(&[blob]))).await;
    assert_eq!(
        (&report["succeeded"], &report["why"]),
        (&json!(false), &json!("time ran out before all was brought to an end")),
        "{report}"
    );
}

/// Whatever falls silent, the host has its answer before its own time-out, which would end all that runs beside it.
#[tokio::test]
async fn a_token_endpoint_that_falls_silent_takes_no_invocation_past_its_time() {
    let world = world().await;
    let blob = world.publish(90, &["a"]);
    world.storage.create_queue(&world.queue).await.unwrap();
    world.tenant.fail(Fault::always(Operation::Token, LONG));
    let report = with_less_time(&world, None).await;
    let out_of_time = "time ran out before all was brought to an end";
    assert_eq!((&report["succeeded"], &report["why"]), (&json!(false), &json!(out_of_time)), "{report}");
    let report = with_less_time(&world, Some(world.message(&[blob]))).await;
    assert_eq!((&report["requeued"], &report["succeeded"]), (&json!(1), &json!(true)), "{report}");
}

#[tokio::test]
async fn a_database_that_falls_silent_takes_no_invocation_past_its_time() {
    let world = world().await;
    let blob = world.publish(90, &["a"]);
    world.storage.create_queue(&world.queue).await.unwrap();
    world.cosmos.fail(CosmosFault::lasting(CosmosFaultKind::Delay(Duration::from_secs(30))));
    let report = with_less_time(&world, Some(world.message(&[blob]))).await;
    assert_eq!((&report["requeued"], &report["stored"], &report["succeeded"]), (&json!(1), &json!(0), &json!(true)), "{report}");
    world.cosmos.clear_faults();
}

/// How far the deep sweep under way got.
async fn mark(world: &World) -> Option<String> {
    let metadata = world.storage.metadata(&world.container, &format!("{EXCHANGE}.log")).await.unwrap();
    metadata.get("deepsweepreached").cloned()
}

/// Runs a function with seconds of time; its report.
async fn with_less_time(world: &World, message: Option<String>) -> Value {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "deadlines::run_in_a_process_of_its_own", "--nocapture"])
        .envs(&world.settings)
        .envs(message.map(|message| ("STORY_MESSAGE", message)))
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let report = text.lines().find_map(|line| line.strip_prefix("report "));
    serde_json::from_str(report.unwrap_or_else(|| panic!("no report: {text}{}", String::from_utf8_lossy(&output.stderr)))).unwrap()
}

#[tokio::test]
#[ignore = "no story: the stories above run it"]
async fn run_in_a_process_of_its_own() {
    let services = Services::new(&Config::from_env().unwrap()).unwrap();
    let seconds = std::env::var("STORY_SECONDS").ok().map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
    let work = Instant::now() + seconds.unwrap_or(TIME);
    let deadline = Deadline { work, end: work + 3 * TIME };
    let (mut report, result) = match std::env::var("STORY_MESSAGE") {
        Ok(text) => {
            let message = QueueMessage { text, id: String::new(), dequeue_count: 1, inserted: None };
            let (report, result) = store_events::run(&services.clients, &services.storing, &message, deadline).await;
            (serde_json::to_value(report).unwrap(), result)
        }
        Err(_) => {
            let (report, result) = queue_events::run(&services.clients, &services.listing, deadline).await;
            (serde_json::to_value(report).unwrap(), result)
        }
    };
    report["succeeded"] = json!(result.is_ok());
    report["why"] = json!(result.err().map(|failure| failure.to_string()));
    println!("\nreport {report}");
}

/// Taken out: were what is finished thrown away with what is not, nineteen stored blobs would be fetched and written again with
/// the twentieth.
#[tokio::test]
async fn what_is_stored_by_the_deadline_is_settled_and_only_the_rest_goes_back() {
    let world = world().await;
    let blobs = [world.publish(90, &["a"]), world.publish(80, &["slow"]), world.publish(70, &["b"])];
    world.tenant.fail(Fault::always(Operation::FetchContent, LONG).matching(&blobs[1]));
    world.storage.create_queue(&world.queue).await.unwrap();
    let report = with_less_time(&world, Some(world.message(&blobs))).await;
    assert_eq!((&report["requeued"], &report["stored"], &report["succeeded"]), (&json!(1), &json!(2), &json!(true)), "{report}");
    assert_eq!((&report["documents"], &report["lost"]), (&json!(2), &json!(0)), "{report}");
    assert_eq!(world.ids().await, ["a", "b"]);
    assert_eq!(world.journalled("stored").await.len(), 2);
    let back: Vec<_> = world.journalled("queued").await.iter().map(|line| line["id"].clone()).collect();
    assert_eq!(back, [json!(blobs[1])]);
}
