//! Who may know whom, kept by reading the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder or file of `src`, and what must not be named in it outside comments and tests.
const RULES: [(&str, &[&str]); 10] = [
    (
        "domain",
        &[
            "sqlx",
            "tokio",
            "tonic",
            "prost",
            "lettre",
            "clap",
            "crate::settings::arguments",
            "crate::store",
            "crate::service",
            "crate::identity",
            "crate::grpc",
            "crate::mail",
            "crate::delivery",
            "async fn",
        ],
    ),
    (
        "store",
        &[
            "tonic",
            "prost",
            "lettre",
            "clap",
            "crate::service",
            "crate::identity",
            "crate::grpc",
            "crate::mail",
            "crate::delivery",
            "crate::settings::arguments",
            "crate::proto",
        ],
    ),
    (
        "service",
        &[
            "tonic",
            "prost",
            "lettre",
            "sqlx",
            "clap",
            "crate::identity",
            "crate::grpc",
            "crate::mail",
            "crate::delivery",
            "crate::settings::arguments",
            "crate::proto",
        ],
    ),
    (
        "mail",
        &[
            "sqlx",
            "tonic",
            "prost",
            "clap",
            "crate::store",
            "crate::service",
            "crate::identity",
            "crate::grpc",
            "crate::delivery",
            "crate::settings::arguments",
            "crate::proto",
        ],
    ),
    (
        "delivery",
        &[
            "sqlx",
            "tonic",
            "prost",
            "lettre",
            "clap",
            "crate::service",
            "crate::identity",
            "crate::grpc",
            "crate::settings::arguments",
            "crate::proto",
        ],
    ),
    (
        "grpc",
        &[
            "sqlx",
            "lettre",
            "clap",
            "crate::store",
            "crate::mail",
            "crate::delivery",
            "crate::settings::arguments",
        ],
    ),
    (
        "http",
        &[
            "sqlx",
            "tonic",
            "prost",
            "lettre",
            "clap",
            "crate::store",
            "crate::identity",
            "crate::grpc",
            "crate::mail",
            "crate::delivery",
            "crate::settings::arguments",
            "crate::proto",
        ],
    ),
    (
        "identity",
        &[
            "sqlx",
            "tonic",
            "prost",
            "lettre",
            "clap",
            "crate::store",
            "crate::service",
            "crate::grpc",
            "crate::features::http",
            "crate::mail",
            "crate::delivery",
            "crate::settings::arguments",
            "crate::proto",
        ],
    ),
    (
        "inbox",
        &[
            "sqlx",
            "tonic",
            "prost",
            "lettre",
            "clap",
            "crate::store",
            "crate::service",
            "crate::identity",
            "crate::grpc",
            "crate::mail",
            "crate::delivery",
            "crate::settings::arguments",
            "crate::proto",
        ],
    ),
    (
        "cli",
        &[
            "sqlx",
            "lettre",
            "crate::store",
            "crate::service",
            "crate::identity",
            "crate::grpc",
            "crate::mail",
            "crate::delivery",
            "crate::app",
        ],
    ),
];

/// A library that one folder alone may name.
const OWNED: [(&str, &str); 1] = [("jsonwebtoken", "identity")];

/// What one file may name against its folder's rule, and why.
const EXCEPTIONS: [(&str, &str, &str); 1] = [(
    "cli/mail.rs",
    "crate::mail",
    "shows operators the mail that the server would send, without a server",
)];

#[test]
fn imports_go_one_way() {
    let mut broken = Vec::new();
    let mut used = BTreeSet::new();
    for (folder, banned) in RULES {
        let files = sources(
            &Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("src")
                .join(folder),
        );
        assert!(!files.is_empty(), "{folder} is gone; mend the rules");
        for file in files {
            for (number, line) in code_lines(&file) {
                for name in banned.iter().filter(|name| names(&line, name)) {
                    let exception = EXCEPTIONS
                        .iter()
                        .find(|(path, excepted, _)| file.ends_with(path) && excepted == name);
                    if let Some(exception) = exception {
                        used.insert(exception);
                        continue;
                    }
                    broken.push(format!(
                        "{}:{number}: {folder} must not know {name}",
                        file.display()
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert_eq!(used.len(), EXCEPTIONS.len(), "an exception is not needed");
}

#[test]
fn what_one_folder_owns_nobody_else_names() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (library, owner) in OWNED {
        for file in sources(&src) {
            if file.starts_with(src.join(owner)) {
                continue;
            }
            for (number, line) in code_lines(&file) {
                assert!(
                    !names(&line, library),
                    "{}:{number}: {library} is for {owner} alone",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn every_module_tells_its_story() {
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//! "),
            "{} does not begin with //!",
            file.display()
        );
    }
}

#[test]
fn no_file_holds_two_nouns() {
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 500, "{} has {lines} lines", file.display());
        let name = file.file_stem().unwrap().to_str().unwrap();
        let banned = BTreeSet::from([
            "utils", "util", "common", "helpers", "types", "models", "misc",
        ]);
        assert!(
            !banned.contains(name),
            "{} says nothing by its name",
            file.display()
        );
    }
}

/// The lines of a file that are code of the program: comments and unit tests left out.
fn code_lines(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).unwrap();
    (1..)
        .zip(text.lines())
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(number, line)| {
            (
                number,
                line.split("//").next().unwrap_or_default().to_owned(),
            )
        })
        .collect()
}

/// Whether a line names something: `tonic` in `tonic::Status` and in `tonic_types::X`, not in `isotonic`.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        let is_start =
            before.is_none_or(|character| !character.is_alphanumeric() && character != '_');
        let is_path =
            name.contains(' ') || name.starts_with("crate") || matches!(after, Some(':' | '_'));
        is_start && is_path
    })
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.to_string_lossy().ends_with("_tests.rs")
        {
            files.push(path);
        }
    }
    files
}
