//! Tokenized data files. Texts are read in chunks and discarded once they are tokenized.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, anyhow, bail};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::formats::{Labels, Part, Rows, read_part};
use crate::config::{Config, Inputs};
use crate::system::threads;
use crate::text::{
    IdsWriter, Rules, TokenizedTexts, TokenizedTextsBuilder, append_essence, join_columns,
};

/// Maximum number of texts in a chunk.
const CHUNK_TEXTS: usize = 4096;
/// Size in bytes at which a chunk is complete.
const CHUNK_BYTES: usize = 8 << 20;
/// Number of chunks that are read ahead while one is tokenized.
const READ_AHEAD: usize = 1;
/// Minimum number of ids that are encoded to a file instead of memory.
const MANY_IDS: u64 = 16 << 20;

/// Hash of the texts of an example, which is the same for texts that a model may read alike: the first
/// 128 bits of a SHA-256.
pub type TextHash = [u8; 16];

/// Tokenized texts of a file or directory, or of several files that match a pattern. If they are divided among
/// processes, the texts of other processes are empty, but everything else is known.
#[derive(Default)]
pub struct Source {
    /// Labels and locations of the rows.
    pub rows: Rows,
    /// Tokenized texts of each input.
    pub inputs: Vec<TokenizedTexts>,
    /// Hash of the texts of each row, by which rows with the same text are found.
    pub hashes: Vec<TextHash>,
    /// Labels of other files that were known when the rows were read.
    pub known_labels: Vec<String>,
    /// Directory for files of ids, if the tokens are in files and not in memory.
    pub(super) scratch: Option<PathBuf>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Source({} rows of \"{}\")", self.rows.len(), self.rows.path.display())
    }
}

impl Source {
    /// Creates a writer for `count` ids. Many ids go to a file if the tokens are in files too.
    ///
    /// # Errors
    /// Returns an error if the file cannot be created.
    pub fn ids_writer(&self, count: u64) -> anyhow::Result<IdsWriter> {
        match &self.scratch {
            Some(directory) if count >= MANY_IDS => IdsWriter::unlinked_file(directory)
                .with_context(|| format!("cannot create a file in \"{}\"", directory.display())),
            _ => Ok(IdsWriter::Memory(Vec::with_capacity(count as usize))),
        }
    }

    /// Splits the pieces of the inputs at these indices into the subwords of their tokenizers.
    ///
    /// # Errors
    /// Returns an error if the tokens cannot be written.
    pub(super) fn split_pieces(
        &mut self,
        inputs: &Inputs,
        indices: &[usize],
    ) -> anyhow::Result<()> {
        for index in indices {
            let subwords = inputs[*index].text.tokenizer.subwords().context("no subwords")?;
            let pieces = &self.inputs[*index];
            let split = pieces.split_words(subwords, |count| self.ids_writer(count));
            let split = split.context("cannot store the subwords");
            self.inputs[*index] = match pieces.shards().cloned() {
                Some(shards) => {
                    let mut split = shards.collective().agree(split)?;
                    split.share_lengths(shards)?;
                    split
                }
                None => split?,
            };
        }
        Ok(())
    }

    /// Reads and tokenizes the texts of a part. The tokens go to files in `directory`, or to memory.
    pub(super) fn tokenize(
        path: &Path,
        config: &Config,
        labels: Labels,
        part: &Part,
        directory: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let writer = |input: usize| match directory {
            Some(directory) => IdsWriter::file(&directory.join(tokens_file(input))),
            None => Ok(IdsWriter::Memory(Vec::new())),
        };
        let unwritable = || match directory {
            Some(directory) => format!("cannot write tokens to \"{}\"", directory.display()),
            None => "cannot store tokens in memory".to_owned(),
        };
        let inputs = config.inputs.iter().enumerate();
        let mut inputs = inputs
            .map(|(index, input)| Ok(TokenizedTextsBuilder::new(&input.text, writer(index)?)))
            .collect::<io::Result<Vec<_>>>()
            .with_context(unwritable)?;
        let indices = config.inputs.column_indices();
        // The versions of both sections have the same rules of words.
        let hash = |columns: &[Vec<String>], example| match Rules::of(config.data.version) {
            Rules::First => exact_hash(columns, example),
            rules => essence_hash(columns, rules, example),
        };
        let mut hashes = Vec::new();
        // One thread reads the file while the others tokenize.
        let rows = thread::scope(|scope| {
            let (sender, chunks) = sync_channel(READ_AHEAD);
            let read = move || ChunkReader::new(sender, config).read(path, config, labels, part);
            let reader = threads::spawn_scoped(scope, "read", read)?;
            let mut tokenize = |chunks: Receiver<Vec<Vec<String>>>| -> io::Result<()> {
                for columns in chunks {
                    let examples = 0..columns[0].len();
                    hashes.par_extend(
                        examples.into_par_iter().map(|example| hash(&columns, example)),
                    );
                    for (input, indices) in inputs.iter_mut().zip(&indices) {
                        input.add(&join_columns(&columns, indices))?;
                    }
                }
                Ok(())
            };
            // An error drops the receiver, which also stops the reader.
            let tokenized = tokenize(chunks).with_context(unwritable);
            let read = reader
                .join()
                .map_err(|_| anyhow!("the thread that reads \"{}\" failed", path.display()))?;
            tokenized.and(read)
        })?;
        let inputs = inputs.into_iter().map(TokenizedTextsBuilder::finish);
        let inputs = inputs.collect::<io::Result<_>>().with_context(unwritable)?;
        Ok(Self { rows, inputs, hashes, known_labels: labels.known().to_vec(), scratch: None })
    }
}

/// Returns the name of the file with the tokens of an input.
pub(super) fn tokens_file(input: usize) -> String {
    format!("tokens-{input}.u32")
}

/// Hash of the texts of an example without what tokenizers ignore. It does not depend on the configured
/// tokenizer, so that runs with different tokenizers share one split.
fn essence_hash(columns: &[Vec<String>], rules: Rules, example: usize) -> TextHash {
    let mut essence = String::new();
    for texts in columns {
        append_essence(&texts[example], rules, &mut essence);
        essence.push('\n');
    }
    truncate(Sha256::digest(essence).as_slice())
}

/// Hash of the exact texts of an example, as in lstmtext 0.1.
fn exact_hash(columns: &[Vec<String>], example: usize) -> TextHash {
    let mut hasher = Sha256::new();
    for text in columns.iter().map(|texts| &texts[example]) {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    truncate(hasher.finalize().as_slice())
}

fn truncate(digest: &[u8]) -> TextHash {
    let mut hash = TextHash::default();
    hash.copy_from_slice(&digest[..size_of::<TextHash>()]);
    hash
}

/// Reads texts and sends them in chunks: one list per column of the inputs.
struct ChunkReader {
    sender: SyncSender<Vec<Vec<String>>>,
    columns: Vec<Vec<String>>,
    bytes: usize,
}

impl ChunkReader {
    fn new(sender: SyncSender<Vec<Vec<String>>>, config: &Config) -> Self {
        Self { sender, columns: vec![Vec::new(); config.inputs.columns().len()], bytes: 0 }
    }

    fn read(
        mut self,
        path: &Path,
        config: &Config,
        labels: Labels,
        part: &Part,
    ) -> anyhow::Result<Rows> {
        let rows = read_part(path, config, labels, part, &mut |texts| {
            self.bytes += texts.iter().map(String::len).sum::<usize>();
            for (column, text) in self.columns.iter_mut().zip(texts) {
                column.push(text);
            }
            match self.columns[0].len() >= CHUNK_TEXTS || self.bytes >= CHUNK_BYTES {
                true => self.send(),
                false => Ok(()),
            }
        })?;
        self.send()?;
        Ok(rows)
    }

    fn send(&mut self) -> anyhow::Result<()> {
        self.bytes = 0;
        let chunk = self.columns.iter_mut().map(std::mem::take).collect();
        if self.sender.send(chunk).is_err() {
            // The receiver reports the cause.
            bail!("tokenization stopped");
        }
        Ok(())
    }
}
