//! Collects the vectors of a vocabulary's words.

use crate::text::Vocabulary;
use crate::text::vocabulary::FIRST_WORD;

/// Word vectors for a vocabulary, and how much of it they cover.
#[derive(Clone, Debug, PartialEq)]
pub struct WordVectors {
    /// The vector of each id, row-major [V, E].
    pub values: Vec<f32>,
    /// The numbers in a vector, E.
    pub size: usize,
    /// Whether the file has the word of each id (V of them); never for the special ids.
    pub found: Vec<bool>,
    /// The words of the file that are no UTF-8 and were left out.
    pub skipped: u64,
}

/// Takes the vectors that the vocabulary needs.
pub(super) struct VectorCollector<'a> {
    vocabulary: &'a Vocabulary,
    pub(super) vectors: WordVectors,
}

impl<'a> VectorCollector<'a> {
    pub(super) fn new(vocabulary: &'a Vocabulary, size: usize) -> Self {
        let found = vec![false; vocabulary.len()];
        Self { vocabulary, vectors: WordVectors { values: Vec::new(), size, found, skipped: 0 } }
    }

    /// The numbers in a vector.
    pub(super) fn size(&self) -> usize {
        self.vectors.size
    }

    /// The id of a word whose vector is still wanted.
    pub(super) fn wanted(&mut self, word: &[u8]) -> Option<usize> {
        let Ok(word) = std::str::from_utf8(word) else {
            self.vectors.skipped += 1;
            return None;
        };
        let id = self.vocabulary.id(word);
        (id >= FIRST_WORD && !self.vectors.found[id as usize]).then_some(id as usize)
    }

    /// Takes the vector [E] of `id`, where all its numbers are good.
    pub(super) fn take(
        &mut self,
        id: usize,
        numbers: impl Iterator<Item = Result<f32, String>>,
    ) -> Result<(), String> {
        let size = self.size();
        if self.vectors.values.is_empty() {
            self.vectors.values = zeros(self.vocabulary.len(), size)?;
        }
        let row = &mut self.vectors.values[id * size..][..size];
        for (index, (value, number)) in row.iter_mut().zip(numbers).enumerate() {
            *value = number.and_then(finite).map_err(|found| {
                format!("expected number {} to be a finite one, found {found}", index + 1)
            })?;
        }
        self.vectors.found[id] = true;
        Ok(())
    }
}

fn finite(number: f32) -> Result<f32, String> {
    if number.is_finite() { Ok(number) } else { Err(number.to_string()) }
}

/// Zeros [rows, size].
fn zeros(rows: usize, size: usize) -> Result<Vec<f32>, String> {
    let mut values = Vec::new();
    let room = rows.checked_mul(size).and_then(|all| values.try_reserve_exact(all).ok());
    room.ok_or_else(|| format!("no memory for {rows} word vectors of {size} numbers"))?;
    values.resize(rows * size, 0.0);
    Ok(values)
}

/// What a file of another dimension is told.
pub(super) fn wrong_dimension(found: impl std::fmt::Display, size: usize) -> String {
    format!(
        "the word vectors have {found} numbers, but embedding.size is {size}; \
         set it to {found} or name another file"
    )
}
