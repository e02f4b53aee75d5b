//! Where rows are kept: the flags of the object stores, and the store they add up to.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum, builder::BoolishValueParser, value_parser};
use storage::bucket::{Azure, Google, Remote, S3, S3Keys, Secret, Service, Transport};

use super::serve::{Kind, Surroundings};
use crate::config::{self, Store};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    Memory,
    /// In memory, with the delays of a network
    MemoryThrottled,
    File,
    S3,
    Google,
    Azure,
}

/// Services whose conditional puts differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CustomBackend {
    Ceph,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StoreFlags {
    #[command(flatten)]
    place: PlaceFlags,
    #[command(flatten)]
    aws: AwsFlags,
    #[command(flatten)]
    google: GoogleFlags,
    #[command(flatten)]
    azure: AzureFlags,
    #[command(flatten)]
    transport: TransportFlags,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Object store")]
struct PlaceFlags {
    /// Where rows are kept
    #[arg(long, env = "INFLUXDB3_OBJECT_STORE")]
    object_store: Option<StoreKind>,
    /// Folder of the file store
    #[arg(long, value_name = "PATH", env = "INFLUXDB3_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Bucket of the stores s3 and google, container of azure
    #[arg(long, value_name = "NAME", env = "INFLUXDB3_BUCKET")]
    bucket: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Object store s3")]
struct AwsFlags {
    /// Access key; without keys, those of the machine, its role or its container
    #[arg(long, value_name = "ID", env = "AWS_ACCESS_KEY_ID", value_parser = secret)]
    aws_access_key_id: Option<Secret>,
    /// Secret of the access key
    #[arg(long, value_name = "SECRET", env = "AWS_SECRET_ACCESS_KEY", value_parser = secret)]
    aws_secret_access_key: Option<Secret>,
    /// Token of a session, beside the keys
    #[arg(long, value_name = "TOKEN", env = "AWS_SESSION_TOKEN", value_parser = secret)]
    aws_session_token: Option<Secret>,
    /// JSON file with aws_access_key_id, aws_secret_access_key and aws_session_token; read again when it changes, and
    /// stronger than the flags
    #[arg(long, value_name = "PATH", env = "AWS_CREDENTIALS_FILE")]
    aws_credentials_file: Option<PathBuf>,
    /// Region of the bucket
    #[arg(long, value_name = "REGION", env = "AWS_DEFAULT_REGION", default_value = "us-east-1")]
    aws_default_region: String,
    /// Where a compatible service listens
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT")]
    aws_endpoint: Option<String>,
    /// Allow an endpoint without TLS
    #[arg(long, env = "AWS_ALLOW_HTTP", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    aws_allow_http: bool,
    /// Do not sign requests
    #[arg(long, env = "AWS_SKIP_SIGNATURE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    aws_skip_signature: bool,
    /// The service behind the endpoint, if it needs to be known; ceph works either way, since no ETags are compared
    #[arg(long, env = "INFLUXDB3_AWS_S3_CUSTOM_BACKEND")]
    aws_s3_custom_backend: Option<CustomBackend>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Object store google")]
struct GoogleFlags {
    /// JSON file with the keys of a service account; without it, those of the machine
    #[arg(long, value_name = "PATH", env = "GOOGLE_SERVICE_ACCOUNT")]
    google_service_account: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Object store azure")]
struct AzureFlags {
    /// Storage account
    #[arg(long, value_name = "NAME", env = "AZURE_STORAGE_ACCOUNT")]
    azure_storage_account: Option<String>,
    /// Key of the account; without it, the identity of the machine
    #[arg(long, value_name = "KEY", env = "AZURE_STORAGE_ACCESS_KEY", value_parser = secret)]
    azure_storage_access_key: Option<Secret>,
    /// Where the blob service listens
    #[arg(long, value_name = "URL", env = "AZURE_ENDPOINT")]
    azure_endpoint: Option<String>,
    /// Allow an endpoint without TLS
    #[arg(long, env = "AZURE_ALLOW_HTTP", action = ArgAction::Set, value_parser = BoolishValueParser::new(),
          num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
          hide_default_value = true, hide_possible_values = true)]
    azure_allow_http: bool,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Object stores behind a network")]
struct TransportFlags {
    /// Requests that are under way at one time; heartbeats and the catalog log have their own beside them
    #[arg(long, value_name = "N", env = "INFLUXDB3_OBJECT_STORE_CONNECTION_LIMIT", default_value_t = 16,
          value_parser = value_parser!(u16).range(1..))]
    object_store_connection_limit: u16,
    /// Speak HTTP/2 only
    #[arg(long, env = "INFLUXDB3_OBJECT_STORE_HTTP2_ONLY", action = ArgAction::SetTrue,
          value_parser = BoolishValueParser::new())]
    object_store_http2_only: bool,
    /// Largest frame of HTTP/2, in bytes
    #[arg(long, value_name = "BYTES", env = "INFLUXDB3_OBJECT_STORE_HTTP2_MAX_FRAME_SIZE",
          value_parser = value_parser!(u32).range(16_384..=16_777_215))]
    object_store_http2_max_frame_size: Option<u32>,
    /// Longest time a request may take
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_OBJECT_STORE_REQUEST_TIMEOUT", default_value = "30s",
          value_parser = config::parse_interval)]
    object_store_request_timeout: Duration,
    /// How often the client repeats a request by itself; what must be settled is asked again after that
    #[arg(long, value_name = "N", env = "INFLUXDB3_OBJECT_STORE_MAX_RETRIES", default_value_t = 10)]
    object_store_max_retries: u16,
    /// The client repeats nothing so long after the first attempt
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_OBJECT_STORE_RETRY_TIMEOUT", default_value = "10s",
          value_parser = config::parse_duration)]
    object_store_retry_timeout: Duration,
    /// Accept any certificate; for trials only
    #[arg(long, env = "INFLUXDB3_OBJECT_STORE_TLS_ALLOW_INSECURE", action = ArgAction::SetTrue,
          value_parser = BoolishValueParser::new())]
    object_store_tls_allow_insecure: bool,
    /// PEM file with certificates that are trusted beside those of the system
    #[arg(long, value_name = "PATH", env = "INFLUXDB3_OBJECT_STORE_TLS_CA")]
    object_store_tls_ca: Option<PathBuf>,
}

/// Variables that tell a process who it is on the machines of the providers.
const AMBIENT: [&str; 16] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_IDENTITY_ENDPOINT",
    "IDENTITY_ENDPOINT",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

#[expect(clippy::unnecessary_wraps, reason = "what clap calls")]
pub(super) fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text))
}

/// The store the flags describe.
pub(crate) fn resolve(flags: StoreFlags, kind: Kind, around: &Surroundings<'_>) -> Result<Store, String> {
    let StoreFlags { place, aws, google, azure, transport } = flags;
    let default_root = || match (kind, &around.home) {
        (Kind::QuickStart, Some(home)) => Ok(home.join(".weir")),
        _ => Err("--object-store file needs --data-dir".to_owned()),
    };
    let (http, service) = match (place.object_store, kind) {
        (Some(StoreKind::Memory), _) => return Ok(Store::Memory),
        (Some(StoreKind::MemoryThrottled), _) => return Ok(Store::ThrottledMemory),
        (Some(StoreKind::File), _) | (None, Kind::QuickStart) => {
            return Ok(Store::File { root: place.data_dir.map_or_else(default_root, Ok)? });
        }
        (None, Kind::Serve) => {
            return Err("--object-store is missing: memory, memory-throttled, file, s3, google or azure".to_owned());
        }
        (Some(StoreKind::S3), _) => {
            let http = Http::from(aws.aws_allow_http);
            check_endpoint("aws", aws.aws_endpoint.as_deref(), http)?;
            (http, s3(aws)?)
        }
        (Some(StoreKind::Azure), _) => {
            let http = Http::from(azure.azure_allow_http);
            check_endpoint("azure", azure.azure_endpoint.as_deref(), http)?;
            (http, self::azure(azure)?)
        }
        // Its endpoint is not ours to choose: a service account for an emulator names one, with TLS or without.
        (Some(StoreKind::Google), _) => {
            (Http::Allowed, Service::Google(Google { service_account: google.google_service_account }))
        }
    };
    let bucket = place.bucket.ok_or("the object stores s3, google and azure need --bucket")?;
    let known = |name: &&str| Some(((*name).to_owned(), Secret::new((around.read_variable)(name)?)));
    let ambient = AMBIENT.iter().filter_map(known).collect();
    Ok(Store::Remote(Box::new(Remote { service, bucket, transport: self::transport(transport, http), ambient })))
}

/// Whether an endpoint may be without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Http {
    Allowed,
    Refused,
}

impl From<bool> for Http {
    fn from(is_allowed: bool) -> Self {
        if is_allowed { Self::Allowed } else { Self::Refused }
    }
}

/// Keys must not cross a network in the open by mistake.
fn check_endpoint(provider: &str, endpoint: Option<&str>, http: Http) -> Result<(), String> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    if endpoint.starts_with("https://") || (http == Http::Allowed && endpoint.starts_with("http://")) {
        Ok(())
    } else if endpoint.starts_with("http://") {
        Err(format!("--{provider}-endpoint {endpoint} is without TLS, which needs --{provider}-allow-http"))
    } else {
        Err(format!("--{provider}-endpoint {endpoint} must begin with https:// or http://"))
    }
}

fn s3(flags: AwsFlags) -> Result<Service, String> {
    let AwsFlags {
        aws_access_key_id,
        aws_secret_access_key,
        aws_session_token,
        aws_credentials_file,
        aws_default_region,
        aws_endpoint,
        aws_allow_http: _,
        aws_skip_signature,
        // It tells nothing that is not so already: see its help.
        aws_s3_custom_backend: _,
    } = flags;
    let keys = match (aws_credentials_file, aws_access_key_id, aws_secret_access_key) {
        _ if aws_skip_signature => S3Keys::None,
        (Some(path), ..) => S3Keys::File(path),
        (None, Some(id), Some(secret)) => S3Keys::Given { id, secret, session_token: aws_session_token },
        (None, Some(_), None) => return Err("--aws-access-key-id needs --aws-secret-access-key".to_owned()),
        (None, None, Some(_)) => return Err("--aws-secret-access-key needs --aws-access-key-id".to_owned()),
        (None, None, None) => S3Keys::Ambient,
    };
    Ok(Service::S3(S3 { keys, region: aws_default_region, endpoint: aws_endpoint }))
}

fn azure(flags: AzureFlags) -> Result<Service, String> {
    let AzureFlags { azure_storage_account, azure_storage_access_key, azure_endpoint, azure_allow_http: _ } = flags;
    Ok(Service::Azure(Azure {
        account: azure_storage_account.ok_or("--object-store azure needs --azure-storage-account")?,
        access_key: azure_storage_access_key,
        endpoint: azure_endpoint,
    }))
}

fn transport(flags: TransportFlags, http: Http) -> Transport {
    Transport {
        connections_max: usize::from(flags.object_store_connection_limit),
        http2_only: flags.object_store_http2_only,
        http2_frame_bytes_max: flags.object_store_http2_max_frame_size,
        request_timeout: flags.object_store_request_timeout,
        retries_max: usize::from(flags.object_store_max_retries),
        retry_timeout: flags.object_store_retry_timeout,
        allow_http: http == Http::Allowed,
        allow_any_certificate: flags.object_store_tls_allow_insecure,
        certificates: flags.object_store_tls_ca,
    }
}
