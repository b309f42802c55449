//! Commands and advice that the program prints.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use crate::config::{DataConfig, Override};
use crate::distributed::{FailedRank, Reported};
use crate::output::shell::{quoted, quoted_path};

/// Name under which this program was called.
pub fn program() -> String {
    std::env::args_os().next().map_or("lstmtext".into(), |name| quoted(&name))
}

/// Options that set the fields of `overrides`, each with a space before it.
pub fn set_options(overrides: &[Override]) -> String {
    let option = |set: &Override| format!(" --set {}", quoted(set.to_string().as_ref()));
    overrides.iter().map(option).collect()
}

/// Command that starts TensorBoard: the one in PATH, or the one in `.venv`.
pub fn tensorboard(curves: &Path) -> String {
    const LOCAL: &str = ".venv/bin/tensorboard";
    let on_path = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join("tensorboard").is_file())
    });
    let (program, remark) = match (on_path, Path::new(LOCAL).is_file()) {
        (true, _) => ("tensorboard", ""),
        (false, true) => (LOCAL, ""),
        (false, false) if Path::new("scripts/setup.sh").is_file() => {
            ("tensorboard", "  (make tensorboard installs and starts it)")
        }
        (false, false) => ("tensorboard", "  (first: pip install tensorboard)"),
    };
    format!("{program} --logdir {}{remark}", quoted_path(&relative(curves)))
}

/// Adds advice to the error of reading the data of a run, if a file that it names does not exist.
pub fn missing_data(error: anyhow::Error, data: &DataConfig) -> anyhow::Error {
    let files = [
        ("data.train", Some(&data.train)),
        ("data.validation", data.validation.as_ref()),
        ("data.test", data.test.as_ref()),
        ("data.unlabelled", data.unlabelled.as_ref()),
    ];
    let failed = error.downcast_ref::<FailedRank>().copied();
    let is_reported = error.is::<Reported>();
    let mut message = format!("{error:#}");
    let missing = files.into_iter().find(|(_, path)| {
        path.is_some_and(|path| !path.exists() && message.contains(&*path.to_string_lossy()))
    });
    let Some((field, _)) = missing else { return error };
    if let Some(failed) = failed {
        message = message.replacen(&format!("{failed}: "), "", 1);
    }
    let advice = "if the data was moved, pass its new path with --set";
    let mut advised = anyhow!("{message}; {advice} {field}=PATH");
    if let Some(failed) = failed {
        advised = advised.context(failed);
    }
    if is_reported { advised.context(Reported) } else { advised }
}

/// Returns a path relative to the current directory if it is inside it.
pub fn relative(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(below) if !below.as_os_str().is_empty() => below.to_owned(),
        _ => path.to_owned(),
    }
}
