//! `lstmtext doctor`.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::exit::{FAILURE, SUCCESS};
use super::processes::{host_name, identity};
use crate::backend::Backends;
use crate::config::ConfigError;
use crate::distributed::Collective;
use crate::output::format::{group_digits, pluralize};
use crate::output::table::{Align, Table};
use crate::output::{print, print_json};
use crate::system::processes::LaunchedProcess;

const EXAMPLES: &str = "\
Examples:
  torchrun --no-python --nproc-per-node 2 lstmtext doctor
  torchrun --no-python --nnodes 2 --node-rank RANK --master-addr node0 lstmtext doctor
  srun --ntasks 8 lstmtext doctor --json

Start it as you would start the training: on all machines, with the same number of processes. The processes \
join each other, check the result of every collective operation, and measure the network. Rank 0 prints the \
report. Bandwidth is what a process sends and receives at once: a sum of S bytes over N processes takes 2 (N \
− 1) / N · S. torchrun sets the variables that describe the processes; with srun or mpirun, export \
MASTER_ADDR, the host of rank 0.
Exit codes: 0 all processes communicate, 1 they do not, 2 no launcher.";

/// Check the connections between the processes of a launcher, such as torchrun
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// Time after which a process that does not respond counts as lost
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = crate::config::positive_integer)]
    timeout: NonZeroUsize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Number of measurements of a latency.
const LATENCY_ROUNDS: usize = 50;

/// Sizes of the sums whose bandwidth is measured, in MB, and the number of measurements.
const BANDWIDTHS: [(usize, usize); 3] = [(1, 15), (10, 7), (100, 3)];

#[derive(Serialize)]
struct Report {
    /// Number of processes.
    size: usize,
    /// Library that communicates.
    library: String,
    /// Processes by rank.
    processes: Vec<Member>,
    /// Failed checks; empty if all processes communicate.
    failures: Vec<Failure>,
    /// Null if a check has failed.
    network: Option<Network>,
}

/// A process as it describes itself.
#[derive(Serialize, Deserialize)]
struct Member {
    rank: usize,
    host: String,
    /// Address at which the others reach the process; null if the library has chosen it.
    address: Option<String>,
}

/// A process in which operations returned wrong values.
#[derive(Serialize)]
struct Failure {
    rank: usize,
    /// Names of the operations, separated by commas.
    operations: String,
}

/// Measurements of the network, as rank 0 sees it.
#[derive(Serialize)]
struct Network {
    /// Median time of the sum of a number, in microseconds.
    sum_microseconds: f64,
    /// Median time of a barrier, in microseconds.
    barrier_microseconds: f64,
    bandwidths: Vec<Bandwidth>,
}

#[derive(Serialize)]
struct Bandwidth {
    /// Size of the sum in MB.
    megabytes: usize,
    /// Median time of the sum, in milliseconds.
    milliseconds: f64,
    /// MB/s that each process sends, and receives at the same time.
    megabytes_per_second: f64,
}

/// Runs the command.
pub fn run(args: DoctorArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let Some(process) = LaunchedProcess::from_env().map_err(ConfigError::new)? else {
        return Err(ConfigError::new(
            "doctor checks the connections between several processes, but this process is alone: the \
             launcher has not set RANK, WORLD_SIZE and MASTER_ADDR, or WORLD_SIZE is 1; for two processes \
             on this machine, run: torchrun --no-python --nproc-per-node 2 lstmtext doctor",
        )
        .into());
    };
    let group = backends.join(&process, Duration::from_secs(args.timeout.get() as u64))?;
    let report = examine(&*group).with_context(|| format!("process {}", process.rank))?;
    let code = if report.failures.is_empty() { SUCCESS } else { FAILURE };
    let printed = match (group.leads(), args.json) {
        (false, _) => Ok(()),
        (true, true) => print_json(&report),
        (true, false) => print(&text(&report)),
    };
    // A launcher stops the other processes if one of them fails, so all wait for the report.
    group.barrier()?;
    printed?;
    Ok(code)
}

/// Checks and measures the group. All processes return the same report, with their own measurements.
fn examine(group: &dyn Collective) -> anyhow::Result<Report> {
    let worker = group.worker();
    group.ensure_same(&identity("doctor"))?;
    let member = Member {
        rank: worker.rank,
        host: String::from_utf8_lossy(&host_name()).into_owned(),
        address: group.address().map(str::to_owned),
    };
    let members = group.gather_bytes(&serde_json::to_vec(&member)?)?;
    let processes = members.iter().map(|member| serde_json::from_slice(member));
    let processes = processes
        .collect::<Result<Vec<Member>, _>>()
        .context("the operation gather returned wrong bytes")?;
    let operations = check(group)?.join(", ");
    let operations = group.gather_bytes(operations.as_bytes())?;
    let failures = (0..).zip(&operations).filter(|(_, operations)| !operations.is_empty());
    let failures: Vec<Failure> = failures
        .map(|(rank, operations)| Failure {
            rank,
            operations: String::from_utf8_lossy(operations).into_owned(),
        })
        .collect();
    let network = failures.is_empty().then(|| measure(group)).transpose()?;
    let library = group.library().to_owned();
    Ok(Report { size: worker.world_size, library, processes, failures, network })
}

/// Calls every operation with values whose result is known. Returns the names of those that have a wrong
/// result in this process.
///
/// # Errors
/// Returns an error if a process is lost.
fn check(group: &dyn Collective) -> anyhow::Result<Vec<&'static str>> {
    /// Number of values, which do not divide evenly among processes.
    const COUNT: usize = 1009;
    let (rank, size) = (group.worker().rank, group.worker().world_size);
    let mut wrong = Vec::new();
    let mut expect = |name, is_right: bool| {
        if !is_right {
            wrong.push(name);
        }
    };

    // All values are integers below 2^24, which are exact in single precision.
    let index_sum = |index: usize| size * index + size * (size - 1) / 2;
    let mut values: Vec<f32> = (0..COUNT).map(|index| (index + rank) as f32).collect();
    group.all_reduce(&mut values)?;
    expect("sum", (0..).zip(&values).all(|(index, sum)| *sum == index_sum(index) as f32));

    let mut values: Vec<f64> = (0..COUNT).map(|index| (index + rank) as f64).collect();
    group.all_reduce_f64(&mut values)?;
    expect("sum_f64", (0..).zip(&values).all(|(index, sum)| *sum == index_sum(index) as f64));

    let bytes = |rank: usize| (0..COUNT).map(move |index| (index * 7 + rank * 31) as u8);
    let mut values: Vec<u8> = bytes(rank).collect();
    group.broadcast(&mut values)?;
    expect("broadcast", values.iter().copied().eq(bytes(0)));

    let mut all = vec![0; COUNT * size];
    group.all_gather(&bytes(rank).collect::<Vec<u8>>(), &mut all)?;
    expect("gather", all.into_iter().eq((0..size).flat_map(bytes)));

    // Process i sends i + j values to process j, none from 0 to 0.
    let part = |from: usize, to: usize| vec![(from * size + to) as f32; from + to];
    let counts: Vec<usize> = (0..size).map(|other| rank + other).collect();
    let sent: Vec<f32> = (0..size).flat_map(|to| part(rank, to)).collect();
    let mut received = vec![0.0; sent.len()];
    group.all_to_all(&sent, &counts, &mut received, &counts)?;
    expect("exchange", received.into_iter().eq((0..size).flat_map(|from| part(from, rank))));
    Ok(wrong)
}

/// Measures latency and bandwidth.
fn measure(group: &dyn Collective) -> anyhow::Result<Network> {
    let mut number = [1.0];
    let sum = median_time(group, LATENCY_ROUNDS, || group.all_reduce(&mut number))?;
    let barrier = median_time(group, LATENCY_ROUNDS, || group.barrier())?;
    let size = group.worker().world_size as f64;
    let mut bandwidths = Vec::new();
    for (megabytes, rounds) in BANDWIDTHS {
        let mut values = vec![0.0; megabytes * 1_000_000 / size_of::<f32>()];
        let seconds = median_time(group, rounds, || group.all_reduce(&mut values))?;
        bandwidths.push(Bandwidth {
            megabytes,
            milliseconds: seconds * 1e3,
            megabytes_per_second: 2.0 * (size - 1.0) / size * megabytes as f64 / seconds,
        });
    }
    let (sum_microseconds, barrier_microseconds) = (sum * 1e6, barrier * 1e6);
    Ok(Network { sum_microseconds, barrier_microseconds, bandwidths })
}

/// Returns the median time of some calls that all processes begin together, in seconds, after a call that
/// is not measured.
fn median_time(
    group: &dyn Collective,
    rounds: usize,
    mut call: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    call()?;
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        group.barrier()?;
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_unstable_by(f64::total_cmp);
    times.get(rounds / 2).copied().context("no measurements")
}

fn text(report: &Report) -> String {
    let mut hosts: Vec<&str> =
        report.processes.iter().map(|process| process.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let mut lines = vec![format!(
        "{} processes on {}, connected by {}",
        report.size,
        pluralize(hosts.len(), "host"),
        report.library
    )];
    let header = [("process", Align::Right), ("host", Align::Left), ("address", Align::Left)];
    let mut table = Table::new(header.map(|(name, align)| (name.to_owned(), align)));
    for Member { rank, host, address } in &report.processes {
        let address = address.as_deref().unwrap_or("chosen by GLOO_SOCKET_IFNAME");
        table.add(vec![rank.to_string(), host.clone(), address.to_owned()]);
    }
    lines.extend(table.lines());
    lines.extend(report.failures.iter().map(|Failure { rank, operations }| {
        format!("process {rank} got wrong values from: {operations}")
    }));
    if let Some(network) = &report.network {
        lines.push("all operations returned the right values in all processes".to_owned());
        lines.push(format!(
            "latency: {:.0} µs for the sum of a number, {:.0} µs for a barrier",
            network.sum_microseconds, network.barrier_microseconds
        ));
        lines.extend(network.bandwidths.iter().map(|bandwidth| {
            format!(
                "bandwidth: {} MB/s per process in a sum of {} MB ({:.1} ms)",
                group_digits(bandwidth.megabytes_per_second as usize),
                bandwidth.megabytes,
                bandwidth.milliseconds
            )
        }));
    }
    lines.join("\n")
}
