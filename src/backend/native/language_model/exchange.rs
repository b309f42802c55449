//! Exchange of the gradients of shards between processes. Each process computes some of the shards of a batch and sends
//! the others what it found. All of them then add up all shards in the same order as a single process, with the same
//! bits.

use std::ops::Range;

use anyhow::{Context, ensure};

use super::shard::Shard;
use super::states::States;
use crate::backend::kernel::AlignedVec;
use crate::backend::native::branch::CellGradient;
use crate::distributed::Group;

/// Sends the results of the shards of this process to the others, and receives theirs. Returns true if a process is to
/// stop.
///
/// # Errors
/// Returns an error if a process is lost.
pub fn exchange(
    shards: &mut [Shard],
    shards_of: impl Fn(usize) -> Range<usize>,
    Group { collective, stop }: Group,
) -> anyhow::Result<bool> {
    let rank = collective.worker().rank;
    let mut message = Message(vec![u32::from(stop)]);
    shards[shards_of(rank)].iter().for_each(|shard| message.add(shard));
    let messages = collective.gather_arrays(&message.0)?;
    let mut stop_requested = false;
    for (sender, message) in messages.iter().enumerate() {
        let (stops, rest) = message.split_first().context("received an empty message")?;
        stop_requested |= *stops != 0;
        if sender != rank {
            let mut cursor = Cursor(rest);
            let of_sender = &mut shards[shards_of(sender)];
            of_sender.iter_mut().try_for_each(|shard| cursor.read(shard))?;
        }
    }
    Ok(stop_requested)
}

/// Results of shards as words of 32 bits: each array after its length.
struct Message(Vec<u32>);

impl Message {
    fn add(&mut self, shard: &Shard) {
        let loss = shard.sums.loss.to_bits();
        self.0.extend([loss as u32, (loss >> u32::BITS) as u32, shard.layers.len() as u32]);
        let sums = &shard.sums;
        for array in sums.dense() {
            self.array(array);
        }
        for array in [&*sums.negatives, &sums.inputs, &sums.targets, &sums.target_biases] {
            self.array(array);
        }
        for layer in &shard.layers {
            States::last(&layer.cache).into_iter().for_each(|states| self.array(states));
        }
    }

    fn array(&mut self, values: &[f32]) {
        self.0.push(values.len() as u32);
        self.0.extend_from_slice(bytemuck::cast_slice(values));
    }
}

/// The rest of a message.
struct Cursor<'a>(&'a [u32]);

impl<'a> Cursor<'a> {
    fn read(&mut self, shard: &mut Shard) -> anyhow::Result<()> {
        let [low, high, layers] = [self.word()?, self.word()?, self.word()?];
        let layers = layers as usize;
        // The processes have compared their configurations.
        ensure!(layers > 0 && layers <= self.0.len(), "received a damaged message");
        let sums = &mut shard.sums;
        sums.loss = f64::from_bits(u64::from(high) << u32::BITS | u64::from(low));
        sums.cells.resize_with(layers, CellGradient::default);
        for cell in &mut sums.cells {
            for array in [&mut cell.input, &mut cell.recurrent, &mut cell.bias] {
                self.array(array)?;
            }
        }
        for array in [
            &mut sums.projection,
            &mut sums.projection_bias,
            &mut sums.negative_biases,
            &mut sums.negatives,
            &mut sums.inputs,
            &mut sums.targets,
        ] {
            self.array(array)?;
        }
        sums.target_biases.clear();
        sums.target_biases.extend_from_slice(self.values()?);
        shard.received_states.resize_with(layers, Default::default);
        for states in shard.received_states.iter_mut().flatten() {
            self.array(states)?;
        }
        Ok(())
    }

    fn word(&mut self) -> anyhow::Result<u32> {
        let (word, rest) = self.0.split_first().context("received half a message")?;
        self.0 = rest;
        Ok(*word)
    }

    fn values(&mut self) -> anyhow::Result<&'a [f32]> {
        let length = self.word()? as usize;
        let (values, rest) = self.0.split_at_checked(length).context("received half a message")?;
        self.0 = rest;
        Ok(bytemuck::cast_slice(values))
    }

    fn array(&mut self, to: &mut AlignedVec) -> anyhow::Result<()> {
        let values = self.values()?;
        to.resize(values.len());
        to.copy_from_slice(values);
        Ok(())
    }
}
