//! Packs content blobs into messages, and returns those that fit into none. Pure.

use super::{Item, MAX_TEXT, encode};

/// Items as they go on the queue.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    /// One entry a message.
    pub(crate) batches: Vec<Vec<Item>>,
    /// Items that no message can hold.
    pub(crate) too_long: Vec<Item>,
}

/// Soonest expiry first; at most `max_items` in a message, and [`MAX_TEXT`] bytes. The last short batch counts too.
pub(crate) fn pack(mut items: Vec<Item>, max_items: usize) -> Packed {
    items.sort_by_key(|item| item.expires);
    let mut packed = Packed::default();
    let (mut batch, mut text) = (Vec::new(), BRACKETS);
    for item in items {
        let length = encode(std::slice::from_ref(&item)).map_or(usize::MAX, |text| text.len() - BRACKETS);
        if length > MAX_TEXT - BRACKETS {
            packed.too_long.push(item);
            continue;
        }
        if batch.len() == max_items || text + length > MAX_TEXT {
            packed.batches.push(std::mem::take(&mut batch));
            text = BRACKETS;
        }
        text += length + COMMA;
        batch.push(item);
    }
    if !batch.is_empty() {
        packed.batches.push(batch);
    }
    packed
}

const BRACKETS: usize = 2;
const COMMA: usize = 1;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::workload::Workload;

    fn item(number: usize, length: usize) -> Item {
        Item {
            uri: format!("https://manage.office.com/{}{number}", "x".repeat(length)),
            workload: Some(Workload::Exchange),
            id: number.to_string(),
            created: None,
            expires: chrono::DateTime::from_timestamp(1_800_000_000 - number as i64, 0),
            attempt: 0,
            tenant: None,
        }
    }

    #[test]
    fn no_remainder_is_lost_whatever_the_count() {
        for (count, messages) in [(0, 0), (1, 1), (12, 1), (20, 1), (21, 2), (25, 2), (200, 10), (201, 11)] {
            let packed = pack((0..count).map(|number| item(number, 100)).collect(), 20);
            assert_eq!(packed.batches.len(), messages, "{count}");
            assert_eq!(packed.batches.iter().map(Vec::len).sum::<usize>(), count);
        }
    }

    #[test]
    fn what_expires_soonest_goes_first() {
        let packed = pack((0..3).map(|number| item(number, 10)).collect(), 2);
        let ids: Vec<_> = packed.batches.iter().flatten().map(|item| item.id.as_str()).collect();
        assert_eq!(ids, ["2", "1", "0"]);
    }

    proptest! {
        #[test]
        fn every_item_is_in_one_message_that_keeps_the_limits(lengths in proptest::collection::vec(0_usize..60_000, 0..60), most in 1_usize..30) {
            let count = lengths.len();
            let packed = pack(lengths.iter().enumerate().map(|(number, length)| item(number, *length)).collect(), most);
            let ids: HashSet<_> = packed.batches.iter().flatten().chain(&packed.too_long).map(|item| item.id.clone()).collect();
            prop_assert_eq!(ids.len(), count);
            prop_assert_eq!(packed.batches.iter().map(Vec::len).sum::<usize>() + packed.too_long.len(), count);
            for batch in &packed.batches {
                prop_assert!(!batch.is_empty() && batch.len() <= most);
                prop_assert!(encode(batch).unwrap().len() <= MAX_TEXT);
            }
            for item in &packed.too_long {
                prop_assert!(encode(std::slice::from_ref(item)).unwrap().len() > MAX_TEXT);
            }
        }
    }
}
