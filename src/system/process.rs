//! This process: its floating-point mode, its memory, and what it goes on as.

use std::env;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::output::say;

/// Prepares the process: call it in `main` before any thread is started.
pub fn start() {
    flush_denormals();
    keep_memory();
    // A file that has reached a limit of the system is an error like a full disk.
    // SAFETY: no handler is set that could run.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Lets this process have as many open files, connections among them, as the system allows it.
pub fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be, those that are allowed are many too.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Whether this process ignores a signal, since whoever started it wanted it so.
pub fn ignores(signal: i32) -> bool {
    // SAFETY: an all-zero sigaction is valid, and the call only writes to it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Sets the number of threads of this program's own work; by default as many as OMP_NUM_THREADS
/// says, as for libtorch, or as there are cores. The thread that calls it is one of them, so that it
/// need not be woken after every step. Only the first call counts.
///
/// # Errors
/// Where the system refuses a thread.
pub fn set_threads(threads: Option<NonZeroUsize>) -> anyhow::Result<()> {
    static SET: AtomicBool = AtomicBool::new(false);
    if SET.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let openmp = || env::var("OMP_NUM_THREADS").ok()?.split(',').next()?.trim().parse().ok();
    let threads = threads.or_else(openmp).map_or(0, NonZeroUsize::get);
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    if threads > cores {
        say(format!(
            "note: {threads} threads share {cores} cores, which is slower than one for each"
        ));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread();
    pool.build_global().context("cannot start the threads to compute with")
}

/// The threads of this program's own work.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Treats denormal floats as zero in this thread and in every thread it starts.
///
/// Gradients that are carried back through hundreds of steps become denormal, and every operation
/// on such a number costs 10 to 100 times as much.
fn flush_denormals() {
    #[cfg(target_arch = "x86_64")]
    {
        const FLUSH_TO_ZERO: u32 = 1 << 15;
        const DENORMALS_ARE_ZERO: u32 = 1 << 6;
        let mut control: u32 = 0;
        // SAFETY: both instructions only move the SSE control register to and from a local. The
        // bits set concern denormals alone; rounding and exception masks stay as Rust expects.
        // Rust asks for the default of these bits too: what it computes at compile time may keep
        // denormals that are zero at run time, which no result here depends on.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &mut control, options(nostack));
            control |= FLUSH_TO_ZERO | DENORMALS_ARE_ZERO;
            std::arch::asm!("ldmxcsr [{}]", in(reg) &control, options(nostack));
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        const FLUSH_TO_ZERO: u64 = 1 << 24;
        let mut control: u64;
        // SAFETY: reads and writes the floating-point control register of this thread; the bit
        // set concerns denormals alone.
        unsafe {
            std::arch::asm!("mrs {}, fpcr", out(reg) control);
            control |= FLUSH_TO_ZERO;
            std::arch::asm!("msr fpcr, {}", in(reg) control);
        }
    }
}

/// Keeps freed memory for the next step instead of giving it back to the system, which would
/// fault it in again page by page.
fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// The largest value that glibc takes.
        const MMAP_THRESHOLD: libc::c_int = 32 << 20;
        const TRIM_THRESHOLD: libc::c_int = libc::c_int::MAX;
        // SAFETY: mallopt takes plain numbers; no other thread runs yet.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
            libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD);
        }
    }
}

/// The rounds that a waiting OpenMP thread spins before it sleeps.
const SPIN_COUNT: &str = "1000";

/// The program that has libtorch; it lies beside this one.
const WITH_LIBTORCH: &str = "lstmtext-torch";

/// Goes on as the program that has libtorch, with the same arguments; returns only where that
/// fails, with the reason.
///
/// Loading libtorch takes longer than most answers do, so that the program which is called does
/// without it as long as it can. With `long_work` libtorch's threads wait politely: they belong to
/// GNU OpenMP, where a waiting thread spins 300,000 rounds by default, some 10 ms in which nobody
/// else has its core. Beside another busy process every step then waits for threads that only
/// wait: two trainings at once on two cores were 100 times slower than one. OpenMP reads its
/// setting from the environment when it is loaded; a setting of the user's stays.
pub fn launch_torch_program(long_work: bool) -> anyhow::Error {
    const VARIABLES: [&str; 2] = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"];
    let own = match env::current_exe() {
        Ok(path) => path,
        Err(error) => return anyhow::Error::new(error).context("cannot find this program's file"),
    };
    let path = own.with_file_name(WITH_LIBTORCH);
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| "lstmtext".into());
    let mut command = Command::new(&path);
    command.arg0(name).args(arguments);
    let elsewhere = env::var_os(LIBTORCH).filter(|folder| !folder.is_empty());
    match elsewhere.map(|folder| libraries(Path::new(&folder))) {
        None => {}
        Some(Ok(folder)) => {
            let others = env::var_os(LIBRARY_PATH).unwrap_or_default();
            let paths = [folder].into_iter().chain(env::split_paths(&others));
            match env::join_paths(paths.filter(|path| !path.as_os_str().is_empty())) {
                Ok(paths) => command.env(LIBRARY_PATH, paths),
                Err(error) => return anyhow::Error::new(error).context(LIBTORCH),
            };
        }
        Some(Err(error)) => return error,
    }
    // cuBLAS, which cuDNN calls too, computes the same twice only with such work spaces, 32 MB.
    const CUBLAS: &str = "CUBLAS_WORKSPACE_CONFIG";
    if env::var_os(CUBLAS).is_none() {
        command.env(CUBLAS, ":4096:8");
    }
    if long_work && VARIABLES.iter().all(|name| env::var_os(name).is_none()) {
        command.env(VARIABLES[0], SPIN_COUNT);
    }
    let error = command.exec();
    anyhow::Error::new(error)
        .context(format!("cannot start \"{}\", which has to lie beside lstmtext", path.display()))
}

/// The version of libtorch that this program is made for.
pub const LIBTORCH_VERSION: &str = "2.11.0";

/// Names another folder of libtorch than the one that the program was built with.
const LIBTORCH: &str = "LSTMTEXT_LIBTORCH";

/// Where the system looks for libraries first.
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// The folder with libtorch's libraries: `folder` itself, or its `lib`, as in libtorch and in
/// PyTorch's own folder.
///
/// # Errors
/// Where they are not there, or those of another version.
fn libraries(folder: &Path) -> anyhow::Result<PathBuf> {
    let given = folder.display();
    let places = [folder.to_owned(), folder.join("lib")];
    let Some(found) = places.into_iter().find(|place| place.join("libtorch_cpu.so").exists())
    else {
        bail!(
            "{LIBTORCH} is \"{given}\", where no libtorch_cpu.so is, nor in lib below: name the folder \
             of libtorch {LIBTORCH_VERSION}, as site-packages/torch"
        );
    };
    let found = std::path::absolute(found)?;
    // Of libtorch the one file, of PyTorch the other.
    for name in ["build-version", "version.py"] {
        let Some(text) =
            found.parent().and_then(|parent| fs::read_to_string(parent.join(name)).ok())
        else {
            continue;
        };
        let quoted = text.split_once("__version__ = '").map_or(&*text, |(_, rest)| rest);
        let version = quoted.split(['\'', '+', '\n']).next().unwrap_or_default();
        ensure!(
            version == LIBTORCH_VERSION,
            "{LIBTORCH} is \"{given}\", which has libtorch {version}; this program is made for \
             {LIBTORCH_VERSION}"
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorch_is_looked_for_where_it_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        let found = || libraries(folder.path()).map_err(|error| error.to_string());
        let error = found().unwrap_err();
        assert!(error.contains("no libtorch_cpu.so is") && error.contains("2.11.0"), "{error}");
        file("lib/libtorch_cpu.so", "");
        assert_eq!(found().unwrap(), folder.path().join("lib"));
        assert_eq!(libraries(&folder.path().join("lib")).unwrap(), folder.path().join("lib"));
        file("build-version", "2.11.0+cpu\n");
        file("version.py", "__all__ = []\n__version__ = '2.11.0+cu130'\ndebug = False\n");
        assert!(found().is_ok());
        file("version.py", "__all__ = []\n__version__ = '2.10.1+cu126'\ndebug = False\n");
        let error = found().unwrap_err();
        assert!(error.contains("has libtorch 2.10.1; this program is made for 2.11.0"), "{error}");
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[test]
    fn denormals_become_zero_here_and_in_threads_started_later() {
        let product = || std::hint::black_box(1e-30_f32) * std::hint::black_box(1e-10_f32);
        std::thread::spawn(move || {
            assert!(product() > 0.0, "denormals exist before");
            super::flush_denormals();
            assert_eq!(product(), 0.0);
            assert_eq!(std::thread::spawn(product).join().unwrap(), 0.0);
        })
        .join()
        .unwrap();
    }
}
