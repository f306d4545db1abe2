//! The tenant's promises, asked over real HTTPS.

#![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

use std::collections::HashSet;
use std::time::Duration;

use chrono::TimeDelta;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::*;

/// A tenant and somebody who has signed in to it.
struct Visit {
    tenant: Tenant,
    client: Client,
    token: String,
}

async fn visit(options: TenantOptions) -> Visit {
    let tenant = Tenant::start(options).await.unwrap();
    let client = client(&tenant, true);
    let token = sign_in(&tenant, &client).await;
    tenant.clear_calls();
    Visit { tenant, client, token }
}

async fn subscribed() -> Visit {
    visit(TenantOptions { subscribed: true, ..TenantOptions::default() }).await
}

fn client(tenant: &Tenant, gzip: bool) -> Client {
    let ca = reqwest::Certificate::from_pem(&std::fs::read(tenant.ca_pem()).unwrap()).unwrap();
    Client::builder().tls_certs_only([ca]).gzip(gzip).build().unwrap()
}

fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

async fn post_form(client: &Client, url: String, fields: &[(&str, &str)]) -> (StatusCode, Value) {
    let answer = client.post(url).header("content-type", "application/x-www-form-urlencoded").body(form(fields)).send().await.unwrap();
    (answer.status(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

async fn ask_token(tenant: &Tenant, client: &Client, credential: &[(&str, &str)]) -> (StatusCode, Value) {
    let settings = tenant.settings();
    let scope = format!("{}/.default", settings["OFFICE365_API_URL"]);
    let mut fields = vec![("grant_type", "client_credentials"), ("client_id", &settings["OFFICE365_CLIENT_ID"]), ("scope", &scope)];
    fields.extend(credential);
    post_form(client, format!("{}{}/oauth2/v2.0/token", tenant.login_url(), tenant.tenant_id()), &fields).await
}

async fn sign_in(tenant: &Tenant, client: &Client) -> String {
    let secret = &tenant.settings()["OFFICE365_CLIENT_SECRET"];
    let (status, body) = ask_token(tenant, client, &[("client_secret", secret)]).await;
    assert_eq!(status, 200, "{body}");
    body["access_token"].as_str().unwrap().to_owned()
}

impl Visit {
    fn url(&self, operation: &str) -> String {
        format!("{}api/v1.0/{}/activity/feed/{operation}", self.tenant.api_url(), self.tenant.tenant_id())
    }

    fn get(&self, url: &str) -> RequestBuilder {
        self.client.get(url).bearer_auth(&self.token)
    }

    async fn start(&self, content_type: &str) -> (StatusCode, Value) {
        let url = self.url(&format!("subscriptions/start?contentType={content_type}"));
        read(self.client.post(url).bearer_auth(&self.token).header("content-length", 0).send().await.unwrap()).await
    }

    async fn list(&self, query: &str) -> (StatusCode, Value) {
        read(self.get(&self.url(&format!("subscriptions/content?{query}"))).send().await.unwrap()).await
    }

    /// Every contentId of a window, page after page, and how many pages that took.
    async fn list_all(&self, content_type: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> (Vec<String>, usize) {
        let mut url = Some(self.url(&format!("subscriptions/content?{}", window(content_type, from, to))));
        let (mut ids, mut pages) = (Vec::new(), 0);
        while let Some(page) = url.take() {
            let answer = self.get(&page).send().await.unwrap();
            url = answer.headers().get("NextPageUri").map(|value| value.to_str().unwrap().to_owned());
            let (status, body) = read(answer).await;
            assert_eq!(status, 200, "{body}");
            ids.extend(body.as_array().unwrap().iter().map(|item| item["contentId"].as_str().unwrap().to_owned()));
            pages += 1;
        }
        (ids, pages)
    }

    /// Status and code that a listing of such a window gets.
    async fn refusal(&self, query: &str) -> (u16, String) {
        let (status, body) = self.list(query).await;
        (status.as_u16(), body["error"]["code"].as_str().unwrap_or("none").to_owned())
    }
}

async fn read(answer: Response) -> (StatusCode, Value) {
    let status = answer.status();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

fn window(content_type: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    let second = |time: DateTime<Utc>| time.format("%Y-%m-%dT%H:%M:%S").to_string();
    format!("contentType={content_type}&startTime={}&endTime={}", second(from), second(to))
}

fn record(id: &str) -> String {
    format!(r#"{{"Id":"{id}"}}"#)
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_secret_buys_a_token_and_anything_else_an_entra_error() {
    let tenant = Tenant::start(TenantOptions::default()).await.unwrap();
    let client = client(&tenant, true);
    let token = sign_in(&tenant, &client).await;
    assert_eq!(token.split('.').count(), 3);

    let (status, body) = ask_token(&tenant, &client, &[("client_secret", "wrong")]).await;
    assert_eq!((status.as_u16(), &body["error"]), (401, &Value::from("invalid_client")));
    assert_eq!(body["error_codes"][0], 7_000_215);
    assert!(body["error_description"].as_str().unwrap().starts_with("AADSTS7000215: "));

    let other = format!("{}{}/oauth2/v2.0/token", tenant.login_url(), Uuid::new_v4());
    let (status, body) = post_form(&client, other, &[("grant_type", "client_credentials")]).await;
    assert_eq!((status.as_u16(), &body["error_codes"][0]), (400, &Value::from(90002)));

    let settings = tenant.settings();
    let older = format!("{}{}/oauth2/token", tenant.login_url(), tenant.tenant_id());
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", settings["OFFICE365_CLIENT_ID"].as_str()),
        ("client_secret", settings["OFFICE365_CLIENT_SECRET"].as_str()),
        ("resource", settings["OFFICE365_API_URL"].as_str()),
    ];
    let (status, body) = post_form(&client, older, &fields).await;
    assert_eq!((status.as_u16(), &body["expires_in"]), (200, &Value::from("3599")));
    tenant.stop().await;
}

#[tokio::test]
async fn a_managed_identity_signs_for_the_app() {
    let visit = visit(TenantOptions::default()).await;
    let settings = visit.tenant.identity_settings();
    assert!(!settings.contains_key("OFFICE365_CLIENT_SECRET"));
    let ask = |resource: &str, header: &str| {
        let url = format!("{}?api-version=2019-08-01&{}", settings["IDENTITY_ENDPOINT"], form(&[("resource", resource)]));
        visit.client.get(url).header("X-IDENTITY-HEADER", header).send()
    };
    assert_eq!(ask("api://AzureADTokenExchange", "wrong").await.unwrap().status(), 401);
    let (status, body) = read(ask("api://AzureADTokenExchange", &settings["IDENTITY_HEADER"]).await.unwrap()).await;
    assert_eq!(status, 200);
    assert!(body["expires_on"].as_str().unwrap().parse::<i64>().unwrap() > Utc::now().timestamp());

    let kind = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let assertion = body["access_token"].as_str().unwrap();
    let (status, body) = ask_token(&visit.tenant, &visit.client, &[("client_assertion", assertion), kind]).await;
    assert_eq!(status, 200, "{body}");
    let (status, _) = ask_token(&visit.tenant, &visit.client, &[("client_assertion", &visit.token), kind]).await;
    assert_eq!(status, 401, "a token for another audience is no assertion");
}

#[tokio::test]
async fn the_feed_takes_only_living_tokens_of_its_own_tenant_with_the_role() {
    let mut visit = subscribed().await;
    let list = visit.url("subscriptions/list");
    assert_eq!(visit.client.get(&list).send().await.unwrap().status(), 401);
    assert_eq!(visit.get(&list).send().await.unwrap().status(), 200);

    let (own, other) = (visit.tenant.tenant_id().to_string(), Uuid::new_v4().to_string());
    for (tenant, code) in [(other.as_str(), "AF20010"), ("contoso", "AF20013")] {
        let (status, body) = read(visit.get(&list.replace(&own, tenant)).send().await.unwrap()).await;
        assert_eq!((status.as_u16(), &body["error"]["code"]), (400, &Value::from(code)));
    }
    assert_eq!(visit.client.post(&list).bearer_auth(&visit.token).send().await.unwrap().status(), 405);

    visit.tenant.set_clock_offset(TimeDelta::seconds(3600));
    let answer = visit.get(&list).send().await.unwrap();
    assert_eq!(answer.status(), 401, "an hour later the token is dead");
    let date = DateTime::parse_from_rfc2822(answer.headers()["date"].to_str().unwrap()).unwrap();
    assert!((date.to_utc() - visit.tenant.now()).abs() < TimeDelta::seconds(5));

    visit.tenant.set_roles(&[]);
    visit.token = sign_in(&visit.tenant, &visit.client).await;
    let (status, body) = read(visit.get(&list).send().await.unwrap()).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (401, &Value::from("AF10001")));

    let calls = visit.tenant.calls();
    assert_eq!(calls[0].operation, Operation::ListSubscriptions);
    assert!(!calls[0].authorised && !calls[0].authorization_present && calls[1].authorised);
    assert_eq!(calls.iter().map(|call| call.status).collect::<Vec<_>>(), [401, 200, 400, 400, 405, 401, 200, 401]);
}

#[tokio::test]
async fn a_subscription_starts_once_and_not_again_within_a_quarter_of_an_hour() {
    let mut visit = visit(TenantOptions::default()).await;
    let ask = "contentType=Audit.Exchange";
    assert_eq!(visit.refusal(ask).await, refused(400, "AF20022"));
    assert_eq!(visit.start("Audit.Nothing").await.1["error"]["code"], "AF20020");

    let start = visit.url("subscriptions/start?contentType=Audit.Exchange");
    let unmeasured = visit.client.post(start).bearer_auth(&visit.token).send().await.unwrap();
    assert_eq!(unmeasured.status(), 411, "a POST says how long it is");

    let (status, body) = visit.start("Audit.Exchange").await;
    assert_eq!((status.as_u16(), &body["status"], &body["webhook"]), (200, &Value::from("enabled"), &Value::Null));
    let (status, body) = visit.start("Audit.Exchange").await;
    assert_eq!(status, 429);
    assert!(body["error"]["message"].as_str().unwrap().starts_with("Too many frequent subscription start requests"));
    assert_eq!(visit.start("Audit.General").await.0, 200, "each content type counts by itself");

    visit.tenant.set_clock_offset(TimeDelta::minutes(16));
    visit.token = sign_in(&visit.tenant, &visit.client).await;
    assert_eq!(visit.start("Audit.Exchange").await.1["error"]["code"], "AF20024");

    visit.tenant.set_subscription("Audit.Exchange", SubscriptionState::DisabledByAdmin);
    assert_eq!(visit.refusal(ask).await, refused(400, "AF20023"));
    assert_eq!(visit.start("Audit.Exchange").await.1["error"]["code"], "AF20023");
    let (_, body) = read(visit.get(&visit.url("subscriptions/list")).send().await.unwrap()).await;
    assert_eq!(body.as_array().unwrap().len(), 2);
    assert_eq!(body[0]["status"], "disabled");
}

#[tokio::test]
async fn auditing_switched_off_reads_as_a_tenant_that_does_not_exist() {
    let visit = visit(TenantOptions { auditing: false, ..TenantOptions::default() }).await;
    let (status, body) = visit.start("Audit.Exchange").await;
    assert_eq!(status, 400);
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("Tenant {} does not exist.", visit.tenant.tenant_id())));
}

#[tokio::test]
async fn windows_are_half_open_and_keep_the_documented_bounds() {
    let visit = subscribed().await;
    let start = visit.tenant.now() - TimeDelta::hours(30);
    let start = start - TimeDelta::nanoseconds(i64::from(start.timestamp_subsec_nanos()));
    let end = start + TimeDelta::hours(24);
    let publish = |created| visit.tenant.publish(NewBlob::new("Audit.General", created, vec![record("a")]));
    let (first, tie) = (publish(start), publish(start));
    let last = publish(end - TimeDelta::milliseconds(1));
    publish(end);
    let (ids, _) = visit.list_all("Audit.General", start, end).await;
    assert_eq!(ids.into_iter().collect::<HashSet<_>>(), HashSet::from([first, tie, last]));

    let now = visit.tenant.now();
    let general = |from, to| window("Audit.General", from, to);
    let hour = TimeDelta::hours(1);
    for (query, expected) in [
        ("startTime=2026-11-20".to_owned(), refused(400, "AF20001")),
        ("contentType=Audit.General&startTime=2026-11-20".to_owned(), refused(400, "AF20030")),
        ("contentType=Audit.General&startTime=20/11/2026&endTime=2026-11-20".to_owned(), refused(400, "AF20002")),
        (general(now - hour * 25, now), refused(400, "AF20030")),
        (general(now, now - hour), refused(400, "AF20030")),
        (general(now - hour * 169, now - hour * 168), refused(400, "AF20055")),
        (general(now - hour * 168 + TimeDelta::minutes(1), now - hour * 150), refused(200, "none")),
        (general(now + hour, now + hour * 2), refused(200, "none")),
        ("contentType=Audit.General".to_owned(), refused(200, "none")),
    ] {
        assert_eq!(visit.refusal(&query).await, expected, "{query}");
    }

    let day = now.format("%Y-%m-%d");
    for time in ["", "T00:00", "T00:00:00", "T00:00:00.000Z", "T00:00:00Z", "T00:00:00%2B00:00", "T00:00:00.123456789Z"] {
        let query = format!("contentType=Audit.General&startTime={day}{time}&endTime={day}{time}");
        assert_eq!(visit.refusal(&query).await, refused(200, "none"), "{time}");
    }
}

#[tokio::test]
async fn pages_hold_every_blob_once_in_no_order_while_more_are_published() {
    let visit = subscribed().await;
    visit.tenant.set_page_size(10);
    let now = visit.tenant.now();
    let published: Vec<String> =
        (0..95).map(|i| visit.tenant.publish(NewBlob::new("Audit.Exchange", now - TimeDelta::minutes(i), vec![]))).collect();
    visit.tenant.publish(NewBlob::new("Audit.General", now, vec![]));
    let query = format!(
        "{}&PublisherIdentifier={}",
        window("Audit.Exchange", now - TimeDelta::hours(2), now + TimeDelta::seconds(1)),
        Uuid::new_v4()
    );
    let answer = visit.get(&visit.url(&format!("subscriptions/content?{query}"))).send().await.unwrap();
    let next = answer.headers()["nextpageuri"].to_str().unwrap().to_owned();
    assert!(next.contains("starttime=") && next.contains("nextPage=") && !next.contains("PublisherIdentifier"), "{next}");

    let (ids, pages) = visit.list_all("Audit.Exchange", now - TimeDelta::hours(2), now + TimeDelta::seconds(1)).await;
    assert_eq!((ids.len(), pages), (95, 10));
    assert_ne!(ids, published);
    assert_eq!(ids.into_iter().collect::<HashSet<_>>(), published.into_iter().collect());

    let (status, body) = read(visit.get(&format!("{next}x")).send().await.unwrap()).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (400, &Value::from("AF20031")));
    assert!(visit.tenant.calls()[0].publisher.is_some() && visit.tenant.calls()[1].publisher.is_none());
}

#[tokio::test]
async fn a_late_blob_appears_in_a_window_already_listed() {
    let mut visit = subscribed().await;
    let now = visit.tenant.now();
    let late = NewBlob {
        visible_from: Some(now + TimeDelta::hours(3)),
        ..NewBlob::new("DLP.All", now - TimeDelta::hours(1), vec![record("late")])
    };
    let id = visit.tenant.publish(late);
    let uri = visit.tenant.content_uri(&id).unwrap();
    let (from, to) = (now - TimeDelta::hours(2), now);
    assert_eq!(visit.list_all("DLP.All", from, to).await.0.len(), 0);
    assert_eq!(visit.get(&uri).send().await.unwrap().status(), 404);
    visit.tenant.set_clock_offset(TimeDelta::hours(4));
    visit.token = sign_in(&visit.tenant, &visit.client).await;
    assert_eq!(visit.list_all("DLP.All", from, to).await.0, [id]);
    assert_eq!(visit.get(&uri).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn content_is_served_verbatim_until_it_expires() {
    let mut visit = subscribed().await;
    let texts = vec![r#"{"Id":"a","n":1.0e5}"#.to_owned(), "{ \"Id\" : \"b\" }".to_owned()];
    let id = visit.tenant.publish(NewBlob::new("Audit.SharePoint", visit.tenant.now(), texts));
    let uri = visit.tenant.content_uri(&id).unwrap();
    let whole = "[{\"Id\":\"a\",\"n\":1.0e5},{ \"Id\" : \"b\" }]";
    assert_eq!(visit.get(&uri).send().await.unwrap().text().await.unwrap(), whole);
    let plain = client(&visit.tenant, false);
    assert_eq!(plain.get(&uri).bearer_auth(&visit.token).send().await.unwrap().text().await.unwrap(), whole);
    assert_eq!(visit.tenant.blobs()[0].fetched, 2);
    let gzip: Vec<bool> = visit.tenant.calls().iter().map(|call| call.accepts_gzip).collect();
    assert_eq!(gzip, [true, false]);
    assert_eq!(visit.tenant.calls()[0].content_type.as_deref(), Some("Audit.SharePoint"));

    for (id, code) in [("20261120$none", "AF20050"), ("not%20an%20id", "AF20052")] {
        let (_, body) = read(visit.get(&visit.url(&format!("audit/{id}"))).send().await.unwrap()).await;
        assert_eq!(body["error"]["code"], code);
    }
    visit.tenant.set_clock_offset(TimeDelta::days(7));
    visit.token = sign_in(&visit.tenant, &visit.client).await;
    let (_, body) = read(visit.get(&uri).send().await.unwrap()).await;
    assert_eq!(body["error"]["code"], "AF20051");
}

#[tokio::test]
async fn a_repeated_record_fills_a_large_blob_with_distinct_ids() {
    let visit = subscribed().await;
    let body = Body::Repeated { record: record("{id}"), count: 20_000 };
    let id = visit.tenant.publish(NewBlob::of("Audit.Exchange", visit.tenant.now(), body));
    let answer = visit.get(&visit.tenant.content_uri(&id).unwrap()).send().await.unwrap().bytes().await.unwrap();
    let records: Vec<Value> = serde_json::from_slice(&answer).unwrap();
    let ids: HashSet<Uuid> = records.iter().map(|record| record["Id"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(ids.len(), 20_000);
}

#[tokio::test]
async fn each_publisher_has_its_own_allowance_of_requests() {
    let visit = visit(TenantOptions { requests_a_minute: Some(2), throttle_status: 403, ..TenantOptions::default() }).await;
    let list = |publisher: &str| visit.get(&visit.url(&format!("subscriptions/list?PublisherIdentifier={publisher}"))).send();
    for (publisher, status) in [("a", 200), ("a", 200), ("a", 403), ("b", 200)] {
        assert_eq!(list(publisher).await.unwrap().status(), status);
    }
    visit.tenant.set_clock_offset(TimeDelta::minutes(1));
    assert_eq!(list("a").await.unwrap().status(), 200);
}

#[tokio::test]
async fn faults_come_in_their_turn_and_pass() {
    let visit = subscribed().await;
    let id = visit.tenant.publish(NewBlob::of(
        "Audit.Exchange",
        visit.tenant.now() - TimeDelta::minutes(1),
        Body::Repeated { record: record("{id}"), count: 10_000 },
    ));
    let uri = visit.tenant.content_uri(&id).unwrap();
    let fetch = || async { visit.get(&uri).send().await?.error_for_status()?.bytes().await };
    let fail = |what| visit.tenant.fail(Fault::once(Operation::FetchContent, what));

    visit.tenant.fail(Fault::once(Operation::FetchContent, FaultKind::internal()).after(1).times(2).matching("Audit_Exchange"));
    assert!(fetch().await.is_ok());
    assert_eq!(fetch().await.unwrap_err().status().unwrap(), 500);
    assert_eq!(fetch().await.unwrap_err().status().unwrap(), 500);
    assert!(fetch().await.is_ok());

    fail(FaultKind::Reset);
    assert!(fetch().await.unwrap_err().is_request());
    assert_eq!(visit.tenant.calls().last().unwrap().status, 0);
    fail(FaultKind::Truncated { bytes: 100 });
    assert!(fetch().await.is_err());
    fail(FaultKind::Clipped { bytes: 100 });
    assert_eq!(fetch().await.unwrap().len(), 100);
    fail(FaultKind::EmptyBody);
    assert_eq!(fetch().await.unwrap().len(), 0);
    fail(FaultKind::Html);
    assert!(fetch().await.unwrap().starts_with(b"<!DOCTYPE html>"));
    fail(FaultKind::InvalidToken401);
    assert_eq!(fetch().await.unwrap_err().status().unwrap(), 401);
    assert_eq!(visit.tenant.blobs()[0].fetched, 2, "only whole servings count");

    let begun = std::time::Instant::now();
    fail(FaultKind::Delay(Duration::from_millis(150)));
    fail(FaultKind::Stall { bytes: 10, pause: Duration::from_millis(150) });
    assert!(fetch().await.is_ok());
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_listing_can_lead_astray() {
    let visit = subscribed().await;
    let now = visit.tenant.now();
    let id = visit.tenant.publish(NewBlob::new("Audit.Exchange", now - TimeDelta::minutes(1), vec![]));
    let query = window("Audit.Exchange", now - TimeDelta::hours(1), now);
    let url = visit.url(&format!("subscriptions/content?{query}"));
    let next = |what| {
        visit.tenant.fail(Fault::once(Operation::ListContent, what));
        let request = visit.get(&url);
        async { request.send().await.unwrap().headers()["nextpageuri"].to_str().unwrap().to_owned() }
    };
    let foreign = "https://example.com/api".to_owned();
    assert_eq!(next(FaultKind::ForeignNextPage(foreign.clone())).await, foreign);
    let again = Url::parse(&next(FaultKind::RepeatNextPage).await).unwrap();
    assert!(again.query_pairs().eq(Url::parse(&url).unwrap().query_pairs()));
    let continued = next(FaultKind::EmptyPage).await;
    let (_, body) = read(visit.get(&continued).send().await.unwrap()).await;
    assert_eq!(body[0]["contentId"], id);
}
