//! The directories of new runs: checks of those that --out names, and names of all others.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;

use crate::config::ConfigError;
use crate::io::files::create_directories;
use crate::io::replace::replaced_name;
use crate::output::sanitize::file_name;

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

/// Creates the directory `runs/NAME-TIME`, with a number if a run of the same name started in the same
/// second.
///
/// # Errors
/// Returns an error if the directory cannot be created.
pub fn create_run(name: &str) -> anyhow::Result<PathBuf> {
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let stamp = time.replace([':', '-'], "").replace('T', "-").replace('Z', "");
    let name = file_name(name);
    let runs = Path::new("runs");
    create_directories(runs)?;
    let mut number: u64 = 1;
    loop {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let directory = runs.join(format!("{name}-{stamp}{suffix}"));
        match fs::create_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            result => {
                result.with_context(|| format!("cannot create \"{}\"", directory.display()))?;
                return Ok(directory);
            }
        }
    }
}
