//! `lstmtext export` in Keras's layout.

use anyhow::ensure;

use crate::{keras, learner};
use lstmtext::cli::{ExportArgs, FINE};
use lstmtext::output::print;
use lstmtext::run::checkpoint::Checkpoint;

/// Runs the command.
pub fn run(args: ExportArgs) -> anyhow::Result<u8> {
    ensure!(!args.to.exists(), "\"{}\" is there already; name a new file", args.to.display());
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    let model = learner::model(&checkpoint, tch::Device::Cpu)?;
    keras::export(&model, &args.to)?;
    print(&args.to.display().to_string()).map(|()| FINE)
}
