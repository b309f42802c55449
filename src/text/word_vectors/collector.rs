//! Collects the vectors of a vocabulary's words while a file is read.

use crate::text::normalization::composed;
use crate::text::vocabulary::FIRST_WORD;
use crate::text::{OOV, Vocabulary};

/// Word vectors for a vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct WordVectors {
    /// Vector of each id, row by row: [V, E].
    pub values: Vec<f32>,
    /// Dimension of a vector, E.
    pub size: usize,
    /// Marks the ids whose word is in the file: `[V]`. Always `false` for the special ids.
    pub found: Vec<bool>,
    /// Number of words in the file that were skipped because they are not valid UTF-8.
    pub skipped: u64,
}

/// Collects the vectors that a vocabulary needs.
pub(super) struct VectorCollector<'a> {
    vocabulary: &'a Vocabulary,
    pub(super) vectors: WordVectors,
}

impl<'a> VectorCollector<'a> {
    pub(super) fn new(vocabulary: &'a Vocabulary, size: usize) -> Self {
        let found = vec![false; vocabulary.len()];
        Self { vocabulary, vectors: WordVectors { values: Vec::new(), size, found, skipped: 0 } }
    }

    /// Dimension of a vector, E.
    pub(super) fn size(&self) -> usize {
        self.vectors.size
    }

    /// Returns the id of a word if its vector is still missing.
    pub(super) fn missing_id(&mut self, word: &[u8]) -> Option<usize> {
        let Ok(word) = std::str::from_utf8(word) else {
            self.vectors.skipped += 1;
            return None;
        };
        let id = match self.vocabulary.id(word) {
            OOV => self.vocabulary.id(&composed(word)),
            id => id,
        };
        (id >= FIRST_WORD && !self.vectors.found[id as usize]).then_some(id as usize)
    }

    /// Stores the vector of `id`, if all its values `[E]` are finite. An invalid value is given as it
    /// is in the file.
    pub(super) fn insert(
        &mut self,
        id: usize,
        values: impl Iterator<Item = Result<f32, String>>,
    ) -> Result<(), String> {
        let size = self.size();
        if self.vectors.values.is_empty() {
            self.vectors.values = zeros(self.vocabulary.len(), size)?;
        }
        let row = &mut self.vectors.values[id * size..][..size];
        for (index, (target, value)) in row.iter_mut().zip(values).enumerate() {
            *target = value
                .and_then(finite)
                .map_err(|value| format!("value {} is not a finite number: {value}", index + 1))?;
        }
        self.vectors.found[id] = true;
        Ok(())
    }
}

fn finite(value: f32) -> Result<f32, String> {
    if value.is_finite() { Ok(value) } else { Err(value.to_string()) }
}

/// Allocates zeros: [rows, size].
fn zeros(rows: usize, size: usize) -> Result<Vec<f32>, String> {
    let mut values = Vec::new();
    let reserved = rows.checked_mul(size).and_then(|all| values.try_reserve_exact(all).ok());
    reserved.ok_or_else(|| format!("out of memory for {rows} word vectors of dimension {size}"))?;
    values.resize(rows * size, 0.0);
    Ok(values)
}

/// Returns the error message for a file with vectors of another dimension.
pub(super) fn wrong_dimension(dimension: impl std::fmt::Display, size: usize) -> String {
    format!(
        "the word vectors have dimension {dimension}, but embedding.size is {size}; set \
         embedding.size to {dimension} or use another file"
    )
}
