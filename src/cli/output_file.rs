//! Checks of the files that options such as --errors name.

use std::path::Path;

use crate::config::{Config, ConfigError};

/// Checks that the file `output`, which `option` names, would not overwrite one of these inputs: files, or
/// data directories with a subdirectory for each class.
///
/// # Errors
/// Returns an error that names the input.
pub fn check<'a>(
    option: &str,
    output: &Path,
    mut inputs: impl Iterator<Item = &'a Path>,
) -> Result<(), ConfigError> {
    // A file that does not exist yet overwrites nothing.
    let Ok(file) = output.canonicalize() else { return Ok(()) };
    let is_in = |input: &Path| {
        let directory = file.parent().and_then(Path::parent);
        input.canonicalize().is_ok_and(|input| input == file || Some(&*input) == directory)
    };
    match inputs.find(|input| is_in(input)) {
        None => Ok(()),
        Some(input) => Err(ConfigError::new(format!(
            "{option} \"{}\" would overwrite the input \"{}\"; choose another name",
            output.display(),
            input.display()
        ))),
    }
}

/// Returns the files and directories with the examples and word vectors of a configuration.
pub fn inputs_of(config: &Config) -> impl Iterator<Item = &Path> {
    let data = &config.data;
    let vectors = config.inputs.iter().map(|input| &input.embedding.vectors);
    let optional = [&data.validation, &data.test].into_iter().chain(vectors);
    std::iter::once(data.train.as_path()).chain(optional.flatten().map(|path| path.as_path()))
}
