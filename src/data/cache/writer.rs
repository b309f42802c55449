//! Writes entries of the cache.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;
use tempfile::TempDir;

use super::files::{
    GROUPS, HASHES, LABEL_ENDS, LABELS, LINES, MANIFEST, PROBABILITIES, ROWS, TargetKind,
    ends_file, file_names, words_file,
};
use crate::data::source::Source;
use crate::data::targets::Targets;
use crate::io::files::{sha256_of, sync_directory};
use crate::output::note;

/// An incomplete entry.
pub struct CacheWriter {
    /// Directory of the complete entry.
    pub(super) directory: PathBuf,
    /// True if the rows have groups.
    pub(super) has_groups: bool,
    /// Directory to which the tokens are written. It is removed if something fails or another process
    /// is faster.
    pub(super) temporary: TempDir,
    /// Lock of the directory.
    pub(super) _lock: File,
}

impl CacheWriter {
    /// Writes everything except the tokens, which are already in the directory, and renames the
    /// directory.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    pub(super) fn finish(&self, source: &Source) -> anyhow::Result<()> {
        let Source { rows, inputs, hashes, .. } = source;
        let kind = TargetKind::of(&rows.targets)?;
        self.json(ROWS, &rows.header())?;
        match &rows.targets {
            Targets::Labels(labels) => self.bytes(LABELS, bytemuck::cast_slice(labels))?,
            Targets::LabelSets(sets) => {
                let ends: Vec<u64> = sets.ends().iter().map(|end| *end as u64).collect();
                self.bytes(LABELS, bytemuck::cast_slice(sets.labels()))?;
                self.bytes(LABEL_ENDS, bytemuck::cast_slice(&ends))?;
            }
            Targets::Probabilities { probabilities, .. } => {
                self.bytes(PROBABILITIES, bytemuck::cast_slice(probabilities))?;
            }
            // They have no kind.
            Targets::Distilled { .. } => {}
        }
        self.bytes(LINES, bytemuck::cast_slice(&rows.lines))?;
        self.bytes(HASHES, bytemuck::cast_slice(hashes))?;
        let has_groups = self.has_groups;
        if has_groups {
            self.bytes(GROUPS, bytemuck::cast_slice(&rows.groups))?;
        }
        for (index, input) in inputs.iter().enumerate() {
            self.json(&words_file(index), &input.words())?;
            self.bytes(&ends_file(index), bytemuck::cast_slice(input.ends()))?;
        }
        let hash = |name: String| -> anyhow::Result<(String, String)> {
            let path = self.temporary.path().join(&name);
            File::open(&path).and_then(|file| file.sync_all())?;
            Ok((name, sha256_of(&path)?))
        };
        let manifest: BTreeMap<String, String> =
            file_names(kind, inputs.len(), has_groups).map(hash).collect::<anyhow::Result<_>>()?;
        self.json(MANIFEST, &manifest)?;
        sync_directory(self.temporary.path())?;
        let (path, directory) = (rows.path.display(), self.directory.display());
        note(format!(
            "cached the tokens of \"{path}\" for later runs in \"{directory}\" (to disable the cache, \
             set data.cache: never)"
        ));
        // Fails if another process has written the same entry in the meantime.
        if let Err(error) = fs::rename(self.temporary.path(), &self.directory)
            && !self.directory.exists()
        {
            return Err(error).with_context(|| format!("cannot create \"{directory}\""));
        }
        Ok(())
    }

    fn json(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        let path = self.temporary.path().join(name);
        let write = || -> anyhow::Result<()> {
            let mut file = BufWriter::new(File::create(&path)?);
            serde_json::to_writer(&mut file, value)?;
            Ok(file.into_inner()?.sync_all()?)
        };
        write().with_context(|| format!("cannot write \"{}\"", path.display()))
    }

    fn bytes(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.temporary.path().join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write \"{}\"", path.display()))
    }
}
