//! `lstmtext data fetch`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::cli::exit::SUCCESS;
use crate::config::ConfigError;
use crate::fetch::{self, Download, Limits, Timeouts};
use crate::io::replace::create_directory;
use crate::output::format::{group_digits, pluralize};
use crate::output::{PLAIN_PROGRESS_INTERVAL, ProgressBar, message, print_data};

const FETCH_EXAMPLES: &str = "\
Examples:
  lstmtext data fetch imdb && lstmtext train configs/imdb_official.yaml
  lstmtext data fetch babi && lstmtext train configs/two_input_babi.yaml
  lstmtext data fetch goemotions && lstmtext train configs/goemotions.yaml

Resumes an interrupted download, verifies the SHA-256 of each file, and rejects archives with \
unsafe paths or too much content. Does nothing if the directory already exists.";

/// Download and unpack a data set
#[derive(Debug, Args)]
#[command(after_help = FETCH_EXAMPLES)]
pub struct FetchArgs {
    /// imdb: the Large Movie Review Dataset (Maas et al. 2011), 25,000 training and 25,000 test
    /// reviews. babi: 20 question-answering tasks (Weston et al. 2015), 1,000 training and 1,000 test
    /// questions each. goemotions: 43,410 training and 5,426 validation comments with several of 28
    /// emotions (Demszky et al. 2020)
    dataset: Dataset,
    /// Directory to create; by default data/aclImdb, data/babi or data/goemotions
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Alternative URL of the archive; for goemotions, of the directory of the files
    #[arg(long)]
    url: Option<String>,
    /// Expected SHA-256 of the archive; for goemotions, of each file, separated by commas
    #[arg(long, value_name = "HEX", value_delimiter = ',')]
    sha256: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dataset {
    Imdb,
    Babi,
    Goemotions,
}

/// Location, checksums and size limits of a published data set.
struct Publication {
    /// Name of the directory in "data".
    directory: &'static str,
    /// URL of the archive, or of the directory of the files.
    url: &'static str,
    /// Names and SHA-256 of the archive or of the files.
    files: &'static [(&'static str, &'static str)],
    max_download: u64,
    /// Top-level directory and limits of the archive; `None` for plain files.
    archive: Option<(&'static str, Limits)>,
}

const IMDB: Publication = Publication {
    directory: "aclImdb",
    url: "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    files: &[(
        "aclImdb_v1.tar.gz",
        "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
    )],
    max_download: 200 << 20,
    archive: Some(("aclImdb", Limits { max_entries: 200_000, max_bytes: 2 << 30 })),
};

const BABI: Publication = Publication {
    directory: "babi",
    url: "http://www.thespermwhale.com/jaseweston/babi/tasks_1-20_v1-2.tar.gz",
    files: &[(
        "tasks_1-20_v1-2.tar.gz",
        "0364ebde659f14d11bc21744516c5ec49d3d06cb692733f66680771244998898",
    )],
    max_download: 40 << 20,
    archive: Some(("tasks_1-20_v1-2", Limits { max_entries: 2_000, max_bytes: 1 << 30 })),
};

const GOEMOTIONS: Publication = Publication {
    directory: "goemotions",
    url: "https://raw.githubusercontent.com/google-research/google-research/\
          2adf640a14f11025ae5a9d0ec493b78530d276d3/goemotions/data",
    files: &[
        ("train.tsv", "1c254a142be5c00e80d819b9ae1bbd36d94b2eeb8f4b1271846508d57e57d9c5"),
        ("dev.tsv", "575489c079c9de1097062a01738f998590d6b7ead66dd1c9fd1d2ba01fd8bc62"),
    ],
    max_download: 20 << 20,
    archive: None,
};

/// Runs the command.
pub fn run(args: FetchArgs) -> anyhow::Result<u8> {
    let publication = match args.dataset {
        Dataset::Imdb => IMDB,
        Dataset::Babi => BABI,
        Dataset::Goemotions => GOEMOTIONS,
    };
    let count = publication.files.len();
    if !args.sha256.is_empty() && args.sha256.len() != count {
        let found = args.sha256.len();
        return Err(ConfigError::new(format!(
            "--sha256: expected {}, one for each file, found {found}",
            pluralize(count, "checksum")
        ))
        .into());
    }
    let directory = args.to.unwrap_or_else(|| PathBuf::from("data").join(publication.directory));
    if directory.is_dir() {
        message(format!("\"{}\" already exists", directory.display()));
        return print_data(&directory.display().to_string()).map(|()| SUCCESS);
    }
    let url = args.url.unwrap_or_else(|| publication.url.into());
    let mut downloaded = Vec::new();
    for (index, (name, sha256)) in publication.files.iter().enumerate() {
        let (url, file) = match publication.archive {
            Some(_) => (url.clone(), directory.with_file_name(name)),
            None => {
                let file = format!("{}-{name}", publication.directory);
                (format!("{}/{name}", url.trim_end_matches('/')), directory.with_file_name(file))
            }
        };
        let sha256 = args.sha256.get(index).cloned().unwrap_or_else(|| (*sha256).into());
        let max_bytes = publication.max_download;
        fetch(&Download { url, sha256, max_bytes, timeouts: Timeouts::default() }, &file)?;
        downloaded.push((*name, file));
    }
    match publication.archive {
        Some((top, limits)) => unpack(&downloaded[0].1, top, &directory, &limits)?,
        None => create_directory(&directory, |directory| {
            for (name, file) in &downloaded {
                fs::copy(file, directory.join(name))
                    .with_context(|| format!("cannot copy \"{}\"", file.display()))?;
            }
            Ok(())
        })?,
    }
    for (_, file) in &downloaded {
        fs::remove_file(file).with_context(|| format!("cannot remove \"{}\"", file.display()))?;
    }
    print_data(&directory.display().to_string()).map(|()| SUCCESS)
}

/// Downloads a file and shows the progress.
fn fetch(request: &Download, file: &Path) -> anyhow::Result<()> {
    message(format!("downloading {}", request.url));
    let bar = ProgressBar::new(
        "{bytes}/{total_bytes} {wide_bar:.cyan/dim} {bytes_per_sec} ETA {eta}",
        20,
    );
    let mut last_report = Instant::now();
    fetch::download(request, file, &mut |received, total| {
        if bar.is_hidden() && last_report.elapsed() >= PLAIN_PROGRESS_INTERVAL {
            last_report = Instant::now();
            let total = total.map_or("?".to_owned(), |total| format!("{:.1}", total as f64 / 1e6));
            message(format!("{:.1} of {total} MB", received as f64 / 1e6));
        }
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(received);
    })?;
    bar.finish_and_clear();
    Ok(())
}

/// Unpacks an archive with the top-level directory `top` and shows the progress.
fn unpack(archive: &Path, top: &str, directory: &Path, limits: &Limits) -> anyhow::Result<()> {
    message(format!("unpacking to {}", directory.display()));
    let bar = ProgressBar::new("{pos} files {spinner}", 20);
    let extracted = fetch::extract_tar_gz(archive, top, directory, limits, &mut |files| {
        bar.set_position(files);
    })?;
    bar.finish_and_clear();
    let files = group_digits(extracted.files as usize);
    message(format!("{files} files, {:.1} MB", extracted.bytes as f64 / 1e6));
    Ok(())
}
