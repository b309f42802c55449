//! `lstmtext completions`.

use clap::Args;
use clap_complete::Shell;

use super::exit::SUCCESS;
use crate::output::print;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  mkdir -p ~/.local/share/bash-completion/completions\n  lstmtext completions bash > ~/.local/share/bash-completion/completions/lstmtext"
)]
pub struct CompletionsArgs {
    /// Shell to complete in
    shell: Shell,
}

/// Runs the command; `program` is the whole command line.
pub fn run(args: CompletionsArgs, mut program: clap::Command) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "lstmtext", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(SUCCESS)
}
