//! What the tenant of a storm publishes, and the memory of it that the account is held against.

use std::collections::VecDeque;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde_json::Value;

use super::plan::PlannedContent;
use standins::tenant::{Body, NewBlob, Tenant, generate};

/// One in so many content blobs waits for the storm.
const KEPT_BACK: usize = 2;
/// PlannedContent of before the storm is this much younger than it was made, so that a clock that jumps ahead does not carry it
/// beyond the seven days for which it can be listed: 156 hours become 125.
const YOUNGER: (i32, i32) = (4, 5);

/// What the handlers are told not to store.
pub(super) const LEAVE_OUT: &str = "Audit.SharePoint/FileAccessed,*/MailItemsAccessed";

/// Everything that was published, and what is still to be.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) published: Vec<Published>,
    kept_back: VecDeque<NewBlob>,
    /// Where content at a foreign address lies.
    foreign: String,
}

/// A content blob as it was published.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) id: String,
    pub(super) content_type: String,
    pub(super) created: DateTime<Utc>,
    pub(super) available: DateTime<Utc>,
    pub(super) expires: DateTime<Utc>,
    /// JSON texts.
    pub(super) records: Vec<String>,
    pub(super) is_foreign: bool,
    pub(super) withdrawn: Option<DateTime<Utc>>,
    /// How often it was listed and served until it was withdrawn; the tenant forgets.
    pub(super) seen_before_withdrawn: Option<(usize, usize)>,
}

impl Published {
    /// True if the settings leave a record of this content out, as [`LEAVE_OUT`] says.
    pub(super) fn leaves_out(&self, record: &Value) -> bool {
        match record["Operation"].as_str() {
            Some("FileAccessed") => self.content_type == "Audit.SharePoint",
            Some("MailItemsAccessed") => true,
            _ => false,
        }
    }
}

impl Feed {
    /// Publishes most of a generated tenant, and keeps the rest for the storm.
    pub(super) fn open(tenant: &Tenant, seed: u64, records: usize, foreign: String) -> Self {
        let now = tenant.now();
        let mut feed = Self { published: Vec::new(), kept_back: VecDeque::new(), foreign };
        for (at, blob) in generate::generate(seed, records, now).into_iter().enumerate() {
            if at % KEPT_BACK == 0 {
                feed.kept_back.push_back(blob);
            } else {
                let created = (now - (now - blob.created) * YOUNGER.0 / YOUNGER.1).trunc_subsecs(3);
                feed.add(tenant, NewBlob { created, ..blob }, false);
            }
        }
        // In no order, or the storm would bring one content type after the other.
        let (mut kept, count) = (Vec::from(std::mem::take(&mut feed.kept_back)), feed.published.len().max(1));
        kept.sort_by_key(|blob| blob.created.timestamp_millis().wrapping_mul(2_654_435_761).rem_euclid(count as i64 * 7919));
        feed.kept_back = kept.into();
        feed
    }

    /// Publishes some of what was kept back; nothing when it has run out.
    pub(super) fn publish(&mut self, tenant: &Tenant, blobs: usize, kind: PlannedContent) {
        for _ in 0..blobs {
            let Some(blob) = self.kept_back.pop_front() else { return };
            let now = tenant.now().trunc_subsecs(3);
            let blob = match kind {
                PlannedContent::Fresh => NewBlob { created: now, ..blob },
                PlannedContent::Late(minutes) => {
                    let created = now - TimeDelta::minutes(i64::try_from(minutes).unwrap_or(0));
                    NewBlob { created, visible_from: Some(now), ..blob }
                }
                PlannedContent::Expiring(seconds) => {
                    let expires = now + TimeDelta::seconds(i64::try_from(seconds).unwrap_or(0));
                    NewBlob { created: now, expires: Some(expires), ..blob }
                }
                PlannedContent::Foreign => NewBlob { created: now, uri: Some(format!("{}{}", self.foreign, self.published.len())), ..blob },
            };
            self.add(tenant, blob, kind == PlannedContent::Foreign);
        }
    }

    /// Takes the newest content blob away.
    pub(super) fn withdraw(&mut self, tenant: &Tenant) {
        let Some(newest) = self.published.last_mut().filter(|newest| newest.withdrawn.is_none()) else { return };
        let seen = tenant.blobs().into_iter().find(|blob| blob.id == newest.id);
        if tenant.withdraw(&newest.id) {
            newest.withdrawn = Some(tenant.now());
            newest.seen_before_withdrawn = seen.map(|blob| (blob.listed, blob.fetched));
        }
    }

    fn add(&mut self, tenant: &Tenant, blob: NewBlob, is_foreign: bool) {
        let Body::Records(records) = &blob.body else { return };
        let published = Published {
            id: String::new(),
            content_type: blob.content_type.clone(),
            created: blob.created,
            available: blob.visible_from.unwrap_or(blob.created),
            expires: blob.expires.unwrap_or(blob.created + TimeDelta::days(7)),
            records: records.clone(),
            is_foreign,
            withdrawn: None,
            seen_before_withdrawn: None,
        };
        self.published.push(Published { id: tenant.publish(blob), ..published });
    }
}
