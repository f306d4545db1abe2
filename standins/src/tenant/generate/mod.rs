//! Content made from a seed. What lives here is how many records of what kind there are, and which are repeated; who is
//! in the tenant is in `organisation`, what they did in `records`, and what was done to them in `story`. The same seed, count and time make the same content.

mod organisation;
mod records;
mod story;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::organisation::Organisation;
use super::pack::{self, ContentTally, Slot};
use super::{NewBlob, Tenant};

/// How many of a hundred records are of which content type.
const SHARES: [(&str, usize); 5] =
    [("Audit.AzureActiveDirectory", 20), ("Audit.Exchange", 42), ("Audit.SharePoint", 26), ("Audit.General", 9), ("DLP.All", 3)];

/// Among fewer records an attack would be all there is.
const ROOM_FOR_A_STORY: usize = 2_000;

/// Publishes `count` records made from a seed, and returns what they come to, by content type.
pub fn publish(tenant: &Tenant, seed: u64, count: usize) -> BTreeMap<String, ContentTally> {
    pack::publish(tenant, generate(seed, count, tenant.now()))
}

/// `count` records in blobs that became available in the six and a half days before `now`. About 3 % repeat another
/// record: two thirds of these in another blob, the rest as a rule in the same.
pub fn generate(seed: u64, count: usize, now: DateTime<Utc>) -> Vec<NewBlob> {
    made(seed, count, now, count >= ROOM_FOR_A_STORY)
}

/// The same without the attack: nothing but normal life.
pub fn generate_calm(seed: u64, count: usize, now: DateTime<Utc>) -> Vec<NewBlob> {
    made(seed, count, now, false)
}

fn made(seed: u64, count: usize, now: DateTime<Utc>, has_story: bool) -> Vec<NewBlob> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let tenant = Organisation::new(&mut rng);
    let mut blobs = Vec::new();
    let (mut share, mut done) = (0, 0);
    for (content_type, hundredths) in SHARES {
        share += hundredths;
        // Counting up to the share's end leaves no record over from rounding.
        let records = count * share / 100 - done;
        done += records;
        fill(&tenant, content_type, pack::plan(records, now, &mut rng), &mut blobs, &mut rng);
    }
    if has_story {
        story::tell(&tenant, now, &mut blobs, &mut rng);
    }
    blobs
}

/// Fills the blobs of one content type with what happened in the hours before each, in no order.
fn fill(tenant: &Organisation, content_type: &str, slots: Vec<Slot>, blobs: &mut Vec<NewBlob>, rng: &mut ChaCha8Rng) {
    let mut earlier: Vec<String> = Vec::new();
    for Slot { created, records } in slots {
        let mut texts: Vec<String> = Vec::with_capacity(records);
        while texts.len() < records {
            let source = if rng.random_ratio(1, 3) { &texts } else { &earlier };
            let text = match source.choose(rng) {
                Some(again) if rng.random_ratio(3, 100) => again.clone(),
                _ => {
                    let at = created - TimeDelta::seconds(rng.random_range(300..10_800));
                    tenant.event(content_type, at, rng).to_string()
                }
            };
            texts.push(text);
        }
        // Enough to choose from, and no second copy of everything.
        if earlier.len() < 1000 {
            earlier.extend_from_slice(&texts);
        }
        blobs.push(NewBlob::new(content_type, created, texts));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::tenant::Body;

    fn texts(blobs: &[NewBlob]) -> Vec<&str> {
        blobs
            .iter()
            .flat_map(|blob| match &blob.body {
                Body::Records(texts) => texts.iter().map(String::as_str).collect(),
                _ => Vec::new(),
            })
            .collect()
    }

    #[test]
    fn a_seed_makes_the_same_tenant_again_and_another_seed_another() {
        let now = Utc::now();
        let (one, same, other) = (generate(1, 300, now), generate(1, 300, now), generate(2, 300, now));
        assert_eq!(texts(&one), texts(&same));
        assert_ne!(texts(&one), texts(&other));
    }

    #[test]
    fn records_fill_all_five_content_types_with_a_few_repeats() {
        let blobs = generate(3, 5000, Utc::now());
        let tallies = pack::tally(&blobs);
        assert_eq!(tallies.len(), 5);
        let records: usize = tallies.values().map(|tally| tally.records).sum();
        let ids: usize = tallies.values().map(|tally| tally.ids).sum();
        assert_eq!(records, 5000);
        assert!((100..200).contains(&(records - ids)), "{} repeats", records - ids);

        let bytes: usize = texts(&blobs).iter().map(|text| text.len()).sum();
        assert!((1200..1600).contains(&(bytes / records)), "{} bytes a record", bytes / records);
    }

    #[test]
    fn records_are_formed_as_the_schema_says_and_precede_their_blobs() {
        for blob in generate(4, 2000, Utc::now()) {
            let Body::Records(texts) = &blob.body else {
                continue;
            };
            for text in texts {
                let record: Value = serde_json::from_str(text).unwrap();
                let created = record["CreationTime"].as_str().unwrap();
                let created = chrono::NaiveDateTime::parse_from_str(created, "%Y-%m-%dT%H:%M:%S").unwrap().and_utc();
                assert!(created < blob.created);
                assert!(record["Id"].as_str().unwrap().parse::<Uuid>().is_ok());
                assert!(record["RecordType"].is_u64() && record["UserType"].is_u64());
                for name in ["Operation", "OrganizationId", "UserKey", "UserId", "Workload"] {
                    assert!(record[name].is_string(), "{name} of {text}");
                }
            }
        }
    }

    #[test]
    fn one_attack_is_among_them_and_takes_nothing_from_their_number() {
        let records: Vec<Value> = texts(&generate(5, 5000, Utc::now())).iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        assert_eq!(records.len(), 5000);
        let from =
            |address: &str| records.iter().filter(|record| record["ClientIP"].as_str().is_some_and(|ip| ip.starts_with(address))).count();
        // Two dozen accounts tried, two ways in, and three cmdlets from there; what was taken, from elsewhere.
        assert_eq!((from("198.18.7.66"), from("198.18.91.4")), (29, 68));
        let led_out = |name: &str| records.iter().filter(|record| record["Parameters"].to_string().contains(name)).count();
        assert_eq!(led_out("collector@mailbox.example"), 2);
        let few = generate(5, 1000, Utc::now());
        assert!(!texts(&few).iter().any(|text| text.contains("198.18.")));
    }
}
