use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use lstmtext::fetch::{Extracted, Limits, extract_tar_gz};
use tar::{EntryType, Header};
use tempfile::TempDir;

const LIMITS: Limits = Limits { max_entries: 100, max_bytes: 10_000 };

/// A tar file made without the tar crate's writer, which refuses what is
/// needed here.
#[derive(Default)]
struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name.as_bytes(), content.as_bytes())
    }

    fn folder(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name.as_bytes(), b"")
    }

    fn link(self, kind: EntryType, name: &str, target: &Path) -> Self {
        let mut header = header(kind, name.as_bytes(), 0);
        header.set_link_name(target).unwrap();
        self.block(header, b"")
    }

    /// A file whose name is in an entry of its own, as GNU tar does it.
    fn long_named_file(self, name: &[u8], content: &[u8]) -> Self {
        let mut terminated = name.to_vec();
        terminated.push(0);
        self.entry(EntryType::GNULongName, b"././@LongLink", &terminated).entry(
            EntryType::Regular,
            b"aclImdb/short",
            content,
        )
    }

    fn entry(self, kind: EntryType, name: &[u8], content: &[u8]) -> Self {
        let header = header(kind, name, content.len() as u64);
        self.block(header, content)
    }

    fn block(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(content);
        let padded = self.bytes.len().next_multiple_of(512);
        self.bytes.resize(padded, 0);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

fn header(kind: EntryType, name: &[u8], size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o6777);
    header
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn good() -> Tar {
    Tar::default()
        .folder("aclImdb/")
        .file("aclImdb/README", "read me")
        .folder("aclImdb/train/")
        .file("aclImdb/train/pos/0_9.txt", "good film")
        .file("aclImdb/train/neg/0_1.txt", "")
}

/// A folder with an archive in it, a place to extract to, and a folder that
/// must stay as it is.
struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { root: TempDir::new().unwrap() };
        fs::create_dir(place.outside()).unwrap();
        place
    }

    fn with(tar: Tar) -> Self {
        Self::with_archive(&gzip(&tar.finish()))
    }

    fn with_archive(bytes: &[u8]) -> Self {
        let place = Self::new();
        fs::write(place.archive(), bytes).unwrap();
        place
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

    /// Asserts that extracting fails, says all of `words` and the archive's
    /// name, and leaves nothing anywhere.
    fn assert_refused(&self, words: &[&str]) {
        self.assert_refused_within(&LIMITS, words);
    }

    fn assert_refused_within(&self, limits: &Limits, words: &[&str]) {
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
fn good_archive() {
    let place = Place::with(good());
    let mut seen = Vec::new();
    let extracted =
        extract_tar_gz(&place.archive(), "aclImdb", &place.target(), &LIMITS, &mut |files| {
            seen.push(files)
        })
        .unwrap();
    assert_eq!(extracted, Extracted { files: 3, bytes: 16 });
    assert!(seen.is_sorted());
    assert_eq!(seen.last(), Some(&3));
    place.assert_good();
}

#[test]
fn many_files_are_all_there() {
    let names: Vec<_> = (0..50).map(|number| format!("{number}.txt")).collect();
    let tar =
        names.iter().fold(Tar::default(), |tar, name| tar.file(&format!("./aclImdb/{name}"), name));
    let place = Place::with(tar);
    assert_eq!(place.extract().unwrap().files, 50);
    for name in names {
        let content = fs::read_to_string(place.target().join(&name)).unwrap();
        assert_eq!(content, name);
    }
}

#[test]
fn long_names_and_remarks_are_understood() {
    let long = format!("aclImdb/{}/{}.txt", "a".repeat(90), "b".repeat(90));
    let tar = Tar::default()
        .entry(EntryType::XGlobalHeader, b"pax_global_header", b"")
        .long_named_file(long.as_bytes(), b"GNU")
        .entry(EntryType::XHeader, b"PaxHeaders/x", b"23 path=aclImdb/pax.md\n")
        .file("aclImdb/short", "POSIX");
    let place = Place::with(tar);
    assert_eq!(place.extract().unwrap().files, 2);
    let read = |name: &str| fs::read_to_string(place.target().join(name)).unwrap();
    assert_eq!(read(&long["aclImdb/".len()..]), "GNU");
    assert_eq!(read("pax.md"), "POSIX");
}

#[cfg(unix)]
#[test]
fn permissions_in_the_archive_are_ignored() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with(good());
    place.extract().unwrap();
    let file = fs::metadata(place.target().join("README")).unwrap();
    let folder = fs::metadata(place.target().join("train")).unwrap();
    assert_eq!(file.permissions().mode() & 0o7111, 0);
    assert_eq!(folder.permissions().mode() & 0o7000, 0);
}

#[test]
fn absolute_path_is_refused() {
    let place = Place::new();
    let evil = place.outside().join("evil");
    let tar = good().long_named_file(evil.to_str().unwrap().as_bytes(), b"evil");
    fs::write(place.archive(), gzip(&tar.finish())).unwrap();
    place.assert_refused(&["outside/evil", "absolute"]);
}

#[test]
fn way_up_is_refused() {
    for name in
        ["../outside/evil", "aclImdb/../../../outside/evil", "aclImdb/train/../evil", "aclImdb/.."]
    {
        Place::with(good().file(name, "evil")).assert_refused(&[name, "\"..\""]);
        Place::with(good().folder(name)).assert_refused(&[name, "\"..\""]);
    }
}

#[test]
fn other_top_folder_is_refused() {
    for name in ["evil", "aclImdb2/evil", "./evil"] {
        Place::with(good().file(name, "evil")).assert_refused(&[name, "outside", "aclImdb"]);
    }
}

#[test]
fn top_folder_that_is_a_file_is_refused() {
    Place::with(Tar::default().file("aclImdb", "evil"))
        .assert_refused(&["\"aclImdb\"", "is a file"]);
}

#[test]
fn links_are_refused() {
    for (kind, word) in [(EntryType::Symlink, "symbolic link"), (EntryType::Link, "hard link")] {
        let place = Place::new();
        let tar = good().link(kind, "aclImdb/link", &place.archive());
        fs::write(place.archive(), gzip(&tar.finish())).unwrap();
        place.assert_refused(&["aclImdb/link", word]);
    }
}

#[test]
fn special_files_are_refused() {
    for kind in [
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::new(b'Z'),
    ] {
        // A sparse file's size is given twice and must agree.
        let mut header = header(kind, b"aclImdb/special", 0);
        if let Some(gnu) = header.as_gnu_mut() {
            gnu.set_real_size(0);
        }
        Place::with(good().block(header, b""))
            .assert_refused(&["aclImdb/special", "neither a file nor a folder"]);
    }
}

#[test]
fn path_through_a_link_in_the_archive_is_refused() {
    let place = Place::new();
    let tar = good()
        .link(EntryType::Symlink, "aclImdb/link", &place.outside())
        .file("aclImdb/link/evil", "evil");
    fs::write(place.archive(), gzip(&tar.finish())).unwrap();
    place.assert_refused(&["aclImdb/link"]);
}

#[cfg(unix)]
#[test]
fn link_left_in_the_way_is_removed_and_not_followed() {
    use std::os::unix::fs::symlink;
    let place = Place::with(good());
    let kept = place.outside().join("kept");
    fs::write(&kept, "kept").unwrap();
    fs::create_dir_all(place.staging()).unwrap();
    symlink(place.outside(), place.staging().join("train")).unwrap();
    place.extract().unwrap();
    place.assert_good();
    fs::remove_dir_all(place.target()).unwrap();

    symlink(place.outside(), place.staging()).unwrap();
    place.extract().unwrap();
    place.assert_good();
    assert!(place.target().symlink_metadata().unwrap().is_dir());
    assert_eq!(fs::read_dir(place.outside()).unwrap().count(), 1);
    assert_eq!(fs::read(kept).unwrap(), b"kept");
}

#[cfg(unix)]
#[test]
fn target_that_is_a_link_is_refused() {
    let place = Place::with(good());
    fs::create_dir(place.root.path().join("data")).unwrap();
    for goal in [place.outside(), place.root.path().join("nowhere")] {
        std::os::unix::fs::symlink(&goal, place.target()).unwrap();
        let error = place.extract().unwrap_err();
        assert!(error.contains("exists already"), "{error}");
        fs::remove_file(place.target()).unwrap();
        place.assert_nothing_left();
    }
}

#[test]
fn existing_target_is_refused_and_kept() {
    let place = Place::with(good());
    fs::create_dir_all(place.target()).unwrap();
    let error = place.extract().unwrap_err();
    assert!(error.contains("exists already; delete it"), "{error}");
    assert_eq!(fs::read_dir(place.target()).unwrap().count(), 0);
    fs::remove_dir(place.target()).unwrap();
    place.assert_nothing_left();
}

#[test]
fn duplicate_file_is_refused() {
    for name in ["aclImdb/README", "./aclImdb/./README"] {
        Place::with(good().file(name, "other")).assert_refused(&[name, "twice"]);
    }
}

#[test]
fn file_and_folder_of_one_name_are_refused() {
    Place::with(good().file("aclImdb/train", "evil")).assert_refused(&["aclImdb/train", "twice"]);
    Place::with(good().folder("aclImdb/README")).assert_refused(&["aclImdb/README"]);
    Place::with(good().file("aclImdb/README/evil", "evil"))
        .assert_refused(&["aclImdb/README/evil"]);
}

#[test]
fn folder_listed_again_is_harmless() {
    let place = Place::with(good().folder("aclImdb/train").folder("aclImdb/train/pos/"));
    place.extract().unwrap();
    place.assert_good();
}

#[test]
fn name_with_nul_or_control_character_is_refused() {
    Place::with(good().file("aclImdb/evil\u{1b}[2J", "evil"))
        .assert_refused(&["evil\\u{1b}[2J", "control character"]);
    Place::with(good().long_named_file(b"aclImdb/evil\0.txt", b"evil"))
        .assert_refused(&["evil\\0.txt", "its name contains a NUL"]);
}

#[test]
fn name_that_is_not_unicode_is_refused() {
    Place::with(good().entry(EntryType::Regular, b"aclImdb/\xff\xfe", b"evil"))
        .assert_refused(&["\"aclImdb/", "UTF-8"]);
}

#[test]
fn names_in_errors_are_short() {
    let name = format!("evil{}", "x".repeat(5000));
    let error =
        Place::with(good().long_named_file(name.as_bytes(), b"evil")).extract().unwrap_err();
    assert!(error.len() < 500, "{error}");
}

#[test]
fn archive_cut_short_is_refused() {
    let whole = gzip(&good().finish());
    for length in [0, 5, 20, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        Place::with_archive(&whole[..length]).assert_refused(&["fetch it again"]);
    }
}

#[test]
fn tar_cut_short_is_refused() {
    // Zeros at the end, as in the end marker.
    let content = format!("{}{}", "x".repeat(10), "\0".repeat(590));
    let whole = good().file("aclImdb/last", &content).finish();
    let last_header = whole.len() - 1024 - 1024 - 512;
    for length in [last_header + 512, last_header + 700] {
        Place::with_archive(&gzip(&whole[..length])).assert_refused(&[
            "aclImdb/last",
            "of 600 bytes",
            "fetch it again",
        ]);
    }
    for length in [0, last_header, last_header + 100, last_header + 512 + 1024, whole.len() - 1] {
        Place::with_archive(&gzip(&whole[..length])).assert_refused(&["fetch it again"]);
    }
}

#[test]
fn damaged_archive_is_refused() {
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
        Place::with_archive(&bytes).assert_refused(&["fetch it again"]);
    }
}

#[test]
fn archive_without_files_is_refused() {
    Place::with(Tar::default().folder("aclImdb")).assert_refused(&["no files"]);
}

#[test]
fn missing_archive_is_reported() {
    Place::new().assert_refused(&["cannot open"]);
}

#[test]
fn too_many_entries_are_refused() {
    // Three files and three folders below the top one.
    let just_enough = Limits { max_entries: 6, ..LIMITS };
    let place = Place::with(good());
    place.extract_within(&just_enough).unwrap();

    let place = Place::with(good().file("aclImdb/more", ""));
    place.assert_refused_within(&just_enough, &["aclImdb/more", "6 files and folders"]);
    let place = Place::with(good().folder("aclImdb/more"));
    place.assert_refused_within(&just_enough, &["aclImdb/more", "6 files and folders"]);
    let place = Place::with(Tar::default().file("aclImdb/a/b/c/d/e/f/g/h", ""));
    place.assert_refused_within(&just_enough, &["a/b/c/d/e/f/g/h", "6 files and folders"]);
}

#[test]
fn too_many_bytes_are_refused() {
    let just_enough = Limits { max_bytes: 20, ..LIMITS };
    let place = Place::with(good().file("aclImdb/more", "1234"));
    assert_eq!(place.extract_within(&just_enough).unwrap().bytes, 20);

    let place = Place::with(good().file("aclImdb/more", "12345"));
    place.assert_refused_within(&just_enough, &["aclImdb/more", "20 bytes"]);
    let promised = header(EntryType::Regular, b"aclImdb/more", u64::MAX / 2);
    let place = Place::with(good().block(promised, b""));
    place.assert_refused_within(&just_enough, &["aclImdb/more", "20 bytes"]);
}

#[test]
fn bomb_beside_the_files_is_refused() {
    let bomb = vec![0; 4_000_000];
    let mut padded = good().finish();
    padded.extend(&bomb);
    for tar in [
        padded,
        good().long_named_file(&bomb, b"").finish(),
        good().entry(EntryType::Directory, b"aclImdb/folder", &bomb).finish(),
    ] {
        Place::with_archive(&gzip(&tar)).assert_refused(&["aclImdb/", "unpacks to more than"]);
    }
}

#[test]
fn remains_of_a_killed_run_are_cleared() {
    let place = Place::with(good());
    fs::create_dir_all(place.staging().join("train/pos")).unwrap();
    fs::write(place.staging().join("train/pos/0_9.txt"), "go").unwrap();
    fs::write(place.staging().join("other"), "other").unwrap();
    place.extract().unwrap();
    place.assert_good();
    assert!(!place.target().join("other").exists());
}

#[test]
fn failed_run_can_be_repeated() {
    let place = Place::with(good().file("evil", "evil"));
    place.assert_refused(&["evil"]);
    fs::write(place.archive(), gzip(&good().finish())).unwrap();
    place.extract().unwrap();
    place.assert_good();
}

#[test]
fn second_run_at_the_same_time_is_refused() {
    let place = Place::with(good());
    let other = File::open(place.archive()).unwrap();
    other.lock().unwrap();
    place.assert_refused(&["another run"]);
}
