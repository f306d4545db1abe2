//! The faults that can be planned, and the choice of the one that a request meets. How each looks on the wire is in
//! `serve` and `feed`.

use std::time::Duration;

use chrono::TimeDelta;

use super::Operation;

/// A planned fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Requests of this operation…
    pub on: Operation,
    /// …whose path and query, as sent, hold this text (any, if `None`).
    pub matching: Option<String>,
    /// How many of them pass unharmed first.
    pub skip: usize,
    /// How many are hit then; `usize::MAX` is until cleared.
    pub times: usize,
    /// What happens to them.
    pub what: FaultKind,
}

impl Fault {
    /// Hits the next request of an operation, once.
    pub fn once(on: Operation, what: FaultKind) -> Self {
        Self { on, matching: None, skip: 0, times: 1, what }
    }

    /// Hits every request of an operation until cleared.
    pub fn always(on: Operation, what: FaultKind) -> Self {
        Self { times: usize::MAX, ..Self::once(on, what) }
    }

    /// Only requests whose path and query hold this text.
    pub fn matching(self, text: &str) -> Self {
        Self { matching: Some(text.to_owned()), ..self }
    }

    /// Only after this many requests have passed.
    pub fn after(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// This many times.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }
}

/// What a fault does.
#[derive(Clone, Debug)]
pub enum FaultKind {
    /// Any answer at all, with Retry-After in seconds where given.
    Status {
        /// HTTP status.
        status: u16,
        /// Body.
        body: String,
        /// Content-Type.
        content_type: String,
        /// Retry-After, seconds.
        retry_after: Option<u64>,
    },
    /// An error of the API: `{"error":{"code","message"}}`.
    Code {
        /// HTTP status.
        status: u16,
        /// Code, such as `AF50000`.
        code: &'static str,
        /// Message.
        message: String,
    },
    /// The right answer, its body cut after so many bytes on the wire by a lost connection.
    Truncated {
        /// Bytes that arrive.
        bytes: usize,
    },
    /// The right answer, its body ended after so many bytes as if that were all of it; never compressed.
    Clipped {
        /// Bytes that arrive.
        bytes: usize,
    },
    /// The right answer, with a pause after so many bytes on the wire.
    Stall {
        /// Bytes before the pause.
        bytes: usize,
        /// The pause.
        pause: Duration,
    },
    /// 200 with a web page, as a proxy answers.
    Html,
    /// The connection is reset before any answer.
    Reset,
    /// The answer comes later, or once the faults are cleared. Counts beside other faults, not instead of them.
    Delay(Duration),
    /// The answer's `Date` is so far ahead. Counts beside other faults, not instead of them.
    Date(TimeDelta),
    /// A listing's page, with this as its NextPageUri.
    ForeignNextPage(String),
    /// A listing's page whose NextPageUri is the page itself.
    RepeatNextPage,
    /// A listing's page without a blob, whose NextPageUri leads to what should have been on it.
    EmptyPage,
    /// 200 without a body.
    EmptyBody,
    /// 401, as for an expired token.
    InvalidToken401,
    /// 403 with a claims challenge: another token is asked for.
    /// <https://learn.microsoft.com/entra/identity-platform/claims-challenge>
    ClaimsChallenge403,
}

impl FaultKind {
    /// AF50000, the API's internal error.
    pub fn internal() -> Self {
        Self::Code { status: 500, code: "AF50000", message: "An internal error occurred. Retry the request.".into() }
    }

    /// AF429 with the status given; the service has been seen to send 403 as well as 429.
    pub fn throttled(status: u16) -> Self {
        let message = "Too many requests. Method=GetBlob, PublisherId=00000000-0000-0000-0000-000000000000";
        Self::Code { status, code: "AF429", message: message.into() }
    }
}

/// What a request meets.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) delay: Duration,
    /// How far the answer's `Date` is ahead.
    pub(super) ahead: TimeDelta,
    pub(super) what: Option<FaultKind>,
}

/// Takes the faults that a request meets: all delays, and the first of the rest. Every fault that the request matches
/// counts it among those to be skipped, until it is that fault's turn.
pub(super) fn meet(faults: &mut Vec<Fault>, operation: Operation, target: &str) -> Trouble {
    let mut trouble = Trouble::default();
    for fault in faults.iter_mut() {
        let matches = fault.times > 0 && fault.on == operation && fault.matching.as_deref().is_none_or(|text| target.contains(text));
        if !matches {
            continue;
        }
        if fault.skip > 0 {
            fault.skip -= 1;
            continue;
        }
        match &fault.what {
            FaultKind::Delay(delay) => trouble.delay += *delay,
            FaultKind::Date(ahead) => trouble.ahead += *ahead,
            _ if trouble.what.is_some() => continue,
            what => trouble.what = Some(what.clone()),
        }
        if fault.times != usize::MAX {
            fault.times = fault.times.saturating_sub(1);
        }
    }
    faults.retain(|fault| fault.times > 0);
    trouble
}
