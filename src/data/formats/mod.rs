//! One reader for each format; all of them yield labelled texts with their lines.

mod babi;
mod fasttext;
mod folder;
mod jsonl;
mod lines;
mod rows;
mod sink;
mod table;

pub use rows::Rows;
pub use sink::{Each, excerpt};

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use glob::{MatchOptions, Pattern};

use sink::Sink;

use crate::config::{Config, DataConfig, Format};
use crate::io::input::inner_extension;

/// Reads the file or folder `path`, or all files that match it as a pattern, as the data section
/// says; hands `each` the texts of every example in turn, one for each column of the inputs.
///
/// # Errors
/// Names the file, the line, what was found and what was expected. Where `each` fails.
pub fn read_rows(path: &Path, config: &Config, each: Each) -> anyhow::Result<Rows> {
    let mut sink = Sink::new(path, config, each);
    for file in matching(path, config.data.format)? {
        sink.read.files.push((file.clone(), sink.read.len()));
        read_one(&file, &config.data, &mut sink)?;
        if let Some((line, lines)) = sink.long_row.take() {
            sink.read.long_row.get_or_insert((file, line, lines));
        }
    }
    Ok(sink.read)
}

/// As [`read_rows`], for texts that are wanted all together: for each column of the inputs its texts.
///
/// # Errors
/// As [`read_rows`].
pub fn read_texts(path: &Path, config: &Config) -> anyhow::Result<(Rows, Vec<Vec<String>>)> {
    let mut columns = vec![Vec::new(); config.inputs.columns().len()];
    let rows = read_rows(path, config, &mut |texts| {
        columns.iter_mut().zip(texts).for_each(|(column, text)| column.push(text));
        Ok(())
    })?;
    Ok((rows, columns))
}

/// The files that `path` matches as a pattern, in the order of their names; `path` itself where it
/// is none, or is there under just this name.
///
/// # Errors
/// Where there is none.
pub fn matching(path: &Path, format: Format) -> anyhow::Result<Vec<PathBuf>> {
    let pattern = path.to_string_lossy();
    if !pattern.contains(['*', '?', '[']) || path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::default() };
    let found = glob::glob_with(&with_literal_folders(path), options)
        .with_context(|| format!("\"{pattern}\" is no valid pattern"))?;
    let files: Vec<PathBuf> = found
        .collect::<Result<_, _>>()
        .with_context(|| format!("cannot look for files \"{pattern}\""))?;
    let advice = match format {
        Format::Babi => "; `lstmtext data fetch babi` gets the tasks into data/babi/en",
        _ => "",
    };
    ensure!(!files.is_empty(), "no file matches \"{pattern}\"{advice}");
    Ok(files)
}

/// The pattern, in which the folders that are there under just their names stand for themselves.
fn with_literal_folders(path: &Path) -> String {
    let mut folder = PathBuf::new();
    let mut rest = path.components().peekable();
    while let Some(part) = rest.next_if(|part| folder.join(part).exists()) {
        folder.push(part);
    }
    let literal = Pattern::escape(&folder.to_string_lossy());
    PathBuf::from(literal).join(rest.collect::<PathBuf>()).to_string_lossy().into_owned()
}

/// The format of the file or folder `path`, by its extension without .gz or .zst.
///
/// # Errors
/// Where the extension says nothing.
fn format_of(path: &Path) -> anyhow::Result<Format> {
    if path.is_dir() {
        return Ok(Format::Folder);
    }
    match inner_extension(path).as_deref() {
        Some("csv") => Ok(Format::Csv),
        Some("tsv") => Ok(Format::Tsv),
        Some("jsonl" | "ndjson" | "json") => Ok(Format::Jsonl),
        Some("txt" | "ft" | "fasttext") => Ok(Format::Fasttext),
        _ => bail!(
            "cannot tell the format of \"{}\" by its extension; \
             set data.format to csv, tsv, jsonl, fasttext, folder or babi",
            path.display()
        ),
    }
}

fn read_one(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    let format = match config.format {
        Format::Auto => {
            std::fs::metadata(path)
                .with_context(|| format!("cannot open \"{}\"", path.display()))?;
            format_of(path)?
        }
        named => named,
    };
    if matches!(format, Format::Fasttext | Format::Folder) {
        let (path, format) = (path.display(), format.as_str());
        ensure!(
            config.filter.is_empty(),
            "data.filter needs named columns, but \"{path}\" has the format {format}"
        );
        ensure!(
            sink.inputs.columns().len() == 1,
            "{} needs named columns, but \"{path}\" has the format {format}",
            sink.inputs[0].field("column")
        );
    }
    match format {
        Format::Csv => table::read_csv(path, config, sink),
        Format::Tsv => table::read_tsv(path, config, sink),
        Format::Jsonl => jsonl::read(path, config, sink),
        Format::Fasttext => fasttext::read(path, config, sink),
        Format::Folder => folder::read(path, config, sink),
        Format::Babi => babi::read(path, config, sink),
        // By its extension or because it is a folder, a path has a format of its own.
        Format::Auto => bail!("cannot tell the format of \"{}\"", path.display()),
    }
}

#[cfg(test)]
mod tests;
