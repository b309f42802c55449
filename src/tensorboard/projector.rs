//! Files of the embedding projector: word vectors and their words.

use std::fmt::Write;
use std::path::Path;

use crate::data::prepared::PreparedData;
use crate::io::files::{self, create_directory};
use crate::io::replace::replace_directory;
use crate::model::parameters::embedding_name;
use crate::model::{NamedTensor, compose_embeddings};
use crate::output::sanitize::is_unprintable;
use crate::text::FIRST_WORD;

/// Path in the run directory in which the projector looks for its configuration.
const PLUGINS: &str = "plugins";
const PROJECTOR: &str = "org_tensorflow_tensorboard_projector";

/// Writes the vectors of the `most` most frequent words of each input to a run directory. `weights` are all
/// weights of the model.
///
/// # Errors
/// Returns an error if the files cannot be written.
pub fn write(
    run: &Path,
    data: &PreparedData,
    weights: &[NamedTensor],
    most: usize,
) -> anyhow::Result<()> {
    let mut weights = weights.to_vec();
    compose_embeddings(&data.resolved.config.inputs, &data.encoders, &mut weights);
    let plugins = run.join(PLUGINS);
    create_directory(&plugins)?;
    replace_directory(&plugins.join(PROJECTOR), |directory| {
        let mut config = String::new();
        for (number, input) in data.resolved.config.inputs.iter().enumerate() {
            let name = embedding_name(input);
            let Some(embedding) = weights.iter().find(|tensor| tensor.name == name) else {
                continue;
            };
            let words = data.encoders[number].vocabulary().words();
            let words = &words[..words.len().min(most.saturating_add(FIRST_WORD as usize))];
            let counts =
                data.train.inputs[number].id_counts(data.encoders[number].vocabulary().len());
            let (tensor_path, metadata_path) = (format!("{name}.tsv"), format!("{name}.words.tsv"));
            files::write(&directory.join(&tensor_path), vectors(embedding, words.len()))?;
            files::write(&directory.join(&metadata_path), table(words, &counts))?;
            writeln!(
                config,
                "embeddings {{\n  tensor_name: \"{name}\"\n  tensor_path: \"{tensor_path}\"\n  \
                 metadata_path: \"{metadata_path}\"\n}}"
            )?;
        }
        files::write(&directory.join("projector_config.pbtxt"), config)
    })
}

/// Returns one line for each word but the special ones.
fn vectors(embedding: &NamedTensor, words: usize) -> String {
    let mut lines = String::new();
    let size = embedding.shape.last().copied().unwrap_or(1).max(1);
    let rows = embedding.values.chunks_exact(size).take(words).skip(FIRST_WORD as usize);
    for row in rows {
        let values: Vec<String> = row.iter().map(f32::to_string).collect();
        lines.push_str(&values.join("\t"));
        lines.push('\n');
    }
    lines
}

/// Returns the same lines with word, id and count, below a header.
fn table(words: &[Box<str>], counts: &[u64]) -> String {
    let mut lines = "word\tid\tcount\n".to_owned();
    let all = words.iter().zip(counts).enumerate().skip(FIRST_WORD as usize);
    for (id, (word, count)) in all {
        lines.push_str(&format!("{}\t{id}\t{count}\n", visible(word)));
    }
    lines
}

/// Escapes characters that would break the table. Whitespace occurs if tokens are characters.
fn visible(word: &str) -> String {
    let mut out = String::new();
    for c in word.chars() {
        match c {
            _ if is_unprintable(c) => out.extend(c.escape_default()),
            _ if c.is_whitespace() => out.push('␣'),
            _ => out.push(c),
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
        let counts = [0, 0, 1, 0, 2, 1];
        assert_eq!(table(&words[..6], &counts), "word\tid\tcount\nthe\t4\t2\n\\t\t5\t1\n");
        assert_eq!(visible(&words[6]), "␣");
    }
}
