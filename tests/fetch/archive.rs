use std::fs::{self, File};
use std::path::PathBuf;

use lstmtext::fetch::{Extracted, Limits, extract_tar_gz};
use tar::EntryType;
use tempfile::TempDir;

use crate::tar_file::{Tar, gzip, header};

const LIMITS: Limits = Limits { max_entries: 100, max_bytes: 10_000 };

fn good() -> Tar {
    Tar::default()
        .directory("aclImdb/")
        .file("aclImdb/README", "read me")
        .directory("aclImdb/train/")
        .file("aclImdb/train/pos/0_9.txt", "good film")
        .file("aclImdb/train/neg/0_1.txt", "")
}

/// A directory with an archive, a target to extract to, and a directory outside the target that
/// must not change.
struct Fixture {
    root: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { root: TempDir::new().unwrap() };
        fs::create_dir(fixture.outside()).unwrap();
        fixture
    }

    fn with(tar: Tar) -> Self {
        Self::with_archive(&gzip(&tar.finish()))
    }

    fn with_archive(bytes: &[u8]) -> Self {
        let fixture = Self::new();
        fs::write(fixture.archive(), bytes).unwrap();
        fixture
    }

    fn archive(&self) -> PathBuf {
        self.root.path().join("a.tar.gz")
    }

    fn outside(&self) -> PathBuf {
        self.root.path().join("outside")
    }

    fn target(&self) -> PathBuf {
        self.root.path().join("data/aclImdb")
    }

    fn staging(&self) -> PathBuf {
        self.root.path().join("data/aclImdb.extracting")
    }

    fn extract(&self) -> Result<Extracted, String> {
        self.extract_within(&LIMITS)
    }

    fn extract_within(&self, limits: &Limits) -> Result<Extracted, String> {
        let target = self.target();
        extract_tar_gz(&self.archive(), "aclImdb", &target, limits, &mut |_| {})
            .map_err(|error| format!("{error:#}"))
    }

    /// Asserts that extraction fails with an error that contains `words` and the archive's name,
    /// and leaves nothing behind.
    fn assert_rejected(&self, words: &[&str]) {
        self.assert_rejected_within(&LIMITS, words);
    }

    fn assert_rejected_within(&self, limits: &Limits, words: &[&str]) {
        let error = self.extract_within(limits).unwrap_err();
        for word in words.iter().chain(&["a.tar.gz"]) {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
        self.assert_nothing_left();
    }

    fn assert_nothing_left(&self) {
        assert!(self.target().symlink_metadata().is_err());
        assert!(self.staging().symlink_metadata().is_err());
        assert_eq!(fs::read_dir(self.outside()).unwrap().count(), 0);
        let names: Vec<_> = fs::read_dir(self.root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["a.tar.gz", "data", "outside"].contains(&name.as_str()))
            .collect();
        assert!(names.is_empty(), "{names:?}");
    }

    fn assert_good(&self) {
        let target = self.target();
        let read = |name: &str| fs::read_to_string(target.join(name)).unwrap();
        assert_eq!(read("README"), "read me");
        assert_eq!(read("train/pos/0_9.txt"), "good film");
        assert_eq!(read("train/neg/0_1.txt"), "");
        assert!(!self.staging().exists());
    }
}

#[test]
fn valid_archives_are_extracted() {
    let fixture = Fixture::with(good());
    let mut seen = Vec::new();
    let extracted =
        extract_tar_gz(&fixture.archive(), "aclImdb", &fixture.target(), &LIMITS, &mut |files| {
            seen.push(files)
        })
        .unwrap();
    assert_eq!(extracted, Extracted { files: 3, bytes: 16 });
    assert!(seen.is_sorted());
    assert_eq!(seen.last(), Some(&3));
    fixture.assert_good();
}

#[test]
fn all_of_many_files_are_extracted() {
    let names: Vec<_> = (0..50).map(|number| format!("{number}.txt")).collect();
    let tar =
        names.iter().fold(Tar::default(), |tar, name| tar.file(&format!("./aclImdb/{name}"), name));
    let fixture = Fixture::with(tar);
    assert_eq!(fixture.extract().unwrap().files, 50);
    for name in names {
        let content = fs::read_to_string(fixture.target().join(&name)).unwrap();
        assert_eq!(content, name);
    }
}

#[test]
fn long_names_and_metadata_entries_are_supported() {
    let long = format!("aclImdb/{}/{}.txt", "a".repeat(90), "b".repeat(90));
    let tar = Tar::default()
        .entry(EntryType::XGlobalHeader, b"pax_global_header", b"")
        .long_named_file(long.as_bytes(), b"GNU")
        .entry(EntryType::XHeader, b"PaxHeaders/x", b"23 path=aclImdb/pax.md\n")
        .file("aclImdb/short", "POSIX");
    let fixture = Fixture::with(tar);
    assert_eq!(fixture.extract().unwrap().files, 2);
    let read = |name: &str| fs::read_to_string(fixture.target().join(name)).unwrap();
    assert_eq!(read(&long["aclImdb/".len()..]), "GNU");
    assert_eq!(read("pax.md"), "POSIX");
}

#[cfg(unix)]
#[test]
fn permissions_in_the_archive_are_ignored() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::with(good());
    fixture.extract().unwrap();
    let file = fs::metadata(fixture.target().join("README")).unwrap();
    let directory = fs::metadata(fixture.target().join("train")).unwrap();
    assert_eq!(file.permissions().mode() & 0o7111, 0);
    assert_eq!(directory.permissions().mode() & 0o7000, 0);
}

#[test]
fn absolute_paths_are_rejected() {
    let fixture = Fixture::new();
    let evil = fixture.outside().join("evil");
    let tar = good().long_named_file(evil.to_str().unwrap().as_bytes(), b"evil");
    fs::write(fixture.archive(), gzip(&tar.finish())).unwrap();
    fixture.assert_rejected(&["outside/evil", "absolute"]);
}

#[test]
fn parent_directories_in_names_are_rejected() {
    for name in
        ["../outside/evil", "aclImdb/../../../outside/evil", "aclImdb/train/../evil", "aclImdb/.."]
    {
        Fixture::with(good().file(name, "evil")).assert_rejected(&[name, "\"..\""]);
        Fixture::with(good().directory(name)).assert_rejected(&[name, "\"..\""]);
    }
}

#[test]
fn other_top_level_directories_are_rejected() {
    for name in ["evil", "aclImdb2/evil", "./evil"] {
        Fixture::with(good().file(name, "evil")).assert_rejected(&[name, "outside", "aclImdb"]);
    }
}

#[test]
fn a_file_in_place_of_the_top_level_directory_is_rejected() {
    Fixture::with(Tar::default().file("aclImdb", "evil"))
        .assert_rejected(&["\"aclImdb\"", "is a file"]);
}

#[test]
fn links_are_rejected() {
    for (kind, word) in [(EntryType::Symlink, "symbolic link"), (EntryType::Link, "hard link")] {
        let fixture = Fixture::new();
        let tar = good().link(kind, "aclImdb/link", &fixture.archive());
        fs::write(fixture.archive(), gzip(&tar.finish())).unwrap();
        fixture.assert_rejected(&["aclImdb/link", word]);
    }
}

#[test]
fn special_files_are_rejected() {
    for kind in [
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::new(b'Z'),
    ] {
        // The two sizes of a sparse file must agree.
        let mut header = header(kind, b"aclImdb/special", 0);
        if let Some(gnu) = header.as_gnu_mut() {
            gnu.set_real_size(0);
        }
        Fixture::with(good().block(header, b""))
            .assert_rejected(&["aclImdb/special", "neither a file nor a directory"]);
    }
}

#[test]
fn paths_through_a_link_in_the_archive_are_rejected() {
    let fixture = Fixture::new();
    let tar = good()
        .link(EntryType::Symlink, "aclImdb/link", &fixture.outside())
        .file("aclImdb/link/evil", "evil");
    fs::write(fixture.archive(), gzip(&tar.finish())).unwrap();
    fixture.assert_rejected(&["aclImdb/link"]);
}

#[cfg(unix)]
#[test]
fn leftover_links_are_removed_and_not_followed() {
    use std::os::unix::fs::symlink;
    let fixture = Fixture::with(good());
    let kept = fixture.outside().join("kept");
    fs::write(&kept, "kept").unwrap();
    fs::create_dir_all(fixture.staging()).unwrap();
    symlink(fixture.outside(), fixture.staging().join("train")).unwrap();
    fixture.extract().unwrap();
    fixture.assert_good();
    fs::remove_dir_all(fixture.target()).unwrap();

    symlink(fixture.outside(), fixture.staging()).unwrap();
    fixture.extract().unwrap();
    fixture.assert_good();
    assert!(fixture.target().symlink_metadata().unwrap().is_dir());
    assert_eq!(fs::read_dir(fixture.outside()).unwrap().count(), 1);
    assert_eq!(fs::read(kept).unwrap(), b"kept");
}

#[cfg(unix)]
#[test]
fn a_link_as_target_is_rejected() {
    let fixture = Fixture::with(good());
    fs::create_dir(fixture.root.path().join("data")).unwrap();
    for goal in [fixture.outside(), fixture.root.path().join("nowhere")] {
        std::os::unix::fs::symlink(&goal, fixture.target()).unwrap();
        let error = fixture.extract().unwrap_err();
        assert!(error.contains("already exists"), "{error}");
        fs::remove_file(fixture.target()).unwrap();
        fixture.assert_nothing_left();
    }
}

#[test]
fn an_existing_target_is_rejected_and_kept() {
    let fixture = Fixture::with(good());
    fs::create_dir_all(fixture.target()).unwrap();
    let error = fixture.extract().unwrap_err();
    assert!(error.contains("already exists; delete it"), "{error}");
    assert_eq!(fs::read_dir(fixture.target()).unwrap().count(), 0);
    fs::remove_dir(fixture.target()).unwrap();
    fixture.assert_nothing_left();
}

#[test]
fn duplicate_files_are_rejected() {
    for name in ["aclImdb/README", "./aclImdb/./README"] {
        Fixture::with(good().file(name, "other")).assert_rejected(&[name, "occurs twice"]);
    }
}

#[test]
fn a_file_and_a_directory_of_the_same_name_are_rejected() {
    Fixture::with(good().file("aclImdb/train", "evil"))
        .assert_rejected(&["aclImdb/train", "occurs twice"]);
    Fixture::with(good().directory("aclImdb/README")).assert_rejected(&["aclImdb/README"]);
    Fixture::with(good().file("aclImdb/README/evil", "evil"))
        .assert_rejected(&["aclImdb/README/evil"]);
}

#[test]
fn repeated_directories_are_accepted() {
    let fixture = Fixture::with(good().directory("aclImdb/train").directory("aclImdb/train/pos/"));
    fixture.extract().unwrap();
    fixture.assert_good();
}

#[test]
fn control_characters_in_names_are_rejected() {
    Fixture::with(good().file("aclImdb/evil\u{1b}[2J", "evil"))
        .assert_rejected(&["evil\\u{1b}[2J", "control character"]);
    Fixture::with(good().long_named_file(b"aclImdb/evil\0.txt", b"evil"))
        .assert_rejected(&["evil\\0.txt", "its name contains a NUL"]);
}

#[test]
fn names_that_are_not_unicode_are_rejected() {
    Fixture::with(good().entry(EntryType::Regular, b"aclImdb/\xff\xfe", b"evil"))
        .assert_rejected(&["\"aclImdb/", "UTF-8"]);
}

#[test]
fn long_names_are_truncated_in_errors() {
    let name = format!("evil{}", "x".repeat(5000));
    let error =
        Fixture::with(good().long_named_file(name.as_bytes(), b"evil")).extract().unwrap_err();
    assert!(error.len() < 500, "{error}");
}

#[test]
fn truncated_archives_are_rejected() {
    let whole = gzip(&good().finish());
    for length in [0, 5, 20, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        Fixture::with_archive(&whole[..length]).assert_rejected(&["download it again"]);
    }
}

#[test]
fn truncated_tar_files_are_rejected() {
    // The file ends in zeros, like the end marker.
    let content = format!("{}{}", "x".repeat(10), "\0".repeat(590));
    let whole = good().file("aclImdb/last", &content).finish();
    let last_header = whole.len() - 1024 - 1024 - 512;
    for length in [last_header + 512, last_header + 700] {
        Fixture::with_archive(&gzip(&whole[..length])).assert_rejected(&[
            "aclImdb/last",
            "of 600 bytes",
            "download it again",
        ]);
    }
    for length in [0, last_header, last_header + 100, last_header + 512 + 1024, whole.len() - 1] {
        Fixture::with_archive(&gzip(&whole[..length])).assert_rejected(&["download it again"]);
    }
}

#[test]
fn damaged_archives_are_rejected() {
    let whole = gzip(&good().finish());
    let mut wrong_checksum = whole.clone();
    wrong_checksum[whole.len() - 6] ^= 1;
    let mut trailing_garbage = whole.clone();
    trailing_garbage.extend(b"garbage");
    let mut tar = good().finish();
    tar[0] ^= 1;
    for bytes in [
        wrong_checksum,
        trailing_garbage,
        b"<html>Sign in to this network</html>".to_vec(),
        gzip(&tar),
        gzip(&[b'x'; 4096]),
    ] {
        Fixture::with_archive(&bytes).assert_rejected(&["download it again"]);
    }
}

#[test]
fn archives_without_files_are_rejected() {
    Fixture::with(Tar::default().directory("aclImdb")).assert_rejected(&["no files"]);
}

#[test]
fn a_missing_archive_is_an_error() {
    Fixture::new().assert_rejected(&["cannot open"]);
}

#[test]
fn too_many_entries_are_rejected() {
    // Three files and three directories below the top-level one.
    let just_enough = Limits { max_entries: 6, ..LIMITS };
    let fixture = Fixture::with(good());
    fixture.extract_within(&just_enough).unwrap();

    let fixture = Fixture::with(good().file("aclImdb/more", ""));
    fixture.assert_rejected_within(&just_enough, &["aclImdb/more", "6 files and directories"]);
    let fixture = Fixture::with(good().directory("aclImdb/more"));
    fixture.assert_rejected_within(&just_enough, &["aclImdb/more", "6 files and directories"]);
    let fixture = Fixture::with(Tar::default().file("aclImdb/a/b/c/d/e/f/g/h", ""));
    fixture.assert_rejected_within(&just_enough, &["a/b/c/d/e/f/g/h", "6 files and directories"]);
}

#[test]
fn too_many_bytes_are_rejected() {
    let just_enough = Limits { max_bytes: 20, ..LIMITS };
    let fixture = Fixture::with(good().file("aclImdb/more", "1234"));
    assert_eq!(fixture.extract_within(&just_enough).unwrap().bytes, 20);

    let fixture = Fixture::with(good().file("aclImdb/more", "12345"));
    fixture.assert_rejected_within(&just_enough, &["aclImdb/more", "20 bytes"]);
    let huge = header(EntryType::Regular, b"aclImdb/more", u64::MAX / 2);
    let fixture = Fixture::with(good().block(huge, b""));
    fixture.assert_rejected_within(&just_enough, &["aclImdb/more", "20 bytes"]);
}

#[test]
fn decompression_bombs_in_metadata_and_padding_are_rejected() {
    let bomb = vec![0; 4_000_000];
    let mut padded = good().finish();
    padded.extend(&bomb);
    for tar in [
        padded,
        good().long_named_file(&bomb, b"").finish(),
        good().entry(EntryType::Directory, b"aclImdb/directory", &bomb).finish(),
    ] {
        Fixture::with_archive(&gzip(&tar)).assert_rejected(&["aclImdb/", "unpacks to more than"]);
    }
}

#[test]
fn leftovers_of_a_killed_run_are_removed() {
    let fixture = Fixture::with(good());
    fs::create_dir_all(fixture.staging().join("train/pos")).unwrap();
    fs::write(fixture.staging().join("train/pos/0_9.txt"), "go").unwrap();
    fs::write(fixture.staging().join("other"), "other").unwrap();
    fixture.extract().unwrap();
    fixture.assert_good();
    assert!(!fixture.target().join("other").exists());
}

#[test]
fn a_failed_extraction_can_be_repeated() {
    let fixture = Fixture::with(good().file("evil", "evil"));
    fixture.assert_rejected(&["evil"]);
    fs::write(fixture.archive(), gzip(&good().finish())).unwrap();
    fixture.extract().unwrap();
    fixture.assert_good();
}

#[test]
fn a_second_run_at_the_same_time_is_rejected() {
    let fixture = Fixture::with(good());
    let other = File::open(fixture.archive()).unwrap();
    other.lock().unwrap();
    fixture.assert_rejected(&["another run"]);
}
