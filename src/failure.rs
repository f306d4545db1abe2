//! The failures of an invocation, and the two decisions about each: the answer to the host, and the level of the log line.
//! Errors are logged here, once, at the boundary.

use axum::http::StatusCode;
use tracing::Level;

use crate::{
    batch::NotABatch, clock::TimeUncertain, database::DatabaseError, envelope::NotAnInvocation, error_text::chain,
    management_api::ActivityError, workload::Workload,
};

/// The reason why an invocation failed. The host then delivers a queue message again, and after its last delivery moves it to the
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
    /// The service told a time that is far from what was known, and nothing confirmed it.
    #[error(transparent)]
    TimeUncertain(#[from] TimeUncertain),
    /// The function panicked.
    #[error("the function panicked, which is a fault of its own; where, the line before says")]
    Panic,
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
            Self::Storage(_) | Self::Database(_) | Self::OutOfTime | Self::Unreached(_) | Self::TimeUncertain(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Panic | Self::Workloads(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The level that it is logged at.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Envelope(_)
            | Self::Message(_)
            | Self::Database(_)
            | Self::Unreached(_)
            | Self::TimeUncertain(_)
            | Self::Panic
            | Self::Workloads(_) => Level::ERROR,
            // It tends to pass by itself, and the host tries again.
            Self::Storage(_) | Self::OutOfTime => Level::WARN,
        }
    }
}

fn workloads(failures: &[(Workload, anyhow::Error)]) -> String {
    let each: Vec<_> = failures.iter().map(|(workload, error)| format!("{workload}: {}", chain(error.as_ref()))).collect();
    each.join("; ")
}
