//! A workload's checkpoint: a blob of nothing but a UTC time, which a person may create or edit. It says that every window
//! before it was listed to its last page and all of it queued.

use std::collections::HashMap;

use azure_core::{
    Error,
    error::ErrorKind,
    http::{Etag, RequestContent},
};
use azure_storage_blob::models::BlockBlobClientUploadOptions;
use chrono::{DateTime, TimeDelta, Utc};

use super::State;
use crate::{
    azure::storage::is_conflict,
    clock::{parse_utc, rfc3339},
    workload::Workload,
};

/// Clocks differ by so much without meaning anything by it.
const TOLERANCE: TimeDelta = TimeDelta::seconds(60);

/// Names of the metadata, in the order of [`Sweeps`]' fields.
const METADATA: [&str; 5] = ["sweep", "sweepreached", "deepsweep", "deepsweepreached", "notbefore"];

/// A checkpoint as it was read.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// W: everything before it is queued.
    pub at: DateTime<Utc>,
    /// When sweeps ran.
    pub sweeps: Sweeps,
    etag: Etag,
}

/// When each sweep was last completed, how far one got that time cut off, and how far back they go; kept in the blob's metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweeps {
    /// The hourly sweep of the last 26 h.
    pub sweep: Option<DateTime<Utc>>,
    /// The one under way has listed everything before this.
    pub sweep_reached: Option<DateTime<Utc>>,
    /// The deep sweep of all that can be listed.
    pub deep_sweep: Option<DateTime<Utc>>,
    /// The one under way has listed everything before this.
    pub deep_sweep_reached: Option<DateTime<Utc>>,
    /// The start that was chosen: nothing that became available before it is listed. None: no limit.
    pub not_before: Option<DateTime<Utc>>,
}

/// The reason why a checkpoint could not be read or moved.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It holds something other than a UTC time.
    #[error("checkpoint {blob} holds {text:?}, which is no UTC time such as 2026-11-20T10:00:00.000Z; correct or delete it")]
    Unreadable {
        /// The blob's name.
        blob: String,
        /// The text in it.
        text: String,
    },
    /// It would skip what has not happened yet.
    #[error("checkpoint {blob} holds {text:?}, which is in the future; correct or delete it")]
    Future {
        /// The blob's name.
        blob: String,
        /// The text in it.
        text: String,
    },
    /// Another run moved it first.
    #[error("checkpoint {blob} was moved by another run")]
    Conflict {
        /// The blob's name.
        blob: String,
    },
    /// Storage refused or could not be reached.
    #[error("checkpoint {blob}")]
    Storage {
        /// The blob's name.
        blob: String,
        /// The error of storage.
        #[source]
        source: Error,
    },
}

impl State {
    /// Reads a workload's checkpoint; none where there is no blob.
    ///
    /// # Errors
    /// Text that is no time or lies in the future is an error, and stays as it is.
    pub async fn checkpoint(&self, workload: Workload, now: DateTime<Utc>) -> Result<Option<Checkpoint>, CheckpointError> {
        let blob = name(workload);
        let Some(stored) = self.read(&blob).await.map_err(|source| CheckpointError::Storage { blob: blob.clone(), source })? else {
            return Ok(None);
        };
        let at = parse(&blob, &stored.text, now)?;
        Ok(Some(Checkpoint { at, sweeps: Sweeps::from_metadata(&stored.metadata, at), etag: stored.etag }))
    }

    /// Moves a workload's checkpoint from what was read, or makes it where there was none.
    ///
    /// # Errors
    /// [`CheckpointError::Conflict`] where it is no longer what was read.
    pub async fn move_checkpoint(
        &self,
        workload: Workload,
        from: Option<Checkpoint>,
        to: DateTime<Utc>,
        sweeps: Sweeps,
    ) -> Result<Checkpoint, CheckpointError> {
        let blob = name(workload);
        let options = BlockBlobClientUploadOptions {
            if_none_match: from.is_none().then(|| Etag::from("*")),
            if_match: from.map(|checkpoint| checkpoint.etag),
            blob_content_type: Some("text/plain; charset=utf-8".to_owned()),
            metadata: Some(sweeps.to_metadata()),
            ..Default::default()
        };
        let text = RequestContent::from(rfc3339(to).into_bytes());
        match self.blob(&blob).block_blob_client().upload(text, Some(options)).await {
            Ok(uploaded) => match uploaded.etag {
                Some(etag) => Ok(Checkpoint { at: to, sweeps, etag }),
                None => {
                    let source = Error::with_message(ErrorKind::Other, "the upload was answered without an ETag");
                    Err(CheckpointError::Storage { blob, source })
                }
            },
            Err(error) if is_conflict(&error) => Err(CheckpointError::Conflict { blob }),
            Err(source) => Err(CheckpointError::Storage { blob, source }),
        }
    }
}

fn name(workload: Workload) -> String {
    format!("{workload}.log")
}

/// Reads a checkpoint's text, however a person typed it.
///
/// # Errors
/// It is no UTC time, or one in the future.
pub fn parse(blob: &str, text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, CheckpointError> {
    let (blob, shown) = (blob.to_owned(), text.chars().take(100).collect());
    match parse_utc(text.trim_start_matches('\u{feff}').trim()) {
        None => Err(CheckpointError::Unreadable { blob, text: shown }),
        Some(at) if at - now > TOLERANCE => Err(CheckpointError::Future { blob, text: shown }),
        Some(at) => Ok(at),
    }
}

impl Sweeps {
    /// With none of them half done.
    #[must_use]
    pub fn begun_anew(self) -> Self {
        Self { sweep_reached: None, deep_sweep_reached: None, ..self }
    }

    /// A name or time that cannot be read counts as "never": the sweep then runs once more, which costs listings only.
    ///
    /// The chosen start is what was noted, or the checkpoint if a person rewound it behind that. Without any metadata a person wrote
    /// the checkpoint, and chose its time. Sweeps without a chosen start were noted by an older version, which had none.
    fn from_metadata(metadata: &HashMap<String, String>, checkpoint: DateTime<Utc>) -> Self {
        let text = |name: &str| metadata.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, text)| text.as_str());
        let at = |name: &str| text(name).and_then(parse_utc);
        let is_by_hand = METADATA.iter().all(|name| text(name).is_none());
        let [sweep, sweep_reached, deep_sweep, deep_sweep_reached, not_before] = METADATA.map(at);
        let not_before = not_before.or(is_by_hand.then_some(checkpoint)).map(|start| start.min(checkpoint));
        Self { sweep, sweep_reached, deep_sweep, deep_sweep_reached, not_before }
    }

    fn to_metadata(self) -> HashMap<String, String> {
        let times = [self.sweep, self.sweep_reached, self.deep_sweep, self.deep_sweep_reached, self.not_before];
        METADATA.into_iter().zip(times).filter_map(|(name, at)| Some((name.to_owned(), rfc3339(at?)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_a_utc_time_however_a_person_typed_it() {
        let now = parse_utc("2026-11-20T12:00:00Z").unwrap();
        for text in ["2026-11-20T10:00:00.000Z", " 2026-11-20T10:00:00Z\r\n", "\u{feff}2026-11-20T10:00:00", "2026-11-20T11:00:00+01:00"] {
            assert_eq!(rfc3339(parse("x.log", text, now).unwrap()), "2026-11-20T10:00:00.000Z", "{text:?}");
        }
    }

    #[test]
    fn a_checkpoint_that_is_no_time_or_lies_ahead_is_named_with_its_text() {
        let now = parse_utc("2026-11-20T12:00:00Z").unwrap();
        for text in ["", "yesterday", "2026-11-20", "2026-11-20T13:00:00Z"] {
            let error = parse("Audit.Exchange.log", text, now).unwrap_err().to_string();
            assert!(error.contains("Audit.Exchange.log") && error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
