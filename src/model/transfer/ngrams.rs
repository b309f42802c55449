//! Rows of the same n-grams in two models.

use crate::text::NgramIndex;

/// Returns, for each row of `new`, the row of the same n-gram in `known`.
///
/// N-grams that were counted are found by their hashes. Those in buckets have no names: only as many buckets
/// can be matched, or counted n-grams that all had a bucket.
pub fn matching_rows(new: &NgramIndex, known: &NgramIndex) -> Vec<Option<usize>> {
    let sizes = &known.sizes().0;
    let were_read = new.sizes().0.iter().all(|size| sizes.contains(size));
    match (new.hashes(), known.hashes()) {
        (Some(hashes), Some(_)) => {
            hashes.iter().map(|hash| known.row(*hash).map(|row| row as usize)).collect()
        }
        (Some(hashes), None) if were_read => {
            hashes.iter().map(|hash| known.row(*hash).map(|row| row as usize)).collect()
        }
        (None, None) if new.len() == known.len() => (0..new.len()).map(Some).collect(),
        _ => vec![None; new.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, NgramsConfig};

    fn config(fields: &str) -> NgramsConfig {
        let yaml = format!("data: {{train: x}}\nmodel: {{ngrams: {{{fields}}}}}\n");
        config::parse(&yaml, "test", &[]).unwrap().config.model.ngrams
    }

    #[test]
    fn rows_are_matched_by_hash_or_bucket() {
        let counted = |sizes: &str, hashes: &[u64]| {
            NgramIndex::counted(&config(&format!("sizes: {sizes}")), hashes.to_vec())
        };
        let buckets = |sizes: &str, count: usize| {
            NgramIndex::buckets(&config(&format!("sizes: {sizes}, buckets: {count}"))).unwrap()
        };
        let new = counted("[1, 2]", &[13, 5]);
        assert_eq!(matching_rows(&new, &counted("[1]", &[5, 6])), [None, Some(0)]);
        assert_eq!(matching_rows(&new, &buckets("[1, 2]", 10)), [Some(3), Some(5)]);
        assert_eq!(matching_rows(&new, &buckets("[1]", 10)), [None, None], "pairs had no bucket");
        assert_eq!(matching_rows(&buckets("[1]", 2), &buckets("[1]", 2)), [Some(0), Some(1)]);
        assert_eq!(matching_rows(&buckets("[1]", 2), &buckets("[1]", 3)), [None, None]);
        assert_eq!(matching_rows(&buckets("[1]", 2), &new), [None, None]);
    }
}
