//! A folder for each class with a file for each text, as aclImdb.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{Row, Sink};
use crate::config::DataConfig;
use crate::data::open::open;

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
        for (_, file) in sorted_entries(&folder)?.into_iter().filter(|(_, file)| file.is_file()) {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut open(&file)?, &mut bytes)
                .with_context(|| format!("cannot read \"{}\"", file.display()))?;
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
