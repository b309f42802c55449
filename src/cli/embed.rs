//! `lstmtext embed`.

use std::io::BufWriter;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::arguments::thread_count;
use super::exit::SUCCESS;
use super::output_file;
use super::texts::TextArgs;
use crate::config::{ConfigError, positive_integer};
use crate::interchange::numpy::NpyMatrix;
use crate::output::format::pluralize;
use crate::output::{message, note};
use crate::prediction::Embedder;
use crate::prediction::text_columns::TextColumns;
use crate::run::saved_model::SavedModel;
use crate::system::threads;
use crate::tables::{Kind, TableColumn, TableFormat, Values, unique_names};

const EXAMPLES: &str = "\
Examples:
  lstmtext embed runs/a --file reviews.csv --to vectors.npy
  lstmtext embed runs/a --file reviews.parquet --to vectors.parquet
  lstmtext embed runs/a \"What a film!\" --to vectors.jsonl

The vector of a text has the pooled hidden states of the LSTM, which the last layer classifies: its size is the \
number of units, times 2 if the LSTM is bidirectional, times the number of poolings. The vectors of several inputs \
are concatenated. N-grams are not part of it.

An .npy file has an array of 32-bit numbers [texts, size], in the order of the texts. A .parquet or .jsonl file has \
all columns of the table, and the vector in the column embedding.";

/// Number of batches that are read at once.
const BATCHES_PER_READ: usize = 16;

/// Write the vectors of texts: the pooled hidden states of the LSTM
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EmbedArgs {
    /// Checkpoint, or run (uses its best checkpoint)
    checkpoint: PathBuf,
    #[command(flatten)]
    texts: TextArgs,
    /// File to write: .npy, .parquet or .jsonl
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Maximum number of texts in a batch
    #[arg(long, value_name = "N", default_value = "256", value_parser = positive_integer)]
    batch_size: NonZeroUsize,
    /// Number of CPU threads; by default one per core
    #[arg(long, value_name = "N", value_parser = thread_count)]
    threads: Option<NonZeroUsize>,
}

/// Format of the file.
enum VectorFormat {
    Npy,
    Table(TableFormat),
}

impl VectorFormat {
    fn of(path: &Path) -> Result<Self, ConfigError> {
        if path.extension().is_some_and(|extension| extension == "npy") {
            return Ok(Self::Npy);
        }
        match TableFormat::of(path) {
            Some(format @ (TableFormat::Jsonl | TableFormat::Parquet)) => Ok(Self::Table(format)),
            _ => Err(ConfigError::new(format!(
                "--to \"{}\": the file name must end in .npy, .parquet or .jsonl",
                path.display()
            ))),
        }
    }
}

/// Runs the command.
pub fn run(args: EmbedArgs) -> anyhow::Result<u8> {
    let EmbedArgs { checkpoint, texts, to, batch_size, threads } = args;
    let format = VectorFormat::of(&to)?;
    threads::set_count(threads)?;
    let model = SavedModel::open(&checkpoint, &texts.set.overrides)?;
    output_file::check("--to", &to, model.config(), texts.file.as_deref())?;
    let embedder = Embedder::new(&model)?;
    let (size, batch_size) = (embedder.size(), batch_size.get());
    let source = texts.open(&model)?;
    let limit = BATCHES_PER_READ.saturating_mul(batch_size);
    let mut rows = 0;
    let mut embed = |texts: &[Vec<String>]| -> anyhow::Result<Vec<f32>> {
        let vectors = embedder.embed(texts, batch_size)?;
        rows += vectors.len() / size;
        Ok(vectors)
    };
    match format {
        VectorFormat::Npy => output_file::replace(&to, |file| {
            let unwritable = || format!("cannot write \"{}\"", to.display());
            let mut matrix = NpyMatrix::new(BufWriter::new(file), size).with_context(unwritable)?;
            source.for_each_batch(limit, &mut |batch| {
                matrix.write(&embed(&batch.texts)?).with_context(unwritable)
            })?;
            matrix.finish().with_context(unwritable)
        })?,
        VectorFormat::Table(format) => {
            let schema = source.schema(&TextColumns::of(model.config()));
            let name = unique_names(&["embedding"], "text_", &schema.columns).remove(0);
            if name != "embedding" {
                note(format!("the table has a column embedding; the new one is {name}"));
            }
            let column = TableColumn::new(name, Kind::Vector(size));
            output_file::write_table(&to, format, &schema, &[column], |write| {
                source.for_each_batch(limit, &mut |batch| {
                    let vectors = embed(&batch.texts)?;
                    write(&batch, &[Values::Vectors(vectors, size)])
                })
            })?;
        }
    }
    message(format!("{}: {} of {size} numbers", to.display(), pluralize(rows, "vector")));
    Ok(SUCCESS)
}
