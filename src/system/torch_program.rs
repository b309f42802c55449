//! Launching `lstmtext-torch`, the program that is linked with libtorch.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow, bail, ensure};

use crate::io::files::{self, SETTINGS_LIMIT};

/// Version of libtorch that `lstmtext-torch` is built for.
pub const LIBTORCH_VERSION: &str = "2.11.0";

/// File name of the program. It is in the same directory as this one.
const PROGRAM: &str = "lstmtext-torch";

/// Environment variable with the directory of another libtorch than the one it was built with.
const LIBTORCH: &str = "LSTMTEXT_LIBTORCH";

/// True in a package for other machines, which does not know the directory of libtorch when it is built.
const IS_PACKAGED: bool = option_env!("LSTMTEXT_PACKAGED").is_some();

/// Directories that the dynamic linker searches first.
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// Replaces this process with `lstmtext-torch`, which gets the same arguments. Returns only on failure,
/// with the reason.
///
/// Loading libtorch takes longer than most commands, so `lstmtext` avoids it whenever it can.
///
/// `is_long_running` makes the threads of libtorch yield the CPU while they wait. They belong to
/// GNU OpenMP, which spins for 300,000 rounds by default, about 10 ms per core. On a busy machine
/// every step then waits for spinning threads: two training runs on two cores were 100 times slower
/// than one. OpenMP reads the setting from the environment when it is loaded; a setting of the user
/// wins.
pub fn launch(is_long_running: bool) -> anyhow::Error {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| "lstmtext".into());
    match prepare(is_long_running) {
        Err(error) => error,
        Ok(mut command) => {
            let path = PathBuf::from(command.get_program());
            let error = command.arg0(name).args(arguments).exec();
            anyhow::Error::new(error).context(format!(
                "`backend: libtorch`, CUDA devices and several processes need \"{}\", which cannot be \
                 started; {}, or compute with --device cpu and --set backend=native in a single process",
                path.display(),
                installation(),
            ))
        }
    }
}

/// Returns true if the program is installed in the same directory as this one, and libtorch where it is looked for.
pub fn is_installed() -> bool {
    let has_libtorch = || !IS_PACKAGED || named_libtorch().is_some() || beside().is_some();
    env::current_exe().is_ok_and(|path| path.with_file_name(PROGRAM).is_file()) && has_libtorch()
}

/// Returns the directory in the environment variable.
fn named_libtorch() -> Option<OsString> {
    env::var_os(LIBTORCH).filter(|directory| !directory.is_empty())
}

/// Returns what to do if the program or libtorch is missing.
pub fn installation() -> String {
    match IS_PACKAGED {
        true => format!(
            "install torch=={LIBTORCH_VERSION} in the Python environment of this program (pip install \
             'lstmtext[cuda]'), or set {LIBTORCH} to the directory of libtorch {LIBTORCH_VERSION}"
        ),
        false => "build it with `make build`".to_owned(),
    }
}

/// Returns the directory of PyTorch in the Python environment in whose `bin` this program is.
fn beside() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    torch_in(program.parent()?.parent()?)
}

/// Returns the directory of PyTorch in a Python environment. If several Pythons have one, it is one of the right
/// version, or else that of the newest Python.
fn torch_in(prefix: &Path) -> Option<PathBuf> {
    // The 12 of python3.12.
    let minor =
        |name: &str| name.strip_prefix("python3.")?.trim_end_matches('t').parse::<u32>().ok();
    let mut found = Vec::new();
    // `pip install --target` puts packages beside `bin`.
    found.push((0, prefix.join("torch")));
    // Red Hat has lib64, and Debian's own Python dist-packages.
    for entry in ["lib", "lib64"].iter().flat_map(|lib| fs::read_dir(prefix.join(lib))).flatten() {
        let Some((entry, minor)) =
            entry.ok().and_then(|entry| Some((entry.path(), minor(entry.file_name().to_str()?)?)))
        else {
            continue;
        };
        found.extend(
            ["site-packages", "dist-packages"].map(|name| (minor, entry.join(name).join("torch"))),
        );
    }
    found.retain(|(_, path)| path.join("lib/libtorch_cpu.so").exists());
    let torch =
        found.into_iter().max_by_key(|(minor, path)| (find_libraries(path, "").is_ok(), *minor));
    torch.map(|(_, path)| path)
}

fn prepare(is_long_running: bool) -> anyhow::Result<Command> {
    let this_program = env::current_exe().context("cannot find the path of this program")?;
    let mut command = Command::new(this_program.with_file_name(PROGRAM));
    if let Some(directory) = named_libtorch() {
        let libraries = find_libraries(Path::new(&directory), LIBTORCH)?;
        command.env(LIBRARY_PATH, library_path(libraries)?);
    } else if IS_PACKAGED {
        let torch = beside().with_context(|| {
            format!(
                "`backend: libtorch`, CUDA devices and several processes need libtorch; {}, or compute with \
                 --device cpu and --set backend=native in a single process",
                installation()
            )
        })?;
        let libraries = find_libraries(&torch, "the PyTorch of this environment")
            .map_err(|error| anyhow!("{error}; {}", installation()))?;
        command.env(LIBRARY_PATH, library_path(libraries)?);
    }
    // cuBLAS, also when called by cuDNN, is only deterministic with such a workspace of 32 MB.
    const CUBLAS: &str = "CUBLAS_WORKSPACE_CONFIG";
    if env::var_os(CUBLAS).is_none() {
        command.env(CUBLAS, ":4096:8");
    }
    /// Rounds that a waiting OpenMP thread spins before it sleeps.
    const SPIN_COUNT: (&str, &str) = ("GOMP_SPINCOUNT", "1000");
    let is_set = |name: &str| env::var_os(name).is_some();
    if is_long_running && !is_set(SPIN_COUNT.0) && !is_set("OMP_WAIT_POLICY") {
        command.env(SPIN_COUNT.0, SPIN_COUNT.1);
    }
    Ok(command)
}

/// Returns LD_LIBRARY_PATH with the directory of libtorch's libraries in front.
fn library_path(libraries: PathBuf) -> anyhow::Result<OsString> {
    let others = env::var_os(LIBRARY_PATH).unwrap_or_default();
    let paths = [libraries].into_iter().chain(env::split_paths(&others));
    env::join_paths(paths.filter(|path| !path.as_os_str().is_empty())).context(LIBTORCH)
}

/// Returns the directory of libtorch's libraries: `directory` itself or its `lib`, as in libtorch's
/// and in PyTorch's own directory. `name` tells where the directory comes from.
///
/// # Errors
/// Returns an error if the libraries are missing or have another version.
fn find_libraries(directory: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let given = directory.display();
    let candidates = [directory.to_owned(), directory.join("lib")];
    let Some(libraries) = candidates.into_iter().find(|path| path.join("libtorch_cpu.so").exists())
    else {
        bail!(
            "{name} is \"{given}\", but neither it nor its lib directory contains \
             libtorch_cpu.so; set it to the directory of libtorch {LIBTORCH_VERSION}, such as \
             site-packages/torch"
        );
    };
    let libraries = std::path::absolute(libraries)?;
    // libtorch has the first file, PyTorch the second.
    for name in ["build-version", "version.py"] {
        let file = libraries.parent().map(|parent| parent.join(name));
        let Some(bytes) = file.and_then(|file| files::read(&file, SETTINGS_LIMIT).ok()) else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        let quoted = text.split_once("__version__ = '").map_or(&*text, |(_, rest)| rest);
        let version = quoted.split(['\'', '+', '\n']).next().unwrap_or_default();
        ensure!(
            version == LIBTORCH_VERSION,
            "{name} is \"{given}\", which contains libtorch {version}; this program needs \
             {LIBTORCH_VERSION}"
        );
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_libtorch_is_found_and_its_version_checked() {
        let directory = tempfile::tempdir().unwrap();
        let file = |path, content| fs::write(directory.path().join(path), content).unwrap();
        let find = || find_libraries(directory.path(), LIBTORCH).map_err(|error| error.to_string());
        let error = find().unwrap_err();
        assert!(error.contains("contains libtorch_cpu.so") && error.contains("2.11.0"), "{error}");
        fs::create_dir(directory.path().join("lib")).unwrap();
        file("lib/libtorch_cpu.so", "");
        assert_eq!(find().unwrap(), directory.path().join("lib"));
        assert_eq!(
            find_libraries(&directory.path().join("lib"), LIBTORCH).unwrap(),
            directory.path().join("lib")
        );
        file("build-version", "2.11.0+cpu\n");
        file("version.py", "__all__ = []\n__version__ = '2.11.0+cu130'\ndebug = False\n");
        assert!(find().is_ok());
        file("version.py", "__all__ = []\n__version__ = '2.10.1+cu126'\ndebug = False\n");
        let error = find().unwrap_err();
        assert!(error.contains("contains libtorch 2.10.1; this program needs 2.11.0"), "{error}");
    }

    #[test]
    fn pytorch_is_found_in_the_environment_of_the_program() {
        let prefix = tempfile::tempdir().unwrap();
        let add = |path: &str| fs::create_dir_all(prefix.path().join(path)).unwrap();
        let found = || torch_in(prefix.path());
        assert_eq!(found(), None);
        for python in ["python3.9/site-packages", "python3.11/dist-packages", "python3/x", "other"]
        {
            add(&format!("lib/{python}/torch/lib"));
        }
        assert_eq!(found(), None, "without libraries");
        for python in ["python3.9/site-packages", "python3.11/dist-packages"] {
            let file = format!("lib/{python}/torch/lib/libtorch_cpu.so");
            fs::write(prefix.path().join(file), "").unwrap();
        }
        let newest = prefix.path().join("lib/python3.11/dist-packages/torch");
        assert_eq!(found(), Some(newest.clone()));
        // Only the older Python has the right version.
        fs::write(newest.join("version.py"), "__version__ = '2.10.0'\n").unwrap();
        assert_eq!(found(), Some(prefix.path().join("lib/python3.9/site-packages/torch")));
    }
}
