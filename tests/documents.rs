//! The documentation matches the program, and its links lead somewhere.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use lstmtext::config;
use lstmtext::model::summary::summarize;

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(checkout().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Returns the files in `directory` with this extension, relative to the checkout.
fn files(directory: &str, extension: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(checkout().join(directory)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| Path::new(name).extension().is_some_and(|each| each == extension))
        .map(|name| format!("{directory}/{name}"))
        .collect()
}

/// Returns the names of all documents, relative to the checkout.
fn documents() -> BTreeSet<String> {
    let mut documents = files("docs", "md");
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "benchmarks/RESULTS.md",
        "benchmarks/peers/README.md",
    ] {
        documents.insert(name.to_owned());
    }
    documents
}

/// Returns a document without blocks of code.
fn prose(markdown: &str) -> String {
    let mut in_code = false;
    let mut prose = String::new();
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// Returns the targets of all Markdown links and images outside of code.
fn links(markdown: &str) -> Vec<String> {
    let prose = prose(markdown);
    let without_code: String = prose.split('`').step_by(2).collect();
    let targets = without_code.split("](").skip(1);
    targets.map(|rest| rest.split(')').next().unwrap().to_owned()).collect()
}

/// Returns the anchors of all headings, formed as GitHub and mdBook form them.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(markdown).lines() {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor = kept.collect::<String>().to_lowercase().replace(' ', "-");
        assert!(anchors.insert(anchor.clone()), "two headings have the anchor #{anchor}");
    }
    anchors
}

/// Resolves `..` in a relative path. Returns `None` if the path leaves the checkout.
fn normalize(path: &Path) -> Option<PathBuf> {
    let mut normalized = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => normalized.pop().then_some(())?,
            Component::CurDir => {}
            other => normalized.push(other),
        }
    }
    Some(normalized)
}

/// Describes what is wrong with a link in `document`.
fn fault(
    document: &str,
    target: &str,
    anchors: &BTreeMap<String, BTreeSet<String>>,
) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target, None),
    };
    let path = match file {
        "" => PathBuf::from(document),
        file => match normalize(&Path::new(document).parent().unwrap().join(file)) {
            Some(path) => path,
            None => return Some(format!("{target} is outside of the repository")),
        },
    };
    if !checkout().join(&path).exists() {
        return Some(format!("{target} does not exist"));
    }
    let anchor = anchor?;
    let headings = anchors.get(path.to_str().unwrap());
    (!headings.is_some_and(|headings| headings.contains(anchor)))
        .then(|| format!("{target}: there is no heading #{anchor}"))
}

#[test]
fn links_lead_to_existing_files_and_headings() {
    let documents: BTreeMap<String, String> =
        documents().into_iter().map(|name| (name.clone(), read(&name))).collect();
    let anchors = documents.iter().map(|(name, text)| (name.clone(), anchors(text))).collect();
    let mut faults = Vec::new();
    let mut checked = 0;
    for (name, text) in &documents {
        for target in links(text) {
            checked += 1;
            faults.extend(fault(name, &target, &anchors).map(|fault| format!("{name}: {fault}")));
        }
    }
    assert!(faults.is_empty(), "broken links:\n{}", faults.join("\n"));
    assert!(checked > 50, "found only {checked} links");
}

#[test]
fn links_and_anchors_are_recognized() {
    let text = "# A `b` c: d\n[x](one.md#two) `[no](code)` ![y\nz](three.png)\n```\n[no](code)\n# no\n```\n";
    assert_eq!(links(text), ["one.md#two", "three.png"]);
    assert_eq!(anchors(text), BTreeSet::from(["a-b-c-d".to_owned()]));
}

#[test]
fn the_table_of_contents_lists_every_page() {
    let listed: Vec<String> =
        links(&read("docs/SUMMARY.md")).into_iter().map(|page| format!("docs/{page}")).collect();
    let mut pages = files("docs", "md");
    pages.remove("docs/SUMMARY.md");
    assert_eq!(listed.len(), pages.len(), "docs/SUMMARY.md lists a page twice, or not every page");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), pages);
}

#[test]
fn the_readme_is_short_and_links_to_every_page() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 250);
    let linked = links(&readme);
    for page in files("docs", "md") {
        assert!(page.ends_with("SUMMARY.md") || linked.contains(&page), "{page}");
    }
}

/// UPDATE_DOCS=1 writes the reference instead.
#[test]
fn the_configuration_page_has_the_current_reference() {
    const FILE: &str = "docs/configuration.md";
    const BEGIN: &str = "--test documents -->\n";
    const END: &str = "<!-- End of generated reference -->\n";
    let page = read(FILE);
    let (before, rest) = page.split_once(BEGIN).expect("the reference begins");
    let (current, after) = rest.split_once(END).expect("the reference ends");
    let expected = config::reference(&config::defaults());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let page = format!("{before}{BEGIN}\n{}\n\n{END}{after}", expected.trim());
        fs::write(checkout().join(FILE), page).unwrap();
        return;
    }
    assert!(
        current.trim() == expected.trim(),
        "{FILE} is out of date; run: UPDATE_DOCS=1 cargo test -p lstmtext --test documents"
    );
}

#[test]
fn every_example_configuration_is_valid() {
    let configurations = files("configs", "yaml");
    assert!(configurations.len() >= 2);
    for name in configurations {
        config::load(&checkout().join(name), &[]).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_example_configuration_is_documented() {
    let pages: String = files("docs", "md").iter().map(|page| read(page)).collect();
    for name in files("configs", "yaml") {
        assert!(pages.contains(&name), "no page in docs/ mentions {name}");
    }
}

/// The counts that Keras prints for the published systems, and Theano's with one bias.
#[test]
fn the_published_systems_have_the_parameters_of_their_originals() {
    for (name, logits, parameters) in [
        ("keras_imdb_500", 1, 213_301),
        ("keras_imdb_80", 1, 1_300_641),
        ("keras_early_stopping", 1, 652_449),
        ("theano_meanpool", 2, 1_411_842),
        ("two_input_babi", 500, 1_000_052),
    ] {
        let path = checkout().join(format!("configs/{name}.yaml"));
        let config = config::load(&path, &[]).unwrap().config;
        let words: Vec<usize> =
            config.inputs.iter().map(|input| input.text.vocabulary_size).collect();
        assert_eq!(
            summarize(&config, &words, &vec![0; words.len()], logits).total(),
            parameters,
            "{name}"
        );
    }
}
