//! Distinct ids of batches: the rows of embeddings and of n-grams that have gradients.

use tch::{Device, Tensor};

use crate::batch::to_device;
use lstmtext::config::PadSide;
use lstmtext::text::{Corpus, PAD};

/// Distinct ids of some texts of an input, sorted.
pub struct DistinctIds {
    /// In the memory of the device, int64.
    pub ids: Tensor,
    /// In the memory of the host.
    pub host_ids: Vec<i64>,
}

impl DistinctIds {
    pub fn new(host_ids: Vec<i64>, device: Device) -> Self {
        Self { ids: to_device(&host_ids, device), host_ids }
    }

    /// Returns the ids of both.
    pub fn union(&self, other: Option<&Self>, device: Device) -> Self {
        match other {
            None => Self { ids: self.ids.shallow_clone(), host_ids: self.host_ids.clone() },
            Some(other) => Self::new(sorted_union(&self.host_ids, &other.host_ids), device),
        }
    }
}

/// Returns the distinct ids of some texts and their padding in front, sorted.
pub fn distinct_ids(corpus: &Corpus, examples: &[u32]) -> Vec<i64> {
    let mut ids: Vec<u32> =
        examples.iter().flat_map(|example| corpus.text(*example as usize)).copied().collect();
    if corpus.pad() == PadSide::Front {
        ids.push(PAD);
    }
    sorted(ids)
}

/// Returns the different numbers of a list, sorted.
pub fn sorted(mut numbers: Vec<u32>) -> Vec<i64> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers.into_iter().map(i64::from).collect()
}

/// Returns the numbers that are in either of two lists, sorted.
pub fn sorted_union(first: &[i64], second: &[i64]) -> Vec<i64> {
    let mut union = [first, second].concat();
    union.sort();
    union.dedup();
    union
}
