//! Rows of labels: weights of the head for other labels, or for the same labels in another order.
//!
//! A head with one logit has the log-odds of the second of two labels. It is the difference of two logits:
//! half of it with either sign.

use crate::output::format::join_names;

/// Labels of two models, and the number of their logits.
pub struct LabelMap {
    /// Index of each new label among the known ones.
    known: Vec<Option<usize>>,
    names: Vec<String>,
    known_logits: usize,
    logits: usize,
    is_identical: bool,
}

/// Weight and value of an n-gram for a logit.
#[derive(Clone, Copy)]
struct Term {
    weight: f32,
    value: f32,
}

impl LabelMap {
    /// Matches labels by name.
    pub fn new(known: &[String], known_logits: usize, labels: &[String], logits: usize) -> Self {
        let index = |label: &String| known.iter().position(|other| other == label);
        Self {
            known: labels.iter().map(index).collect(),
            names: labels.to_vec(),
            known_logits,
            logits,
            is_identical: known == labels && known_logits == logits,
        }
    }

    /// Returns true if at least one logit can be computed with known weights. A single one needs both labels.
    pub fn matches(&self) -> bool {
        match (self.known_logits, self.logits) {
            (0, _) => false,
            (_, 1) => self.known.iter().all(Option::is_some),
            _ => self.known.iter().any(Option::is_some),
        }
    }

    /// Returns the row of each logit, of the same length as in `known`, [logits, …]. Rows of new labels are
    /// those of `initial`.
    pub fn rows(&self, known: &[f32], initial: &[f32]) -> Vec<f32> {
        if self.is_identical {
            return known.to_vec();
        }
        let size = initial.len() / self.logits;
        let row = |class: usize| -> Vec<f32> {
            match self.known_logits {
                1 => known.iter().map(|value| value * half_sign(class)).collect(),
                _ => known[class * size..][..size].to_vec(),
            }
        };
        match (self.logits, &self.known[..]) {
            (1, [Some(first), Some(second)]) => {
                let (first, second) = (row(*first), row(*second));
                second.iter().zip(first).map(|(second, first)| second - first).collect()
            }
            _ => {
                let initial = initial.chunks_exact(size);
                let rows = self.known.iter().zip(initial);
                let rows = rows.map(|(class, initial)| class.map_or(initial.to_vec(), row));
                rows.collect::<Vec<_>>().concat()
            }
        }
    }

    /// Replaces the weights and values, [V, logits], of n-grams. `rows` has the row of each n-gram in the
    /// known weights and values, if it has one. Without values, they are 1. Returns the number of n-grams
    /// that were replaced.
    pub fn ngram_rows(
        &self,
        rows: &[Option<usize>],
        (known_weights, known_values): (&[f32], Option<&[f32]>),
        (weights, mut values): (&mut [f32], Option<&mut [f32]>),
    ) -> usize {
        let mut matched = 0;
        for (ngram, row) in rows.iter().enumerate() {
            let Some(row) = row else { continue };
            matched += 1;
            let at = |logit: usize| row * self.known_logits + logit;
            let term = |logit: usize| Term {
                weight: known_weights[at(logit)],
                value: known_values.map_or(1.0, |values| values[at(logit)]),
            };
            for logit in 0..self.logits {
                let Some(Term { weight, value }) = self.term(logit, term) else { continue };
                let at = ngram * self.logits + logit;
                match &mut values {
                    Some(values) => (weights[at], values[at]) = (weight, value),
                    None => weights[at] = weight * value,
                }
            }
        }
        matched
    }

    /// Returns weight and value of an n-gram for a logit, so that their product is that of the known model.
    fn term(&self, logit: usize, known: impl Fn(usize) -> Term) -> Option<Term> {
        /// Smaller values are too close to 0 to be divided by.
        const MIN_VALUE: f32 = 1e-3;
        if self.is_identical {
            return Some(known(logit));
        }
        let of_class = |class: usize| match self.known_logits {
            1 => Term { value: known(0).value * half_sign(class), ..known(0) },
            _ => known(class),
        };
        if self.logits > 1 {
            return self.known[logit].map(of_class);
        }
        let [Some(first), Some(second)] = self.known[..] else { return None };
        let (first, second) = (of_class(first), of_class(second));
        let value = second.value - first.value;
        let product = second.weight * second.value - first.weight * first.value;
        Some(match value.abs() < MIN_VALUE {
            true => Term { weight: product, value: 1.0 },
            false => Term { weight: product / value, value },
        })
    }

    /// Describes the labels. `keeps_head` tells whether the head keeps the weights of known labels.
    pub fn describe(&self, keeps_head: bool) -> String {
        let named = |is_known: bool| -> Vec<String> {
            let names = self.names.iter().zip(&self.known);
            let names = names.filter(|(_, known)| known.is_some() == is_known);
            names.map(|(name, _)| name.clone()).collect()
        };
        let (known, new) = (named(true), named(false));
        let mut parts = Vec::new();
        if !known.is_empty() {
            parts.push(format!("{} known", join_names(&known)));
        }
        if !new.is_empty() {
            parts.push(format!("{} new", join_names(&new)));
        }
        let start = if keeps_head { "" } else { "; the head starts anew" };
        format!("labels: {}{start}", parts.join(", "))
    }
}

/// Factor of the only logit in the logit of one of two classes.
fn half_sign(class: usize) -> f32 {
    if class == 0 { -0.5 } else { 0.5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(known: &[&str], known_logits: usize, labels: &[&str], logits: usize) -> LabelMap {
        let owned =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        LabelMap::new(&owned(known), known_logits, &owned(labels), logits)
    }

    #[test]
    fn rows_follow_their_labels() {
        let known = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let moved = map(&["a", "b", "c"], 3, &["c", "new", "a"], 3);
        assert_eq!(moved.rows(&known, &[7.0; 6]), [5.0, 6.0, 7.0, 7.0, 1.0, 2.0]);
        let same = map(&["a", "b", "c"], 3, &["a", "b", "c"], 3);
        assert_eq!(same.rows(&known, &[7.0; 6]), known);
        assert_eq!(moved.describe(true), "labels: c, a known, new new");
    }

    #[test]
    fn one_logit_is_the_difference_of_two() {
        let known = [1.0, 2.0];
        assert_eq!(map(&["a", "b"], 1, &["b", "a"], 1).rows(&known, &[0.0; 2]), [-1.0, -2.0]);
        let three = map(&["a", "b"], 1, &["a", "b", "c"], 3);
        assert_eq!(three.rows(&known, &[9.0; 6]), [-0.5, -1.0, 0.5, 1.0, 9.0, 9.0]);
        let two = map(&["a", "b", "c"], 3, &["a", "c"], 1);
        assert_eq!(two.rows(&[1.0, 2.0, 0.0, 0.0, 5.0, 7.0], &[0.0; 2]), [4.0, 5.0]);
    }

    #[test]
    fn one_logit_needs_both_labels() {
        assert!(!map(&["a", "b"], 1, &["a", "z"], 1).matches());
        assert!(!map(&["a", "b"], 1, &["x", "y", "z"], 3).matches());
        assert!(map(&["a", "b"], 1, &["x", "y", "b"], 3).matches());
    }

    /// The contribution of an n-gram to the differences between logits stays the same.
    #[test]
    fn ngrams_keep_their_contributions() {
        let contribution = |map: &LabelMap, known: (&[f32], Option<&[f32]>), has_values: bool| {
            let (mut weights, mut values) = (vec![0.0; map.logits], vec![0.0; map.logits]);
            let values_or_none = has_values.then_some(&mut values[..]);
            assert_eq!(map.ngram_rows(&[Some(1)], known, (&mut weights, values_or_none)), 1);
            match has_values {
                true => weights.iter().zip(&values).map(|(weight, value)| weight * value).collect(),
                false => weights,
            }
        };
        let single: (&[f32], Option<&[f32]>) = (&[9.0, 0.5], Some(&[9.0, 4.0]));
        let three = map(&["a", "b"], 1, &["b", "c", "a"], 3);
        for has_values in [true, false] {
            assert_eq!(contribution(&three, single, has_values), [1.0, 0.0, -1.0]);
        }
        let several: (&[f32], Option<&[f32]>) =
            (&[9.0, 9.0, 0.5, 0.25], Some(&[9.0, 9.0, 2.0, 2.0]));
        let one = map(&["a", "b"], 2, &["a", "b"], 1);
        for has_values in [true, false] {
            assert_eq!(contribution(&one, several, has_values), [-0.5]);
        }
        assert_eq!(one.ngram_rows(&[None], several, (&mut [1.0], None)), 0);
    }
}
