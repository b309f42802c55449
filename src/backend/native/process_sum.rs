//! The sum of the gradients of all processes, with the rounding errors of a single process.
//!
//! Each process has the sums of some subtrees of the [`shard_tree`](super::shard_tree). Every process adds up
//! one chunk of all of them in the order of the tree (reduce-scatter), and the chunks are collected
//! (all-gather). If each process has one subtree, this transfers as much as a ring all-reduce: 2 (N − 1) / N
//! times the gradients.

use std::ops::Range;
use std::{panic, thread};

use anyhow::Context;

use super::shard_sum::{LossSum, ShardSum};
use super::shard_tree::{halves, subtrees};
use super::sharding::ShardedBatch;
use crate::config::CollectiveKind;
use crate::distributed::{Group, Worker};
use crate::objective::AddedLosses;
use crate::system::threads;

/// Buffers for sums over processes.
#[derive(Default)]
pub struct ProcessSum {
    /// Gradients of this process; afterwards their sum.
    values: Vec<f32>,
    /// Chunks of the gradients of all processes.
    received: Vec<f32>,
    /// Chunks of the sum, each with what is known of the shards of its process.
    gathered: Vec<f32>,
}

/// Loss, correct predictions and stop flag of the shards of a process, sent to all others as the bits of floats.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Report {
    loss: [f32; 2],
    correct: [f32; 2],
    added: [[f32; 2]; AddedLosses::COUNT],
    stop: f32,
}

impl Report {
    const FLOATS: usize = size_of::<Self>() / size_of::<f32>();

    fn new(LossSum { loss, correct, added }: LossSum, stop: bool) -> Self {
        Self {
            loss: bytemuck::cast(loss),
            correct: bytemuck::cast(correct),
            added: added.map(bytemuck::cast),
            stop: f32::from(u8::from(stop)),
        }
    }

    fn losses(self) -> LossSum {
        LossSum {
            loss: bytemuck::cast(self.loss),
            correct: bytemuck::cast(self.correct),
            added: self.added.map(bytemuck::cast),
        }
    }
}

/// Processes of a sum.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// The processes.
    pub group: Group<'a>,
    /// Order of additions.
    pub kind: CollectiveKind,
}

impl ProcessSum {
    /// Replaces the gradients of this process's subtrees of a batch by the sum over all processes. Returns true if
    /// a process is to stop.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn sum(
        &mut self,
        batch: &ShardedBatch,
        sums: &mut Vec<ShardSum>,
        exchange: Exchange,
    ) -> anyhow::Result<bool> {
        match exchange.kind {
            CollectiveKind::Ordered => self.sum_in_order(batch, sums, exchange.group),
            CollectiveKind::Fast => self.sum_fast(sums, exchange.group),
        }
    }

    /// Does the same as [`ProcessSum::sum`] while this thread does other work.
    ///
    /// # Errors
    /// Returns an error if a process is lost, or if the system refuses to start a thread.
    pub fn sum_during<T>(
        &mut self,
        batch: &ShardedBatch,
        sums: &mut Vec<ShardSum>,
        exchange: Exchange,
        work: impl FnOnce() -> T,
    ) -> anyhow::Result<(bool, T)> {
        thread::scope(|scope| {
            let sum = threads::spawn_scoped(scope, "sum", move || self.sum(batch, sums, exchange))?;
            let done = work();
            match sum.join() {
                Ok(stop_requested) => Ok((stop_requested?, done)),
                Err(panic) => panic::resume_unwind(panic),
            }
        })
    }

    /// Adds up the gradients in the order that is fastest.
    fn sum_fast(
        &mut self,
        sums: &mut Vec<ShardSum>,
        Group { collective, stop }: Group,
    ) -> anyhow::Result<bool> {
        self.values.clear();
        let sum = ShardSum::merge(sums).context("a process has no sum of shards")?;
        sum.append_to(&mut self.values);
        let LossSum { loss, correct, added } = sum.losses;
        let mut totals = vec![loss, correct as f64, f64::from(u8::from(stop))];
        totals.extend(added);
        collective.all_reduce(&mut self.values)?;
        collective.all_reduce_f64(&mut totals)?;
        sum.take_from(&self.values);
        let added = std::array::from_fn(|index| totals[3 + index]);
        sum.losses = LossSum { loss: totals[0], correct: totals[1] as u64, added };
        Ok(totals[2] > 0.0)
    }

    /// Adds up the gradients in the order of a single process.
    fn sum_in_order(
        &mut self,
        batch: &ShardedBatch,
        sums: &mut Vec<ShardSum>,
        Group { collective, stop }: Group,
    ) -> anyhow::Result<bool> {
        let Worker { rank, world_size: size } = collective.worker();
        let shards = batch.shards.len();
        let trees_of = |rank| subtrees(shards, &Worker { rank, world_size: size }.part_of(shards));
        let trees: Vec<Vec<Range<usize>>> = (0..size).map(trees_of).collect();

        let chunk = self.pack(sums, trees[rank].len(), size);
        let sent_counts = vec![trees[rank].len() * chunk; size];
        let received_counts: Vec<usize> = trees.iter().map(|trees| trees.len() * chunk).collect();
        self.received.resize(received_counts.iter().sum(), 0.0);
        collective.all_to_all(&self.values, &sent_counts, &mut self.received, &received_counts)?;
        let mut all = trees.iter().flatten().zip(self.received.chunks_exact_mut(chunk)).peekable();
        let own = add_up(0..shards, &mut all, &mut |sum: &mut &mut [f32], other| {
            sum.iter_mut().zip(&**other).for_each(|(sum, value)| *sum += value);
        });

        let most_trees = trees.iter().map(Vec::len).max().unwrap_or(0);
        let mut message = own.map_or(Vec::new(), |own| own.to_vec());
        let reports = sums.iter().map(|sum| Report::new(sum.losses, stop));
        reports.for_each(|report| message.extend_from_slice(bytemuck::cast_slice(&[report])));
        message.resize(chunk + most_trees * Report::FLOATS, 0.0);
        self.gathered.resize(message.len() * size, 0.0);
        let gathered = bytemuck::cast_slice_mut(&mut self.gathered);
        collective.all_gather(bytemuck::cast_slice(&message), gathered)?;

        let (mut reports, mut stop_requested): (Vec<Report>, bool) = (Vec::new(), false);
        self.values.clear();
        for (message, trees) in self.gathered.chunks_exact(message.len()).zip(&trees) {
            let (chunk, rest) = message.split_at(chunk);
            self.values.extend_from_slice(chunk);
            let of_process: &[Report] = bytemuck::cast_slice(rest);
            stop_requested |= of_process.iter().any(|report| report.stop > 0.0);
            reports.extend_from_slice(&of_process[..trees.len()]);
        }
        let mut losses =
            trees.iter().flatten().zip(reports.iter().map(|report| report.losses())).peekable();
        let losses =
            add_up(0..shards, &mut losses, &mut |sum: &mut LossSum, other| sum.add(*other));
        sums.truncate(1);
        for sum in sums {
            sum.take_from(&self.values);
            sum.losses = losses.unwrap_or_default();
        }
        Ok(stop_requested)
    }

    /// Writes the gradients of this process's subtrees to `values`, as one chunk of each of them after the other
    /// for each process. Returns the length of a chunk.
    fn pack(&mut self, sums: &mut [ShardSum], trees: usize, size: usize) -> usize {
        let mut chunk = 0;
        self.values.clear();
        for sum in sums {
            let start = self.values.len();
            sum.append_to(&mut self.values);
            chunk = (self.values.len() - start).div_ceil(size).max(1);
            self.values.resize(start + chunk * size, 0.0);
        }
        match trees {
            0 => self.values.clear(),
            1 => {}
            _ => {
                let whole = std::mem::take(&mut self.values);
                let of_process = |process: usize| {
                    whole
                        .chunks_exact(chunk * size)
                        .map(move |tree| &tree[process * chunk..][..chunk])
                };
                self.values = (0..size).flat_map(of_process).flatten().copied().collect();
            }
        }
        chunk
    }
}

/// Adds up the values of consecutive subtrees of `tree`, which are the next ones in `values`.
fn add_up<'a, T>(
    tree: Range<usize>,
    values: &mut std::iter::Peekable<impl Iterator<Item = (&'a Range<usize>, T)>>,
    add: &mut impl FnMut(&mut T, &T),
) -> Option<T> {
    if values.peek().is_some_and(|(range, _)| **range == tree) || tree.len() < 2 {
        return values.next().map(|(_, value)| value);
    }
    let [left, right] = halves(&tree);
    let (mut sum, other) = (add_up(left, values, add)?, add_up(right, values, add)?);
    add(&mut sum, &other);
    Some(sum)
}
