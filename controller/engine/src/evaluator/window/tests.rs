use super::*;

/// Knuth's MMIX generator: the same course for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

const ALL: [Window; 7] =
    [Window::Avg, Window::Min, Window::Max, Window::Sum, Window::Rate, Window::Delta, Window::Forecast];

fn key(function: Window, span: Span) -> Key {
    Key { function, span, ahead: Span(if function == Window::Forecast { 2 * span.0 } else { 0 }) }
}

/// What a window says of these samples, as its help has it.
fn naive(key: Key, samples: &[(i64, f64)]) -> f64 {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return f64::NAN };
    let share = if key.function == Window::Forecast { 4 } else { 10 };
    if samples.len() < 5 || last.0 - first.0 < key.span.0 / share {
        return f64::NAN;
    }
    let values = || samples.iter().map(|(_, v)| *v);
    let n = samples.len() as f64;
    match key.function {
        Window::Sum => values().sum(),
        Window::Avg => values().sum::<f64>() / n,
        Window::Min => values().fold(f64::INFINITY, f64::min),
        Window::Max => values().fold(f64::NEG_INFINITY, f64::max),
        Window::Delta => last.1 - first.1,
        Window::Rate => {
            let rise = samples.windows(2).map(|p| if p[1].1 < p[0].1 { p[1].1 } else { p[1].1 - p[0].1 });
            rise.sum::<f64>() / ((last.0 - first.0) as f64 / 1000.0)
        }
        Window::Forecast => {
            let seconds = |time: i64| (time - first.0) as f64 / 1000.0;
            let mean_t = samples.iter().map(|(t, _)| seconds(*t)).sum::<f64>() / n;
            let mean_v = values().sum::<f64>() / n;
            let (mut covariance, mut variance) = (0.0, 0.0);
            for (time, value) in samples {
                covariance += (seconds(*time) - mean_t) * (value - mean_v);
                variance += (seconds(*time) - mean_t).powi(2);
            }
            mean_v + covariance / variance * (seconds(last.0 + key.ahead.0) - mean_t)
        }
    }
}

fn close(a: f64, b: f64, scale: f64) -> bool {
    (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * scale
}

#[test]
fn every_function_says_what_a_plain_reckoning_says() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        for function in ALL {
            // Buckets of 120 ms; samples are farther apart, so that each has its own.
            let key = key(function, Span::seconds(62));
            let (mut window, mut samples) = (Lookback::new(key), Vec::new());
            let (mut time, mut value) = (1_700_000_000_000_i64, 0.0);
            let mut answers = 0;
            for _ in 0..400 {
                time += match dice.roll(40) {
                    0 => 70_000,
                    1..=3 => 15_000,
                    _ => 200 + dice.roll(3000) as i64,
                };
                value = match (function, dice.roll(15)) {
                    (Window::Rate, 0) => dice.roll(3) as f64,
                    (Window::Rate, _) => value + dice.roll(50) as f64,
                    (_, 0) => 0.0,
                    _ => dice.roll(2_000_000) as f64 / 1000.0 - 1000.0,
                };
                window.push(time, value);
                samples.push((time, value));
                samples.retain(|(t, _)| *t >= time - key.span.0);
                let expected = naive(key, &samples);
                answers += u32::from(!expected.is_nan());
                let found = window.value();
                assert!(
                    close(found, expected, 1e4),
                    "seed {seed}, {function:?}: {found} for {expected} of {samples:?}"
                );
            }
            assert!(answers > 100, "{function:?} hardly ever answers");
        }
    }
}

#[test]
fn nothing_is_left_of_what_has_left() {
    let mut window = Lookback::new(key(Window::Sum, Span::seconds(10)));
    for second in 0..1000 {
        let value = if second % 100 < 50 { 1e15 / f64::from(second + 3) } else { 0.0 };
        window.push(i64::from(second) * 1000, value);
        if second % 100 > 61 {
            assert!(window.value() == 0.0, "{second}: {}", window.value());
        }
    }
}

#[test]
fn many_samples_take_few_buckets_and_are_all_counted() {
    for function in ALL {
        let key = key(function, Span::hours(1));
        let mut window = Lookback::new(key);
        let mut samples = Vec::new();
        for n in 0..60_000_i64 {
            let (time, value) = (n * 100, if function == Window::Rate { n } else { n * 7919 % 1000 } as f64);
            window.push(time, value);
            samples.push((time, value));
            assert!(window.buckets() as i64 <= BUCKETS + 2, "{}", window.buckets());
        }
        // A bucket leaves when all of it has: up to a bucket's length more than the window is held.
        let (oldest, newest) = window.ends().unwrap();
        let more = newest - key.span.0 - oldest;
        assert!((0..=key.width()).contains(&more), "{function:?}: {more} ms more");
        samples.retain(|(t, _)| *t >= oldest);
        let (found, expected) = (window.value(), naive(key, &samples));
        assert!(close(found, expected, expected.abs() + 1e4), "{function:?}: {found} for {expected}");
    }
}

#[test]
fn it_answers_from_five_samples_over_a_tenth_on() {
    for function in ALL {
        let key = key(function, Span::seconds(100));
        let least = if function == Window::Forecast { 25_000 } else { 10_000 };
        let mut window = Lookback::new(key);
        for n in 0..4 {
            window.push(n * 10_000, 1.0);
            assert!(window.value().is_nan(), "{function:?}: {n}");
        }
        window.push(40_000, 1.0);
        assert!(!window.value().is_nan(), "{function:?}: the fifth");
        let mut window = Lookback::new(key);
        for n in 0..9 {
            window.push(n * 1000, 1.0);
        }
        window.push(least - 1, 1.0);
        assert!(window.value().is_nan(), "{function:?}: too little is covered");
        window.push(least, 1.0);
        assert!(!window.value().is_nan(), "{function:?}: enough is covered");
    }
}

#[test]
fn older_samples_are_put_before_the_newer_ones() {
    for seed in 0..20 {
        let mut dice = Dice(seed);
        for function in ALL {
            let key = key(function, Span::seconds(60));
            let samples: Vec<(i64, f64)> =
                (0..50).map(|n| (n * 1000 + dice.roll(500) as i64, dice.roll(1000) as f64)).collect();
            let cut = dice.roll(50) as usize;
            let (mut whole, mut older, mut window) = (Lookback::new(key), Lookback::new(key), Lookback::new(key));
            samples.iter().for_each(|(t, v)| whole.push(*t, *v));
            samples[..cut].iter().for_each(|(t, v)| older.add(*t, *v));
            samples[cut..].iter().for_each(|(t, v)| window.push(*t, *v));
            window.prepend(older);
            assert!(close(window.value(), whole.value(), 1e4), "{function:?}");
            for n in 50..120 {
                let (time, value) = (n * 1000, dice.roll(1000) as f64);
                whole.push(time, value);
                window.push(time, value);
                assert!(close(window.value(), whole.value(), 1e4), "{function:?} at {n}");
            }
        }
    }
}

#[test]
fn older_samples_come_too_late_for_a_window_that_is_full() {
    let key = key(Window::Sum, Span::seconds(10));
    let (mut window, mut older) = (Lookback::new(key), Lookback::new(key));
    (0..30).for_each(|n| window.push(100_000 + n * 1000, 1.0));
    (0..30).for_each(|n| older.add(50_000 + n * 1000, 5.0));
    let before = window.value();
    window.prepend(older.clone());
    assert_eq!((window.value(), window.ends().unwrap().0), (before, 119_000));
    // And what is not older at all is not taken.
    let mut young = Lookback::new(key);
    young.push(60_000, 1.0);
    young.prepend(older);
    assert_eq!(young.ends(), Some((60_000, 60_000)));
}

#[test]
fn a_clock_that_was_set_back_begins_anew() {
    let mut window = Lookback::new(key(Window::Max, Span::seconds(10)));
    (0..20).for_each(|n| window.push(1_000_000 + n * 1000, 9.0));
    window.push(1_018_500, 9.0);
    assert_eq!(window.value(), 9.0, "half a second is jitter");
    window.push(500_000, 1.0);
    assert!(window.value().is_nan());
    (1..5).for_each(|n| window.push(500_000 + n * 1000, 1.0));
    assert_eq!(window.value(), 1.0);
}

#[test]
fn extremes_of_time_and_value_break_nothing() {
    for function in ALL {
        let mut window = Lookback::new(key(function, Span::hours(168)));
        for (time, value) in [(i64::MIN, f64::MAX), (0, f64::MIN), (i64::MAX - 1, f64::MAX), (i64::MAX, f64::MAX)] {
            window.push(time, value);
        }
        for _ in 0..10 {
            window.push(i64::MAX, f64::MAX);
        }
        let value = window.value();
        assert!(value.is_nan() || value.is_finite(), "{function:?}: {value}");
    }
}
