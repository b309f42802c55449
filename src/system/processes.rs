//! The processes that a launcher has started to work together, as environment variables describe them:
//! those of torchrun, or those of Slurm and Open MPI.

use std::env;

/// Port of the process of rank 0 unless MASTER_PORT is set.
const DEFAULT_PORT: u16 = 29500;

/// Variables of a launcher.
struct Launcher {
    rank: &'static str,
    size: &'static str,
    local_rank: &'static str,
    local_size: Option<&'static str>,
}

/// Variables of torchrun, which PyTorchJob and others set too. They count wherever they are set.
const TORCHRUN: Launcher = Launcher {
    rank: "RANK",
    size: "WORLD_SIZE",
    local_rank: "LOCAL_RANK",
    local_size: Some("LOCAL_WORLD_SIZE"),
};

/// Variables that Slurm and Open MPI set for each process, also if the processes have nothing to do with
/// each other. They count only if MASTER_ADDR is set.
const SCHEDULERS: [Launcher; 2] = [
    Launcher {
        rank: "OMPI_COMM_WORLD_RANK",
        size: "OMPI_COMM_WORLD_SIZE",
        local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
        local_size: Some("OMPI_COMM_WORLD_LOCAL_SIZE"),
    },
    Launcher {
        rank: "SLURM_PROCID",
        size: "SLURM_NTASKS",
        local_rank: "SLURM_LOCALID",
        local_size: None,
    },
];

/// Place of this process among those that a launcher has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchedProcess {
    /// Rank, from 0.
    pub rank: usize,
    /// Number of processes, at least 2.
    pub size: usize,
    /// Rank among the processes on this machine, from 0.
    pub local_rank: usize,
    /// Number of processes on this machine, if the launcher says it.
    pub local_size: Option<usize>,
    /// Host name or IP address of the machine of rank 0.
    pub address: String,
    /// Port at which the processes meet.
    pub port: u16,
    /// True if the launcher itself serves the store in which the processes meet; otherwise rank 0 does.
    pub has_store: bool,
    /// Number of times that the launcher has restarted the processes.
    pub attempt: u64,
}

impl LaunchedProcess {
    /// Reads the environment of this process. Returns `None` if there is no launcher, or if it has started
    /// a single process.
    ///
    /// # Errors
    /// Returns an error if the variables are incomplete, malformed or contradictory.
    pub fn from_env() -> Result<Option<Self>, String> {
        Self::of(|name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Does the same as [`Self::from_env`] for any environment. An empty variable counts as unset.
    ///
    /// # Errors
    /// Returns the errors of [`Self::from_env`].
    pub fn of(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let address = get("MASTER_ADDR");
        let Some(launcher) = find_launcher(get, address.is_some()) else { return Ok(None) };
        let (rank_name, size_name) = (launcher.rank, launcher.size);
        let required = |name: &str, other: &str| match get(name) {
            Some(text) => parse_count(name, &text),
            None => Err(format!(
                "{other} is set, but {name} is not; start all processes with torchrun, set both, or unset \
                 {other} to run a single process"
            )),
        };
        let optional = |name: &str| get(name).map(|text| parse_count(name, &text)).transpose();
        let size = required(size_name, rank_name)?;
        let rank = required(rank_name, size_name)?;
        if size == 0 {
            return Err(format!("{size_name} is 0; set it to the number of processes"));
        }
        if rank >= size {
            return Err(format!(
                "{rank_name} is {rank}, but {size_name} is {size}; ranks run from 0 to {size_name} − 1"
            ));
        }
        if size == 1 {
            return Ok(None);
        }
        let Some(address) = address else {
            return Err(format!(
                "{size_name} is {size}, but MASTER_ADDR is not set; set it to the host name or IP address of \
                 the machine of rank 0 on all processes, or unset {rank_name} and {size_name} to run a \
                 single process"
            ));
        };
        let port = match get("MASTER_PORT") {
            None => DEFAULT_PORT,
            Some(text) => match text.trim().parse() {
                Ok(port) if port != 0 => port,
                _ => {
                    return Err(format!(
                        "MASTER_PORT is \"{text}\"; set it to a port from 1 to 65535 that is free on the \
                         machine of rank 0, the same for all processes"
                    ));
                }
            },
        };
        Ok(Some(Self {
            rank,
            size,
            local_rank: optional(launcher.local_rank)?.unwrap_or(0),
            local_size: launcher.local_size.map_or(Ok(None), optional)?,
            address,
            port,
            has_store: get("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True"),
            attempt: optional("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0) as u64,
        }))
    }
}

/// Returns the launcher whose variables are set.
fn find_launcher(
    get: impl Fn(&str) -> Option<String>,
    has_address: bool,
) -> Option<&'static Launcher> {
    let is_set = |launcher: &&Launcher| {
        [launcher.rank, launcher.size].into_iter().any(|name| get(name).is_some())
    };
    let schedulers = SCHEDULERS.iter().filter(|_| has_address);
    [&TORCHRUN].into_iter().chain(schedulers).find(is_set)
}

fn parse_count(name: &str, text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| {
        format!(
            "{name} is \"{text}\", which is not a number; the launcher sets it to an integer ≥ 0"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses an environment such as `RANK=0 WORLD_SIZE=2`.
    fn parse(environment: &str) -> Result<Option<LaunchedProcess>, String> {
        let variables = environment.split_whitespace().filter_map(|pair| pair.split_once('='));
        LaunchedProcess::of(|name| {
            let mut variables = variables.clone();
            variables.find(|(other, _)| *other == name).map(|(_, value)| value.to_owned())
        })
    }

    #[test]
    fn variables_of_torchrun_are_read() {
        let environment = "RANK=3 WORLD_SIZE=4 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 MASTER_ADDR=node0 \
                           MASTER_PORT=1234 TORCHELASTIC_USE_AGENT_STORE=True \
                           TORCHELASTIC_RESTART_COUNT=2";
        let process = LaunchedProcess {
            rank: 3,
            size: 4,
            local_rank: 1,
            local_size: Some(2),
            address: "node0".to_owned(),
            port: 1234,
            has_store: true,
            attempt: 2,
        };
        assert_eq!(parse(environment), Ok(Some(process)));
    }

    #[test]
    fn some_variables_have_defaults() {
        let process = parse("RANK=1 WORLD_SIZE=2 MASTER_ADDR=::1 MASTER_PORT=").unwrap().unwrap();
        assert_eq!((process.local_rank, process.local_size), (0, None));
        assert_eq!((process.port, process.has_store, process.attempt), (29500, false, 0));
        let served = "RANK=1 WORLD_SIZE=2 MASTER_ADDR=::1 TORCHELASTIC_USE_AGENT_STORE=False";
        assert!(!parse(served).unwrap().unwrap().has_store);
    }

    #[test]
    fn variables_of_schedulers_count_only_with_an_address() {
        for variables in [
            "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=1",
            "SLURM_PROCID=1 SLURM_NTASKS=2 SLURM_LOCALID=1",
        ] {
            assert_eq!(parse(variables), Ok(None), "{variables}");
            let process = parse(&format!("{variables} MASTER_ADDR=a")).unwrap().unwrap();
            assert_eq!((process.rank, process.size, process.local_rank), (1, 2, 1), "{variables}");
        }
        let both = "SLURM_PROCID=1 SLURM_NTASKS=2 RANK=5 WORLD_SIZE=8 MASTER_ADDR=a";
        assert_eq!(parse(both).unwrap().unwrap().rank, 5);
    }

    #[test]
    fn a_single_process_has_no_others() {
        for environment in ["", "MASTER_ADDR=a", "RANK=0 WORLD_SIZE=1", "RANK= WORLD_SIZE="] {
            assert_eq!(parse(environment), Ok(None), "{environment}");
        }
    }

    #[test]
    fn faults_are_named() {
        for (environment, message) in [
            ("RANK=0", "RANK is set, but WORLD_SIZE is not"),
            ("WORLD_SIZE=2", "WORLD_SIZE is set, but RANK is not"),
            (
                "RANK=2 WORLD_SIZE=2 MASTER_ADDR=a",
                "RANK is 2, but WORLD_SIZE is 2; ranks run from 0",
            ),
            ("RANK=0 WORLD_SIZE=0 MASTER_ADDR=a", "WORLD_SIZE is 0; set it to the number"),
            ("RANK=-1 WORLD_SIZE=2 MASTER_ADDR=a", "RANK is \"-1\", which is not a number"),
            ("RANK=0 WORLD_SIZE=two MASTER_ADDR=a", "WORLD_SIZE is \"two\", which is not a number"),
            (
                "RANK=0 WORLD_SIZE=2",
                "WORLD_SIZE is 2, but MASTER_ADDR is not set; set it to the host",
            ),
            ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=0", "MASTER_PORT is \"0\"; set it to"),
            ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=70000", "MASTER_PORT is \"70000\""),
            ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a LOCAL_RANK=x", "LOCAL_RANK is \"x\""),
        ] {
            let error = parse(environment).unwrap_err();
            assert!(error.starts_with(message), "{environment}: {error}");
        }
    }
}
