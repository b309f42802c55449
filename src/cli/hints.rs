//! Commands that the program suggests to run next.

use std::path::{Path, PathBuf};

use crate::output::shell::{quoted, quoted_path};

/// Name under which this program was called.
pub fn program() -> String {
    std::env::args_os().next().map_or("lstmtext".into(), |name| quoted(&name))
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

/// Returns a path relative to the current directory if it is inside it.
pub fn relative(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(below) if !below.as_os_str().is_empty() => below.to_owned(),
        _ => path.to_owned(),
    }
}
