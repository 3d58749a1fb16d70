//! Versions of dependencies: each is at least the version that fixed the advisories on it.

use std::fs;
use std::path::Path;

/// Crates, the first version with the fix, and the advisories.
const FLOORS: [(&str, [u64; 3], &str); 9] = [
    ("sqlx", [0, 8, 1], "RUSTSEC-2024-0363"),
    ("h2", [0, 4, 16], "RUSTSEC-2026-0258, 2024-0332, 2024-0003"),
    ("hyper", [1, 12, 0], "CVE-2023-44487"),
    ("tonic", [0, 12, 3], "RUSTSEC-2024-0376"),
    ("idna", [1, 0, 3], "RUSTSEC-2024-0421"),
    ("lettre", [0, 11, 22], "RUSTSEC-2026-0141, 2021-0069"),
    ("rustls", [0, 23, 5], "RUSTSEC-2024-0336, 2024-0399"),
    ("url", [2, 5, 4], "the idna it brings"),
    ("tokio", [1, 43, 1], "RUSTSEC-2025-0023"),
];

#[test]
fn no_dependency_is_older_than_the_fix_of_its_advisory() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap();
    let versions = |name: &str| -> Vec<[u64; 3]> {
        let head = format!("name = \"{name}\"\nversion = \"");
        lock.split(&head)
            .skip(1)
            .map(|rest| rest.split(['"', '-', '+']).next().unwrap())
            .map(|version| {
                let mut numbers = version.split('.').map(|number| number.parse().unwrap());
                std::array::from_fn(|_| numbers.next().unwrap())
            })
            .collect()
    };
    for (name, floor, advisory) in FLOORS {
        let found = versions(name);
        assert!(
            !found.is_empty(),
            "{name} is not a dependency; remove it from the table"
        );
        for version in found {
            assert!(version >= floor, "{name} {version:?}: {advisory}");
        }
    }
    // One TLS backend of lettre checked host names incorrectly (CVE-2026-46428). The service uses rustls only.
    for name in ["boring", "tokio-boring", "openssl", "native-tls"] {
        assert!(versions(name).is_empty(), "{name} is not used here");
    }
}
