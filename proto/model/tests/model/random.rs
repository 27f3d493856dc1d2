//! Numbers that look random and are the same every time.

/// A linear congruential generator (Knuth's MMIX constants).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n.max(1)
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// How many rounds a test of chance goes: `SKYNET_FUZZ_ROUNDS`, or what is enough for every day.
pub(crate) fn rounds(default: usize) -> usize {
    let wanted = std::env::var("SKYNET_FUZZ_ROUNDS").ok();
    wanted.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("SKYNET_FUZZ_ROUNDS={text} is not a number")))
}
