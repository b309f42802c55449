//! `lstmtext completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, FINE};
use crate::output::print;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lstmtext completions bash > ~/.local/share/bash-completion/completions/lstmtext"
)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub fn run(args: CompletionsArgs) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lstmtext", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(FINE)
}
