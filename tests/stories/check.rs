//! `handler check`: what a person is told in health, and of each fault that people have. What is printed is pinned.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use futures::future::join_all;
use serde_json::{Value, json};
use standins::{
    cosmos::{CosmosFault, CosmosFaultKind, CosmosOptions},
    tenant::{Fault, FaultKind, Operation, SubscriptionState, TenantOptions},
};
use uuid::Uuid;

use crate::{
    wire::{At, What},
    world::{EXCHANGE, Identity, Setting, Typed, World, pin, type_command},
};

/// What varies from run to run.
const VARIES: [(&str, &str); 6] = [
    // How storage is asked, in an address.
    (r"\?[a-z0-9=&]+\)", ")"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "GUID"),
    (r"(localhost|127\.0\.0\.1):[0-9]+", "$1:PORT"),
    (r"Timestamp: [0-9-]+ [0-9:]+Z", "Timestamp: TIME"),
    (r"is 6[0-9]{2} s|is 59[0-9] s", "is 600 s"),
    (r"[0-9-]{10}T[0-9:]{8}", "TIME"),
];

/// A world whose collector has run, so that all it makes by itself is there.
async fn ran(setting: Setting) -> World {
    let world = setting.start().await;
    world.tick().await;
    world
}

async fn check(world: &World) -> Typed {
    world.type_command(&["check"]).await
}

/// The lines of a report that are no ticks, with what to do; and the last one, which counts them.
fn crosses(typed: &Typed) -> String {
    let is_cross = |line: &&str| ["✗", "-", "→"].iter().any(|mark| line.trim_start().starts_with(mark)) || line.contains("to mend");
    typed.stdout.lines().filter(is_cross).map(|line| format!("{}\n", line.trim_end())).collect()
}

/// What somebody else could see of a check: queue, container, documents, subscriptions.
async fn traces(world: &World) -> Value {
    json!({
        "messages": world.storage.message_count(&world.queue).await.unwrap(),
        "blobs": world.storage.list_blobs(&world.container).await.unwrap(),
        "documents": world.cosmos.document_count().await.unwrap(),
        "checkpoint": world.checkpoint(EXCHANGE).await,
        "starts": world.calls(Operation::StartSubscription).len(),
    })
}

/// Taken out: a probe that is not removed, a start or a checkpoint would show in what is there before and after.
#[tokio::test]
async fn in_health_every_line_has_a_tick_and_nothing_is_left_behind() {
    let world = ran(Setting::of_all_workloads()).await;
    world.publish(10, &["a"]);
    let before = traces(&world).await;
    let typed = check(&world).await;
    assert_eq!((typed.code, typed.stderr.as_str()), (Some(0), ""), "{}", typed.stdout);
    assert_eq!(traces(&world).await, before);
    assert!(!typed.stdout.contains(&world.settings["OFFICE365_CLIENT_SECRET"]));
    assert!(!typed.stdout.contains("eyJ"), "a token is printed");
    pin!("check in health", typed.stdout);
    // The collector goes on as if nothing had been.
    assert_eq!(world.tick().await.exchange()["queued"], json!(1));
}

/// Taken out: were a message that is only a trial to be seen, StoreEvents would be run for it.
#[tokio::test]
async fn a_check_is_not_picked_up_by_the_collector() {
    let world = ran(Setting::default().wired()).await;
    let before = world.lines().len();
    let typed = check(&world).await;
    assert_eq!(typed.code, Some(0), "{typed:?}");
    let sent = world.last_sent();
    assert_eq!((sent.items.as_slice(), sent.hidden_for), ([].as_slice(), 59));
    assert_eq!(world.store_all().await.invocations.len(), 0);
    assert_eq!(world.lines().len(), before);
}

#[tokio::test]
async fn what_machines_read_says_the_same() {
    let world = ran(Setting::default()).await;
    let typed = world.type_command(&["check", "--json"]).await;
    let told = typed.json();
    assert_eq!((typed.code, &told["well"]), (Some(0), &json!(true)), "{told}");
    let marks = |told: &Value, mark: &str| {
        let parts = told["parts"].as_array().unwrap().iter().flat_map(|part| part["checks"].as_array().unwrap().clone());
        parts.filter(|check| check["mark"] == mark).count()
    };
    assert!(marks(&told, "well") > 25 && marks(&told, "wrong") == 0, "{told}");

    world.storage.queue(&world.queue).unwrap().delete(None).await.unwrap();
    let typed = world.type_command(&["check", "--json"]).await;
    let told = typed.json();
    assert_eq!((typed.code, &told["well"], marks(&told, "wrong")), (Some(1), &json!(false), 1), "{told}");
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_all_told_and_no_secret_is() {
    let secret = "s3cret~of~the~app";
    let settings: BTreeMap<String, String> = [
        ("OFFICE365_TENANT_ID", "contoso"),
        ("OFFICE365_CLIENT_ID", secret),
        ("OFFICE365_CLIENT_SECRET", secret),
        ("OFFICE365_CLOUD", "mars"),
        ("WORKLOADS", "Audit.Exchange,Audit.Echange"),
        ("SCHEDULE", "*/5 * * * *"),
        ("LOOKBACK_HOURS", "1000"),
        ("COSMOS_KEY", secret),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let typed = type_command(&["check"], &settings).await;
    assert_eq!(typed.code, Some(1));
    assert!(!typed.stdout.contains(secret), "{}", typed.stdout);
    pin!("check of settings that cannot be used", typed.stdout);
}

/// Taken out: each of these faults, unless it is told, leaves the report as in health, and its exit code 0.
#[tokio::test]
async fn each_fault_of_the_tenant_is_told_with_what_to_do() {
    let tenant = |change: fn(&mut TenantOptions)| {
        let mut tenant = TenantOptions { subscribed: true, ..TenantOptions::default() };
        change(&mut tenant);
        Setting { tenant, ..Setting::of_all_workloads() }
    };
    let plans = [
        ("no role", tenant(|tenant| tenant.roles = Vec::new())),
        ("no role for DLP", tenant(|tenant| tenant.roles = vec!["ActivityFeed.Read".to_owned()])),
        ("auditing off", tenant(|tenant| tenant.auditing = false)),
        ("wrong tenant", tenant(|_| {}).with("OFFICE365_TENANT_ID", &Uuid::new_v4().to_string())),
        ("wrong secret", tenant(|_| {}).with("OFFICE365_CLIENT_SECRET", "wrong")),
        ("wrong app", tenant(|_| {}).with("OFFICE365_CLIENT_ID", &Uuid::new_v4().to_string())),
        ("never started", tenant(|tenant| tenant.subscribed = false)),
    ];
    join_all(plans.map(|(name, setting)| async move {
        let world = setting.start().await;
        // Queue and container are there; nothing has run.
        world.storage.create_container(&world.container).await.unwrap();
        world.storage.create_queue(&world.queue).await.unwrap();
        let typed = check(&world).await;
        assert_eq!(typed.code, Some(1), "{name}: {}", typed.stdout);
        assert_eq!(world.calls(Operation::StartSubscription).len(), 0, "{name}");
        pin!(format!("check {name}"), crosses(&typed));
    }))
    .await;
}

#[tokio::test]
async fn a_subscription_that_is_disabled_is_told_and_not_started() {
    let world = ran(Setting::of_all_workloads()).await;
    world.tenant.clear_calls();
    world.tenant.set_subscription("Audit.SharePoint", SubscriptionState::DisabledByAdmin);
    let typed = check(&world).await;
    assert_eq!((typed.code, world.calls(Operation::StartSubscription).len()), (Some(1), 0));
    pin!("check subscription disabled", crosses(&typed));
}

/// Taken out: a listing that is not tried leaves a subscription that is on, and serves nothing, unseen.
#[tokio::test]
async fn a_service_that_does_not_answer_as_it_should_is_told() {
    let world = ran(Setting::default()).await;
    world.tenant.fail(Fault::always(Operation::ListContent, FaultKind::internal()));
    let typed = check(&world).await;
    assert_eq!(typed.code, Some(1));
    pin!("check listing fails", crosses(&typed));
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_either_way() {
    join_all([("behind", 10), ("ahead", -10)].map(|(name, minutes)| async move {
        let world = ran(Setting::default()).await;
        world.travel(TimeDelta::minutes(minutes));
        let typed = check(&world).await;
        assert_eq!(typed.code, Some(1), "{}", typed.stdout);
        pin!(format!("check clock {name}"), crosses(&typed));
    }))
    .await;
}

#[tokio::test]
async fn storage_that_is_missing_or_refuses_is_told() {
    let world = ran(Setting::default()).await;
    world.storage.queue(&world.queue).unwrap().delete(None).await.unwrap();
    let typed = check(&world).await;
    assert_eq!(typed.code, Some(1));
    pin!("check queue missing", crosses(&typed));
    world.storage.container(&world.container).delete(None).await.unwrap();
    let typed = check(&world).await;
    assert_eq!(typed.code, Some(1));
    pin!("check queue and container missing", crosses(&typed));

    let world = ran(Setting::default().wired()).await;
    world.wire().spoil(At::Write, 0, usize::MAX, What::Refused);
    let typed = check(&world).await;
    assert_eq!(typed.code, Some(1));
    pin!("check storage refuses to be written to", crosses(&typed));
}

#[tokio::test]
async fn a_container_that_is_made_otherwise_is_told() {
    let cosmos = |change: fn(&mut CosmosOptions)| {
        let mut cosmos = CosmosOptions { partitions: 4, ..CosmosOptions::default() };
        change(&mut cosmos);
        Setting { cosmos, ..Setting::default() }
    };
    let plans = [
        ("time to live off", cosmos(|cosmos| cosmos.default_ttl = None)),
        ("wrong partition key", cosmos(|cosmos| cosmos.partition_key_path = "/id".to_owned())),
        ("no such container", cosmos(|_| {}).with("COSMOS_CONTAINER", "activities")),
        ("wrong database key", cosmos(|_| {}).with("COSMOS_KEY", "d3Jvbmc=")),
    ];
    join_all(plans.map(|(name, setting)| async move {
        let world = ran(setting).await;
        let typed = check(&world).await;
        assert_eq!((typed.code, world.cosmos.document_count().await.unwrap()), (Some(1), 0), "{name}: {}", typed.stdout);
        pin!(format!("check {name}"), crosses(&typed));
    }))
    .await;
}

#[tokio::test]
async fn a_database_that_may_only_be_read_is_told() {
    let world = ran(Setting::default()).await;
    world.cosmos.fail(CosmosFault::lasting(CosmosFaultKind::status(403)));
    let typed = check(&world).await;
    assert_eq!(typed.code, Some(1));
    pin!("check database read-only", crosses(&typed));
}

/// Taken out: an identity that nobody trusts to sign is told like any other refusal, without the way out.
#[tokio::test]
async fn an_identity_of_another_tenant_is_told() {
    let setting = Setting { identity: Some(Identity::HoldsPermissions), ..Setting::default() };
    let world = ran(setting.with("OFFICE365_TENANT_ID", &Uuid::new_v4().to_string())).await;
    let typed = check(&world).await;
    assert_eq!(typed.code, Some(1));
    pin!("check identity of another tenant", crosses(&typed));
}

#[tokio::test]
async fn an_app_that_does_not_trust_the_identity_is_told() {
    let tenant = TenantOptions { federated: false, subscribed: true, ..TenantOptions::default() };
    let world = ran(Setting { tenant, identity: Some(Identity::SignsForApp), ..Setting::default() }).await;
    let typed = check(&world).await;
    assert_eq!(typed.code, Some(1));
    pin!("check identity not trusted", crosses(&typed));
}

/// Taken out: with the libraries' own retries, a person waits for half a minute, and then is not told why.
#[tokio::test]
async fn an_address_where_nobody_is_is_told_in_its_own_words() {
    let world = ran(Setting::default()).await;
    let mut settings = world.settings.clone();
    let nobody = "http://127.0.0.1:1/devstoreaccount1";
    let storage = format!("AccountName=devstoreaccount1;AccountKey=a2V5;BlobEndpoint={nobody};QueueEndpoint={nobody}");
    settings.insert("AzureWebJobsStorage".to_owned(), storage);
    settings.insert("COSMOS_ENDPOINT".to_owned(), "http://127.0.0.1:1/".to_owned());
    let typed = type_command(&["check"], &settings).await;
    assert_eq!(typed.code, Some(1));
    pin!("check nobody there", crosses(&typed));
    let typed = type_command(&["status"], &settings).await;
    assert!(typed.code == Some(1) && typed.stderr.contains("the state cannot be read"), "{typed:?}");
}
