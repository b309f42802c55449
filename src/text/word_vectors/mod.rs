//! Pre-trained word vectors (word2vec, GloVe, fastText) for the words of a vocabulary.

mod collector;
mod lines;
mod npy;
mod plain;

pub use collector::WordVectors;

use std::f64::consts::TAU;
use std::path::Path;

use anyhow::{bail, ensure};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use collector::VectorCollector;

use super::vocabulary::FIRST_WORD;
use super::{PAD, START, Vocabulary};
use crate::io::input;

/// Reads the vectors of a vocabulary's words, in memory proportional to the vocabulary.
///
/// Two kinds of files are read:
///
/// - Text as word2vec, GloVe and fastText write it, plain, .gz or .zst: a word and E numbers on
///   each line, separated by single spaces. The last E fields are the numbers and everything
///   before them is the word, for GloVe 840B has words with spaces. A first line of exactly two
///   whole numbers is a header, the counts of words and of numbers; where `size` is 1, when a
///   word could be a number too, only if the second of them is 1.
/// - `FILE.npy`, a matrix [words, E] of f4 or f8 in little endian and C order, with the words in
///   `FILE.txt` beside it (or .txt.gz, .txt.zst), one on each line.
///
/// Words are looked up as they stand; of a word that occurs twice the first vector counts. What the
/// file lacks, the special ids included, is drawn from `seed` with the mean and the variance that
/// the vectors found have in each dimension, in the order of ids; PAD is zero. Numbers are read
/// only where they are needed, and thus only those must be finite.
///
/// # Errors
/// Where the file cannot be read, is of another kind or damaged (with the line), has vectors of
/// another dimension than `size`, or has no word of the vocabulary.
pub fn read_vectors(
    path: &Path,
    vocabulary: &Vocabulary,
    size: usize,
    seed: u64,
) -> anyhow::Result<WordVectors> {
    ensure!(size > 0, "embedding.size is 0, but a word vector has at least one number");
    let mut collector = VectorCollector::new(vocabulary, size);
    match input::inner_extension(path).as_deref() {
        Some("npy") => npy::read(path, &mut collector)?,
        Some("bin") => bail!(
            "\"{}\" is a binary file of word2vec or fastText; name its text form (.vec or .txt)",
            path.display()
        ),
        Some("zip") => bail!("\"{}\" is an archive; unpack it first", path.display()),
        _ => plain::read(path, &mut collector)?,
    }
    let mut vectors = collector.vectors;
    ensure!(
        vectors.found.contains(&true),
        "\"{}\" has no word of the vocabulary; does it agree with text.lowercase?",
        path.display()
    );
    draw_missing(&mut vectors, seed);
    Ok(vectors)
}

/// Draws the vectors of all ids that were not found, but for PAD.
fn draw_missing(vectors: &mut WordVectors, seed: u64) {
    let moments = moments(vectors);
    let mut normal = Normal { random: Pcg64::seed_from_u64(seed), spare: None };
    for (id, row) in vectors.values.chunks_exact_mut(vectors.size).enumerate() {
        if id == PAD as usize || vectors.found[id] {
            continue;
        }
        for (value, (mean, deviation)) in row.iter_mut().zip(&moments) {
            let drawn = mean + deviation * normal.draw();
            *value = drawn.clamp(f32::MIN.into(), f32::MAX.into()) as f32;
        }
    }
}

/// The mean and the standard deviation of the vectors found, in each dimension [E].
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

/// Draws from N(0, 1), two numbers at a time (Box and Muller 1958).
struct Normal {
    random: Pcg64,
    spare: Option<f64>,
}

impl Normal {
    fn draw(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // The logarithm wants (0, 1].
        let radius = (-2.0 * (1.0 - self.random.random::<f64>()).ln()).sqrt();
        let (sine, cosine) = (TAU * self.random.random::<f64>()).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }
}

/// How much of a vocabulary and of texts has vectors from a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverage {
    /// The share of the vocabulary's words, special ids left out.
    pub types: f64,
    /// The share of the running tokens. OOV counts as not covered, PAD and START as no tokens.
    pub tokens: f64,
}

/// How much the words `found` (V of them) cover of their vocabulary, and of texts that consist of `ids`;
/// 0 of nothing.
pub fn coverage(found: &[bool], ids: impl Iterator<Item = u32>) -> Coverage {
    let words = found.iter().skip(FIRST_WORD as usize).copied();
    let tokens = ids.filter(|id| ![PAD, START].contains(id));
    Coverage {
        types: share(words),
        tokens: share(tokens.map(|id| found.get(id as usize) == Some(&true))),
    }
}

/// The share of those that are true.
fn share(flags: impl Iterator<Item = bool>) -> f64 {
    let (mut count, mut total) = (0_u64, 0_u64);
    for flag in flags {
        count += u64::from(flag);
        total += 1;
    }
    count as f64 / total.max(1) as f64
}

#[cfg(test)]
mod tests;
