//! Texts of `predict`, `explain` and `states`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use crate::config::ConfigError;
use crate::prediction::text_columns::{NamedText, TextColumns};
use crate::prediction::text_lines::TextLines;

/// Number of lines that are parsed at once.
const LINES: usize = 1 << 10;

/// Texts as arguments or in a file.
#[derive(Debug, Args)]
pub struct TextArgs {
    /// Texts
    pub texts: Vec<String>,
    /// Text of one text column, if the model has several; repeat it for each
    #[arg(long = "input", value_name = "NAME=TEXT", conflicts_with_all = ["texts", "file"])]
    pub inputs: Vec<NamedText>,
    /// File with one text per line, or - for stdin; .gz and .zst are decompressed. With several text
    /// columns, each line is a JSON object
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    pub file: Option<PathBuf>,
}

impl TextArgs {
    /// Returns all texts of each column.
    ///
    /// # Errors
    /// Returns an error if there are no texts, if they do not fit the columns or if the file cannot be
    /// read.
    pub fn read(self, columns: &TextColumns) -> anyhow::Result<Vec<Vec<String>>> {
        let Some(file) = self.file else {
            let texts = columns.from_arguments(self.texts, self.inputs)?;
            if texts[0].is_empty() {
                bail!(ConfigError::new(
                    "no text given; pass one or more texts after the checkpoint, or --file"
                ));
            }
            return Ok(texts);
        };
        let mut all = vec![Vec::new(); columns.names().len()];
        let mut lines = TextLines::open(&file, LINES)?;
        loop {
            let first = lines.count() + 1;
            let Some(texts) = lines.next_batch(LINES)? else { break };
            let (texts, error) = columns.parse_lines(texts, first);
            if let Some(error) = error {
                return Err(error);
            }
            all.iter_mut().zip(texts).for_each(|(all, texts)| all.extend(texts));
        }
        if all[0].is_empty() {
            bail!("\"{}\" has no texts", file.display());
        }
        Ok(all)
    }
}
