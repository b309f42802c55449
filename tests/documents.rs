//! The README and the example configurations say what the program does.

use std::path::{Path, PathBuf};

use lstmtext::config;

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn configurations() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(checkout().join("configs")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn the_readme_has_the_configuration_reference() {
    let readme = std::fs::read_to_string(checkout().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("checked by a test -->\n").expect("the reference begins");
    let (found, _) = rest.split_once("<!-- end of reference -->").expect("the reference ends");
    let expected = config::reference(&config::defaults());
    assert!(
        found.trim() == expected.trim(),
        "put the output of `lstmtext config --reference` between the marks in README.md"
    );
}

#[test]
fn every_example_configuration_is_valid() {
    let configurations = configurations();
    assert!(configurations.len() >= 2);
    for path in configurations {
        config::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_readme_names_every_example_configuration() {
    let readme = std::fs::read_to_string(checkout().join("README.md")).unwrap();
    for path in configurations() {
        let name = format!("configs/{}", path.file_name().unwrap().to_string_lossy());
        assert!(readme.contains(&name), "{name} is not in README.md");
    }
}
