//! Texts of `predict`, `explain` and `states`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;

use super::hints::{program, relative};
use crate::config::{Config, ConfigError, Format};
use crate::data::{describe_data_line, format_of};
use crate::io::spool::is_stdin;
use crate::output::note;
use crate::output::shell::quoted_path;
use crate::prediction::text_columns::{NamedText, TextColumns};
use crate::prediction::text_lines::TextLines;
use crate::run::checkpoint::Checkpoint;

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
    /// Returns all texts of each column of the model in `checkpoint`.
    ///
    /// # Errors
    /// Returns an error if there are no texts, if they do not fit the columns or if the file cannot be
    /// read.
    pub fn read(self, checkpoint: &Checkpoint) -> anyhow::Result<Vec<Vec<String>>> {
        let columns = &TextColumns::of(&checkpoint.resolved.config);
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
            if first == 1 {
                FirstLine::of(checkpoint).check(&file, &texts[0])?;
            }
            let (texts, error) = columns.parse_lines(texts, first);
            if let Some(error) = error {
                return Err(error);
            }
            all.iter_mut().zip(texts).for_each(|(all, texts)| all.extend(texts));
        }
        if all[0].is_empty() {
            let name =
                if is_stdin(&file) { "stdin".into() } else { format!("\"{}\"", file.display()) };
            bail!("{name} has no texts");
        }
        Ok(all)
    }
}

/// The check of the first line of a file of texts: in a data file with labels, each line would be read as a
/// text, columns and labels included.
pub struct FirstLine {
    config: Config,
    labels: Vec<String>,
    checkpoint: PathBuf,
}

impl FirstLine {
    /// Creates the check for texts for the model in `checkpoint`.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        Self {
            config: checkpoint.resolved.config.clone(),
            labels: checkpoint.labels.clone(),
            checkpoint: checkpoint.path.clone(),
        }
    }

    /// Checks the first line of `file`.
    ///
    /// # Errors
    /// Returns an error with the command for data files if the line belongs to one.
    pub fn check(&self, file: &Path, line: &str) -> anyhow::Result<()> {
        let is_single = TextColumns::of(&self.config).is_single();
        let Some(description) = describe_data_line(line, &self.config, &self.labels) else {
            if is_single && matches!(format_of(file), Ok(Format::Csv | Format::Tsv | Format::Jsonl))
            {
                note(format!("{}: each whole line is read as a text", file.display()));
            }
            return Ok(());
        };
        let (name, data) = match is_stdin(file) {
            true => ("stdin".to_owned(), "FILE".to_owned()),
            false => (file.display().to_string(), quoted_path(file)),
        };
        let expected = match is_single {
            true => "a text",
            false => "a JSON object with texts",
        };
        bail!(
            "{name}:1: expected {expected} on each line, found {description}; to score a file with labels: \
             {} evaluate {} --data {data}",
            program(),
            quoted_path(&relative(&self.checkpoint)),
        )
    }
}
