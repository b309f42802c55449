//! Saved models: a checkpoint, or an ensemble of several. The runs of a cross-validation are one, too.
//!
//! | file of an ensemble | content |
//! |---|---|
//! | `ensemble.json` | format, version, labels, what is averaged, weight, origin and SHA-256 of every member, calibration, own SHA-256 |
//! | `members/1`, `members/2`, … | the members: complete checkpoints |

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use super::checkpoint::{self, Checkpoint, ENSEMBLE};
use super::directory::RunDirectory;
use super::manifest::Manifest;
use crate::config::{Column, Config, Override};
use crate::io::files::{
    RECORDS_LIMIT, create_directory, create_parent_directory, json_content, read, write,
};
use crate::io::replace;
use crate::objective::{Averaging, Calibration, Combination};
use crate::output::format::join_names;

const FORMAT: &str = "lstmtext ensemble";
/// Version of ensembles without a calibration, which earlier programs read too.
const VERSION: u32 = 1;
/// Version of ensembles with a calibration, which earlier programs would ignore.
const CALIBRATED_VERSION: u32 = 2;
const MEMBERS: &str = "members";

/// File that makes a directory of runs a cross-validation.
const FOLDS: &str = "folds.json";
const FOLDS_FORMAT: &str = "lstmtext folds";

/// Content of `folds.json`.
#[derive(Debug, Serialize, Deserialize)]
struct FoldsManifest {
    format: String,
    /// Names of the directories of the runs.
    runs: Vec<String>,
}

/// Records that the runs of these names in the directory `path` are those of a cross-validation, which predict
/// together.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn write_folds(path: &Path, runs: Vec<String>) -> anyhow::Result<()> {
    let manifest = FoldsManifest { format: FOLDS_FORMAT.into(), runs };
    replace::write_atomic(&path.join(FOLDS), &json_content(&manifest)?)
}

/// Returns true if the directory `path` has the runs of a cross-validation.
pub fn is_folds(path: &Path) -> bool {
    path.join(FOLDS).is_file()
}

/// Returns the directories of the runs of a cross-validation.
///
/// # Errors
/// Returns an error if the file that lists them cannot be read.
pub fn fold_paths(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || -> anyhow::Result<FoldsManifest> {
        let manifest: FoldsManifest =
            serde_json::from_slice(&read(&path.join(FOLDS), RECORDS_LIMIT)?)?;
        ensure!(
            manifest.format == FOLDS_FORMAT && !manifest.runs.is_empty(),
            "it does not list the runs of a cross-validation"
        );
        Ok(manifest)
    };
    let unreadable = || format!("cannot use \"{}\"", path.join(FOLDS).display());
    Ok(read().with_context(unreadable)?.runs.iter().map(|name| path.join(name)).collect())
}

/// Content of `ensemble.json`.
#[derive(Debug, Serialize, Deserialize)]
struct EnsembleManifest {
    format: String,
    version: u32,
    /// Version of the program that wrote the ensemble.
    lstmtext: String,
    labels: Vec<String>,
    average: Averaging,
    members: Vec<Member>,
    /// Calibration of the combined predictions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
    /// SHA-256 of the manifest with an empty value here.
    sha256: String,
}

/// A member in the order of its directories.
#[derive(Debug, Serialize, Deserialize)]
struct Member {
    weight: f64,
    /// Path of the checkpoint from which it was copied.
    source: PathBuf,
    /// SHA-256 of its `checkpoint.json`, which has those of all its files.
    sha256: String,
}

impl Manifest for EnsembleManifest {
    const FILE: &str = ENSEMBLE;
    const FORMAT: &str = FORMAT;
    const OLDEST_VERSION: u32 = VERSION;
    const VERSION: u32 = CALIBRATED_VERSION;

    fn sha256_mut(&mut self) -> &mut String {
        &mut self.sha256
    }
}

impl EnsembleManifest {
    /// Reads the manifest of the ensemble in the directory `path`.
    fn read(path: &Path) -> anyhow::Result<Self> {
        Self::parse(&read(&path.join(ENSEMBLE), RECORDS_LIMIT)?)
    }

    /// Writes the manifest with another calibration to the directory `path` of the ensemble.
    fn save_calibration(
        mut self,
        path: &Path,
        calibration: Option<&Calibration>,
    ) -> anyhow::Result<()> {
        self.version = if calibration.is_some() { CALIBRATED_VERSION } else { VERSION };
        self.calibration = calibration.cloned();
        replace::write_atomic(&path.join(ENSEMBLE), &json_content(&self.seal()?)?)
    }
}

/// A model that has been found intact: the members of an ensemble, or a single checkpoint.
pub struct SavedModel {
    /// Directory of the ensemble or the checkpoint.
    pub path: PathBuf,
    /// The checkpoints, at least one. They have the same labels and text columns.
    pub members: Vec<Checkpoint>,
    /// Combination of their predictions.
    pub combination: Combination,
    /// Calibration of the combined predictions, if there is one. Those of several members are not used.
    pub calibration: Option<Calibration>,
}

impl From<Checkpoint> for SavedModel {
    fn from(checkpoint: Checkpoint) -> Self {
        Self {
            path: checkpoint.path.clone(),
            calibration: checkpoint.calibration.clone(),
            members: vec![checkpoint],
            combination: Combination::equal(Averaging::Probabilities, 1),
        }
    }
}

impl SavedModel {
    /// Returns lines that are different for different models or calibrations.
    pub fn description(&self) -> Vec<String> {
        let members = self.members.iter().map(|member| format!("model: {}", member.sha256()));
        members.chain([format!("calibration: {:?}", self.calibration)]).collect()
    }

    /// Opens the ensemble or the checkpoint in the directory `path`, or the best checkpoint of the run in
    /// it, and verifies all files. Overrides change the configuration of every member.
    ///
    /// # Errors
    /// Returns the errors of [`Checkpoint::open_with`], and an error if the ensemble is damaged or of
    /// another version.
    pub fn open(path: &Path, overrides: &[Override]) -> anyhow::Result<Self> {
        if is_folds(path) {
            return Self::open_folds(path, overrides);
        }
        if !is_ensemble(path) {
            return Checkpoint::open_with(path, overrides).map(Self::from);
        }
        let unusable = || format!("cannot use the ensemble \"{}\"", path.display());
        let manifest = EnsembleManifest::read(path).with_context(unusable)?;
        let weights: Vec<f64> = manifest.members.iter().map(|member| member.weight).collect();
        let combination = Combination { averaging: manifest.average, weights };
        ensure!(combination.is_valid(), "{}: {ENSEMBLE} has impossible weights", unusable());
        let open = |(index, member): (usize, &Member)| {
            let directory = member_path(path, index);
            let checkpoint = Checkpoint::open_with(&directory, overrides)?;
            ensure!(
                checkpoint.sha256() == member.sha256 && checkpoint.labels == manifest.labels,
                "\"{}\" is not the checkpoint that {ENSEMBLE} records",
                directory.display()
            );
            Ok(checkpoint)
        };
        let members = manifest.members.iter().enumerate().map(open);
        let members = members.collect::<anyhow::Result<Vec<_>>>().with_context(unusable)?;
        check_columns(&members).with_context(unusable)?;
        let calibration = manifest.calibration;
        let labelling = members[0].resolved.config.data.labelling();
        ensure!(
            calibration.iter().all(|each| each.is_valid(labelling, manifest.labels.len())),
            "{}: {ENSEMBLE} has a calibration with impossible numbers",
            unusable()
        );
        Ok(Self { path: path.to_owned(), members, combination, calibration })
    }

    /// Opens several models, which predict together: their probabilities are averaged with equal weights. The
    /// path is that of the first one.
    ///
    /// # Errors
    /// Returns the errors of [`SavedModel::open`], and an error if the models have different labels or text
    /// columns, or if one of them averages log-odds.
    pub fn open_together(paths: &[&Path], overrides: &[Override]) -> anyhow::Result<Self> {
        let models = paths.iter().map(|path| Self::open(path, overrides));
        let mut models = models.collect::<anyhow::Result<Vec<_>>>()?;
        if models.len() == 1 {
            return Ok(models.swap_remove(0));
        }
        let (path, share) = (models[0].path.clone(), 1.0 / models.len() as f64);
        let (mut members, mut weights) = (Vec::new(), Vec::new());
        for model in models {
            ensure!(
                model.combination.averaging == Averaging::Probabilities,
                "\"{}\" averages log-odds, so it cannot be averaged with other models; combine its members with \
                 `lstmtext ensemble`",
                model.path.display()
            );
            weights.extend(model.combination.weights.iter().map(|weight| share * weight));
            members.extend(model.members);
        }
        check_members(&members)?;
        let combination = Combination { averaging: Averaging::Probabilities, weights };
        Ok(Self { path, members, combination, calibration: None })
    }

    /// Opens the best checkpoints of a cross-validation, whose probabilities are averaged.
    fn open_folds(path: &Path, overrides: &[Override]) -> anyhow::Result<Self> {
        let unusable = || format!("cannot use the cross-validation \"{}\"", path.display());
        let (mut members, mut unfinished) = (Vec::new(), Vec::new());
        for run in fold_paths(path)? {
            // A run that is interrupted may have a best checkpoint, but no summary.
            match RunDirectory::open(&run).read_summary().with_context(unusable)? {
                Some(_) => {
                    members.push(Checkpoint::open_with(&run, overrides).with_context(unusable)?);
                }
                None => unfinished.push(run.file_name().unwrap_or_default().display().to_string()),
            }
        }
        ensure!(
            unfinished.is_empty(),
            "\"{}\" is a cross-validation that is not finished: there is no result of {}; continue it \
             with the command `lstmtext folds` with which it began",
            path.display(),
            join_names(&unfinished)
        );
        check_members(&members)?;
        let combination = Combination::equal(Averaging::Probabilities, members.len());
        Ok(Self { path: path.to_owned(), members, combination, calibration: None })
    }

    /// Configuration of the first member, whose data section is that of the ensemble.
    pub fn config(&self) -> &Config {
        &self.members[0].resolved.config
    }

    /// Label of each class.
    pub fn labels(&self) -> &[String] {
        &self.members[0].labels
    }

    /// Returns the same model without its calibration.
    pub fn uncalibrated(self) -> Self {
        Self { calibration: None, ..self }
    }

    /// Checkpoints whose calibration is not used, because their probabilities are averaged with others.
    pub fn unused_calibrations(&self) -> Vec<&Path> {
        let members = if self.is_ensemble() { &self.members[..] } else { &[] };
        let calibrated = members.iter().filter(|member| member.calibration.is_some());
        calibrated.map(|member| member.path.as_path()).collect()
    }

    /// Saves this calibration in the checkpoint or the ensemble, or removes it. Replaces the checkpoint, or the
    /// file of the ensemble, atomically.
    ///
    /// # Errors
    /// Returns an error if another process trains in the run of the checkpoint, if the checkpoint is a member
    /// of an ensemble or the model a cross-validation, or if a file cannot be written.
    pub fn save_calibration(&self, calibration: Option<&Calibration>) -> anyhow::Result<()> {
        let path = &self.path;
        if is_ensemble(path) {
            return EnsembleManifest::read(path)?.save_calibration(path, calibration);
        }
        let [checkpoint] = &self.members[..] else {
            bail!(
                "\"{}\" combines several models and cannot be calibrated; calibrate an ensemble \
                 (lstmtext ensemble) instead",
                path.display()
            );
        };
        let directory = path.canonicalize().unwrap_or_else(|_| path.clone());
        let parent = directory.parent().unwrap_or(&directory);
        if let Some(ensemble) = parent.parent().filter(|ensemble| is_ensemble(ensemble)) {
            bail!(
                "\"{}\" is a member of the ensemble \"{}\", which would not use its calibration; calibrate the \
                 ensemble",
                path.display(),
                ensemble.display()
            );
        }
        // A training would replace the checkpoint at the same time.
        let run = RunDirectory::open(parent);
        let is_of_run = directory == run.best() || directory == run.last();
        let _lock = is_of_run.then(|| run.lock()).transpose()?;
        checkpoint.save_calibration(calibration)
    }

    /// Returns true if there are several members.
    pub fn is_ensemble(&self) -> bool {
        self.members.len() > 1
    }
}

/// Returns true if the directory `path` is an ensemble.
pub fn is_ensemble(path: &Path) -> bool {
    path.join(ENSEMBLE).is_file()
}

/// Reads the configuration of a model like [`checkpoint::peek_config`]; that of the first member of an
/// ensemble.
pub fn peek_config(path: &Path, overrides: &[Override]) -> Option<Config> {
    let first = match () {
        () if is_ensemble(path) => member_path(path, 0),
        () if is_folds(path) => fold_paths(path).ok()?.swap_remove(0),
        () => path.to_owned(),
    };
    checkpoint::peek_config(&first, overrides)
}

/// Checks that checkpoints can be members of one ensemble.
///
/// # Errors
/// Returns an error if they have different labels or text columns.
pub fn check_members(members: &[Checkpoint]) -> anyhow::Result<()> {
    let first = &members[0];
    for other in members {
        ensure!(
            other.labels == first.labels,
            "\"{}\" has the labels {}, but \"{}\" has {}; the models of an ensemble need the same labels in \
             the same order (data.labels)",
            other.path.display(),
            join_names(&other.labels),
            first.path.display(),
            join_names(&first.labels)
        );
        let labelling = |checkpoint: &Checkpoint| checkpoint.resolved.config.data.labelling();
        ensure!(
            labelling(other) == labelling(first),
            "with \"{}\" and \"{}\", a text has one label in one model and several in the other \
             (data.multi_label); the models of an ensemble must agree",
            first.path.display(),
            other.path.display()
        );
    }
    check_columns(members)
}

fn check_columns(members: &[Checkpoint]) -> anyhow::Result<()> {
    let columns = |checkpoint: &Checkpoint| -> Vec<String> {
        let inputs = checkpoint.resolved.config.inputs.iter();
        let columns = inputs.map(|input| input.columns.0.iter().map(Column::key).collect());
        columns.map(|columns: Vec<String>| columns.join(" + ")).collect()
    };
    let first = &members[0];
    for other in members {
        ensure!(
            columns(other) == columns(first),
            "\"{}\" reads the text columns {}, but \"{}\" reads {}; the models of an ensemble need the same \
             columns in the same order, with the same of them in an input",
            other.path.display(),
            join_names(&columns(other)),
            first.path.display(),
            join_names(&columns(first))
        );
    }
    Ok(())
}

/// Writes an ensemble to the new directory `path`, as a whole or not at all. Calls `before_file` before
/// each file.
///
/// # Errors
/// Returns an error if the members do not fit together, `path` exists, a file cannot be written, or
/// `before_file` fails.
pub fn create_ensemble(
    path: &Path,
    members: &[Checkpoint],
    combination: &Combination,
    before_file: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    check_members(members)?;
    let member = |(checkpoint, weight): (&Checkpoint, &f64)| Member {
        weight: *weight,
        source: checkpoint.path.clone(),
        sha256: checkpoint.sha256().to_owned(),
    };
    let manifest = EnsembleManifest {
        format: FORMAT.into(),
        version: VERSION,
        lstmtext: env!("CARGO_PKG_VERSION").into(),
        labels: members[0].labels.clone(),
        average: combination.averaging,
        members: members.iter().zip(&combination.weights).map(member).collect(),
        calibration: None,
        sha256: String::new(),
    };
    let manifest = json_content(&manifest.seal()?)?;
    create_parent_directory(path)?;
    replace::create_directory(path, |directory| {
        create_directory(&directory.join(MEMBERS))?;
        for (index, checkpoint) in members.iter().enumerate() {
            checkpoint.copy_to(&member_path(directory, index), before_file)?;
        }
        before_file()?;
        write(&directory.join(ENSEMBLE), manifest)
    })
    .with_context(|| format!("cannot save the ensemble \"{}\"", path.display()))
}

/// Returns the directory of a member.
fn member_path(ensemble: &Path, index: usize) -> PathBuf {
    ensemble.join(MEMBERS).join((index + 1).to_string())
}
