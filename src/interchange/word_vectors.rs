//! Word vectors in the text format of word2vec and fastText.

use std::io::{self, Write};

/// Writes word vectors as text: a line with the number of words and the dimension, and then a line for each word,
/// with its values after single spaces. The values are the shortest decimals that are read as the same numbers.
/// `words` are without spaces and line breaks. `values` are the vectors of the words, row by row: [words, size].
///
/// # Errors
/// Returns an error if they cannot be written.
pub fn write_word_vectors<'a>(
    mut out: impl Write,
    size: usize,
    vectors: impl ExactSizeIterator<Item = (&'a str, &'a [f32])>,
) -> io::Result<()> {
    writeln!(out, "{} {size}", vectors.len())?;
    for (word, values) in vectors {
        out.write_all(word.as_bytes())?;
        values.iter().try_for_each(|value| write!(out, " {value}"))?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{FIRST_WORD, Vocabulary, read_vectors};

    #[test]
    fn vectors_are_read_as_they_were_written() {
        let words = ["film", "é", "7", "don't"].map(str::to_owned);
        let values: Vec<f32> =
            [1.0, 0.1, -1.0 / 3.0, 1e-20, -2.5e7, f32::MIN_POSITIVE, 0.0, 16_777_216.0].into();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.vec");
        let file = std::fs::File::create(&path).unwrap();
        let rows = words.iter().map(String::as_str).zip(values.chunks_exact(2));
        write_word_vectors(file, 2, rows).unwrap();
        let vocabulary = Vocabulary::from_ranked_words(words.to_vec(), 100).unwrap();
        let read = read_vectors(&path, &vocabulary, 2, 1).unwrap();
        assert_eq!(read.values[FIRST_WORD as usize * 2..], values);
        assert!(read.found[FIRST_WORD as usize..].iter().all(|found| *found));
    }
}
