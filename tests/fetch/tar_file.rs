//! Tar files with any content, valid or not.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

/// Builder of tar files that the writer of the tar crate would reject.
#[derive(Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    pub fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name.as_bytes(), content.as_bytes())
    }

    pub fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name.as_bytes(), b"")
    }

    pub fn link(self, kind: EntryType, name: &str, target: &Path) -> Self {
        let mut header = header(kind, name.as_bytes(), 0);
        header.set_link_name(target).unwrap();
        self.block(header, b"")
    }

    /// Adds a file whose name is in an entry of its own, as in GNU tar.
    pub fn long_named_file(self, name: &[u8], content: &[u8]) -> Self {
        let mut terminated = name.to_vec();
        terminated.push(0);
        self.entry(EntryType::GNULongName, b"././@LongLink", &terminated).entry(
            EntryType::Regular,
            b"aclImdb/short",
            content,
        )
    }

    pub fn entry(self, kind: EntryType, name: &[u8], content: &[u8]) -> Self {
        let header = header(kind, name, content.len() as u64);
        self.block(header, content)
    }

    pub fn block(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(content);
        let padded = self.bytes.len().next_multiple_of(512);
        self.bytes.resize(padded, 0);
        self
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

pub fn header(kind: EntryType, name: &[u8], size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o6777);
    header
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
