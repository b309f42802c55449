//! `lstmtext data fetch`.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::cli::exit::SUCCESS;
use crate::fetch::{self, Download, Limits, Timeouts};
use crate::output::format::group_digits;
use crate::output::{PLAIN_PROGRESS_INTERVAL, ProgressBar, message, print_data};

const FETCH_EXAMPLES: &str = "\
Examples:
  lstmtext data fetch imdb && lstmtext train configs/imdb_official.yaml
  lstmtext data fetch babi && lstmtext train configs/two_input_babi.yaml

Resumes an interrupted download, verifies the SHA-256 of the archive, and rejects archives with \
unsafe paths or too much content. Does nothing if the directory already exists.";

/// Download and unpack a data set
#[derive(Debug, Args)]
#[command(after_help = FETCH_EXAMPLES)]
pub struct FetchArgs {
    /// imdb: the Large Movie Review Dataset (Maas et al. 2011), 25,000 training and 25,000 test
    /// reviews. babi: 20 question-answering tasks (Weston et al. 2015), 1,000 training and 1,000 test
    /// questions each
    dataset: Dataset,
    /// Directory to create; by default data/aclImdb or data/babi
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Alternative URL of the archive
    #[arg(long)]
    url: Option<String>,
    /// Expected SHA-256 of the archive
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dataset {
    Imdb,
    Babi,
}

/// Location, checksum and size limits of a published data set.
struct Publication {
    url: &'static str,
    sha256: &'static str,
    archive: &'static str,
    /// Top-level directory of the archive.
    top: &'static str,
    /// Name of the directory in "data".
    directory: &'static str,
    max_download: u64,
    limits: Limits,
}

const IMDB: Publication = Publication {
    url: "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    sha256: "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
    archive: "aclImdb_v1.tar.gz",
    top: "aclImdb",
    directory: "aclImdb",
    max_download: 200 << 20,
    limits: Limits { max_entries: 200_000, max_bytes: 2 << 30 },
};

const BABI: Publication = Publication {
    url: "http://www.thespermwhale.com/jaseweston/babi/tasks_1-20_v1-2.tar.gz",
    sha256: "0364ebde659f14d11bc21744516c5ec49d3d06cb692733f66680771244998898",
    archive: "tasks_1-20_v1-2.tar.gz",
    top: "tasks_1-20_v1-2",
    directory: "babi",
    max_download: 40 << 20,
    limits: Limits { max_entries: 2_000, max_bytes: 1 << 30 },
};

/// Runs the command.
pub fn run(args: FetchArgs) -> anyhow::Result<u8> {
    let publication = match args.dataset {
        Dataset::Imdb => IMDB,
        Dataset::Babi => BABI,
    };
    let directory = args.to.unwrap_or_else(|| PathBuf::from("data").join(publication.directory));
    if directory.is_dir() {
        message(format!("\"{}\" already exists", directory.display()));
        return print_data(&directory.display().to_string()).map(|()| SUCCESS);
    }
    let archive = directory.with_file_name(publication.archive);
    let request = Download {
        url: args.url.unwrap_or_else(|| publication.url.into()),
        sha256: args.sha256.unwrap_or_else(|| publication.sha256.into()),
        max_bytes: publication.max_download,
        timeouts: Timeouts::default(),
    };
    message(format!("downloading {}", request.url));
    let bar = ProgressBar::new(
        "{bytes}/{total_bytes} {wide_bar:.cyan/dim} {bytes_per_sec} ETA {eta}",
        20,
    );
    let mut last_report = Instant::now();
    fetch::download(&request, &archive, &mut |received, total| {
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

    message(format!("unpacking to {}", directory.display()));
    let bar = ProgressBar::new("{pos} files {spinner}", 20);
    let extracted = fetch::extract_tar_gz(
        &archive,
        publication.top,
        &directory,
        &publication.limits,
        &mut |files| bar.set_position(files),
    )?;
    bar.finish_and_clear();
    fs::remove_file(&archive)
        .with_context(|| format!("cannot remove \"{}\"", archive.display()))?;
    let files = group_digits(extracted.files as usize);
    message(format!("{files} files, {:.1} MB", extracted.bytes as f64 / 1e6));
    print_data(&directory.display().to_string()).map(|()| SUCCESS)
}
