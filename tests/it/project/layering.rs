//! The layers of the code: which folder may import which, and which library belongs to which folder.
//!
//! The compiler keeps the borders of crates. These tests keep the borders of folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::source_tree::{SourceTree, rust_files};

/// What a folder or file of `src` must not import: other folders of `src`, and libraries.
const FORBIDDEN: [(&str, &[&str], &[&str]); 9] = [
    (
        "domain",
        &[
            "store", "service", "identity", "grpc", "http", "mail", "delivery", "settings",
            "proto", "app", "tools",
        ],
        &[
            "sqlx",
            "tokio",
            "tonic",
            "prost",
            "prost_types",
            "lettre",
            "clap",
        ],
    ),
    (
        "store",
        &[
            "service", "identity", "grpc", "http", "mail", "delivery", "settings", "proto", "app",
            "tools",
        ],
        &["tonic", "prost", "prost_types", "lettre", "clap"],
    ),
    (
        "service",
        &[
            "identity", "grpc", "http", "mail", "delivery", "settings", "proto", "app", "tools",
        ],
        &["sqlx", "tonic", "prost", "prost_types", "lettre", "clap"],
    ),
    (
        "identity",
        &[
            "store", "service", "grpc", "http", "mail", "delivery", "settings", "proto", "app",
            "tools",
        ],
        &["sqlx", "tonic", "prost", "prost_types", "lettre", "clap"],
    ),
    (
        "mail",
        &[
            "store", "service", "identity", "grpc", "http", "delivery", "settings", "proto", "app",
            "tools",
        ],
        &["sqlx", "tonic", "prost", "prost_types", "clap"],
    ),
    (
        "delivery",
        &[
            "service", "identity", "grpc", "http", "settings", "proto", "app", "tools",
        ],
        &["sqlx", "tonic", "prost", "prost_types", "lettre", "clap"],
    ),
    (
        "grpc",
        &[
            "store", "http", "mail", "delivery", "settings", "app", "tools",
        ],
        &["sqlx", "lettre", "clap"],
    ),
    (
        "http",
        &[
            "store", "identity", "grpc", "mail", "delivery", "settings", "proto", "app", "tools",
        ],
        &["sqlx", "tonic", "prost", "prost_types", "lettre", "clap"],
    ),
    (
        "settings",
        &["app", "tools", "proto"],
        &["sqlx", "tonic", "prost", "prost_types"],
    ),
];

/// Allowed in spite of a rule: a file, what it imports, and why.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// Libraries that one folder alone imports.
const OWNED_LIBRARIES: [(&str, &str); 3] = [
    ("jsonwebtoken", "identity"),
    ("sqlx", "store"),
    ("lettre", "mail"),
];

/// Most lines of a file without its unit tests.
const FILE_LINES_MAX: usize = 450;
/// File names that say nothing about the content.
const EMPTY_NAMES: [&str; 7] = [
    "utils", "util", "common", "helpers", "types", "models", "misc",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folders with the sources of the crates.
fn crates() -> Vec<PathBuf> {
    let members = fs::read_dir(root().join("crates")).unwrap();
    let members = members.map(|entry| entry.unwrap().path().join("src"));
    let mut crates: Vec<PathBuf> = members.chain([root().join("src")]).collect();
    crates.sort();
    crates
}

#[test]
fn imports_between_folders_go_one_way() {
    let tree = SourceTree::parse(&root().join("src"));
    let mut violations = Vec::new();
    let mut used = BTreeSet::new();
    for (folder, folders, libraries) in FORBIDDEN {
        let mut files = tree.files().filter(|file| file.path.starts_with(folder));
        assert!(files.next().is_some(), "src/{folder} does not exist");
        for file in tree.files().filter(|file| file.path.starts_with(folder)) {
            let imported = tree.dependencies(file);
            let imported = imported.iter().filter_map(|path| {
                let first = path.components().next()?.as_os_str().to_str()?;
                Some(first.trim_end_matches(".rs"))
            });
            let imported: BTreeSet<&str> = imported.collect();
            let forbidden = folders.iter().filter(|name| imported.contains(*name));
            let named = SourceTree::libraries(file);
            let libraries = libraries.iter().filter(|name| named.contains(*name));
            for name in forbidden.chain(libraries) {
                let exception = EXCEPTIONS
                    .iter()
                    .find(|(path, excepted, _)| file.path == Path::new(path) && excepted == name);
                match exception {
                    Some(exception) => _ = used.insert(exception),
                    None => violations.push(format!("{}: {name}", file.path.display())),
                }
            }
        }
    }
    assert!(
        violations.is_empty(),
        "these files import what their folder must not:\n{}",
        violations.join("\n")
    );
    assert_eq!(used.len(), EXCEPTIONS.len(), "an exception is not needed");
}

#[test]
fn the_domain_is_not_async() {
    let tree = SourceTree::parse(&root().join("src"));
    let domain = tree.files().filter(|file| file.path.starts_with("domain"));
    for file in domain {
        assert!(!file.is_async, "{} is async", file.path.display());
    }
}

#[test]
fn a_library_that_belongs_to_a_folder_is_imported_nowhere_else() {
    let tree = SourceTree::parse(&root().join("src"));
    for (library, owner) in OWNED_LIBRARIES {
        let mut owns = false;
        for file in tree.files() {
            let imports = SourceTree::libraries(file).contains(library);
            if file.path.starts_with(owner) {
                owns |= imports;
            } else {
                assert!(
                    !imports,
                    "{}: {library} is for {owner}",
                    file.path.display()
                );
            }
        }
        assert!(owns, "{owner} does not import {library}");
    }
}

#[test]
fn no_two_files_import_each_other() {
    let mut cycles = Vec::new();
    for folder in crates() {
        let tree = SourceTree::parse(&folder);
        let folder = folder.display();
        cycles.extend(
            tree.cycles()
                .iter()
                .map(|files| format!("{folder}: {}", files.join(" "))),
        );
    }
    assert!(cycles.is_empty(), "cycles of files:\n{}", cycles.join("\n"));
}

#[test]
fn a_name_of_a_type_is_used_once_in_a_crate() {
    let mut repeated = Vec::new();
    for folder in crates().into_iter().chain([root().join("tests/it")]) {
        let tree = SourceTree::parse(&folder);
        let mut files_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for file in tree.files() {
            for name in &file.types {
                let files = files_of.entry(name).or_default();
                files.push(file.path.display().to_string());
            }
        }
        files_of.retain(|_, files| files.len() > 1);
        let files_of = files_of.iter();
        repeated.extend(files_of.map(|(name, files)| format!("{name}: {}", files.join(" "))));
    }
    assert!(
        repeated.is_empty(),
        "names of several types:\n{}",
        repeated.join("\n")
    );
}

#[test]
fn only_a_viewer_builds_messages_of_invitations() {
    let viewer = Path::new("src/grpc/convert/viewer.rs");
    for path in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let builds = text.contains("proto::Invitation {") || text.contains("proto::Membership {");
        let is_viewer = path.ends_with(viewer);
        assert_eq!(builds, is_viewer, "{}", path.display());
    }
}

#[test]
fn every_module_begins_with_its_documentation() {
    for path in crates().iter().flat_map(|folder| rust_files(folder)) {
        let text = fs::read_to_string(&path).unwrap();
        let is_test = path.to_str().unwrap().ends_with("tests.rs");
        let path = path.display();
        assert!(
            is_test || text.starts_with("//! "),
            "{path} does not begin with //!"
        );
    }
}

#[test]
fn files_are_short_and_have_names_of_their_own() {
    let mut long = Vec::new();
    for path in crates().iter().flat_map(|folder| rust_files(folder)) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(!EMPTY_NAMES.contains(&name), "{}", path.display());
        if name == "tests" || name.ends_with("_tests") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().take_while(|line| *line != "#[cfg(test)]");
        let lines = code.count();
        if lines > FILE_LINES_MAX {
            long.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(
        long.is_empty(),
        "files that are too long:\n{}",
        long.join("\n")
    );
}
