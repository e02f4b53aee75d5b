//! Where the built `weir` is.
//!
//! # Promises
//! - `WEIR_BIN` decides when it is set; else it is the binary of the profile this test program was built in.
//! - A process sees no `INFLUXDB3_*` variable of whoever runs the tests, nor their keys of object stores.
//! - A binary older than the sources it was built from is refused: it would prove nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;
use std::{env, fs};

/// The binary as a command, without arguments.
pub fn command() -> Command {
    let mut command = Command::new(path());
    let is_ours = |name: &str| ["INFLUXDB3_", "AWS_", "AZURE_", "GOOGLE_"].iter().any(|start| name.starts_with(start));
    for (name, _) in env::vars_os().filter(|(name, _)| is_ours(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
}

/// The path of the binary; looked for once.
pub fn path() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| find().unwrap_or_else(|reason| panic!("{reason}")))
}

fn find() -> Result<PathBuf, String> {
    if let Some(given) = env::var_os("WEIR_BIN") {
        let path = PathBuf::from(given);
        return if path.is_file() { Ok(path) } else { Err(format!("WEIR_BIN: no file {}", path.display())) };
    }
    // Programs lie in target/<profile>, as the binary does, test programs in `deps` below it.
    let own = env::current_exe().map_err(|error| format!("where am I: {error}"))?;
    let profile =
        own.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).ok_or("a program lies in a folder")?;
    let path = profile.join("weir");
    let built = modified(&path).ok_or_else(|| format!("no binary at {}: cargo build -p daemon", path.display()))?;
    if let Some(newer) = sources(&profile.join("weir.d")).into_iter().find(|source| modified(source) > Some(built)) {
        return Err(format!("{} is newer than the binary: cargo build -p daemon", newer.display()));
    }
    Ok(path)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The sources Cargo names in the file beside the binary: `binary: source source …`.
fn sources(list: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(list).unwrap_or_default();
    let names = text.split_once(": ").map_or("", |(_, names)| names);
    // A space inside a path is written `\ `; such a path is not looked at.
    names.split_whitespace().filter(|name| !name.ends_with('\\')).map(PathBuf::from).collect()
}
