//! Deadlines: both functions stop in good order when time runs out. The host's limit is minutes, so here each function is
//! given a second, in a process of its own: this test binary again, with the handler's settings for its environment.

use std::time::Duration;

use handler::{app::Services, config::Config, queue_events, store_events};
use local::tenant::{Fault, FaultKind, Operation};
use serde_json::{Value, json};
use tokio::{process::Command, time::Instant};

use crate::world::{EXCHANGE, World, world};

const TIME: Duration = Duration::from_secs(1);
const LONG: FaultKind = FaultKind::Delay(Duration::from_secs(30));

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

/// Taken out: without `put_each_off`, a message that is too much for one invocation is too much for every one.
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

/// Runs a function with a second of time; its report.
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
    let deadline = Instant::now() + TIME;
    let (report, succeeded) = match std::env::var("STORY_MESSAGE") {
        Ok(message) => {
            let (report, result) = store_events::run(&services, &message, deadline).await;
            (serde_json::to_value(report).unwrap(), result.is_ok())
        }
        Err(_) => {
            let (report, result) = queue_events::run(&services, deadline).await;
            (serde_json::to_value(report).unwrap(), result.is_ok())
        }
    };
    let mut report = report;
    report["succeeded"] = json!(succeeded);
    println!("\nreport {report}");
}
