//! Ids of incidents: short, unique within a journal's life, and without randomness.
//!
//! Numbers in turn are spread over six hex digits by a multiplication that can be undone, so that the next number is
//! read back from the journal's last id. The first number comes from the time of the first incident: a new journal
//! does not give out the ids of an older one, whose commands are still in agents' ledgers.

use skynet_model::name::IncidentId;
use skynet_model::time::Timestamp;

const MASK: u32 = 0x00ff_ffff;
const SPREAD: u32 = 0x009e_3779;

/// The number that undoes [`SPREAD`] modulo 2^24, by Newton's iteration.
const UNDO: u32 = {
    let mut inverse: u32 = 1;
    let mut i = 0;
    while i < 6 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(SPREAD.wrapping_mul(inverse)));
        i += 1;
    }
    inverse & MASK
};

/// Six hex digits of a number.
pub(crate) fn short(number: u32) -> String {
    format!("{:06x}", number.wrapping_mul(SPREAD) & MASK)
}

/// The id of a number.
pub(crate) fn id(number: u32) -> IncidentId {
    IncidentId::new(&format!("i-{}", short(number))).unwrap_or_else(|_| unreachable!("hex digits are a name"))
}

/// The number after the one an id was made of.
pub(crate) fn after(id: &IncidentId) -> Option<u32> {
    let spread = u32::from_str_radix(id.as_str().strip_prefix("i-")?, 16).ok()?;
    Some(spread.wrapping_mul(UNDO).wrapping_add(1) & MASK)
}

/// The first number of a journal.
pub(crate) fn first(now: Timestamp) -> u32 {
    let mixed = now.0.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as u32 & MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_number_is_read_back_from_an_id() {
        for number in [0, 1, 2, 77_777, MASK - 1] {
            assert_eq!(after(&id(number)), Some(number + 1));
        }
        assert_eq!(after(&id(MASK)), Some(0));
        assert_eq!(after(&IncidentId::new("x").unwrap()), None);
    }

    #[test]
    fn ids_in_turn_differ() {
        let ids: std::collections::BTreeSet<_> = (first(Timestamp(5))..).take(10_000).map(id).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
