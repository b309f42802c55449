//! Vectors of character n-grams beside a file of word vectors. The vectors of words in such a file are means of their own
//! and those of their n-grams.

use std::path::{Path, PathBuf};

use anyhow::ensure;

use super::{WordVectors, npy};
use crate::config::SubwordsConfig;
use crate::text::WordBuckets;

/// Path of the vectors of buckets beside the matrix `path` of word vectors: for `a.npy` and n-grams of 3 to 6
/// characters, `a.subwords-3-6.npy`. `None` if the file has another format, or words have no n-grams.
pub fn subwords_path(path: &Path, config: &SubwordsConfig) -> Option<PathBuf> {
    let [smallest, largest] = config.sizes.0?;
    let is_npy = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"));
    is_npy.then(|| path.with_extension(format!("subwords-{smallest}-{largest}.npy")))
}

/// Reads the vectors of buckets, [buckets, E], beside a file of word vectors. They are 0 if there is no such file.
///
/// # Errors
/// Returns an error if the file cannot be read, or has another number of buckets or another dimension.
pub fn read_subwords(
    path: &Path,
    config: &SubwordsConfig,
    size: usize,
) -> anyhow::Result<Vec<f32>> {
    let path = subwords_path(path, config).filter(|path| path.exists());
    let Some(path) = path else { return Ok(vec![0.0; config.buckets * size]) };
    let values = npy::read_matrix(&path, size)?;
    let buckets = values.len() / size;
    ensure!(
        buckets == config.buckets,
        "\"{}\" has {buckets} buckets, but embedding.subwords.buckets is {}",
        path.display(),
        config.buckets
    );
    ensure!(
        values.iter().all(|value| value.is_finite()),
        "\"{}\" has values that are not finite",
        path.display()
    );
    Ok(values)
}

/// Replaces the vectors of words by their own vectors, with which the means are those of the file. Words that the file
/// lacks get the mean of the vectors of their n-grams. `buckets` are those of the words, `subwords` [buckets, E].
pub fn split_off_subwords(vectors: &mut WordVectors, subwords: &[f32], buckets: &WordBuckets) {
    let size = vectors.size;
    let rows = vectors.values.chunks_exact_mut(size).zip(&vectors.found);
    for (word, (row, is_found)) in rows.enumerate() {
        let buckets = buckets.get(word);
        if buckets.is_empty() {
            continue;
        }
        let mut sum = vec![0.0; size];
        for bucket in buckets {
            let vector = &subwords[*bucket as usize * size..][..size];
            sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let count = buckets.len() as f64;
        for (value, sum) in row.iter_mut().zip(sum) {
            *value = match is_found {
                true => ((count + 1.0) * f64::from(*value) - sum) as f32,
                false => (sum / count) as f32,
            };
        }
    }
}
