//! Communication between the processes that train or evaluate a model together.

use std::any::Any;
use std::fmt;
use std::iter;
use std::ops::Range;
use std::time::Duration;

use anyhow::anyhow;
use bytemuck::Pod;

use crate::config::ConfigError;

/// Number of bytes of each process that are collected at once.
const ROUND: usize = 1 << 20;

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

    /// Returns the part of this process when `count` things are divided into as many consecutive parts as there are
    /// processes. Parts differ by at most one.
    pub fn part_of(self, count: usize) -> Range<usize> {
        let Self { rank, world_size: size } = self;
        count * rank / size..count * (rank + 1) / size
    }
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

    /// Replaces the values of arrays by those of rank 0. The arrays have the same lengths in all processes.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn broadcast_arrays<'a>(
        &self,
        arrays: impl IntoIterator<Item = &'a mut [f32]>,
    ) -> anyhow::Result<()> {
        arrays.into_iter().try_for_each(|array| self.broadcast(bytemuck::cast_slice_mut(array)))
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
        self.gather_arrays(own)
    }

    /// Returns the arrays of all processes, of any length, by rank.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn gather_arrays<T: Pod>(&self, own: &[T]) -> anyhow::Result<Vec<Vec<T>>> {
        let lengths = self.gather_number(own.len() as u64)?;
        let mut all: Vec<Vec<T>> =
            lengths.iter().map(|length| vec![T::zeroed(); *length as usize]).collect();
        let own: &[u8] = bytemuck::cast_slice(own);
        let longest = lengths.iter().copied().max().unwrap_or(0) as usize * size_of::<T>();
        let part = |length: usize, start: usize| start.min(length)..(start + ROUND).min(length);
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        for start in (0..longest).step_by(ROUND) {
            let size = ROUND.min(longest - start);
            sent.clear();
            sent.extend_from_slice(&own[part(own.len(), start)]);
            sent.resize(size, 0);
            received.resize(size * all.len(), 0);
            self.all_gather(&sent, &mut received)?;
            for (array, bytes) in all.iter_mut().zip(received.chunks_exact(size)) {
                let array: &mut [u8] = bytemuck::cast_slice_mut(array);
                let range = part(array.len(), start);
                let count = range.len();
                array[range].copy_from_slice(&bytes[..count]);
            }
        }
        Ok(all)
    }

    /// Sends each value to the process whose rank `owner` returns, and returns those that this process receives, by
    /// the rank of the sender. The size of a value is a multiple of 4 bytes.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn exchange<T: Pod>(
        &self,
        values: Vec<T>,
        owner: impl Fn(&T) -> usize,
    ) -> anyhow::Result<Vec<T>> {
        let mut counts = vec![0_u64; self.worker().world_size];
        values.iter().for_each(|value| counts[owner(value)] += 1);
        let mut next: Vec<usize> = counts
            .iter()
            .scan(0, |end, count| {
                let start = *end;
                *end += *count as usize;
                Some(start)
            })
            .collect();
        let mut sent = vec![T::zeroed(); values.len()];
        for value in values {
            let next = &mut next[owner(&value)];
            sent[*next] = value;
            *next += 1;
        }
        self.send_each(&sent, &counts)
    }

    /// Sends a part of `sent` to each process, of these numbers of values, by rank. Returns the values that this
    /// process receives, by the rank of the sender. The size of a value is a multiple of 4 bytes.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn send_each<T: Pod>(&self, sent: &[T], counts: &[u64]) -> anyhow::Result<Vec<T>> {
        const { assert!(size_of::<T>().is_multiple_of(size_of::<f32>())) };
        const { assert!(align_of::<T>() >= align_of::<f32>()) };
        let rank = self.worker().rank;
        let words = |count: u64| count as usize * (size_of::<T>() / size_of::<f32>());
        let all = self.gather_arrays(counts)?;
        let received_counts: Vec<usize> = all.iter().map(|counts| words(counts[rank])).collect();
        let sent_counts: Vec<usize> = counts.iter().map(|count| words(*count)).collect();
        let count = all.iter().map(|counts| counts[rank] as usize).sum();
        let mut received = vec![T::zeroed(); count];
        let (sent, buffer) = (bytemuck::cast_slice(sent), bytemuck::cast_slice_mut(&mut received));
        self.all_to_all(sent, &sent_counts, buffer, &received_counts)?;
        Ok(received)
    }

    /// Replaces each count by its sum over all processes, which is below 2⁵³.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn sum_counts(&self, counts: &mut [u64]) -> anyhow::Result<()> {
        let mut values: Vec<f64> = counts.iter().map(|count| *count as f64).collect();
        self.all_reduce_f64(&mut values)?;
        counts.iter_mut().zip(values).for_each(|(count, value)| *count = value as u64);
        Ok(())
    }

    /// Waits for the results of the same work of all processes, and returns an error in each of them if one
    /// has failed. A process that fails must call this method next, and so must the others. An error with
    /// [`FailedRank`] is already known to all processes and is returned unchanged.
    ///
    /// # Errors
    /// Returns the error of the first process that has one, with [`FailedRank`]. Rank 0 and that process
    /// print it; for the others it has [`Reported`], too.
    pub fn agree<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        /// First byte of a message: the kind of the error.
        const KINDS: [u8; 2] = [b'e', b'c'];
        let is_known = |error: &anyhow::Error| error.is::<FailedRank>();
        if self.is_alone() || result.as_ref().is_err_and(is_known) {
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
    use crate::distributed::thread_group::GroupThread;

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

    #[test]
    fn arrays_of_any_length_reach_all_processes() {
        for size in [1, 2, 3] {
            let lengths = |rank: usize| [0, 3 * ROUND / 8 + 1, 5][rank];
            let array = |rank: usize| (0..lengths(rank) as u64).map(move |i| i + rank as u64);
            let gathered = GroupThread::run(size, |process| {
                let process: &dyn Collective = process;
                let own: Vec<u64> = array(process.worker().rank).collect();
                process.gather_arrays(&own).unwrap()
            });
            let expected: Vec<Vec<u64>> = (0..size).map(|rank| array(rank).collect()).collect();
            assert!(gathered.iter().all(|all| *all == expected), "{size}");
        }
    }

    #[test]
    fn each_process_receives_the_values_that_it_owns() {
        // Owner, sender and a number with all bits.
        let values = |from: u64| (0..20 * from).map(move |i| [i % 3, from, u64::MAX - i]);
        let received = GroupThread::run(3, |process| {
            let process: &dyn Collective = process;
            let own = values(process.worker().rank as u64).collect();
            process.exchange(own, |value: &[u64; 3]| value[0] as usize).unwrap()
        });
        for (to, received) in received.into_iter().enumerate() {
            let all = (0..3).flat_map(values);
            let expected: Vec<[u64; 3]> = all.filter(|value| value[0] == to as u64).collect();
            assert_eq!(received, expected);
        }
    }

    #[test]
    fn an_error_that_all_processes_know_is_not_sent_again() {
        let errors = GroupThread::run(2, |process| {
            let process: &dyn Collective = process;
            let own = match process.leads() {
                true => Ok(()),
                false => Err(anyhow!("no file")),
            };
            let agreed = process.agree(own);
            format!("{:#}", process.agree(agreed).unwrap_err())
        });
        assert_eq!(errors, ["process 1: no file"; 2]);
    }
}
