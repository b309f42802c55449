//! Tokens of large files, kept between runs.
//!
//! A folder for each combination of the files' contents with the settings by which they are read
//! and cut into tokens; its name is the SHA-256 of these, so that whatever changes makes another. It
//! is written under another name and renamed when it is whole: of two processes that build the same
//! one at once, the second finds that of the first and throws its own away. Every file is checked
//! against its hash before it is used.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::formats::{Rows, matching};
use super::source::{Key, Source, tokens_file};
use crate::config::{CacheUse, Config, Format};
use crate::io::files::{sha256, sha256_of, sync_directory};
use crate::output::note;
use crate::text::{Ids, TokenizedTexts};

/// Changes whenever tokens or their files do.
const VERSION: u32 = 1;
/// Bytes of text from which on `data.cache: auto` keeps tokens; compressed files count fourfold.
const LARGE: u64 = 256 << 20;
/// What a process that was killed left there is removed when it is so old.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

const ROWS: &str = "rows.json";
const LABELS: &str = "labels.u32";
const LINES: &str = "lines.u64";
const KEYS: &str = "keys.u128";
const MANIFEST: &str = "manifest.json";

/// Reads a file or folder as the data section says, or what an earlier call left in the cache.
///
/// # Errors
/// Names the file, the line, what was found and what was expected.
pub fn read_source(path: &Path, config: &Config) -> anyhow::Result<Source> {
    let Some(cache) = Cache::of(path, config)? else {
        return Source::tokenize(path, config, None);
    };
    if let Some(source) = cache.open(path, config)? {
        return Ok(source);
    }
    let build = cache.build()?;
    let source = Source::tokenize(path, config, Some(build.folder()))?;
    build.finish(&source)?;
    drop(build);
    Ok(Source { scratch: Some(cache.parent().to_owned()), ..source })
}

/// Where the tokens of some files lie, or will lie.
struct Cache {
    folder: PathBuf,
}

/// Everything that tokens depend on.
#[derive(Serialize)]
struct Identity<'a> {
    version: u32,
    little_endian: bool,
    data: BTreeMap<&'a str, serde_json::Value>,
    inputs: Vec<serde_json::Value>,
    /// Of each file length and SHA-256.
    files: Vec<(u64, String)>,
}

/// What [`Rows`] has besides its long lists; files by their numbers.
#[derive(Serialize, Deserialize)]
struct SavedRows {
    names: Vec<String>,
    skipped: usize,
    long_row: Option<(PathBuf, u64, u64)>,
    /// The first example of each file.
    firsts: Vec<usize>,
}

impl Cache {
    /// The cache for a path, where one is used.
    ///
    /// # Errors
    /// Where a file cannot be read, or the user's cache folder not be made.
    fn of(path: &Path, config: &Config) -> anyhow::Result<Option<Self>> {
        let files = matching(path, config.data.format)?;
        let are_files =
            config.data.format != Format::Folder && files.iter().all(|file| file.is_file());
        let used = are_files
            && match config.data.cache {
                CacheUse::Never => false,
                CacheUse::Always => true,
                CacheUse::Auto => {
                    files.iter().map(|file| bytes_of_text(file)).sum::<u64>() >= LARGE
                }
            };
        if !used {
            return Ok(None);
        }
        let identity = identity(&files, config)?;
        let json = serde_json::to_vec(&identity).context("cannot encode JSON")?;
        let name = format!("tokens-{}", &sha256(&*json)?[..32]);
        let folder = cache_folder()?;
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder \"{}\"", folder.display()))?;
        Ok(Some(Self { folder: folder.join(name) }))
    }

    /// What an earlier run left, where it did and it is whole.
    ///
    /// # Errors
    /// Where what is damaged cannot be removed.
    fn open(&self, path: &Path, config: &Config) -> anyhow::Result<Option<Source>> {
        if !self.folder.exists() {
            return Ok(None);
        }
        match self.read(path, config) {
            Ok(source) => Ok(Some(source)),
            Err(error) => {
                let folder = self.folder.display();
                note(format!("the tokens in \"{folder}\" are made anew: {error:#}"));
                fs::remove_dir_all(&self.folder)
                    .with_context(|| format!("cannot remove \"{folder}\""))?;
                Ok(None)
            }
        }
    }

    fn read(&self, path: &Path, config: &Config) -> anyhow::Result<Source> {
        let manifest: BTreeMap<String, String> = self.json(MANIFEST)?;
        for (name, expected) in &manifest {
            ensure!(sha256_of(&self.folder.join(name))? == *expected, "{name} is damaged");
        }
        let saved: SavedRows = self.json(ROWS)?;
        let files = matching(path, config.data.format)?;
        ensure!(files.len() == saved.firsts.len(), "it is of other files");
        let rows = Rows {
            path: path.to_owned(),
            files: files.into_iter().zip(saved.firsts).collect(),
            labels: self.numbers(LABELS)?,
            names: saved.names,
            lines: self.numbers(LINES)?,
            skipped: saved.skipped,
            long_row: saved.long_row,
        };
        let keys: Vec<Key> = self.numbers(KEYS)?;
        let tokens = |number: usize| -> anyhow::Result<TokenizedTexts> {
            let file = File::open(self.folder.join(tokens_file(number)))?;
            let words = self.json(&words_file(number))?;
            let tokens =
                TokenizedTexts::new(words, self.numbers(&ends_file(number))?, Ids::map(&file)?);
            tokens.map_err(|fault| anyhow!(fault))
        };
        let inputs: Vec<TokenizedTexts> =
            (0..config.inputs.len()).map(tokens).collect::<Result<_, _>>()?;
        let counts = [rows.lines.len(), keys.len()]
            .into_iter()
            .chain(inputs.iter().map(TokenizedTexts::len));
        ensure!(counts.into_iter().all(|count| count == rows.len()), "its files do not fit");
        Ok(Source { rows, inputs, keys, scratch: Some(self.parent().to_owned()) })
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<T> {
        let bytes =
            fs::read(self.folder.join(name)).with_context(|| format!("cannot read {name}"))?;
        serde_json::from_slice(&bytes).with_context(|| format!("cannot read {name}"))
    }

    fn numbers<T: bytemuck::AnyBitPattern>(&self, name: &str) -> anyhow::Result<Vec<T>> {
        let bytes =
            fs::read(self.folder.join(name)).with_context(|| format!("cannot read {name}"))?;
        let numbers = bytes.chunks_exact(size_of::<T>());
        Ok(numbers.map(bytemuck::pod_read_unaligned).collect())
    }

    /// Begins to fill it.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    fn build(&self) -> anyhow::Result<Build<'_>> {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        let parent = self.parent();
        remove_abandoned(parent);
        let temporary = parent.join(format!(".{name}.{}", std::process::id()));
        let _ = fs::remove_dir_all(&temporary);
        fs::create_dir(&temporary)
            .with_context(|| format!("cannot make the folder \"{}\"", temporary.display()))?;
        Ok(Build { cache: self, temporary })
    }

    fn parent(&self) -> &Path {
        self.folder.parent().unwrap_or(Path::new("."))
    }
}

/// A cache that is being filled.
struct Build<'a> {
    cache: &'a Cache,
    temporary: PathBuf,
}

impl Build<'_> {
    /// Where tokens are to be written.
    fn folder(&self) -> &Path {
        &self.temporary
    }

    /// Adds everything but the tokens, which lie there already, and gives it its name.
    ///
    /// # Errors
    /// Where a file cannot be written.
    fn finish(&self, source: &Source) -> anyhow::Result<()> {
        let Source { rows, inputs, keys, .. } = source;
        let saved = SavedRows {
            names: rows.names.clone(),
            skipped: rows.skipped,
            long_row: rows.long_row.clone(),
            firsts: rows.files.iter().map(|(_, first)| *first).collect(),
        };
        let mut names = Vec::new();
        self.json(ROWS, &saved, &mut names)?;
        self.bytes(LABELS, bytemuck::cast_slice(&rows.labels), &mut names)?;
        self.bytes(LINES, bytemuck::cast_slice(&rows.lines), &mut names)?;
        self.bytes(KEYS, bytemuck::cast_slice(keys), &mut names)?;
        for (number, input) in inputs.iter().enumerate() {
            self.json(&words_file(number), &input.words(), &mut names)?;
            self.bytes(&ends_file(number), bytemuck::cast_slice(input.ends()), &mut names)?;
            names.push(tokens_file(number));
        }
        let hash = |name: String| -> anyhow::Result<(String, String)> {
            let path = self.temporary.join(&name);
            File::open(&path).and_then(|file| file.sync_all())?;
            Ok((name, sha256_of(&path)?))
        };
        let manifest: BTreeMap<String, String> =
            names.into_iter().map(hash).collect::<anyhow::Result<_>>()?;
        self.json(MANIFEST, &manifest, &mut Vec::new())?;
        sync_directory(&self.temporary)?;
        let (path, folder) = (rows.path.display(), self.cache.folder.display());
        note(format!(
            "the tokens of \"{path}\" are kept for the next run in \"{folder}\" (data.cache: never \
             would keep none)"
        ));
        // Another process may have been faster; the tokens are the same.
        if fs::rename(&self.temporary, &self.cache.folder).is_err() {
            ensure!(
                self.cache.folder.exists(),
                "cannot put \"{}\" in place",
                self.cache.folder.display()
            );
        }
        Ok(())
    }

    fn json(
        &self,
        name: &str,
        value: &impl Serialize,
        names: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        let path = self.temporary.join(name);
        let write = || -> anyhow::Result<()> {
            let mut file = BufWriter::new(File::create(&path)?);
            serde_json::to_writer(&mut file, value)?;
            Ok(file.into_inner()?.sync_all()?)
        };
        names.push(name.to_owned());
        write().with_context(|| format!("cannot write \"{}\"", path.display()))
    }

    fn bytes(&self, name: &str, bytes: &[u8], names: &mut Vec<String>) -> anyhow::Result<()> {
        let path = self.temporary.join(name);
        names.push(name.to_owned());
        fs::write(&path, bytes).with_context(|| format!("cannot write \"{}\"", path.display()))
    }
}

impl Drop for Build<'_> {
    fn drop(&mut self) {
        // It is there only where something failed, or another process was faster.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

fn words_file(input: usize) -> String {
    format!("words-{input}.json")
}

fn ends_file(input: usize) -> String {
    format!("ends-{input}.u64")
}

/// Roughly: what is compressed is some four times as long.
fn bytes_of_text(file: &Path) -> u64 {
    let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
    let compressed =
        file.extension().is_some_and(|extension| extension == "gz" || extension == "zst");
    if compressed { 4 * bytes } else { bytes }
}

fn identity<'a>(files: &[PathBuf], config: &'a Config) -> anyhow::Result<Identity<'a>> {
    let data = &config.data;
    let columns: Vec<String> = config.inputs.columns().iter().map(|column| column.key()).collect();
    let inputs = config.inputs.iter().zip(config.inputs.parts()).map(|(input, parts)| {
        let text = &input.text;
        serde_json::json!([parts, text.tokenizer.as_str(), text.lowercase, text.strip_tags])
    });
    let of_file = |file: &PathBuf| -> anyhow::Result<(u64, String)> {
        let metadata =
            fs::metadata(file).with_context(|| format!("cannot read \"{}\"", file.display()))?;
        Ok((metadata.len(), sha256_of(file)?))
    };
    Ok(Identity {
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
        ]),
        inputs: inputs.collect(),
        files: files.iter().map(of_file).collect::<anyhow::Result<_>>()?,
    })
}

/// The format of each file, or what tells it.
fn formats(files: &[PathBuf], format: Format) -> Vec<String> {
    let of_file = |file: &PathBuf| match format {
        Format::Auto => crate::io::input::inner_extension(file).unwrap_or_default(),
        named => named.as_str().to_owned(),
    };
    files.iter().map(of_file).collect()
}

/// LSTMTEXT_CACHE, or the user's folder for caches.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let folder =
        |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("LSTMTEXT_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|caches| caches.join("lstmtext")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/lstmtext")))
        .context("there is no folder for the tokens: set LSTMTEXT_CACHE, or data.cache: never")
}

/// Removes what killed processes left long ago.
fn remove_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_temporary = entry.file_name().to_string_lossy().starts_with(".tokens-");
        let age =
            entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
        if is_temporary && age.is_ok_and(|age| age.is_ok_and(|age| age > ABANDONED)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
