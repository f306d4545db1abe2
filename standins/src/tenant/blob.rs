//! Content blobs: what a test publishes, what the tenant keeps of it, and the bytes it serves, piece by piece, so that a
//! blob of 100 MB is never held.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Series, World, mark};

/// How much of a body is made or compressed at a time, in bytes.
const PIECE: usize = 64 * 1024;

/// A content blob to publish.
/// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference#list-available-content>
#[derive(Clone, Debug)]
pub struct NewBlob {
    /// Content type.
    pub content_type: String,
    /// `contentCreated`: when it became available.
    pub created: DateTime<Utc>,
    /// `contentExpiration`; 7 days after `created` if `None`. From then on it is not listed, and fetching it is AF20051.
    pub expires: Option<DateTime<Utc>>,
    /// contentId; one in the service's style if `None`.
    pub id: Option<String>,
    /// What fetching it serves.
    pub body: Body,
    /// A late blob: not listed and not served before this time, though `created` says so; `created` if `None`.
    pub visible_from: Option<DateTime<Utc>>,
    /// Overrides the contentUri, for one that leads elsewhere.
    pub uri: Option<String>,
}

impl NewBlob {
    /// A punctual blob of records.
    pub fn new(content_type: &str, created: DateTime<Utc>, records: Vec<String>) -> Self {
        Self::of(content_type, created, Body::Records(records))
    }

    /// A punctual blob of any body.
    pub fn of(content_type: &str, created: DateTime<Utc>, body: Body) -> Self {
        Self { content_type: content_type.to_owned(), created, expires: None, id: None, body, visible_from: None, uri: None }
    }
}

/// The body of a content blob.
#[derive(Clone, Debug)]
pub enum Body {
    /// JSON texts of records, put into an array as they are.
    Records(Vec<String>),
    /// Any bytes.
    Raw {
        /// The bytes.
        bytes: Bytes,
        /// Content-Type.
        content_type: String,
    },
    /// An array of one record many times over, made while it is served. Each `{id}` in the record becomes a GUID, the
    /// same within a record and at every fetch, and different from record to record.
    Repeated {
        /// JSON text of the record.
        record: String,
        /// How many.
        count: usize,
    },
    /// An array of records of a series, made while it is served.
    Series {
        /// The series.
        series: Arc<Series>,
        /// Which of its places.
        numbers: Range<u64>,
    },
}

/// A published content blob, as seen by a test.
#[derive(Clone, Debug)]
pub struct BlobInfo {
    /// contentId.
    pub id: String,
    /// contentUri.
    pub uri: String,
    /// Content type.
    pub content_type: String,
    /// contentCreated.
    pub created: DateTime<Utc>,
    /// contentExpiration.
    pub expires: DateTime<Utc>,
    /// From when it is listed.
    pub visible_from: DateTime<Utc>,
    /// Records in it; 0 for raw bytes.
    pub records: usize,
    /// On how many pages of listings it stood.
    pub listed: usize,
    /// How many times it was served to its end.
    pub fetched: usize,
}

/// A published content blob, as kept.
pub(super) struct Blob {
    pub(super) id: String,
    pub(super) uri: String,
    pub(super) content_type: String,
    pub(super) created: DateTime<Utc>,
    pub(super) expires: DateTime<Utc>,
    pub(super) visible_from: DateTime<Utc>,
    /// Place in every listing: the service promises no order, so this has none, yet is the same at every run.
    pub(super) rank: u64,
    pub(super) media_type: String,
    pub(super) listed: AtomicUsize,
    pub(super) fetched: AtomicUsize,
    records: usize,
    /// Where each record stands in the body, where all of it is there.
    places: Vec<Range<usize>>,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Whole(Bytes),
    Repeated { record: String, count: usize, salt: u32 },
    Series { series: Arc<Series>, numbers: Range<u64> },
}

impl Blob {
    pub(super) fn new(new: NewBlob, serial: usize, world: &World) -> Self {
        let id = new.id.unwrap_or_else(|| content_id(&new.content_type, new.created, serial));
        let uri = new.uri.unwrap_or_else(|| world.content_uri(&id));
        let rank = mark(&format!("{} {id}", world.options.seed));

        let json = "application/json; charset=utf-8".to_owned();
        let mut places = Vec::new();
        let (content, media_type, records) = match new.body {
            Body::Records(records) => {
                let mut end = 0;
                places.extend(records.iter().map(|record| {
                    let start = end + 1;
                    end = start + record.len();
                    start..end
                }));
                let text = format!("[{}]", records.join(","));
                (Content::Whole(text.into()), json, records.len())
            }
            Body::Raw { bytes, content_type } => (Content::Whole(bytes), content_type, 0),
            Body::Series { series, numbers } => {
                let count = usize::try_from(numbers.end - numbers.start).unwrap_or(usize::MAX);
                (Content::Series { series, numbers }, json, count)
            }
            // The rank's low half keeps the Ids of two such blobs apart.
            Body::Repeated { record, count } => (Content::Repeated { record, count, salt: rank as u32 }, json, count),
        };
        Self {
            expires: new.expires.unwrap_or(new.created + TimeDelta::days(7)),
            visible_from: new.visible_from.unwrap_or(new.created),
            content_type: new.content_type,
            created: new.created,
            listed: AtomicUsize::new(0),
            fetched: AtomicUsize::new(0),
            id,
            uri,
            rank,
            media_type,
            records,
            places,
            content,
        }
    }

    pub(super) fn info(&self) -> BlobInfo {
        BlobInfo {
            id: self.id.clone(),
            uri: self.uri.clone(),
            content_type: self.content_type.clone(),
            created: self.created,
            expires: self.expires,
            visible_from: self.visible_from,
            records: self.records,
            listed: self.listed.load(Ordering::Relaxed),
            fetched: self.fetched.load(Ordering::Relaxed),
        }
    }

    /// How many records it has; of raw bytes nobody knows.
    pub(super) fn record_count(&self) -> usize {
        self.records
    }

    /// The text of one of its records.
    pub(super) fn record(&self, number: usize) -> Option<String> {
        match &self.content {
            Content::Whole(bytes) => {
                let range = self.places.get(number)?.clone();
                Some(String::from_utf8_lossy(bytes.get(range)?).into_owned())
            }
            Content::Repeated { record, count, salt } => (number < *count).then(|| numbered(record, *salt, number as u64)),
            Content::Series { series, numbers } => {
                let place = numbers.start + number as u64;
                (place < numbers.end).then(|| series.record(place))
            }
        }
    }

    /// The body from its start.
    pub(super) fn pieces(&self) -> Pieces {
        match &self.content {
            Content::Whole(bytes) => whole(bytes.clone()),
            Content::Repeated { record, count, salt } => {
                let (record, salt) = (record.clone(), *salt);
                array(0..*count as u64, move |number| numbered(&record, salt, number))
            }
            Content::Series { series, numbers } => {
                let series = Arc::clone(series);
                array(numbers.clone(), move |number| series.record(number))
            }
        }
    }
}

/// A contentId in the service's style: a range of time, the type twice, a region. The serial number makes it unique.
fn content_id(content_type: &str, created: DateTime<Utc>, serial: usize) -> String {
    let name = content_type.replace('.', "_");
    let from = (created - TimeDelta::hours(1)).format("%Y%m%dT%H%M%S%3f");
    let to = created.format("%Y%m%dT%H%M%S%3f");
    format!("{from}${to}{serial:06}${}${name}$emea{:04}", name.to_lowercase(), serial % 16)
}

/// A body, piece by piece.
pub(super) type Pieces = Box<dyn Iterator<Item = Bytes> + Send>;

/// A body that is there already.
pub(super) fn whole(mut bytes: Bytes) -> Pieces {
    Box::new(std::iter::from_fn(move || {
        let next = bytes.split_to(bytes.len().min(PIECE));
        (!next.is_empty()).then_some(next)
    }))
}

/// One of many records that differ by their Id.
fn numbered(record: &str, salt: u32, number: u64) -> String {
    record.replace("{id}", &format!("{salt:08x}-0000-4000-8000-{number:012x}"))
}

/// An array of records, each made as its piece is.
fn array(numbers: Range<u64>, record: impl Fn(u64) -> String + Send + 'static) -> Pieces {
    let mut next = numbers.start;
    let mut closed = false;
    Box::new(std::iter::from_fn(move || {
        if closed {
            return None;
        }
        let mut piece = String::with_capacity(PIECE);
        while next < numbers.end && piece.len() < PIECE {
            piece.push(if next == numbers.start { '[' } else { ',' });
            piece.push_str(&record(next));
            next += 1;
        }
        if next == numbers.end {
            piece.push_str(if numbers.is_empty() { "[]" } else { "]" });
            closed = true;
        }
        Some(piece.into())
    }))
}

/// A body compressed on its way.
pub(super) fn gzip(mut pieces: Pieces) -> Pieces {
    let mut encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    Box::new(std::iter::from_fn(move || {
        // Writing into memory does not fail; were it to, the body would end early and be seen as broken.
        let writer = encoder.as_mut()?;
        for piece in pieces.by_ref() {
            writer.write_all(&piece).ok()?;
            if !writer.get_ref().is_empty() {
                return Some(std::mem::take(writer.get_mut()).into());
            }
        }
        Some(encoder.take()?.finish().ok()?.into())
    }))
}

/// At most so many bytes of a body.
pub(super) fn head(mut pieces: Pieces, mut bytes: usize) -> Pieces {
    Box::new(std::iter::from_fn(move || {
        let mut piece = (bytes > 0).then(|| pieces.next())??;
        piece.truncate(bytes);
        bytes -= piece.len();
        Some(piece)
    }))
}
