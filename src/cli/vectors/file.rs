//! The file of word vectors.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::iter;
use std::path::{Path, PathBuf};

use anyhow::Context;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::cli::output_file::replace;
use crate::config::{ConfigError, SubwordsConfig};
use crate::interchange::numpy::NpyMatrix;
use crate::interchange::word_vectors::write_word_vectors;
use crate::output::format::pluralize;
use crate::output::note;
use crate::pretrain::LearnedVectors;
use crate::text::subwords_path;

/// A file of word vectors, by its name.
pub struct VectorsFile<'a> {
    path: &'a Path,
    format: Format,
}

enum Format {
    /// A word and its values on each line.
    Text,
    /// The same, compressed.
    Gzip,
    /// A matrix, with the words in another file, and the vectors of character n-grams in a third one.
    Npy { words: PathBuf, subwords: Option<PathBuf> },
}

impl<'a> VectorsFile<'a> {
    /// Recognizes the format by the name of the file. The vectors of character n-grams are those of `subwords`.
    ///
    /// # Errors
    /// Returns an error if its extension is not known.
    pub fn new(path: &'a Path, subwords: Option<&SubwordsConfig>) -> Result<Self, ConfigError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let ends_in = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        let format = match () {
            () if ends_in(&[".vec", ".txt"]) => Format::Text,
            () if ends_in(&[".vec.gz", ".txt.gz"]) => Format::Gzip,
            () if ends_in(&[".npy"]) => Format::Npy {
                words: path.with_extension("txt"),
                subwords: subwords.and_then(|config| subwords_path(path, config)),
            },
            () => {
                return Err(ConfigError::new(format!(
                    "--to \"{}\": the file name must end in .vec, .txt, .vec.gz, .txt.gz or .npy",
                    path.display()
                )));
            }
        };
        Ok(Self { path, format })
    }

    /// Paths of all files that are written.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let [words, subwords] = match &self.format {
            Format::Npy { words, subwords } => [Some(words), subwords.as_ref()],
            Format::Text | Format::Gzip => [None, None],
        };
        iter::once(self.path).chain(words.into_iter().chain(subwords).map(PathBuf::as_path))
    }

    /// Writes the vectors that were found. `all` are the words of the vocabulary. Words that would not be read
    /// again, because of spaces or line breaks, are left out and noted. Returns the number of words written.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written. An old file is then unchanged.
    pub fn write(&self, all: &[Box<str>], learned: &LearnedVectors) -> anyhow::Result<usize> {
        let LearnedVectors { vectors, subwords, .. } = learned;
        let rows = all.iter().zip(vectors.values.chunks_exact(vectors.size)).zip(&vectors.found);
        let found: Vec<(&str, &[f32])> =
            rows.filter(|(_, found)| **found).map(|((word, row), _)| (&**word, row)).collect();
        let written: Vec<(&str, &[f32])> =
            found.iter().copied().filter(|(word, _)| self.can_have(word)).collect();
        let left_out = found.len() - written.len();
        if left_out > 0 {
            let left_out = pluralize(left_out, "word");
            note(format!(
                "{left_out} with spaces or line breaks left out: the format has no such words"
            ));
        }
        match &self.format {
            Format::Text => self.replace(self.path, |file| {
                let lines = written.iter().copied();
                Ok(write_word_vectors(BufWriter::new(file), vectors.size, lines)?)
            })?,
            Format::Gzip => self.replace(self.path, |file| {
                let mut gzip = GzEncoder::new(BufWriter::new(file), Compression::default());
                let lines = written.iter().copied();
                write_word_vectors(BufWriter::new(&mut gzip), vectors.size, lines)?;
                Ok(gzip.finish()?.flush()?)
            })?,
            Format::Npy { words, subwords: path } => {
                if let Some(path) = path {
                    self.replace(path, |file| {
                        let mut matrix = NpyMatrix::new(BufWriter::new(file), vectors.size)?;
                        subwords
                            .chunks_exact(vectors.size)
                            .try_for_each(|row| matrix.write(row))?;
                        Ok(matrix.finish()?)
                    })?;
                }
                self.replace(words, |file| {
                    let mut out = BufWriter::new(file);
                    written.iter().try_for_each(|(word, _)| writeln!(out, "{word}"))?;
                    Ok(out.flush()?)
                })?;
                self.replace(self.path, |file| {
                    let mut matrix = NpyMatrix::new(BufWriter::new(file), vectors.size)?;
                    written.iter().try_for_each(|(_, row)| matrix.write(row))?;
                    Ok(matrix.finish()?)
                })?;
            }
        }
        Ok(written.len())
    }

    fn replace(
        &self,
        path: &Path,
        fill: impl FnOnce(&mut File) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let unwritable = || format!("cannot write \"{}\"", path.display());
        replace(path, |file| fill(file).with_context(unwritable))
    }

    /// Returns true if the format can have a word.
    fn can_have(&self, word: &str) -> bool {
        let separators: &[char] = match self.format {
            Format::Npy { .. } => &['\n', '\r'],
            Format::Text | Format::Gzip => &['\n', '\r', ' '],
        };
        !word.is_empty() && !word.contains(separators)
    }
}
