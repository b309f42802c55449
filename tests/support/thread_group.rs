//! A group of processes for tests: the threads of one process.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use super::{Collective, Worker};

/// A thread of a group.
#[derive(Clone, Debug)]
pub struct GroupThread {
    worker: Worker,
    group: Arc<Group>,
}

#[derive(Debug)]
struct Group {
    barrier: Barrier,
    /// The bytes that each thread shows to all.
    bytes: Mutex<Vec<Vec<u8>>>,
}

impl GroupThread {
    /// Calls `work` on each of `size` threads. Returns the results by rank.
    pub fn run<T: Send>(size: usize, work: impl Fn(&Self) -> T + Sync) -> Vec<T> {
        let bytes = Mutex::new(vec![Vec::new(); size]);
        let group = Arc::new(Group { barrier: Barrier::new(size), bytes });
        let thread =
            |rank| Self { worker: Worker { rank, world_size: size }, group: group.clone() };
        let (threads, work): (Vec<Self>, _) = ((0..size).map(thread).collect(), &work);
        thread::scope(|scope| {
            let threads: Vec<_> =
                threads.into_iter().map(|thread| scope.spawn(move || work(&thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// Returns the bytes of all threads, by rank.
    fn gather_all(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.group.bytes.lock().unwrap()[self.worker.rank] = bytes.to_vec();
        self.group.barrier.wait();
        let all = self.group.bytes.lock().unwrap().clone();
        self.group.barrier.wait();
        all
    }

    fn gather_values<T: bytemuck::Pod>(&self, values: &[T]) -> Vec<Vec<T>> {
        let all = self.gather_all(bytemuck::cast_slice(values));
        let values = |bytes: &Vec<u8>| {
            bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
        };
        all.iter().map(values).collect()
    }
}

impl Collective for GroupThread {
    fn worker(&self) -> Worker {
        self.worker
    }

    fn library(&self) -> &str {
        "threads"
    }

    fn all_reduce(&self, values: &mut [f32]) -> anyhow::Result<()> {
        let all = self.gather_values(values);
        for (index, value) in values.iter_mut().enumerate() {
            *value = all.iter().map(|values| values[index]).sum();
        }
        Ok(())
    }

    fn all_reduce_f64(&self, values: &mut [f64]) -> anyhow::Result<()> {
        let all = self.gather_values(values);
        for (index, value) in values.iter_mut().enumerate() {
            *value = all.iter().map(|values| values[index]).sum();
        }
        Ok(())
    }

    fn broadcast(&self, bytes: &mut [u8]) -> anyhow::Result<()> {
        bytes.copy_from_slice(&self.gather_all(bytes)[0]);
        Ok(())
    }

    fn all_gather(&self, own: &[u8], all: &mut [u8]) -> anyhow::Result<()> {
        all.copy_from_slice(&self.gather_all(own).concat());
        Ok(())
    }

    fn all_to_all(
        &self,
        sent: &[f32],
        sent_counts: &[usize],
        received: &mut [f32],
        received_counts: &[usize],
    ) -> anyhow::Result<()> {
        assert_eq!(sent.len(), sent_counts.iter().sum::<usize>());
        let all = self.gather_values(sent);
        let counts = sent_counts.iter().map(|count| *count as u64).collect::<Vec<_>>();
        let all_counts = self.gather_values(&counts);
        let mut to = received;
        for ((values, counts), expected) in all.iter().zip(&all_counts).zip(received_counts) {
            let start: u64 = counts[..self.worker.rank].iter().sum();
            let count = counts[self.worker.rank] as usize;
            assert_eq!(count, *expected);
            let (own, rest) = to.split_at_mut(count);
            own.copy_from_slice(&values[start as usize..][..count]);
            to = rest;
        }
        assert!(to.is_empty());
        Ok(())
    }
}
