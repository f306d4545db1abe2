//! What an invocation can fail with, and the two decisions about it: what the host is answered, and how loud it is logged.
//! Errors are logged here, once, at the boundary.

use std::error::Error;

use axum::http::StatusCode;
use tracing::Level;

use crate::{
    batch::NotABatch,
    database::DatabaseError,
    invocation::NotAnInvocation,
    management_api::{ActivityError, Workload},
};

/// Why an invocation failed. The host then delivers a queue message again, and after its last delivery moves it to the
/// poison queue; a timer's work is done by its next run.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The host's request is not understood.
    #[error(transparent)]
    Envelope(#[from] NotAnInvocation),
    /// The queue message is not understood.
    #[error(transparent)]
    Message(#[from] NotABatch),
    /// Queue or state refused or could not be reached.
    #[error("the storage account did not do its part")]
    Storage(#[source] azure_core::Error),
    /// The database refused.
    #[error("no document was written")]
    Database(#[source] DatabaseError),
    /// Storage took so long that there was no time left to bring the work to an end in good order.
    #[error("time ran out before all was brought to an end")]
    OutOfTime,
    /// The service has not answered yet, and so has not told its time, on which all state rests.
    #[error("the service has not answered this process yet, so its time is not known")]
    Unreached(#[source] ActivityError),
    /// Some workloads failed, each for its own reason; the others ran.
    #[error("{}", workloads(.0))]
    Workloads(Vec<(Workload, anyhow::Error)>),
}

impl Failure {
    /// Any answer but 2xx makes the host fail the invocation; which one is for people.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Envelope(_) => StatusCode::BAD_REQUEST,
            Self::Message(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Storage(_) | Self::Database(_) | Self::OutOfTime | Self::Unreached(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Workloads(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// How loud it is logged.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Envelope(_) | Self::Message(_) | Self::Database(_) | Self::Unreached(_) | Self::Workloads(_) => Level::ERROR,
            // It tends to pass by itself, and the host tries again.
            Self::Storage(_) | Self::OutOfTime => Level::WARN,
        }
    }
}

fn workloads(failures: &[(Workload, anyhow::Error)]) -> String {
    let each: Vec<_> = failures.iter().map(|(workload, error)| format!("{workload}: {}", chain(error.as_ref()))).collect();
    each.join("; ")
}

/// An error with everything behind it, on one line, without the signature that an address may carry.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat the cause in their own words.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    redact(&text.replace(['\n', '\r'], " "))
}

/// A shared access signature is a secret that travels in addresses, and addresses get into error texts.
fn redact(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("sig=") {
        let (before, signature) = rest.split_at(at + 4);
        redacted.push_str(before);
        redacted.push_str("***");
        let end = signature.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '%' | '+' | '/' | '=' | '-' | '_' | '.')));
        rest = &signature[end.unwrap_or(signature.len())..];
    }
    redacted.push_str(rest);
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_line_names_every_cause_once_and_no_signature() {
        let inner = std::io::Error::other("refused (http://127.0.0.1/q?sv=1&sig=a%2Fb%3D&sp=r)");
        let error = anyhow::Error::new(inner).context("queue").context("outer");
        assert_eq!(chain(error.as_ref()), "outer: queue: refused (http://127.0.0.1/q?sv=1&sig=***&sp=r)");
    }
}
