//! What most readings touch of a server's instances, in dense rows: slot values, how `when` stands, and which value places
//! a series fills. The rest of an instance is looked at only when its truth moves.

use std::collections::BTreeMap;

use skynet_model::condition::Truth;

/// No link, or no series' links.
pub(super) const NONE: u32 = u32::MAX;

/// The front of an instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) rule: u32,
    /// Its first value place; its slots follow.
    pub(super) at: u32,
    /// `when`.
    pub(super) when: Truth,
    /// Whether it waits in the list of those to be evaluated.
    pub(super) dirty: bool,
    /// Whether its truth may change without a reading: it is in the server's list of those.
    pub(super) loose: bool,
    /// Whether nothing but `when` has to be looked at: no incident lives, and nothing is held.
    pub(super) quiet: bool,
}

/// One value place that a series fills.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) instance: u32,
    pub(super) at: u32,
    pub(super) next: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Board {
    heads: Vec<Head>,
    values: Vec<f64>,
    /// Value places that are free, by how many lie together.
    free: BTreeMap<usize, Vec<u32>>,
    links: Vec<Link>,
    /// The first free link.
    unused: u32,
}

impl Default for Board {
    fn default() -> Self {
        Self { heads: Vec::new(), values: Vec::new(), free: BTreeMap::new(), links: Vec::new(), unused: NONE }
    }
}

impl Board {
    /// Makes room for a new instance; its values are unknown.
    pub(super) fn open(&mut self, instance: u32, rule: u32, slots: usize) {
        let at = match self.free.get_mut(&slots).and_then(Vec::pop) {
            Some(at) => {
                self.values[at as usize..at as usize + slots].fill(f64::NAN);
                at
            }
            None => {
                let at = self.values.len() as u32;
                self.values.resize(self.values.len() + slots, f64::NAN);
                at
            }
        };
        let head = Head { rule, at, when: Truth::Unknown, dirty: false, loose: false, quiet: false };
        let instance = instance as usize;
        if self.heads.len() <= instance {
            self.heads.resize(instance + 1, head);
        }
        self.heads[instance] = head;
    }

    /// Gives an instance's room back. Its links are gone already.
    pub(super) fn close(&mut self, instance: u32, slots: usize) {
        if let Some(head) = self.heads.get(instance as usize) {
            self.free.entry(slots).or_default().push(head.at);
        }
    }

    #[inline]
    pub(super) fn head(&self, instance: u32) -> Option<&Head> {
        self.heads.get(instance as usize)
    }

    #[inline]
    pub(super) fn head_mut(&mut self, instance: u32) -> Option<&mut Head> {
        self.heads.get_mut(instance as usize)
    }

    /// An instance's values.
    #[inline]
    pub(super) fn values(&self, instance: u32, slots: usize) -> &[f64] {
        let at = self.head(instance).map_or(0, |head| head.at as usize);
        self.values.get(at..at + slots).unwrap_or(&[])
    }

    /// Sets one of an instance's values.
    pub(super) fn set(&mut self, instance: u32, slot: usize, value: f64) {
        let at = self.head(instance).map(|head| head.at as usize + slot);
        if let Some(place) = at.and_then(|at| self.values.get_mut(at)) {
            *place = value;
        }
    }

    /// Lets a series, whose links begin at `first`, fill a slot.
    pub(super) fn link(&mut self, first: &mut u32, instance: u32, slot: usize) {
        let Some(head) = self.heads.get(instance as usize) else { return };
        let link = Link { instance, at: head.at + slot as u32, next: *first };
        let free = self.links.get(self.unused as usize).map(|link| link.next);
        *first = match free {
            Some(next) => {
                let place = std::mem::replace(&mut self.unused, next);
                self.links[place as usize] = link;
                place
            }
            None => {
                self.links.push(link);
                self.links.len() as u32 - 1
            }
        };
    }

    /// The link, and the next one's place in it.
    #[inline]
    pub(super) fn linked(&self, place: u32) -> Option<Link> {
        self.links.get(place as usize).copied()
    }

    /// Ends an instance's links in a series' list.
    pub(super) fn unlink(&mut self, first: &mut u32, instance: u32) {
        let (mut place, mut before) = (*first, NONE);
        while let Some(link) = self.linked(place) {
            if link.instance == instance {
                match self.links.get_mut(before as usize) {
                    Some(before) => before.next = link.next,
                    None => *first = link.next,
                }
                self.links[place as usize].next = std::mem::replace(&mut self.unused, place);
            } else {
                before = place;
            }
            place = link.next;
        }
    }

    /// Writes a value into every place that a series fills; instances that were clean are added to `dirty`.
    #[inline]
    pub(super) fn fill(&mut self, first: u32, value: f64, dirty: &mut Vec<u32>) {
        let mut place = first;
        while let Some(link) = self.linked(place) {
            place = link.next;
            if let Some(slot) = self.values.get_mut(link.at as usize) {
                *slot = value;
            }
            self.soil(link.instance, dirty);
        }
    }

    /// Adds an instance to `dirty`, unless it is there.
    #[inline]
    pub(super) fn soil(&mut self, instance: u32, dirty: &mut Vec<u32>) {
        if let Some(head) = self.heads.get_mut(instance as usize)
            && !head.dirty
        {
            head.dirty = true;
            dirty.push(instance);
        }
    }
}
