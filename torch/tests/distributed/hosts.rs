//! Two hosts: network namespaces that are connected by a virtual cable. They need root and iproute2; without
//! them, the tests do nothing.

use std::process::Command;
use std::time::Instant;

use crate::common::{BINARY, DEADLINE, TestDir};
use crate::launcher::{Launch, Processes};
use crate::training::{LONG_RUN, assert_same_run, directory, run_alone, wait_for};

/// Two network namespaces, which are deleted when this is dropped.
struct Hosts {
    names: [String; 2],
}

/// Address of the first host.
const MASTER: &str = "10.213.7.1";

fn ip(line: &str) -> bool {
    let status = Command::new("ip").args(line.split_whitespace()).output();
    status.is_ok_and(|done| done.status.success())
}

impl Hosts {
    /// Creates the hosts, if this process may. `name` tells those of one test from others.
    fn create(name: &str) -> Option<Self> {
        let id = std::process::id() % 100_000;
        let names = ["a", "b"].map(|host| format!("{name}{host}{id}"));
        let hosts = Self { names };
        let [a, b] = &hosts.names;
        if !ip(&format!("netns add {a}")) {
            return None;
        }
        assert!(ip(&format!("netns add {b}")));
        assert!(ip(&format!("link add {a} netns {a} type veth peer name {b} netns {b}")));
        for (index, host) in hosts.names.iter().enumerate() {
            let address = MASTER.replace(".7.1", &format!(".7.{}", index + 1));
            assert!(ip(&format!("-n {host} address add {address}/24 dev {host}")));
            assert!(ip(&format!("-n {host} link set {host} up")));
            assert!(ip(&format!("-n {host} link set lo up")));
        }
        Some(hosts)
    }

    /// Starts one process on each host in a directory.
    fn start(&self, dir: &TestDir, line: &str) -> Processes {
        Launch::of(2).with("MASTER_ADDR", MASTER).start_with(&[0, 1], |rank, _| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &self.names[rank], BINARY]);
            command.args(line.split_whitespace()).current_dir(dir.path(""));
            command
        })
    }

    /// Pulls the cable.
    fn disconnect(&self) {
        let [a, _] = &self.names;
        assert!(ip(&format!("-n {a} link set {a} down")));
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&format!("netns delete {name}"));
        }
    }
}

/// The host names of both are the same, and lead to no network, as on many machines.
#[test]
fn processes_on_two_hosts_find_each_other() {
    let Some(hosts) = Hosts::create("t") else { return };
    let dir = directory();
    for process in hosts.start(&dir, "train model.yaml --out run").end() {
        assert_eq!(process.code, Some(0), "{process:#?}");
    }
    run_alone(&dir, 1, "train model.yaml --out alone");
    assert_same_run(&dir, "alone", "run");
    let doctor = hosts.start(&dir, "doctor").end();
    for address in [MASTER, "10.213.7.2"] {
        assert!(doctor[0].stdout.contains(address), "{doctor:#?}");
    }
}

#[test]
fn a_cut_connection_is_noticed_after_the_timeout() {
    let Some(hosts) = Hosts::create("c") else { return };
    let dir = directory();
    let line = format!("train model.yaml --out run --process-timeout 2 {LONG_RUN}");
    let processes = hosts.start(&dir, &line);
    wait_for(&dir.path("run/last/progress.json"));
    hosts.disconnect();
    let cut = Instant::now();
    for process in processes.end() {
        assert_eq!(process.code, Some(1), "{process:#?}");
        assert!(process.stderr.contains("lost contact with another process"), "{process:#?}");
    }
    assert!(cut.elapsed() < DEADLINE);
    run_alone(&dir, 1, "evaluate run/last --split validation");
}
