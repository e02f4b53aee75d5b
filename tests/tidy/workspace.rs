//! The files of the workspace, read once for a rule.
//!
//! # Promises
//! - Everything a person wrote is there: sources, manifests, scripts, documents; build output and data are not.
//! - The order is that of the paths, so complaints come out the same way every time.

use std::fs;
use std::path::Path;

use harness::folder::package;

use crate::source::Source;

#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) sources: Vec<Source>,
    /// Every text file, Rust or not: path and content.
    pub(crate) texts: Vec<(String, String)>,
}

/// Folders that hold what nobody wrote here.
const SKIPPED: [&str; 3] = ["target", ".git", "data"];

impl Workspace {
    pub(crate) fn read() -> Self {
        let package = package();
        let root = package.parent().expect("the package lies in the workspace");
        let mut workspace = Self::default();
        workspace.read_folder(root, "");
        assert!(workspace.sources.len() > 10, "no sources under {}", root.display());
        workspace
    }

    /// A workspace of samples, for testing a rule.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let mut workspace = Self::default();
        for (path, text) in files {
            workspace.add(path, text);
        }
        workspace
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) {
        let entries = fs::read_dir(folder).expect("the workspace can be listed");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("the entry can be read").file_name()).collect();
        names.sort();
        for name in names {
            let Some(name) = name.to_str() else { continue };
            let path = folder.join(name);
            let relative = format!("{prefix}{name}");
            if SKIPPED.contains(&name) {
                continue;
            }
            if path.is_dir() {
                self.read_folder(&path, &format!("{relative}/"));
            } else if path.is_file()
                && let Ok(text) = fs::read_to_string(&path)
            {
                self.add(&relative, &text);
            }
        }
    }

    fn add(&mut self, path: &str, text: &str) {
        if path.ends_with(".rs") {
            self.sources.push(Source::new(path, text));
        }
        self.texts.push((path.to_owned(), text.to_owned()));
    }

    pub(crate) fn source(&self, path: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.path == path)
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.iter().find(|(found, _)| found == path).map(|(_, text)| text.as_str())
    }

    /// The manifests of packages: folder and content.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts
            .iter()
            .filter(|(_, text)| text.contains("[package]"))
            .filter_map(|(path, text)| path.strip_suffix("/Cargo.toml").map(|folder| (folder, text.as_str())))
    }
}
