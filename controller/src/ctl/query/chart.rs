//! A line of text that shows a course.

const SIGNS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One sign for so much time, higher for greater values; a blank where there is nothing. At most `width` signs.
pub(super) fn sparkline(values: &[(i64, f64)], width: usize) -> String {
    let (Some((first, _)), Some((last, _))) = (values.first(), values.last()) else { return String::new() };
    let width = width.min(values.len()).max(1);
    let span = (last.saturating_sub(*first)).max(1) as f64;
    let mut columns = vec![(0.0, 0u32); width];
    for (time, value) in values {
        let share = time.saturating_sub(*first) as f64 / span;
        let column = ((share * width as f64) as usize).min(width - 1);
        columns[column].0 += value;
        columns[column].1 += 1;
    }
    let means = || columns.iter().filter(|(_, count)| *count > 0).map(|(sum, count)| sum / f64::from(*count));
    let (low, high) = (means().fold(f64::INFINITY, f64::min), means().fold(f64::NEG_INFINITY, f64::max));
    let sign = |(sum, count): &(f64, u32)| {
        if *count == 0 {
            return ' ';
        }
        let height = (sum / f64::from(*count) - low) / (high - low);
        // A course that stays is flat and low.
        let height = if height.is_finite() { height } else { 0.0 };
        SIGNS[((height * SIGNS.len() as f64) as usize).min(SIGNS.len() - 1)]
    };
    columns.iter().map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_is_drawn_with_its_gaps() {
        let rising: Vec<(i64, f64)> = (0..8).map(|i| (i * 10, i as f64)).collect();
        assert_eq!(sparkline(&rising, 60), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&rising, 4), "▁▃▆█");
        assert_eq!(sparkline(&[(0, 5.0), (10, 5.0)], 60), "▁▁");
        assert_eq!(sparkline(&[(0, 1.0), (1, 1.0), (2, 1.0), (30, 9.0)], 60), "▁  █");
        assert_eq!(sparkline(&[], 60), "");
        assert_eq!(sparkline(&[(0, f64::MAX), (1, f64::MIN)], 60).chars().count(), 2);
    }
}
