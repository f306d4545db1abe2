//! The storage account in trouble in the middle of a run: checkpoint and journal say only what is true, and the next run
//! mends the rest.

use chrono::TimeDelta;
use futures::future::join_all;
use serde_json::json;
use standins::tenant::{Fault, NewBlob, Operation};

use crate::{
    wire::{At, What},
    world::{EXCHANGE, Setting, World, later, reason, record, world},
};

/// Ten blobs in ten messages, all at one instant, so that they are in one window whatever the time of day.
async fn ten_messages() -> World {
    let world = Setting::default().with("BATCH_SIZE", "1").wired().start().await;
    world.tick().await;
    world.travel(TimeDelta::minutes(5));
    let at = world.ago(3);
    for number in 0..10 {
        world.tenant.publish(NewBlob::new(EXCHANGE, at, vec![record(&number.to_string())]));
    }
    world
}

fn sorted_ids<'a>(items: impl Iterator<Item = &'a serde_json::Value>) -> Vec<String> {
    let mut ids: Vec<_> = items.map(|item| item["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// Taken out: with the journal written before the sends, or for all where some failed, a blob is journalled that no
/// message carries; with the checkpoint moved though a send failed, it differs.
#[tokio::test]
async fn when_the_queue_stops_taking_messages_only_what_it_took_is_journalled() {
    join_all([0, 1, 4, 9].map(|taken| async move {
        let world = ten_messages().await;
        let before = world.checkpoint(EXCHANGE).await;
        world.wire().spoil(At::Send, taken, usize::MAX, What::Refused);
        let tick = world.tick().await;
        reason(&tick.invocation);
        assert_eq!((&tick.exchange()["outcome"], &tick.exchange()["queued"]), (&json!("failed"), &json!(taken)), "{}", tick.line);
        assert!(world.logged("ERROR").contains("the content queue did not take a message"), "{}", world.logged("ERROR"));
        let sent = world.wire().sent();
        assert_eq!(sorted_ids(sent.iter().flat_map(|sent| &sent.items)), sorted_ids(world.journalled("queued").await.iter()), "I1");
        assert_eq!((sent.len(), world.checkpoint(EXCHANGE).await), (taken, before), "I2");

        world.wire().mend();
        assert_eq!(world.tick().await.exchange()["queued"], json!(10 - taken));
        assert_eq!(world.store_all().await.succeeded(), 10);
        assert_eq!(world.ids().await.len(), 10);
    }))
    .await;
}

/// Taken out: with the checkpoint moved before the journal knows, or in spite of it, the first tick's checkpoint differs
/// and the last queues nothing though nothing is journalled; without `ensure_journal` each tick sends all of it once more, for
/// as long as the trouble lasts.
#[tokio::test]
async fn when_the_journal_cannot_be_written_the_checkpoint_stays_and_the_work_is_done_twice_at_most() {
    let world = ten_messages().await;
    let before = world.checkpoint(EXCHANGE).await;
    world.wire().spoil(At::Append, 0, usize::MAX, What::Refused);
    reason(&world.tick().await.invocation);
    assert_eq!((world.wire().sent().len(), world.journal(EXCHANGE).await.len()), (10, 0));
    assert_eq!(world.checkpoint(EXCHANGE).await, before);
    for _ in 0..2 {
        reason(&world.tick().await.invocation);
        assert_eq!(world.wire().sent().len(), 10, "sent again though it cannot be journalled");
    }
    world.wire().mend();
    assert_eq!(world.tick().await.exchange()["queued"], json!(10));
    world.store_all().await;
    assert_eq!(world.ids().await.len(), 10);
}

/// Taken out: were a failed write of the checkpoint passed over, the tick would look well.
#[tokio::test]
async fn when_the_checkpoint_cannot_be_written_the_next_tick_queues_nothing_twice() {
    let world = ten_messages().await;
    let before = world.checkpoint(EXCHANGE).await;
    world.wire().spoil(At::Checkpoint, 0, usize::MAX, What::Refused);
    let tick = world.tick().await;
    reason(&tick.invocation);
    assert_eq!((&tick.exchange()["queued"], &tick.exchange()["outcome"]), (&json!(10), &json!("failed")), "{}", tick.line);
    assert_eq!(world.checkpoint(EXCHANGE).await, before);
    world.wire().mend();
    let tick = world.tick().await;
    assert_eq!((&tick.exchange()["queued"], &tick.exchange()["late"]), (&json!(0), &json!(0)), "{}", tick.line);
    assert!(world.checkpoint(EXCHANGE).await > before);
}

/// Taken out: with If-Match left away, the slow run sets the checkpoint back behind the fast one, and says "complete".
#[tokio::test]
async fn of_two_runs_at_once_one_moves_the_checkpoint_and_the_other_stops_well() {
    let world = ten_messages().await;
    let slow = world.host.run_timer("QueueEvents");
    let fast = async {
        // The slow one is held at its checkpoint, which by then the fast one has moved.
        world.wire().spoil(At::Checkpoint, 0, 1, What::Late);
        world.wire().held().await;
        world.travel(TimeDelta::minutes(1));
        let fast = world.tick().await;
        world.wire().release();
        fast
    };
    let (slow, fast) = tokio::join!(slow, fast);
    let line = world.line_of(&slow).await;
    assert!(slow.outcome.is_success() && fast.invocation.outcome.is_success(), "{slow:?}");
    assert_eq!((&line["workloads"][0]["outcome"], &fast.exchange()["outcome"]), (&json!("conflict"), &json!("complete")), "{line}");
    assert_eq!(json!(world.checkpoint(EXCHANGE).await), fast.exchange()["checkpoint_after"]);
    world.store_all().await;
    assert_eq!(world.ids().await.len(), 10);
}

/// Taken out: with container and queue made once a process, the tick after their loss fails, and so does every further
/// one until somebody restarts the handler.
#[tokio::test]
async fn a_queue_or_container_that_somebody_deleted_is_made_again_by_the_next_tick() {
    join_all([(true, false), (false, true), (true, true)].map(|(queue, container)| async move {
        let world = world().await;
        world.publish(50, &["a"]);
        world.tick().await;
        if queue {
            world.storage.queue(&world.queue).unwrap().delete(None).await.unwrap();
        }
        if container {
            world.storage.container(&world.container).delete(None).await.unwrap();
        }
        world.publish(1, &["b"]);
        let tick = world.tick().await;
        assert!(tick.invocation.outcome.is_success(), "queue {queue}, container {container}: {:?}", tick.invocation);
        assert!(world.checkpoint(EXCHANGE).await.is_some());
        // Only the journal knows what the deleted queue held.
        world.travel(TimeDelta::minutes(61));
        world.tick().await;
        world.store_all().await;
        assert_eq!(world.ids().await, ["a", "b"], "queue {queue}, container {container}");
    }))
    .await;
}

/// Taken out: were a blob's return to the queue not waited for, or its failure passed over, the message would be
/// acknowledged, and the blob in trouble nowhere.
#[tokio::test]
async fn a_blob_that_cannot_go_back_on_the_queue_keeps_its_message() {
    let world = Setting::default().wired().start().await;
    world.publish(50, &["good"]);
    let bad = world.publish(40, &["bad"]);
    world.tick().await;
    world.tenant.fail(Fault::always(Operation::FetchContent, later(503, "", 60)).matching(&bad));
    world.wire().spoil(At::Send, 0, 1, What::Refused);
    let (invocation, _) = world.store(&world.last_sent().text()).await;
    reason(&invocation);
    assert_eq!(world.wire().sent().len(), 1);
    assert_eq!(world.journalled("stored").await.len(), 1, "what is done is on record, whatever becomes of the rest");
    world.tenant.clear_faults();
    let summary = world.store_all().await;
    assert_eq!((summary.succeeded(), summary.poisoned), (1, 0), "{summary:?}");
    assert_eq!(world.ids().await, ["bad", "good"]);
}

/// Taken out: with the message acknowledged though the journal was not written, nobody knows that its blobs are stored.
#[tokio::test]
async fn a_message_whose_end_cannot_be_journalled_is_delivered_again() {
    let world = Setting::default().wired().start().await;
    let blob = world.publish(50, &["a", "b"]);
    world.tick().await;
    world.wire().spoil(At::Append, 0, 1, What::Refused);
    let summary = world.store_all().await;
    assert_eq!((summary.failed(), summary.succeeded(), summary.poisoned), (1, 1, 0), "{summary:?}");
    let stored = world.journalled("stored").await;
    assert_eq!((stored.len(), &stored[0]["id"], &stored[0]["duplicates"]), (1, &json!(blob), &json!(2)), "{stored:?}");
    assert_eq!(world.ids().await, ["a", "b"]);
}

/// Taken out: with the other appends given up at the first that fails, little of what is done is on record, and all of it is
/// done again.
#[tokio::test]
async fn an_hour_that_cannot_be_journalled_holds_back_no_other() {
    let world = Setting::default().wired().start().await;
    let blobs: Vec<String> = (1..9).map(|hours| world.publish(60 * hours, &[&hours.to_string()])).collect();
    world.storage.create_container(&world.container).await.unwrap();
    world.wire().spoil(At::Append, 0, 1, What::Refused);
    let (invocation, _) = world.store(&world.message(&blobs)).await;
    reason(&invocation);
    assert_eq!(world.journalled("stored").await.len(), 7);
    let (_, line) = world.store(&world.message(&blobs)).await;
    assert_eq!((&line["stored_before"], &line["stored"]), (&json!(7), &json!(1)), "{line}");
}

/// Taken out: were the message failed for the journal's sake, the blob would be sent once more at each of its deliveries, and
/// each of these messages would do the same.
#[tokio::test]
async fn a_blob_that_is_back_on_the_queue_is_not_sent_again_because_the_journal_does_not_know_of_it() {
    let world = Setting::default().wired().start().await;
    let bad = world.publish(40, &["bad"]);
    world.tick().await;
    world.tenant.fail(Fault::always(Operation::FetchContent, later(503, "", 60)).matching(&bad));
    world.wire().spoil(At::Append, 0, usize::MAX, What::Refused);
    let (invocation, line) = world.store(&world.last_sent().text()).await;
    assert!(invocation.outcome.is_success(), "{invocation:?}");
    assert_eq!((line["requeued"].clone(), world.wire().sent().len()), (json!(1), 2), "{line}");
    assert!(world.logged("WARN").contains("the journal does not know of it"));
}

/// Taken out: without a further blob nothing of the hour can be journalled any more, and its messages fail for ever; were it
/// not read, what stands there would be done again.
#[tokio::test]
async fn an_hour_whose_journal_is_full_goes_on_in_a_further_blob() {
    let world = Setting::default().wired().start().await;
    let blob = world.publish(40, &["a"]);
    world.tick().await;
    let first = world.storage.list_blobs(&world.container).await.unwrap().into_iter().find(|name| name.starts_with("journal/")).unwrap();
    // Of 50,000 appends, only the lines of one: what matters is what the service says, and that the blob is long.
    let lines = world.storage.read_blob(&world.container, &first).await.unwrap().unwrap() + &"\n".repeat(2_500_000);
    world.storage.write_blob(&world.container, &first, &lines).await.unwrap();
    world.wire().spoil(At::AppendToFirst, 0, usize::MAX, What::Full);
    assert_eq!(world.store_blobs(std::slice::from_ref(&blob)).await["stored"], json!(1));
    let further = world.storage.read_blob(&world.container, &first.replace(".ndjson", "-2.ndjson")).await.unwrap();
    assert!(further.is_some_and(|text| text.contains("\"stored\"") && text.contains(&blob)));
    assert_eq!(world.store_blobs(&[blob]).await["stored_before"], json!(1));
    world.travel(TimeDelta::minutes(61));
    assert_eq!(world.tick().await.exchange()["queued"], json!(0));
}
