//! Predictions of a data set whose batches are spread over several processes.

use crate::distributed::{Collective, Worker};
use crate::text::Corpus;

/// Number of batches for each process whose texts are collected at once, if processes have different texts.
const COLLECTED: usize = 16;

/// Predictions for all examples of a data set.
pub struct GatheredRows {
    /// Number of values of an example, C.
    pub width: usize,
    /// Values of all examples, [N, C].
    pub values: Vec<f64>,
}

/// Computes values for the examples of a data set, which are those of all `batches`. Each process computes some of
/// the batches: `compute` returns the rows of each batch, [B, C]. All processes get all values, with the same bits as
/// those of a single process.
///
/// # Errors
/// Returns an error if a process is lost.
pub fn compute_distributed(
    inputs: &[Corpus],
    batches: &[&[u32]],
    collective: &dyn Collective,
    mut compute: impl FnMut(&[Corpus], &[&[u32]]) -> Vec<Vec<f64>>,
) -> anyhow::Result<GatheredRows> {
    let Worker { rank, world_size: size } = collective.worker();
    let own: Vec<&[u32]> = batches.iter().copied().skip(rank).step_by(size).collect();
    let mut results = Vec::with_capacity(own.len());
    match inputs.iter().any(Corpus::is_sharded) {
        false => results = compute(inputs, &own),
        true => {
            for round in batches.chunks(COLLECTED * size) {
                let examples = round.concat();
                let collected = inputs.iter().map(|corpus| corpus.collect(&examples, collective));
                let collected: Vec<Corpus> = collected.collect::<anyhow::Result<_>>()?;
                let positions: Vec<u32> = (0..examples.len() as u32).collect();
                let mut rest = &positions[..];
                let mut next = |batch: &&[u32]| {
                    let (batch, after) = rest.split_at(batch.len());
                    rest = after;
                    batch
                };
                let batches: Vec<&[u32]> = round.iter().map(&mut next).collect();
                let own: Vec<&[u32]> = batches.into_iter().skip(rank).step_by(size).collect();
                results.extend(compute(&collected, &own));
            }
        }
    }
    let width = results.first().map_or(0, |rows| rows.len() / own[0].len());
    // There may be more processes than batches.
    let width = collective.gather_number(width as u64)?.into_iter().max().unwrap_or(0) as usize;
    // Adding −0.0 changes no bit of a number; 0.0 would change −0.0.
    let count = inputs.first().map_or(0, Corpus::len);
    let mut values = vec![-0.0; count * width];
    for (examples, rows) in own.into_iter().zip(results) {
        for (example, row) in examples.iter().zip(rows.chunks_exact(width)) {
            values[*example as usize * width..][..width].copy_from_slice(row);
        }
    }
    collective.all_reduce_f64(&mut values)?;
    Ok(GatheredRows { width, values })
}
