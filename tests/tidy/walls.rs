//! The walls between packages, read from the manifests and the lock file.
//!
//! # Promises
//! - A package names only the packages of ours, and only the heavy dependencies, that the table here gives it.
//! - What a dependency brings along counts too: the closure is taken over the lock file.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::words;
use crate::workspace::Workspace;

/// Which of our packages each may use.
const INNER: [(&str, &[&str]); 6] = [
    ("metrics", &[]),
    ("storage", &["metrics"]),
    ("sql", &["metrics", "storage"]),
    ("processing", &["metrics", "storage"]),
    ("daemon", &["metrics", "storage", "sql", "processing"]),
    // For the simulation only, which starts a node of `storage` with a registry of its own.
    ("tests", &["storage", "metrics"]),
];

/// Dependencies that stay behind the walls of the packages named.
const KEPT: [(&str, &[&str]); 8] = [
    ("prometheus", &["metrics"]),
    ("sysinfo", &["metrics"]),
    // The simulation's store, which fails, is an object store.
    ("object_store", &["storage", "sql", "tests"]),
    ("datafusion", &["sql"]),
    ("pyo3", &["processing"]),
    ("clap", &["daemon"]),
    ("axum", &["daemon"]),
    ("hyper", &["daemon"]),
];

/// Prefixes of packages that must not be reachable from the packages named.
const UNREACHABLE: [(&str, &[&str]); 2] =
    [("datafusion", &["metrics", "storage", "processing", "tests"]), ("pyo3", &["metrics", "storage", "sql", "tests"])];

/// Complaints about manifests that name what the table does not give them.
pub(crate) fn manifests(workspace: &Workspace) -> Vec<String> {
    let mut complaints = Vec::new();
    for (folder, manifest) in workspace.manifests() {
        let name = package_name(manifest);
        let Some((_, inner)) = INNER.iter().find(|(package, _)| *package == name) else {
            complaints.push(format!("{folder}: package `{name}` is not in the table of packages"));
            continue;
        };
        for dependency in dependencies(manifest) {
            let ours = INNER.iter().any(|(package, _)| *package == dependency);
            if ours && !inner.contains(&dependency.as_str()) {
                complaints.push(format!("{folder}: `{name}` may not use `{dependency}`"));
            }
            for (kept, packages) in KEPT {
                let is_kept = dependency == kept || dependency.starts_with(&format!("{kept}-"));
                if is_kept && !packages.contains(&name.as_str()) {
                    complaints
                        .push(format!("{folder}: `{dependency}` belongs to {}, not to `{name}`", packages.join(", ")));
                }
            }
        }
    }
    complaints
}

/// Complaints about heavy dependencies that leaked through others.
pub(crate) fn closures(workspace: &Workspace) -> Vec<String> {
    let lock = Lock::of(workspace);
    let mut complaints = Vec::new();
    for (prefix, packages) in UNREACHABLE {
        for package in packages {
            if let Some(found) = lock.closure(package).iter().find(|name| name.starts_with(prefix)) {
                complaints.push(format!("`{package}` reaches `{found}`"));
            }
        }
    }
    complaints
}

/// Complaints about a second version of Arrow, Parquet or the query engine, or a second TLS provider.
pub(crate) fn single_versions(workspace: &Workspace) -> Vec<String> {
    let lock = Lock::of(workspace);
    let mut complaints = Vec::new();
    let single = ["arrow", "parquet", "datafusion", "object_store", "rustls"];
    for (name, versions) in &lock.versions {
        let is_single = single.iter().any(|single| name == single || name.starts_with(&format!("{single}-")));
        // `rustls-*` are small format crates that move on their own.
        if is_single && versions.len() > 1 && !name.starts_with("rustls-") {
            complaints.push(format!("{} versions of `{name}`: {}", versions.len(), versions.join(", ")));
        }
    }
    if lock.versions.contains_key("ring") && lock.versions.contains_key("aws-lc-rs") {
        complaints.push("two TLS providers: `ring` and `aws-lc-rs`".to_owned());
    }
    complaints
}

/// Complaints about the object store named outside `bucket`, or written to by `sql`.
pub(crate) fn object_store(workspace: &Workspace) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in &workspace.sources {
        let in_bucket = source.path.starts_with("daemon/storage/src/bucket");
        let tests = source.test_regions();
        let in_test = |at: &usize| tests.iter().any(|region| region.contains(at));
        if source.path.starts_with("daemon/") && !in_bucket {
            complaints.extend(
                words(&source.code, "object_store")
                    // A flag or a field may be called that: only a path names the crate. Tests bring stores of their own.
                    .filter(|at| source.code[at + "object_store".len()..].starts_with("::") && !in_test(at))
                    .map(|at| format!("{}:{}: names `object_store`", source.path, source.line_at(at))),
            );
        }
        if source.path.starts_with("sql/src/") {
            let writes = ["PutPayload", "PutOptions", "put_opts", "put_multipart", "delete_stream"];
            for name in writes {
                complaints.extend(
                    words(&source.code, name)
                        .filter(|at| !in_test(at))
                        .map(|at| format!("{}:{}: `sql` writes: `{name}`", source.path, source.line_at(at))),
                );
            }
        }
    }
    complaints
}

fn package_name(manifest: &str) -> String {
    let line = manifest.lines().find(|line| line.starts_with("name")).unwrap_or_default();
    line.split('"').nth(1).unwrap_or_default().to_owned()
}

/// The names under every `[…dependencies]`, for tests and builds too.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_end_matches(']').ends_with("dependencies");
        } else if inside && line.contains('=') && !line.starts_with('#') {
            let name: String = line.chars().take_while(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
            names.extend((!name.is_empty()).then_some(name));
        }
    }
    names
}

/// The lock file: versions and dependencies by name. Two versions of one package count as one node of the graph.
#[derive(Debug, Default)]
struct Lock {
    versions: BTreeMap<String, Vec<String>>,
    dependencies: BTreeMap<String, BTreeSet<String>>,
}

impl Lock {
    fn of(workspace: &Workspace) -> Self {
        let text = workspace.text("Cargo.lock").expect("the workspace has a lock file");
        let mut lock = Self::default();
        for block in text.split("[[package]]").skip(1) {
            let value = |key: &str| {
                let line = block.lines().find(|line| line.starts_with(&format!("{key} = ")));
                line.and_then(|line| line.split('"').nth(1)).unwrap_or_default().to_owned()
            };
            let name = value("name");
            let listed = block.lines().filter_map(|line| line.strip_prefix(" \"")?.split(['"', ' ']).next());
            lock.dependencies.entry(name.clone()).or_default().extend(listed.map(str::to_owned));
            lock.versions.entry(name).or_default().push(value("version"));
        }
        lock
    }

    fn closure(&self, package: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![package.to_owned()];
        while let Some(name) = waiting.pop() {
            let next = self.dependencies.get(&name).into_iter().flatten();
            waiting.extend(next.filter(|next| !seen.contains(*next)).cloned());
            seen.insert(name);
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_manifest(manifest: &str, expected: &[&str]) {
        let manifest = format!("[package]\n{manifest}");
        assert_eq!(manifests(&Workspace::of(&[("p/Cargo.toml", &manifest)])), expected);
    }

    #[test]
    fn a_package_over_the_wall_is_found() {
        check_manifest("name = \"sql\"\n[dependencies]\nstorage.workspace = true\ndatafusion.workspace = true\n", &[]);
        check_manifest("name = \"sql\"\n[dependencies]\ndaemon = {}\n", &["p: `sql` may not use `daemon`"]);
        check_manifest(
            "name = \"storage\"\n[dev-dependencies]\ndatafusion-expr.workspace = true\n",
            &["p: `datafusion-expr` belongs to sql, not to `storage`"],
        );
        check_manifest("name = \"shelf\"\n", &["p: package `shelf` is not in the table of packages"]);
    }

    const LEAK: &str = r#"
[[package]]
name = "storage"
version = "0.1.0"
dependencies = [
 "arrow-array 59.0.0",
 "between",
]
[[package]]
name = "between"
version = "1.0.0"
dependencies = [
 "datafusion-expr",
]
[[package]]
name = "arrow-array"
version = "59.0.0"
[[package]]
name = "arrow-array"
version = "60.0.0"
[[package]]
name = "ring"
version = "0.1.0"
[[package]]
name = "aws-lc-rs"
version = "0.1.0"
"#;

    #[test]
    fn a_dependency_of_a_dependency_leaks() {
        assert_eq!(closures(&Workspace::of(&[("Cargo.lock", LEAK)])), ["`storage` reaches `datafusion-expr`"]);
    }

    #[test]
    fn second_versions_and_providers_are_found() {
        let expected = ["2 versions of `arrow-array`: 59.0.0, 60.0.0", "two TLS providers: `ring` and `aws-lc-rs`"];
        assert_eq!(single_versions(&Workspace::of(&[("Cargo.lock", LEAK)])), expected);
    }

    #[test]
    fn the_object_store_is_named_in_bucket_and_read_by_sql() {
        let bucket = ("daemon/storage/src/bucket/local.rs", "use object_store::PutOptions;");
        let wal = ("daemon/storage/src/wal.rs", "use object_store::ObjectStore;");
        let scan = ("sql/src/tables.rs", "use object_store::{ObjectStore, PutPayload};");
        let expected =
            ["daemon/storage/src/wal.rs:1: names `object_store`", "sql/src/tables.rs:1: `sql` writes: `PutPayload`"];
        assert_eq!(object_store(&Workspace::of(&[bucket, wal, scan])), expected);
    }
}
