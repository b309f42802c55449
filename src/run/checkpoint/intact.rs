//! The files of a checkpoint, verified against its manifest.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};

use super::files::{Directory, OpenFile, with_directory};
use super::layout::{
    COMPACT_VERSION, CheckpointManifest, FILES, LANGUAGE_MODEL_VERSION, MANIFEST, ModelKind,
    OPTIMIZER, unusable,
};
use crate::io::files::RECORDS_LIMIT;
use crate::run::manifest::Manifest;

/// The files of a checkpoint that has been found intact.
pub struct IntactFiles {
    /// Its manifest.
    pub manifest: CheckpointManifest,
    /// All files that the manifest lists, at least [`FILES`], in a compact checkpoint without [`OPTIMIZER`].
    pub files: BTreeMap<String, OpenFile>,
}

impl IntactFiles {
    /// Opens the checkpoint in the directory `path`.
    ///
    /// # Errors
    /// Returns an error if it is incomplete, damaged, or of another version.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let verified = with_directory(path, Self::verify);
        let verified = verified.map_err(|error| suggest_sibling(error, path));
        verified.with_context(|| unusable(path))
    }

    /// Opens all files and verifies them against the manifest.
    fn verify(directory: &Directory) -> anyhow::Result<Self> {
        let file = directory.file(MANIFEST)?;
        let manifest = CheckpointManifest::parse(&file.read(RECORDS_LIMIT)?)?;
        let is_compact = manifest.compact.is_some();
        ensure!(
            is_compact == (manifest.version == COMPACT_VERSION),
            "{MANIFEST} has the version {}, but {} a compact checkpoint",
            manifest.version,
            if is_compact { "describes" } else { "does not describe" }
        );
        let is_language_model = manifest.model == ModelKind::LanguageModel;
        ensure!(
            is_language_model == (manifest.version == LANGUAGE_MODEL_VERSION),
            "{MANIFEST} has the version {}, but {} a language model",
            manifest.version,
            if is_language_model { "describes" } else { "does not describe" }
        );
        for name in FILES.iter().filter(|name| !is_compact || **name != OPTIMIZER) {
            ensure!(manifest.files.contains_key(*name), "{MANIFEST} does not list {name}");
        }
        let open = |name: &String| {
            ensure!(
                Path::new(name).file_name() == Some(name.as_ref()),
                "{MANIFEST} lists {name:?}, which is not a file name"
            );
            Ok((name.clone(), directory.file(name)?))
        };
        // All at once: a training that replaces the checkpoint removes those that are not open.
        let files: BTreeMap<String, OpenFile> =
            manifest.files.keys().map(open).collect::<anyhow::Result<_>>()?;
        for (name, expected) in &manifest.files {
            let bytes = files[name].bytes()?;
            ensure!(
                bytes == expected.bytes,
                "{name} has {bytes} bytes, but {MANIFEST} records {}",
                expected.bytes
            );
            ensure!(
                files[name].sha256()? == expected.sha256,
                "{name} is damaged: its SHA-256 differs from the recorded one"
            );
        }
        Ok(Self { manifest, files })
    }
}

/// Adds to the error of a checkpoint that the other checkpoint of the run is intact, if it is.
fn suggest_sibling(error: anyhow::Error, path: &Path) -> anyhow::Error {
    let sibling = match path.file_name().and_then(|name| name.to_str()) {
        Some("best") => path.with_file_name("last"),
        Some("last") => path.with_file_name("best"),
        _ => return error,
    };
    match with_directory(&sibling, IntactFiles::verify) {
        Ok(_) => anyhow!(
            "{error:#}; \"{}\" is intact: use it, or delete the damaged checkpoint to resume from it",
            sibling.display()
        ),
        Err(_) => error,
    }
}
