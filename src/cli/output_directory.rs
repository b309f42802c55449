//! Checks of the directories that --out names.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::ConfigError;
use crate::io::replace::replaced_name;

/// Files of runs that do not make a directory foreign.
const OWN: [&str; 3] = [".lock", "error.txt", "log.txt"];

/// Returns true for the files of a run, also for one that a killed process was writing.
fn is_own(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    OWN.contains(&name) || replaced_name(name) == Some("config.yaml")
}

/// Checks that `path` is neither the root nor the home directory.
///
/// # Errors
/// Returns an error that says which directory to choose.
pub fn check(path: &Path) -> Result<(), ConfigError> {
    let Ok(directory) = fs::canonicalize(path) else { return Ok(()) };
    let home = std::env::var_os("HOME").and_then(|home| fs::canonicalize(PathBuf::from(home)).ok());
    let what = match () {
        () if directory.parent().is_none() => "the root directory",
        () if home.is_some_and(|home| home == directory) => "your home directory",
        () => return Ok(()),
    };
    let shown = path.display();
    Err(ConfigError::new(format!("--out \"{shown}\" is {what}; choose a new one, such as runs/a")))
}

/// Checks that `path` is a directory for a new run: one that does not exist, that is empty, or that has
/// files of a run.
///
/// # Errors
/// Returns an error that says which directory to choose.
pub fn check_new(path: &Path) -> Result<(), ConfigError> {
    check(path)?;
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name());
    if path.join("config.yaml").exists() {
        // Creating the run reports that there is one.
        return Ok(());
    }
    match names.find(|name| !is_own(name)) {
        None => Ok(()),
        Some(name) => Err(ConfigError::new(format!(
            "--out \"{}\" is not empty, it contains \"{}\"; choose a new directory, such as runs/a",
            path.display(),
            name.display()
        ))),
    }
}
