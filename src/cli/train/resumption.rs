//! Checkpoint and configuration from which a run resumes.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};

use crate::backend::Backend;
use crate::config::{AutoNumber, BackendKind, Override, Resolved};
use crate::output::note;
use crate::output::shell::quoted_path;
use crate::run::checkpoint::{self, Checkpoint, is_checkpoint};
use crate::run::directory::RunDirectory;
use crate::run::listing::is_language_model;
use crate::run::saved_model::is_ensemble;

/// Opens the directory of a run to resume.
pub fn open_run(path: &Path, rank: usize) -> anyhow::Result<RunDirectory> {
    if let Some(parent) = path.parent().filter(|_| is_checkpoint(path)) {
        bail!(
            "\"{}\" is a checkpoint; its run is \"{}\" (to start a new run from the weights of the \
             checkpoint, use train CONFIG --from)",
            path.display(),
            if parent.as_os_str().is_empty() { Path::new(".") } else { parent }.display()
        );
    }
    ensure!(
        !is_ensemble(path),
        "\"{}\" is an ensemble of checkpoints, not a run: resume the runs of its members, and combine them \
         again",
        path.display()
    );
    ensure!(
        !is_language_model(path),
        "\"{}\" is the run of a language model; to resume it, use pretrain --resume {}",
        path.display(),
        quoted_path(path)
    );
    let run = RunDirectory::open(path);
    let hint = match rank {
        0 => "",
        _ => "; the run directory must be on a file system that all processes share",
    };
    ensure!(run.can_resume(), "\"{}\" is not a run: config.yaml is missing{hint}", path.display());
    Ok(run)
}

/// Opens the later of the checkpoints `last/` and `best/`: a run that was killed may have saved `best/`
/// after `last/`.
pub fn latest_checkpoint(
    run: &RunDirectory,
    overrides: &[Override],
) -> anyhow::Result<Option<Checkpoint>> {
    let mut latest: Option<(u64, PathBuf)> = None;
    for path in [run.last(), run.best()].into_iter().filter(|path| path.exists()) {
        let progress = checkpoint::progress(&path);
        if progress.is_err() {
            // Its error says what is damaged, and whether the other checkpoint is intact.
            Checkpoint::open_with(&path, overrides)?;
        }
        let step = progress?.step;
        // A frozen model, whose run was killed before it saved the state with which training begins.
        if step == 0 && path == run.best() && latest.is_none() && !run.has_summary() {
            continue;
        }
        if latest.as_ref().is_none_or(|(other, _)| step > *other) {
            latest = Some((step, path));
        }
    }
    let Some((_, path)) = latest else { return Ok(None) };
    if path != run.best() && run.best().exists() {
        // It is needed only at the end, but then it would be too late.
        checkpoint::check(&run.best())?;
    }
    Checkpoint::open_with(&path, overrides).map(Some)
}

/// Returns the configuration of a run that resumes. Earlier versions cut a batch into as many shards
/// as there were threads, and did not save the number.
pub fn resumed_configuration(
    checkpoint: &Checkpoint,
    backend: &dyn Backend,
    threads: usize,
) -> Resolved {
    let mut resolved = checkpoint.resolved.clone();
    let is_auto = |resolved: &Resolved| resolved.config.train.shards == AutoNumber::Auto;
    let mut shards = resolved.config.train.shard_count();
    if is_auto(&resolved)
        && checkpoint.saved.as_ref().is_none_or(is_auto)
        && backend.kind() == BackendKind::Native
    {
        shards = threads;
        note(format!(
            "the checkpoint does not say into how many shards the run cuts a batch: it continues with \
             {shards}, the number of threads; if it began with N threads, --set train.shards=N \
             continues it with the same rounding"
        ));
    }
    resolved.set_shards(shards);
    resolved
}
