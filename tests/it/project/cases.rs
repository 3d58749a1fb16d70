//! The tables of cases in the docs name the tests that keep them: a test that was renamed must not leave a table lying.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The tables. That of limits has a test of its own.
const TABLES: [&str; 3] = ["docs/incidents.md", "docs/bad-inputs.md", FAULTS];
const FAULTS: &str = "docs/faults.md";
/// The faults of the plan are numbered from 1.
const FAULTS_MAX: usize = 40;
/// The column that names tests; one that names none says why in words, without backticks.
const COLUMN: usize = 3;

#[test]
fn every_test_that_a_table_of_cases_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = tests_in(&root.join("tests/it"));
    tests.extend(tests_in(&root.join("src")));
    assert!(tests.contains("project::cases::every_test_that_a_table_of_cases_names_exists"));
    assert!(tests.contains("domain::token::tests::every_test_vector_is_met"));
    let mut missing = Vec::new();
    for table in TABLES {
        let text = fs::read_to_string(root.join(table)).unwrap();
        let named = named_in(&text);
        assert!(!named.is_empty(), "{table} names no test");
        missing.extend(
            named
                .into_iter()
                .filter(|name| !tests.contains(name))
                .map(|name| format!("{table}: {name}")),
        );
    }
    assert!(missing.is_empty(), "no such test:\n{}", missing.join("\n"));
}

#[test]
fn every_fault_has_a_row_that_names_a_test() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FAULTS)).unwrap();
    for number in 1..=FAULTS_MAX {
        let begin = format!("| F{number:02}: ");
        let rows: Vec<_> = text.lines().filter(|row| row.starts_with(&begin)).collect();
        assert_eq!(rows.len(), 1, "rows of F{number:02}");
        assert!(!named_in(rows[0]).is_empty(), "F{number:02} has no test");
    }
}

#[test]
fn tests_are_found_by_the_names_cargo_gives_them() {
    let table = "| a | `x::y` | `accept::b`, `mail::c` |\n|---|---|---|\nno table `d::e`\n\
                 | a \\| b | c | words, and `harness::f` |\n";
    let names: Vec<_> = named_in(table).into_iter().collect();
    assert_eq!(names, ["accept::b", "harness::f", "mail::c"]);
    let source = "#[test]\nfn one() {}\n\n#[tokio::test(flavor = \"current_thread\")]\n\
                  // Why.\nasync fn two() {}\nfn three() {}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn four() {}\n}\n";
    assert_eq!(names_in(source), ["one", "two", "tests::four"]);
}

/// The tests that the rows of a table name.
fn named_in(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| {
            line.replace("\\|", " ")
                .split('|')
                .nth(COLUMN)
                .map(str::to_owned)
        })
        .flat_map(|cell| {
            let quoted = cell.split('`').skip(1).step_by(2);
            quoted.map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|name| name.contains("::"))
        .collect()
}

/// Every test in a folder, by the names that a test run shows.
fn tests_in(folder: &Path) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for file in sources(folder) {
        let module = module_of(file.strip_prefix(folder).unwrap());
        for name in names_in(&fs::read_to_string(&file).unwrap()) {
            let parts = [module.as_str(), &name];
            let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            tests.insert(parts.join("::"));
        }
    }
    tests
}

/// `a/b.rs` and `a/b/mod.rs` are `a::b`; tests that stand beside their file in `b_tests.rs` are its `tests`.
fn module_of(file: &Path) -> String {
    let path = file.with_extension("");
    let mut parts: Vec<_> = path
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    parts.retain(|part| !["mod", "main", "lib"].contains(&part.as_str()));
    let Some(last) = parts.pop() else {
        return String::new();
    };
    match last.strip_suffix("_tests") {
        // `templates/templates_tests.rs` are the tests of `templates/mod.rs`.
        Some(of) if parts.last().is_some_and(|folder| folder == of) => {}
        Some(of) => parts.push(of.to_owned()),
        None => parts.push(last.clone()),
    }
    if last.ends_with("_tests") {
        parts.push("tests".to_owned());
    }
    parts.join("::")
}

/// The functions of a source that are tests, with the module inside of it that they stand in.
fn names_in(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut is_test, mut module) = (false, String::new());
    for line in source.lines() {
        let code = line.trim_start();
        if line.starts_with("mod ") && line.ends_with('{') {
            module = line["mod ".len()..].trim_end_matches(['{', ' ']).to_owned() + "::";
        } else if line == "}" {
            module.clear();
        }
        if code.starts_with("#[test]") || code.starts_with("#[tokio::test") {
            is_test = true;
        } else if is_test && (code.starts_with("fn ") || code.starts_with("async fn ")) {
            let name = code.trim_start_matches("async ").trim_start_matches("fn ");
            names.push(module.clone() + name.split('(').next().unwrap());
            is_test = false;
        }
    }
    names
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
