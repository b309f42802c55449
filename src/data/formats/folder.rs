//! A folder for each class with a file for each text, as aclImdb.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::lines::limits;
use super::sink::{Row, Sink};
use crate::config::DataConfig;
use crate::io::input::open_limited;

/// Reads the folder `path`; only the classes of `data.labels` where it is set.
pub fn read(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    let wanted = |name: &String| {
        let label = config.label_names.get(name).unwrap_or(name);
        config.labels.is_empty() || config.labels.contains(label)
    };
    let mut classes: Vec<(String, PathBuf)> = Vec::new();
    for (name, entry) in sorted_entries(path)? {
        if entry.is_dir() && wanted(&name) {
            classes.push((name, entry));
        }
    }
    if classes.is_empty() {
        bail!("\"{}\": expected a folder for each class, found none", path.display());
    }
    for (label, folder) in classes {
        for (_, file) in sorted_entries(&folder)? {
            if file.is_dir() {
                continue;
            }
            if !file.is_file() {
                // A pipe, which would never end, or a link to itself.
                sink.take(0, Err(format!("\"{}\" is no regular file", file.display())))?;
                continue;
            }
            let mut bytes = Vec::new();
            let limits = limits(config);
            open_limited(&file, limits)?
                .take(limits.line.saturating_add(1))
                .read_to_end(&mut bytes)
                .with_context(|| format!("cannot read \"{}\"", file.display()))?;
            if bytes.len() as u64 > limits.line {
                let most = config.max_line_mb;
                bail!("\"{}\": more than {most} MB, data.max_line_mb", file.display());
            }
            let row = String::from_utf8(bytes)
                .map(|text| Some(Row { texts: vec![text], label: label.clone() }))
                .map_err(|_| format!("found bytes that are not UTF-8 in \"{}\"", file.display()));
            sink.take(0, row)?;
        }
    }
    Ok(())
}

/// What lies in `folder`, hidden entries left out, by name.
fn sorted_entries(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let unreadable = || format!("cannot read the folder \"{}\"", folder.display());
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.push((name, entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}
