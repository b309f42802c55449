//! `lstmtext data fetch` from a server in this process.

use lstmtext::io::files::sha256;
use predicates::prelude::*;
use predicates::str::contains;
use tar::{Builder, Header};

use crate::common::{TestDir, assert_fails, checkout, read, stdout};
use crate::data::gzip;

// The library tests use more of it.
#[allow(dead_code)]
#[path = "../fetch/server.rs"]
mod server;

use server::{Response, Server};

/// Creates an archive with these files. Any name is allowed.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        // `set_path` rejects `..`.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    gzip(&builder.into_inner().unwrap())
}

fn good_archive() -> Vec<u8> {
    archive(&[
        ("aclImdb/README", "read me"),
        ("aclImdb/train/pos/0_9.txt", "a good film"),
        ("aclImdb/train/neg/0_1.txt", "a bad film"),
        ("aclImdb/test/pos/0_10.txt", "a very good film"),
    ])
}

fn hash(bytes: &[u8]) -> String {
    sha256(bytes).unwrap()
}

fn fetch(dir: &TestDir, url: &str, hash: &str) -> assert_cmd::Command {
    let line = format!("data fetch imdb --to data/aclImdb --url {url} --sha256 {hash}");
    let mut command = dir.lstmtext(&line);
    // These proxies must not be used for a loopback address.
    command.env("http_proxy", "http://127.0.0.1:9").env("HTTP_PROXY", "http://127.0.0.1:9");
    command
}

#[test]
fn archives_are_downloaded_and_extracted() {
    let (dir, archive) = (TestDir::new(), good_archive());
    let server = Server::start(vec![Response::whole(&archive)]);
    let done = fetch(&dir, &server.url, &hash(&archive)).assert().success();
    assert_eq!(stdout(&done), "data/aclImdb\n");
    done.stderr(contains(server.url.clone()).and(contains("4 files")));
    assert_eq!(dir.read("data/aclImdb/train/pos/0_9.txt"), "a good film");
    assert_eq!(dir.read("data/aclImdb/test/pos/0_10.txt"), "a very good film");
    assert_eq!(dir.names("data"), ["aclImdb"], "the archive is deleted");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn the_babi_config_trains_on_the_default_directory() {
    let task = |who: &str| {
        let places = ["garden", "kitchen", "office", "hall", "attic", "cellar"];
        let story = |place: &&str| format!("1 {who} went to the {place}.\n2 Where? \t{place}\t1\n");
        places.iter().map(story).collect::<String>()
    };
    let (train, test) = (task("Mary") + &task("John"), task("Sandra"));
    let archive = archive(&[
        ("tasks_1-20_v1-2/en/qa1_single-supporting-fact_train.txt", &train),
        ("tasks_1-20_v1-2/en/qa1_single-supporting-fact_test.txt", &test),
    ]);
    let config = checkout().join("configs/two_input_babi.yaml");
    let dir = TestDir::new().file("babi.yaml", read(&config));
    let server = Server::start(vec![Response::whole(&archive)]);
    let line = format!("data fetch babi --url {} --sha256 {}", server.url, hash(&archive));
    let done = dir.lstmtext(&line).assert().success();
    assert_eq!(stdout(&done), "data/babi\n");
    let done = dir.train("babi.yaml --set train.epochs=1 --set data.split.validation=2");
    done.stderr(contains("10 training, 2 validation, 6 test examples"));
}

#[test]
fn plain_files_are_downloaded_to_a_directory() {
    let files = ["a good film\t0,2\tx\n", "a bad film\t\ty\n"];
    let dir = TestDir::new();
    let server = Server::start(files.iter().map(|file| Response::whole(file.as_bytes())).collect());
    let hashes = files.map(|file| hash(file.as_bytes())).join(",");
    let line = format!("data fetch goemotions --url {}/data/ --sha256 {hashes}", server.url);
    assert_eq!(stdout(&dir.lstmtext(&line).assert().success()), "data/goemotions\n");
    assert_eq!(dir.names("data"), ["goemotions"]);
    assert_eq!(dir.read("data/goemotions/train.tsv"), files[0]);
    assert_eq!(dir.read("data/goemotions/dev.tsv"), files[1]);
    let again = dir.lstmtext(&line).assert().success();
    again.stderr(contains("already exists"));

    let dir = TestDir::new();
    let wrong = format!("data fetch goemotions --url http://127.0.0.1:9 --sha256 {}", hash(b"x"));
    let message = "--sha256: expected 2 checksums, one for each file, found 1";
    assert_fails(dir.lstmtext(&wrong), 2, &[message]);
    assert!(!dir.path("data").exists());
}

#[test]
fn fetched_data_can_be_used_for_training() {
    let reviews: Vec<(String, String)> = crate::common::examples(&["neg", "pos"], 200, 1)
        .into_iter()
        .enumerate()
        .map(|(number, example)| {
            (format!("aclImdb/train/{}/{number}_1.txt", example.label), example.text)
        })
        .collect();
    let files: Vec<(&str, &str)> =
        reviews.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let (dir, archive) = (TestDir::with_data(), archive(&files));
    let server = Server::start(vec![Response::whole(&archive)]);
    fetch(&dir, &server.url, &hash(&archive)).assert().success();
    let done = dir.train("small.yaml --set data.train=data/aclImdb/train --set train.epochs=1");
    done.stderr(contains("180 training, 20 validation, 200 test examples; labels neg, pos"));
}

#[test]
fn lost_connections_are_resumed() {
    let (dir, archive) = (TestDir::new(), good_archive());
    let server = Server::start(vec![
        Response::whole(&archive).cut_after(archive.len() / 2),
        Response::rest(&archive, archive.len() / 2),
    ]);
    fetch(&dir, &server.url, &hash(&archive)).assert().success();
    let requests = server.requests();
    let range = format!("bytes={}-", archive.len() / 2);
    assert_eq!(requests[1].header("Range"), Some(&*range));
    assert_eq!(dir.read("data/aclImdb/README"), "read me");
}

#[test]
fn an_archive_with_a_wrong_checksum_is_deleted() {
    let (dir, archive) = (TestDir::new(), good_archive());
    let server = Server::start(vec![Response::whole(&archive)]);
    let expected = hash(b"something else");
    let command = fetch(&dir, &server.url, &expected);
    assert_fails(command, 1, &[&server.url, &hash(&archive), &expected]);
    assert_eq!(dir.names("data"), Vec::<String>::new());
}

#[test]
fn archives_with_paths_outside_their_directory_are_rejected() {
    let dir = TestDir::new();
    let absolute = dir.path("escaped").display().to_string();
    for name in ["../escaped", "aclImdb/../../escaped", &absolute, "other/escaped"] {
        let archive = archive(&[("aclImdb/README", "read me"), (name, "escaped")]);
        let server = Server::start(vec![Response::whole(&archive)]);
        let command = fetch(&dir, &server.url, &hash(&archive));
        assert_fails(command, 1, &["escaped", "aclImdb_v1.tar.gz"]);
        // The download matches its checksum, so it is kept.
        assert_eq!(dir.names(""), ["data"], "{name}");
        assert_eq!(dir.names("data"), ["aclImdb_v1.tar.gz"], "{name}");
        std::fs::remove_dir_all(dir.path("data")).unwrap();
    }
}

#[test]
fn an_existing_directory_needs_no_server() {
    let dir = TestDir::new().file("data/aclImdb/train/pos/mine.txt", "mine");
    let server = Server::start(vec![Response::whole(&good_archive())]);
    let done = fetch(&dir, &server.url, &hash(&good_archive())).assert().success();
    assert_eq!(stdout(&done), "data/aclImdb\n");
    done.stderr(contains("already exists"));
    assert_eq!(server.requests().len(), 0);
    assert_eq!(dir.read("data/aclImdb/train/pos/mine.txt"), "mine");
}

#[test]
fn http_errors_are_reported() {
    let dir = TestDir::new();
    let server = Server::start(vec![Response::new("404 Not Found")]);
    let command = fetch(&dir, &server.url, &hash(b""));
    assert_fails(command, 1, &["404 Not Found", "by hand", "data/aclImdb_v1.tar.gz"]);
    assert_eq!(dir.names("data"), Vec::<String>::new());
}
