//! Finds runs. Changes nothing.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config;
use crate::run::checkpoint::{ModelKind, is_checkpoint, kind};
use crate::run::directory::RunDirectory;

/// Maximum depth of the search for runs. The runs of a sweep are at depth 2.
const MAX_DEPTH: usize = 6;

/// Finds the directories of runs that train classifiers in `directory`, which may be a run itself. The result is
/// sorted.
///
/// Skips checkpoints and hidden directories. Visits every directory once, even if several links lead
/// to it.
///
/// # Errors
/// Returns an error if `directory` cannot be read.
pub fn find(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut runs = find_all(directory)?;
    runs.retain(|run| !is_language_model(run));
    Ok(runs)
}

/// Finds the directories of runs that train language models, like [`find`].
///
/// # Errors
/// Returns an error if `directory` cannot be read.
pub fn find_language_models(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut runs = find_all(directory)?;
    runs.retain(|run| is_language_model(run));
    Ok(runs)
}

/// Returns true if a run trains a language model. Before its first checkpoint, this is not known.
pub fn is_language_model(run: &Path) -> bool {
    let run = RunDirectory::open(run);
    let kind = [run.best(), run.last()].iter().find_map(|path| kind(path));
    kind == Some(ModelKind::LanguageModel)
}

fn find_all(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    fs::read_dir(directory).with_context(|| format!("cannot read \"{}\"", directory.display()))?;
    let mut visited = HashSet::new();
    let mut runs = Vec::new();
    let mut queue = VecDeque::from([(0, directory.to_owned())]);
    // Links come last, so that a run is listed under its own name.
    let mut links = VecDeque::new();
    while let Some((depth, directory)) = queue.pop_front().or_else(|| links.pop_front()) {
        // Directories that have vanished or cannot be read are skipped.
        let Ok(identity) = fs::metadata(&directory) else { continue };
        if !visited.insert((identity.dev(), identity.ino())) || is_checkpoint(&directory) {
            continue;
        }
        for child in subdirectories(&directory).into_iter().filter(|_| depth < MAX_DEPTH) {
            let queue = if child.is_symlink() { &mut links } else { &mut queue };
            queue.push_back((depth + 1, child));
        }
        if is_run(&directory) {
            runs.push(directory);
        }
    }
    runs.sort();
    Ok(runs)
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let is_visible = |entry: &DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().filter(is_visible);
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Returns true if a directory is a run. A `config.yaml` counts only if it is a valid configuration,
/// because other programs have files of that name, too.
pub fn is_run(directory: &Path) -> bool {
    let run = RunDirectory::open(directory);
    [run.best(), run.last()].iter().any(|path| is_checkpoint(path))
        || run.records().is_ok_and(|records| !records.is_empty())
        || config::load_recorded(&run.config(), &[]).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::run::new_run::NewRun;

    const CONFIG: &str = "data: {train: x.csv}\n";

    #[test]
    fn every_run_is_found_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["b", "a/deep/er", "b/inside", "one/two/three/four/five/six/seven"] {
            NewRun::create(&path(name), CONFIG).unwrap().begin();
        }
        fs::create_dir_all(path("b/best")).unwrap();
        for name in ["config.yaml", "checkpoint.json"] {
            fs::write(path("b/best").join(name), CONFIG).unwrap();
        }
        fs::create_dir(path("other")).unwrap();
        fs::write(path("other/config.yaml"), "port: 80\n").unwrap();
        fs::create_dir(path(".hidden")).unwrap();
        fs::write(path(".hidden/config.yaml"), CONFIG).unwrap();
        symlink(directory.path(), path("a/loop")).unwrap();
        symlink(path("a/deep/er"), path("alias")).unwrap();
        let runs = find(directory.path()).unwrap();
        assert_eq!(runs, [path("a/deep/er"), path("b"), path("b/inside")]);
        assert_eq!(find(&path("b/inside")).unwrap(), [path("b/inside")]);
        assert!(find(&path("none")).unwrap_err().to_string().contains("none"));
    }
}
