//! Downloads that resume after lost connections and killed runs, and are verified by checksum.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ureq::http::{StatusCode, Uri, header};
use ureq::{Agent, Body, Proxy, Timeout};

use super::content_range::ContentRange;
use super::files::{CopyError, copy, lock, sibling};
use crate::io::files::{
    create_parent_directory, open_with, parent_directory, sha256, sha256_of, sync_directory,
};

/// File to download.
#[derive(Debug, Clone)]
pub struct Download {
    /// URL (`http` or `https`). Redirects are followed.
    pub url: String,
    /// SHA-256 of its content in hexadecimal.
    pub sha256: String,
    /// Maximum size. A server that sends more is not sending this file.
    pub max_bytes: u64,
    /// Timeouts and retries.
    pub timeouts: Timeouts,
}

/// Timeouts and retries of a download.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// Maximum time to connect.
    pub connect: Duration,
    /// Maximum time to receive the headers of a response, interim responses included, and maximum time
    /// without data after them.
    pub idle: Duration,
    /// Maximum time to receive the body of a response.
    pub body: Duration,
    /// Pause before each retry after a lost connection. Their number is the number of retries.
    pub retry_pauses: Vec<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            idle: Duration::from_secs(30),
            body: Duration::from_secs(3 * 60 * 60),
            retry_pauses: [1, 2, 5, 10, 20].map(Duration::from_secs).to_vec(),
        }
    }
}

/// Downloads to `file`, unless it already exists with the right content.
///
/// Data is written to `FILE.part` first, which a later run resumes if this one is interrupted. It
/// is renamed to `file` when its checksum is right. `progress` is called with the number of bytes
/// so far, and with the total if the server reports it. The number falls if a download has to start
/// over.
///
/// # Errors
/// Returns an error if
/// - `file` exists with other content, which is kept,
/// - the server cannot be reached, responds with an error, fails too often or sends too much,
/// - the checksum is wrong,
/// - another run is downloading the same file,
/// - the disk cannot be read or written.
pub fn download(
    download: &Download,
    file: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<()> {
    if is_complete(download, file)? {
        return Ok(());
    }
    let mut transfer = Transfer::open(download, file)?;
    // Another run may have finished since the check above. The part file that was opened may even
    // be its finished file.
    let outcome = match is_complete(download, file) {
        Ok(true) => Ok(()),
        Ok(false) => transfer.run(progress),
        Err(error) => Err(error),
    };
    transfer.remove_empty_part();
    outcome
}

fn is_complete(download: &Download, file: &Path) -> Result<bool> {
    let exists = file.try_exists().with_context(|| format!("cannot access {}", file.display()))?;
    if !exists {
        return Ok(false);
    }
    let actual = sha256_of(file)?;
    if !actual.eq_ignore_ascii_case(&download.sha256) {
        bail!(
            "{} already exists, but is not the file at {}: its SHA-256 is {actual}, expected {}; delete \
             it and run this command again to download it",
            file.display(),
            download.url,
            download.sha256,
        );
    }
    Ok(true)
}

/// Reason for a failed attempt.
enum AttemptError {
    /// The connection was lost, so a retry may help.
    Lost(String),
    /// The server cannot be reached or responded with an error.
    Remote(String),
    /// A local file cannot be read or written.
    Local(anyhow::Error),
}

impl From<anyhow::Error> for AttemptError {
    fn from(error: anyhow::Error) -> Self {
        Self::Local(error)
    }
}

/// Response whose body continues the part file at `start`.
struct Incoming {
    body: Body,
    start: u64,
    total: Option<u64>,
}

/// A download in progress. Its part file is open and locked.
struct Transfer<'a> {
    download: &'a Download,
    agent: Agent,
    file: &'a Path,
    part_path: PathBuf,
    part: File,
    /// True if the part file comes from more than one response.
    resumed: bool,
    /// True after the first response.
    reached: bool,
}

impl<'a> Transfer<'a> {
    fn open(download: &'a Download, file: &'a Path) -> Result<Self> {
        let part_path = sibling(file, ".part")?;
        create_parent_directory(file)?;
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let part = open_with(options, &part_path)
            .with_context(|| format!("cannot open {}", part_path.display()))?;
        lock(&part, &part_path)?;
        Ok(Self {
            download,
            agent: agent(download),
            file,
            part_path,
            part,
            resumed: false,
            reached: false,
        })
    }

    fn run(&mut self, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<()> {
        // A run killed just before the rename leaves a complete part file. No server has a range
        // that continues it.
        if self.length()? > 0 && self.is_expected(&self.part_sha256()?) {
            return self.put_in_place();
        }
        self.fetch(progress)?;
        let mut actual = self.part_sha256()?;
        if !self.is_expected(&actual) && self.resumed {
            // The pieces may come from different versions of the file.
            self.start_over()?;
            self.fetch(progress)?;
            actual = self.part_sha256()?;
        }
        if self.is_expected(&actual) {
            return self.put_in_place();
        }
        self.start_over()?;
        bail!(
            "{} is not the expected file: its SHA-256 is {actual}, expected {}; the download was deleted. \
             The file may have changed at its source",
            self.download.url,
            self.download.sha256,
        );
    }

    /// Completes the part file, with retries after lost connections.
    fn fetch(&mut self, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<()> {
        let mut pauses = self.download.timeouts.retry_pauses.iter();
        loop {
            let reason = match self.attempt(progress) {
                Ok(()) => return Ok(()),
                Err(AttemptError::Local(error)) => return Err(error),
                Err(AttemptError::Remote(reason)) => bail!(self.cannot_download(&reason)),
                Err(AttemptError::Lost(reason)) => reason,
            };
            let Some(pause) = pauses.next() else {
                bail!(self.cannot_download(&format!(
                    "{reason}, after {} attempts; run this command again to resume from the {} bytes in {}",
                    self.download.timeouts.retry_pauses.len() + 1,
                    self.length()?,
                    self.part_path.display(),
                )));
            };
            thread::sleep(*pause);
        }
    }

    fn attempt(&mut self, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<(), AttemptError> {
        let Incoming { body, start, total } = self.request()?;
        let max_bytes = self.download.max_bytes;
        if total.is_some_and(|total| total > max_bytes) {
            return Err(self.too_large()?);
        }
        progress(start, total);
        self.seek(start)?;
        // One byte above the limit shows that it is exceeded.
        let room = max_bytes.saturating_sub(start).saturating_add(1);
        let copied = copy(&mut body.into_reader().take(room), &mut self.part, &mut |copied| {
            progress(start + copied, total)
        });
        let end = match copied {
            Ok(copied) => start + copied,
            Err(CopyError::Write(error)) => {
                return Err(AttemptError::Local(
                    anyhow::Error::new(error)
                        .context(format!("cannot write {}", self.part_path.display())),
                ));
            }
            Err(CopyError::Read(error)) => {
                return Err(AttemptError::Lost(self.describe(&ureq::Error::from(error))));
            }
        };
        if end > max_bytes {
            return Err(self.too_large()?);
        }
        // Without a Content-Length the end of the connection looks like the end of the file. The
        // range in the response knows better.
        match total.filter(|total| end < *total) {
            Some(total) => Err(AttemptError::Lost(format!(
                "the connection ended after {end} of {total} bytes"
            ))),
            None => Ok(()),
        }
    }

    /// Requests the rest of the file, or all of it if the server cannot resume.
    fn request(&mut self) -> Result<Incoming, AttemptError> {
        let start = self.length()?;
        let mut request = self.agent.get(&self.download.url);
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let response = request.call().map_err(|error| self.request_error(&error))?;
        self.reached = true;
        match response.status() {
            StatusCode::OK => {
                self.start_over()?;
                let total = response.body().content_length();
                Ok(Incoming { body: response.into_body(), start: 0, total })
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => {
                let range = ContentRange::of(&response);
                if let Some(range) = range.filter(|range| range.start == start) {
                    self.resumed = true;
                    return Ok(Incoming { body: response.into_body(), start, total: range.total });
                }
                // The response does not continue the part file. The next request has no range, so
                // it cannot get here again.
                self.start_over()?;
                self.request()
            }
            status => Err(AttemptError::Remote(format!("the server responded with {status}"))),
        }
    }

    /// Classifies a request without a response. It is worth a retry if the server has responded
    /// before or at least accepted the connection.
    fn request_error(&self, error: &ureq::Error) -> AttemptError {
        let was_connected = match error {
            ureq::Error::Timeout(Timeout::PerRead | Timeout::PerWrite | Timeout::RecvResponse) => {
                true
            }
            ureq::Error::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            ),
            _ => false,
        };
        let reason = self.describe(error);
        if was_connected || self.reached {
            AttemptError::Lost(reason)
        } else {
            AttemptError::Remote(reason)
        }
    }

    fn describe(&self, error: &ureq::Error) -> String {
        let timeouts = &self.download.timeouts;
        match error {
            ureq::Error::Timeout(Timeout::Connect) => {
                format!("no connection within {:?}", timeouts.connect)
            }
            ureq::Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => {
                format!("the server sent nothing for {:?}", timeouts.idle)
            }
            ureq::Error::Timeout(Timeout::RecvResponse) => {
                format!("the server sent no response within {:?}", timeouts.idle)
            }
            ureq::Error::Timeout(Timeout::RecvBody) => {
                format!("the server did not send the file within {:?}", timeouts.body)
            }
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                format!("the connection was refused ({error})")
            }
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the connection was closed".to_owned()
            }
            ureq::Error::Io(error) => error.to_string(),
            error => error.to_string(),
        }
    }

    fn too_large(&mut self) -> Result<AttemptError> {
        self.start_over()?;
        Ok(AttemptError::Remote(format!(
            "the server sends more than {} bytes, so it is not the expected file",
            self.download.max_bytes
        )))
    }

    fn cannot_download(&self, reason: &str) -> String {
        format!(
            "cannot download {}: {reason}. You can also download it by hand, save it as {} (SHA-256 {}) \
             and run this command again",
            self.download.url,
            self.file.display(),
            self.download.sha256,
        )
    }

    fn is_expected(&self, sha256: &str) -> bool {
        sha256.eq_ignore_ascii_case(&self.download.sha256)
    }

    // The part file is only read through its one open handle: if locks are mandatory, a second
    // handle could not read it.

    fn part_sha256(&self) -> Result<String> {
        self.seek(0)?;
        sha256(&self.part).with_context(|| format!("cannot read {}", self.part_path.display()))
    }

    fn length(&self) -> Result<u64> {
        let metadata = self
            .part
            .metadata()
            .with_context(|| format!("cannot read the size of {}", self.part_path.display()))?;
        Ok(metadata.len())
    }

    fn seek(&self, position: u64) -> Result<()> {
        (&self.part)
            .seek(SeekFrom::Start(position))
            .with_context(|| format!("cannot seek in {}", self.part_path.display()))?;
        Ok(())
    }

    fn start_over(&mut self) -> Result<()> {
        self.resumed = false;
        self.part
            .set_len(0)
            .with_context(|| format!("cannot truncate {}", self.part_path.display()))
    }

    fn put_in_place(&self) -> Result<()> {
        self.part
            .sync_all()
            .with_context(|| format!("cannot flush {}", self.part_path.display()))?;
        fs::rename(&self.part_path, self.file).with_context(|| {
            format!("cannot rename {} to {}", self.part_path.display(), self.file.display())
        })?;
        sync_directory(parent_directory(self.file))
    }

    /// Removes an empty part file. An error here is ignored: the result of the download matters
    /// more.
    fn remove_empty_part(&self) {
        if fs::metadata(&self.part_path).is_ok_and(|metadata| metadata.len() == 0) {
            let _ = fs::remove_file(&self.part_path);
        }
    }
}

fn agent(download: &Download) -> Agent {
    let timeouts = &download.timeouts;
    Agent::config_builder()
        .proxy(proxy(&download.url))
        .timeout_connect(Some(timeouts.connect))
        .timeout_per_read(Some(timeouts.idle))
        .timeout_per_write(Some(timeouts.idle))
        .timeout_recv_response(Some(timeouts.idle))
        .timeout_recv_body(Some(timeouts.body))
        // The checksum and the ranges refer to the file itself, not to a compressed form of it.
        .accept_encoding("identity")
        .user_agent(concat!("lstmtext/", env!("CARGO_PKG_VERSION")))
        // The headers are needed together with the status.
        .http_status_as_error(false)
        .build()
        .into()
}

/// Returns the proxy set in the environment, but none for loopback addresses: the proxy would
/// connect to itself.
fn proxy(url: &str) -> Option<Proxy> {
    let uri = url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let is_loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if is_loopback { None } else { Proxy::try_from_env() }
}
