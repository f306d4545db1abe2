//! The faults of an audit search: what each does to a query, to its pages, or to its records. Faults of the wire, which any request
//! can meet, are in the tenant's own `fault`.

use chrono::{DateTime, TimeDelta, Utc};

/// What a fault does to a query that is made. Several can hit the same query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchFault {
    /// It is made, and the connection is reset before the answer.
    LosesAnswer {
        /// Whether the list of queries shows it.
        is_listed: bool,
    },
    /// It is not made: 500.
    NotMade,
    /// Auditing is off: 400 and `AuditingDisabledTenant`.
    AuditingOff {
        /// The code stands in JSON inside the message of an `UnknownError`.
        is_inside: bool,
    },
    /// 403, as JSON inside the message of an `UnknownError`.
    Forbidden,
    /// It runs and never ends.
    Stuck,
    /// It ends as `failed`.
    Fails,
    /// It ends as `cancelled`.
    Cancelled,
    /// It does not exist any more once it ran for half of its time.
    Vanishes,
    /// It takes this long.
    Slow(TimeDelta),
    /// Its status is this word until it ends.
    Word(&'static str),
    /// Its statuses begin with a capital letter: `Succeeded`.
    Capitals,
    /// So many looks at it are refused with 400.
    RefusesLooks(u32),
    /// So many looks at it are answered as if it were not there: 404.
    NotThereYet(u32),
    /// The flag and the counts are left out, as older deployments do.
    CountsMissing,
    /// The approximate count is so many hundredths of the right one.
    CountsWrong(u32),
    /// The flag and the limit are texts, and the approximate count is -1.
    CountsOdd,
    /// A half of its records is cut, and the flag tells so only once its pages were read.
    CutToldLate,
    /// The echo names an hour more at the end.
    EchoAltered,
    /// The echo is right when the query is made, and names an hour more at the end whenever it is looked at.
    EchoAlteredLater,
    /// All of the store is searched, whatever times were asked for.
    IgnoresTimes,
    /// It succeeds, and has no record.
    NoRows,
    /// Some records are left out in one reading of its pages.
    LeavesOut {
        /// Hundredths of them.
        percent: u64,
        /// Which reading, from 0.
        pass: u32,
    },
    /// Each reading leaves out one of so many records, and the next reading others.
    NeverWhole {
        /// Of how many one is left out.
        of: usize,
    },
    /// Some records stand on a second page as well.
    Repeats {
        /// Hundredths of them.
        percent: u64,
    },
    /// 500 for each page after so many records.
    ErrorAfter {
        /// Records that come.
        rows: usize,
        /// In how many readings.
        passes: u32,
    },
    /// A page is spoilt.
    Page {
        /// Which page, from 0.
        page: usize,
        /// In how many readings.
        passes: u32,
        /// What of it.
        what: PageFault,
    },
    /// Some records are served in an odd form.
    Odd {
        /// Hundredths of them.
        percent: u64,
        /// Which form.
        what: Oddity,
    },
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFault {
    /// Its nextLink is its own address.
    LoopingLink,
    /// Its nextLink leads to another host.
    ForeignLink,
    /// Its nextLink leads to another query.
    StrayLink,
    /// It is refused with 400: its link has expired.
    Expired,
    /// Its nextLink has no host.
    RelativeLink,
    /// Its nextLink names the query in escaped quotes and brackets.
    EscapedLink,
    /// Its nextLink is empty where there should be none.
    EmptyLink,
    /// Its JSON stands on many lines, behind a byte order mark.
    ManyLines,
    /// Its last brace is missing.
    CutShort,
    /// A web page with the status 502 stands in its place.
    Html,
    /// 200 without a body.
    Empty,
}

/// An odd form of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// The envelope's id is another than the record's.
    IdUnlike,
    /// The envelope's id is empty.
    IdEmpty,
    /// The record has `ID` in place of `Id`.
    UpperId,
    /// The record's members stand in `dynamicProperties`, but for those of every record.
    DynamicProperties,
    /// The record is text that holds an object.
    AsText,
    /// The record comes a second time with another body.
    TwoBodies,
    /// The record comes a second time with another body, in an envelope of another id.
    Twin,
    /// The envelope's id is a number.
    IdNumber,
    /// The record is text that is cut short, and so holds no object.
    NoObject,
    /// There is no record in the envelope.
    Nothing,
    /// There is nothing in the record but an annotation.
    OnlyAnnotation,
    /// There is no envelope: null.
    NoEnvelope,
}

/// A planned fault of searches.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) what: SearchFault,
    /// Only queries that ask for this time.
    pub(super) of: Option<DateTime<Utc>>,
    pub(super) skip: usize,
    pub(super) times: usize,
}

/// Takes the faults that a query of these times meets when it is made.
pub(super) fn meet(planned: &mut Vec<Planned>, start: DateTime<Utc>, end: DateTime<Utc>) -> Vec<SearchFault> {
    let mut met = Vec::new();
    for fault in planned.iter_mut().filter(|fault| fault.of.is_none_or(|time| start <= time && time < end)) {
        if fault.skip > 0 {
            fault.skip -= 1;
            continue;
        }
        fault.times -= 1;
        met.push(fault.what.clone());
    }
    planned.retain(|fault| fault.times > 0);
    met
}
