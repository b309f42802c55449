//! Histograms of tensors.

use crate::events::summaries::Bucket;

/// Number of buckets, the same as in TensorBoard's own summaries.
const BUCKETS: usize = 30;

/// Counts values in buckets of equal width between the smallest and the largest. Equal values are all in
/// the last bucket, as TensorBoard requires. Values that are not finite are skipped; if none remains, there
/// are no buckets.
pub fn buckets(values: &[f32]) -> Vec<Bucket> {
    let finite = || values.iter().filter(|value| value.is_finite()).map(|value| f64::from(*value));
    let (low, high) =
        finite().fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    if low > high {
        return Vec::new();
    }
    let width = (high - low) / BUCKETS as f64;
    let mut counts = [0_u64; BUCKETS];
    for value in finite() {
        let number = if width > 0.0 { ((value - low) / width) as usize } else { BUCKETS };
        counts[number.min(BUCKETS - 1)] += 1;
    }
    let edge = |number: usize| if number == BUCKETS { high } else { low + width * number as f64 };
    let bucket = |(number, count): (usize, &u64)| Bucket {
        left: edge(number),
        right: edge(number + 1),
        count: *count as f64,
    };
    counts.iter().enumerate().map(bucket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_value_is_in_one_bucket() {
        let mut values: Vec<f32> = (0..=300).map(|number| number as f32 / 10.0 - 5.0).collect();
        values.extend([f32::NAN, f32::INFINITY]);
        let buckets = buckets(&values);
        assert_eq!(buckets.len(), BUCKETS);
        assert_eq!((buckets[0].left, buckets[29].right), (-5.0, 25.0));
        assert!(buckets.windows(2).all(|pair| pair[0].right == pair[1].left));
        let counts: Vec<f64> = buckets.iter().map(|bucket| bucket.count).collect();
        assert_eq!(counts.iter().sum::<f64>(), 301.0);
        assert!(counts.iter().all(|count| (9.0..=11.0).contains(count)), "{counts:?}");
    }

    #[test]
    fn equal_values_are_in_the_last_bucket() {
        let buckets = buckets(&[0.5; 4]);
        assert_eq!(buckets[29], Bucket { left: 0.5, right: 0.5, count: 4.0 });
        assert!(buckets[..29].iter().all(|bucket| bucket.count == 0.0 && bucket.left == 0.5));
    }

    #[test]
    fn no_values_make_no_buckets() {
        assert!(buckets(&[]).is_empty() && buckets(&[f32::NAN]).is_empty());
    }
}
