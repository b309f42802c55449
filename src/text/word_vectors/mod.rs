//! Pre-trained word vectors (word2vec, GloVe, fastText) for the words of a vocabulary. The embedding
//! layer that starts from them belongs to the backends.

mod collector;
mod lines;
mod npy;
mod plain;
mod subwords;

pub use collector::WordVectors;
pub use subwords::{read_subwords, split_off_subwords, subwords_path};

use std::path::Path;

use anyhow::{bail, ensure};

use collector::VectorCollector;

use super::vocabulary::FIRST_WORD;
use super::{PAD, START, Vocabulary};
use crate::io::input;
use crate::random::normal;

/// Reads the vectors of a vocabulary's words, in memory proportional to the vocabulary.
///
/// Supports two formats:
///
/// - Text as written by word2vec, GloVe and fastText (plain, .gz or .zst): each line is a word and E
///   numbers, separated by single spaces. The last E fields are the numbers; the word is everything
///   before them, since words in GloVe 840B contain spaces. A first line of two integers is a header:
///   the number of words and the dimension. If `size` is 1, such a line can also be the vector of a
///   number, and counts as a header only if the second integer is 1.
/// - `FILE.npy`, a matrix [words, E] of little-endian f4 or f8 in C order, with the words in
///   `FILE.txt` (or .txt.gz, .txt.zst) in the same directory, one per line.
///
/// Words are looked up literally, then composed (NFC). If a word occurs twice, its first vector is
/// used. Vectors of words that are not in the file, and of the special ids, are drawn from a normal
/// distribution with the mean and variance of the vectors found, separately for each dimension. PAD is
/// zero. Only the values of the vectors that are used must be finite.
///
/// # Errors
/// Returns an error if the file cannot be read, has an unsupported format or a broken line, has
/// vectors of another dimension than `size`, or contains no word of the vocabulary.
pub fn read_vectors(
    path: &Path,
    vocabulary: &Vocabulary,
    size: usize,
    seed: u64,
) -> anyhow::Result<WordVectors> {
    ensure!(size > 0, "embedding.size is 0, but word vectors have at least dimension 1");
    let mut collector = VectorCollector::new(vocabulary, size);
    match input::inner_extension(path).as_deref() {
        Some("npy") => npy::read(path, &mut collector)?,
        Some("bin") => bail!(
            "\"{}\" is a binary file of word2vec or fastText; use the text format (.vec or .txt)",
            path.display()
        ),
        Some("zip") => bail!("\"{}\" is an archive; unpack it first", path.display()),
        _ => plain::read(path, &mut collector)?,
    }
    let mut vectors = collector.vectors;
    ensure!(
        vectors.found.contains(&true),
        "\"{}\" contains no word of the vocabulary; does it match text.lowercase?",
        path.display()
    );
    draw_missing(&mut vectors, seed);
    Ok(vectors)
}

/// Draws the vectors of all ids that were not found, except PAD, from a normal distribution with the mean
/// and variance of those found, separately for each dimension.
pub fn draw_missing(vectors: &mut WordVectors, seed: u64) {
    let moments = moments(vectors);
    for (id, row) in vectors.values.chunks_exact_mut(vectors.size).enumerate() {
        if id == PAD as usize || vectors.found[id] {
            continue;
        }
        let first = (id * vectors.size) as u64;
        for (index, (value, (mean, deviation))) in (first..).zip(row.iter_mut().zip(&moments)) {
            let drawn = mean + deviation * normal(seed, index);
            *value = drawn.clamp(f32::MIN.into(), f32::MAX.into()) as f32;
        }
    }
}

/// Computes the mean and the standard deviation of the vectors found, for each dimension: `[E]`.
fn moments(vectors: &WordVectors) -> Vec<(f64, f64)> {
    let rows = || {
        let all = vectors.values.chunks_exact(vectors.size).zip(&vectors.found);
        all.filter(|(_, found)| **found).map(|(row, _)| row)
    };
    let count = rows().count() as f64;
    let mut moments = vec![(0.0, 0.0); vectors.size];
    for row in rows() {
        for ((mean, _), value) in moments.iter_mut().zip(row) {
            *mean += f64::from(*value) / count;
        }
    }
    for row in rows() {
        for ((mean, variance), value) in moments.iter_mut().zip(row) {
            *variance += (f64::from(*value) - *mean).powi(2) / count;
        }
    }
    moments.into_iter().map(|(mean, variance)| (mean, variance.sqrt())).collect()
}

/// Fractions of a vocabulary and of texts that are covered by word vectors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverage {
    /// Fraction of the vocabulary's words, without the special ids.
    pub types: f64,
    /// Fraction of the tokens of the texts. OOV tokens are not covered; PAD and START are not
    /// counted.
    pub tokens: f64,
}

/// Computes the coverage of a vocabulary, whose ids with a vector are marked in `found` (`[V]`), and
/// of texts in which the ids occur this often, `[V]`. An empty vocabulary or text has coverage 0.
pub fn coverage(found: &[bool], counts: &[u64]) -> Coverage {
    let words = found.iter().skip(FIRST_WORD as usize).map(|found| (1, *found));
    let tokens = (0..).zip(counts.iter().zip(found));
    let tokens = tokens.filter(|(id, _)| ![PAD, START].contains(id));
    Coverage {
        types: share_of_found(words),
        tokens: share_of_found(tokens.map(|(_, (count, found))| (*count, *found))),
    }
}

fn share_of_found(counts: impl Iterator<Item = (u64, bool)>) -> f64 {
    let (mut found, mut total) = (0, 0);
    for (count, is_found) in counts {
        found += if is_found { count } else { 0 };
        total += count;
    }
    found as f64 / total.max(1) as f64
}

#[cfg(test)]
mod tests;
