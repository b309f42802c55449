//! Keeps the tokens of large files between runs.
//!
//! Each combination of file contents and settings for reading and tokenization has an entry, a
//! directory that is named after the SHA-256 of both. A change of either leads to another entry. An
//! entry is written to a temporary directory and renamed when it is complete. If two processes write
//! the same entry, the second discards its own. The files of an entry are verified by their hashes
//! before use.

mod files;
mod key;
mod locks;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use serde::de::DeserializeOwned;

use self::files::{
    GROUPS, HASHES, LABEL_ENDS, LABELS, LINES, MANIFEST, PROBABILITIES, ROWS, TargetKind,
    ends_file, file_names, words_file,
};
use self::key::{HashedFile, cache_key};
use self::locks::{lock, remove_abandoned};
use self::writer::CacheWriter;
use super::formats::{Labels, NO_GROUP, Part, Rows, RowsFile, RowsHeader, expand_pattern};
use super::source::{Source, TextHash, tokens_file};
use super::targets::{LabelSets, Targets};
use crate::config::{CacheUse, Config, DataConfig, Format, TokenizerKind};
use crate::io::files::{
    ARRAYS_LIMIT, FileIdentity, create_parent_directory, open, parent_directory, read_limited,
    sha256, sha256_of,
};
use crate::io::input::{inner_extension, is_compressed};
use crate::io::replace::temporary_directory;
use crate::io::spool::is_spooled;
use crate::output::note;
use crate::text::{Ids, TokenizedTexts};

/// Number of bytes of text above which `data.cache: auto` uses the cache.
const LARGE: u64 = 256 << 20;

/// Reads and tokenizes a part of a file or directory, or loads its tokens from the cache. The tokens of an input with
/// `tokenizer: bpe` are pieces until its subwords have been trained.
///
/// # Errors
/// Returns an error if the data cannot be read, with the file, the line, and what was found and
/// expected.
pub fn read_part(
    path: &Path,
    config: &Config,
    labels: Labels,
    part: &Part,
) -> anyhow::Result<Source> {
    let mut of_pieces = Vec::new();
    for (index, input) in config.inputs.iter().enumerate() {
        let tokenizer = &input.text.tokenizer;
        tokenizer.read_file().with_context(|| input.field("text.tokenizer"))?;
        let is_trained = tokenizer.kind == TokenizerKind::Bpe && !tokenizer.needs_training();
        of_pieces.extend(is_trained.then_some(index));
    }
    let mut source = read_pieces(path, config, labels, part)?;
    source.split_pieces(&config.inputs, &of_pieces)?;
    Ok(source)
}

/// Reads and tokenizes data like [`read_part`], except that `bpe` yields pieces in any case.
fn read_pieces(
    path: &Path,
    config: &Config,
    labels: Labels,
    part: &Part,
) -> anyhow::Result<Source> {
    let Some(entry) = CacheEntry::locate(path, config, labels, part)? else {
        return Source::tokenize(path, config, labels, part, None);
    };
    if let Some(source) = entry.load(path, config)? {
        return Ok(Source { known_labels: labels.known().to_vec(), ..source });
    }
    let writer = entry.create()?;
    let source = Source::tokenize(path, config, labels, part, Some(writer.temporary.path()))?;
    match entry.changed_file() {
        None => writer.finish(&source)?,
        Some(file) => note(format!(
            "\"{}\" has changed while it was read; its tokens are not cached",
            file.display()
        )),
    }
    Ok(Source { scratch: Some(entry.parent().to_owned()), ..source })
}

/// An entry of the cache, which may not exist yet.
struct CacheEntry {
    directory: PathBuf,
    files: Vec<HashedFile>,
    /// True if the rows have labels.
    has_labels: bool,
    /// True if the rows have groups, as labelled ones do with `data.split.group`.
    has_groups: bool,
}

/// Returns true if the tokens of a file or directory come from the cache or get into it. Errors in a
/// file are reported when it is read.
pub fn uses_cache(path: &Path, data: &DataConfig) -> bool {
    expand_pattern(path, data.format).is_ok_and(|files| is_cached(&files, data))
}

fn is_cached(files: &[PathBuf], data: &DataConfig) -> bool {
    let are_files = data.format != Format::Folder
        && files.iter().all(|file| file.is_file() && !is_spooled(file));
    are_files
        && match data.cache {
            CacheUse::Never => false,
            CacheUse::Always => true,
            CacheUse::Auto => {
                files.iter().map(|file| estimated_text_bytes(file)).sum::<u64>() >= LARGE
            }
        }
}

impl CacheEntry {
    /// Returns the entry of a path, or `None` if the cache is not used.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or the cache directory cannot be created.
    fn locate(
        path: &Path,
        config: &Config,
        labels: Labels,
        part: &Part,
    ) -> anyhow::Result<Option<Self>> {
        let files = part.files(path, config.data.format)?;
        if !is_cached(&files, &config.data) {
            return Ok(None);
        }
        let files: Vec<HashedFile> =
            files.into_iter().map(HashedFile::read).collect::<anyhow::Result<_>>()?;
        let key = serde_json::to_vec(&cache_key(&files, config, labels, part))
            .context("cannot encode JSON")?;
        let name = format!("tokens-{}", &sha256(&*key)?[..32]);
        let directory = cache_directory()?.join(name);
        create_parent_directory(&directory)?;
        let has_labels = labels.are_required();
        let has_groups = config.data.split.group.is_some() && has_labels;
        Ok(Some(Self { directory, files, has_labels, has_groups }))
    }

    /// Returns a file that is no longer the one that was hashed, or whose content has changed.
    fn changed_file(&self) -> Option<&Path> {
        let is_unchanged = |file: &&HashedFile| {
            fs::metadata(&file.path)
                .is_ok_and(|metadata| FileIdentity::of(&metadata) == file.identity)
        };
        self.files.iter().find(|file| !is_unchanged(file)).map(|file| &*file.path)
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
        let names = |kind: TargetKind| -> BTreeSet<String> {
            file_names(kind, config.inputs.len(), self.has_groups).collect()
        };
        let kind = TargetKind::ALL.into_iter().find(|kind| manifest.keys().eq(&names(*kind)));
        let kind = kind.with_context(|| format!("{MANIFEST} lists other files"))?;
        for (name, expected) in &manifest {
            let actual = sha256_of(&self.directory.join(name))?;
            ensure!(actual == *expected, "{name} does not match its checksum");
        }
        let saved: RowsHeader = self.json(ROWS)?;
        let targets = self.targets(kind, saved.names.len())?;
        let lines: Vec<u64> = self.array(LINES)?;
        ensure!(self.files.len() == saved.files.len(), "{ROWS} is for another number of files");
        ensure!(
            saved.files.is_sorted_by_key(|(first, _)| *first)
                && saved.files.iter().all(|(first, _)| *first <= lines.len()),
            "{ROWS} has impossible positions of files"
        );
        let groups: Vec<u32> = if self.has_groups { self.array(GROUPS)? } else { Vec::new() };
        ensure!(
            groups.iter().all(|group| *group == NO_GROUP || (*group as usize) < saved.groups.len()),
            "{GROUPS} has a group without a name"
        );
        let files = self.files.iter().zip(&saved.files).map(|(file, &(first, unit))| RowsFile {
            path: file.path.clone(),
            first,
            unit,
        });
        let rows = Rows {
            path: path.to_owned(),
            files: files.collect(),
            targets,
            label_names: saved.names,
            groups,
            group_names: saved.groups.into_iter().collect(),
            lines,
            skipped: saved.skipped,
            first_skipped: saved.first_skipped,
            not_utf8: saved.not_utf8,
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
        let of_labels = match self.has_labels {
            true => rows.targets.len(),
            false => rows.len(),
        };
        let counts =
            [of_labels, hashes.len()].into_iter().chain(inputs.iter().map(TokenizedTexts::len));
        ensure!(
            counts.into_iter().all(|count| count == rows.len())
                && rows.groups.len() == if self.has_groups { rows.len() } else { 0 },
            "the files have different numbers of rows"
        );
        let scratch = Some(self.parent().to_owned());
        Ok(Source { rows, inputs, hashes, known_labels: Vec::new(), scratch })
    }

    /// Reads the targets, and checks their labels.
    fn targets(&self, kind: TargetKind, classes: usize) -> anyhow::Result<Targets> {
        let labels = || -> anyhow::Result<Vec<u32>> {
            let labels: Vec<u32> = self.array(LABELS)?;
            let is_named = |label: &u32| (*label as usize) < classes;
            ensure!(labels.iter().all(is_named), "{LABELS} has a label without a name");
            Ok(labels)
        };
        let values = |name: &str| -> anyhow::Result<Vec<f32>> {
            let values: Vec<f32> = self.array(name)?;
            let are_rows = classes > 0 && values.len().is_multiple_of(classes);
            ensure!(are_rows, "{name} has an incomplete row");
            Ok(values)
        };
        Ok(match kind {
            TargetKind::Labels => Targets::Labels(labels()?),
            TargetKind::LabelSets => {
                let ends: Vec<u64> = self.array(LABEL_ENDS)?;
                let ends = ends.into_iter().map(|end| end as usize).collect();
                let sets = LabelSets::from_parts(labels()?, ends);
                Targets::LabelSets(sets.with_context(|| format!("{LABEL_ENDS} is damaged"))?)
            }
            TargetKind::Probabilities => {
                Targets::Probabilities { classes, probabilities: values(PROBABILITIES)? }
            }
        })
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<T> {
        serde_json::from_slice(&self.bytes(name)?).with_context(|| format!("cannot read {name}"))
    }

    fn array<T: bytemuck::AnyBitPattern>(&self, name: &str) -> anyhow::Result<Vec<T>> {
        let bytes = self.bytes(name)?;
        ensure!(bytes.len().is_multiple_of(size_of::<T>()), "{name} has an incomplete value");
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
    /// Returns an error if it cannot be created.
    fn create(&self) -> anyhow::Result<CacheWriter> {
        remove_abandoned(self.parent());
        loop {
            let temporary = temporary_directory(&self.directory)?;
            // Until it is locked, another process may take it for an abandoned one and remove it.
            if let Some(lock) = lock(temporary.path())? {
                let (directory, has_groups) = (self.directory.clone(), self.has_groups);
                return Ok(CacheWriter { directory, has_groups, temporary, _lock: lock });
            }
        }
    }

    fn parent(&self) -> &Path {
        parent_directory(&self.directory)
    }
}

/// Estimates the size of the text in a file, assuming a compression ratio of 4.
fn estimated_text_bytes(file: &Path) -> u64 {
    let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
    let is_parquet = inner_extension(file).is_some_and(|extension| extension == "parquet");
    if is_compressed(file) || is_parquet { 4 * bytes } else { bytes }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_that_changes_after_it_was_hashed_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let changes: [fn(&Path, &Path); 3] = [
            |path, other| fs::rename(other, path).unwrap(),
            |path, _| fs::write(path, "new").unwrap(),
            |path, _| fs::remove_file(path).unwrap(),
        ];
        for change in changes {
            fs::write(path("file"), "old").unwrap();
            fs::write(path("other"), "old").unwrap();
            let files = vec![HashedFile::read(path("file")).unwrap()];
            let directory = path("entry");
            let entry = CacheEntry { directory, files, has_labels: true, has_groups: false };
            assert_eq!(entry.changed_file(), None);
            // Longer than the resolution of time stamps.
            std::thread::sleep(Duration::from_millis(20));
            change(&path("file"), &path("other"));
            assert_eq!(entry.changed_file(), Some(&*path("file")));
        }
    }

    #[test]
    fn targets_of_all_kinds_are_unchanged_by_the_cache() {
        for (name, content, fields) in [
            ("a.tsv", "text\tlabel\nv\ta\nw\tb\n", ""),
            ("a.tsv", "text\tlabel\nv\tb,a\nw\t\nx\tb\n", ", label_separator: ','"),
            ("a.tsv", "text\tlabel\nv\t\n", ", label_separator: ','"),
            ("a.csv", "text,a,b\nv,0.25,1\nw,0,0\n", ", label_columns: [a, b]"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            let yaml = format!("data: {{train: x{fields}}}\n");
            let config = crate::config::parse(&yaml, "test", &[]).unwrap().config;
            let (files, directory) =
                (vec![HashedFile::read(path.clone()).unwrap()], directory.path().join("entry"));
            let entry = CacheEntry { directory, files, has_labels: true, has_groups: false };
            let writer = entry.create().unwrap();
            let labels = Labels::Required { known: &[] };
            let temporary = writer.temporary.path().to_owned();
            let source =
                Source::tokenize(&path, &config, labels, &Part::Whole, Some(&temporary)).unwrap();
            writer.finish(&source).unwrap();
            let cached = entry.read(&path, &config).unwrap();
            assert_eq!(cached.rows, source.rows, "{content}");
            assert_eq!(cached.rows.targets.len(), content.lines().count() - 1);
        }
    }

    #[test]
    fn only_directories_of_killed_processes_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path();
        let directory = cache.join("tokens-1");
        let files = Vec::new();
        let entry = CacheEntry { directory, files, has_labels: true, has_groups: false };
        let writer = entry.create().unwrap();
        for name in [".tokens-2.abc", "tokens-3", ".other"] {
            fs::create_dir(cache.join(name)).unwrap();
        }
        remove_abandoned(cache);
        assert!(writer.temporary.path().exists());
        assert!(!cache.join(".tokens-2.abc").exists());
        assert!(cache.join("tokens-3").exists() && cache.join(".other").exists());
        assert!(lock(writer.temporary.path()).unwrap().is_none(), "another process has locked it");
        assert!(lock(&cache.join("removed")).unwrap().is_none());
    }
}
