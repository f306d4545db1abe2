//! The storage account: the state container is written and read, and the content queue sent to, each with something that is
//! removed again.

use azure_core::{Error, http::StatusCode};

use super::{Check, answer, identity_advice, words};
use crate::{
    azure::Connection,
    config::Config,
    findings::{RuleSet, Silences},
    queue::ContentQueue,
    state::{OwnRules, State},
};

pub(super) async fn checks(config: &Config, connection: &Connection) -> Vec<Check> {
    if let (true, Err(error)) = (config.storage.needs_identity(), connection.identity()) {
        return vec![Check::wrong("managed identity", words(&error), "set AzureWebJobsStorage, or run where the identity is")];
    }
    let (state, queue, rules) = tokio::join!(state(config, connection), queue(config, connection), rules(config, connection));
    let rules = rules.map(Ok);
    [state, queue].into_iter().chain(rules).map(|checked| checked.unwrap_or_else(|check| check)).collect()
}

async fn state(config: &Config, connection: &Connection) -> Result<Check, Check> {
    let (what, name) = ("state container", &config.state_container);
    let needs = Needs { role: "Storage Blob Data Contributor", permissions: "read, write, create, add, list and delete on blobs" };
    let judge = |error| refused(what, name, &needs, config, &error);
    let state = State::new(config, connection).map_err(judge)?;
    if !answer(what, state.is_there(), judge).await? {
        let next = "the next run of QueueEvents makes it; if it should be there, check STATE_CONTAINER";
        return Err(Check::wrong(what, format!("{name} is not there"), next));
    }
    Ok(match answer(what, state.probe(), judge).await? {
        None => Check::well(what, format!("{name}: written, read, removed")),
        Some(left) => Check::well(what, format!("{name}: written and read; {} could not be removed, and does no harm", left.0)),
    })
}

/// The administrator's own rules. None where there are none, or the container cannot be read, which `state` tells.
async fn rules(config: &Config, connection: &Connection) -> Option<Check> {
    let (what, own) = ("own rules", State::new(config, connection).ok()?.own_rules().await.ok()?);
    if own == OwnRules::default() {
        return None;
    }
    let silences = own.silence.as_deref().map_or_else(|| Ok(Silences::default()), Silences::read);
    let mut faults = silences.as_ref().err().map(|error| format!("rules/silence.toml: {error}")).into_iter().collect::<Vec<_>>();
    let set = RuleSet::with(own.files.iter().map(|(name, text)| (name.as_str(), text.as_str())), silences.unwrap_or_default());
    faults.extend(set.refused().iter().map(ToString::to_string));
    faults
        .extend(set.unknown_fields().map(|(file, title, field)| format!("{file}: {title:?} asks for {field}, which no audit record has")));
    Some(match faults.as_slice() {
        [] => Check::well(what, format!("{} files, all of use", own.files.len())),
        _ => Check::wrong(
            what,
            faults.join("; "),
            "mend or remove these in rules/ of the state container; the others are asked all the same",
        ),
    })
}

async fn queue(config: &Config, connection: &Connection) -> Result<Check, Check> {
    let (what, name) = ("content queue", &config.content_queue);
    let needs = Needs { role: "Storage Queue Data Contributor", permissions: "read, write, create, add, process and delete on queues" };
    let judge = |error| refused(what, name, &needs, config, &error);
    let queue = ContentQueue::new(config, connection).map_err(judge)?;
    if !answer(what, queue.is_there(), judge).await? {
        let next = "the next run of QueueEvents makes it; if it should be there, check CONTENT_QUEUE; what was in it is queued again";
        return Err(Check::wrong(what, format!("{name} is not there"), next));
    }
    answer(what, queue.probe(), judge).await?;
    Ok(Check::well(what, format!("{name}: sent to, and taken back unseen")))
}

/// The rights that open a part of the account.
struct Needs {
    /// Of a managed identity.
    role: &'static str,
    /// Of a shared access signature.
    permissions: &'static str,
}

fn refused(what: &str, name: &str, needs: &Needs, config: &Config, error: &Error) -> Check {
    let words = words(error);
    let next = match error.http_status() {
        Some(StatusCode::Forbidden | StatusCode::Unauthorized) if config.storage.needs_identity() => {
            format!("give the managed identity the role {}; the account's firewall has to let it in", needs.role)
        }
        Some(StatusCode::Forbidden | StatusCode::Unauthorized) => format!(
            "check the key in AzureWebJobsStorage; a shared access signature needs {}; the account's firewall has to let this machine in",
            needs.permissions
        ),
        Some(_) => "try again in some minutes; the collector does so by itself".to_owned(),
        None => identity_advice(&words)
            .unwrap_or("check the account's name in AzureWebJobsStorage, and the network and firewall on the way there")
            .to_owned(),
    };
    Check::wrong(what, format!("{name}: {words}"), next)
}
