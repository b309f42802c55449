//! The interface of what a training step computes from the blocks of a batch.

use super::{Block, Network, ShardWorkspace};
use crate::backend::Times;
use crate::backend::native::shard_sum::ShardSum;

/// Passes over the blocks of a batch, which compute their gradients.
pub(super) trait BlockPasses: Sync {
    /// Computes the losses and gradients of a block, after [`Network::begin_shard`], and adds them to `sum`.
    fn run(
        &self,
        network: &Network,
        block: Block,
        work: &mut ShardWorkspace,
        sum: &mut ShardSum,
        times: &mut Times,
    );
}
