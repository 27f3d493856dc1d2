use super::*;

fn round_trip(values: &[f64]) -> usize {
    let packed = pack_values(values).unwrap();
    let back = unpack_values(&packed, values.len()).unwrap();
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(values));
    packed.len()
}

/// Numbers that look random and are the same each time.
fn noise(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

#[test]
fn values_come_back_bit_by_bit() {
    let mut noise = noise(1);
    let odd = [0.0, -0.0, 1.0, -0.5, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 0.1, 0.30000000000000004, 1e300, 5e-324];
    round_trip(&odd);
    for count in [1, 2, 3, 17, 360, MOST] {
        round_trip(&vec![-0.0; count]);
        round_trip(&(0..count).map(|i| odd[i % odd.len()]).collect::<Vec<_>>());
        round_trip(&(0..count).map(|i| (i as f64).sin()).collect::<Vec<_>>());
        round_trip(&(0..count).map(|_| f64::from_bits(noise(0x7ff0 << 48))).collect::<Vec<_>>());
        // Fractions with a few exceptions among them.
        let mixed = |i: usize| if i % 40 == 39 { (i as f64).sqrt() } else { noise(200) as f64 / 199.0 };
        round_trip(&(0..count).map(mixed).collect::<Vec<_>>());
    }
}

#[test]
fn shares_rates_and_counters_take_what_their_whole_numbers_take() {
    let mut noise = noise(2);
    let total = 16_323_457_024f64;
    let mut free = 8_000_000u64;
    let mut counter = 1u64 << 33;
    let mut shares = |_| noise(60) as f64 / (199 + noise(3)) as f64;
    let shares = (0..360).map(&mut shares).collect::<Vec<_>>();
    let memory = (0..360).map(|i: u64| {
        free = free + i * 7919 % 64 - 31;
        1.0 - (free * 1024) as f64 / total
    });
    let memory = memory.collect::<Vec<_>>();
    let rates = (0..360).map(|i: u64| (i * 104_729 % 50 * 1000) as f64 / (999 + i % 3) as f64).collect::<Vec<_>>();
    let counters = (0..360).map(|i: u64| {
        counter += i * 104_729 % 1000;
        counter as f64
    });
    let counters = counters.collect::<Vec<_>>();
    let sizes = (0..360).map(|i: u64| ((1 << 20) + i * 104_729 % 100) as f64 * 4096.0).collect::<Vec<_>>();
    for (name, values, most) in [
        ("share", shares, 500),
        ("memory", memory, 400),
        ("rate", rates, 1050),
        ("counter", counters, 520),
        ("size", sizes, 420),
    ] {
        let size = round_trip(&values);
        assert!(size < most, "{name}: {size}");
    }
}

#[test]
fn times_come_back_and_steady_ones_take_a_few_bytes() {
    let mut noise = noise(3);
    let start = 1_700_000_000_000i64;
    let steady: Vec<i64> = (0..360).map(|i| start + i * 10_000).collect();
    let packed = pack_times(&steady).unwrap();
    assert!(packed.len() < 12);
    assert_eq!(unpack_times(&packed, 360).unwrap(), steady);
    let mut jitter: Vec<i64> = (0..360).map(|i| start + i * 1000 + noise(4) as i64).collect();
    let packed = pack_times(&jitter).unwrap();
    assert!(packed.len() < 220, "{}", packed.len());
    assert_eq!(unpack_times(&packed, 360).unwrap(), jitter);
    jitter.extend([i64::MIN, i64::MAX, 0]);
    assert_eq!(unpack_times(&pack_times(&jitter).unwrap(), 363).unwrap(), jitter);
    assert_eq!(unpack_times(&pack_times(&[7]).unwrap(), 1).unwrap(), [7]);
}

#[test]
fn damaged_columns_are_none_or_other_numbers_and_never_a_panic() {
    let mut noise = noise(4);
    let columns = [
        (0..360).map(|i| f64::from(i) / 199.0).collect::<Vec<_>>(),
        (0..360).map(|i| f64::from(i).sqrt()).collect(),
        (0..360).map(|i| f64::from(i * i)).collect(),
    ];
    for values in columns {
        let packed = pack_values(&values).unwrap();
        for _ in 0..400 {
            let mut damaged = packed.clone();
            let at = noise(damaged.len() as u64) as usize;
            damaged[at] ^= 1 << noise(8);
            let _ = unpack_values(&damaged, values.len());
            let _ = unpack_values(&packed[..at], values.len());
        }
        assert!(unpack_values(&packed, 0).is_none() && unpack_values(&packed, MOST + 1).is_none());
    }
}
