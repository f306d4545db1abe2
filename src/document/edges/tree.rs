//! The names that some row asks for, as a tree along which each record is walked once.

/// A place in the tree.
pub(super) type Place = u16;
/// No row asks for anything there.
pub(super) const NOWHERE: Place = Place::MAX;
/// The record itself.
pub(super) const ROOT: Place = 0;

/// Names by place. A list, a list of names and values, and JSON that stands in a text are no places of their own:
/// what is in them is found as if it stood there.
#[derive(Debug)]
pub(super) struct Tree {
    /// Every name by a number of it and its place; free ones have no child.
    slots: Vec<Slot>,
    /// Bits of a number of 32 that are too many for a slot.
    shift: u32,
    /// For each place, whether something is below it.
    has_children: Vec<bool>,
}

/// A name below a place.
#[derive(Clone, Debug)]
struct Slot {
    parent: Place,
    child: Place,
    name: Box<str>,
}

impl Default for Slot {
    fn default() -> Self {
        Self { parent: NOWHERE, child: NOWHERE, name: "".into() }
    }
}

/// Slots of a new tree; a power of two. Doubled before half of them are taken.
const SLOTS: usize = 1024;

impl Tree {
    pub(super) fn new() -> Self {
        Self { slots: vec![Slot::default(); SLOTS], shift: 32 - SLOTS.ilog2(), has_children: vec![false] }
    }

    /// The place of a path; made if it is not there. None where the tree is full.
    pub(super) fn plant<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Option<Place> {
        let mut place = ROOT;
        for name in names {
            let known = self.child(place, name);
            place = if known == NOWHERE { self.grow(place, name)? } else { known };
        }
        Some(place)
    }

    fn grow(&mut self, parent: Place, name: &str) -> Option<Place> {
        let child = Place::try_from(self.has_children.len()).ok().filter(|child| *child < NOWHERE)?;
        self.has_children.push(false);
        *self.has_children.get_mut(usize::from(parent))? = true;
        if self.has_children.len() * 2 > self.slots.len() {
            let slots = vec![Slot::default(); self.slots.len() * 2];
            self.shift -= 1;
            let old = std::mem::replace(&mut self.slots, slots);
            old.into_iter().filter(|slot| slot.child != NOWHERE).for_each(|slot| self.put(slot));
        }
        self.put(Slot { parent, child, name: name.into() });
        Some(child)
    }

    fn put(&mut self, slot: Slot) {
        let mut at = self.start(slot.parent, &slot.name);
        while self.slots[at].child != NOWHERE {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = slot;
    }

    /// The place of a name below a place, in whatever letter case.
    pub(super) fn child(&self, place: Place, name: &str) -> Place {
        if place == NOWHERE {
            return NOWHERE;
        }
        let mut at = self.start(place, name);
        loop {
            let slot = &self.slots[at];
            if slot.child == NOWHERE || (slot.parent == place && (*slot.name == *name || slot.name.eq_ignore_ascii_case(name))) {
                return slot.child;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    pub(super) fn has_children(&self, place: Place) -> bool {
        self.has_children.get(usize::from(place)).copied().unwrap_or(false)
    }

    pub(super) fn len(&self) -> usize {
        self.has_children.len()
    }

    /// Where the search for a name begins: by its length, three of its letters and its place.
    fn start(&self, place: Place, name: &str) -> usize {
        let bytes = name.as_bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return 0 };
        let middle = bytes[bytes.len() / 2];
        let letters = u32::from_le_bytes([*first, middle, *last, 0]) | 0x0020_2020;
        let number = letters ^ ((bytes.len() as u32) << 24) ^ (u32::from(place) << 13);
        // The upper bits of the product depend on all of the number's.
        (number.wrapping_mul(0x9E37_79B1) >> self.shift) as usize
    }
}
