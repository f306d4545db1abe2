//! Office 365, as the collector asks it: token and permissions, subscriptions, a listing each, and its clock. Nothing is
//! started.

use std::sync::Arc;

use chrono::{SubsecRound, TimeDelta};

use super::{Check, answer, identity_advice, words};
use crate::{
    azure::{Connection, identity::TokenClaims},
    clock::Clock,
    config::Config,
    management_api::{ActivityClient, ActivityError, SETTLE, SKEW, Subscription, Window},
    workload::Workload,
};

/// The length of the listing that is tried.
const LISTED: TimeDelta = TimeDelta::hours(1);

pub(super) async fn checks(config: &Config, connection: &Connection) -> Vec<Check> {
    let clock = Arc::new(Clock::default());
    let client = ActivityClient::new(config, connection, Arc::clone(&clock));
    let activity = match client {
        Ok(activity) => activity,
        Err(error) => return vec![no_token(&words(error.as_ref())), Check::untried("all else", "not tried without a token")],
    };
    let claims = match answer("token", activity.claims(), |error| no_token(&words(&error))).await {
        Ok(claims) => claims,
        Err(check) => return vec![check, Check::untried("all else", "not tried without a token")],
    };
    let mut checks = token(claims.as_ref(), config);
    checks.extend(feed(&activity, &clock, &config.workloads).await);
    checks.push(skew(&clock));
    checks
}

fn no_token(words: &str) -> Check {
    Check::wrong("token", words, next_step(words))
}

/// By Entra's error code, or the identity library's words.
/// <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>
fn next_step(words: &str) -> &'static str {
    let has = |code: &str| words.contains(&format!("AADSTS{code}:"));
    match () {
        () if has("90002") => "check OFFICE365_TENANT_ID and OFFICE365_CLOUD: Entra knows no such tenant there",
        () if has("700016") => "check OFFICE365_CLIENT_ID: the tenant has no such app, or nobody has consented to it",
        () if has("7000215") => "set OFFICE365_CLIENT_SECRET to the secret's value, not to its id",
        () if has("7000222") => "the secret has expired: make a new one, or leave it out and let the managed identity sign",
        () if ["70021", "700211", "700212", "700213"].into_iter().any(has) => {
            "give the app registration a federated credential for the managed identity: audience api://AzureADTokenExchange, the \
             tenant's issuer, the identity's object id as subject"
        }
        () if has("500011") || has("650057") => {
            "check OFFICE365_CLOUD; if it is right, the tenant lacks the Office 365 Management APIs: \
             az ad sp create --id c5393580-f805-4401-95e8-94b7a6ef2fc2"
        }
        () => identity_advice(words).unwrap_or("check OFFICE365_LOGIN_URL, and the network and firewall on the way there"),
    }
}

/// Whose the token is, and which permissions are in it.
fn token(claims: Option<&TokenClaims>, config: &Config) -> Vec<Check> {
    let holder = match (&config.office365.client_id, &config.office365.client_secret) {
        (Some(_), Some(_)) => "the app's, by its secret",
        (Some(_), None) => "the app's, signed for by the managed identity",
        (None, _) => "the managed identity's own",
    };
    let Some(claims) = claims else {
        return vec![Check::well("token", format!("{holder}; which permissions are in it, the listings tell"))];
    };
    let is_ours = claims.tenant_id.eq_ignore_ascii_case(&config.office365.tenant_id);
    let token = if is_ours {
        Check::well("token", holder)
    } else {
        let found = format!("{holder}, but of the tenant {}", claims.tenant_id);
        Check::wrong("token", found, "check OFFICE365_TENANT_ID: a token serves its own tenant only")
    };
    let dlp = config.workloads.contains(&Workload::Dlp).then_some("ActivityFeed.ReadDlp");
    let permissions = ["ActivityFeed.Read"].into_iter().chain(dlp);
    std::iter::once(token).chain(permissions.map(|role| permission(role, claims, config))).collect()
}

fn permission(role: &str, claims: &TokenClaims, config: &Config) -> Check {
    let what = format!("permission {role}");
    if claims.roles.iter().any(|held| held == role) {
        return Check::well(what, "in the token");
    }
    let held = if claims.roles.is_empty() { "none".to_owned() } else { claims.roles.join(", ") };
    let next = match &config.office365.client_id {
        Some(_) => format!(
            "give the app registration the application permission {role} of Office 365 Management APIs, and grant admin consent; \
             a new token has it within the hour"
        ),
        None => format!(
            "assign the app role {role} of Office 365 Management APIs to the managed identity; a new token may take a day to have it"
        ),
    };
    Check::wrong(what, format!("not in the token, which holds {held}"), next)
}

/// Subscriptions, and a listing of each that is on.
async fn feed(activity: &ActivityClient, clock: &Clock, workloads: &[Workload]) -> Vec<Check> {
    let subscriptions = match answer("subscriptions", activity.subscriptions(), |error| refused("subscriptions", &error)).await {
        Ok(subscriptions) => subscriptions,
        Err(check) => return vec![check, Check::untried("listings", "not tried until the subscriptions can be listed")],
    };
    let end = (clock.now() - SETTLE).trunc_subsecs(0);
    let window = Window { start: end - LISTED, end };
    let mut checks: Vec<_> = workloads.iter().map(|workload| subscription(&subscriptions, *workload)).collect();
    for workload in workloads {
        let what = format!("listing {workload}");
        checks.push(if subscriptions.iter().any(|entry| entry.is_on(*workload)) {
            match answer(&what, activity.list(*workload, window, None), |error| refused(&what, &error)).await {
                Ok(listing) => Check::well(&what, listed(listing.blobs.len())),
                Err(check) => check,
            }
        } else {
            Check::untried(&what, "not tried while its subscription is off")
        });
    }
    checks
}

fn listed(blobs: usize) -> String {
    format!("{blobs} content {} in the last hour", if blobs == 1 { "blob" } else { "blobs" })
}

fn subscription(subscriptions: &[Subscription], workload: Workload) -> Check {
    let what = format!("subscription {workload}");
    let entry = subscriptions.iter().find(|entry| entry.content_type.eq_ignore_ascii_case(workload.as_str()));
    match entry {
        Some(entry) if entry.is_on(workload) => Check::well(what, "on"),
        Some(_) => {
            let next = "the next run of QueueEvents starts it; if it stays off, an administrator switched it off";
            Check::wrong(what, "disabled", next)
        }
        None => Check::wrong(what, "never started", "the next run of QueueEvents starts it"),
    }
}

/// In words where people are known to be stuck, else as the service says it.
fn refused(what: &str, error: &ActivityError) -> Check {
    match (error.advice(), error) {
        (Some(advice), _) => {
            let code = error.code().filter(|code| code.starts_with("AF")).map(|code| format!(" ({code})")).unwrap_or_default();
            Check::wrong(what, format!("{}{code}", advice.what), advice.next)
        }
        (None, ActivityError::Connection { .. }) => {
            Check::wrong(what, words(error), "check OFFICE365_API_URL, and the network and firewall on the way there")
        }
        (None, _) => Check::wrong(what, words(error), "try again in some minutes; the collector does so by itself"),
    }
}

fn skew(clock: &Clock) -> Check {
    let skew = clock.skew();
    match clock.is_certain() {
        false => Check::untried("clock", "the service has not told its time, or not twice the same"),
        true if skew.abs() <= SKEW => Check::well("clock", "within a minute of the service's"),
        true => {
            let direction = if skew > TimeDelta::zero() { "behind" } else { "ahead of" };
            let found = format!("this machine's is {} s {direction} the service's", skew.num_seconds().abs());
            let next = "set this machine's clock: what is collected goes by the service's, but signatures and tokens do not";
            Check::wrong("clock", found, next)
        }
    }
}
