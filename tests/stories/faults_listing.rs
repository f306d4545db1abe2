//! Listings that fail, times that cannot be listed any more, and clocks that differ: what the checkpoint then says.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use serde_json::{Value, json};
use standins::tenant::{CONTENT_TYPES, Fault, FaultKind, NewBlob, Operation};

use crate::world::{EXCHANGE, SHAREPOINT, Setting, World, later, reason, record, world};

fn time(text: &Value) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text.as_str().expect("a time")).unwrap().to_utc()
}

/// No listing was refused for its times.
fn assert_windows_allowed(world: &World) {
    let refused: Vec<_> = world.calls(Operation::ListContent).into_iter().filter(|call| call.status != 200).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

/// Taken out: with the pages before the bad one queued, `queued` is not 0; with the checkpoint moved past a window that
/// failed, the checkpoint differs, and once the overlap has passed the blobs would be gone.
#[tokio::test]
async fn a_window_whose_third_page_fails_is_not_complete_and_the_next_tick_mends_it() {
    let status =
        |status, body: &str| FaultKind::Status { status, body: body.to_owned(), content_type: "text/html".to_owned(), retry_after: None };
    let cases = [
        ("AF50000", FaultKind::internal()),
        ("AF429 as 403", FaultKind::throttled(403)),
        ("AF20031", FaultKind::Code { status: 400, code: "AF20031", message: "Invalid nextPage Input.".to_owned() }),
        ("reset", FaultKind::Reset),
        ("truncated", FaultKind::Truncated { bytes: 30 }),
        ("clipped", FaultKind::Clipped { bytes: 30 }),
        ("a web page", FaultKind::Html),
        ("no body", FaultKind::EmptyBody),
        ("not found", status(404, "<html>")),
        ("forbidden", status(403, "<html>")),
    ];
    join_all(cases.map(|(name, what)| async move {
        let world = world().await;
        world.tick().await;
        let before = world.checkpoint(EXCHANGE).await.unwrap();
        world.travel(TimeDelta::minutes(5));
        world.tenant.set_page_size(2);
        // All at one instant, so that midnight does not part them.
        let at = world.ago(3);
        for number in 0..7 {
            world.tenant.publish(NewBlob::new(EXCHANGE, at, vec![record(&number.to_string())]));
        }
        world.tenant.fail(Fault::always(Operation::ListContent, what).matching("nextPage").after(1));
        let tick = world.tick().await;
        assert!(reason(&tick.invocation).contains("500"), "{name}: {:?}", tick.invocation);
        assert_eq!((&tick.exchange()["outcome"], &tick.exchange()["queued"]), (&json!("failed"), &json!(0)), "{name}: {}", tick.line);
        assert!(world.logged("ERROR").contains("list Audit.Exchange from"), "{name}: {}", world.logged("ERROR"));
        assert_eq!(world.checkpoint(EXCHANGE).await.unwrap(), before, "{name}");

        world.tenant.clear_faults();
        let tick = world.tick().await;
        assert_eq!((&tick.exchange()["outcome"], &tick.exchange()["queued"]), (&json!("complete"), &json!(7)), "{name}: {}", tick.line);
        assert_eq!(tick.exchange()["late"], json!(0), "{name}");
        assert!(world.checkpoint(EXCHANGE).await.unwrap() > before, "{name}");
    }))
    .await;
}

/// Taken out: with the runs one after another and `?` between them, or one checkpoint for all, the other four stay behind.
#[tokio::test]
async fn one_workloads_trouble_holds_back_no_other() {
    let world = Setting::default().with("WORKLOADS", "").start().await;
    let blobs =
        CONTENT_TYPES.map(|content_type| world.tenant.publish(NewBlob::new(content_type, world.ago(20), vec![record(content_type)])));
    world.tenant.fail(Fault::always(Operation::ListContent, later(500, "AF50000", 60)).matching(SHAREPOINT));
    world.write_checkpoint("Audit.General", "yesterday").await;
    let tick = world.tick().await;
    let why = world.logged("ERROR");
    assert!(why.contains("list Audit.SharePoint from") && why.contains("AF50000") && why.contains("Audit.General.log"), "{why}");
    for content_type in CONTENT_TYPES {
        let failed = [SHAREPOINT, "Audit.General"].contains(&content_type);
        let expected = if failed { ("failed", 0) } else { ("complete", 1) };
        let report = tick.of(content_type);
        assert_eq!((&report["outcome"], &report["queued"]), (&json!(expected.0), &json!(expected.1)), "{content_type}: {report}");
        assert_eq!(world.journal(content_type).await.len(), expected.1, "{content_type}");
    }
    assert_eq!(world.checkpoint(SHAREPOINT).await, None);
    assert!(!tick.invocation.outcome.is_success(), "a failed workload must not look well");

    world.tenant.clear_faults();
    assert_eq!(world.tick().await.of(SHAREPOINT)["queued"], json!(1));
    let queued: Vec<_> = world.messages().await.into_iter().flatten().map(|item| item["id"].clone()).collect();
    assert!(blobs.iter().filter(|id| !id.contains("General")).all(|id| queued.contains(&json!(id))), "{queued:?}");
}

/// Taken out: with windows cut only at "now less 24 h", as the ancestors had them, the first hours of each are missing.
#[tokio::test]
async fn what_came_while_the_collector_was_down_is_collected_without_a_gap() {
    join_all([25 * 60, 6 * 24 * 60 + 21 * 60 + 36].map(|minutes| async move {
        let world = world().await;
        world.tick().await;
        world.travel(TimeDelta::minutes(minutes));
        let count = 50;
        for number in 0..count {
            world.publish(number * minutes / count + 1, &[&number.to_string()]);
        }
        let tick = world.tick().await;
        assert_eq!((&tick.exchange()["outcome"], &tick.exchange()["queued"]), (&json!("complete"), &json!(count)), "{}", tick.line);
        assert_eq!(tick.exchange()["late"], json!(0), "{}", tick.line);
        assert!(tick.exchange()["lag_seconds"].as_i64().is_some_and(|lag| lag < 60), "{}", tick.line);
        assert_eq!(world.storage.read_blob(&world.container, "gaps.ndjson").await.unwrap(), None);
        assert_windows_allowed(&world);
    }))
    .await;
}

/// Taken out: without the clamp each listing is refused with AF20055; without the checkpoint's move at the gap, the
/// second tick writes the same time down again.
#[tokio::test]
async fn a_checkpoint_beyond_seven_days_is_a_gap_of_which_each_second_is_written_down_once() {
    let world = world().await;
    let from = world.ago(8 * 24 * 60);
    world.write_checkpoint(EXCHANGE, &from.to_rfc3339()).await;
    let oldest = world.publish(7 * 24 * 60 - 15, &["oldest"]);
    world.publish(60, &["newest"]);
    // The gap is found, and then nothing can be listed for a while: what has gone since is a gap too.
    world.tenant.fail(Fault::always(Operation::ListContent, later(503, "", 60)));
    world.tick().await;
    world.travel(TimeDelta::seconds(20));
    world.tenant.clear_faults();
    world.tenant.clear_calls();
    let tick = world.tick().await;
    assert!(tick.invocation.outcome.is_success(), "{:?}", tick.invocation);
    assert_eq!(tick.exchange()["queued"], json!(2), "{}", tick.line);
    assert!(world.messages().await.iter().flatten().any(|item| item["id"] == json!(oldest)));
    assert_windows_allowed(&world);

    let gaps = world.storage.read_blob(&world.container, "gaps.ndjson").await.unwrap().expect("the gap is written down");
    let gaps: Vec<Value> = gaps.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [gap, further] = gaps.as_slice() else { panic!("{gaps:?}") };
    assert_eq!((&gap["event"], &gap["type"], time(&gap["from"])), (&json!("gap"), &json!(EXCHANGE), from), "{gap}");
    assert_eq!(further["from"], gap["to"]);
    let until = world.tenant.now() - time(&further["to"]);
    assert!((TimeDelta::minutes(7 * 24 * 60 - 10)..=TimeDelta::days(7)).contains(&until), "{further}");
    let errors = world.logged("ERROR");
    assert!(errors.contains("gap: ") && errors.contains(gap["from"].as_str().unwrap()), "{errors}");
    world.tick().await;
    assert_eq!(world.storage.read_blob(&world.container, "gaps.ndjson").await.unwrap().unwrap().lines().count(), 2);
}

/// Taken out: without `still_listable` the oldest window is asked for as it was planned, and refused with AF20055.
#[tokio::test]
async fn a_window_that_ages_while_others_are_listed_is_asked_for_as_far_as_it_still_can_be() {
    let world = world().await;
    world.tick().await;
    world.travel(TimeDelta::hours(13));
    world.tenant.clear_calls();
    // What moves the checkpoint is listed first, and takes its time: here a second that stands for ten minutes.
    world.tenant.fail(Fault::once(Operation::ListContent, FaultKind::Delay(Duration::from_secs(1))));
    let ages = async {
        world.until(|world| !world.calls(Operation::ListContent).is_empty()).await;
        world.travel(TimeDelta::minutes(10));
    };
    let (tick, ()) = tokio::join!(world.tick(), ages);
    assert_eq!(tick.exchange()["outcome"], json!("complete"), "{} {}", tick.line, world.logged("ERROR"));
    assert_windows_allowed(&world);
}

/// Taken out: with the machine's clock in the place of the service's, ten minutes of windows lie in the future, and so
/// does the checkpoint; or the newest ten minutes are not listed.
#[tokio::test]
async fn a_machine_whose_clock_is_wrong_lists_by_the_services_clock_and_says_so_once() {
    join_all([-10, 10].map(|minutes| async move {
        let world = world().await;
        world.travel(TimeDelta::minutes(minutes));
        world.publish(7 * 24 * 60 - 6, &["oldest"]);
        world.publish(1, &["newest"]);
        let tick = world.tick().await;
        assert_eq!(tick.exchange()["queued"], json!(2), "{minutes}: {}", tick.line);
        for _ in 0..2 {
            assert!(world.tick().await.invocation.outcome.is_success(), "{minutes}");
        }
        let behind = world.tenant.now() - time(&json!(world.checkpoint(EXCHANGE).await));
        assert!((TimeDelta::zero()..TimeDelta::minutes(1)).contains(&behind), "{minutes}: {behind}");
        assert_windows_allowed(&world);
        let warnings = world.logged("WARN");
        assert_eq!(warnings.matches("clock differs").count(), 1, "{minutes}: {warnings}");
    }))
    .await;
}

/// Taken out: with windows planned before the service has told its time, the checkpoint of the first lies ten minutes in
/// the service's future, and the second begins with AF20055; a checkpoint near the edge would become a gap that is none.
#[tokio::test]
async fn the_checkpoint_is_never_in_the_services_future_even_when_the_first_answers_are_lost() {
    join_all([-10, 10].map(|minutes| async move {
        let world = world().await;
        world.travel(TimeDelta::minutes(minutes));
        world.publish(60, &["a"]);
        world.tenant.fail(Fault::always(Operation::ListSubscriptions, FaultKind::Reset));
        let why = reason(&world.tick().await.invocation).to_owned();
        assert!(why.contains("503"), "{why}");
        let why = world.logged("ERROR");
        assert!(why.contains("its time is not known") && why.contains("list subscriptions: the connection failed"), "{why}");
        world.tenant.clear_faults();
        assert_windows_allowed(&world);
        if let Some(checkpoint) = world.checkpoint(EXCHANGE).await {
            assert!(time(&json!(checkpoint)) <= world.tenant.now(), "{minutes}: {checkpoint} at {}", world.tenant.now());
        }
        let tick = world.tick().await;
        assert!(tick.invocation.outcome.is_success(), "{minutes}: {:?}", tick.invocation);
        assert_eq!(world.journalled("queued").await.len(), 1, "{minutes}");
    }))
    .await;
}

/// Taken out: with each window of a service that is away tried to its end, a run is nothing but waiting.
#[tokio::test]
async fn after_a_connection_that_failed_as_a_whole_the_run_of_its_workload_ends() {
    let world = Setting::default().with("WORKLOADS", "Audit.Exchange,Audit.SharePoint").start().await;
    world.tenant.publish(NewBlob::new(SHAREPOINT, world.ago(30), vec![record("a")]));
    world.tenant.fail(Fault::always(Operation::ListContent, FaultKind::Reset).matching(EXCHANGE));
    let tick = world.tick().await;
    reason(&tick.invocation);
    let listings = world.calls(Operation::ListContent);
    let of = |workload: &str| listings.iter().filter(|call| call.content_type.as_deref() == Some(workload)).count();
    assert_eq!((of(EXCHANGE), &tick.exchange()["outcome"]), (4, &json!("failed")), "one window, tried four times");
    assert!(of(SHAREPOINT) > 6 && tick.of(SHAREPOINT)["queued"] == json!(1), "{}", tick.line);
    world.tenant.clear_faults();
    assert_eq!(world.tick().await.exchange()["outcome"], json!("complete"));
}

fn page(body: String) -> FaultKind {
    FaultKind::Status { status: 200, body, content_type: "application/json".to_owned(), retry_after: None }
}

/// Taken out: a page that is read to its end whatever its size takes the memory of the machine, and with it every other run.
#[tokio::test]
async fn a_page_that_is_too_large_is_not_read_to_its_end_and_its_window_is_halved() {
    let world = world().await;
    world.tick().await;
    let blob = world.publish(30, &["a"]);
    world.travel(TimeDelta::minutes(5));
    world.tenant.clear_calls();
    let huge = format!("[{}]", " ".repeat(33 * 1024 * 1024));
    world.tenant.fail(Fault::once(Operation::ListContent, page(huge)));
    let tick = world.tick().await;
    assert!(tick.invocation.outcome.is_success(), "{}", world.logged("ERROR"));
    assert_eq!((&tick.exchange()["queued"], &tick.exchange()["outcome"]), (&json!(1), &json!("complete")), "{}", tick.line);
    let calls = world.calls(Operation::ListContent);
    let times: Vec<_> = calls.iter().map(|call| ["startTime", "endTime"].map(|name| call.parameter(name).unwrap().to_owned())).collect();
    let [whole, first, second] = times.as_slice() else { panic!("{times:?}") };
    assert_eq!((&first[0], &first[1], &second[1]), (&whole[0], &second[0], &whole[1]), "{times:?}");
    assert_eq!(world.messages().await[0][0]["id"], json!(blob));
}

/// Taken out: the same of the number of content blobs in a listing.
#[tokio::test]
async fn a_listing_of_too_many_blobs_is_halved() {
    let world = world().await;
    world.tick().await;
    world.publish(30, &["a"]);
    world.travel(TimeDelta::minutes(5));
    let entry = r#"{"contentUri":"u","contentId":"i","contentCreated":"2026-11-20T10:00:00Z","contentExpiration":"2026-11-27T10:00:00Z"}"#;
    let many = format!("[{}{entry}]", format!("{entry},").repeat(200_000));
    assert!(many.len() < 32 * 1024 * 1024);
    world.tenant.fail(Fault::once(Operation::ListContent, page(many)));
    let tick = world.tick().await;
    assert!(tick.invocation.outcome.is_success(), "{}", world.logged("ERROR"));
    assert_eq!((&tick.exchange()["queued"], &tick.exchange()["windows"]), (&json!(1), &json!(2)), "{}", tick.line);
}
