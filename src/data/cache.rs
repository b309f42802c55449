//! Keeps the tokens of large files between runs.
//!
//! Each combination of file contents and settings for reading and tokenization has an entry, a
//! directory that is named after the SHA-256 of both. A change of either leads to another entry. An
//! entry is written to a temporary directory and renamed when it is complete. If two processes write
//! the same entry, the second discards its own. The files of an entry are verified by their hashes
//! before use.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::formats::{Rows, expand_pattern};
use super::source::{Source, TextHash, tokens_file};
use crate::config::{CacheUse, Config, Format};
use crate::io::files::{
    ARRAYS_LIMIT, create_parent_directory, open, parent_directory, read_limited, sha256, sha256_of,
    sync_directory,
};
use crate::io::input::{inner_extension, is_compressed};
use crate::output::note;
use crate::text::{Ids, TokenizedTexts};

/// Version of the tokenizers and of the file format.
const VERSION: u32 = 1;
/// Number of bytes of text above which `data.cache: auto` uses the cache.
const LARGE: u64 = 256 << 20;
/// Age at which the temporary directory of a killed process is removed.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

const ROWS: &str = "rows.json";
const LABELS: &str = "labels.u32";
const LINES: &str = "lines.u64";
const HASHES: &str = "keys.u128";
const MANIFEST: &str = "manifest.json";

/// Reads and tokenizes a file or directory, or loads its tokens from the cache.
///
/// # Errors
/// Returns an error if the data cannot be read, with the file, the line, and what was found and
/// expected.
pub fn read_source(path: &Path, config: &Config) -> anyhow::Result<Source> {
    let Some(entry) = CacheEntry::locate(path, config)? else {
        return Source::tokenize(path, config, None);
    };
    if let Some(source) = entry.load(path, config)? {
        return Ok(source);
    }
    let writer = entry.create()?;
    let source = Source::tokenize(path, config, Some(&writer.temporary))?;
    writer.finish(&source)?;
    drop(writer);
    Ok(Source { scratch: Some(entry.parent().to_owned()), ..source })
}

/// An entry of the cache, which may not exist yet.
struct CacheEntry {
    directory: PathBuf,
}

/// Everything that the tokens depend on.
#[derive(Serialize)]
struct CacheKey<'a> {
    version: u32,
    little_endian: bool,
    data: BTreeMap<&'a str, serde_json::Value>,
    inputs: Vec<serde_json::Value>,
    /// Length and SHA-256 of each file.
    files: Vec<(u64, String)>,
}

/// Fields of [`Rows`] other than the arrays, which have files of their own.
#[derive(Serialize, Deserialize)]
struct SavedRows {
    names: Vec<String>,
    skipped: usize,
    long_row: Option<(PathBuf, u64, u64)>,
    /// Index of the first row of each file.
    firsts: Vec<usize>,
}

impl CacheEntry {
    /// Returns the entry of a path, or `None` if the cache is not used.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or the cache directory cannot be created.
    fn locate(path: &Path, config: &Config) -> anyhow::Result<Option<Self>> {
        let files = expand_pattern(path, config.data.format)?;
        let are_files =
            config.data.format != Format::Folder && files.iter().all(|file| file.is_file());
        let enabled = are_files
            && match config.data.cache {
                CacheUse::Never => false,
                CacheUse::Always => true,
                CacheUse::Auto => {
                    files.iter().map(|file| estimated_text_bytes(file)).sum::<u64>() >= LARGE
                }
            };
        if !enabled {
            return Ok(None);
        }
        let key = serde_json::to_vec(&cache_key(&files, config)?).context("cannot encode JSON")?;
        let name = format!("tokens-{}", &sha256(&*key)?[..32]);
        let directory = cache_directory()?.join(name);
        create_parent_directory(&directory)?;
        Ok(Some(Self { directory }))
    }

    /// Loads the entry. Removes it and returns `None` if it is damaged.
    ///
    /// # Errors
    /// Returns an error if a damaged entry cannot be removed.
    fn load(&self, path: &Path, config: &Config) -> anyhow::Result<Option<Source>> {
        if !self.directory.exists() {
            return Ok(None);
        }
        match self.read(path, config) {
            Ok(source) => Ok(Some(source)),
            Err(error) => {
                let directory = self.directory.display();
                note(format!("replacing the damaged token cache \"{directory}\": {error:#}"));
                fs::remove_dir_all(&self.directory)
                    .with_context(|| format!("cannot remove \"{directory}\""))?;
                Ok(None)
            }
        }
    }

    fn read(&self, path: &Path, config: &Config) -> anyhow::Result<Source> {
        let manifest: BTreeMap<String, String> = self.json(MANIFEST)?;
        for (name, expected) in &manifest {
            let actual = sha256_of(&self.directory.join(name))?;
            ensure!(actual == *expected, "{name} does not match its checksum");
        }
        let saved: SavedRows = self.json(ROWS)?;
        let files = expand_pattern(path, config.data.format)?;
        ensure!(files.len() == saved.firsts.len(), "{ROWS} is for another number of files");
        let rows = Rows {
            path: path.to_owned(),
            files: files.into_iter().zip(saved.firsts).collect(),
            labels: self.array(LABELS)?,
            label_names: saved.names,
            lines: self.array(LINES)?,
            skipped: saved.skipped,
            long_row: saved.long_row,
        };
        let hashes: Vec<TextHash> = self.array(HASHES)?;
        let texts = |input: usize| -> anyhow::Result<TokenizedTexts> {
            let tokens = Ids::map(&open(&self.directory.join(tokens_file(input)))?)?;
            let words = self.json(&words_file(input))?;
            TokenizedTexts::new(words, self.array(&ends_file(input))?, tokens)
                .map_err(|fault| anyhow!(fault))
        };
        let inputs: Vec<TokenizedTexts> =
            (0..config.inputs.len()).map(texts).collect::<Result<_, _>>()?;
        let counts = [rows.lines.len(), hashes.len()]
            .into_iter()
            .chain(inputs.iter().map(TokenizedTexts::len));
        ensure!(
            counts.into_iter().all(|count| count == rows.len()),
            "the files have different numbers of rows"
        );
        Ok(Source { rows, inputs, hashes, scratch: Some(self.parent().to_owned()) })
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<T> {
        serde_json::from_slice(&self.bytes(name)?).with_context(|| format!("cannot read {name}"))
    }

    fn array<T: bytemuck::AnyBitPattern>(&self, name: &str) -> anyhow::Result<Vec<T>> {
        let bytes = self.bytes(name)?;
        let values = bytes.chunks_exact(size_of::<T>());
        Ok(values.map(bytemuck::pod_read_unaligned).collect())
    }

    fn bytes(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        read_limited(&self.directory.join(name), ARRAYS_LIMIT)
            .with_context(|| format!("cannot read {name}"))
    }

    /// Creates a temporary directory for the files of the entry.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be created.
    fn create(&self) -> anyhow::Result<CacheWriter<'_>> {
        let name = self.directory.file_name().unwrap_or_default().to_string_lossy();
        let parent = self.parent();
        remove_abandoned(parent);
        let temporary = parent.join(format!(".{name}.{}", std::process::id()));
        let _ = fs::remove_dir_all(&temporary);
        fs::create_dir(&temporary)
            .with_context(|| format!("cannot create the directory \"{}\"", temporary.display()))?;
        Ok(CacheWriter { entry: self, temporary })
    }

    fn parent(&self) -> &Path {
        parent_directory(&self.directory)
    }
}

/// An incomplete entry.
struct CacheWriter<'a> {
    entry: &'a CacheEntry,
    /// Directory to which the tokens are written.
    temporary: PathBuf,
}

impl CacheWriter<'_> {
    /// Writes everything except the tokens, which are already in the directory, and renames the
    /// directory.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    fn finish(&self, source: &Source) -> anyhow::Result<()> {
        let Source { rows, inputs, hashes, .. } = source;
        let saved = SavedRows {
            names: rows.label_names.clone(),
            skipped: rows.skipped,
            long_row: rows.long_row.clone(),
            firsts: rows.files.iter().map(|(_, first)| *first).collect(),
        };
        self.json(ROWS, &saved)?;
        self.bytes(LABELS, bytemuck::cast_slice(&rows.labels))?;
        self.bytes(LINES, bytemuck::cast_slice(&rows.lines))?;
        self.bytes(HASHES, bytemuck::cast_slice(hashes))?;
        for (index, input) in inputs.iter().enumerate() {
            self.json(&words_file(index), &input.words())?;
            self.bytes(&ends_file(index), bytemuck::cast_slice(input.ends()))?;
        }
        let hash = |name: String| -> anyhow::Result<(String, String)> {
            let path = self.temporary.join(&name);
            File::open(&path).and_then(|file| file.sync_all())?;
            Ok((name, sha256_of(&path)?))
        };
        let manifest: BTreeMap<String, String> =
            file_names(inputs.len()).map(hash).collect::<anyhow::Result<_>>()?;
        self.json(MANIFEST, &manifest)?;
        sync_directory(&self.temporary)?;
        let (path, directory) = (rows.path.display(), self.entry.directory.display());
        note(format!(
            "cached the tokens of \"{path}\" for later runs in \"{directory}\" (to disable the cache, \
             set data.cache: never)"
        ));
        // Fails if another process has written the same entry in the meantime.
        if let Err(error) = fs::rename(&self.temporary, &self.entry.directory)
            && !self.entry.directory.exists()
        {
            return Err(error).with_context(|| format!("cannot create \"{directory}\""));
        }
        Ok(())
    }

    fn json(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        let path = self.temporary.join(name);
        let write = || -> anyhow::Result<()> {
            let mut file = BufWriter::new(File::create(&path)?);
            serde_json::to_writer(&mut file, value)?;
            Ok(file.into_inner()?.sync_all()?)
        };
        write().with_context(|| format!("cannot write \"{}\"", path.display()))
    }

    fn bytes(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.temporary.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write \"{}\"", path.display()))
    }
}

impl Drop for CacheWriter<'_> {
    fn drop(&mut self) {
        // The directory still exists if something failed or another process was faster.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

/// Returns the names of all files of an entry except the manifest, which has their hashes.
fn file_names(inputs: usize) -> impl Iterator<Item = String> {
    let of_input = |input| [words_file(input), ends_file(input), tokens_file(input)];
    let arrays = [ROWS, LABELS, LINES, HASHES].map(str::to_owned);
    arrays.into_iter().chain((0..inputs).flat_map(of_input))
}

fn words_file(input: usize) -> String {
    format!("words-{input}.json")
}

fn ends_file(input: usize) -> String {
    format!("ends-{input}.u64")
}

/// Estimates the size of the text in a file, assuming a compression ratio of 4.
fn estimated_text_bytes(file: &Path) -> u64 {
    let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
    if is_compressed(file) { 4 * bytes } else { bytes }
}

fn cache_key<'a>(files: &[PathBuf], config: &'a Config) -> anyhow::Result<CacheKey<'a>> {
    let data = &config.data;
    let columns: Vec<String> = config.inputs.columns().iter().map(|column| column.key()).collect();
    let inputs =
        config.inputs.iter().zip(config.inputs.column_indices()).map(|(input, columns)| {
            let text = &input.text;
            serde_json::json!([
                columns,
                text.tokenizer.as_str(),
                text.lowercase,
                text.strip_tags,
                text.version
            ])
        });
    let of_file = |file: &PathBuf| -> anyhow::Result<(u64, String)> {
        let metadata =
            fs::metadata(file).with_context(|| format!("cannot read \"{}\"", file.display()))?;
        Ok((metadata.len(), sha256_of(file)?))
    };
    Ok(CacheKey {
        version: VERSION,
        little_endian: cfg!(target_endian = "little"),
        data: BTreeMap::from([
            ("formats", serde_json::json!(formats(files, data.format))),
            ("columns", serde_json::json!(columns)),
            ("label_column", data.label_column.key().into()),
            ("header", data.header.into()),
            ("filter", serde_json::json!(data.filter)),
            ("label_names", serde_json::json!(data.label_names)),
            ("broken_lines", data.broken_lines.as_str().into()),
            ("version", data.version.into()),
        ]),
        inputs: inputs.collect(),
        files: files.iter().map(of_file).collect::<anyhow::Result<_>>()?,
    })
}

/// Returns the format of each file, or the extension that determines it.
fn formats(files: &[PathBuf], format: Format) -> Vec<String> {
    let of_file = |file: &PathBuf| match format {
        Format::Auto => inner_extension(file).unwrap_or_default(),
        named => named.as_str().to_owned(),
    };
    files.iter().map(of_file).collect()
}

/// Returns the cache directory: `LSTMTEXT_CACHE`, or "lstmtext" in the user's cache directory.
fn cache_directory() -> anyhow::Result<PathBuf> {
    let variable =
        |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("LSTMTEXT_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|caches| caches.join("lstmtext")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/lstmtext")))
        .context("no directory for the token cache; set LSTMTEXT_CACHE, or data.cache: never")
}

/// Removes old temporary directories of killed processes.
fn remove_abandoned(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_temporary = entry.file_name().to_string_lossy().starts_with(".tokens-");
        let age =
            entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
        if is_temporary && age.is_ok_and(|age| age.is_ok_and(|age| age > ABANDONED)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
