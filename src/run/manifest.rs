//! Manifests of checkpoints and ensembles: JSON files with a format, a version and their own SHA-256.

use anyhow::{Context, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::io::files::{json_content, sha256};

/// Content of a manifest.
pub(super) trait Manifest: Serialize + DeserializeOwned {
    /// Name of the file.
    const FILE: &str;
    /// Format of the current version.
    const FORMAT: &str;
    /// Oldest version that is read.
    const OLDEST_VERSION: u32;
    /// Newest version.
    const VERSION: u32;

    /// Returns the manifest's own SHA-256, which is that of the manifest with an empty value in its place.
    fn sha256_mut(&mut self) -> &mut String;

    /// Sets the manifest's own SHA-256.
    ///
    /// # Errors
    /// Returns an error if the manifest cannot be encoded.
    fn seal(mut self) -> anyhow::Result<Self> {
        self.sha256_mut().clear();
        *self.sha256_mut() = sha256(&*json_content(&self)?)?;
        Ok(self)
    }

    /// Reads a manifest from the content of its file.
    ///
    /// # Errors
    /// Returns an error if it is damaged, or of another format or version.
    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let file = Self::FILE;
        let unreadable = || format!("cannot parse {file}");
        let Version { format, version } = serde_json::from_slice(bytes).with_context(unreadable)?;
        ensure!(
            format == Self::FORMAT,
            "{file} has the format \"{format}\", not \"{}\"",
            Self::FORMAT
        );
        ensure!(
            (Self::OLDEST_VERSION..=Self::VERSION).contains(&version),
            "it has format version {version}, but lstmtext {} reads versions {} to {}; use {} lstmtext",
            env!("CARGO_PKG_VERSION"),
            Self::OLDEST_VERSION,
            Self::VERSION,
            if version > Self::VERSION { "a newer" } else { "an older" },
        );
        let manifest: Self = serde_json::from_slice(bytes).with_context(unreadable)?;
        let manifest = manifest.seal()?;
        ensure!(
            json_content(&manifest)? == bytes,
            "{file} is damaged: its SHA-256 differs from the recorded one"
        );
        Ok(manifest)
    }
}

/// Fields that the manifest of every version has.
#[derive(Deserialize)]
struct Version {
    format: String,
    version: u32,
}
