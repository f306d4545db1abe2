//! `handler status`: how far each workload is, told from state alone. What is printed is pinned.

use azure_core::{credentials::Secret, hmac::hmac_sha256};
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use serde_json::{Value, json};
use standins::{
    azurite::ACCOUNT,
    tenant::{CONTENT_TYPES, Fault, FaultKind, NewBlob, Operation, SubscriptionState, TenantOptions},
};
use url::form_urlencoded::Serializer;

use crate::world::{EXCHANGE, SHAREPOINT, Setting, World, account_key, azurite, pin, record, type_command};

/// What varies from run to run.
const VARIES: [(&str, &str); 6] = [
    // As wide as it happens to be, and with it the column.
    (r"checkpoint +lag", "checkpoint  lag"),
    (r"Z +[0-9]+ (s|min)", "Z  N s"),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z", "YYYY-MM-DDThh:mm:ss.sssZ"),
    (r"\b[0-9]+ (s|min)\b", "N s"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "GUID"),
    (r"[0-9]{8}T[0-9]+\$\S+", "CONTENT-ID"),
];

async fn told(world: &World) -> Value {
    let typed = world.type_command(&["status", "--json"]).await;
    assert_eq!(typed.code, Some(0), "{typed:?}");
    typed.json()
}

fn of<'a>(told: &'a Value, workload: &str) -> &'a Value {
    let workloads = told["workloads"].as_array().unwrap();
    workloads.iter().find(|status| status["workload"] == workload).expect("the workload is told of")
}

/// A day's work with a bit of everything: stored, waiting, lost, duplicates; one workload idle, one off.
async fn busy_world() -> World {
    let tenant = TenantOptions { subscribed: true, ..TenantOptions::default() };
    let world = Setting { tenant, ..Setting::of_all_workloads() }.start().await;
    world.tenant.set_subscription("DLP.All", SubscriptionState::DisabledByAdmin);
    let blob = |workload: &str, minutes: i64, ids: &[&str]| {
        let records = ids.iter().map(|id| record(id)).collect();
        world.tenant.publish(NewBlob::new(workload, world.ago(minutes), records))
    };
    blob(EXCHANGE, 90, &["a", "b", "c"]);
    blob(EXCHANGE, 3 * 24 * 60, &["c", "d"]);
    blob(SHAREPOINT, 30, &["e"]);
    let lost = blob(SHAREPOINT, 40, &["f"]);
    blob("Audit.AzureActiveDirectory", 10, &["g"]);
    world.tick().await;
    // It expires sooner than it was told.
    let gone = NewBlob { id: Some(lost), expires: Some(world.ago(0)), ..NewBlob::new(SHAREPOINT, world.ago(40), vec![record("f")]) };
    world.tenant.publish(gone);
    // One is in trouble that may pass.
    let waiting = world.tenant.blobs().into_iter().find(|blob| blob.content_type == "Audit.AzureActiveDirectory").unwrap();
    world.tenant.fail(Fault { matching: Some(waiting.id), ..Fault::always(Operation::FetchContent, FaultKind::internal()) });
    world.store_all_visible().await;
    world
}

#[tokio::test]
async fn a_busy_day_is_told_by_workload_from_state_alone() {
    let world = busy_world().await;
    world.tenant.clear_calls();
    let typed = world.type_command(&["status"]).await;
    assert_eq!((typed.code, typed.stderr.as_str()), (Some(0), ""), "{}", typed.stdout);
    pin!("status of a busy day", typed.stdout);
    assert_eq!(world.tenant.calls().len(), 0, "nobody is asked");

    let told = told(&world).await;
    let standings: Vec<_> = CONTENT_TYPES.map(|workload| of(&told, workload)["standing"].clone()).into();
    assert_eq!(standings, ["Active", "Active", "Active", "Pending", "Inactive"]);
    let exchange = of(&told, EXCHANGE);
    let figures = |figures: &Value| ["listed", "stored", "records", "documents", "duplicates"].map(|name| figures[name].as_u64().unwrap());
    assert_eq!(figures(&exchange["last_24_hours"])[..3], [1, 1, 3]);
    assert_eq!(figures(&exchange["last_7_days"]), [2, 2, 5, 4, 1]);
    assert_eq!(of(&told, SHAREPOINT)["last_7_days"]["lost"], json!(1));
    assert_eq!(exchange["checkpoint"].as_str(), world.checkpoint(EXCHANGE).await.as_deref());
    let oldest = &of(&told, "Audit.AzureActiveDirectory")["oldest_waiting"];
    let since: DateTime<Utc> = oldest["since"].as_str().unwrap().parse().unwrap();
    assert!((TimeDelta::zero()..TimeDelta::minutes(2)).contains(&(Utc::now() - since)), "{oldest}");
}

/// Taken out: without the note of QueueEvents, a subscription that went off stays Active for as long as its checkpoint is there.
#[tokio::test]
async fn a_workload_goes_from_pending_to_active_and_inactive_as_its_subscription_does() {
    let world = Setting { tenant: TenantOptions::default(), ..Setting::default() }.start().await;
    let standing = || async { of(&told(&world).await, EXCHANGE)["standing"].clone() };
    world.tick().await;
    assert_eq!(standing().await, "Pending");
    world.publish(10, &["a"]);
    world.tick().await;
    assert_eq!(standing().await, "Active");
    world.tenant.set_subscription(EXCHANGE, SubscriptionState::DisabledByAdmin);
    world.travel(TimeDelta::minutes(20));
    world.tick().await;
    assert_eq!(standing().await, "Inactive");
    // What the last start met stays on record while none is tried.
    world.tick().await;
    let told = told(&world).await;
    let reason = of(&told, EXCHANGE)["reason"].as_str().unwrap();
    assert!(reason.contains("an administrator switched the subscription off"), "{reason}");
}

#[tokio::test]
async fn what_is_wrong_with_the_state_is_told() {
    let world = Setting::default().start().await;
    let typed = world.type_command(&["status"]).await;
    assert_eq!(typed.code, Some(1), "{typed:?}");
    pin!("status before the first run", typed.stderr);

    world.write_checkpoint(EXCHANGE, "yesterday").await;
    let typed = world.type_command(&["status"]).await;
    assert_eq!(typed.code, Some(0), "{typed:?}");
    pin!("status of a checkpoint that cannot be read", typed.stdout);
}

/// Taken out: to ask for more than to read and list the state is to be refused, where a person was lent no more.
#[tokio::test]
async fn to_read_and_list_the_state_is_all_it_needs() {
    let world = busy_world().await;
    let mut settings = world.settings.clone();
    let endpoints: Vec<_> = azurite().split(';').filter(|part| part.contains("Endpoint=")).collect();
    let signed = format!("{};SharedAccessSignature={}", endpoints.join(";"), lent(&world.container));
    settings.insert("AzureWebJobsStorage".to_owned(), signed);
    let typed = type_command(&["status", "--json"], &settings).await;
    assert_eq!(typed.code, Some(0), "{typed:?}");
    assert_eq!(of(&typed.json(), EXCHANGE)["standing"], "Active");
    settings.insert("STATE_CONTAINER".to_owned(), "another".to_owned());
    assert_eq!(type_command(&["status"], &settings).await.code, Some(1));
}

/// A signature that lets its bearer read and list one container for an hour.
/// <https://learn.microsoft.com/rest/api/storageservices/create-service-sas#version-2020-12-06-and-later>
fn lent(container: &str) -> String {
    let expiry = (Utc::now() + TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let text = format!("rl\n\n{expiry}\n/blob/{ACCOUNT}/{container}\n\n\n\n2022-11-02\nc\n\n\n\n\n\n\n");
    let signature = hmac_sha256(&text, &Secret::new(account_key())).unwrap();
    Serializer::new(String::new())
        .extend_pairs([("sv", "2022-11-02"), ("sr", "c"), ("sp", "rl"), ("se", expiry.as_str()), ("sig", signature.as_str())])
        .finish()
}

#[tokio::test]
async fn a_gap_is_told() {
    let world = Setting::default().start().await;
    world.write_checkpoint(EXCHANGE, &world.ago(8 * 24 * 60).to_rfc3339()).await;
    world.tick().await;
    let told = told(&world).await;
    let gaps = of(&told, EXCHANGE)["gaps"].as_array().unwrap().clone();
    assert_eq!(gaps.len(), 1, "{told}");
    assert!(world.type_command(&["status"]).await.stdout.contains("gap: what became available from"));
}

#[tokio::test]
async fn help_is_there_for_every_command_and_a_mistake_is_explained() {
    let world = Setting::default().start().await;
    join_all([vec!["--help"], vec!["check", "--help"], vec!["status", "--help"]].map(|arguments| {
        let world = &world;
        async move {
            let typed = world.type_command(&arguments).await;
            assert_eq!((typed.code, typed.stderr.as_str()), (Some(0), ""), "{typed:?}");
            pin!(format!("help {}", arguments.join(" ")), typed.stdout);
        }
    }))
    .await;
    let typed = world.type_command(&["chekc"]).await;
    assert_eq!(typed.code, Some(2), "{typed:?}");
    assert!(typed.stderr.contains("chekc") && typed.stderr.contains("--help"), "{typed:?}");
}

/// Taken out: judged by a clock that is behind, a good checkpoint is "in the future; delete it", and a person deletes it.
#[tokio::test]
async fn a_laptop_whose_clock_is_behind_judges_no_checkpoint() {
    let world = Setting::default().start().await;
    // To the laptop, the service is ahead.
    world.travel(TimeDelta::minutes(10));
    world.publish(5, &["a"]);
    world.tick().await;
    let told = told(&world).await;
    let exchange = of(&told, EXCHANGE);
    assert_eq!((exchange["checkpoint"].as_str(), &exchange["standing"]), (world.checkpoint(EXCHANGE).await.as_deref(), &json!("Active")));
    assert!(exchange["lag_seconds"].as_i64().is_some_and(|lag| (0..600).contains(&lag)), "{told}");
    let typed = world.type_command(&["status"]).await;
    assert!(!typed.stdout.contains("future") && !typed.stdout.contains("delete"), "{}", typed.stdout);
    assert!(typed.stdout.contains("this machine's clock is behind"), "{}", typed.stdout);
}
