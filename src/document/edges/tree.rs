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

/// Slots of a new tree; a power of two. Doubled before half of them are taken.
const SLOTS: usize = 1024;

impl Tree {
    pub(super) fn new() -> Self {
        Self { slots: vec![Slot { parent: NOWHERE, child: NOWHERE, name: "".into() }; SLOTS], has_children: vec![false] }
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
            let slots = vec![Slot { parent: NOWHERE, child: NOWHERE, name: "".into() }; self.slots.len() * 2];
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

    /// Where the search for a name begins: by its length, two of its letters and its place.
    fn start(&self, place: Place, name: &str) -> usize {
        let bytes = name.as_bytes();
        let letter = |at: usize| usize::from(bytes.get(at).map_or(0, |byte| byte.to_ascii_lowercase()));
        let number = letter(0) ^ (letter(bytes.len().wrapping_sub(3)) << 5) ^ (bytes.len() << 7) ^ (usize::from(place) * 0x9E5);
        number & (self.slots.len() - 1)
    }
}
