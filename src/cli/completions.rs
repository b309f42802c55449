//! `lstmtext completions`.

use clap::builder::PossibleValuesParser;
use clap::{Args, Command};
use clap_complete::Shell;

use super::exit::SUCCESS;
use crate::config::defaults;
use crate::output::print;

const EXAMPLE: &str = "\
Example:
  mkdir -p ~/.local/share/bash-completion/completions
  lstmtext completions bash > ~/.local/share/bash-completion/completions/lstmtext";

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct CompletionsArgs {
    /// Shell to complete in
    shell: Shell,
}

/// Runs the command; `program` is the whole command line.
pub fn run(args: CompletionsArgs, program: Command) -> anyhow::Result<u8> {
    let fields = defaults().into_iter().filter(|field| !field.is_section());
    let sets: Vec<String> = fields.map(|field| format!("{}=", field.path.join("."))).collect();
    let mut script = Vec::new();
    let mut program = with_values(program, &sets);
    clap_complete::generate(args.shell, &mut program, "lstmtext", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(SUCCESS)
}

/// Lists values of arguments that accept more than a list: the fields of `--set`, and devices.
fn with_values(command: Command, sets: &[String]) -> Command {
    let command = command.mut_args(|arg| match arg.get_id().as_str() {
        "overrides" => arg.value_parser(PossibleValuesParser::new(sets.to_vec())),
        "device" => arg.value_parser(["auto", "cpu", "cuda"]),
        _ => arg,
    });
    command.mut_subcommands(|subcommand| with_values(subcommand, sets))
}
