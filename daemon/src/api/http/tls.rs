//! TLS of the ports, and towards other nodes.
//!
//! # Promises
//! - Certificate and key are read once, at the start; what is wrong with them is told with the name of the file.
//! - Another node whose address begins with `https` is asked only when an authority vouches for it: the one that was
//!   named, else those of the system.

use std::fmt;
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::config::{HttpConfig, HttpTls, TlsVersion};
use crate::tls;

/// What takes the connections of clients, and offers them these protocols, best first.
pub(super) fn acceptor(files: &HttpTls, protocols: &[&[u8]]) -> Result<TlsAcceptor, String> {
    let HttpTls { cert, key, minimum } = files;
    let versions: &[&SupportedProtocolVersion] = match minimum {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let unusable = |error: &dyn fmt::Display| format!("--tls-cert {}", tls::of_file(cert, error));
    let chain = tls::certificates(cert).map_err(|error| format!("--tls-cert {error}"))?;
    let key = tls::key(key).map_err(|error| format!("--tls-key {error}"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .map_err(|error| unusable(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&error))?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config).into())
}

/// Whom this node believes to be another one.
#[derive(Clone)]
pub(crate) struct Trust(pub(super) ClientConfig);

impl Trust {
    pub(crate) fn of(config: &HttpConfig) -> Result<Self, String> {
        let unusable = |error: &dyn fmt::Display| format!("--http-tls-ca: {error}");
        let builder = || {
            let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
            builder.with_safe_default_protocol_versions().map_err(|error| unusable(&error))
        };
        let roots = match &config.authority {
            Some(path) => tls::authorities(path).map_err(|error| format!("--http-tls-ca {error}"))?,
            None => match builder()?.with_native_roots() {
                Ok(builder) => return Ok(Self(builder.with_no_client_auth())),
                Err(error) => {
                    tracing::debug!(%error, "this system knows no authority, and so no other node with https");
                    RootCertStore::empty()
                }
            },
        };
        Ok(Self(builder()?.with_root_certificates(roots).with_no_client_auth()))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}
