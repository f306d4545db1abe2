//! The handler killed at any instruction: what follows is at most work done twice.

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, TimeDelta};

use serde_json::{Value, json};
use standins::{
    cosmos::{CosmosFault, CosmosFaultKind},
    host::{HostOptions, QueueUntil},
    tenant::{Fault, FaultKind, NewBlob, Operation},
};

use crate::{
    wire::{At, What},
    world::{EXCHANGE, Setting, World, later, record, start_host},
};

/// Blobs of a round, all newer than the round before, and so many rounds within the hour after which what is queued is
/// overdue: two messages, one record in two blobs.
fn publish_round(world: &World, round: usize) -> Vec<String> {
    world.travel(TimeDelta::minutes(2));
    let ids: Vec<String> = (0..5).map(|number| format!("{round}-{number}")).collect();
    for (seconds, records) in [(110, vec![0, 1]), (80, vec![1, 2]), (50, vec![3]), (20, vec![4])] {
        let records = records.into_iter().map(|number: usize| record(&ids[number])).collect();
        world.tenant.publish(NewBlob::new(EXCHANGE, world.ago(0) - TimeDelta::seconds(seconds), records));
    }
    ids
}

/// Afterwards a few runs of each function; then every record of every round is one document.
async fn assert_nothing_lost(world: &World, mut ids: Vec<String>) {
    for _ in 0..2 {
        assert!(world.tick().await.invocation.outcome.is_success());
        let summary = world.store_all().await;
        assert_eq!((summary.poisoned, summary.is_empty), (0, true), "{summary:?}");
    }
    ids.sort();
    assert_eq!(world.ids().await, ids);
    assert_eq!(world.tick().await.exchange()["queued"], json!(0));
}

/// I1 and I2: what is journalled was sent, and what lies before the checkpoint is journalled.
async fn assert_state_is_true(world: &World) {
    let ids = |items: Vec<Value>| -> BTreeSet<String> { items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect() };
    let journalled = ids(world.journalled("queued").await);
    let sent = ids(world.wire().sent().into_iter().flat_map(|sent| sent.items).collect());
    assert!(journalled.is_subset(&sent), "I1: {:?}", journalled.difference(&sent));
    let Some(checkpoint) = world.checkpoint(EXCHANGE).await else { return };
    let checkpoint = DateTime::parse_from_rfc3339(&checkpoint).unwrap();
    for blob in world.tenant.blobs().into_iter().filter(|blob| blob.created < checkpoint) {
        assert!(journalled.contains(&blob.id), "I2: {} is before {checkpoint}", blob.id);
    }
}

/// One run of a function, killed at its `writes`th request that changes something in storage. False where it ended before.
async fn killed_at(world: &World, function: &str, message: Option<&str>, writes: usize, what: What) -> bool {
    world.wire().mend();
    world.wire().spoil(At::Write, writes, 1, what);
    let run = async {
        match message {
            Some(message) => world.host.run_queue_message(function, message).await,
            None => world.host.run_timer(function).await,
        }
    };
    let killed = tokio::select! {
        _ = run => false,
        () = world.wire().held() => true,
    };
    if killed {
        world.host.restart().await;
    }
    world.wire().mend();
    killed
}

/// Rounds of which each is killed one write later than the one before, until one ends before it is killed: first with the
/// write not carried out, then with its answer lost. Answers the Ids of all their records.
async fn kill_at_each_write(world: &World, least_rounds: usize, is_killed: impl AsyncFn(usize, What) -> bool) -> Vec<String> {
    let (mut ids, mut round) = (Vec::new(), 0);
    for what in [What::HeldBefore, What::HeldAfter] {
        for writes in 0.. {
            round += 1;
            ids.extend(publish_round(world, round));
            if !is_killed(writes, what).await {
                break;
            }
        }
    }
    assert!(round >= least_rounds, "only {round} rounds");
    ids
}

/// Taken out: with a blob journalled before its message is acknowledged, or the checkpoint moved before the journal, a
/// kill between the two loses it.
#[tokio::test]
async fn a_tick_killed_at_any_write_to_storage_loses_nothing() {
    let world = Setting::default().with("BATCH_SIZE", "2").wired().start().await;
    world.tick().await;
    let ids = kill_at_each_write(&world, 11, async |writes, what| {
        let killed = killed_at(&world, "QueueEvents", None, writes, what).await;
        if killed {
            assert_state_is_true(&world).await;
            // What the killed one left does not pile up, so that every round has the same writes.
            assert!(world.tick().await.invocation.outcome.is_success());
        }
        killed
    })
    .await;
    assert_nothing_lost(&world, ids).await;
}

/// Taken out: with the journal's `stored` written before the documents, or a message deleted before both, a kill between
/// them loses the records.
#[tokio::test]
async fn a_message_killed_at_any_write_to_storage_is_stored_by_its_next_delivery() {
    let world = Setting::default().wired().start().await;
    let ids = kill_at_each_write(&world, 5, async |writes, what| {
        // One blob of each round is in trouble, so that a return to the queue is among the writes.
        world.tick().await;
        let message = world.last_sent().text();
        world.tenant.fail(Fault::once(Operation::FetchContent, later(503, "", 60)));
        let killed = killed_at(&world, "StoreEvents", Some(&message), writes, what).await;
        world.tenant.clear_faults();
        // What went back is hidden for a while; here it is delivered by hand, and so is the message itself.
        for sent in world.wire().sent() {
            world.store(&sent.text()).await;
        }
        world.storage.clear_queue(&world.queue).await.unwrap();
        killed
    })
    .await;
    assert_nothing_lost(&world, ids).await;
}

/// Where in its work the handler is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Listing(usize),
    Fetching(usize),
    Writing(u64),
    Written(u64),
}

/// Taken out: see the two stories above; here the listener holds the messages, and delivers them again by itself.
#[tokio::test]
async fn killed_while_listing_fetching_or_writing_every_record_is_one_document() {
    use Moment::{Fetching, Listing, Writing, Written};
    let moments = [Listing(1), Listing(3), Fetching(1), Fetching(3), Writing(1), Writing(2), Written(1), Written(2)];
    futures::future::join_all(moments.map(|moment| async move {
        let world = Setting::default().with("BATCH_SIZE", "2").start().await;
        world.tenant.set_page_size(1);
        let ids = publish_round(&world, 0);
        let hour = Duration::from_secs(3600);
        match moment {
            Listing(_) => world.tenant.fail(Fault::always(Operation::ListContent, FaultKind::Delay(Duration::from_millis(50)))),
            Fetching(calls) => {
                world.tick().await;
                world.tenant.fail(Fault::always(Operation::FetchContent, FaultKind::Delay(hour)).after(calls - 1));
            }
            Writing(_) | Written(_) => {
                world.tick().await;
                let fault = if matches!(moment, Writing(_)) { CosmosFaultKind::Delay(hour) } else { CosmosFaultKind::LostAnswer };
                world.cosmos.fail(CosmosFault::lasting(fault));
            }
        }
        let reached = |world: &World| match moment {
            Listing(calls) => world.calls(Operation::ListContent).len() >= calls,
            Fetching(calls) => world.calls(Operation::FetchContent).len() >= calls,
            Writing(writes) | Written(writes) => {
                let seen = world.cosmos.requests();
                seen.batches + seen.creates >= writes
            }
        };
        let work = async {
            match moment {
                Listing(_) => drop(world.host.run_timer("QueueEvents").await),
                _ => drop(world.host.run_queue(QueueUntil::empty().messages(2)).await.unwrap()),
            }
        };
        let kill = async {
            world.until(reached).await;
            world.tenant.clear_faults();
            world.cosmos.clear_faults();
            world.host.restart().await;
        };
        tokio::join!(work, kill);
        assert_nothing_lost(&world, ids).await;
    }))
    .await;
}

/// Taken out: with state in the process alone, another instance begins from nothing and queues everything again.
#[tokio::test]
async fn another_instance_goes_on_where_the_lost_one_stopped() {
    let mut world = Setting::default().start().await;
    let ids = publish_round(&world, 0);
    world.tick().await;
    let options = HostOptions { storage: Some(world.storage.clone()), ..HostOptions::default() };
    world.host = start_host(&world.settings, options).await.unwrap();
    assert_eq!(world.tick().await.exchange()["queued"], json!(0));
    assert_nothing_lost(&world, ids).await;
}
