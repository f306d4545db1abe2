//! The settings: what the handler says of those that cannot be used, and the ways to name a storage account.

use azure_core::{credentials::Secret, hmac::hmac_sha256};
use serde_json::json;
use standins::{azurite::ACCOUNT, host::HostOptions};
use url::form_urlencoded::Serializer;

use crate::world::{EXCHANGE, Setting, account_key, azurite, start_host, world};

const KEY: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQ=";

#[tokio::test]
async fn settings_that_cannot_be_used_are_told_all_at_once_by_name_and_without_a_secret() {
    let world = world().await;
    let account_and_key = format!("AccountEndpoint=https://name.documents.azure.com:443/;AccountKey={KEY};");
    let (storage, no_key) = (format!("AccountName=name;AccountKey={KEY};DefaultEndpointsProtocol=http"), "AccountName=name");
    let no_name = format!("AccountKey={KEY};BlobEndpoint=https://b.example;QueueEndpoint=https://q.example");
    let unusable = format!("AccountName=name;AccountKey={KEY};BlobEndpoint=no address");
    let signed = format!("BlobEndpoint=https://b.example;SharedAccessSignature=sig={KEY}");
    let cases: &[&[(&str, &str)]] = &[
        &[("OFFICE365_TENANT_ID", ""), ("AzureWebJobsStorage", ""), ("COSMOS_ENDPOINT", "")],
        &[("OFFICE365_TENANT_ID", "contoso.example"), ("OFFICE365_PUBLISHER_ID", "me"), ("OFFICE365_CLOUD", "mars")],
        &[
            ("OFFICE365_API_URL", "http://manage.example"),
            ("OFFICE365_LOGIN_URL", "localhost:1"),
            ("COSMOS_ENDPOINT", "http://name.example"),
        ],
        &[("LOOKBACK_HOURS", "169"), ("BATCH_SIZE", "0"), ("RETENTION_DAYS", "1.5"), ("PARTITIONS_PER_DAY", "300")],
        &[("WORKLOADS", "Audit.Exchange, Audit.Echange"), ("CONTENT_QUEUE", "No"), ("STATE_CONTAINER", "a--b")],
        &[("WORKLOADS", ","), ("AzureWebJobsStorage", "nonsense")],
        // Each of these holds a secret, in the wrong place or with the wrong company.
        &[("OFFICE365_CLIENT_SECRET", KEY), ("OFFICE365_CLIENT_ID", "-"), ("AzureWebJobsStorage", &storage)],
        &[("OFFICE365_TENANT_ID", KEY), ("OFFICE365_PUBLISHER_ID", KEY), ("COSMOS_ENDPOINT", &account_and_key)],
        &[("OFFICE365_LOGIN_URL", KEY), ("OFFICE365_API_URL", &account_and_key), ("AzureWebJobsStorage", &no_name)],
        &[("AzureWebJobsStorage", &unusable), ("COSMOS_ENDPOINT", KEY)],
        &[("AzureWebJobsStorage", &signed)],
        &[("AzureWebJobsStorage", no_key)],
    ];
    for case in cases {
        let mut settings = world.settings.clone();
        for (name, value) in *case {
            match *value {
                "" | "-" => settings.remove(*name),
                value => settings.insert((*name).to_owned(), value.to_owned()),
            };
        }
        let error = start_host(&settings, HostOptions::default()).await.expect_err("the handler started").to_string();
        assert!(error.contains("exited with code 1 before it was ready"), "{error}");
        let faulty = case.iter().filter(|(_, value)| *value != "-");
        for (name, _) in faulty.clone() {
            assert!(error.contains(&format!("  {name} ")), "{name} is not named: {error}");
        }
        assert!(error.contains(&format!("{} of the settings cannot be used", faulty.count())), "{error}");
        assert!(!error.contains(KEY), "{error}");
    }
}

#[tokio::test]
async fn storage_opens_by_a_shared_access_signature_as_it_does_by_a_key() {
    let world = Setting::default().with("AzureWebJobsStorage", &by_signature("rwdlacup")).start().await;
    world.publish(90, &["a"]);
    let tick = world.tick().await;
    assert_eq!(tick.exchange()["queued"], json!(1), "{}", world.logged("ERROR"));
    assert_eq!(world.store_all().await.succeeded(), 1);
    assert_eq!((world.ids().await, world.journalled("stored").await.len()), (vec!["a".to_owned()], 1));
    assert_eq!(world.checkpoint(EXCHANGE).await.map(Into::into), Some(tick.exchange()["checkpoint_after"].clone()));
    assert_eq!(world.tick().await.exchange()["queued"], json!(0));
}

#[tokio::test]
async fn a_signature_that_storage_refuses_fails_the_run_and_is_not_printed() {
    let signature = by_signature("r");
    let world = Setting::default().with("AzureWebJobsStorage", &signature).start().await;
    world.publish(90, &["a"]);
    for invocation in [world.tick().await.invocation, world.store(&world.message(&[world.publish(1, &["b"])])).await.0] {
        assert!(!invocation.outcome.is_success());
    }
    let output = world.host.output().join("\n");
    assert!(output.contains("the storage account did not do its part: 403"), "{output}");
    let (_, signed) = signature.split_once("sig=").unwrap();
    let decoded = percent_encoding::percent_decode_str(signed).decode_utf8().unwrap();
    assert!(!output.contains(signed) && !output.contains(&*decoded), "{output}");
}

/// A connection string without any key: an account SAS with these permissions.
/// <https://learn.microsoft.com/rest/api/storageservices/create-account-sas#construct-the-signature-string>
fn by_signature(permissions: &str) -> String {
    let expiry = (chrono::Utc::now() + chrono::TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let text = format!("{ACCOUNT}\n{permissions}\nbq\nsco\n\n{expiry}\n\nhttps,http\n2022-11-02\n\n");
    let signature = hmac_sha256(&text, &Secret::new(account_key())).unwrap();
    let query = Serializer::new(String::new())
        .extend_pairs([("sv", "2022-11-02"), ("ss", "bq"), ("srt", "sco"), ("sp", permissions)])
        .extend_pairs([("se", expiry.as_str()), ("spr", "https,http"), ("sig", signature.as_str())])
        .finish();
    let endpoints: Vec<_> = azurite().split(';').filter(|part| part.contains("Endpoint=")).collect();
    format!("{};SharedAccessSignature={query}", endpoints.join(";"))
}
