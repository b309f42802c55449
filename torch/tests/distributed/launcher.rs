//! Starting the processes of a test.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::{BINARY, DEADLINE, ENVIRONMENT, TestDir};
use crate::roles::{OUTPUT, ROLE, TIMEOUT};

/// Interval at which the tests look for an event.
const POLL: Duration = Duration::from_millis(5);

/// Variables that a launcher or a scheduler around the tests may have set.
pub const VARIABLES: [&str; 14] = [
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_USE_AGENT_STORE",
    "TORCHELASTIC_RESTART_COUNT",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "GLOO_SOCKET_IFNAME",
    "TORCH_CPP_LOG_LEVEL",
];

/// Settings of the processes of a test.
pub struct Launch {
    size: usize,
    port: u16,
    variables: Vec<(&'static str, String)>,
    /// Directories in which the ranks start, below that of the test.
    directories: &'static [&'static str],
}

/// The end of a process.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Processes of a test, which are killed when this is dropped.
pub struct Processes {
    directory: TempDir,
    children: Vec<(usize, Child)>,
}

impl Launch {
    /// A group of `size` processes that meet at a free port.
    pub fn of(size: usize) -> Self {
        Self { size, port: free_port(), variables: Vec::new(), directories: &[] }
    }

    /// Sets a variable in the environment of all processes.
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.variables.push((name, value.to_string()));
        self
    }

    /// Starts the ranks in these directories below that of the test.
    pub fn in_directories(self, directories: &'static [&'static str]) -> Self {
        Self { directories, ..self }
    }

    /// Uses this port instead of a free one.
    pub fn at(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Prepares a command as the process of a rank.
    pub fn prepare(&self, command: &mut Command, rank: usize) {
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.envs(ENVIRONMENT).env("RANK", rank.to_string());
        command.env("WORLD_SIZE", self.size.to_string()).env("LOCAL_RANK", rank.to_string());
        command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", self.port.to_string());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }

    /// Starts some ranks in a role, with a timeout of the group in seconds.
    pub fn start(&self, role: &str, timeout: u64, ranks: &[usize]) -> Processes {
        let program = std::env::current_exe().unwrap();
        self.start_with(ranks, |_, output| {
            let mut command = Command::new(&program);
            command.args(["--exact", "roles::process_of_a_group", "--nocapture"]);
            command.env(ROLE, role).env(TIMEOUT, timeout.to_string()).env(OUTPUT, output);
            command
        })
    }

    /// Starts all ranks with the words of `line` as arguments of `lstmtext-torch`.
    pub fn start_program(&self, line: &str) -> Processes {
        let ranks: Vec<usize> = (0..self.size).collect();
        self.start_with(&ranks, |_, _| {
            let mut command = Command::new(BINARY);
            command.args(line.split_whitespace());
            command
        })
    }

    /// Starts all ranks in a directory. `line` returns the words of the arguments of a rank.
    pub fn start_in(&self, dir: &TestDir, line: impl Fn(usize) -> String) -> Processes {
        let ranks: Vec<usize> = (0..self.size).collect();
        self.start_with(&ranks, |rank, _| {
            let mut command = Command::new(BINARY);
            let directory = self.directories.get(rank).copied().unwrap_or_default();
            command.current_dir(dir.path(directory)).args(line(rank).split_whitespace());
            command
        })
    }

    /// Starts some ranks with the commands that `command` returns for a rank and the path of its output.
    pub fn start_with(
        &self,
        ranks: &[usize],
        command: impl Fn(usize, PathBuf) -> Command,
    ) -> Processes {
        let directory = TempDir::new().unwrap();
        let mut children = Vec::new();
        for rank in ranks {
            let path = |name: &str| directory.path().join(format!("{name}{rank}"));
            let mut command = command(*rank, path("output"));
            self.prepare(&mut command, *rank);
            let file = |name| Stdio::from(fs::File::create(path(name)).unwrap());
            command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
            children.push((*rank, command.spawn().unwrap()));
        }
        Processes { directory, children }
    }
}

impl Processes {
    fn read(&self, name: &str, rank: usize) -> String {
        fs::read_to_string(self.directory.path().join(format!("{name}{rank}"))).unwrap_or_default()
    }

    /// Returns what a process has written.
    pub fn output(&self, rank: usize) -> String {
        self.read("output", rank)
    }

    /// Waits until every process has written something.
    pub fn wait_for_output(&self) {
        let started = Instant::now();
        while !self.children.iter().all(|(rank, _)| !self.output(*rank).is_empty()) {
            assert!(started.elapsed() < DEADLINE, "the processes did not begin");
            thread::sleep(POLL);
        }
    }

    /// Sends a signal to a process.
    pub fn signal(&self, rank: usize, signal: i32) {
        let (_, child) = self.children.iter().find(|(other, _)| *other == rank).unwrap();
        // SAFETY: the process is a child that has not been waited for, so the id is its own.
        assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
    }

    /// Waits for the end of a process.
    pub fn wait(&mut self, rank: usize) -> Ended {
        let (_, child) = self.children.iter_mut().find(|(other, _)| *other == rank).unwrap();
        let started = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if started.elapsed() < DEADLINE => thread::sleep(POLL),
                None => panic!("process {rank} did not end: {}", self.read("stderr", rank)),
            }
        };
        let (stdout, stderr) = (self.read("stdout", rank), self.read("stderr", rank));
        Ended { code: status.code(), signal: status.signal(), stdout, stderr }
    }

    /// Waits for the end of all processes and expects success. Returns what they have written, by rank.
    pub fn succeed(mut self) -> Vec<String> {
        for rank in self.ranks() {
            let ended = self.wait(rank);
            assert_eq!(ended.code, Some(0), "process {rank}: {ended:#?}");
        }
        self.ranks().into_iter().map(|rank| self.output(rank)).collect()
    }

    /// Waits for the end of all processes, by rank.
    pub fn end(mut self) -> Vec<Ended> {
        self.ranks().into_iter().map(|rank| self.wait(rank)).collect()
    }

    fn ranks(&self) -> Vec<usize> {
        self.children.iter().map(|(rank, _)| *rank).collect()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Returns a port that nothing listens to.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
