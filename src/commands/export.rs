//! `lstmtext export` in Keras's layout.

use anyhow::ensure;

use crate::checkpoint::Checkpoint;
use crate::{keras, libtorch};
use lstmtext_core::commands::output::print;
use lstmtext_core::commands::{ExportArgs, FINE};

/// Runs the command.
pub fn run(args: ExportArgs) -> anyhow::Result<u8> {
    ensure!(!args.to.exists(), "\"{}\" is there already; name a new file", args.to.display());
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    let model = libtorch::model(&checkpoint, tch::Device::Cpu)?;
    keras::export(&model, &args.to)?;
    print(&args.to.display().to_string()).map(|()| FINE)
}
