//! The processes that a launcher has started for a command.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::arguments::ComputeArgs;
use crate::backend::Backends;
use crate::config::{ConfigError, positive_integer};
use crate::distributed::{Collective, FailedRank, Reported, SingleProcess};
use crate::output::silence;
use crate::system::device::{DeviceChoice, driver};
use crate::system::processes::LaunchedProcess;
use crate::system::threads;

/// Default of --process-timeout.
const TIMEOUT: &str = "300";
/// Interval at which the others hear of long work of rank 0. Timeouts are at least as long.
const HEARTBEAT: Duration = Duration::from_millis(300);

/// Use of other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Distributed {
    /// Join the processes that a launcher such as torchrun has started
    Auto,
    /// Run alone
    Off,
}

/// Arguments of commands that several processes run together.
#[derive(Debug, Args)]
pub struct ProcessArgs {
    /// auto: join the other processes that a launcher (torchrun, srun) has started; off: run alone
    #[arg(long, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    distributed: Distributed,
    /// Seconds without a response after which another process counts as lost
    #[arg(long, value_name = "SECONDS", value_parser = positive_integer, default_value = TIMEOUT)]
    process_timeout: NonZeroUsize,
}

/// The processes that run a command together: one, or those that a launcher has started.
#[derive(Clone, Debug)]
pub struct Processes {
    /// Communication between them.
    pub collective: Arc<dyn Collective>,
    launched: Option<LaunchedProcess>,
    /// Name of the machine of each process.
    hosts: Vec<Vec<u8>>,
}

/// Returns the lines that must be the same before processes do anything together.
pub fn identity(command: &str) -> [String; 1] {
    [format!("lstmtext {} {command}", env!("CARGO_PKG_VERSION"))]
}

impl ProcessArgs {
    /// Joins the other processes that run this command, if there are any. From then on, only rank 0 prints. A
    /// program without libtorch continues as another one: call this before any work is done.
    ///
    /// # Errors
    /// Returns an error if the variables of the launcher are wrong, if the processes do not find each other, or
    /// if they run different versions of this program.
    pub fn join(&self, backends: &dyn Backends, command: &str) -> anyhow::Result<Processes> {
        let launched = match self.distributed {
            Distributed::Auto => LaunchedProcess::from_env().map_err(ConfigError::new)?,
            Distributed::Off => None,
        };
        let Some(launched) = launched else { return Ok(Processes::alone()) };
        let timeout = Duration::from_secs(self.process_timeout.get() as u64);
        let collective: Arc<dyn Collective> = backends.join(&launched, timeout)?.into();
        if !collective.leads() {
            silence();
        }
        collective.ensure_same(&identity(command))?;
        let hosts = collective.gather_bytes(&host_name())?;
        Ok(Processes { collective, launched: Some(launched), hosts })
    }

    /// Returns these arguments as words of a command; none for the defaults.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let has_launcher = LaunchedProcess::from_env().is_ok_and(|launched| launched.is_some());
        if self.distributed == Distributed::Off && has_launcher {
            words.extend(["--distributed", "off"].map(str::to_owned));
        }
        let timeout = self.process_timeout.to_string();
        if timeout != TIMEOUT {
            words.extend(["--process-timeout".to_owned(), timeout]);
        }
        words
    }
}

impl Processes {
    /// Returns a group without other processes.
    pub fn alone() -> Self {
        Self { collective: Arc::new(SingleProcess), launched: None, hosts: Vec::new() }
    }

    /// Returns the device and the threads of this process: each process on a machine gets its own CUDA device,
    /// and an equal share of the cores, unless the launcher has bound it to some of them.
    pub fn compute(&self, args: &ComputeArgs) -> ComputeArgs {
        let ComputeArgs { mut device, mut threads } = *args;
        let Some(launched) = &self.launched else { return ComputeArgs { device, threads } };
        let devices = || driver().map_or(0, |driver| driver.devices.len());
        let (local_rank, local_size) = self.local(launched);
        device = match device {
            DeviceChoice::Auto => DeviceChoice::AutoLocal(local_rank),
            DeviceChoice::Cuda(0) if devices() > 1 => DeviceChoice::Cuda(local_rank),
            other => other,
        };
        let is_chosen = threads.is_some()
            || env::var_os("OMP_NUM_THREADS").is_some()
            || threads::cores() < threads::cores_of_machine();
        if !is_chosen {
            threads = NonZeroUsize::new((threads::cores() / local_size.max(1)).max(1));
        }
        ComputeArgs { device, threads }
    }

    /// Returns the rank of this process among those on its machine, and their number: as the launcher says, or by
    /// the names of the machines.
    fn local(&self, launched: &LaunchedProcess) -> (usize, usize) {
        if let Some(size) = launched.local_size {
            return (launched.local_rank, size);
        }
        let own = self.hosts.get(launched.rank);
        let count = |hosts: &[Vec<u8>]| hosts.iter().filter(|host| Some(*host) == own).count();
        let before = count(&self.hosts[..launched.rank.min(self.hosts.len())]);
        (launched.local_rank.max(before), count(&self.hosts))
    }

    /// Returns the number of threads of all processes.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn threads(&self) -> anyhow::Result<usize> {
        let threads = self.collective.gather_number(threads::count() as u64)?;
        Ok(threads.into_iter().sum::<u64>() as usize)
    }

    /// Returns the number of cores for which batches are cut into shards: those of rank 0's machine, or the threads
    /// of several processes if there are more.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn cores(&self) -> anyhow::Result<usize> {
        let cores = self.collective.gather_number(threads::cores() as u64)?[0] as usize;
        Ok(if self.collective.is_alone() { cores } else { cores.max(self.threads()?) })
    }

    /// Does work in the process of rank 0, such as writing files. All processes get its error.
    ///
    /// # Errors
    /// Returns the error of the work, or one if a process is lost.
    pub fn on_first<T>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        self.collective.agree(self.collective.leads().then(work).transpose())
    }

    /// Does work in the process of rank 0 that may take longer than the others wait for a process that does not
    /// respond: the work calls its argument, the heartbeat, more often than that. All processes get its error.
    ///
    /// # Errors
    /// Returns the error of the work, or one if a process is lost.
    pub fn on_first_with_heartbeat<T>(
        &self,
        work: impl FnOnce(&dyn Fn() -> anyhow::Result<()>) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        if !self.collective.leads() {
            while self.collective.broadcast_flag(false)? {}
            return self.collective.agree(Ok(None));
        }
        let last = Cell::new(Instant::now());
        let result = work(&|| {
            if last.get().elapsed() < HEARTBEAT {
                return Ok(());
            }
            last.set(Instant::now());
            self.collective.broadcast_flag(true).map(drop)
        });
        self.collective.broadcast_flag(false)?;
        self.collective.agree(result.map(Some))
    }

    /// Does work in all processes, first in that of rank 0, so that the others find what it leaves.
    ///
    /// # Errors
    /// Returns the error of the work of any process, or one if a process is lost.
    pub fn one_by_one<T>(&self, work: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let first = self.on_first(&work)?;
        self.collective.agree(first.map_or_else(work, Ok))
    }

    /// Checks that several processes do not read stdin, of which each would get a part, or nothing. `argument`
    /// is the one that names a file.
    ///
    /// # Errors
    /// Returns an error if they would.
    pub fn refuse_stdin(&self, argument: &str, path: Option<&Path>) -> anyhow::Result<()> {
        match path {
            Some(path) if path == Path::new("-") && !self.collective.is_alone() => {
                let error = ConfigError::new(format!(
                    "several processes cannot share stdin; name a file with {argument}, or use --distributed off"
                ));
                self.collective.agree(Err(error.into()))
            }
            _ => Ok(()),
        }
    }

    /// Adds the rank of this process to an error that the others do not know of, and lets them fail.
    pub fn finish<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        let is_known = |error: &anyhow::Error| error.is::<FailedRank>() || error.is::<Reported>();
        result.map_err(|error| match self.collective.is_alone() || is_known(&error) {
            true => error,
            false => {
                self.collective.abandon();
                error.context(FailedRank(self.collective.worker().rank))
            }
        })
    }
}

/// "4 processes on 2 hosts, Gloo"; nothing for a single process.
impl fmt::Display for Processes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let size = self.collective.worker().world_size;
        let hosts = self.hosts.iter().collect::<BTreeSet<_>>().len();
        match size {
            1 => Ok(()),
            _ => {
                let host = if hosts == 1 { "host" } else { "hosts" };
                let library = self.collective.library();
                write!(f, ", {size} processes on {hosts} {host}, {library}")
            }
        }
    }
}

/// Returns the name of this machine; empty if it has none.
pub fn host_name() -> Vec<u8> {
    rustix::system::uname().nodename().to_bytes().to_vec()
}
