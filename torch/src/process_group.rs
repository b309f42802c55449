//! The processes that train together, connected by c10d.
//!
//! The processes meet in a store at MASTER_ADDR, where each leaves its own address. Then Gloo connects each
//! to all others. Nothing is encrypted or authenticated: the network must be trusted.

use std::env;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure};
use tch::{Device, Tensor};

use crate::libtorch::c10d::{C10dError, Group, Store};
use lstmtext::distributed::{Collective, LostProcess, Worker};
use lstmtext::output::format::join_names;
use lstmtext::output::message;
use lstmtext::system::processes::LaunchedProcess;
use lstmtext::system::threads::spawn;

/// Environment variable with the network interface that Gloo uses, in place of the one that leads to
/// MASTER_ADDR.
const INTERFACE: &str = "GLOO_SOCKET_IFNAME";

/// Longest timeout, a year.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Maximum time that a process waits before it leaves until the others leave too.
const LEAVING: Duration = Duration::from_secs(5);

/// A group of processes that communicate by Gloo, and by NCCL for tensors on CUDA devices. A process leaves
/// the group when this is dropped, together with the others.
#[derive(Debug)]
pub struct ProcessGroup {
    worker: Worker,
    /// Address of this process; `None` if Gloo has chosen it.
    address: Option<String>,
    timeout: Duration,
    connections: Mutex<Connections>,
}

/// Connections of this process. The group is closed first.
#[derive(Debug)]
struct Connections {
    group: Group,
    store: Store,
}

/// Addresses that a process leaves in the store: its own, on the way to MASTER_ADDR, and that which it
/// finds for MASTER_ADDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Addresses {
    own: IpAddr,
    master: IpAddr,
}

impl ProcessGroup {
    /// Joins the other processes. A process that does not respond for `timeout` counts as lost, now and
    /// later.
    ///
    /// # Errors
    /// Returns an error if a process is missing or cannot be reached within `timeout`.
    pub fn join(process: &LaunchedProcess, timeout: Duration) -> anyhow::Result<Self> {
        let timeout = timeout.min(MAX_TIMEOUT);
        Self::connect(process, timeout).map_err(|error| {
            let LaunchedProcess { rank, size, address, port, .. } = process;
            let seconds = timeout.as_secs_f64();
            error.context(format!(
                "process {rank} of {size} cannot join the others at {address}:{port} within {seconds} s"
            ))
        })
    }

    fn connect(process: &LaunchedProcess, timeout: Duration) -> anyhow::Result<Self> {
        let LaunchedProcess { rank, size, .. } = *process;
        let deadline = Instant::now() + timeout;
        let _announcement = announce_waiting(process, timeout)?;
        let store = connect_to_store(process, timeout)?;
        let uses_interface = env::var_os(INTERFACE).is_some_and(|name| !name.is_empty());
        let own = match uses_interface {
            true => None,
            false => Addresses::find(&process.address, process.port),
        };
        let members = meet(&store, rank, size, own, deadline)?;
        let address = own.map(|own| own.reachable(&members).to_string());
        let group = Group::connect(&store, rank, size, address.as_deref(), timeout);
        let group = group.map_err(|error| explain_connection(&error, address.as_deref()))?;
        let connections = Mutex::new(Connections { group, store });
        Ok(Self { worker: Worker { rank, world_size: size }, address, timeout, connections })
    }

    /// Prepares [`Self::sum_tensor`] on CUDA devices, which otherwise happens at the first call.
    ///
    /// # Errors
    /// Returns an error if NCCL cannot be used.
    pub fn connect_cuda(&self) -> anyhow::Result<()> {
        self.lock().group.connect_cuda().map_err(|error| explain_nccl(&error))
    }

    /// Replaces a contiguous tensor, of the same shape in all processes, by its sum over all processes. On a
    /// CUDA device, later operations on the current stream wait for the result, but this method does not.
    ///
    /// # Errors
    /// Returns an error if a process is lost, or if NCCL cannot be used.
    pub fn sum_tensor(&self, tensor: &Tensor) -> anyhow::Result<()> {
        if tensor.numel() == 0 {
            return Ok(());
        }
        if tensor.device() != Device::Cpu {
            self.connect_cuda().inspect_err(|_| self.abandon())?;
        }
        self.call(|group| group.sum_tensor(tensor))
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a method of the group. After a failure, every call fails.
    fn call(&self, work: impl FnOnce(&mut Group) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let group = &mut self.lock().group;
        let lost = |cause| LostProcess { timeout: self.timeout, cause };
        if group.is_lost {
            return Err(lost("an earlier operation failed".to_owned()).into());
        }
        work(group).map_err(|error| match error.downcast::<C10dError>() {
            Ok(error) => {
                group.is_lost = true;
                lost(error.to_string()).into()
            }
            Err(error) => error,
        })
    }
}

impl Collective for ProcessGroup {
    fn worker(&self) -> Worker {
        self.worker
    }

    fn library(&self) -> &str {
        "Gloo"
    }

    fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    fn abandon(&self) {
        self.lock().group.is_lost = true;
    }

    fn all_reduce(&self, values: &mut [f32]) -> anyhow::Result<()> {
        match values.is_empty() {
            true => Ok(()),
            false => self.call(|group| group.sum(values)),
        }
    }

    fn all_reduce_f64(&self, values: &mut [f64]) -> anyhow::Result<()> {
        match values.is_empty() {
            true => Ok(()),
            false => self.call(|group| group.sum_f64(values)),
        }
    }

    fn broadcast(&self, bytes: &mut [u8]) -> anyhow::Result<()> {
        match bytes.is_empty() {
            true => Ok(()),
            false => self.call(|group| group.broadcast(bytes)),
        }
    }

    fn all_gather(&self, own: &[u8], all: &mut [u8]) -> anyhow::Result<()> {
        match own.is_empty() && all.is_empty() {
            true => Ok(()),
            false => self.call(|group| group.gather(own, all)),
        }
    }

    fn all_to_all(
        &self,
        sent: &[f32],
        sent_counts: &[usize],
        received: &mut [f32],
        received_counts: &[usize],
    ) -> anyhow::Result<()> {
        // A process without values takes part, because the others may have some.
        self.call(|group| group.exchange(sent, sent_counts, received, received_counts))
    }
}

impl Drop for ProcessGroup {
    /// Waits for the others, unless one is lost: a closed connection could interrupt the last operation of
    /// a slower process.
    fn drop(&mut self) {
        let Worker { rank, world_size: size } = self.worker;
        let connections = self.connections.get_mut().unwrap_or_else(PoisonError::into_inner);
        if connections.group.is_lost {
            return;
        }
        let deadline = Instant::now() + LEAVING.min(self.timeout);
        let key = |rank: usize| format!("left/{rank}");
        let store = &connections.store;
        let wait =
            |other| store.get(&key(other), deadline.saturating_duration_since(Instant::now()));
        // If the store is gone, process 0 has seen that all leave.
        let _ = store
            .set(&key(rank), "")
            .and_then(|()| (0..size).try_for_each(|other| wait(other).map(drop)));
    }
}

impl Addresses {
    /// Finds the address from which this machine reaches MASTER_ADDR. Gloo would use that of the host name,
    /// which is a loopback address on many machines. Returns `None` if there is none.
    fn find(master: &str, port: u16) -> Option<Self> {
        let candidates: Vec<SocketAddr> = (master, port).to_socket_addrs().ok()?.collect();
        let master = candidates.iter().find(|one| one.is_ipv4()).or(candidates.first())?;
        let any = if master.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).ok()?;
        // This sends nothing.
        socket.connect(master).ok()?;
        Some(Self { own: socket.local_addr().ok()?.ip(), master: master.ip() })
    }

    fn parse(text: &str) -> Option<Self> {
        let (own, master) = text.split_once(' ')?;
        Some(Self { own: own.parse().ok()?, master: master.parse().ok()? })
    }

    /// Returns the address at which the other members reach this process. On the machine of MASTER_ADDR,
    /// the way there is the loopback interface; the others know that machine by another address.
    fn reachable(self, members: &[Option<Self>]) -> IpAddr {
        let remote = members.iter().flatten().find(|member| !member.own.is_loopback());
        match remote {
            Some(remote) if self.own.is_loopback() => remote.master,
            _ => self.own,
        }
    }
}

/// Prints after a while for what this process waits, unless the result is dropped before.
fn announce_waiting(process: &LaunchedProcess, timeout: Duration) -> anyhow::Result<Sender<()>> {
    const QUIET: Duration = Duration::from_secs(5);
    let (sender, receiver) = mpsc::channel();
    let LaunchedProcess { rank, size, address, port, .. } = process;
    let waiting = format!(
        "process {rank} of {size} waits for the others at {address}:{port}, for up to {} s",
        timeout.as_secs()
    );
    spawn("announce", move || {
        if let Err(RecvTimeoutError::Timeout) = receiver.recv_timeout(QUIET) {
            message(waiting);
        }
    })?;
    Ok(sender)
}

/// Connects to the store in which the processes meet. c10d waits forever for a server of another kind, and
/// sometimes longer than it should for none.
fn connect_to_store(process: &LaunchedProcess, timeout: Duration) -> anyhow::Result<Store> {
    const MARGIN: Duration = Duration::from_secs(1);
    let LaunchedProcess { address, port, has_store, attempt, .. } = process;
    let (sender, receiver) = mpsc::channel();
    // Keys of an earlier attempt stay in the store of a launcher.
    let (host, prefix) = (address.clone(), format!("lstmtext/{attempt}"));
    let (port, serves) = (*port, process.rank == 0 && !has_store);
    spawn("connect", move || {
        let _ = sender.send(Store::connect(&host, port, serves, &prefix, timeout));
    })?;
    match receiver.recv_timeout(timeout + MARGIN) {
        Ok(Ok(store)) => Ok(store),
        Ok(Err(error)) => {
            let error = error.to_string();
            let is_late = error.contains("timed out");
            Err(no_store(address, port, serves, if is_late { None } else { Some(&error) }))
        }
        Err(_) if something_answers(address, port) => bail!(
            "what answers there is not process 0 of a group; check that {address} (MASTER_ADDR) is its machine, \
             and {port} (MASTER_PORT) its port"
        ),
        Err(_) => Err(no_store(address, port, serves, None)),
    }
}

/// Returns whether a server accepts connections there.
fn something_answers(address: &str, port: u16) -> bool {
    const WAIT: Duration = Duration::from_secs(1);
    let mut found = (address, port).to_socket_addrs().into_iter().flatten();
    found.any(|socket| TcpStream::connect_timeout(&socket, WAIT).is_ok())
}

/// Explains why there is no store. `error` is that of c10d, unless it has waited in vain.
fn no_store(address: &str, port: u16, serves: bool, error: Option<&str>) -> anyhow::Error {
    if error.is_some_and(|error| error.contains("EADDRINUSE")) {
        return anyhow!(
            "port {port} is in use on this machine; set MASTER_PORT to a free port, the same for all processes"
        );
    }
    if (address, port).to_socket_addrs().is_err() {
        return anyhow!(
            "there is no host with this name; set MASTER_ADDR to the host name or IP address of the machine of \
             rank 0"
        );
    }
    let cause = error.unwrap_or("nothing answers there");
    match serves {
        true => anyhow!(
            "{cause}; check that {address} (MASTER_ADDR) is this machine, and that it accepts connections to \
             port {port} (MASTER_PORT)"
        ),
        false => anyhow!(
            "{cause}; check that process 0 is running, that {address} (MASTER_ADDR) is its machine, and that no \
             firewall closes port {port} (MASTER_PORT)"
        ),
    }
}

/// Leaves the addresses of this process in the store, and waits for those of the others. Returns them by
/// rank; `None` for a process that leaves the choice to Gloo.
fn meet(
    store: &Store,
    rank: usize,
    size: usize,
    own: Option<Addresses>,
    deadline: Instant,
) -> anyhow::Result<Vec<Option<Addresses>>> {
    let key = |rank: usize| format!("process/{rank}");
    let value = own.map_or(String::new(), |own| format!("{} {}", own.own, own.master));
    let value = format!("{size} {value}");
    store.set(&key(rank), &value).map_err(|error| explain_lost_store(&error))?;
    let mut members = Vec::with_capacity(size);
    let mut missing = Vec::new();
    for other in 0..size {
        let remaining = deadline.saturating_duration_since(Instant::now());
        match store.get(&key(other), remaining) {
            Ok(value) => {
                let (its_size, addresses) = value.split_once(' ').unwrap_or_default();
                ensure!(
                    its_size == size.to_string(),
                    "process {other} was started as one of {its_size} processes (WORLD_SIZE)"
                );
                members.push(Addresses::parse(addresses));
            }
            Err(error) if error.to_string().contains("timeout") => missing.push(other.to_string()),
            Err(error) if missing.is_empty() => return Err(explain_lost_store(&error)),
            Err(_) => break,
        }
    }
    if missing.is_empty() {
        return Ok(members);
    }
    let (noun, verb) = match missing.len() {
        1 => ("process", "has"),
        _ => ("processes", "have"),
    };
    bail!(
        "{noun} {} {verb} not joined; check that {size} processes were started with the same MASTER_ADDR and \
         MASTER_PORT, and read the messages of those that are missing",
        join_names(&missing)
    )
}

/// Explains an error of the store after this process has connected to it.
fn explain_lost_store(error: &anyhow::Error) -> anyhow::Error {
    anyhow!(
        "the store in which the processes meet is gone ({error:#}); process 0, or the launcher if it serves \
         the store, has ended, and its last message has the reason"
    )
}

/// Adds advice to the error of connecting to the other processes.
fn explain_connection(error: &anyhow::Error, address: Option<&str>) -> anyhow::Error {
    let advice = match address {
        Some(address) => format!(
            "all processes have joined, but not all can connect to each other; this one is at {address}. Check \
             that no firewall blocks connections between the machines, and set {INTERFACE} to the interface \
             of their network if they have several"
        ),
        None => format!(
            "all processes have joined, but not all can connect to each other. Check that {INTERFACE}, if it \
             is set, is the interface of the network between the machines, and that no firewall blocks it"
        ),
    };
    anyhow!("{error:#}; {advice}")
}

/// Adds advice to an error of NCCL.
fn explain_nccl(error: &anyhow::Error) -> anyhow::Error {
    anyhow!(
        "NCCL cannot connect the CUDA devices of the processes: {error:#}; check that each process has a \
         device of its own (lstmtext devices), and set NCCL_DEBUG=INFO for details"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_of_rank_0_has_the_address_that_the_others_use() {
        let addresses = |text| Addresses::parse(text).unwrap();
        let [local, remote] = ["127.0.0.1 127.0.1.1", "10.0.0.2 10.0.0.1"].map(addresses);
        assert_eq!(local.reachable(&[Some(local), Some(local)]), local.own);
        assert_eq!(local.reachable(&[Some(local), None, Some(remote)]), remote.master);
        assert_eq!(remote.reachable(&[Some(local), Some(remote)]), remote.own);
    }

    #[test]
    fn the_way_to_this_machine_is_the_loopback_interface() {
        let found = Addresses::find("127.0.0.1", 29500).unwrap();
        assert_eq!(found.own.to_string(), "127.0.0.1");
        assert_eq!(Addresses::find("no such host", 29500), None);
    }
}
