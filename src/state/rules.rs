//! The administrator's own Sigma rules, `rules/*.yml`, and what they know to be no trouble, `rules/silence.toml`.

use azure_storage_blob::models::BlobContainerClientListBlobsOptions;
use futures::TryStreamExt;

use super::State;
use crate::azure::storage::is_not_found;

/// Most files that are read.
const MAX_FILES: usize = 500;

/// The files under `rules/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnRules {
    /// Name and text of each file of rules, by name.
    pub files: Vec<(String, String)>,
    /// The text of `silence.toml`.
    pub silence: Option<String>,
}

impl State {
    /// Reads the administrator's own rules. A container that is not there yet has none.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn own_rules(&self) -> azure_core::Result<OwnRules> {
        let options = BlobContainerClientListBlobsOptions { prefix: Some("rules/".to_owned()), ..Default::default() };
        let blobs: Vec<_> = match self.container.list_blobs(Some(options))?.try_collect().await {
            Err(error) if is_not_found(&error) => return Ok(OwnRules::default()),
            listed => listed?,
        };
        let mut names = blobs.into_iter().filter_map(|blob| blob.name).collect::<Vec<_>>();
        names.retain(|name| name == "rules/silence.toml" || name.ends_with(".yml") || name.ends_with(".yaml"));
        names.sort_unstable();
        names.truncate(MAX_FILES);
        let mut own = OwnRules::default();
        for name in names {
            let Some(text) = self.read(&name).await?.map(|stored| stored.text) else { continue };
            if name == "rules/silence.toml" {
                own.silence = Some(text);
            } else {
                own.files.push((name, text));
            }
        }
        Ok(own)
    }
}
