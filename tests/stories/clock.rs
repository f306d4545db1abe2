//! The one clock: what may set it, and what is not done while it is in doubt.

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use serde_json::json;
use standins::tenant::{Fault, FaultKind, NewBlob, Operation};

use crate::world::{EXCHANGE, Setting, World, later, reason, record, world};

const MONTH: TimeDelta = TimeDelta::days(30);

fn date() -> FaultKind {
    FaultKind::Date(MONTH)
}

async fn gaps(world: &World) -> Option<String> {
    world.storage.read_blob(&world.container, "gaps.ndjson").await.unwrap()
}

async fn checkpoint(world: &World) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(&world.checkpoint(EXCHANGE).await.unwrap()).unwrap().to_utc()
}

/// Taken out: with any answer's `Date` believed, the proxy's page makes a gap of seven days and a checkpoint a month ahead.
#[tokio::test]
async fn a_proxy_that_answers_in_the_apis_place_does_not_set_the_clock() {
    let page = |status| FaultKind::Status { status, body: "<html>".into(), content_type: "text/html".into(), retry_after: None };
    join_all([page(200), page(302), page(403), page(407), later(502, "", 60), FaultKind::EmptyBody].map(|what| async move {
        let world = world().await;
        world.publish(60, &["a"]);
        world.tick().await;
        world.host.restart().await;
        for operation in [Operation::ListSubscriptions, Operation::ListContent] {
            world.tenant.fail(Fault::always(operation, date()));
            world.tenant.fail(Fault::always(operation, what.clone()));
        }
        let before = world.checkpoint(EXCHANGE).await;
        reason(&world.tick().await.invocation);
        assert_eq!((gaps(&world).await, world.checkpoint(EXCHANGE).await), (None, before), "{what:?}");
        assert!(world.logged("ERROR").contains("its time is not known"), "{what:?}: {}", world.logged("ERROR"));
        world.tenant.clear_faults();
        assert!(world.tick().await.invocation.outcome.is_success());
    }))
    .await;
}

/// Taken out: with a single answer believed, one front end whose clock is wrong does the same.
#[tokio::test]
async fn one_answer_whose_time_is_a_month_ahead_moves_nothing() {
    join_all([Operation::ListSubscriptions, Operation::ListContent].map(|operation| async move {
        for is_new in [false, true] {
            let world = world().await;
            world.publish(60, &["a"]);
            world.tick().await;
            if is_new {
                world.host.restart().await;
            }
            world.tenant.fail(Fault::once(operation, date()));
            let tick = world.tick().await;
            assert!(tick.invocation.outcome.is_success(), "{operation:?}: {}", world.logged("ERROR"));
            assert_eq!(gaps(&world).await, None, "{operation:?}");
            assert!((world.tenant.now() - checkpoint(&world).await).abs() < TimeDelta::minutes(1), "{operation:?}");
            assert_eq!(world.journalled("lost").await.len(), 0);
        }
    }))
    .await;
}

/// Taken out: were the same kind of call its own second witness, a front end whose clock is wrong would vouch for itself.
#[tokio::test]
async fn a_time_that_only_one_kind_of_answer_tells_stops_the_run_with_an_error_and_moves_nothing() {
    let world = world().await;
    world.publish(60, &["a"]);
    world.tick().await;
    let before = world.checkpoint(EXCHANGE).await;
    world.host.restart().await;
    world.tenant.fail(Fault::always(Operation::ListSubscriptions, date()));
    let tick = world.tick().await;
    assert_eq!(gaps(&world).await, None);
    if !tick.invocation.outcome.is_success() {
        assert_eq!(world.checkpoint(EXCHANGE).await, before);
    }
    assert!(checkpoint(&world).await <= world.tenant.now());
}

/// Taken out: were the time of a failed fetch believed, all that is in hand when a proxy's clock is wrong would be given up.
#[tokio::test]
async fn nothing_is_given_up_by_a_time_that_nobody_else_tells() {
    join_all([later(500, "AF50000", 60), later(502, "", 60)].map(|what| async move {
        for is_new in [false, true] {
            let world = Setting::default().wired().start().await;
            world.publish(60, &["a"]);
            world.tick().await;
            if is_new {
                world.host.restart().await;
            }
            world.tenant.fail(Fault::always(Operation::FetchContent, date()));
            world.tenant.fail(Fault::always(Operation::FetchContent, what.clone()));
            let (_, line) = world.store(&world.last_sent().text()).await;
            assert_eq!((&line["requeued"], &line["lost"]), (&json!(1), &json!(0)), "{what:?}: {line}");
            assert_eq!(world.journalled("lost").await.len(), 0);
        }
    }))
    .await;
}

/// Taken out: were a jump never believed, a machine whose clock is hours off would never collect; were it believed without a
/// second answer, the stories above would fail.
#[tokio::test]
async fn a_jump_that_a_second_answer_confirms_is_believed_at_once() {
    join_all([-5, 5, 30].map(|hours| async move {
        let world = world().await;
        world.travel(TimeDelta::hours(hours));
        world.publish(60, &["a"]);
        let tick = world.tick().await;
        assert!(tick.invocation.outcome.is_success(), "{hours}: {}", world.logged("ERROR"));
        assert_eq!(tick.exchange()["queued"], json!(1), "{hours}: {}", tick.line);
        assert!((world.tenant.now() - checkpoint(&world).await).abs() < TimeDelta::minutes(1), "{hours}");

        // The other function has only a fetch to go by.
        world.host.restart().await;
        let soon = NewBlob { expires: Some(world.ago(-10)), ..NewBlob::new(EXCHANGE, world.ago(30), vec![record("b")]) };
        let blob = world.tenant.publish(soon);
        world.travel(TimeDelta::minutes(11));
        world.tenant.fail(Fault::always(Operation::FetchContent, later(500, "AF50000", 60)).matching(&blob));
        let (_, line) = world.store(&world.message(&[blob])).await;
        assert_eq!(line["lost"], json!(1), "{hours}: {line}");
    }))
    .await;
}
