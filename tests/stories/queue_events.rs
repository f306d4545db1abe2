//! QueueEvents: listing, queueing, journal and checkpoint.

use chrono::TimeDelta;
use serde_json::json;
use standins::tenant::{NewBlob, Operation};

use crate::world::{EXCHANGE, Setting, record, world};

#[tokio::test]
async fn the_first_tick_queues_what_is_there_and_moves_the_checkpoint_to_now() {
    let world = world().await;
    let blob = world.publish(90, &["a", "b"]);
    let tick = world.tick().await;
    assert!(tick.invocation.outcome.is_success(), "{:?}", tick.invocation);

    let messages = world.messages().await;
    assert_eq!(messages.len(), 1);
    let item = &messages[0][0];
    assert_eq!((&item["id"], &item["type"], &item["attempt"]), (&json!(blob), &json!(EXCHANGE), &json!(0)));
    assert_eq!(item["uri"], json!(world.tenant.content_uri(&blob)));

    let report = tick.exchange();
    assert_eq!((&report["listed"], &report["queued"], &report["messages"]), (&json!(1), &json!(1), &json!(1)), "{report}");
    assert_eq!(report["checkpoint_before"], json!(null));
    assert_eq!(report["checkpoint_after"], json!(world.checkpoint(EXCHANGE).await));
    assert!(report["lag_seconds"].as_i64().is_some_and(|lag| (0..60).contains(&lag)), "{report}");
    assert_eq!(world.journalled("queued").await.len(), 1);
}

#[tokio::test]
async fn the_second_tick_lists_again_and_queues_only_what_is_new() {
    let world = world().await;
    world.publish(90, &["a"]);
    world.tick().await;
    let second = world.publish(1, &["b"]);
    let tick = world.tick().await;
    assert_eq!((&tick.exchange()["listed"], &tick.exchange()["queued"]), (&json!(2), &json!(1)), "{}", tick.line);
    let messages = world.messages().await;
    assert_eq!(messages[1][0]["id"], json!(second));
    assert_eq!(world.tick().await.exchange()["queued"], json!(0));
}

#[tokio::test]
async fn a_backlog_of_seven_days_is_listed_in_windows_that_the_api_allows() {
    let world = world().await;
    for hours in 0..160 {
        world.publish(hours * 60 + 5, &[&format!("r{hours}")]);
    }
    let tick = world.tick().await;
    assert_eq!(tick.exchange()["queued"], json!(160), "{}", tick.line);
    let listings = world.calls(Operation::ListContent);
    assert!(listings.iter().all(|call| call.status == 200), "{listings:?}");
    assert_eq!(tick.exchange()["windows"], json!(listings.len()));
    assert!(listings.len() <= 30, "{}", listings.len());
    assert!(listings.iter().all(|call| call.publisher.as_deref() == Some(world.tenant.tenant_id().to_string().as_str())));
}

#[tokio::test]
async fn several_pages_in_no_order_are_listed_to_the_last() {
    let world = world().await;
    world.tenant.set_page_size(3);
    let tied = world.ago(30);
    for number in 0..10 {
        world.tenant.publish(NewBlob::new(EXCHANGE, tied - TimeDelta::minutes(number / 3), vec![record(&number.to_string())]));
    }
    let tick = world.tick().await;
    assert_eq!((&tick.exchange()["listed"], &tick.exchange()["queued"]), (&json!(10), &json!(10)), "{}", tick.line);
}

#[tokio::test]
async fn no_remainder_is_lost_whatever_the_count_of_uris() {
    for count in [1_usize, 12, 21, 25, 200] {
        let world = world().await;
        for number in 0..count {
            world.publish(number as i64 % 50 + 1, &[&number.to_string()]);
        }
        let tick = world.tick().await;
        assert_eq!(tick.exchange()["queued"], json!(count));
        assert_eq!(tick.exchange()["messages"], json!(count.div_ceil(20)));
        let messages = world.messages().await;
        assert_eq!(messages.iter().map(Vec::len).sum::<usize>(), count);
        assert!(messages.iter().all(|message| message.len() <= 20));
    }
}

#[tokio::test]
async fn very_long_uris_keep_a_message_within_48_kib() {
    let world = Setting::default().with("BATCH_SIZE", "100").start().await;
    for number in 0..12 {
        let uri =
            format!("{}api/v1.0/{}/activity/feed/audit/{number}{}", world.tenant.api_url(), world.tenant.tenant_id(), "x".repeat(10_000));
        world.tenant.publish(NewBlob { uri: Some(uri), ..NewBlob::new(EXCHANGE, world.ago(5), vec![record(&number.to_string())]) });
    }
    let tick = world.tick().await;
    assert_eq!(tick.exchange()["queued"], json!(12));
    let messages = world.storage.messages(&world.queue).await.unwrap();
    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(|text| text.len() <= 48 * 1024));
}
