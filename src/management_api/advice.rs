//! Advice for refusals that people are known to be stuck at: what is wrong, and what to do.

use super::wire::ServiceError;

/// The service's words, and the next step where people are known to be stuck.
pub(super) fn explain(error: &ServiceError) -> String {
    let colon = if error.message.is_empty() { "" } else { ": " };
    let advice = match advice(error) {
        Some(Advice { next, .. }) if error.code.starts_with("AF") => format!(" → {next}"),
        Some(Advice { what, next }) => format!(" → {what}: {next}"),
        None => String::new(),
    };
    format!("{colon}{}{advice}", error.message)
}

/// A refusal that people are known to be stuck at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The fault.
    pub what: &'static str,
    /// The remedy.
    pub next: &'static str,
}

/// By the AF code, or by its words where the service gives no code.
pub(super) fn advice(error: &ServiceError) -> Option<Advice> {
    let (what, next) = match error.code.as_str() {
        "AF10001" => (
            "the token lacks a permission",
            "grant the app the application permission ActivityFeed.Read, and admin consent; DLP.All needs ActivityFeed.ReadDlp",
        ),
        "AF20010" => ("OFFICE365_TENANT_ID is not the tenant that the token is for", "correct OFFICE365_TENANT_ID"),
        "AF20011" | "AF20012" | "AF20013" => ("the API does not know the tenant", "check OFFICE365_TENANT_ID"),
        "AF20022" => ("the subscription is off", "the next run of QueueEvents starts it"),
        "AF20023" => (
            "the subscription was disabled",
            "the next run of QueueEvents starts it; if it stays off, an administrator switched the subscription off",
        ),
        _ if is_auditing_off(error) => (
            "unified audit logging is off for this tenant",
            "turn on auditing for this tenant, in the Microsoft Purview portal under Audit; it takes up to an hour",
        ),
        _ => return None,
    };
    Some(Advice { what, next })
}

/// The service then says that the tenant does not exist, without a code.
fn is_auditing_off(error: &ServiceError) -> bool {
    error.message.contains("Tenant ") && error.message.contains("does not exist")
}

impl ServiceError {
    /// True if the API itself says so, and no proxy or gateway on the way.
    pub(super) fn is_the_services_own(&self) -> bool {
        self.code.starts_with("AF") || is_auditing_off(self)
    }
}
