//! Counts refusals that a wrong tenant or publisher brings for every content blob, over all messages of the process.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// So many in a row, with nothing served between them, are no longer content that went by itself.
const ALARMING: u64 = 2;

/// By workload: refusals since a content blob was last served.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<&'static str, u64>>);

/// The result of a fetch, as far as it counts here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// A body came.
    Served,
    /// Refused with this code, which is doubted.
    Refused(String),
    /// Something else went wrong, which says nothing.
    Other,
}

/// A workload of which nothing is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Since something was served.
    pub(crate) times: u64,
    /// The last of the codes.
    pub(crate) code: String,
}

impl Refusals {
    /// Counts the fetches of a message, each with its workload. Returns the workloads of which this message had refusals, and
    /// nothing was served for long enough.
    pub(crate) fn count(&self, fetches: impl Iterator<Item = (&'static str, Fetched)>) -> BTreeMap<&'static str, Refused> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut codes, mut served) = (BTreeMap::new(), Vec::new());
        for (workload, fetched) in fetches {
            match fetched {
                Fetched::Served => served.push(workload),
                Fetched::Refused(code) => {
                    *counts.entry(workload).or_default() += 1;
                    codes.insert(workload, code);
                }
                Fetched::Other => {}
            }
        }
        counts.retain(|workload, _| !served.contains(workload));
        let alarming = codes.into_iter().filter_map(|(workload, code)| {
            let times = counts.get(workload).copied().filter(|times| *times >= ALARMING)?;
            Some((workload, Refused { times, code }))
        });
        alarming.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> Fetched {
        Fetched::Refused(code.to_owned())
    }

    #[test]
    fn an_alarm_is_raised_only_while_nothing_of_a_workload_is_served() {
        let refusals = Refusals::default();
        let count = |fetches: &[(&'static str, Fetched)]| refusals.count(fetches.iter().cloned());
        assert!(count(&[("a", refused("x")), ("a", Fetched::Served), ("a", refused("x"))]).is_empty());
        assert!(count(&[("a", refused("x")), ("b", Fetched::Served)]).is_empty(), "one alone may be content that went");
        assert!(count(&[("a", Fetched::Other)]).is_empty());
        let alarm = BTreeMap::from([("a", Refused { times: 2, code: "y".to_owned() })]);
        assert_eq!(count(&[("a", refused("y")), ("b", refused("x"))]), alarm);
        assert!(count(&[("a", Fetched::Served)]).is_empty());
        assert!(count(&[("a", refused("x"))]).is_empty());
    }
}
