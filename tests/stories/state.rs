//! What is remembered between runs, where a person or an accident had a hand in it.

use chrono::TimeDelta;
use serde_json::{Value, json};
use standins::tenant::NewBlob;

use crate::world::{EXCHANGE, SHAREPOINT, Setting, reason, record};

#[tokio::test]
async fn a_checkpoint_that_cannot_be_believed_stops_its_workload_alone_and_stays_as_it_is() {
    let world = Setting::default().with("WORKLOADS", "Audit.Exchange,Audit.SharePoint").start().await;
    world.publish(90, &["a"]);
    let ahead = (world.tenant.now() + TimeDelta::minutes(10)).format("%Y-%m-%dT%H:%M:%S.000Z").to_string();
    let texts = ["", "yesterday", "2026-11-20", "2026-13-41T10:00:00Z", "{\"at\":\"2026-11-20T10:00:00Z\"}", ahead.as_str()];
    for (number, text) in texts.into_iter().enumerate() {
        world.write_checkpoint(EXCHANGE, text).await;
        let other = NewBlob::new(SHAREPOINT, world.ago(30), vec![record(&format!("s{number}"))]);
        world.tenant.publish(other);
        let tick = world.tick().await;
        assert!(reason(&tick.invocation).contains("500"), "{text:?}");

        let error = world.lines().into_iter().rfind(|line| line["level"] == "ERROR").expect("an error is logged");
        let said = error["error"].as_str().unwrap();
        assert!(said.contains("Audit.Exchange.log") && said.contains(&format!("{text:?}")), "{said}");
        assert!(said.contains(if text == ahead { "in the future" } else { "no UTC time" }), "{said}");
        assert!(!said.contains(SHAREPOINT), "{said}");
        assert_eq!(world.checkpoint(EXCHANGE).await.as_deref(), Some(text), "it is overwritten");
        let exchange = tick.exchange();
        assert_eq!((&exchange["outcome"], &exchange["queued"], &exchange["checkpoint_after"]), (&json!("failed"), &json!(0), &Value::Null));
        let sharepoint = tick.of(SHAREPOINT);
        assert_eq!((&sharepoint["outcome"], &sharepoint["queued"]), (&json!("complete"), &json!(1)), "{text:?}: {sharepoint}");
        assert_eq!(sharepoint["checkpoint_after"], json!(world.checkpoint(SHAREPOINT).await));
    }
    let corrected = (world.tenant.now() - TimeDelta::hours(2)).format("%Y-%m-%dT%H:%M:%S").to_string();
    world.write_checkpoint(EXCHANGE, &format!("\u{feff}{corrected}Z\r\n")).await;
    let tick = world.tick().await;
    assert!(tick.invocation.outcome.is_success());
    assert_eq!(tick.exchange()["checkpoint_before"], json!(format!("{corrected}.000Z")));
    assert_eq!(tick.exchange()["queued"], json!(1));
}
