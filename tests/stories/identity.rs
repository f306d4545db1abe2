//! No secret anywhere: the managed identity opens storage and database, and signs for the app registration or holds the
//! permissions itself. The identity endpoint is App Service's as documented; Azurite reads a token's times, issuer and audience,
//! and the database emulator takes a token at its word: that the roles suffice, neither can show.

use futures::future::join_all;
use serde_json::json;
use standins::tenant::Operation;

use crate::world::{EXCHANGE, Identity, Setting};

/// Taken out: with a setting that still held a secret, or a part that cannot do without, this would show nothing; were the
/// identity asked for another resource than each service's own, that service would refuse.
#[tokio::test]
async fn the_whole_job_runs_without_a_secret() {
    join_all([Identity::SignsForApp, Identity::HoldsPermissions].map(|identity| async move {
        let world = Setting { identity: Some(identity), ..Setting::default() }.start().await;
        let is_secret = |name: &str| ["SECRET", "KEY", "AzureWebJobsStorage"].iter().any(|end| name.ends_with(end));
        assert!(!world.settings.keys().any(|name| is_secret(name)), "{:?}", world.settings.keys());

        world.publish(30, &["a", "b"]);
        let tick = world.tick().await;
        assert!(tick.invocation.outcome.is_success(), "{identity:?}: {:?} {}", tick.invocation, world.logged("ERROR"));
        assert_eq!(tick.exchange()["queued"], json!(1), "{}", tick.line);
        assert_eq!(world.store_all().await.succeeded(), 1, "{identity:?}: {}", world.logged("ERROR"));
        assert_eq!(world.ids().await, ["a", "b"], "{identity:?}");
        assert_eq!(world.journalled("stored").await.len(), 1);
        assert!(world.checkpoint(EXCHANGE).await.is_some());
        let resources = |resource: &str| world.calls(Operation::Identity).iter().any(|call| call.parameter("resource") == Some(resource));
        assert!(resources("https://storage.azure.com"), "{:?}", world.calls(Operation::Identity));
        assert_eq!(resources("api://AzureADTokenExchange"), identity == Identity::SignsForApp);

        let checked = world.type_command(&["check"]).await;
        assert_eq!(checked.code, Some(0), "{identity:?}: {checked:?}");
        let holder = if identity == Identity::SignsForApp { "signed for by the managed identity" } else { "the managed identity's own" };
        assert!(checked.stdout.contains(holder), "{checked:?}");
        assert_eq!(world.type_command(&["status"]).await.code, Some(0), "{identity:?}");
    }))
    .await;
}
