//! The calibration of a checkpoint, a file beside those that training writes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::ensure;

use super::files::OpenFile;
use super::layout::{
    CALIBRATED_VERSION, CALIBRATION, COMPACT_VERSION, CheckpointManifest, FileEntry, MANIFEST,
    VERSION, write_json,
};
use crate::config::Labelling;
use crate::io::files::RECORDS_LIMIT;
use crate::objective::Calibration;
use crate::run::manifest::Manifest;

/// Reads the calibration of a model with this labelling and number of classes; `None` if it has none.
///
/// # Errors
/// Returns an error if the file cannot be read, or has impossible numbers or those of another model.
pub(super) fn read(
    files: &BTreeMap<String, OpenFile>,
    labelling: Labelling,
    classes: usize,
) -> anyhow::Result<Option<Calibration>> {
    let Some(file) = files.get(CALIBRATION) else { return Ok(None) };
    let calibration: Calibration = file.json(RECORDS_LIMIT)?;
    ensure!(
        calibration.is_valid(labelling, classes),
        "{CALIBRATION} has impossible numbers, or is that of a model with other labels"
    );
    Ok(Some(calibration))
}

/// Writes the calibration, if there is one, and the manifest to `directory`, which has all other files of the
/// checkpoint with this manifest.
///
/// # Errors
/// Returns an error if a file cannot be written.
pub(super) fn write(
    directory: &Path,
    manifest: &CheckpointManifest,
    calibration: Option<&Calibration>,
) -> anyhow::Result<()> {
    let mut manifest = manifest.clone();
    manifest.files.remove(CALIBRATION);
    let is_compact = manifest.compact.is_some();
    manifest.version = if is_compact { COMPACT_VERSION } else { VERSION };
    if let Some(calibration) = calibration {
        let path = directory.join(CALIBRATION);
        write_json(&path, calibration)?;
        manifest.files.insert(CALIBRATION.to_owned(), FileEntry::of(&path)?);
        manifest.version = manifest.version.max(CALIBRATED_VERSION);
    }
    write_json(&directory.join(MANIFEST), &manifest.seal()?)
}
