//! Checks that there are no circular imports, and that top-level modules import only from lower levels.
//! `src/lib.rs` and `torch/src/lib.rs` list the levels.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// Path of a module from the root of its crate.
type Module = Vec<String>;

/// Imports of a source file, and the names that it re-exports from its child modules.
#[derive(Default)]
struct File {
    imports: BTreeSet<Module>,
    reexports: BTreeMap<String, Module>,
}

struct Crate {
    files: BTreeMap<Module, File>,
}

impl Crate {
    fn read(source: &Path) -> Self {
        let mut paths = BTreeMap::new();
        find_modules(source, &mut Vec::new(), &mut paths);
        let modules: BTreeSet<Module> = paths.keys().cloned().collect();
        let files = paths.into_iter().map(|(module, path)| {
            let syntax = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
            let mut collector =
                Collector { modules: &modules, module: &module, file: File::default() };
            collector.visit_file(&syntax);
            let file = collector.file;
            (module, file)
        });
        Self { files: files.collect() }
    }

    /// Returns the file that defines a path, following re-exports.
    fn resolve(&self, path: &[String]) -> Module {
        let is_file = |length: &usize| self.files.contains_key(&path[..*length]);
        let length = (0..=path.len()).rev().find(is_file).unwrap_or(0);
        let module = &path[..length];
        let name = path.get(module.len());
        match name.and_then(|name| self.files[module].reexports.get(name)) {
            Some(target) if target.as_slice() != path => self.resolve(target),
            _ => module.to_vec(),
        }
    }

    /// Returns the entries of a directory that each of its entries imports from. An entry is a file or
    /// a subdirectory with all of its files; `mod.rs` is not an entry.
    fn directory_graph(&self, directory: &[String]) -> BTreeMap<Module, BTreeSet<Module>> {
        let entry = |module: &Module| {
            (module.len() > directory.len() && module.starts_with(directory))
                .then(|| module[..=directory.len()].to_vec())
        };
        let mut graph: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for (module, targets) in self.graph() {
            let Some(from) = entry(&module) else { continue };
            let mut targets: BTreeSet<Module> = targets.iter().filter_map(entry).collect();
            targets.remove(&from);
            graph.entry(from).or_default().extend(targets);
        }
        graph
    }

    /// Returns the files that each file imports from.
    fn graph(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let edges = self.files.iter().map(|(module, file)| {
            let mut targets: BTreeSet<Module> =
                file.imports.iter().map(|path| self.resolve(path)).collect();
            targets.remove(module);
            (module.clone(), targets)
        });
        edges.collect()
    }
}

fn find_modules(directory: &Path, module: &mut Module, paths: &mut BTreeMap<Module, PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            module.push(stem);
            find_modules(&path, module, paths);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            match &*stem {
                "main" | "tests" => {}
                "lib" | "mod" => {
                    paths.insert(module.clone(), path);
                }
                _ => {
                    paths.insert([&module[..], &[stem]].concat(), path);
                }
            }
        }
    }
}

struct Collector<'a> {
    modules: &'a BTreeSet<Module>,
    module: &'a Module,
    file: File,
}

impl Collector<'_> {
    /// Returns a path from the root of the crate; `None` for a path into another crate.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let child = |name: &String| [&self.module[..], std::slice::from_ref(name)].concat();
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([&self.module[..], rest].concat()),
            "super" => {
                let parent = &self.module[..self.module.len().checked_sub(1)?];
                let ups = rest.iter().take_while(|name| *name == "super").count();
                let parent = &parent[..parent.len().checked_sub(ups)?];
                Some([parent, &rest[ups..]].concat())
            }
            _ if self.modules.contains(&child(first)) => Some([&child(first)[..], rest].concat()),
            _ => None,
        }
    }

    fn add_use(&mut self, tree: &UseTree, prefix: &mut Module, public: bool) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_use(&path.tree, prefix, public);
                prefix.pop();
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_use(tree, prefix, public));
            }
            UseTree::Name(name) => self.add_name(&name.ident.to_string(), None, prefix, public),
            UseTree::Rename(name) => {
                let alias = name.rename.to_string();
                self.add_name(&name.ident.to_string(), Some(alias), prefix, public);
            }
            UseTree::Glob(_) => self.add_name("*", None, prefix, public),
        }
    }

    fn add_name(&mut self, name: &str, alias: Option<String>, prefix: &[String], public: bool) {
        let mut path = prefix.to_vec();
        if name != "self" {
            path.push(name.to_owned());
        }
        let Some(absolute) = self.absolute(&path) else { return };
        // A re-export of a child is not a dependency.
        if public && absolute.starts_with(self.module) {
            self.file.reexports.insert(alias.unwrap_or_else(|| name.to_owned()), absolute);
        } else {
            self.file.imports.insert(absolute);
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    let text = |attribute: &Attribute| match &attribute.meta {
        syn::Meta::List(list) => list.tokens.to_string(),
        _ => String::new(),
    };
    attributes.iter().any(|one| one.path().is_ident("cfg") && text(one).contains("test"))
}

impl<'a> Visit<'a> for Collector<'_> {
    fn visit_item(&mut self, item: &'a Item) {
        match item {
            Item::Mod(module) if is_test(&module.attrs) => {}
            Item::Impl(block) if is_test(&block.attrs) => {}
            Item::Use(item) => {
                let public = !matches!(item.vis, Visibility::Inherited);
                self.add_use(&item.tree, &mut Vec::new(), public);
            }
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Module = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if names.len() > 1
            && let Some(absolute) = self.absolute(&names)
        {
            self.file.imports.insert(absolute);
        }
        visit::visit_path(self, path);
    }
}

/// Returns the groups of files that import each other, directly or indirectly.
fn circles(graph: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<String>> {
    let reachable = |start: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(module) = next.pop() {
            for target in &graph[module] {
                if seen.insert(target) {
                    next.push(target);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        graph.keys().map(|module| (module, reachable(module))).collect();
    let mut circles = BTreeSet::new();
    for (module, others) in &reached {
        if others.contains(module) {
            let circle = others.iter().filter(|other| reached[*other].contains(module));
            circles.insert(circle.map(|module| module.join("::")).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Source directories of the packages.
const SOURCES: [&str; 2] = ["src", "torch/src"];

fn read(source: &str) -> Crate {
    Crate::read(&root().join(source))
}

#[test]
fn no_files_import_each_other() {
    for source in SOURCES {
        let circles = circles(&read(source).graph());
        assert!(circles.is_empty(), "{source}: circular imports: {circles:#?}");
    }
}

/// Nor may a file and a directory next to it import each other.
#[test]
fn no_directories_import_each_other() {
    for source in SOURCES {
        let files = read(source);
        for directory in files.files.keys() {
            let circles = circles(&files.directory_graph(directory));
            assert!(circles.is_empty(), "{source}: circular imports: {circles:#?}");
        }
    }
}

/// Reads the list of levels in `lib.rs`: the top-level modules of each level, from the bottom.
fn levels(source: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join(source).join("lib.rs")).unwrap();
    let (_, list) = text.split_once("//! ## Levels").expect("lib.rs must have a list of levels");
    let lines = list.lines().skip(1).take_while(|line| line.starts_with("//!"));
    let lines = lines.filter(|line| line.starts_with("//! - "));
    let name = |part: &str| part.split_once('`').map(|(name, _)| name.to_owned());
    lines.map(|line| line.split("[`").skip(1).filter_map(name).collect()).collect()
}

#[test]
fn modules_import_from_lower_levels_only() {
    for source in SOURCES {
        let levels = levels(source);
        let level = |module: &String| {
            let position = levels.iter().position(|names| names.contains(module));
            position.unwrap_or_else(|| panic!("{source}/lib.rs states no level for {module}"))
        };
        let mut wrong = BTreeSet::new();
        for (module, targets) in read(source).graph() {
            let Some(from) = module.first() else { continue };
            let from_level = level(from);
            for target in targets {
                if let Some(to) = target.first().filter(|to| *to != from)
                    && level(to) >= from_level
                {
                    wrong.insert(format!("{} imports {}", module.join("::"), target.join("::")));
                }
            }
        }
        assert!(
            wrong.is_empty(),
            "imports from the same or a higher level of {source}/lib.rs: {wrong:#?}"
        );
    }
}
