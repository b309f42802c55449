//! Several processes on CUDA devices, which sum gradients by NCCL.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use lstmtext::system::processes::LaunchedProcess;
use lstmtext_torch::libtorch::cuda_devices;
use lstmtext_torch::process_group::ProcessGroup;
use tch::{Device, Kind, Tensor};

use crate::device;
use crate::program::TestDir;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.to_device(Device::Cpu)).unwrap()
}

/// NCCL connects, sums and leaves, even if there is only one device to test with.
#[test]
#[ignore = "needs a CUDA device"]
fn a_process_sums_on_its_device() {
    let process = LaunchedProcess {
        rank: 0,
        size: 1,
        local_rank: 0,
        local_size: Some(1),
        address: "127.0.0.1".to_owned(),
        port: free_port(),
        has_store: false,
        attempt: 0,
    };
    let group = ProcessGroup::join(&process, Duration::from_secs(60)).unwrap();
    let tensor = Tensor::from_slice(&[1_f32, -2.5]).to_device(device());
    for _ in 0..3 {
        group.sum_tensor(&tensor).unwrap();
    }
    assert_eq!(values(&tensor), [1.0, -2.5]);
    let large = Tensor::ones([1 << 20], (Kind::Float, device()));
    group.sum_tensor(&large).unwrap();
    // Later work on the stream sees the sum.
    assert_eq!(large.sum(Kind::Double).double_value(&[]), f64::from(1 << 20));
}

/// Runs a command in two processes. Returns whether each has succeeded, and its messages.
fn run_pair(dir: &TestDir, line: &str) -> Vec<(bool, String)> {
    let port = free_port().to_string();
    let run = |rank: &str| {
        let environment = [
            ("RANK", rank),
            ("LOCAL_RANK", rank),
            ("WORLD_SIZE", "2"),
            ("LOCAL_WORLD_SIZE", "2"),
            ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", &port),
        ];
        let done = dir.run(line, &environment);
        (done.status.success(), String::from_utf8(done.stderr).unwrap())
    };
    thread::scope(|scope| {
        let processes = ["0", "1"].map(|rank| scope.spawn(move || run(rank)));
        processes.into_iter().map(|process| process.join().unwrap()).collect()
    })
}

/// With one device, NCCL refuses two processes. With two, they train like one.
#[test]
#[ignore = "needs a CUDA device"]
fn two_processes_need_two_devices() {
    let devices = cuda_devices().map_or(0, |devices| devices.len());
    let dir = TestDir::new();
    let line =
        "train small.yaml --process-timeout 60 --set model.head.dropout=0 --set train.epochs=2";
    match devices {
        // With GPU_CHECK_DEVICE=cpu.
        0 => {}
        1 => {
            for (has_succeeded, messages) in run_pair(&dir, &format!("{line} --out pair")) {
                assert!(!has_succeeded, "{messages}");
                assert!(messages.contains("error: process "), "{messages}");
            }
        }
        _ => {
            dir.succeeds(&format!("{line} --out alone"));
            for (has_succeeded, messages) in run_pair(&dir, &format!("{line} --out pair")) {
                assert!(has_succeeded, "{messages}");
            }
            let loss = |run: &str| -> f64 {
                let summary = dir.read(&format!("{run}/summary.json"));
                let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
                summary["validation"]["loss"].as_f64().unwrap()
            };
            let (alone, pair) = (loss("alone"), loss("pair"));
            assert!((alone - pair).abs() < 0.02, "{alone} {pair}");
        }
    }
}
