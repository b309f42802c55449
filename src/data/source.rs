//! A file or folder of labelled texts, read once, a piece at a time: tokens stay, texts do not.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, anyhow, bail};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::formats::{Rows, read_rows};
use crate::config::Config;
use crate::text::{IdsWriter, Tokenization, TokenizedTexts, joined};

/// Texts that are in memory together, and their bytes.
const PIECE: usize = 4096;
const PIECE_BYTES: usize = 8 << 20;
/// Pieces that are read while one is cut into tokens.
const AHEAD: usize = 1;

/// Tokens that are kept in memory rather than in a file without a name.
const FEW_TOKENS: u64 = 16 << 20;

/// Tells the texts of an example from others': 128 bits of their SHA-256.
pub type Key = [u8; 16];

/// Labelled texts as tokens.
pub struct Source {
    /// Where they were read, and their labels.
    pub rows: Rows,
    /// For each input its texts.
    pub inputs: Vec<TokenizedTexts>,
    /// For each example what only examples with the same texts have.
    pub keys: Vec<Key>,
    /// Directory for files of ids, if the tokens are in files and not in memory.
    pub(super) scratch: Option<PathBuf>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Source({} examples of \"{}\")", self.rows.len(), self.rows.path.display())
    }
}

impl Source {
    /// Makes a writer for the ids of `tokens` tokens, which go to a file if they are many and the
    /// tokens of the source are in a file too.
    ///
    /// # Errors
    /// Returns an error if the file cannot be made.
    pub fn writer(&self, tokens: u64) -> anyhow::Result<IdsWriter> {
        match &self.scratch {
            Some(directory) if tokens >= FEW_TOKENS => IdsWriter::nameless(directory)
                .with_context(|| format!("cannot make a file in \"{}\"", directory.display())),
            _ => Ok(IdsWriter::Memory(Vec::with_capacity(tokens as usize))),
        }
    }

    /// Reads texts in a thread and makes tokens of them here, in memory or in files in `folder`.
    pub(super) fn tokenize(
        path: &Path,
        config: &Config,
        folder: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let writer = |number: usize| match folder {
            Some(folder) => IdsWriter::file(&folder.join(tokens_file(number))),
            None => Ok(IdsWriter::Memory(Vec::new())),
        };
        let unwritable = || match folder {
            Some(folder) => format!("cannot write tokens to \"{}\"", folder.display()),
            None => "cannot keep the tokens".to_owned(),
        };
        let inputs = config.inputs.iter().enumerate();
        let mut inputs = inputs
            .map(|(number, input)| Ok(Tokenization::new(&input.text, writer(number)?)))
            .collect::<io::Result<Vec<_>>>()
            .with_context(unwritable)?;
        let parts = config.inputs.parts();
        let mut keys = Vec::new();
        let rows = thread::scope(|scope| {
            let (sender, pieces) = sync_channel(AHEAD);
            let reading = scope.spawn(move || Pieces::new(sender, config).read(path, config));
            let mut add = |pieces: Receiver<Vec<Vec<String>>>| -> io::Result<()> {
                for columns in pieces {
                    let examples = 0..columns[0].len();
                    let key = |example: usize| {
                        key(columns.iter().map(|texts: &Vec<String>| &*texts[example]))
                    };
                    keys.par_extend(examples.into_par_iter().map(key));
                    for (input, parts) in inputs.iter_mut().zip(&parts) {
                        input.add(&joined(&columns, parts))?;
                    }
                }
                Ok(())
            };
            // Dropped with the error, the receiver ends the reading too.
            let added = add(pieces).with_context(unwritable);
            let read =
                reading.join().map_err(|_| anyhow!("reading \"{}\" broke off", path.display()))?;
            added.and(read)
        })?;
        let inputs = inputs.into_iter().map(Tokenization::finish).collect::<io::Result<_>>();
        Ok(Self { rows, inputs: inputs.with_context(unwritable)?, keys, scratch: None })
    }
}

/// The file that holds the tokens of an input.
pub(super) fn tokens_file(input: usize) -> String {
    format!("tokens-{input}.u32")
}

fn key<'a>(texts: impl Iterator<Item = &'a str>) -> Key {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    let digest = hasher.finalize();
    let mut key = Key::default();
    key.copy_from_slice(&digest[..size_of::<Key>()]);
    key
}

/// Hands texts over, many at a time.
struct Pieces {
    sender: SyncSender<Vec<Vec<String>>>,
    columns: Vec<Vec<String>>,
    bytes: usize,
}

impl Pieces {
    fn new(sender: SyncSender<Vec<Vec<String>>>, config: &Config) -> Self {
        Self { sender, columns: vec![Vec::new(); config.inputs.columns().len()], bytes: 0 }
    }

    fn read(mut self, path: &Path, config: &Config) -> anyhow::Result<Rows> {
        let rows = read_rows(path, config, &mut |texts| {
            self.bytes += texts.iter().map(String::len).sum::<usize>();
            for (column, text) in self.columns.iter_mut().zip(texts) {
                column.push(text);
            }
            match self.columns[0].len() >= PIECE || self.bytes >= PIECE_BYTES {
                true => self.send(),
                false => Ok(()),
            }
        })?;
        self.send()?;
        Ok(rows)
    }

    fn send(&mut self) -> anyhow::Result<()> {
        self.bytes = 0;
        let piece = self.columns.iter_mut().map(std::mem::take).collect();
        if self.sender.send(piece).is_err() {
            bail!("the texts cannot be cut into tokens");
        }
        Ok(())
    }
}
