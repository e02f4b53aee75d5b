//! The stores that nodes of a test stand on, by name.
//!
//! # Promises
//! - `folder`; `s3`, `google` and `azure`, played by the harness; `moto`, `seaweedfs`, `azurite` and `rclone`, which others
//!   wrote. Each is empty when it has started, and ends with the test.

use std::env;

use harness::folder::Folder;
use harness::node::Options;
use harness::remote::{ACCESS_KEY_ID, AZURE_ACCOUNT, AZURE_KEY, BUCKET, RemoteStore, SECRET_ACCESS_KEY, Service};
use harness::server::{Program, Server};
use serde_json::json;

/// The store that `WEIR_TOPOLOGIES_STORE` names.
pub(crate) fn chosen() -> Option<String> {
    env::var("WEIR_TOPOLOGIES_STORE").ok()
}

#[derive(Debug)]
pub(crate) enum Store {
    /// That of the first node; others stand beside it.
    Folder,
    S3(RemoteStore),
    /// The folder holds the file with its address.
    Google(RemoteStore, Folder),
    Azure(RemoteStore),
    S3Of(Server),
    AzureOf(Server),
}

impl Store {
    #[track_caller]
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "folder" => Self::Folder,
            "s3" => Self::S3(RemoteStore::start(Service::S3)),
            "google" => Self::Google(RemoteStore::start(Service::Google), Folder::new("google")),
            "azure" => Self::Azure(RemoteStore::start(Service::Azure)),
            "moto" => Self::S3Of(Server::start(Program::Moto)),
            "seaweedfs" => Self::S3Of(Server::start(Program::SeaweedFs)),
            "rclone" => Self::S3Of(Server::start(Program::Rclone)),
            "azurite" => Self::AzureOf(Server::start(Program::Azurite)),
            other => panic!("no store is called {other}"),
        }
    }

    /// A node on it that asks nobody for a token.
    pub(crate) fn options(&self) -> Options {
        match self {
            Self::Folder => Options::open(),
            Self::S3(store) => on_s3(store),
            Self::Google(store, folder) => on_google(&store.url(), folder),
            Self::Azure(store) => on_azure(&store.url()),
            Self::S3Of(server) => s3_at(server.url(), BUCKET),
            Self::AzureOf(server) => on_azure(server.url()),
        }
    }

    /// A node of this name with these modes, which asks nobody for a token.
    pub(crate) fn options_of(&self, node_id: &str, modes: &str) -> Options {
        Options { node_id: node_id.to_owned(), ..self.options().option("--mode", modes) }
    }

    /// The one that the harness plays, with faults on demand.
    pub(crate) fn played(&self) -> Option<&RemoteStore> {
        match self {
            Self::S3(store) | Self::Google(store, _) | Self::Azure(store) => Some(store),
            Self::Folder | Self::S3Of(_) | Self::AzureOf(_) => None,
        }
    }
}

/// A node on S3, with keys from the environment as most have them.
pub(crate) fn on_s3(store: &RemoteStore) -> Options {
    s3_at(&store.url(), BUCKET)
}

pub(crate) fn s3_at(url: &str, bucket: &str) -> Options {
    Options::open()
        .on_store(&["--object-store", "s3", "--bucket", bucket, "--aws-endpoint", url, "--aws-allow-http"])
        .variable("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
        .variable("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
        .option("--wal-flush-interval", "10ms")
}

pub(crate) fn on_azure(url: &str) -> Options {
    Options::open()
        .on_store(&["--object-store", "azure", "--bucket", BUCKET, "--azure-endpoint", url, "--azure-allow-http"])
        .option("--azure-storage-account", AZURE_ACCOUNT)
        .variable("AZURE_STORAGE_ACCESS_KEY", AZURE_KEY)
}

fn on_google(url: &str, folder: &Folder) -> Options {
    let account = folder.path().join("account.json");
    let keys = json!({
        "gcs_base_url": url, "disable_oauth": true,
        "client_email": "", "private_key": "", "private_key_id": "",
    });
    std::fs::write(&account, keys.to_string()).expect("our own folder");
    let account = account.to_str().expect("a plain path");
    let flags = ["--object-store", "google", "--bucket", BUCKET, "--google-service-account", account];
    // The node does not see that the service is on its own machine, and misses an address for others.
    Options::open().on_store(&flags).allow_in_log("--http-advertise-addr")
}
