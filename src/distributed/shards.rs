//! Rows of data that are divided among processes.

use std::sync::Arc;

use bytemuck::Pod;

use super::{Collective, Worker};

/// Division of rows among the processes of a group: each process has the texts of some rows.
#[derive(Clone, Debug)]
pub struct Shards {
    collective: Arc<dyn Collective>,
    /// End of the rows of each process, which has consecutive ones. `None` if the process of rank r has the rows r,
    /// r + N, …
    ends: Option<Vec<usize>>,
}

impl Shards {
    /// Divides rows so that the process of rank r has the rows r, r + N, …
    pub fn interleaved(collective: Arc<dyn Collective>) -> Self {
        Self { collective, ends: None }
    }

    /// Divides rows so that each process has consecutive ones, of these numbers.
    pub fn consecutive(collective: Arc<dyn Collective>, counts: &[usize]) -> Self {
        let ends = counts.iter().scan(0, |end, count| {
            *end += count;
            Some(*end)
        });
        Self { collective, ends: Some(ends.collect()) }
    }

    /// Returns the group of processes.
    pub fn collective(&self) -> &dyn Collective {
        &*self.collective
    }

    /// Returns the rank of the process that has the texts of a row.
    pub fn owner(&self, row: usize) -> usize {
        match &self.ends {
            Some(ends) => ends.partition_point(|end| *end <= row),
            None => row % self.collective.worker().world_size,
        }
    }

    /// Returns true if this process has the texts of a row.
    pub fn is_own(&self, row: usize) -> bool {
        let Worker { rank, .. } = self.collective.worker();
        self.owner(row) == rank
    }

    /// Returns a value for each of these rows. `own` has those of the rows of this process, in their order.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn complete<T: Pod>(
        &self,
        rows: impl Iterator<Item = usize>,
        mut own: &[T],
    ) -> anyhow::Result<Vec<T>> {
        /// Number of rows whose values are collected at once.
        const ROWS: usize = 1 << 16;
        let mut rows = rows.peekable();
        let mut values = Vec::with_capacity(rows.size_hint().0);
        while rows.peek().is_some() {
            let owners: Vec<usize> = rows.by_ref().take(ROWS).map(|row| self.owner(row)).collect();
            let rank = self.collective.worker().rank;
            let count = owners.iter().filter(|owner| **owner == rank).count();
            let (sent, rest) = own.split_at(count);
            own = rest;
            let all = self.collective().gather_arrays(sent)?;
            let mut next = vec![0; all.len()];
            values.extend(owners.into_iter().map(|owner| {
                next[owner] += 1;
                all[owner][next[owner] - 1]
            }));
        }
        Ok(values)
    }
}

impl PartialEq for Shards {
    fn eq(&self, other: &Self) -> bool {
        self.ends == other.ends && self.collective.worker() == other.collective.worker()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::thread_group::GroupThread;

    #[test]
    fn values_of_all_rows_are_completed() {
        for counts in [None, Some([3, 0, 5]), Some([0, 8, 0])] {
            let values = GroupThread::run(3, |process| {
                let collective: Arc<dyn Collective> = Arc::new(process.clone());
                let shards = match counts {
                    Some(counts) => Shards::consecutive(collective, &counts),
                    None => Shards::interleaved(collective),
                };
                let rows = [7, 0, 3, 4, 2];
                let own: Vec<u32> = rows
                    .into_iter()
                    .filter(|row| shards.is_own(*row))
                    .map(|row| row as u32)
                    .collect();
                shards.complete(rows.into_iter(), &own).unwrap()
            });
            assert_eq!(values, vec![[7, 0, 3, 4, 2]; 3], "{counts:?}");
        }
    }
}
