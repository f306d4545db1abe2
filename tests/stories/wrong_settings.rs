//! Settings that were wrong for a while, and two collectors on one queue: nothing is given up that a right setting brings.

use chrono::TimeDelta;
use futures::future::join_all;
use serde_json::{Value, json};
use standins::{
    host::{Host, HostOptions},
    tenant::{Fault, FaultKind, Operation},
};

use crate::world::{EXCHANGE, Setting, World, later, start_host};

const OTHER_TENANT: &str = "11111111-2222-4333-8444-555555555555";

/// A second handler on the same queue and state, with one setting that differs.
async fn collector_with(world: &World, name: &str, value: &str) -> Host {
    let mut settings = world.settings.clone();
    settings.insert(name.to_owned(), value.to_owned());
    start_host(&settings, HostOptions { storage: Some(world.storage.clone()), ..HostOptions::default() }).await.unwrap()
}

fn errors(host: &Host) -> String {
    host.output().iter().filter(|line| line.contains("\"ERROR\"")).map(|line| format!("{line}\n")).collect()
}

/// The content of another tenant, as the queue carries it: of this collector's root, expiring in so many minutes.
fn of_another_tenant(world: &World, id: &str, expires_in: i64) -> Value {
    let root = world.tenant.api_url().as_str().trim_end_matches('/');
    let stamp = |minutes| world.ago(minutes).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    json!({"uri": format!("{root}/api/v1.0/{OTHER_TENANT}/activity/feed/audit/{id}"), "type": EXCHANGE, "id": id,
        "created": stamp(30), "expires": stamp(-expires_in), "attempt": 0, "tenant": OTHER_TENANT})
}

#[tokio::test]
async fn a_message_carries_the_tenant_that_listed_it() {
    let world = Setting::default().wired().start().await;
    world.publish(30, &["a"]);
    world.tick().await;
    assert_eq!(world.last_sent().items[0]["tenant"], json!(world.tenant.tenant_id().to_string()));
}

/// Taken out: were a foreign address a loss, a setting that is wrong for a minute would lose all that was queued; were it put
/// off without a word, nobody would mend the setting.
#[tokio::test]
async fn content_outside_the_configured_root_or_tenant_is_put_off_and_stored_once_the_setting_is_right() {
    let cases = [
        ("OFFICE365_TENANT_ID", OTHER_TENANT, OTHER_TENANT),
        ("OFFICE365_API_URL", "https://localhost:1", "https://localhost:1"),
        ("OFFICE365_API_URL", "https://manage-gcc.office.com", "https://manage-gcc.office.com"),
    ];
    join_all(cases.map(|(name, value, said)| async move {
        let world = Setting::default().wired().start().await;
        let blobs = [world.publish(50, &["a"]), world.publish(40, &["b"])];
        world.tick().await;
        world.tenant.clear_calls();
        let wrong = collector_with(&world, name, value).await;
        let invocation = wrong.run_queue_message("StoreEvents", &world.last_sent().text()).await;
        assert!(invocation.outcome.is_success(), "{value}: {invocation:?}");
        assert!(world.tenant.calls().is_empty(), "{value}: {:?}", world.tenant.calls());
        assert_eq!(world.journalled("lost").await.len(), 0, "{value}");

        let said_of_it = errors(&wrong);
        let own = format!("{}api/v1.0/{}", world.tenant.api_url(), world.tenant.tenant_id());
        assert!(said_of_it.contains(said) && said_of_it.contains(&own), "{value}: both roots are named: {said_of_it}");

        let sent: Vec<_> = world.wire().sent().into_iter().skip(1).collect();
        assert_eq!(sent.iter().flat_map(|sent| &sent.items).count(), 2, "{value}: {sent:?}");
        for sent in &sent {
            assert!((24..=36).contains(&sent.hidden_for), "{value}: {} s", sent.hidden_for);
            assert!(world.store(&sent.text()).await.0.outcome.is_success());
        }
        assert_eq!(world.ids().await, ["a", "b"], "{value}");
        assert_eq!(world.journalled("stored").await.len(), blobs.len(), "{value}");
    }))
    .await;
}

/// Taken out: without the comparison with `expires` it goes round for ever; by anything else it is lost too early.
#[tokio::test]
async fn content_of_another_tenant_is_lost_only_when_it_has_expired_and_is_in_no_journal_until_then() {
    let world = Setting::default().wired().start().await;
    world.tick().await;
    world.storage.create_queue(&world.queue).await.unwrap();
    let message = json!([of_another_tenant(&world, "theirs", 20)]).to_string();
    let (_, line) = world.store(&message).await;
    assert_eq!((&line["requeued"], &line["lost"]), (&json!(1), &json!(0)), "{line}");
    assert_eq!(world.journal(EXCHANGE).await.len(), 0, "another collector's content is no business of this journal");
    assert_eq!(world.last_sent().items[0]["tenant"], json!(OTHER_TENANT));

    world.travel(TimeDelta::minutes(21));
    world.tick().await;
    let (_, line) = world.store(&world.last_sent().text()).await;
    assert_eq!((&line["requeued"], &line["lost"]), (&json!(0), &json!(1)), "{line}");
    let lost = world.journalled("lost").await;
    assert_eq!((lost.len(), &lost[0]["id"]), (1, &json!("theirs")));
    assert!(lost[0]["reason"].as_str().unwrap().contains("expired"), "{lost:?}");
}

/// Taken out: with the seven days counted from whenever it was last put off, it never ends; without an end of its own, neither.
#[tokio::test]
async fn a_bare_uri_of_another_tenant_is_tried_for_seven_days_after_its_message_was_put() {
    let world = Setting::default().wired().start().await;
    world.tick().await;
    world.storage.create_queue(&world.queue).await.unwrap();
    let uri = of_another_tenant(&world, "4926", 0)["uri"].clone();
    let mut message = json!([uri]).to_string();
    for travelled in [TimeDelta::zero(), TimeDelta::days(3), TimeDelta::days(3) + TimeDelta::hours(23)] {
        world.travel(travelled);
        world.tick().await;
        let (_, line) = world.store(&message).await;
        assert_eq!((&line["requeued"], &line["lost"]), (&json!(1), &json!(0)), "{travelled}: {line}");
        message = world.last_sent().text();
    }
    world.travel(TimeDelta::hours(1));
    world.tick().await;
    let (_, line) = world.store(&message).await;
    assert_eq!((&line["requeued"], &line["lost"]), (&json!(0), &json!(1)), "{line}");
    let lost = world.journal("unknown").await;
    assert_eq!((lost.len(), &lost[0]["event"], &lost[0]["id"]), (1, &json!("lost"), &json!("4926")), "{lost:?}");
}

fn refusal(code: &'static str) -> FaultKind {
    let status = if code == "AF20050" { 404 } else { 400 };
    FaultKind::Code { status, code, message: "No.".to_owned() }
}

/// Taken out: were the first word believed, a publisher that was set wrong for a minute would lose all that was fetched; were
/// a second word within the hour believed, a message delivered twice would do the same; were it never believed, what is gone
/// would be asked for until it expires.
#[tokio::test]
async fn a_refusal_is_believed_when_it_is_said_again_61_minutes_later_and_not_before() {
    join_all([("AF20050", "content does not exist"), ("AF20052", "content id invalid")].map(|(code, reason)| async move {
        let world = Setting::default().wired().start().await;
        world.publish(50, &["good"]);
        let bad = world.publish(40, &["bad"]);
        world.tick().await;
        world.tenant.fail(Fault::always(Operation::FetchContent, refusal(code)).matching(&bad));
        let (_, line) = world.store(&world.last_sent().text()).await;
        assert_eq!((&line["stored"], &line["requeued"], &line["lost"]), (&json!(1), &json!(1), &json!(0)), "{code}: {line}");
        assert_eq!(world.last_sent().hidden_for, 61 * 60, "{code}");
        let doubted = world.journalled("doubted").await;
        assert_eq!((doubted.len(), &doubted[0]["id"], &doubted[0]["code"]), (1, &json!(bad), &json!(code)), "{doubted:?}");

        // A message that comes earlier is asked all the same; the first word stands.
        world.travel(TimeDelta::minutes(40));
        let (_, line) = world.store(&world.last_sent().text()).await;
        assert_eq!((&line["requeued"], &line["lost"]), (&json!(1), &json!(0)), "{code}: {line}");
        let hidden_for = world.last_sent().hidden_for;
        assert!((20 * 60..=21 * 60).contains(&hidden_for), "{code}: {hidden_for} s");
        assert_eq!(world.journalled("doubted").await.len(), 1, "{code}");
        world.travel(TimeDelta::seconds(20 * 60 + 30));
        let tick = world.tick().await;
        assert_eq!((&tick.exchange()["queued"], &tick.exchange()["overdue"]), (&json!(0), &json!(0)), "{code}: {}", tick.line);

        world.travel(TimeDelta::seconds(31));
        let (_, line) = world.store(&world.last_sent().text()).await;
        assert_eq!((&line["requeued"], &line["lost"]), (&json!(0), &json!(1)), "{code}: {line}");
        let lost = world.journalled("lost").await;
        assert_eq!((lost.len(), &lost[0]["reason"], &lost[0]["code"]), (1, &json!(reason), &json!(code)));
    }))
    .await;
}

/// Taken out: were a doubted blob left alone until its hour is over, what is served again would wait; were another refusal
/// taken for the second word, two different troubles would make a loss.
#[tokio::test]
async fn what_was_doubted_and_is_served_is_stored_and_another_refusal_is_a_first_word_of_its_own() {
    let world = Setting::default().wired().start().await;
    let blob = world.publish(40, &["a"]);
    world.tick().await;
    world.tenant.fail(Fault::once(Operation::FetchContent, refusal("AF20052")));
    world.store(&world.last_sent().text()).await;
    world.travel(TimeDelta::minutes(62));
    world.tick().await;
    world.tenant.fail(Fault::once(Operation::FetchContent, refusal("AF20050")));
    let (_, line) = world.store(&world.message(std::slice::from_ref(&blob))).await;
    assert_eq!((&line["requeued"], &line["lost"]), (&json!(1), &json!(0)), "{line}");
    let codes: Vec<_> = world.journalled("doubted").await.iter().map(|line| line["code"].clone()).collect();
    assert_eq!(codes, ["AF20052", "AF20050"]);
    let (_, line) = world.store(&world.message(&[blob])).await;
    assert_eq!((&line["stored"], &line["lost"]), (&json!(1), &json!(0)), "{line}");
    assert_eq!(world.ids().await, ["a"]);
}

/// Taken out: with the doubt kept under the hour in which it was said, it is never found again, and the blob never lost.
#[tokio::test]
async fn a_hand_made_uri_without_a_time_is_believed_gone_the_second_time_as_well() {
    let world = Setting::default().wired().start().await;
    world.tick().await;
    world.storage.create_queue(&world.queue).await.unwrap();
    let uri = format!("{}api/v1.0/{}/activity/feed/audit/4926", world.tenant.api_url(), world.tenant.tenant_id());
    let (_, line) = world.store(&json!([uri]).to_string()).await;
    assert_eq!((&line["requeued"], &line["lost"]), (&json!(1), &json!(0)), "{line}");
    world.travel(TimeDelta::minutes(62));
    let (_, line) = world.store(&world.last_sent().text()).await;
    assert_eq!((&line["requeued"], &line["lost"]), (&json!(0), &json!(1)), "{line}");
}

/// Taken out: without the alarm the only word of a wrong publisher is one line a blob, which looks like content that went.
#[tokio::test]
async fn where_every_fetch_of_a_workload_is_refused_an_alarm_names_the_settings() {
    let world = Setting::default().wired().start().await;
    let blobs: Vec<_> = (0..5).map(|number| world.publish(40, &[&number.to_string()])).collect();
    world.tick().await;
    world.tenant.fail(Fault::once(Operation::FetchContent, refusal("AF20052")).matching(&blobs[0]));
    world.store(&world.last_sent().text()).await;
    assert!(!world.logged("ERROR").contains("OFFICE365_PUBLISHER_ID"), "one refusal among others is no alarm");
    let more: Vec<_> = (5..9).map(|number| world.publish(30, &[&number.to_string()])).collect();
    world.tenant.fail(Fault::always(Operation::FetchContent, refusal("AF20052")));
    let (_, line) = world.store(&world.message(&more)).await;
    assert_eq!((&line["requeued"], &line["lost"]), (&json!(4), &json!(0)), "{line}");
    let errors = world.logged("ERROR");
    let alarm = errors.lines().find(|line| line.contains("OFFICE365_PUBLISHER_ID")).unwrap_or_else(|| panic!("no alarm: {errors}"));
    assert!(alarm.contains("OFFICE365_TENANT_ID") && alarm.contains(EXCHANGE) && alarm.contains("AF20052"), "{alarm}");
}

/// Taken out: were a passing trouble in between taken for an answer to the doubt, or the doubt forgotten over it, the second
/// word would be a first one again.
#[tokio::test]
async fn a_passing_trouble_between_the_two_words_changes_nothing() {
    let world = Setting::default().wired().start().await;
    world.publish(40, &["a"]);
    world.tick().await;
    world.tenant.fail(Fault::once(Operation::FetchContent, refusal("AF20052")));
    let (_, line) = world.store(&world.last_sent().text()).await;
    assert_eq!((&line["requeued"], &line["lost"]), (&json!(1), &json!(0)), "{line}");
    world.tenant.fail(Fault::once(Operation::FetchContent, later(503, "", 60)));
    world.travel(TimeDelta::minutes(30));
    world.store(&world.last_sent().text()).await;
    world.tenant.fail(Fault::always(Operation::FetchContent, refusal("AF20052")));
    world.travel(TimeDelta::minutes(32));
    let (_, line) = world.store(&world.last_sent().text()).await;
    assert_eq!((&line["requeued"], &line["lost"]), (&json!(0), &json!(1)), "{line}");
}
