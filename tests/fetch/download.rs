use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use lstmtext::fetch::{Download, Timeouts, download};
use lstmtext::io::files::sha256_of;
use tempfile::TempDir;

use crate::server::{Request, Response, Server, endless_server};

/// Content larger than a buffer, without repeated sections.
fn content() -> Vec<u8> {
    (0..200_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A directory to download to, and the expected content.
struct Fixture {
    directory: TempDir,
    content: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), content: content() }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("data.bin")
    }

    fn part(&self) -> PathBuf {
        self.directory.path().join("data.bin.part")
    }

    fn download_of(&self, url: &str) -> Download {
        let sample = self.directory.path().join("sample");
        fs::write(&sample, &self.content).unwrap();
        let sha256 = sha256_of(&sample).unwrap();
        fs::remove_file(&sample).unwrap();
        Download {
            url: url.to_owned(),
            sha256,
            max_bytes: 1_000_000,
            timeouts: Timeouts {
                connect: Duration::from_secs(5),
                idle: Duration::from_secs(5),
                body: Duration::from_secs(60),
                retry_pauses: vec![Duration::from_millis(1); 3],
            },
        }
    }

    fn get(&self, url: &str) -> Result<(), String> {
        run(&self.download_of(url), &self.file())
    }

    fn assert_complete(&self) {
        assert!(fs::read(self.file()).unwrap() == self.content);
        self.assert_no_part();
    }

    fn assert_nothing(&self) {
        assert!(!self.file().exists());
        self.assert_no_part();
    }

    fn assert_no_part(&self) {
        assert!(!self.part().exists());
    }
}

fn run(wanted: &Download, file: &std::path::Path) -> Result<(), String> {
    download(wanted, file, &mut |_, _| {}).map_err(|error| format!("{error:#}"))
}

fn ranges(requests: &[Request]) -> Vec<Option<&str>> {
    requests.iter().map(|request| request.header("range")).collect()
}

/// Asserts that an error contains all of `words`.
fn assert_contains(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn sha256_matches_the_standard() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("abc");
    fs::write(&file, "abc").unwrap();
    assert_eq!(
        sha256_of(&file).unwrap(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn files_are_downloaded() {
    let fixture = Fixture::new();
    let server = Server::start(vec![Response::whole(&fixture.content)]);
    let file = fixture.directory.path().join("new/directory/data.bin");
    let mut seen = Vec::new();
    download(&fixture.download_of(&server.url), &file, &mut |received, total| {
        seen.push((received, total))
    })
    .unwrap();

    assert!(fs::read(&file).unwrap() == fixture.content);
    assert!(!file.with_file_name("data.bin.part").exists());
    let size = fixture.content.len() as u64;
    assert_eq!(seen.first(), Some(&(0, Some(size))));
    assert_eq!(seen.last(), Some(&(size, Some(size))));
    assert!(seen.is_sorted() && seen.len() > 3, "{seen:?}");
    let requests = server.requests();
    assert_eq!(ranges(&requests), [None]);
    assert_eq!(requests[0].header("accept-encoding"), Some("identity"));
}

#[test]
fn loopback_addresses_bypass_the_proxy() {
    // Changing the environment of this process would affect other tests.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "download::files_are_downloaded"])
        .env("ALL_PROXY", "http://127.0.0.1:1")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}");
    assert_contains(&stdout, &["1 passed"]);
}

#[test]
fn checksums_may_be_in_upper_case() {
    let fixture = Fixture::new();
    let server = Server::start(vec![Response::whole(&fixture.content)]);
    let mut wanted = fixture.download_of(&server.url);
    wanted.sha256.make_ascii_uppercase();
    run(&wanted, &fixture.file()).unwrap();
    run(&wanted, &fixture.file()).unwrap();
}

#[test]
fn lost_connections_are_resumed_at_the_next_byte() {
    let fixture = Fixture::new();
    let server = Server::start(vec![
        Response::whole(&fixture.content).cut_after(70_001),
        Response::rest(&fixture.content, 70_001).cut_after(50_000),
        Response::rest(&fixture.content, 120_001),
    ]);
    let mut last = None;
    download(&fixture.download_of(&server.url), &fixture.file(), &mut |received, total| {
        last = Some((received, total))
    })
    .unwrap();
    fixture.assert_complete();
    let requests = server.requests();
    assert_eq!(ranges(&requests), [None, Some("bytes=70001-"), Some("bytes=120001-")]);
    assert_eq!(last, Some((200_000, Some(200_000))));
}

#[test]
fn connections_lost_before_the_response_are_retried() {
    let fixture = Fixture::new();
    let server = Server::start(vec![Response::none(), Response::whole(&fixture.content)]);
    fixture.get(&server.url).unwrap();
    fixture.assert_complete();
}

#[test]
fn idle_connections_time_out_and_are_retried() {
    let fixture = Fixture::new();
    let server = Server::start(vec![
        Response::whole(&fixture.content).silent_after(1000),
        Response::rest(&fixture.content, 1000),
    ]);
    let mut wanted = fixture.download_of(&server.url);
    wanted.timeouts.idle = Duration::from_millis(150);
    run(&wanted, &fixture.file()).unwrap();
    fixture.assert_complete();
    assert_eq!(ranges(&server.requests()), [None, Some("bytes=1000-")]);
}

#[test]
fn servers_that_never_end_their_response_time_out() {
    let fixture = Fixture::new();
    let started = Instant::now();
    let mut wanted = fixture.download_of(&endless_server("", "HTTP/1.1 100 Continue\r\n\r\n"));
    wanted.timeouts.idle = Duration::from_millis(200);
    let error = run(&wanted, &fixture.file()).unwrap_err();
    assert!(error.contains("sent no response within 200ms, after 4 attempts"), "{error}");
    let url = endless_server("HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n", "a");
    let mut wanted = fixture.download_of(&url);
    wanted.timeouts.body = Duration::from_millis(200);
    let error = run(&wanted, &fixture.file()).unwrap_err();
    assert!(error.contains("did not send the file within 200ms, after 4 attempts"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_truncated_range_without_length_is_detected() {
    let fixture = Fixture::new();
    let server = Server::start(vec![
        Response::whole(&fixture.content).cut_after(1000),
        Response::new("206 Partial Content")
            .header("Content-Range", "bytes 1000-199999/200000")
            .without_length(&fixture.content[1000..2000]),
        Response::rest(&fixture.content, 2000),
    ]);
    fixture.get(&server.url).unwrap();
    fixture.assert_complete();
    assert_eq!(ranges(&server.requests()), [None, Some("bytes=1000-"), Some("bytes=2000-")]);
}

#[test]
fn servers_without_ranges_send_the_file_again() {
    let fixture = Fixture::new();
    let server = Server::start(vec![
        Response::whole(&fixture.content).cut_after(1000),
        Response::whole(&fixture.content),
    ]);
    fixture.get(&server.url).unwrap();
    fixture.assert_complete();
    assert_eq!(ranges(&server.requests()), [None, Some("bytes=1000-")]);
}

#[test]
fn a_full_response_replaces_a_longer_part_file() {
    let fixture = Fixture::new();
    fs::write(fixture.part(), vec![b'x'; 300_000]).unwrap();
    let server = Server::start(vec![Response::whole(&fixture.content)]);
    fixture.get(&server.url).unwrap();
    fixture.assert_complete();
    assert_eq!(ranges(&server.requests()), [Some("bytes=300000-")]);
}

#[test]
fn ranges_that_do_not_fit_are_discarded() {
    let fixture = Fixture::new();
    for wrong in [
        Response::rest(&fixture.content, 999),
        Response::new("206 Partial Content").content(&fixture.content[1000..]),
        Response::new("416 Range Not Satisfiable").header("Content-Range", "bytes */1000"),
    ] {
        let fixture = Fixture::new();
        fs::write(fixture.part(), &fixture.content[..1000]).unwrap();
        let server = Server::start(vec![wrong, Response::whole(&fixture.content)]);
        let mut first = None;
        download(&fixture.download_of(&server.url), &fixture.file(), &mut |received, total| {
            first = first.or(Some((received, total)))
        })
        .unwrap();
        fixture.assert_complete();
        // Nothing of the wrong response was used.
        assert_eq!(first, Some((0, Some(200_000))));
        assert_eq!(ranges(&server.requests()), [Some("bytes=1000-"), None]);
    }
}

#[test]
fn interrupted_downloads_are_resumed() {
    let fixture = Fixture::new();
    fs::write(fixture.part(), &fixture.content[..150_000]).unwrap();
    let server = Server::start(vec![Response::rest(&fixture.content, 150_000)]);
    fixture.get(&server.url).unwrap();
    fixture.assert_complete();
    assert_eq!(ranges(&server.requests()), [Some("bytes=150000-")]);
}

#[test]
fn complete_part_files_need_no_request() {
    let fixture = Fixture::new();
    fs::write(fixture.part(), &fixture.content).unwrap();
    fixture.get("http://127.0.0.1:1/data.bin").unwrap();
    fixture.assert_complete();
}

#[test]
fn corrupt_part_files_are_discarded() {
    let fixture = Fixture::new();
    fs::write(fixture.part(), vec![b'x'; 1000]).unwrap();
    let server = Server::start(vec![
        Response::rest(&fixture.content, 1000),
        Response::whole(&fixture.content),
    ]);
    fixture.get(&server.url).unwrap();
    fixture.assert_complete();
    assert_eq!(ranges(&server.requests()), [Some("bytes=1000-"), None]);
}

#[test]
fn wrong_content_is_discarded_and_reported() {
    let fixture = Fixture::new();
    let server = Server::start(vec![Response::whole(b"abc"), Response::whole(b"abc")]);
    let url = server.url.clone();
    let error = fixture.get(&url).unwrap_err();
    let expected = fixture.download_of(&url).sha256;
    let actual = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_contains(&error, &[&url, &expected, actual]);
    fixture.assert_nothing();
    assert_eq!(ranges(&server.requests()), [None]);
}

#[test]
fn wrong_content_after_starting_over_is_an_error() {
    let fixture = Fixture::new();
    let mut wrong = fixture.content.clone();
    wrong[5] ^= 1;
    fs::write(fixture.part(), &wrong[..1000]).unwrap();
    let server = Server::start(vec![
        Response::rest(&wrong, 1000),
        Response::whole(&wrong).cut_after(500),
        Response::rest(&wrong, 500),
        Response::whole(&fixture.content),
    ]);
    let error = fixture.get(&server.url).unwrap_err();
    assert_contains(&error, &["is not the expected file"]);
    fixture.assert_nothing();
    assert_eq!(ranges(&server.requests()), [Some("bytes=1000-"), None, Some("bytes=500-")]);
}

#[test]
fn existing_complete_files_need_no_request() {
    let fixture = Fixture::new();
    fs::write(fixture.file(), &fixture.content).unwrap();
    // The part file is not needed either: this one could not be opened.
    fs::create_dir(fixture.part()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    fixture.get(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(fs::read(fixture.file()).unwrap() == fixture.content);
}

#[test]
fn existing_other_files_are_kept_and_reported() {
    let fixture = Fixture::new();
    fs::write(fixture.file(), "mine").unwrap();
    let server = Server::start(vec![Response::whole(&fixture.content)]);
    let error = fixture.get(&server.url).unwrap_err();
    let path = fixture.file().display().to_string();
    assert_contains(&error, &[&path, "delete it"]);
    assert_eq!(fs::read(fixture.file()).unwrap(), b"mine");
    fixture.assert_no_part();
    assert!(server.requests().is_empty());
}

#[test]
fn http_errors_are_reported_without_a_retry() {
    for status in ["404 Not Found", "500 Internal Server Error"] {
        let fixture = Fixture::new();
        let server = Server::start(vec![
            Response::new(status).content(b"sorry"),
            Response::whole(&fixture.content),
        ]);
        let url = server.url.clone();
        let error = fixture.get(&url).unwrap_err();
        let file = fixture.file().display().to_string();
        assert_contains(&error, &[status, &url, "by hand", &file]);
        fixture.assert_nothing();
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn http_errors_keep_the_part_file() {
    let fixture = Fixture::new();
    fs::write(fixture.part(), &fixture.content[..1000]).unwrap();
    let server = Server::start(vec![Response::new("503 Service Unavailable").content(b"")]);
    let error = fixture.get(&server.url).unwrap_err();
    assert_contains(&error, &["503"]);
    assert!(fs::read(fixture.part()).unwrap() == fixture.content[..1000]);
}

#[test]
fn refused_connections_are_reported() {
    let fixture = Fixture::new();
    let url = "http://127.0.0.1:1/data.bin";
    let error = fixture.get(url).unwrap_err();
    let file = fixture.file().display().to_string();
    assert_contains(&error, &[url, "refused", "by hand", &file]);
    assert!(!error.contains("attempts"), "{error}");
    fixture.assert_nothing();
}

#[test]
fn unknown_hosts_are_reported() {
    let fixture = Fixture::new();
    // A host label this long is invalid, so no DNS query is sent.
    let url = format!("http://{}.invalid/data.bin", "x".repeat(70));
    let error = fixture.get(&url).unwrap_err();
    let file = fixture.file().display().to_string();
    assert_contains(&error, &[&url, "lookup", "by hand", &file]);
    fixture.assert_nothing();
}

#[test]
fn too_many_lost_connections_keep_the_part_file() {
    let fixture = Fixture::new();
    let server = Server::start(
        (0..5)
            .map(|turn| match turn {
                0 => Response::whole(&fixture.content).cut_after(1000),
                turn => Response::rest(&fixture.content, turn * 1000).cut_after(1000),
            })
            .collect(),
    );
    let error = fixture.get(&server.url).unwrap_err();
    assert_contains(&error, &["4 attempts", "4000 bytes", "data.bin.part"]);
    assert!(fs::read(fixture.part()).unwrap() == fixture.content[..4000]);
    assert!(!fixture.file().exists());
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn servers_that_disappear_are_retried() {
    let fixture = Fixture::new();
    let server = Server::start(vec![Response::whole(&fixture.content).cut_after(1000)]);
    let error = fixture.get(&server.url).unwrap_err();
    assert_contains(&error, &["refused", "4 attempts", "1000 bytes"]);
}

#[test]
fn redirects_keep_the_range() {
    let fixture = Fixture::new();
    fs::write(fixture.part(), &fixture.content[..1000]).unwrap();
    let server = Server::start(vec![
        Response::new("302 Found").header("Location", "/elsewhere").content(b""),
        Response::rest(&fixture.content, 1000),
    ]);
    fixture.get(&server.url).unwrap();
    fixture.assert_complete();
    let requests = server.requests();
    assert_eq!(requests[1].path(), "/elsewhere");
    assert_eq!(ranges(&requests), [Some("bytes=1000-"), Some("bytes=1000-")]);
}

#[test]
fn content_encoding_is_ignored() {
    // Some servers send this header for a `.tar.gz` file itself.
    let fixture = Fixture::new();
    let server =
        Server::start(vec![Response::whole(&fixture.content).header("Content-Encoding", "gzip")]);
    fixture.get(&server.url).unwrap();
    fixture.assert_complete();
}

#[test]
fn too_much_content_is_rejected() {
    let fixture = Fixture::new();
    for response in [
        // The announced length is enough.
        Response::whole(&fixture.content).cut_after(1000),
        Response::new("200 OK").without_length(&fixture.content),
    ] {
        let server = Server::start(vec![response, Response::whole(&fixture.content)]);
        let mut wanted = fixture.download_of(&server.url);
        wanted.max_bytes = 199_999;
        let error = run(&wanted, &fixture.file()).unwrap_err();
        assert_contains(&error, &["more than 199999 bytes"]);
        fixture.assert_nothing();
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn content_of_maximum_size_is_accepted() {
    let fixture = Fixture::new();
    let server = Server::start(vec![Response::new("200 OK").without_length(&fixture.content)]);
    let mut wanted = fixture.download_of(&server.url);
    wanted.max_bytes = 200_000;
    run(&wanted, &fixture.file()).unwrap();
    fixture.assert_complete();
}

#[test]
fn a_second_run_at_the_same_time_is_rejected() {
    let fixture = Fixture::new();
    fs::write(fixture.part(), &fixture.content[..1000]).unwrap();
    let other = File::open(fixture.part()).unwrap();
    other.lock().unwrap();
    let error = fixture.get("http://127.0.0.1:1/data.bin").unwrap_err();
    assert_contains(&error, &["data.bin.part", "another run"]);
    assert!(fs::read(fixture.part()).unwrap() == fixture.content[..1000]);
}
