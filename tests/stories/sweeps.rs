//! What turns up late, and what was queued and got lost on the way: found again by listing again, and not done twice.

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use serde_json::json;
use standins::{
    cosmos::{CosmosFault, CosmosFaultKind},
    host::QueueUntil,
    tenant::{Fault, FaultKind, NewBlob, Operation},
};

use crate::{
    wire::{At, What},
    world::{EXCHANGE, SHAREPOINT, Setting, World, later, record, world},
};

/// When each sweep ran last, as the checkpoint's metadata has it.
async fn swept(world: &World, sweep: &str) -> DateTime<Utc> {
    let metadata = world.storage.metadata(&world.container, &format!("{EXCHANGE}.log")).await.unwrap();
    DateTime::parse_from_rfc3339(&metadata[sweep]).unwrap().to_utc()
}

/// Taken out: without the overlap the first is found only after an hour; without the hourly sweep the second only after
/// twelve; without the deep sweep the third never. Counting none of them, or by another bound, breaks `late_by`.
#[tokio::test]
async fn a_late_blob_is_found_by_the_overlap_the_hourly_sweep_or_the_deep_sweep() {
    // How old it is when the collector is there first, after how many minutes it is looked for in vain and found, how late.
    let cases = [(90, None, 10, "2h"), (20 * 60, Some(10), 61, "26h"), (5 * 24 * 60, Some(70), 12 * 60 + 1, "7d")];
    join_all(cases.map(|(age, in_vain, found, bucket)| async move {
        let world = world().await;
        let visible_from = world.tenant.now() + TimeDelta::minutes(5);
        let late = world
            .tenant
            .publish(NewBlob { visible_from: Some(visible_from), ..NewBlob::new(EXCHANGE, world.ago(age), vec![record("late")]) });
        assert_eq!(world.tick().await.exchange()["listed"], json!(0));
        let first = (swept(&world, "sweep").await, swept(&world, "deepsweep").await);
        if let Some(minutes) = in_vain {
            world.travel(TimeDelta::minutes(minutes));
            assert_eq!(world.tick().await.exchange()["queued"], json!(0), "{bucket}");
        }
        world.travel(TimeDelta::minutes(found - in_vain.unwrap_or(0)));
        let tick = world.tick().await;
        let report = tick.exchange();
        assert_eq!((&report["queued"], &report["late"], &report["late_by"]), (&json!(1), &json!(1), &json!({bucket: 1})), "{report}");
        assert_eq!(world.messages().await[0][0]["id"], json!(late));
        // Each sweep's time moved when it ran, and only then.
        let now = (swept(&world, "sweep").await, swept(&world, "deepsweep").await);
        assert_eq!((now.0 > first.0, now.1 > first.1), (bucket != "2h", bucket == "7d"), "{bucket}: {first:?} {now:?}");
    }))
    .await;
}

/// Taken out: with sweep times kept in the process, each restart lists seven days again.
#[tokio::test]
async fn a_restarted_handler_knows_when_its_sweeps_ran() {
    let world = world().await;
    world.tick().await;
    world.host.restart().await;
    world.tenant.clear_calls();
    let tick = world.tick().await;
    assert_eq!(tick.exchange()["windows"], json!(1), "{}", tick.line);
}

/// Taken out: with "created after the last one seen" in the place of the journal, the second of the tied pair is skipped.
#[tokio::test]
async fn a_blob_that_ties_with_one_seen_before_is_found() {
    let world = world().await;
    let at = world.ago(30);
    world.tenant.publish(NewBlob::new(EXCHANGE, at, vec![record("first")]));
    world.tick().await;
    world.tenant.publish(NewBlob::new(EXCHANGE, at, vec![record("second")]));
    world.tick().await;
    world.store_all().await;
    assert_eq!(world.ids().await, ["first", "second"]);
}

/// Taken out: with the journal keyed by contentCreated or the range's start, "c" is missing; with the contentId in a
/// document's key, "a" and "b" are there twice.
#[tokio::test]
async fn a_range_blob_that_grows_at_its_tail_brings_each_record_once() {
    let world = world().await;
    let at = world.ago(30);
    let range = |end: &str, ids: &[&str]| NewBlob {
        id: Some(format!("20261120T100000000${end}$audit_exchange$Audit_Exchange$emea0001")),
        ..NewBlob::new(EXCHANGE, at, ids.iter().map(|id| record(id)).collect())
    };
    world.tenant.publish(range("20261120T101000000", &["a", "b"]));
    world.tick().await;
    world.store_all().await;
    world.tenant.publish(range("20261120T102000000", &["a", "b", "c"]));
    world.tick().await;
    world.store_all().await;
    assert_eq!(world.ids().await, ["a", "b", "c"]);
    let stored = world.journalled("stored").await;
    assert_eq!((&stored[1]["documents"], &stored[1]["duplicates"]), (&json!(1), &json!(2)), "{stored:?}");
}

/// What can happen to a queued blob before it is stored, and who remembers it then: the journal alone.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    QueuePurged,
    MessageDeleted,
    Poisoned,
    HandlerLost,
}

/// Taken out: without the `OVERDUE` arm of the listing nothing is ever queued again; with the hour left out of it, the
/// tick before the hour queues again what may be under way.
#[tokio::test]
async fn what_was_queued_and_got_lost_is_queued_again_after_an_hour() {
    join_all([Mishap::QueuePurged, Mishap::MessageDeleted, Mishap::Poisoned, Mishap::HandlerLost].map(|mishap| async move {
        let world = world().await;
        world.publish(50, &["a", "b"]);
        world.publish(40, &["c"]);
        world.tick().await;
        befall(&world, mishap).await;
        assert_eq!(world.storage.message_count(&world.queue).await.unwrap(), 0, "{mishap:?}");
        world.travel(TimeDelta::minutes(55));
        assert_eq!(world.tick().await.exchange()["queued"], json!(0), "{mishap:?}");
        world.travel(TimeDelta::minutes(6));
        let tick = world.tick().await;
        let report = tick.exchange();
        assert_eq!((&report["queued"], &report["overdue"], &report["late"]), (&json!(2), &json!(2), &json!(0)), "{mishap:?}: {report}");
        assert_eq!(world.tick().await.exchange()["queued"], json!(0), "{mishap:?}: queued again at once");
        world.store_all().await;
        assert_eq!(world.ids().await, ["a", "b", "c"], "{mishap:?}");

        // Finished is for good.
        world.travel(TimeDelta::hours(2));
        let tick = world.tick().await;
        assert_eq!((&tick.exchange()["listed"], &tick.exchange()["queued"]), (&json!(2), &json!(0)), "{mishap:?}: {}", tick.line);
    }))
    .await;
}

/// Taken out: without the comparison with contentExpiration, what can no longer be fetched is queued at every sweep for as
/// long as it is listed.
#[tokio::test]
async fn what_is_expired_is_not_queued_again_though_it_is_listed() {
    let world = world().await;
    let (id, stamp) = ("20261120$audit_exchange$Audit_Exchange$emea0001", |minutes| world.ago(minutes).to_rfc3339());
    // The simulated tenant lists nothing that is expired; the documentation does not say that the service does not.
    let page = json!([{"contentUri": format!("{}api/v1.0/{}/activity/feed/audit/{id}", world.tenant.api_url(), world.tenant.tenant_id()),
        "contentId": id, "contentType": EXCHANGE, "contentCreated": stamp(30), "contentExpiration": stamp(-30)}]);
    let listed = FaultKind::Status { status: 200, body: page.to_string(), content_type: "application/json".to_owned(), retry_after: None };
    world.tenant.fail(Fault::always(Operation::ListContent, listed));
    assert_eq!(world.tick().await.exchange()["queued"], json!(1));
    world.storage.clear_queue(&world.queue).await.unwrap();
    world.travel(TimeDelta::minutes(61));
    let tick = world.tick().await;
    assert_eq!((&tick.exchange()["queued"], &tick.exchange()["overdue"]), (&json!(0), &json!(0)), "{}", tick.line);
}

/// Taken out: without `give_up_what_is_past` the blob is neither stored nor lost, and nobody ever says so; with a look at the
/// last days alone, nobody says so after a longer pause of the timer.
#[tokio::test]
async fn what_was_never_stored_and_is_too_old_to_be_listed_is_lost_on_record_however_long_the_pause() {
    let world = world().await;
    let blob = world.publish(50, &["a"]);
    world.tick().await;
    world.storage.clear_queue(&world.queue).await.unwrap();
    world.travel(TimeDelta::days(20));
    world.tick().await;
    let lost = world.journalled("lost").await;
    assert_eq!((lost.len(), &lost[0]["id"], &lost[0]["reason"]), (1, &json!(blob), &json!("never stored, and too old to be listed again")));
    world.travel(TimeDelta::hours(13));
    world.tick().await;
    assert_eq!(world.journalled("lost").await.len(), 1, "once is enough");
}

/// Taken out: with a `queued` line under the hour in which it was put off, and `stored` under that in which it was stored, it
/// counts as lost a week later.
#[tokio::test]
async fn what_a_person_put_on_the_queue_is_not_given_up_after_it_was_stored() {
    let world = Setting::default().wired().start().await;
    let opaque = NewBlob { id: Some("4926".to_owned()), ..NewBlob::new(EXCHANGE, world.ago(10), vec![record("a")]) };
    let blob = world.tenant.publish(opaque);
    world.storage.create_queue(&world.queue).await.unwrap();
    world.tenant.fail(Fault::always(Operation::FetchContent, later(503, "", 60)));
    let by_hand = json!([{"uri": world.tenant.content_uri(&blob).unwrap(), "type": EXCHANGE}]);
    assert_eq!(world.store(&by_hand.to_string()).await.1["requeued"], json!(1));
    world.tenant.clear_faults();
    world.travel(TimeDelta::minutes(61));
    assert_eq!(world.store(&world.last_sent().text()).await.1["stored"], json!(1));
    world.storage.clear_queue(&world.queue).await.unwrap();
    world.travel(TimeDelta::days(8));
    world.tick().await;
    assert_eq!(world.journalled("lost").await.len(), 0);
    assert_eq!(world.ids().await, ["a"]);
}

async fn befall(world: &World, mishap: Mishap) {
    match mishap {
        Mishap::QueuePurged => world.storage.clear_queue(&world.queue).await.unwrap(),
        Mishap::MessageDeleted => {
            let queue = world.storage.queue(&world.queue).unwrap();
            let received = queue.receive_messages(None).await.unwrap().into_model().unwrap().items.unwrap().remove(0);
            queue.delete_message(&received.message_id.unwrap(), &received.pop_receipt.unwrap(), None).await.unwrap();
        }
        Mishap::Poisoned => {
            world.cosmos.fail(CosmosFault::lasting(CosmosFaultKind::status(403)));
            assert_eq!(world.store_all().await.poisoned, 1);
            world.cosmos.clear_faults();
        }
        Mishap::HandlerLost => {
            world.tenant.fail(Fault::always(Operation::FetchContent, FaultKind::Delay(Duration::from_secs(3600))));
            let store = world.host.run_queue(QueueUntil::empty().messages(1));
            let killed = async {
                world.until(|world| !world.calls(Operation::FetchContent).is_empty()).await;
                world.host.kill();
                // The message comes back by itself in truth; here the whole machine is gone, and the message with it.
                world.storage.clear_queue(&world.queue).await.unwrap();
            };
            tokio::join!(store, killed).0.unwrap();
            world.storage.clear_queue(&world.queue).await.unwrap();
            world.tenant.clear_faults();
        }
    }
}

/// Taken out: without its bucket and its next step in the line, a person with a poisoned message does not know what to do.
#[tokio::test]
async fn a_poisoned_message_is_explained() {
    let world = world().await;
    world.publish(50, &["a"]);
    world.tick().await;
    world.cosmos.fail(CosmosFault::lasting(CosmosFaultKind::status(403)));
    let summary = world.store_all().await;
    assert_eq!((summary.poisoned, summary.failed()), (1, 5), "{summary:?}");
    let errors: Vec<_> = world.lines().into_iter().filter(|line| line["message"] == "invocation failed").collect();
    assert_eq!(errors.len(), 5, "{errors:?}");
    for (number, error) in errors.iter().enumerate() {
        let follows = error["what_follows"].as_str().unwrap();
        assert!(follows.contains(&format!("was delivered {} times", number + 1)), "{follows}");
        assert!(follows.contains("poison queue") && follows.contains("queued again by a run after an hour"), "{follows}");
        assert!(error["error"].as_str().unwrap().contains("may not create documents in batches"), "{error}");
    }
    let messages: BTreeSet<_> =
        errors.iter().filter_map(|error| error["what_follows"].as_str()?.split_whitespace().nth(1).map(str::to_owned)).collect();
    assert_eq!(messages.len(), 1, "the message is named, and the same each time: {messages:?}");
}

/// Taken out: were a blob overdue by its time on the queue alone, a backlog of hours would be queued again every hour, and grow.
#[tokio::test]
async fn nothing_is_overdue_or_given_up_while_older_messages_wait_on_the_queue() {
    let world = Setting::default().with("BATCH_SIZE", "1").start().await;
    for number in 0..3 {
        world.publish(50, &[&number.to_string()]);
    }
    world.tick().await;
    for hours in [2, 2, 12, 7 * 24] {
        world.travel(TimeDelta::hours(hours));
        let tick = world.tick().await;
        assert_eq!((&tick.exchange()["queued"], &tick.exchange()["overdue"]), (&json!(0), &json!(0)), "{hours}: {}", tick.line);
        assert_eq!(world.storage.message_count(&world.queue).await.unwrap(), 3, "{hours}");
    }
    assert_eq!(world.journalled("lost").await.len(), 0, "what waits is not lost");
}

/// Taken out: were anything on the queue a reason to wait, one message that nobody can read would hold back what was lost.
#[tokio::test]
async fn what_was_lost_before_the_messages_that_wait_were_put_is_overdue() {
    let world = world().await;
    world.travel(TimeDelta::hours(-3));
    world.publish(50, &["a"]);
    world.tick().await;
    world.storage.clear_queue(&world.queue).await.unwrap();
    world.travel(TimeDelta::hours(3));
    world.publish(5, &["b"]);
    let tick = world.tick().await;
    assert_eq!((&tick.exchange()["queued"], &tick.exchange()["overdue"]), (&json!(2), &json!(1)), "{}", tick.line);
}

/// Taken out: a message that the other workload has just sent again, and not yet journalled, would count as one that waits since its
/// blob was first queued, and hold back all that was lost since; at the edge of what can be listed, for good.
#[tokio::test]
async fn what_another_workload_queues_again_at_this_moment_holds_nothing_back() {
    let world = Setting::default().with("WORKLOADS", &format!("{EXCHANGE},{SHAREPOINT}")).wired().start().await;
    for workload in [EXCHANGE, SHAREPOINT] {
        world.tenant.publish(NewBlob::new(workload, world.ago(50), vec![record(workload)]));
    }
    world.tick().await;
    world.storage.clear_queue(&world.queue).await.unwrap();
    world.travel(TimeDelta::hours(2));
    let slow = Fault::always(Operation::ListContent, FaultKind::Delay(Duration::from_millis(300)));
    world.tenant.fail(slow.matching(&format!("contentType={SHAREPOINT}")));
    world.wire().spoil(At::Append, 0, 1, What::Late);
    let between = async {
        // One workload's message is on the queue, and its line is held. The other looks at the queue by and by, or waits for the line.
        world.wire().held().await;
        let looked = async {
            while world.wire().peeks() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        drop(tokio::time::timeout(Duration::from_secs(2), looked).await);
        world.wire().release();
    };
    let (tick, ()) = tokio::join!(world.tick(), between);
    for workload in [EXCHANGE, SHAREPOINT] {
        assert_eq!(tick.of(workload)["overdue"], json!(1), "{}", tick.line);
    }
}

/// The ids on the queue.
async fn queued(world: &World) -> BTreeSet<String> {
    world.messages().await.into_iter().flatten().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// Taken out: with the sweeps listing all that can be listed, a start a day ago brings seven days within twelve hours.
#[tokio::test]
async fn nothing_that_became_available_before_the_chosen_start_is_collected_until_a_person_rewinds_it() {
    let world = Setting::default().with("LOOKBACK_HOURS", "24").start().await;
    let ages = [2 * 60, 23 * 60, 25 * 60, 3 * 24 * 60, 5 * 24 * 60];
    let blobs = ages.map(|minutes| world.publish(minutes, &[&minutes.to_string()]));
    assert_eq!(world.tick().await.exchange()["queued"], json!(2));
    for hours in [2, 13] {
        world.travel(TimeDelta::hours(hours));
        assert_eq!(world.tick().await.exchange()["queued"], json!(0), "{hours}");
    }
    assert_eq!(queued(&world).await, BTreeSet::from([blobs[0].clone(), blobs[1].clone()]));

    // Rewound by hand, as a person does it: what is written is the new start, and no metadata is left.
    let start = world.tenant.now() - TimeDelta::days(4);
    world.write_checkpoint(EXCHANGE, &start.to_rfc3339()).await;
    world.tick().await;
    world.travel(TimeDelta::hours(13));
    world.tick().await;
    let expected: BTreeSet<_> = blobs[..4].iter().cloned().collect();
    assert_eq!(queued(&world).await, expected, "the oldest is from before the new start");
}

/// A checkpoint with these metadata, as another version or another tool may leave it.
async fn write_checkpoint_with(world: &World, at: DateTime<Utc>, metadata: &[(&str, DateTime<Utc>)]) {
    let options = azure_storage_blob::models::BlockBlobClientUploadOptions {
        metadata: Some(metadata.iter().map(|(name, at)| ((*name).to_owned(), at.to_rfc3339())).collect()),
        ..Default::default()
    };
    world.storage.create_container(&world.container).await.unwrap();
    let blob = world.storage.container(&world.container).blob_client(&format!("{EXCHANGE}.log")).block_blob_client();
    blob.upload(azure_core::http::RequestContent::from(at.to_rfc3339().into_bytes()), Some(options)).await.unwrap();
}

/// Taken out: with any of these read in another way, the oldest blob is queued where it should not be, or not where it should.
#[tokio::test]
async fn how_far_back_sweeps_go_is_told_by_the_checkpoints_metadata() {
    let hours = |world: &World, hours: i64| world.tenant.now() - TimeDelta::hours(hours);
    // The checkpoint, its metadata as hours ago, and the start that then holds; none: no limit.
    type Case = (i64, &'static [(&'static str, i64)], Option<i64>);
    let cases: [Case; 6] = [
        (10, &[], Some(10)),
        (10, &[("notbefore", 30)], Some(30)),
        (40, &[("notbefore", 30)], Some(40)),
        (10, &[("sweep", 20), ("deepsweep", 20)], None),
        (10, &[("sweep", 20), ("deepsweep", 20), ("notbefore", 30)], Some(30)),
        (40, &[("sweep", 20), ("deepsweep", 20), ("notbefore", 30)], Some(40)),
    ];
    join_all(cases.map(|(checkpoint, metadata, start)| async move {
        let world = world().await;
        let ages = [5, 15, 25, 35, 45, 100];
        for age in ages {
            world.publish(age * 60, &[&age.to_string()]);
        }
        let metadata: Vec<_> = metadata.iter().map(|(name, ago)| (*name, hours(&world, *ago))).collect();
        let at = hours(&world, checkpoint);
        write_checkpoint_with(&world, at, &metadata).await;
        let expected = ages.iter().filter(|age| start.is_none_or(|start| **age < start)).count();
        let tick = world.tick().await;
        assert_eq!(tick.exchange()["queued"], json!(expected), "{checkpoint} {metadata:?}: {}", tick.line);
        let noted = world.storage.metadata(&world.container, &format!("{EXCHANGE}.log")).await.unwrap();
        let noted =
            noted.get("notbefore").map(|at| (world.tenant.now() - DateTime::parse_from_rfc3339(at).unwrap().to_utc()).num_minutes());
        assert_eq!(noted.map(|minutes| (minutes + 30) / 60), start, "{checkpoint} {metadata:?}");
        world.travel(TimeDelta::hours(13));
        assert_eq!(world.tick().await.exchange()["queued"], json!(0), "{checkpoint} {metadata:?}");
    }))
    .await;
}
