//! Commands that a user may go on with.

use std::path::{Path, PathBuf};

/// How the user called this program.
pub fn program() -> String {
    std::env::args().next().map_or("lstmtext".into(), |name| quoted(Path::new(&name)))
}

/// The command that shows curves here: TensorBoard from the path, or from this checkout's tools.
pub fn tensorboard(curves: &Path) -> String {
    const OWN: &str = ".venv/bin/tensorboard";
    let on_path = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join("tensorboard").is_file())
    });
    let (program, remark) = match (on_path, Path::new(OWN).is_file()) {
        (true, _) => ("tensorboard", ""),
        (false, true) => (OWN, ""),
        (false, false) => ("tensorboard", "  (after pip install tensorboard)"),
    };
    format!("{program} --logdir {}{remark}", quoted(&relative(curves)))
}

/// A path from the current folder on, where it lies below it.
pub fn relative(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(below) if !below.as_os_str().is_empty() => below.to_owned(),
        _ => path.to_owned(),
    }
}

/// A path as a shell reads it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,@=".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}
