//! Content blobs that cannot be had, for a while or for ever: what becomes of them, and of the others in their message.

use std::time::Duration;

use chrono::TimeDelta;
use futures::future::join_all;
use serde_json::json;
use standins::{
    host::QueueUntil,
    tenant::{Fault, FaultKind, NewBlob, Operation},
};

use crate::world::{EXCHANGE, Setting, World, later, record, world};

fn fetching(what: FaultKind, content_id: &str) -> Fault {
    Fault::always(Operation::FetchContent, what).matching(content_id)
}

/// Taken out: without the `PutOff` arm's `delayed` the blob is nowhere, and `last_sent` is the tick's own message; with
/// the whole message put off instead of the one blob, `stored` is 0.
#[tokio::test]
async fn a_blob_in_passing_trouble_goes_back_alone_and_is_stored_once_when_the_trouble_is_over() {
    let cases = [
        ("AF50000", FaultKind::internal(), 24..=36),
        ("AF429 as 403", FaultKind::throttled(403), 24..=36),
        ("AF429 as 429", FaultKind::throttled(429), 24..=36),
        ("Retry-After of ten minutes", later(503, "", 600), 600..=600),
        ("AF50005 with Retry-After", later(500, "AF50005", 900), 900..=900),
        // Not longer than until it would count as overdue, and be queued besides.
        ("Retry-After of a day", later(503, "", 86_400), 3300..=3300),
        ("connection reset", FaultKind::Reset, 24..=36),
        ("body cut by a lost connection", FaultKind::Truncated { bytes: 40 }, 24..=36),
        ("body that ends too soon", FaultKind::Clipped { bytes: 40 }, 24..=36),
        ("body that ends between two records", FaultKind::Clipped { bytes: record("bad-1").len() + 1 }, 24..=36),
        ("a web page", FaultKind::Html, 24..=36),
        (
            "a gateway's 404",
            FaultKind::Status { status: 404, body: "<html>".into(), content_type: "text/html".into(), retry_after: None },
            24..=36,
        ),
        ("no body", FaultKind::EmptyBody, 24..=36),
        ("a token that is refused over and over", FaultKind::InvalidToken401, 24..=36),
    ];
    join_all(cases.map(|(name, what, hidden_for)| async move {
        let world = Setting::default().wired().start().await;
        world.publish(50, &["good-1"]);
        let bad = world.publish(40, &["bad-1", "bad-2"]);
        world.publish(30, &["good-2"]);
        world.tick().await;
        world.tenant.fail(fetching(what, &bad));
        let summary = world.host.run_queue(QueueUntil::empty().messages(1)).await.unwrap();
        assert_eq!((summary.succeeded(), summary.failed()), (1, 0), "{name}: {summary:?}");
        let line = world.line_of(&summary.invocations[0]).await;
        assert_eq!((&line["stored"], &line["requeued"], &line["lost"]), (&json!(2), &json!(1), &json!(0)), "{name}: {line}");
        assert_eq!(world.ids().await, ["good-1", "good-2"], "{name}");

        let sent = world.last_sent();
        assert_eq!((sent.items.len(), &sent.items[0]["id"], &sent.items[0]["attempt"]), (1, &json!(bad), &json!(1)), "{name}");
        assert!(hidden_for.contains(&sent.hidden_for), "{name}: hidden for {} s", sent.hidden_for);
        assert_eq!((world.messages().await.len(), world.storage.message_count(&world.queue).await.unwrap()), (0, 1), "{name}");
        assert_eq!(world.poisoned().await, 0, "{name}");

        world.tenant.clear_faults();
        let (again, line) = world.store(&sent.text()).await;
        assert!(again.outcome.is_success(), "{name}: {again:?}");
        assert_eq!((&line["stored"], &line["documents"]), (&json!(1), &json!(2)), "{name}: {line}");
        assert_eq!(world.ids().await, ["bad-1", "bad-2", "good-1", "good-2"], "{name}");
        assert_eq!(world.journalled("stored").await.len(), 3, "{name}");
        assert!(world.tenant.blobs().iter().all(|blob| blob.fetched == 1), "{name}: the others were fetched again");
    }))
    .await;
}

/// Taken out: without the retry loop, or with one of these not taken for passing trouble, a hiccup costs half a minute.
#[tokio::test]
async fn a_hiccup_is_bridged_within_the_invocation() {
    let cases = [
        ("AF50000", FaultKind::internal()),
        ("AF50006", FaultKind::Code { status: 500, code: "AF50006", message: String::new() }),
        ("AF429 as 403", FaultKind::throttled(403)),
        ("AF429 as 429", FaultKind::throttled(429)),
        ("a gateway's 502", FaultKind::Status { status: 502, body: "<html>".into(), content_type: "text/html".into(), retry_after: None }),
        ("connection reset", FaultKind::Reset),
    ];
    join_all(cases.map(|(name, what)| async move {
        let world = Setting::default().start().await;
        let blob = world.publish(10, &["a"]);
        world.tick().await;
        world.tenant.fail(Fault { times: 1, ..fetching(what, &blob) });
        let (_, line) = world.store(&world.message(&[blob])).await;
        assert_eq!((&line["stored"], &line["requeued"]), (&json!(1), &json!(0)), "{name}: {line}");
        assert_eq!(world.calls(Operation::FetchContent).len(), 2, "{name}");
    }))
    .await;
}

/// Taken out: without the pace, the eleven calls after the first come as fast as they are answered.
#[tokio::test]
async fn calls_are_spaced_out_for_all_once_the_service_says_that_they_come_too_fast() {
    let world = world().await;
    let blobs: Vec<String> = (0..12).map(|number| world.publish(number, &[&number.to_string()])).collect();
    world.storage.create_container(&world.container).await.unwrap();
    world.tenant.fail(Fault::once(Operation::FetchContent, FaultKind::throttled(403)));
    let line = world.store_blobs(&blobs).await;
    assert_eq!((&line["stored"], &line["requeued"]), (&json!(12), &json!(0)), "{line}");
    // The throttled call is tried again: up to four were under way when the answer came, and eight at least had to wait.
    assert!(line["milliseconds"].as_u64().unwrap() >= 8 * 60, "{line}");
    assert!(world.logged("WARN").contains("calls come too fast"), "{}", world.logged("WARN"));
}

/// Taken out: without the journal line of a return to the queue a tick queues the blob again, and `queued` is not 0; with
/// no bound to the delay, or one beyond the hour after which a queued blob is overdue, likewise.
#[tokio::test]
async fn three_hours_of_internal_errors_put_nothing_into_poison_and_double_nothing() {
    let world = Setting::default().wired().start().await;
    let bad = world.publish(10, &["a"]);
    world.tick().await;
    world.tenant.fail(fetching(later(500, "AF50000", 10), &bad));
    let (begin, mut attempt) = (world.tenant.now(), 0);
    while world.tenant.now() - begin < TimeDelta::hours(3) {
        let (invocation, line) = world.store(&world.last_sent().text()).await;
        assert!(invocation.outcome.is_success(), "{invocation:?}");
        assert_eq!(line["requeued"], json!(1), "{line}");
        let sent = world.last_sent();
        attempt += 1;
        assert_eq!(sent.items[0]["attempt"], json!(attempt));
        let whole = (30 << (attempt - 1)).min(1800);
        assert!((whole * 8 / 10..=(whole * 12 / 10).min(1800)).contains(&sent.hidden_for), "{attempt}: {} s", sent.hidden_for);
        world.travel(TimeDelta::seconds(sent.hidden_for));
        assert_eq!(world.tick().await.exchange()["queued"], json!(0), "a blob that waits for its time was queued again");
    }
    assert_eq!(world.poisoned().await, 0);
    world.tenant.clear_faults();
    let (_, line) = world.store(&world.last_sent().text()).await;
    assert_eq!((&line["stored"], &line["documents"]), (&json!(1), &json!(1)), "{line}");
}

/// Taken out: with the header not read, the second try comes after at most 0.4 s.
#[tokio::test]
async fn a_short_retry_after_is_waited_for_within_the_invocation() {
    let world = Setting::default().wired().start().await;
    let blob = world.publish(10, &["a"]);
    world.tick().await;
    world.tenant.fail(Fault { times: 1, ..fetching(later(429, "AF429", 2), &blob) });
    let (_, line) = world.store(&world.message(&[blob])).await;
    assert_eq!((&line["stored"], &line["requeued"]), (&json!(1), &json!(0)), "{line}");
    let calls = world.calls(Operation::FetchContent);
    assert!(calls[1].at - calls[0].at >= TimeDelta::seconds(2), "{calls:?}");
}

/// Taken out: with a time limit on whole answers, of a second or so, the slow blob goes back on the queue.
#[tokio::test]
async fn a_slow_answer_is_waited_for() {
    let world = Setting::default().wired().start().await;
    let slow = world.publish(10, &["a"]);
    let pausing = world.publish(10, &["b"]);
    world.tick().await;
    world.tenant.fail(fetching(FaultKind::Delay(Duration::from_secs(3)), &slow));
    world.tenant.fail(fetching(FaultKind::Stall { bytes: 10, pause: Duration::from_secs(3) }, &pausing));
    let (_, line) = world.store(&world.message(&[slow, pausing])).await;
    assert_eq!((&line["stored"], &line["documents"]), (&json!(2), &json!(2)), "{line}");
}

/// Taken out: were a lost blob not finished in the journal, the message delivered again fetches it again, and the tick
/// two hours later queues it again; were the trouble thought passing, `lost` is 0.
#[tokio::test]
async fn what_the_service_has_lost_is_journalled_with_its_reason_and_left_alone() {
    let expired = FaultKind::Code { status: 400, code: "AF20051", message: "No.".to_owned() };
    let cases = [("AF20051", expired, "content expired")];
    join_all(cases.map(|(code, what, reason)| async move {
        let world = Setting::default().wired().start().await;
        world.publish(50, &["good"]);
        let bad = world.publish(40, &["bad"]);
        world.tick().await;
        let message = world.last_sent().text();
        world.tenant.fail(fetching(what, &bad));
        assert_lost(&world, &message, &bad, reason, code).await;

        world.tenant.clear_faults();
        world.tenant.clear_calls();
        world.storage.clear_queue(&world.queue).await.unwrap();
        world.travel(TimeDelta::hours(2));
        let tick = world.tick().await;
        assert_eq!((&tick.exchange()["listed"], &tick.exchange()["queued"]), (&json!(2), &json!(0)), "{code}: {}", tick.line);
        assert!(world.calls(Operation::FetchContent).is_empty(), "{code}");

        // Who puts it on the queue all the same has a reason to.
        let (_, line) = world.store(&message).await;
        assert_eq!((&line["stored_before"], &line["stored"]), (&json!(1), &json!(1)), "{line}");
    }))
    .await;
}

/// A message in which one blob is lost, and the others are not.
async fn assert_lost(world: &World, message: &str, lost: &str, reason: &str, code: &str) {
    let (invocation, line) = world.store(message).await;
    assert!(invocation.outcome.is_success(), "{code}: {invocation:?}");
    assert_eq!((&line["stored"], &line["lost"], &line["requeued"]), (&json!(1), &json!(1), &json!(0)), "{code}: {line}");
    assert_eq!(world.ids().await, ["good"], "{code}");
    let journalled = world.journalled("lost").await;
    assert_eq!(journalled.len(), 1, "{code}: {journalled:?}");
    let journalled = &journalled[0];
    assert_eq!((&journalled["id"], &journalled["reason"], &journalled["code"]), (&json!(lost), &json!(reason), &json!(code)));
    let blob = world.tenant.blobs().into_iter().find(|blob| blob.id == lost).unwrap();
    let errors = world.logged("ERROR");
    let stamp = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    for word in [EXCHANGE, lost, reason, code, &stamp(blob.created), &stamp(blob.expires)] {
        assert!(errors.contains(word), "{code}: the error line does not name {word}: {errors}");
    }
}

/// Taken out: without the comparison with `expires` in `fate`, the second goes back on the queue for ever.
#[tokio::test]
async fn a_blob_that_expires_before_it_is_fetched_is_lost_in_trouble_or_not() {
    let cases = [
        (None, "content expired", "AF20051"),
        (Some(later(500, "AF50000", 10)), "expired before it could be stored: fetch content blob: HTTP 500 AF50000: Later.", "AF50000"),
    ];
    join_all(cases.map(|(trouble, reason, code)| async move {
        let world = Setting::default().wired().start().await;
        world.publish(5, &["good"]);
        let soon = NewBlob { expires: Some(world.ago(-10)), ..NewBlob::new(EXCHANGE, world.ago(30), vec![record("bad")]) };
        let bad = world.tenant.publish(soon);
        world.tick().await;
        let message = world.last_sent().text();
        if let Some(what) = trouble {
            world.tenant.fail(fetching(what, &bad));
        }
        world.travel(TimeDelta::minutes(11));
        assert_lost(&world, &message, &bad, reason, code).await;
    }))
    .await;
}

/// Taken out: by the machine's clock, which is ahead, the blob is over already, and is journalled as lost before anybody
/// could ask for it.
#[tokio::test]
async fn nothing_is_taken_for_expired_before_the_service_has_told_its_time() {
    let world = Setting::default().wired().start().await;
    world.storage.create_container(&world.container).await.unwrap();
    world.travel(TimeDelta::minutes(-10));
    let soon = NewBlob { expires: Some(world.ago(-5)), ..NewBlob::new(EXCHANGE, world.ago(30), vec![record("a")]) };
    let blob = world.tenant.publish(soon);
    world.tenant.fail(fetching(FaultKind::Reset, &blob));
    let (_, line) = world.store(&world.message(&[blob])).await;
    assert_eq!((&line["requeued"], &line["lost"]), (&json!(1), &json!(0)), "{line}");
    world.tenant.clear_faults();
    world.store(&world.last_sent().text()).await;
    assert_eq!(world.ids().await, ["a"]);
}
