//! Paging, and the habits of listings that others have met.

use serde_json::{Value, json};
use standins::tenant::{Fault, FaultKind, NewBlob, Operation};

use crate::world::{EXCHANGE, Setting, World, reason, record, world};

/// So many blobs of the last minutes, two on a page.
async fn of_pages(blobs: i64) -> World {
    let world = world().await;
    world.tenant.set_page_size(2);
    for number in 0..blobs {
        let created = world.ago(1) - chrono::TimeDelta::seconds(number);
        world.tenant.publish(NewBlob::new(EXCHANGE, created, vec![record(&format!("r{number}"))]));
    }
    let before = world.ago(60).format("%Y-%m-%dT%H:%M:%S.000Z").to_string();
    world.write_checkpoint(EXCHANGE, &before).await;
    world
}

/// Contents of every message.
async fn queued(world: &World) -> Vec<Value> {
    let mut ids: Vec<Value> = world.messages().await.into_iter().flatten().map(|item| item["id"].clone()).collect();
    ids.sort_by_key(Value::to_string);
    ids
}

async fn all(world: &World) -> Vec<Value> {
    world.tenant.blobs().into_iter().map(|blob| json!(blob.id)).collect()
}

#[tokio::test]
async fn an_empty_page_is_no_last_page() {
    let world = of_pages(5).await;
    for _ in 0..3 {
        world.tenant.fail(Fault::once(Operation::ListContent, FaultKind::EmptyPage));
    }
    let tick = world.tick().await;
    assert!(tick.invocation.outcome.is_success(), "{}", world.logged("ERROR"));
    assert_eq!(tick.exchange()["queued"], json!(5), "{}", tick.line);
    assert_eq!(queued(&world).await, all(&world).await);
}

#[tokio::test]
async fn the_next_page_is_asked_for_verbatim_but_for_the_publisher() {
    let world = of_pages(5).await;
    world.tick().await;
    let pages: Vec<_> = world.calls(Operation::ListContent).into_iter().filter(|call| call.parameter("nextPage").is_some()).collect();
    assert!(pages.len() >= 2, "{pages:?}");
    for page in pages {
        let names: Vec<&str> = page.query.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["contentType", "starttime", "endtime", "nextPage", "PublisherIdentifier"]);
        assert_eq!(page.status, 200);
    }
}

#[tokio::test]
async fn pages_that_repeat_fail_their_window_and_do_not_go_on_without_end() {
    let world = of_pages(3).await;
    world.tenant.fail(Fault::always(Operation::ListContent, FaultKind::RepeatNextPage));
    let before = world.checkpoint(EXCHANGE).await;
    let tick = world.tick().await;
    assert!(reason(&tick.invocation).contains("500"));
    assert!(world.logged("ERROR").contains("its pages repeat without end"), "{}", world.logged("ERROR"));
    assert_eq!(world.checkpoint(EXCHANGE).await, before);
    let listings = world.calls(Operation::ListContent).len();
    // A page and its like in each window of seven days.
    assert!(listings <= 2 * 30, "{listings}");
    world.tenant.clear_faults();
    let tick = world.tick().await;
    assert_eq!(tick.exchange()["queued"], json!(3), "{}", tick.line);
}

#[tokio::test]
async fn a_next_page_that_the_service_no_longer_knows_has_its_window_listed_anew() {
    let refused = || FaultKind::Code { status: 400, code: "AF20031", message: "Invalid nextPage Input: 1.".to_owned() };
    let world = of_pages(5).await;
    world.tenant.fail(Fault::once(Operation::ListContent, refused()).matching("nextPage"));
    let tick = world.tick().await;
    assert!(tick.invocation.outcome.is_success(), "{}", world.logged("ERROR"));
    assert_eq!((&tick.exchange()["queued"], &tick.exchange()["outcome"]), (&json!(5), &json!("complete")), "{}", tick.line);
    assert_eq!(queued(&world).await, all(&world).await);
    let calls = world.calls(Operation::ListContent);
    let at = calls.iter().position(|call| call.status == 400).unwrap();
    let window = |at: usize| (calls[at].parameter("startTime").unwrap().to_owned(), calls[at].parameter("nextPage").is_some());
    assert_eq!(window(at + 1), (calls[at].parameter("starttime").unwrap().to_owned(), false), "{calls:?}");
}

#[tokio::test]
async fn a_next_page_that_is_refused_again_and_again_is_left_to_the_next_run() {
    let world = of_pages(5).await;
    let refused = FaultKind::Code { status: 400, code: "AF20031", message: "Invalid nextPage Input: 1.".to_owned() };
    world.tenant.fail(Fault::always(Operation::ListContent, refused).matching("nextPage"));
    let before = world.checkpoint(EXCHANGE).await;
    let tick = world.tick().await;
    assert!(reason(&tick.invocation).contains("500"));
    assert!(world.logged("ERROR").contains("AF20031"), "{}", world.logged("ERROR"));
    assert_eq!((tick.exchange()["queued"].clone(), world.checkpoint(EXCHANGE).await), (json!(0), before));
    assert!(world.calls(Operation::ListContent).iter().filter(|call| call.status == 400).count() <= 4);
    world.tenant.clear_faults();
    assert_eq!(world.tick().await.exchange()["queued"], json!(5));
}

#[tokio::test]
async fn a_backlog_of_five_workloads_waits_for_none_of_them() {
    let world = Setting::of_all_workloads().start().await;
    for content_type in standins::tenant::CONTENT_TYPES {
        world.tenant.publish(NewBlob::new(content_type, world.ago(30), vec![record(content_type)]));
    }
    let failing = FaultKind::Code { status: 401, code: "AF10001", message: "The permission set is not enough.".to_owned() };
    world.tenant.fail(Fault::always(Operation::ListContent, failing).matching("DLP.All"));
    let tick = world.tick().await;
    assert!(reason(&tick.invocation).contains("500"));
    for content_type in standins::tenant::CONTENT_TYPES {
        let (outcome, queued) = if content_type == "DLP.All" { ("failed", 0) } else { ("complete", 1) };
        let report = tick.of(content_type);
        assert_eq!((&report["outcome"], &report["queued"]), (&json!(outcome), &json!(queued)), "{report}");
    }
    assert!(world.logged("ERROR").contains("DLP.All") && world.logged("ERROR").contains("ActivityFeed.Read"));
}
