//! `lstmtext man`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_mangen::Man;

use super::exit::SUCCESS;
use crate::config::ConfigError;
use crate::io::files::create_directories;
use crate::io::replace::write_atomic;
use crate::output::print;

const EXAMPLES: &str = "\
Examples:
  lstmtext man train | man -l -
  lstmtext man --to ~/.local/share/man/man1";

/// Print the man page of a command, or write all
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ManArgs {
    /// Command, such as train or "data stats"; lstmtext itself by default
    #[arg(conflicts_with = "to", num_args = 0..)]
    command: Vec<String>,
    /// Directory for all pages: lstmtext.1, lstmtext-train.1, …
    #[arg(long, value_name = "DIRECTORY")]
    to: Option<PathBuf>,
}

/// Runs the command; `program` is the whole command line.
pub fn run(args: ManArgs, program: Command) -> anyhow::Result<u8> {
    let mut program = without_help_commands(program);
    program.build();
    if let Some(directory) = &args.to {
        create_directories(directory)?;
        write_pages(&program, program.get_name(), directory)?;
        return Ok(SUCCESS);
    }
    let (mut command, mut name) = (&program, program.get_name().to_owned());
    for word in args.command.iter().flat_map(|argument| argument.split_whitespace()) {
        command = command.find_subcommand(word).ok_or_else(|| {
            ConfigError::new(format!("\"{name}\" has no command {word}; `{name} --help` lists all"))
        })?;
        name = format!("{name} {word}");
    }
    print(String::from_utf8_lossy(&page(command, &name)?).trim_end())?;
    Ok(SUCCESS)
}

/// Removes the commands `help`, which have no pages.
fn without_help_commands(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help_commands)
}

/// Writes the pages of a command and of those below it.
fn write_pages(command: &Command, name: &str, directory: &Path) -> anyhow::Result<()> {
    let file = directory.join(name.replace(' ', "-") + ".1");
    write_atomic(&file, &page(command, name)?)?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_pages(below, &format!("{name} {}", below.get_name()), directory)?;
    }
    Ok(())
}

/// Returns the page of a command with this name, in roff.
fn page(command: &Command, name: &str) -> anyhow::Result<Vec<u8>> {
    let page = name.replace(' ', "-");
    let command = command.clone().name(page).bin_name(name.to_owned());
    let mut roff = Vec::new();
    Man::new(command).render(&mut roff).context("cannot render a man page")?;
    Ok(roff)
}
