//! Work of the processes of a group in the tests.

use std::env;
use std::fs;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use lstmtext::distributed::{Collective, LostProcess, Reported};
use lstmtext::system::processes::LaunchedProcess;
use lstmtext_torch::process_group::ProcessGroup;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tch::{Kind, Tensor};

/// Environment variable with the role of a process.
pub const ROLE: &str = "LSTMTEXT_TEST_ROLE";

/// Environment variable with the timeout of the group in seconds.
pub const TIMEOUT: &str = "LSTMTEXT_TEST_TIMEOUT";

/// Environment variable with the file to which a process writes.
pub const OUTPUT: &str = "LSTMTEXT_TEST_OUTPUT";

/// Plays the role that the environment names. As a test, it does nothing.
#[test]
fn process_of_a_group() {
    let Ok(role) = env::var(ROLE) else { return };
    match role.as_str() {
        "collectives" => call_collectives(&join().unwrap()).unwrap(),
        "join" => write(&join().map_or_else(|error| format!("{error:#}"), |_| "joined".to_owned())),
        "sum" => sum_until_failure(&join().unwrap(), 1000),
        "large sum" => sum_until_failure(&join().unwrap(), 5_000_000),
        "nccl" => use_nccl(&join().unwrap()).unwrap(),
        role => panic!("there is no role {role}"),
    }
}

fn join() -> anyhow::Result<ProcessGroup> {
    tch::set_num_threads(1);
    let place = LaunchedProcess::from_env().map_err(anyhow::Error::msg)?.context("alone")?;
    let timeout = Duration::from_secs(env::var(TIMEOUT)?.parse()?);
    ProcessGroup::join(&place, timeout)
}

fn write(text: &str) {
    // The tests read the file as soon as it has content.
    let path = env::var(OUTPUT).unwrap();
    fs::write(format!("{path}.part"), text).unwrap();
    fs::rename(format!("{path}.part"), path).unwrap();
}

/// Calls every method of the group, with values of which the results are known.
fn call_collectives(group: &ProcessGroup) -> anyhow::Result<()> {
    let (rank, size) = (group.worker().rank, group.worker().world_size);
    let ranks_sum = (size * (size - 1) / 2) as f32;

    for count in [0, 1, 2, 1009, 300_000] {
        let values = |rank: usize| (0..count).map(move |index| (index % 1000 + rank) as f32);
        let mut sums: Vec<f32> = values(rank).collect();
        group.all_reduce(&mut sums)?;
        let expected = (0..count).map(|index| (size * (index % 1000)) as f32 + ranks_sum);
        ensure!(sums.iter().copied().eq(expected), "sum of {count}");

        let mut sums: Vec<f64> = values(rank).map(|value| f64::from(value) * 1e9).collect();
        group.all_reduce_f64(&mut sums)?;
        let expected = (0..size).fold(vec![0.0; count], |sums, rank| {
            sums.iter().zip(values(rank)).map(|(sum, value)| sum + f64::from(value) * 1e9).collect()
        });
        ensure!(sums == expected, "sum_f64 of {count}");

        let bytes = |rank: usize| (0..count).map(move |index| (index * 7 + rank) as u8);
        let mut first: Vec<u8> = bytes(rank).collect();
        group.broadcast(&mut first)?;
        ensure!(first.into_iter().eq(bytes(0)), "broadcast of {count}");

        let mut all = vec![0; count * size];
        group.all_gather(&bytes(rank).collect::<Vec<u8>>(), &mut all)?;
        ensure!(all.into_iter().eq((0..size).flat_map(bytes)), "gather of {count}");
    }

    // The bits are the same everywhere, whatever the order of the additions.
    let mut random = Pcg64::seed_from_u64(rank as u64);
    let mut values: Vec<f32> =
        (0..10_007).map(|_| random.random_range(-1.0_f32..1.0) * 1e3).collect();
    group.all_reduce(&mut values)?;
    let bits: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let group_trait: &dyn Collective = group;
    let all = group_trait.gather_bytes(&bits)?;
    ensure!(all.iter().all(|other| *other == bits), "bits of a sum");

    // Process i sends `length(i, j)` values to process j.
    let lengths: [fn(usize, usize) -> usize; 5] = [
        |_, _| 3,
        |from, to| from + to,
        |from, to| 100_000 * (from % 2) + 17 * to,
        |from, to| usize::from(from == 1 && to == 0) * 5,
        |_, _| 0,
    ];
    for (case, length) in lengths.iter().enumerate() {
        let part = |from: usize, to: usize| {
            (0..length(from, to)).map(move |index| (index + 1000 * from + 100 * to) as f32)
        };
        let sent: Vec<f32> = (0..size).flat_map(|to| part(rank, to)).collect();
        let sent_counts: Vec<usize> = (0..size).map(|to| length(rank, to)).collect();
        let received_counts: Vec<usize> = (0..size).map(|from| length(from, rank)).collect();
        let mut received = vec![f32::NAN; received_counts.iter().sum()];
        group.all_to_all(&sent, &sent_counts, &mut received, &received_counts)?;
        let expected = (0..size).flat_map(|from| part(from, rank));
        ensure!(received.into_iter().eq(expected), "exchange, case {case}");
    }

    for kind in [Kind::Float, Kind::Double] {
        let tensor = Tensor::from_slice(&[rank as f32, 1.0, 2.0, 3.0]).view([2, 2]).to_kind(kind);
        group.sum_tensor(&tensor)?;
        let size = size as f32;
        let expected = Tensor::from_slice(&[ranks_sum, size, 2.0 * size, 3.0 * size]);
        ensure!(tensor.equal(&expected.view([2, 2]).to_kind(kind)), "sum of a tensor");
    }
    group.sum_tensor(&Tensor::zeros([0, 3], (Kind::Float, tch::Device::Cpu)))?;

    // Wrong lengths are errors of the caller, after which the group still works.
    let error = group.all_to_all(&[1.0], &vec![1; size], &mut [], &vec![0; size]).unwrap_err();
    ensure!(error.to_string().contains("cannot exchange 1 values"), "{error:#}");
    let error = group.all_gather(&[1], &mut []).unwrap_err();
    ensure!(!error.is::<LostProcess>(), "{error:#}");

    let group: &dyn Collective = group;
    group.barrier()?;
    ensure!(group.broadcast_bytes(vec![rank as u8; rank + 2])? == [0, 0], "broadcast_bytes");
    let all = group.gather_bytes(&vec![7; rank])?;
    ensure!(all.iter().enumerate().all(|(rank, bytes)| bytes.len() == rank), "gather_bytes");
    group.ensure_same(&["number: 17".to_owned()])?;
    let failed: anyhow::Result<()> = match rank {
        1 => Err(anyhow!("no space on the disk")),
        _ => Ok(()),
    };
    let error = group.agree(failed).unwrap_err();
    ensure!(format!("{error:#}").ends_with("process 1: no space on the disk"), "{error:#}");
    ensure!(error.is::<Reported>() == (rank > 1), "{error:#}");
    let error = group.agree::<()>(Err(anyhow!("no such file"))).unwrap_err();
    ensure!(error.is::<Reported>() != group.leads(), "{error:#}");
    Ok(())
}

/// Adds up values until that fails, and writes the error. Writes `summing` before.
fn sum_until_failure(group: &ProcessGroup, count: usize) {
    write("summing");
    let mut values = vec![0.0; count];
    let error = loop {
        if let Err(error) = group.all_reduce(&mut values) {
            break error;
        }
    };
    assert!(error.is::<LostProcess>(), "{error:#}");
    let later = group.all_reduce_f64(&mut [0.0]).unwrap_err();
    assert!(later.is::<LostProcess>(), "{later:#}");
    write(&format!("{error:#}"));
}

/// Checks that NCCL without a GPU is an error, after which Gloo still works.
fn use_nccl(group: &ProcessGroup) -> anyhow::Result<()> {
    if tch::Cuda::device_count() == 0 {
        write(&format!("{:#}", group.connect_cuda().unwrap_err()));
    }
    let group: &dyn Collective = group;
    group.barrier()
}
