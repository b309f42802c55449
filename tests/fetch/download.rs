use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lstmtext::fetch::{Download, Patience, download};
use lstmtext::io::files::sha256_of;
use tempfile::TempDir;

use crate::server::{Reply, Request, Server};

/// More than one buffer, and no two stretches alike.
fn content() -> Vec<u8> {
    (0..200_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A place to download to, and what is expected there.
struct Place {
    folder: TempDir,
    content: Vec<u8>,
}

impl Place {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), content: content() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("data.bin")
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("data.bin.part")
    }

    fn download_of(&self, url: &str) -> Download {
        let sample = self.folder.path().join("sample");
        fs::write(&sample, &self.content).unwrap();
        let sha256 = sha256_of(&sample).unwrap();
        fs::remove_file(&sample).unwrap();
        Download {
            url: url.to_owned(),
            sha256,
            max_bytes: 1_000_000,
            patience: Patience {
                connect: Duration::from_secs(5),
                silence: Duration::from_secs(5),
                pauses: vec![Duration::from_millis(1); 3],
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

/// Asserts that an error says all of this.
fn assert_says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn sha256_is_the_standard_one() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("abc");
    fs::write(&file, "abc").unwrap();
    assert_eq!(
        sha256_of(&file).unwrap(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn plain_download() {
    let place = Place::new();
    let server = Server::start(vec![Reply::whole(&place.content)]);
    let file = place.folder.path().join("new/folder/data.bin");
    let mut seen = Vec::new();
    download(&place.download_of(&server.url), &file, &mut |received, total| {
        seen.push((received, total))
    })
    .unwrap();

    assert!(fs::read(&file).unwrap() == place.content);
    assert!(!file.with_file_name("data.bin.part").exists());
    let size = place.content.len() as u64;
    assert_eq!(seen.first(), Some(&(0, Some(size))));
    assert_eq!(seen.last(), Some(&(size, Some(size))));
    assert!(seen.is_sorted() && seen.len() > 3, "{seen:?}");
    let requests = server.requests();
    assert_eq!(ranges(&requests), [None]);
    assert_eq!(requests[0].header("accept-encoding"), Some("identity"));
}

#[test]
fn loopback_needs_no_proxy() {
    // Changing this process's environment would reach the other tests.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "download::plain_download"])
        .env("ALL_PROXY", "http://127.0.0.1:1")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_says(&said, &["1 passed"]);
}

#[test]
fn upper_case_checksum_is_the_same() {
    let place = Place::new();
    let server = Server::start(vec![Reply::whole(&place.content)]);
    let mut wanted = place.download_of(&server.url);
    wanted.sha256.make_ascii_uppercase();
    run(&wanted, &place.file()).unwrap();
    run(&wanted, &place.file()).unwrap();
}

#[test]
fn cut_connection_continues_at_the_next_byte() {
    let place = Place::new();
    let server = Server::start(vec![
        Reply::whole(&place.content).cut_after(70_001),
        Reply::rest(&place.content, 70_001).cut_after(50_000),
        Reply::rest(&place.content, 120_001),
    ]);
    let mut last = None;
    download(&place.download_of(&server.url), &place.file(), &mut |received, total| {
        last = Some((received, total))
    })
    .unwrap();
    place.assert_complete();
    let requests = server.requests();
    assert_eq!(ranges(&requests), [None, Some("bytes=70001-"), Some("bytes=120001-")]);
    assert_eq!(last, Some((200_000, Some(200_000))));
}

#[test]
fn connection_cut_before_the_answer_is_repeated() {
    let place = Place::new();
    let server = Server::start(vec![Reply::none(), Reply::whole(&place.content)]);
    place.get(&server.url).unwrap();
    place.assert_complete();
}

#[test]
fn silent_server_is_left_and_asked_again() {
    let place = Place::new();
    let server = Server::start(vec![
        Reply::whole(&place.content).silent_after(1000),
        Reply::rest(&place.content, 1000),
    ]);
    let mut wanted = place.download_of(&server.url);
    wanted.patience.silence = Duration::from_millis(150);
    run(&wanted, &place.file()).unwrap();
    place.assert_complete();
    assert_eq!(ranges(&server.requests()), [None, Some("bytes=1000-")]);
}

#[test]
fn unmeasured_rest_that_is_cut_is_not_taken_for_the_end() {
    let place = Place::new();
    let server = Server::start(vec![
        Reply::whole(&place.content).cut_after(1000),
        Reply::new("206 Partial Content")
            .header("Content-Range", "bytes 1000-199999/200000")
            .unmeasured(&place.content[1000..2000]),
        Reply::rest(&place.content, 2000),
    ]);
    place.get(&server.url).unwrap();
    place.assert_complete();
    assert_eq!(ranges(&server.requests()), [None, Some("bytes=1000-"), Some("bytes=2000-")]);
}

#[test]
fn server_without_ranges_starts_anew() {
    let place = Place::new();
    let server = Server::start(vec![
        Reply::whole(&place.content).cut_after(1000),
        Reply::whole(&place.content),
    ]);
    place.get(&server.url).unwrap();
    place.assert_complete();
    assert_eq!(ranges(&server.requests()), [None, Some("bytes=1000-")]);
}

#[test]
fn whole_answer_replaces_a_longer_part() {
    let place = Place::new();
    fs::write(place.part(), vec![b'x'; 300_000]).unwrap();
    let server = Server::start(vec![Reply::whole(&place.content)]);
    place.get(&server.url).unwrap();
    place.assert_complete();
    assert_eq!(ranges(&server.requests()), [Some("bytes=300000-")]);
}

#[test]
fn range_from_elsewhere_starts_anew() {
    let place = Place::new();
    for wrong in [
        Reply::rest(&place.content, 999),
        Reply::new("206 Partial Content").content(&place.content[1000..]),
        Reply::new("416 Range Not Satisfiable").header("Content-Range", "bytes */1000"),
    ] {
        let place = Place::new();
        fs::write(place.part(), &place.content[..1000]).unwrap();
        let server = Server::start(vec![wrong, Reply::whole(&place.content)]);
        let mut first = None;
        download(&place.download_of(&server.url), &place.file(), &mut |received, total| {
            first = first.or(Some((received, total)))
        })
        .unwrap();
        place.assert_complete();
        // Nothing of the wrong answer was taken.
        assert_eq!(first, Some((0, Some(200_000))));
        assert_eq!(ranges(&server.requests()), [Some("bytes=1000-"), None]);
    }
}

#[test]
fn interrupted_run_is_continued() {
    let place = Place::new();
    fs::write(place.part(), &place.content[..150_000]).unwrap();
    let server = Server::start(vec![Reply::rest(&place.content, 150_000)]);
    place.get(&server.url).unwrap();
    place.assert_complete();
    assert_eq!(ranges(&server.requests()), [Some("bytes=150000-")]);
}

#[test]
fn complete_part_needs_no_request() {
    let place = Place::new();
    fs::write(place.part(), &place.content).unwrap();
    place.get("http://127.0.0.1:1/data.bin").unwrap();
    place.assert_complete();
}

#[test]
fn corrupt_part_is_thrown_away() {
    let place = Place::new();
    fs::write(place.part(), vec![b'x'; 1000]).unwrap();
    let server =
        Server::start(vec![Reply::rest(&place.content, 1000), Reply::whole(&place.content)]);
    place.get(&server.url).unwrap();
    place.assert_complete();
    assert_eq!(ranges(&server.requests()), [Some("bytes=1000-"), None]);
}

#[test]
fn wrong_content_is_thrown_away_and_reported() {
    let place = Place::new();
    let server = Server::start(vec![Reply::whole(b"abc"), Reply::whole(b"abc")]);
    let url = server.url.clone();
    let error = place.get(&url).unwrap_err();
    let expected = place.download_of(&url).sha256;
    let found = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_says(&error, &[&url, &expected, found]);
    place.assert_nothing();
    assert_eq!(ranges(&server.requests()), [None]);
}

#[test]
fn wrong_content_after_a_fresh_start_is_final() {
    let place = Place::new();
    let mut wrong = place.content.clone();
    wrong[5] ^= 1;
    fs::write(place.part(), &wrong[..1000]).unwrap();
    let server = Server::start(vec![
        Reply::rest(&wrong, 1000),
        Reply::whole(&wrong).cut_after(500),
        Reply::rest(&wrong, 500),
        Reply::whole(&place.content),
    ]);
    let error = place.get(&server.url).unwrap_err();
    assert_says(&error, &["is not the expected file"]);
    place.assert_nothing();
    assert_eq!(ranges(&server.requests()), [Some("bytes=1000-"), None, Some("bytes=500-")]);
}

#[test]
fn existing_good_file_makes_no_request() {
    let place = Place::new();
    fs::write(place.file(), &place.content).unwrap();
    // Nor does it need a part: this one could not be opened.
    fs::create_dir(place.part()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    place.get(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(fs::read(place.file()).unwrap() == place.content);
}

#[test]
fn existing_other_file_is_kept_and_reported() {
    let place = Place::new();
    fs::write(place.file(), "mine").unwrap();
    let server = Server::start(vec![Reply::whole(&place.content)]);
    let error = place.get(&server.url).unwrap_err();
    let path = place.file().display().to_string();
    assert_says(&error, &[&path, "delete it"]);
    assert_eq!(fs::read(place.file()).unwrap(), b"mine");
    place.assert_no_part();
    assert!(server.requests().is_empty());
}

#[test]
fn http_errors_are_final_and_reported() {
    for status in ["404 Not Found", "500 Internal Server Error"] {
        let place = Place::new();
        let server =
            Server::start(vec![Reply::new(status).content(b"sorry"), Reply::whole(&place.content)]);
        let url = server.url.clone();
        let error = place.get(&url).unwrap_err();
        let file = place.file().display().to_string();
        assert_says(&error, &[status, &url, "by hand", &file]);
        place.assert_nothing();
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn http_error_keeps_the_part() {
    let place = Place::new();
    fs::write(place.part(), &place.content[..1000]).unwrap();
    let server = Server::start(vec![Reply::new("503 Service Unavailable").content(b"")]);
    let error = place.get(&server.url).unwrap_err();
    assert_says(&error, &["503"]);
    assert!(fs::read(place.part()).unwrap() == place.content[..1000]);
}

#[test]
fn refused_connection_is_reported() {
    let place = Place::new();
    let url = "http://127.0.0.1:1/data.bin";
    let error = place.get(url).unwrap_err();
    let file = place.file().display().to_string();
    assert_says(&error, &[url, "refused", "by hand", &file]);
    assert!(!error.contains("attempts"), "{error}");
    place.assert_nothing();
}

#[test]
fn unknown_host_is_reported() {
    let place = Place::new();
    // A label this long is no name, so nobody is asked about it.
    let url = format!("http://{}.invalid/data.bin", "x".repeat(70));
    let error = place.get(&url).unwrap_err();
    let file = place.file().display().to_string();
    assert_says(&error, &[&url, "lookup", "by hand", &file]);
    place.assert_nothing();
}

#[test]
fn too_many_cuts_end_with_the_part_kept() {
    let place = Place::new();
    let server = Server::start(
        (0..5)
            .map(|turn| match turn {
                0 => Reply::whole(&place.content).cut_after(1000),
                turn => Reply::rest(&place.content, turn * 1000).cut_after(1000),
            })
            .collect(),
    );
    let error = place.get(&server.url).unwrap_err();
    assert_says(&error, &["4 attempts", "4000 bytes", "data.bin.part"]);
    assert!(fs::read(place.part()).unwrap() == place.content[..4000]);
    assert!(!place.file().exists());
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn server_that_goes_away_is_tried_again_before_giving_up() {
    let place = Place::new();
    let server = Server::start(vec![Reply::whole(&place.content).cut_after(1000)]);
    let error = place.get(&server.url).unwrap_err();
    assert_says(&error, &["refused", "4 attempts", "1000 bytes"]);
}

#[test]
fn redirect_is_followed_with_the_range() {
    let place = Place::new();
    fs::write(place.part(), &place.content[..1000]).unwrap();
    let server = Server::start(vec![
        Reply::new("302 Found").header("Location", "/elsewhere").content(b""),
        Reply::rest(&place.content, 1000),
    ]);
    place.get(&server.url).unwrap();
    place.assert_complete();
    let requests = server.requests();
    assert_eq!(requests[1].path(), "/elsewhere");
    assert_eq!(ranges(&requests), [Some("bytes=1000-"), Some("bytes=1000-")]);
}

#[test]
fn content_that_is_called_compressed_is_kept_as_it_is() {
    // Some servers say so about a `.tar.gz` file itself.
    let place = Place::new();
    let server =
        Server::start(vec![Reply::whole(&place.content).header("Content-Encoding", "gzip")]);
    place.get(&server.url).unwrap();
    place.assert_complete();
}

#[test]
fn too_much_content_is_refused() {
    let place = Place::new();
    for reply in [
        // What is announced is not even waited for.
        Reply::whole(&place.content).cut_after(1000),
        Reply::new("200 OK").unmeasured(&place.content),
    ] {
        let server = Server::start(vec![reply, Reply::whole(&place.content)]);
        let mut wanted = place.download_of(&server.url);
        wanted.max_bytes = 199_999;
        let error = run(&wanted, &place.file()).unwrap_err();
        assert_says(&error, &["more than 199999 bytes"]);
        place.assert_nothing();
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn largest_allowed_content_is_taken() {
    let place = Place::new();
    let server = Server::start(vec![Reply::new("200 OK").unmeasured(&place.content)]);
    let mut wanted = place.download_of(&server.url);
    wanted.max_bytes = 200_000;
    run(&wanted, &place.file()).unwrap();
    place.assert_complete();
}

#[test]
fn second_run_at_the_same_time_is_refused() {
    let place = Place::new();
    fs::write(place.part(), &place.content[..1000]).unwrap();
    let other = File::open(place.part()).unwrap();
    other.lock().unwrap();
    let error = place.get("http://127.0.0.1:1/data.bin").unwrap_err();
    assert_says(&error, &["data.bin.part", "another run"]);
    assert!(fs::read(place.part()).unwrap() == place.content[..1000]);
}
