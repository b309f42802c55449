//! Temporary copies of streams, for readers that read a file more than once.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::input::{Limit, SPOOL_PREFIX, is_stdin};

/// A temporary copy of stdin, a pipe or a device. Dropping it deletes the copy.
pub struct Spooled {
    path: PathBuf,
    _directory: TempDir,
}

impl Spooled {
    /// Copies a stream, `-` for stdin, to a file with this extension. Returns `None` if `path` can be
    /// read in place or does not exist.
    ///
    /// # Errors
    /// Returns an error if the stream cannot be copied or exceeds the limit.
    pub fn of(path: &Path, extension: &str, limit: Limit) -> anyhow::Result<Option<Self>> {
        let is_stream = |path: &Path| {
            path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
        };
        if !is_stdin(path) && !is_stream(path) {
            return Ok(None);
        }
        let (name, source): (_, Box<dyn Read>) = match is_stdin(path) {
            true => ("stdin".into(), Box::new(io::stdin())),
            false => {
                let file = File::open(path);
                let file = file.with_context(|| format!("cannot open \"{}\"", path.display()))?;
                (format!("\"{}\"", path.display()), Box::new(file))
            }
        };
        let directory = tempfile::Builder::new().prefix(SPOOL_PREFIX).tempdir();
        let directory = directory.context("cannot create a temporary directory")?;
        let copy = directory.path().join("data").with_extension(extension);
        let mut source = source.take(limit.bytes.saturating_add(1));
        let bytes = File::create(&copy).and_then(|mut file| io::copy(&mut source, &mut file));
        let bytes =
            bytes.with_context(|| format!("cannot copy {name} to \"{}\"", copy.display()))?;
        ensure!(bytes <= limit.bytes, limit.exceeded(&name));
        Ok(Some(Self { path: copy, _directory: directory }))
    }

    /// Path of the copy.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
