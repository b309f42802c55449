//! Reads a directory per class with a file per text, such as aclImdb.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::lines::{limits, open_data};
use super::row_labels::RowLabels;
use super::sink::{Row, Sink, not_utf8};
use crate::config::DataConfig;

/// Reads the directory `path` into `sink`. If `data.labels` is set, reads only these classes. If labels are
/// ignored, reads every directory in it, or itself if there is none.
pub fn read(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    let wanted = |name: &String| {
        !sink.needs_labels()
            || config.labels.is_empty()
            || config.labels.contains(&config.class_name(name))
    };
    let mut classes: Vec<(String, PathBuf)> = Vec::new();
    for (name, entry) in sorted_entries(path)? {
        if entry.is_dir() && wanted(&name) {
            classes.push((name, entry));
        }
    }
    if classes.is_empty() && !sink.needs_labels() {
        classes.push((String::new(), path.to_owned()));
    }
    if classes.is_empty() {
        bail!("{}: expected a subdirectory for each class, found none", path.display());
    }
    let limit = limits(config).line;
    for (label, directory) in classes {
        for (_, file) in sorted_entries(&directory)? {
            if file.is_dir() {
                continue;
            }
            if !file.is_file() {
                // Such as a pipe, which may never end, or a symbolic link to itself.
                sink.add(0, Err(format!("\"{}\" is not a regular file", file.display())))?;
                continue;
            }
            let mut bytes = Vec::new();
            open_data(&file, config)?
                .take(limit.bytes.saturating_add(1))
                .read_to_end(&mut bytes)
                .with_context(|| format!("cannot read \"{}\"", file.display()))?;
            if bytes.len() as u64 > limit.bytes {
                bail!("{}: {}", file.display(), limit.exceeded("the file"));
            }
            let row = String::from_utf8(bytes)
                .map(|text| Some(Row::new(vec![text], RowLabels::Value(label.clone()))))
                .map_err(|_| not_utf8(format_args!("\"{}\"", file.display())));
            sink.text_file = Some(file);
            sink.add(0, row)?;
        }
    }
    Ok(())
}

/// Returns the entries of a directory sorted by name, without hidden ones.
fn sorted_entries(directory: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let unreadable = || format!("cannot read the directory \"{}\"", directory.display());
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.push((name, entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}
