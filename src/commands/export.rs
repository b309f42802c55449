//! `lstmtext export` in Keras's layout.

use crate::checkpoint::Checkpoint;
use crate::{keras, libtorch};
use lstmtext_core::commands::output::print;
use lstmtext_core::commands::{ExportArgs, FINE};

/// Runs the command.
pub fn run(args: ExportArgs) -> anyhow::Result<u8> {
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    let model = libtorch::model(&checkpoint, tch::Device::Cpu)?;
    keras::export(&model, &args.to)?;
    print(&args.to.display().to_string()).map(|()| FINE)
}
