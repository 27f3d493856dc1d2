//! Items with small stable numbers; numbers of removed items are used again.

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, item: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self.items[at as usize] = Some(item);
            return at;
        }
        self.items.push(Some(item));
        // Series and instances are capped far below 2^32.
        (self.items.len() - 1) as u32
    }

    pub(crate) fn remove(&mut self, at: u32) -> Option<T> {
        let item = self.items.get_mut(at as usize)?.take();
        if item.is_some() {
            self.free.push(at);
        }
        item
    }

    pub(crate) fn get(&self, at: u32) -> Option<&T> {
        self.items.get(at as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.items.get_mut(at as usize)?.as_mut()
    }

    /// Takes an item out for a moment: its number stays its own until [`Slab::put`].
    pub(crate) fn take(&mut self, at: u32) -> Option<T> {
        self.items.get_mut(at as usize)?.take()
    }

    /// Puts an item back where it was taken from.
    pub(crate) fn put(&mut self, at: u32, item: T) {
        if let Some(place) = self.items.get_mut(at as usize) {
            *place = Some(item);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.items.iter().enumerate().filter_map(|(i, item)| item.as_ref().map(|item| (i as u32, item)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.items.iter_mut().enumerate().filter_map(|(i, item)| item.as_mut().map(|item| (i as u32, item)))
    }

    /// All items, in order of their numbers.
    pub(crate) fn into_items(self) -> impl Iterator<Item = T> {
        self.items.into_iter().flatten()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }
}
