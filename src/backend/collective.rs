//! Communication between the processes that train or evaluate a model together.

use std::any::Any;
use std::fmt;
use std::iter;
use std::time::Duration;

use anyhow::anyhow;

use crate::config::ConfigError;
use crate::model::NamedTensor;

/// Rank of a process in its group, and the number of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Rank, from 0.
    pub rank: usize,
    /// Number of processes.
    pub world_size: usize,
}

impl Worker {
    /// A process without others.
    pub const ALONE: Self = Self { rank: 0, world_size: 1 };
}

/// A group of processes that work on one model together.
///
/// All processes must call the same methods in the same order, with buffers that fit each other. Every
/// method but those that describe the group returns an error if another process has failed or does not
/// respond in time; the group cannot be used after that.
pub trait Collective: Any + Send + Sync + fmt::Debug {
    /// Returns the rank of this process, and the number of processes.
    fn worker(&self) -> Worker;

    /// Returns the name of the library that communicates.
    fn library(&self) -> &str;

    /// Returns the network address at which the other processes reach this one; `None` if the library has
    /// chosen it, or if there is no network.
    fn address(&self) -> Option<&str> {
        None
    }

    /// Ends the group without waiting for the other processes, which then fail.
    fn abandon(&self) {}

    /// Replaces each value by its sum over all processes, in the order of additions that is fastest. Every
    /// process gets the same bits.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    fn all_reduce(&self, values: &mut [f32]) -> anyhow::Result<()>;

    /// Does the same as [`Collective::all_reduce`], in double precision.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    fn all_reduce_f64(&self, values: &mut [f64]) -> anyhow::Result<()>;

    /// Replaces the bytes by those of rank 0.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    fn broadcast(&self, bytes: &mut [u8]) -> anyhow::Result<()>;

    /// Collects the bytes of all processes, by rank. All processes pass the same number of bytes, and `all`
    /// holds that number for each of them.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    fn all_gather(&self, own: &[u8], all: &mut [u8]) -> anyhow::Result<()>;

    /// Sends a part of `sent` to each process, by rank, and receives a part from each. The counts are the
    /// numbers of values of the parts.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    fn all_to_all(
        &self,
        sent: &[f32],
        sent_counts: &[usize],
        received: &mut [f32],
        received_counts: &[usize],
    ) -> anyhow::Result<()>;
}

impl dyn Collective {
    /// Returns true if this process has rank 0: it alone writes files and prints.
    pub fn leads(&self) -> bool {
        self.worker().rank == 0
    }

    /// Returns true if there are no other processes.
    pub fn is_alone(&self) -> bool {
        self.worker() == Worker::ALONE
    }

    /// Waits until all processes have called this method.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn barrier(&self) -> anyhow::Result<()> {
        self.gather_number(0).map(drop)
    }

    /// Returns the bytes of rank 0, of any length.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn broadcast_bytes(&self, mut own: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let mut length = (own.len() as u64).to_le_bytes();
        self.broadcast(&mut length)?;
        own.resize(u64::from_le_bytes(length) as usize, 0);
        self.broadcast(&mut own)?;
        Ok(own)
    }

    /// Returns the flag of rank 0.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn broadcast_flag(&self, flag: bool) -> anyhow::Result<bool> {
        let mut byte = [u8::from(flag)];
        self.broadcast(&mut byte)?;
        Ok(byte[0] != 0)
    }

    /// Replaces the values of tensors by those of rank 0. The tensors have the same names and shapes in all
    /// processes.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn broadcast_tensors(&self, tensors: &mut [NamedTensor]) -> anyhow::Result<()> {
        tensors
            .iter_mut()
            .try_for_each(|tensor| self.broadcast(bytemuck::cast_slice_mut(&mut tensor.values[..])))
    }

    /// Returns the numbers of all processes, by rank.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn gather_number(&self, own: u64) -> anyhow::Result<Vec<u64>> {
        let mut all = vec![0; self.worker().world_size];
        self.all_gather(bytemuck::bytes_of(&own), bytemuck::cast_slice_mut(&mut all))?;
        Ok(all)
    }

    /// Returns the bytes of all processes, of any length, by rank.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn gather_bytes(&self, own: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
        let lengths = self.gather_number(own.len() as u64)?;
        let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
        if longest == 0 {
            return Ok(vec![Vec::new(); lengths.len()]);
        }
        let mut padded = own.to_vec();
        padded.resize(longest, 0);
        let mut all = vec![0; longest * lengths.len()];
        self.all_gather(&padded, &mut all)?;
        let vectors = all.chunks_exact(longest).zip(&lengths);
        Ok(vectors.map(|(bytes, length)| bytes[..*length as usize].to_vec()).collect())
    }

    /// Waits for the results of the same work of all processes, and returns an error in each of them if one
    /// has failed. No process may call another method of the group between the failure and this method.
    ///
    /// # Errors
    /// Returns the error of the first process that has one, with [`FailedRank`]. Rank 0 and that process
    /// print it; for the others it has [`Reported`], too.
    pub fn agree<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        /// First byte of a message: the kind of the error.
        const KINDS: [u8; 2] = [b'e', b'c'];
        if self.is_alone() {
            return result;
        }
        let own = result.as_ref().err().map(|error| {
            let kind = KINDS[usize::from(error.is::<ConfigError>())];
            [&[kind], format!("{error:#}").as_bytes()].concat()
        });
        let messages = self.gather_bytes(own.as_deref().unwrap_or_default())?;
        let failed = messages.iter().enumerate().find_map(|(rank, message)| {
            let (kind, text) = message.split_first()?;
            Some((rank, *kind == KINDS[1], String::from_utf8_lossy(text)))
        });
        let Some((failed, is_config, text)) = failed else { return result };
        let is_own = self.worker().rank == failed;
        let error = match result {
            Err(own) if is_own => own,
            _ if is_config => ConfigError::new(text).into(),
            _ => anyhow!(text.into_owned()),
        };
        let error = error.context(FailedRank(failed));
        let prints = self.leads() || is_own;
        Err(if prints { error } else { error.context(Reported) })
    }

    /// Checks that all processes have the same lines.
    ///
    /// # Errors
    /// Returns an error with the first lines in which a process differs from rank 0.
    pub fn ensure_same(&self, own: &[String]) -> anyhow::Result<()> {
        /// Number of lines that are shown.
        const SHOWN: usize = 3;
        if self.is_alone() {
            return Ok(());
        }
        let all = self.gather_bytes(own.join("\n").as_bytes())?;
        let Some(other) = all.iter().position(|text| *text != all[0]) else { return Ok(()) };
        let [first, second] = [0, other].map(|rank| String::from_utf8_lossy(&all[rank]));
        let count = first.lines().count().max(second.lines().count());
        let [first, second] = [&first, &second]
            .map(|text| text.lines().map(Some).chain(iter::repeat(None)).take(count));
        let shown =
            |line: Option<&str>| line.map_or("nothing".to_owned(), |line| format!("\"{line}\""));
        let lines: Vec<String> = first
            .zip(second)
            .filter(|(first, second)| first != second)
            .take(SHOWN)
            .map(|(first, second)| format!("{}, but process 0 has {}", shown(second), shown(first)))
            .collect();
        let error = anyhow!(
            "it has {}; all processes need the same command, configuration, data and kind of device",
            lines.join(", and ")
        );
        let error = error.context(FailedRank(other));
        Err(if self.leads() { error } else { error.context(Reported) })
    }
}

/// Group of processes of a training step.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// Communication between the processes.
    pub collective: &'a dyn Collective,
    /// A signal has asked this process to stop.
    pub stop: bool,
}

impl Group<'_> {
    /// A process without others.
    pub const ALONE: Self = Group { collective: &SingleProcess, stop: false };
}

/// Context of an error: the rank of the process that had it.
#[derive(Clone, Copy, Debug)]
pub struct FailedRank(pub usize);

impl fmt::Display for FailedRank {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "process {}", self.0)
    }
}

/// Context of an error that another process prints.
#[derive(Clone, Copy, Debug)]
pub struct Reported;

impl fmt::Display for Reported {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("another process prints this error")
    }
}

/// Error of an operation of a group that lost a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostProcess {
    /// Time after which a process that does not respond counts as lost.
    pub timeout: Duration,
    /// Message of the library that communicates.
    pub cause: String,
}

impl fmt::Display for LostProcess {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { timeout, cause } = self;
        f.write_str("lost contact with another process, which ")?;
        match cause.to_lowercase().contains("timed out") {
            true => write!(f, "did not respond for {} s", timeout.as_secs_f64())?,
            false => f.write_str(
                "was killed or has failed; its own message, if there is one, has the reason",
            )?,
        }
        write!(f, " ({cause})")
    }
}

impl std::error::Error for LostProcess {}

/// A group with a single process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SingleProcess;

impl Collective for SingleProcess {
    fn worker(&self) -> Worker {
        Worker::ALONE
    }

    fn library(&self) -> &str {
        "none"
    }

    fn all_reduce(&self, _: &mut [f32]) -> anyhow::Result<()> {
        Ok(())
    }

    fn all_reduce_f64(&self, _: &mut [f64]) -> anyhow::Result<()> {
        Ok(())
    }

    fn broadcast(&self, _: &mut [u8]) -> anyhow::Result<()> {
        Ok(())
    }

    fn all_gather(&self, own: &[u8], all: &mut [u8]) -> anyhow::Result<()> {
        all.copy_from_slice(own);
        Ok(())
    }

    fn all_to_all(
        &self,
        sent: &[f32],
        _: &[usize],
        received: &mut [f32],
        _: &[usize],
    ) -> anyhow::Result<()> {
        received.copy_from_slice(sent);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::thread_group::GroupThread;

    #[test]
    fn differences_name_a_line_that_only_one_process_has() {
        let lines = |count| vec!["data: a".to_owned(), "device: cpu".to_owned()][..count].to_vec();
        for (of_first, of_other, expected) in [
            (1, 2, "it has \"device: cpu\", but process 0 has nothing;"),
            (2, 1, "it has nothing, but process 0 has \"device: cpu\";"),
        ] {
            let errors = GroupThread::run(2, |process| {
                let process: &dyn Collective = process;
                let own = if process.leads() { of_first } else { of_other };
                format!("{:#}", process.ensure_same(&lines(own)).unwrap_err())
            });
            assert!(errors[0].contains(expected), "{}", errors[0]);
        }
    }
}
