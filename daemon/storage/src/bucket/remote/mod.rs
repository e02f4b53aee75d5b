//! Stores behind a network: S3 and what is compatible with it, Azure, Google.
//!
//! # Promises
//! - The clients try again for a short time only; `Bucket` goes on for as long as it must, and settles what is open.
//! - Heartbeats and the catalog log have connections of their own: bulk traffic never makes them wait.
//! - No secret stands in an error, whatever the server answered.

mod credentials;
mod lanes;
mod reason;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::limit::LimitStore;
use object_store::{Certificate, ClientOptions, RetryConfig};

use super::{Secret, Store};
use credentials::CredentialsFile;
use lanes::Lanes;

/// Requests that heartbeats and the catalog log may have under way, beside those of bulk traffic.
const URGENT_CONNECTIONS_MAX: usize = 4;

/// A store behind a network, and how to speak with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub service: Service,
    /// The bucket, or what the service calls so.
    pub bucket: String,
    pub transport: Transport,
    /// What the surroundings of the process say of its identity, used where no keys are given: name of the variable,
    /// value. Names the service does not know are passed over.
    pub ambient: Vec<(String, Secret)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    S3(S3),
    Azure(Azure),
    Google(Google),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    pub keys: S3Keys,
    pub region: String,
    /// Where a compatible service listens; without it, that of the region.
    pub endpoint: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Keys {
    /// Those of the machine, its role or its container.
    Ambient,
    Given {
        id: Secret,
        secret: Secret,
        session_token: Option<Secret>,
    },
    /// A JSON file that somebody else keeps fresh.
    File(PathBuf),
    /// Requests are not signed.
    None,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Azure {
    pub account: String,
    pub access_key: Option<Secret>,
    pub endpoint: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Google {
    /// A JSON file with the keys of a service account.
    pub service_account: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// Requests of bulk traffic that are under way at one time.
    pub connections_max: usize,
    pub http2_only: bool,
    pub http2_frame_bytes_max: Option<u32>,
    pub request_timeout: Duration,
    pub retries_max: usize,
    /// After so long from the first attempt there is no further one.
    pub retry_timeout: Duration,
    pub allow_http: bool,
    pub allow_any_certificate: bool,
    /// Certificates in PEM form, trusted beside those of the system.
    pub certificates: Option<PathBuf>,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
#[error("object store {name}: {reason}")]
pub struct OpenError {
    name: String,
    reason: String,
}

impl Remote {
    /// Builds the clients; nothing is asked of the service yet.
    pub fn open(&self) -> Result<Store, OpenError> {
        let secrets = self.secrets();
        let fail = |reason: String| OpenError { name: self.to_string(), reason };
        let options = self.transport.options().map_err(fail)?;
        let client = |limit: usize| -> Result<Store, OpenError> {
            let store = self.client(options.clone()).map_err(|error| fail(reason::of(&error, &secrets)))?;
            Ok(Arc::new(LimitStore::new(store, limit)))
        };
        let (bulk, urgent) = (client(self.transport.connections_max)?, client(URGENT_CONNECTIONS_MAX)?);
        Ok(Arc::new(Lanes::new((bulk, urgent), self.to_string(), secrets)))
    }

    fn secrets(&self) -> Vec<Secret> {
        let mut secrets: Vec<Secret> = self.ambient.iter().map(|(_, value)| value.clone()).collect();
        match &self.service {
            Service::S3(S3 { keys: S3Keys::Given { id, secret, session_token }, .. }) => {
                secrets.extend([id, secret].into_iter().chain(session_token).cloned());
            }
            Service::Azure(azure) => secrets.extend(azure.access_key.clone()),
            Service::S3(_) | Service::Google(_) => {}
        }
        secrets
    }

    /// Each client has a pool of connections of its own.
    fn client(&self, options: ClientOptions) -> Result<Store, object_store::Error> {
        let retry = RetryConfig {
            max_retries: self.transport.retries_max,
            retry_timeout: self.transport.retry_timeout,
            ..RetryConfig::default()
        };
        match &self.service {
            Service::S3(s3) => {
                let builder = AmazonS3Builder::new().with_client_options(options).with_retry(retry);
                self.s3(s3, builder.with_bucket_name(&self.bucket))
            }
            Service::Azure(azure) => {
                let builder = MicrosoftAzureBuilder::new().with_client_options(options).with_retry(retry);
                self.azure(azure, builder.with_container_name(&self.bucket))
            }
            Service::Google(google) => {
                let builder = GoogleCloudStorageBuilder::new().with_client_options(options).with_retry(retry);
                self.google(google, builder.with_bucket_name(&self.bucket))
            }
        }
    }

    fn s3(&self, s3: &S3, mut builder: AmazonS3Builder) -> Result<Store, object_store::Error> {
        builder = builder.with_region(&s3.region);
        if let Some(endpoint) = &s3.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        builder = match &s3.keys {
            S3Keys::Ambient => {
                self.known::<AmazonS3ConfigKey>().fold(builder, |b, (key, value)| b.with_config(key, value))
            }
            S3Keys::Given { id, secret, session_token } => {
                let builder = builder.with_access_key_id(id.reveal()).with_secret_access_key(secret.reveal());
                session_token.iter().fold(builder, |builder, token| builder.with_token(token.reveal()))
            }
            S3Keys::File(path) => builder.with_credentials(Arc::new(CredentialsFile::open(path)?)),
            S3Keys::None => builder.with_skip_signature(true),
        };
        Ok(Arc::new(builder.build()?))
    }

    fn azure(&self, azure: &Azure, mut builder: MicrosoftAzureBuilder) -> Result<Store, object_store::Error> {
        builder = builder.with_account(&azure.account);
        if let Some(endpoint) = &azure.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        builder = match &azure.access_key {
            Some(key) => builder.with_access_key(key.reveal()),
            None => self.known::<AzureConfigKey>().fold(builder, |b, (key, value)| b.with_config(key, value)),
        };
        Ok(Arc::new(builder.build()?))
    }

    fn google(&self, google: &Google, builder: GoogleCloudStorageBuilder) -> Result<Store, object_store::Error> {
        let ambient = self.ambient.iter().find(|(name, _)| name == "GOOGLE_APPLICATION_CREDENTIALS");
        let builder = match (&google.service_account, ambient) {
            (Some(path), _) => builder.with_service_account_path(path.to_string_lossy()),
            (None, Some((_, path))) => builder.with_application_credentials(path.reveal()),
            (None, None) => builder,
        };
        Ok(Arc::new(builder.build()?))
    }

    /// What the surroundings say, in the words of one service.
    fn known<K: FromStr>(&self) -> impl Iterator<Item = (K, &str)> {
        self.ambient.iter().filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.reveal())))
    }

    /// Where the service listens, when it is not the provider's own.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        match &self.service {
            Service::S3(S3 { endpoint, .. }) | Service::Azure(Azure { endpoint, .. }) => endpoint.as_deref(),
            Service::Google(_) => None,
        }
    }
}

/// `s3://bucket at endpoint`.
impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match &self.service {
            Service::S3(_) => "s3",
            Service::Azure(_) => "azure",
            Service::Google(_) => "google",
        };
        write!(f, "{scheme}://{}", self.bucket)?;
        self.endpoint().map_or(Ok(()), |endpoint| write!(f, " at {}", reason::without_query(endpoint)))
    }
}

impl Transport {
    fn options(&self) -> Result<ClientOptions, String> {
        let mut options = ClientOptions::new()
            .with_timeout(self.request_timeout)
            .with_allow_http(self.allow_http)
            .with_allow_invalid_certificates(self.allow_any_certificate);
        if self.http2_only {
            options = options.with_http2_only();
        }
        if let Some(bytes) = self.http2_frame_bytes_max {
            options = options.with_http2_max_frame_size(bytes);
        }
        let Some(path) = &self.certificates else { return Ok(options) };
        let fail = |reason: String| format!("read certificates {}: {reason}", path.display());
        let pem = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| fail(reason::of(&error, &[])))?;
        if certificates.is_empty() {
            return Err(fail("no certificate in it".to_owned()));
        }
        Ok(certificates.into_iter().fold(options, ClientOptions::with_root_certificate))
    }
}
