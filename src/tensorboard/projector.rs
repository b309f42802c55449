//! The files of TensorBoard's embedding projector: word vectors, and the words.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;

use crate::data::prepared::PreparedData;
use crate::io::files::replace_directory;
use crate::model::named_tensors::NamedTensor;
use crate::output::sanitize::is_unprintable;
use crate::text::FIRST_WORD;

/// Where the projector looks in the folder of a run: a folder in another.
const PLUGINS: &str = "plugins";
const FOLDER: &str = "org_tensorflow_tensorboard_projector";

/// Writes the vectors of the `most` first words of each input, which are its most frequent ones, into
/// the run's `folder`; `weights` are all weights of the model.
///
/// # Errors
/// Where the files cannot be written.
pub fn write(
    folder: &Path,
    experiment: &PreparedData,
    weights: &[NamedTensor],
    most: usize,
) -> anyhow::Result<()> {
    let plugins = folder.join(PLUGINS);
    if let Err(error) = fs::create_dir(&plugins)
        && error.kind() != ErrorKind::AlreadyExists
    {
        let folder = plugins.display();
        return Err(error).with_context(|| format!("cannot make the folder \"{folder}\""));
    }
    replace_directory(&plugins.join(FOLDER), |folder| {
        let mut config = String::new();
        for (number, input) in experiment.resolved.config.inputs.iter().enumerate() {
            let name = format!("{}embedding.weight", input.prefix());
            let Some(embedding) = weights.iter().find(|array| array.name == name) else { continue };
            let words = experiment.encoders[number].vocabulary().words();
            let words = &words[..words.len().min(most.saturating_add(FIRST_WORD as usize))];
            let counts = counts(experiment.train.inputs[number].ids(), words.len());
            let (tensor_path, metadata_path) = (format!("{name}.tsv"), format!("{name}.words.tsv"));
            write_file(&folder.join(&tensor_path), &vectors(embedding, words.len()))?;
            write_file(&folder.join(&metadata_path), &table(words, &counts))?;
            writeln!(
                config,
                "embeddings {{\n  tensor_name: \"{name}\"\n  tensor_path: \"{tensor_path}\"\n  \
                 metadata_path: \"{metadata_path}\"\n}}"
            )?;
        }
        write_file(&folder.join("projector_config.pbtxt"), &config)
    })
}

fn write_file(path: &Path, content: &str) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write \"{}\"", path.display()))
}

/// How often each of the first ids occurs.
fn counts(ids: &[u32], words: usize) -> Vec<u64> {
    let mut counts = vec![0; words];
    for id in ids {
        if let Some(count) = counts.get_mut(*id as usize) {
            *count += 1;
        }
    }
    counts
}

/// A line for each word; special ones are left out.
fn vectors(embedding: &NamedTensor, words: usize) -> String {
    let mut lines = String::new();
    let size = embedding.shape.last().copied().unwrap_or(1).max(1);
    let rows = embedding.values.chunks_exact(size).take(words).skip(FIRST_WORD as usize);
    for row in rows {
        let numbers: Vec<String> = row.iter().map(f32::to_string).collect();
        lines.push_str(&numbers.join("\t"));
        lines.push('\n');
    }
    lines
}

/// The same lines with the words, their ids and counts, below a heading.
fn table(words: &[Box<str>], counts: &[u64]) -> String {
    let mut lines = "word\tid\tcount\n".to_owned();
    let all = words.iter().zip(counts).enumerate().skip(FIRST_WORD as usize);
    for (id, (word, count)) in all {
        lines.push_str(&format!("{}\t{id}\t{count}\n", visible(word)));
    }
    lines
}

/// Where characters are tokens, spaces and line ends are too.
fn visible(word: &str) -> String {
    let mut out = String::new();
    for letter in word.chars() {
        match letter {
            _ if is_unprintable(letter) => out.extend(letter.escape_default()),
            _ if letter.is_whitespace() => out.push('␣'),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_and_words_have_the_same_lines() {
        let words = ["<pad>", "<start>", "<oov>", "<unused>", "the", "\t", " "].map(Box::from);
        let values = (0..14).map(|number| number as f32 / 8.0).collect();
        let embedding = NamedTensor { name: "e".into(), shape: vec![7, 2], values };
        assert_eq!(vectors(&embedding, 6), "1\t1.125\n1.25\t1.375\n");
        let counts = counts(&[4, 4, 5, 6, 2], 6);
        assert_eq!(table(&words[..6], &counts), "word\tid\tcount\nthe\t4\t2\n\\t\t5\t1\n");
        assert_eq!(visible(&words[6]), "␣");
    }
}
