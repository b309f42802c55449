//! `lstmtext export`.

use anyhow::bail;

use crate::checkpoint::Checkpoint;
use crate::config::ConfigError;
use crate::{keras, libtorch};
use lstmtext_core::commands::output::print;
use lstmtext_core::commands::{ExportArgs, FINE};

/// Runs the command.
pub fn run(args: ExportArgs) -> anyhow::Result<u8> {
    if args.to.extension().is_none_or(|extension| extension != "npz") {
        let path = args.to.display();
        bail!(ConfigError::new(format!("--to \"{path}\": the name must end in .npz")));
    }
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    let model = libtorch::model(&checkpoint, tch::Device::Cpu)?;
    keras::export(&model, &args.to)?;
    print(&args.to.display().to_string()).map(|()| FINE)
}
