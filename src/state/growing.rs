//! Blobs that grow at their end, read on from where the last look ended: one, and those that continue it where it is full or was
//! uploaded by hand. What their lines mean is for [`super::stored`] and [`super::erased`].

use azure_core::http::{Etag, StatusCode};
use azure_storage_blob::models::{BlobClientDownloadOptions, BlobDownloadProperties, BlobType};

use super::{State, journal::may_continue};
use crate::azure::storage::is_not_found;

/// Bytes read at a time.
const CHUNK: usize = 1024 * 1024;

/// Blobs that continue each other, as far as they were read.
pub(super) type Parts = Vec<Part>;

/// One blob, as far as it was read.
#[derive(Clone)]
pub(super) struct Part {
    /// Bytes read, up to the end of a line.
    length: usize,
    etag: Option<Etag>,
    /// Seconds since 1970; another time is another blob of the same name.
    created_on: Option<i64>,
    /// Only an append blob can be read on from where its end was: a person may put a block blob in its place.
    is_append: bool,
    /// Full, or not to be appended to: then there may be a further part.
    may_continue: bool,
}

/// Reads what there is in a blob behind what was read.
enum Tail {
    Missing,
    /// Another blob has taken its place.
    Replaced,
    Read(Vec<u8>, Part),
}

impl State {
    /// Hands what was appended to `take`, line by line; it says whether it could read the line. False where a blob has taken another's
    /// place, and all must be read anew.
    pub(super) async fn read_on(
        &self,
        name: impl Fn(u32) -> String,
        parts: &mut Parts,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> azure_core::Result<bool> {
        for at in 0.. {
            let name = name(u32::try_from(at).unwrap_or(u32::MAX) + 1);
            let was_known = at < parts.len();
            match self.read_part(&name, at, parts, &mut take).await? {
                Some(true) => {}
                Some(false) => return Ok(!was_known),
                None => return Ok(false),
            }
            // The last part that was known goes on by itself; a new one may be followed by others.
            if was_known && at + 1 == parts.len() && !parts[at].may_continue {
                break;
            }
        }
        Ok(true)
    }

    /// Reads a part to its end. Whether it is there; none where another has taken its place.
    async fn read_part(
        &self,
        name: &str,
        at: usize,
        parts: &mut Parts,
        take: &mut impl FnMut(&[u8]) -> bool,
    ) -> azure_core::Result<Option<bool>> {
        let mut size = CHUNK;
        loop {
            let (text, part) = match self.tail(name, parts.get(at), size).await? {
                Tail::Missing => return Ok(Some(false)),
                Tail::Replaced => return Ok(None),
                Tail::Read(text, part) => (text, part),
            };
            let is_end = text.len() < size;
            let lines = if is_end { text.len() } else { memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1) };
            let unreadable = self::lines(&text[..lines]).filter(|line| !take(line)).count();
            if unreadable > 0 {
                tracing::warn!(blob = name, lines = unreadable, "lines that cannot be read were passed over");
            }
            let length = parts.get(at).map_or(0, |part| part.length) + lines;
            let part = Part { length, ..part };
            match parts.get_mut(at) {
                Some(known) => *known = part,
                None => parts.push(part),
            }
            if is_end {
                return Ok(Some(true));
            }
            // A line longer than what is read at a time.
            size = if lines == 0 { size * 2 } else { CHUNK };
        }
    }

    /// At most `size` bytes behind what was read.
    async fn tail(&self, name: &str, known: Option<&Part>, size: usize) -> azure_core::Result<Tail> {
        // One byte that was read before comes again: asked for nothing but what is not there yet, the service refuses.
        let before = known.map_or(0, |part| part.length.saturating_sub(1));
        let overlap = known.map_or(0, |part| part.length.min(1));
        let range = before as u64..(before + overlap + size) as u64;
        let options = BlobClientDownloadOptions {
            range: Some(range.into()),
            // In one request: between two, another may have appended.
            partition_size: std::num::NonZero::new(overlap + size),
            ..Default::default()
        };
        let download = match self.blob(name).download(Some(options)).await {
            Ok(download) => download,
            Err(error) if is_not_found(&error) => return Ok(Tail::Missing),
            Err(error) if error.http_status() == Some(StatusCode::RequestedRangeNotSatisfiable) => {
                return Ok(if known.is_some_and(|part| part.length > 0) { Tail::Replaced } else { Tail::Read(Vec::new(), Part::empty()) });
            }
            Err(error) => return Err(error),
        };
        let part = Part::of(&download.properties);
        let mut text = download.body.collect().await?.to_vec();
        match known {
            Some(known) if known.etag == part.etag && !part.is_append => Ok(Tail::Read(Vec::new(), part)),
            Some(known) if known.length > 0 && !known.is_followed_by(&part, &text) => Ok(Tail::Replaced),
            _ => {
                text.drain(..overlap.min(text.len()));
                Ok(Tail::Read(text, part))
            }
        }
    }
}

/// The lines of a text that hold something.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

impl Part {
    fn empty() -> Self {
        Self { length: 0, etag: None, created_on: None, is_append: true, may_continue: false }
    }

    fn of(properties: &BlobDownloadProperties) -> Self {
        let is_append = properties.blob_type == Some(BlobType::AppendBlob);
        Self {
            length: 0,
            etag: properties.etag.clone(),
            created_on: properties.created_on.map(|time| time.unix_timestamp()),
            is_append,
            may_continue: may_continue(properties),
        }
    }

    fn is_followed_by(&self, part: &Self, text: &[u8]) -> bool {
        self.is_append && part.is_append && self.created_on == part.created_on && text.first() == Some(&b'\n')
    }
}
