//! A download that survives cut connections and killed runs, and that ends
//! only in the file that was asked for.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ureq::http::{Response, StatusCode, Uri, header};
use ureq::{Agent, Body, Proxy, Timeout};

use super::{CopyError, copy, lock, sibling};
use crate::io::files::{parent_directory, sha256, sha256_of, sync_directory};

/// A file on the web, known by its content.
#[derive(Debug, Clone)]
pub struct Download {
    /// Where it is (`http` or `https`; redirects are followed).
    pub url: String,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// A size it certainly does not exceed: what stops a server that never
    /// stops sending.
    pub max_bytes: u64,
    /// How long to wait for the server.
    pub patience: Patience,
}

/// How long a download waits before it gives up. There is no limit on the
/// whole: a slow download that goes on is a good one.
#[derive(Debug, Clone)]
pub struct Patience {
    /// The longest wait for a connection.
    pub connect: Duration,
    /// The longest wait for the next bytes on an open connection.
    pub silence: Duration,
    /// The pause before each new attempt after a lost connection; their number
    /// is the number of new attempts.
    pub pauses: Vec<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            silence: Duration::from_secs(30),
            pauses: [1, 2, 5, 10, 20].map(Duration::from_secs).to_vec(),
        }
    }
}

/// Downloads to `file`, unless it is there already with the right content.
///
/// The bytes are collected in `FILE.part` beside it, from where a later run
/// continues if this one is interrupted; only verified content gets the name
/// `file`. `progress` is called often, with the bytes there are so far and
/// their total where the server tells it; the first can fall, when a download
/// has to start anew.
///
/// # Errors
///
/// When `file` exists with other content (it is left alone); when the server
/// cannot be reached, answers with an error, is lost too often or sends too
/// much; when the content has another checksum; when another run is
/// downloading the same file; when the disk cannot be read or written.
pub fn download(
    download: &Download,
    file: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<()> {
    if is_already_there(download, file)? {
        return Ok(());
    }
    let mut transfer = Transfer::open(download, file)?;
    // Another run may have finished between the look above and the lock, and
    // the opened part may even be its finished file.
    let outcome = match is_already_there(download, file) {
        Ok(true) => Ok(()),
        Ok(false) => transfer.run(progress),
        Err(error) => Err(error),
    };
    transfer.remove_empty_part();
    outcome
}

fn is_already_there(download: &Download, file: &Path) -> Result<bool> {
    let exists =
        file.try_exists().with_context(|| format!("cannot look for {}", file.display()))?;
    if !exists {
        return Ok(false);
    }
    let found = sha256_of(file)?;
    if !found.eq_ignore_ascii_case(&download.sha256) {
        bail!(
            "{} exists but is not the file at {}: its sha256 is {found}, expected {}; \
             delete it and run this again to download it",
            file.display(),
            download.url,
            download.sha256,
        );
    }
    Ok(true)
}

/// Why an attempt ended without the whole file.
enum Failure {
    /// The connection broke: another attempt may do better.
    Lost(String),
    /// The server's last word, or no server at all.
    Remote(String),
    /// This machine's fault.
    Local(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Local(error)
    }
}

/// An answer whose body belongs at `start` of the part.
struct Incoming {
    body: Body,
    start: u64,
    total: Option<u64>,
}

/// The file being downloaded, open and locked.
struct Transfer<'a> {
    download: &'a Download,
    agent: Agent,
    file: &'a Path,
    part_path: PathBuf,
    part: File,
    /// The part was put together from more than one answer.
    resumed: bool,
    /// The server has answered before.
    reached: bool,
}

impl<'a> Transfer<'a> {
    fn open(download: &'a Download, file: &'a Path) -> Result<Self> {
        let part_path = sibling(file, ".part")?;
        let folder = parent_directory(file);
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        let part = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part_path)
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
        // A run killed between the last byte and the rename leaves a whole
        // part, for which a server has no range to send.
        if self.length()? > 0 && self.is_right(&self.part_sha256()?) {
            return self.put_in_place();
        }
        self.fetch(progress)?;
        let mut found = self.part_sha256()?;
        if !self.is_right(&found) && self.resumed {
            // The pieces may come from different versions of the file, or the
            // first of them from something else altogether.
            self.start_over()?;
            self.fetch(progress)?;
            found = self.part_sha256()?;
        }
        if self.is_right(&found) {
            return self.put_in_place();
        }
        self.start_over()?;
        bail!(
            "{} is not the expected file: its sha256 is {found}, expected {}; \
             the download was thrown away, and the file may have changed at its source",
            self.download.url,
            self.download.sha256,
        );
    }

    /// Fills the part, through as many lost connections as patience allows.
    fn fetch(&mut self, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<()> {
        let mut pauses = self.download.patience.pauses.iter();
        loop {
            let reason = match self.attempt(progress) {
                Ok(()) => return Ok(()),
                Err(Failure::Local(error)) => return Err(error),
                Err(Failure::Remote(reason)) => bail!(self.cannot_download(&reason)),
                Err(Failure::Lost(reason)) => reason,
            };
            let Some(pause) = pauses.next() else {
                bail!(self.cannot_download(&format!(
                    "{reason}, after {} attempts; running this again continues with the {} bytes \
                     in {}",
                    self.download.patience.pauses.len() + 1,
                    self.length()?,
                    self.part_path.display(),
                )));
            };
            thread::sleep(*pause);
        }
    }

    fn attempt(&mut self, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<(), Failure> {
        let Incoming { body, start, total } = self.request()?;
        let max_bytes = self.download.max_bytes;
        if total.is_some_and(|total| total > max_bytes) {
            return Err(self.too_large()?);
        }
        progress(start, total);
        self.seek(start)?;
        // One byte more than is allowed shows that there are more.
        let room = max_bytes.saturating_sub(start).saturating_add(1);
        let copied = copy(&mut body.into_reader().take(room), &mut self.part, &mut |copied| {
            progress(start + copied, total)
        });
        let end = match copied {
            Ok(copied) => start + copied,
            Err(CopyError::Write(error)) => {
                return Err(Failure::Local(
                    anyhow::Error::new(error)
                        .context(format!("cannot write {}", self.part_path.display())),
                ));
            }
            Err(CopyError::Read(error)) => {
                return Err(Failure::Lost(self.describe(&ureq::Error::from(error))));
            }
        };
        if end > max_bytes {
            return Err(self.too_large()?);
        }
        // Without a Content-Length the end of the connection looks like the
        // end of the file; the range the server named knows better.
        match total.filter(|total| end < *total) {
            Some(total) => {
                Err(Failure::Lost(format!("the connection ended after {end} of {total} bytes")))
            }
            None => Ok(()),
        }
    }

    /// Asks for what the part still lacks, or for everything where the server
    /// cannot continue it.
    fn request(&mut self) -> Result<Incoming, Failure> {
        let start = self.length()?;
        let mut request = self.agent.get(&self.download.url);
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let response = request.call().map_err(|error| self.no_answer(&error))?;
        self.reached = true;
        match response.status() {
            StatusCode::OK => {
                self.start_over()?;
                let total = response.body().content_length();
                Ok(Incoming { body: response.into_body(), start: 0, total })
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => {
                if let Some(range) = content_range(&response).filter(|range| range.start == start) {
                    self.resumed = true;
                    return Ok(Incoming { body: response.into_body(), start, total: range.total });
                }
                // This answer does not fit the part. The next request asks for
                // no range, so it cannot come here again.
                self.start_over()?;
                self.request()
            }
            status => Err(Failure::Remote(format!("the server answered {status}"))),
        }
    }

    /// Whether a request without an answer is worth repeating: for a server
    /// that has answered before it is, for one never seen only if it took the
    /// connection.
    fn no_answer(&self, error: &ureq::Error) -> Failure {
        let was_connected = match error {
            ureq::Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => true,
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
        if was_connected || self.reached { Failure::Lost(reason) } else { Failure::Remote(reason) }
    }

    fn describe(&self, error: &ureq::Error) -> String {
        let patience = &self.download.patience;
        match error {
            ureq::Error::Timeout(Timeout::Connect) => {
                format!("no connection within {:?}", patience.connect)
            }
            ureq::Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => {
                format!("the server was silent for {:?}", patience.silence)
            }
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                format!("the connection was refused ({error})")
            }
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the connection was cut".to_owned()
            }
            ureq::Error::Io(error) => error.to_string(),
            error => error.to_string(),
        }
    }

    fn too_large(&mut self) -> Result<Failure> {
        self.start_over()?;
        Ok(Failure::Remote(format!(
            "the server sends more than {} bytes, so this is not the expected file",
            self.download.max_bytes
        )))
    }

    fn cannot_download(&self, reason: &str) -> String {
        format!(
            "cannot download {}: {reason}. You can also fetch it by hand and put it at {} \
             (sha256 {}), then run this again",
            self.download.url,
            self.file.display(),
            self.download.sha256,
        )
    }

    fn is_right(&self, sha256: &str) -> bool {
        sha256.eq_ignore_ascii_case(&self.download.sha256)
    }

    // The part is hashed and measured through its one open handle: where locks
    // are mandatory, a second handle could not read it.

    fn part_sha256(&self) -> Result<String> {
        self.seek(0)?;
        sha256(&self.part).with_context(|| format!("cannot read {}", self.part_path.display()))
    }

    fn length(&self) -> Result<u64> {
        let metadata = self
            .part
            .metadata()
            .with_context(|| format!("cannot inspect {}", self.part_path.display()))?;
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
        self.part.set_len(0).with_context(|| format!("cannot empty {}", self.part_path.display()))
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

    /// Leaves no empty file behind. A failure to remove one is not worth
    /// hiding the outcome of the download.
    fn remove_empty_part(&self) {
        if fs::metadata(&self.part_path).is_ok_and(|metadata| metadata.len() == 0) {
            let _ = fs::remove_file(&self.part_path);
        }
    }
}

fn agent(download: &Download) -> Agent {
    let patience = &download.patience;
    Agent::config_builder()
        .proxy(proxy(&download.url))
        .timeout_connect(Some(patience.connect))
        .timeout_per_read(Some(patience.silence))
        .timeout_per_write(Some(patience.silence))
        // The checksum and the ranges are those of the file itself, not of a
        // compressed form of it.
        .accept_encoding("identity")
        .user_agent(concat!("lstmtext/", env!("CARGO_PKG_VERSION")))
        // The status is wanted together with the headers.
        .http_status_as_error(false)
        .build()
        .into()
}

/// The proxy the environment asks for, but none on the way to this machine:
/// a proxy would look for the loopback address at its own place.
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

/// What a `Content-Range: bytes START-END/TOTAL` header says; TOTAL may be `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ContentRange {
    start: u64,
    total: Option<u64>,
}

fn content_range(response: &Response<Body>) -> Option<ContentRange> {
    let value = response.headers().get(header::CONTENT_RANGE)?;
    parse_content_range(value.to_str().ok()?)
}

fn parse_content_range(value: &str) -> Option<ContentRange> {
    let (unit, range) = value.trim().split_once(' ')?;
    let (span, total) = range.split_once('/')?;
    let (start, _end) = span.split_once('-')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    Some(ContentRange { start: start.trim().parse().ok()?, total: total.trim().parse().ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_is_read() {
        assert_eq!(
            parse_content_range("bytes 5-9/10"),
            Some(ContentRange { start: 5, total: Some(10) })
        );
        assert_eq!(
            parse_content_range("Bytes 5-9/*"),
            Some(ContentRange { start: 5, total: None })
        );
    }

    #[test]
    fn what_is_no_content_range_is_none() {
        for value in ["", "bytes", "bytes */10", "bytes 5-9", "lines 5-9/10", "bytes -9/10"] {
            assert_eq!(parse_content_range(value), None, "{value:?}");
        }
    }
}
