//! The files that options such as --errors and --to name.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::config::{Config, ConfigError};
use crate::data::expand_pattern;
use crate::io::files::parent_directory;
use crate::io::replace::{is_stream, replace_output};
use crate::output::print_data;
use crate::tables::{TableBatch, TableColumn, TableFormat, TableSchema, TableWriter, Values};

/// Prints the path of a file or directory that has been written, unless it is a stream, which may be stdout
/// itself.
///
/// # Errors
/// Returns an error if stdout cannot be written.
pub fn print(path: &Path) -> anyhow::Result<()> {
    if is_stream(path) { Ok(()) } else { print_data(&path.display().to_string()) }
}

/// Checks that the file `output`, which `option` names, would neither overwrite nor extend an input: the
/// examples and word vectors of the configuration, and what else the command reads. An input is a file, a
/// pattern, or a directory with a subdirectory for each class.
///
/// # Errors
/// Returns an error that names the input.
pub fn check(
    option: &str,
    output: &Path,
    config: &Config,
    other: Option<&Path>,
) -> Result<(), ConfigError> {
    // A file that does not exist yet overwrites nothing, but may become an example of a directory.
    let name = output.file_name().unwrap_or_default();
    let parent = || parent_directory(output).canonicalize().map(|parent| parent.join(name));
    let Ok(file) = output.canonicalize().or_else(|_| parent()) else { return Ok(()) };
    let directory = file.parent().and_then(Path::parent);
    let is_in = |input: &PathBuf| {
        input.canonicalize().is_ok_and(|input| input == file || Some(&*input) == directory)
    };
    let data = &config.data;
    let vectors = config.inputs.iter().filter_map(|input| input.embedding.vectors.as_deref());
    let others = [&data.validation, &data.test, &data.unlabelled].map(Option::as_deref);
    let files = [Some(&*data.train), other].into_iter().chain(others);
    let texts = config.pretrain.texts.iter().map(PathBuf::as_path);
    let inputs = files.flatten().chain(vectors).chain(texts);
    // A pattern without matches is reported by whatever reads it.
    let mut inputs = inputs.flat_map(|path| expand_pattern(path, data.format).unwrap_or_default());
    match inputs.find(is_in) {
        None => Ok(()),
        Some(input) => Err(ConfigError::new({
            let effect = if output.exists() { "overwrite" } else { "become a file of" };
            format!(
                "{option} \"{}\" would {effect} the input \"{}\"; choose another name",
                output.display(),
                input.display()
            )
        })),
    }
}

/// Returns the format of the table `path`: the one of `--format`, or that of its extension.
///
/// # Errors
/// Returns an error if the format is not known, or no format of tables.
pub fn table_format(
    path: &Path,
    format: Option<Option<TableFormat>>,
) -> Result<TableFormat, ConfigError> {
    format.unwrap_or_else(|| TableFormat::of(path)).ok_or_else(|| {
        ConfigError::new(format!(
            "--to \"{}\": the file name must end in .csv, .tsv, .jsonl or .parquet, or --format be csv, tsv, \
             jsonl or parquet",
            path.display()
        ))
    })
}

/// Function that adds rows to a table, with the values of columns of results.
pub type WriteRows<'a> = dyn FnMut(&TableBatch, &[Values]) -> anyhow::Result<()> + 'a;

/// Writes a table atomically, batch by batch. `fill` adds its rows.
///
/// # Errors
/// Returns an error if `fill` fails or the file cannot be written. An old file is then unchanged.
pub fn write_table(
    path: &Path,
    format: TableFormat,
    schema: &TableSchema,
    results: &[TableColumn],
    fill: impl FnOnce(&mut WriteRows) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    replace(path, |file| {
        let unwritable = || format!("cannot write \"{}\"", path.display());
        let to = BufWriter::new(file);
        let table = TableWriter::new(format, schema, results, to);
        let mut table = table.with_context(unwritable)?;
        fill(&mut |batch, values| table.write(batch, values).with_context(unwritable))?;
        table.finish().with_context(unwritable)
    })
}

/// Creates or atomically replaces a file that a user has named. An error of `fill` is returned as it is: it can
/// be one of the input.
///
/// # Errors
/// Returns an error if `fill` fails or the file cannot be written. An old file is then unchanged.
pub fn replace(
    path: &Path,
    fill: impl FnOnce(&mut File) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut failure = None;
    let replaced = replace_output(path, |file| {
        fill(file).map_err(|error| {
            failure = Some(error);
            anyhow!("the content is incomplete")
        })
    });
    failure.map_or(replaced, Err)
}
