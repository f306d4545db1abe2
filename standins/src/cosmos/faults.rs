//! Trouble on demand: which write comes to which grief. Making it happen on the wire is `serve`'s part.

use std::collections::VecDeque;
use std::time::Duration;

/// What happens to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CosmosFaultKind {
    /// It is refused with this status and sub-status, and `x-ms-retry-after-ms` if given. Nothing is written.
    Status {
        /// HTTP status: 403, 408, 429, 449, 503, …
        status: u16,
        /// `x-ms-substatus`. <https://learn.microsoft.com/rest/api/cosmos-db/http-status-codes-for-cosmosdb>
        substatus: Option<u32>,
        /// How long the client is told to wait.
        retry_after: Option<Duration>,
    },
    /// The connection is closed before anything is written, and with it whatever else is in flight on it (in HTTP/2: much).
    Reset,
    /// It is written, and then the connection is closed: the client cannot know.
    LostAnswer,
    /// It is written and answered, but only after this time.
    Delay(Duration),
}

impl CosmosFaultKind {
    /// 429 with sub-status 3200, as a container out of request units answers.
    pub fn throttled(retry_after: Duration) -> Self {
        Self::Status { status: 429, substatus: Some(3200), retry_after: Some(retry_after) }
    }

    /// A plain status without sub-status.
    pub fn status(status: u16) -> Self {
        Self::Status { status, substatus: None, retry_after: None }
    }
}

/// A [`CosmosFaultKind`] and how often it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CosmosFault {
    /// What happens.
    pub fault: CosmosFaultKind,
    /// To how many writes; `None`: to all, until the faults are cleared.
    pub times: Option<u32>,
}

impl CosmosFault {
    /// Strikes the next `times` writes.
    pub fn times(fault: CosmosFaultKind, times: u32) -> Self {
        Self { fault, times: Some(times) }
    }

    /// Strikes until cleared.
    pub fn lasting(fault: CosmosFaultKind) -> Self {
        Self { fault, times: None }
    }
}

/// What is planned, first in, first out.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<CosmosFault>);

impl Faults {
    pub(super) fn plan(&mut self, fault: CosmosFault) {
        self.0.push_back(fault);
    }

    /// The fault of the write that has just come in.
    pub(super) fn strike(&mut self) -> Option<CosmosFaultKind> {
        let next = self.0.front_mut()?;
        match &mut next.times {
            None => Some(next.fault),
            Some(0) => {
                self.0.pop_front();
                self.strike()
            }
            Some(left) => {
                *left -= 1;
                Some(next.fault)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_strike_in_order_and_run_out() {
        let mut faults = Faults::default();
        faults.plan(CosmosFault::times(CosmosFaultKind::Reset, 2));
        faults.plan(CosmosFault::times(CosmosFaultKind::LostAnswer, 1));
        let struck: Vec<_> = (0..5).map_while(|_| faults.strike()).collect();
        assert_eq!(struck, [CosmosFaultKind::Reset, CosmosFaultKind::Reset, CosmosFaultKind::LostAnswer]);
    }
}
