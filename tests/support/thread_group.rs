//! A group of processes for tests: the threads of one process.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use super::Collective;

/// A thread of a group.
pub struct GroupThread {
    rank: usize,
    group: Arc<Group>,
}

struct Group {
    barrier: Barrier,
    /// The values of each thread.
    values: Mutex<Vec<Vec<f64>>>,
}

impl GroupThread {
    /// Creates the threads of a group.
    fn group(size: usize) -> Vec<Self> {
        let values = Mutex::new(vec![Vec::new(); size]);
        let group = Arc::new(Group { barrier: Barrier::new(size), values });
        (0..size).map(|rank| Self { rank, group: group.clone() }).collect()
    }

    /// Calls `train` for each share of a batch, on a thread of its own. Returns the results by rank.
    pub fn train<T: Send>(shares: &[&[u32]], train: impl Fn(&Self, &[u32]) -> T + Sync) -> Vec<T> {
        thread::scope(|scope| {
            let threads = Self::group(shares.len()).into_iter().zip(shares);
            let threads = threads.map(|(thread, share)| scope.spawn(|| train(&{ thread }, share)));
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// Returns the values of all threads, by rank.
    fn gather(&self, values: Vec<f64>) -> Vec<Vec<f64>> {
        self.group.values.lock().unwrap()[self.rank] = values;
        self.group.barrier.wait();
        let all = self.group.values.lock().unwrap().clone();
        self.group.barrier.wait();
        all
    }
}

impl Collective for GroupThread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.group.values.lock().unwrap().len()
    }

    fn sum(&self, values: &mut [f32]) -> anyhow::Result<()> {
        let all = self.gather(values.iter().map(|value| f64::from(*value)).collect());
        for (index, value) in values.iter_mut().enumerate() {
            *value = all.iter().map(|values| values[index] as f32).sum();
        }
        Ok(())
    }

    fn sum_f64(&self, values: &mut [f64]) -> anyhow::Result<()> {
        let all = self.gather(values.to_vec());
        for (index, value) in values.iter_mut().enumerate() {
            *value = all.iter().map(|values| values[index]).sum();
        }
        Ok(())
    }

    fn broadcast(&self, values: &mut [f32]) -> anyhow::Result<()> {
        let all = self.gather(values.iter().map(|value| f64::from(*value)).collect());
        values.iter_mut().zip(&all[0]).for_each(|(value, first)| *value = *first as f32);
        Ok(())
    }
}
