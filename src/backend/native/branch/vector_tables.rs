//! Vectors of words: their own, and those of their character n-grams. Gradients belong in
//! [`subwords`](crate::backend::native::subwords).

use crate::backend::native::sharding::ShardTexts;
use crate::model::QuantizedTensor;

/// A table of vectors, one per row.
#[derive(Clone, Copy)]
pub enum EmbeddingRows<'a> {
    /// In single precision.
    Full(&'a [f32]),
    /// As 8-bit integers.
    Quantized(&'a QuantizedTensor),
}

impl EmbeddingRows<'_> {
    /// Number of rows of this size.
    fn len(self, size: usize) -> usize {
        match self {
            Self::Full(values) => values.len() / size,
            Self::Quantized(tensor) => tensor.scales.len(),
        }
    }

    /// Adds a row, multiplied by `factor`.
    fn add_row(self, row: u32, factor: f32, to: &mut [f32]) {
        let range = row as usize * to.len()..(row as usize + 1) * to.len();
        match self {
            Self::Full(values) => {
                to.iter_mut().zip(&values[range]).for_each(|(to, from)| *to += from * factor);
            }
            Self::Quantized(tensor) => {
                let scale = tensor.scales[row as usize] * factor;
                let values = to.iter_mut().zip(&tensor.values[range]);
                values.for_each(|(to, from)| *to += f32::from(*from) * scale);
            }
        }
    }

    /// Writes a row, multiplied by `factor`.
    fn copy_row(self, row: u32, factor: f32, to: &mut [f32]) {
        let range = row as usize * to.len()..(row as usize + 1) * to.len();
        match self {
            Self::Full(values) => {
                for (to, from) in to.iter_mut().zip(&values[range]) {
                    *to = from * factor;
                }
            }
            Self::Quantized(tensor) => {
                let scale = tensor.scales[row as usize];
                for (to, from) in to.iter_mut().zip(&tensor.values[range]) {
                    *to = f32::from(*from) * scale * factor;
                }
            }
        }
    }
}

/// Tables of which the vectors of the words of an input consist.
#[derive(Clone, Copy)]
pub struct VectorTables<'a> {
    /// Vectors of the words of the vocabulary, [V, E].
    pub own: EmbeddingRows<'a>,
    /// Vectors of the buckets of character n-grams, [buckets, E], if words have these.
    pub subwords: Option<EmbeddingRows<'a>>,
}

impl VectorTables<'_> {
    /// Writes the vector of the distinct word of `texts` at `index`, multiplied by `factor`: with character n-grams,
    /// the mean of its own vector, if it is in the vocabulary, and those of its n-grams.
    pub(super) fn copy_vector(self, texts: &ShardTexts, index: usize, factor: f32, to: &mut [f32]) {
        let word = texts.words[index];
        let (Some(subwords), Some(buckets)) = (self.subwords, &texts.buckets) else {
            return self.own.copy_row(word, factor, to);
        };
        let (buckets, is_known) = (buckets.get(index), (word as usize) < self.own.len(to.len()));
        let factor = factor / (buckets.len() + usize::from(is_known)) as f32;
        match is_known {
            true => self.own.copy_row(word, factor, to),
            false => to.fill(0.0),
        }
        buckets.iter().for_each(|bucket| subwords.add_row(*bucket, factor, to));
    }
}
