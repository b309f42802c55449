//! Texts of `predict`, `explain` and `states`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;

use super::hints::{program, relative};
use crate::config::{Config, ConfigError, Format};
use crate::data::{DataFile, Recognizer, format_of};
use crate::io::decoding::{Decoding, TextEncoding};
use crate::io::spool::is_stdin;
use crate::output::note;
use crate::output::shell::{quoted, quoted_path};
use crate::prediction::text_columns::{NamedText, TextColumns};
use crate::prediction::text_lines::TextLines;
use crate::run::saved_model::SavedModel;

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
    /// Encoding of the file, such as cp1252 or utf-16; by default UTF-8, or the one that a byte order mark
    /// names
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = encoding)]
    pub encoding: TextEncoding,
}

fn encoding(name: &str) -> Result<TextEncoding, String> {
    let unknown =
        "unknown encoding; use a name such as utf-8, utf-16, latin-1, cp1252 or shift_jis";
    TextEncoding::named(name).ok_or_else(|| unknown.to_owned())
}

impl TextArgs {
    /// Returns how the file is decoded.
    pub fn decoding(&self) -> Decoding {
        Decoding { encoding: self.encoding, setting: Some("pass --encoding ") }
    }

    /// Returns all texts of each column of a model.
    ///
    /// # Errors
    /// Returns an error if there are no texts, if they do not fit the columns or if the file cannot be
    /// read.
    pub fn read(self, model: &SavedModel) -> anyhow::Result<Vec<Vec<String>>> {
        let columns = &TextColumns::of(model.config());
        let decoding = self.decoding();
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
        let mut lines = TextLines::open(&file, decoding, LINES)?;
        let mut check = TextsCheck::new(&file, model);
        loop {
            let first = lines.count() + 1;
            let Some(texts) = lines.next_batch(LINES)? else { break };
            check.check(&texts)?;
            let (texts, error) = columns.parse_lines(texts, first);
            if let Some(error) = error {
                return Err(error);
            }
            all.iter_mut().zip(texts).for_each(|(all, texts)| all.extend(texts));
        }
        check.finish();
        if all[0].is_empty() {
            let name =
                if is_stdin(&file) { "stdin".into() } else { format!("\"{}\"", file.display()) };
            bail!("{name} has no texts");
        }
        Ok(all)
    }
}

/// Checks that a file of texts is no data file, of which each line would be read as a text, columns and
/// labels included.
pub struct TextsCheck {
    file: PathBuf,
    recognizer: Recognizer,
    config: Config,
    /// Directory of the model.
    model: PathBuf,
}

impl TextsCheck {
    /// Creates the check of `file` with texts for a model.
    pub fn new(file: &Path, model: &SavedModel) -> Self {
        let config = model.config();
        Self {
            file: file.to_owned(),
            recognizer: Recognizer::new(config, model.labels()),
            config: config.clone(),
            model: model.path.clone(),
        }
    }

    /// Checks the next lines.
    ///
    /// # Errors
    /// Returns an error with the command for data files if the lines so far belong to one.
    pub fn check(&mut self, lines: &[String]) -> anyhow::Result<()> {
        if self.recognizer.is_done() {
            return Ok(());
        }
        let Some(found) = self.recognizer.read(lines) else { return Ok(()) };
        let expected = match TextColumns::of(&self.config).is_single() {
            true => "a text",
            false => "a JSON object with texts",
        };
        let DataFile { line, description, .. } = &found;
        bail!(
            "{}:{line}: expected {expected} on each line, found {description}; {}",
            self.name(),
            self.advice(&found)
        )
    }

    /// Prints a note if the lines may be those of a data file.
    pub fn finish(&self) {
        if !TextColumns::of(&self.config).is_single() {
            return;
        }
        let name = self.name();
        if let Some(resemblance) = self.recognizer.resemblance() {
            note(format!(
                "{name}: each whole line is read as a text, but the lines look like {resemblance}"
            ));
        } else if let Ok(Format::Csv | Format::Tsv | Format::Jsonl | Format::Json) =
            format_of(&self.file)
        {
            note(format!("{name}: each whole line is read as a text"));
        }
    }

    fn name(&self) -> String {
        match is_stdin(&self.file) {
            true => "stdin".to_owned(),
            false => self.file.display().to_string(),
        }
    }

    /// Returns the command that reads the file.
    fn advice(&self, found: &DataFile) -> String {
        if !found.is_labelled {
            return "pass a file with the texts alone, one on each line, without a header"
                .to_owned();
        }
        let Some(format) = found.format else {
            return "to score a file with labels, save it as CSV, with commas between the columns, \
                    or as JSON lines, and pass it to `evaluate --data`"
                .to_owned();
        };
        let (data, assumed) = match is_stdin(&self.file) {
            true => ("FILE".to_owned(), None),
            false => (quoted_path(&self.file), format_of(&self.file).ok()),
        };
        let assumed = match self.config.data.format {
            Format::Auto => assumed,
            configured => Some(configured),
        };
        let format = (assumed != Some(format)).then(|| ("data.format", format.as_str().to_owned()));
        let sets: String = format
            .into_iter()
            .chain(found.fields.iter().cloned())
            .map(|(field, value)| format!(" --set {}", quoted(format!("{field}={value}").as_ref())))
            .collect();
        format!(
            "to score a file with labels: {} evaluate {} --data {data}{sets}",
            program(),
            quoted_path(&relative(&self.model)),
        )
    }
}
