//! The access token: had by secret or identity, one flight at a time, renewed when it is refused, and never shown.

use std::{collections::BTreeMap, time::Duration};

use chrono::TimeDelta;
use futures::future::join_all;
use serde_json::json;
use standins::tenant::{CONTENT_TYPES, Fault, FaultKind, NewBlob, Operation, TenantOptions};

use crate::world::{EXCHANGE, Setting, World, reason, record};

/// Five messages of four blobs each, which are fetched as far in parallel as the process allows.
async fn store_twenty(world: &World, from: usize) {
    let ids: Vec<String> = (from..from + 20).map(|number| world.publish(30, &[&format!("r{number:02}")])).collect();
    let messages: Vec<String> = ids.chunks(4).map(|ids| world.message(ids)).collect();
    for (invocation, line) in join_all(messages.iter().map(|message| world.store(message))).await {
        assert!(invocation.outcome.is_success(), "{invocation:?}");
        assert_eq!(line["stored"], json!(4), "{line}");
    }
    assert_eq!(world.ids().await.len(), from + 20);
}

/// Taken out: without the cache, or without the one flight at a time, there are as many Token calls as fetches; with a
/// token renewed by each who is refused, as many as are under way.
#[tokio::test]
async fn twenty_fetches_at_once_share_one_token_and_one_renewal() {
    let world = Setting::default().start().await;
    world.storage.create_container(&world.container).await.unwrap();
    // A slow answer, so that all who want a token want it at the same time.
    world.tenant.fail(Fault::always(Operation::Token, FaultKind::Delay(Duration::from_millis(300))));
    store_twenty(&world, 0).await;
    assert_eq!(world.calls(Operation::Token).len(), 1);

    world.tenant.clear_calls();
    world.tenant.revoke_tokens();
    store_twenty(&world, 20).await;
    assert_eq!(world.calls(Operation::Token).len(), 1);
    let refused = world.calls(Operation::FetchContent).iter().filter(|call| call.status == 401).count();
    assert!((1..=20).contains(&refused), "{refused}");
}

/// Taken out: without the renewal a refused token fails the tick, and puts the blob off.
#[tokio::test]
async fn a_refused_token_is_renewed_once_wherever_it_is_refused() {
    let operations = [Operation::ListSubscriptions, Operation::StartSubscription, Operation::ListContent, Operation::FetchContent];
    join_all(operations.map(|operation| async move {
        let tenant = TenantOptions { subscribed: operation != Operation::StartSubscription, ..TenantOptions::default() };
        let world = Setting { tenant, ..Setting::default() }.start().await;
        world.publish(30, &["a"]);
        world.tenant.fail(Fault::once(operation, FaultKind::InvalidToken401));
        let tick = world.tick().await;
        assert!(tick.invocation.outcome.is_success(), "{operation:?}: {:?}", tick.invocation);
        assert_eq!(world.store_all().await.succeeded(), 1, "{operation:?}");
        assert_eq!(world.ids().await, ["a"], "{operation:?}");
        assert_eq!(world.calls(Operation::Token).len(), 2, "{operation:?}");
        assert_eq!(world.logged("ERROR"), "", "{operation:?}");
    }))
    .await;
}

/// Taken out: with the token of the start kept for the whole run, what comes after its life of half a minute is refused; without
/// the renewal of one that is refused, what comes after an hour by the service's clock.
#[tokio::test]
async fn a_token_that_lives_for_half_a_minute_or_an_hour_is_outlived() {
    for seconds in [30, 3599] {
        let tenant = TenantOptions { token_lifetime: Duration::from_secs(seconds), subscribed: true, ..TenantOptions::default() };
        let world = Setting { tenant, ..Setting::default() }.start().await;
        for number in 0..3 {
            world.publish(5, &[&number.to_string()]);
            let tick = world.tick().await;
            assert!(tick.invocation.outcome.is_success(), "{seconds}: {:?}", tick.invocation);
            world.travel(TimeDelta::seconds(i64::try_from(seconds).unwrap() + 1));
            assert_eq!(world.store_all().await.succeeded(), 1, "{seconds}");
            world.travel(TimeDelta::seconds(i64::try_from(seconds).unwrap() + 1));
        }
        assert_eq!(world.ids().await, ["0", "1", "2"], "{seconds}");
        assert_eq!(world.logged("ERROR"), "", "{seconds}");
    }
}

/// Taken out: without the renewal the blob after goes back on the queue. A body that is under way does not mind: the token was
/// good when it was asked for.
#[tokio::test]
async fn a_token_that_ends_in_the_middle_of_a_blob_costs_neither_it_nor_the_next() {
    let world = Setting::default().start().await;
    let [long, next] = [world.publish(30, &["a", "b"]), world.publish(20, &["c"])];
    world.storage.create_container(&world.container).await.unwrap();
    let pause = FaultKind::Stall { bytes: 10, pause: Duration::from_secs(2) };
    world.tenant.fail(Fault::once(Operation::FetchContent, pause).matching(&long));
    let (long, next) = (world.message(&[long]), world.message(&[next]));
    let after = async {
        world.until(|world| world.calls(Operation::FetchContent).iter().any(|call| call.status == 200)).await;
        world.tenant.revoke_tokens();
        world.store(&next).await
    };
    let ((_, long), (_, next)) = tokio::join!(world.store(&long), after);
    assert_eq!((&long["stored"], &next["stored"]), (&json!(1), &json!(1)), "{long} {next}");
    let fetches: Vec<u16> = world.calls(Operation::FetchContent).into_iter().map(|call| call.status).collect();
    assert_eq!((fetches, world.calls(Operation::Token).len()), (vec![200, 401, 200], 2));
    assert_eq!(world.ids().await, ["a", "b", "c"]);
}

/// Taken out: with the tick taken for well when no token is had, nobody learns that nothing is collected; were the
/// library's request shown with its error, the secret would be in the log.
#[tokio::test]
async fn a_wrong_secret_is_said_and_not_shown() {
    let secret = "wrong~secret~of~nobody";
    let world = Setting::default().with("OFFICE365_CLIENT_SECRET", secret).start().await;
    let blob = world.publish(30, &["a"]);
    reason(&world.tick().await.invocation);
    let errors = world.logged("ERROR");
    assert!(errors.contains("no access token for the Office 365 Management API") && errors.contains("AADSTS7000215"), "{errors}");
    assert_eq!(world.checkpoint(EXCHANGE).await, None);

    // Nor does a message suffer: its blobs wait until somebody has mended it.
    let (invocation, line) = world.store(&world.message(&[blob])).await;
    assert!(invocation.outcome.is_success(), "{invocation:?}");
    assert_eq!((&line["requeued"], &line["lost"]), (&json!(1), &json!(0)), "{line}");
    assert!(!world.host.output().join("\n").contains(secret), "the secret is in the log");
}

/// Taken out: with the identity used only for storage and database, or asked for the wrong resource, there is no token.
#[tokio::test]
async fn a_managed_identity_signs_for_the_app_or_holds_the_role_itself() {
    for app in [true, false] {
        let tenant = standins::tenant::Tenant::start(TenantOptions { subscribed: true, ..TenantOptions::default() }).await.unwrap();
        let mut settings: BTreeMap<String, String> = tenant.identity_settings();
        settings.insert("OFFICE365_CLIENT_SECRET".to_owned(), String::new());
        if !app {
            settings.insert("OFFICE365_CLIENT_ID".to_owned(), String::new());
        }
        let setting = Setting::default();
        let world = Setting { settings: setting.settings.into_iter().chain(settings).collect(), ..setting };
        let mut world = world.start().await;
        world.tenant = tenant;
        world.publish(30, &["a"]);
        let tick = world.tick().await;
        assert!(tick.invocation.outcome.is_success(), "app {app}: {:?} {}", tick.invocation, world.logged("ERROR"));
        world.store_all().await;
        assert_eq!(world.ids().await, ["a"], "app {app}");
        assert_eq!((world.calls(Operation::Identity).len(), world.calls(Operation::Token).len()), (1, usize::from(app)));
        // It renews its token as any other does.
        world.tenant.revoke_tokens();
        world.publish(1, &["b"]);
        assert_eq!(world.tick().await.exchange()["queued"], json!(1), "app {app}: {}", world.logged("ERROR"));
    }
}

/// Taken out: were a missing role taken for passing trouble, each window of DLP would be tried four times a tick; were it a failure of
/// the run, the four others would not be listed.
#[tokio::test]
async fn a_role_that_is_missing_for_one_workload_is_said_and_holds_back_no_other() {
    let tenant = TenantOptions { roles: vec!["ActivityFeed.Read".to_owned()], subscribed: true, ..TenantOptions::default() };
    let world = Setting { tenant, ..Setting::default() }.with("WORKLOADS", "").start().await;
    for content_type in CONTENT_TYPES {
        world.tenant.publish(NewBlob::new(content_type, world.ago(20), vec![record(content_type)]));
    }
    let tick = world.tick().await;
    for content_type in CONTENT_TYPES {
        let queued = usize::from(content_type != "DLP.All");
        assert_eq!(tick.of(content_type)["queued"], json!(queued), "{content_type}");
    }
    let mut asked: Vec<_> = world
        .calls(Operation::ListContent)
        .into_iter()
        .filter(|call| call.content_type.as_deref() == Some("DLP.All"))
        .map(|call| call.query)
        .collect();
    let calls = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!((asked.len(), calls > 0), (calls, true), "a window was asked for again");
    let errors = world.logged("ERROR");
    assert!(errors.contains("DLP.All") && errors.contains("AF10001") && errors.contains("ActivityFeed.ReadDlp"), "{errors}");
}
