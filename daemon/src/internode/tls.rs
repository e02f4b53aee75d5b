//! Certificates of both sides, read once at the start.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{AlertDescription, CertificateError, ClientConfig, Error, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::InternodeTls;
use crate::tls;

/// What gRPC is called in a handshake.
const PROTOCOL: &[u8] = b"h2";

#[derive(Clone)]
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    pub(super) connector: TlsConnector,
}

impl Tls {
    pub(super) fn read(files: &InternodeTls) -> Result<Self, String> {
        let InternodeTls { cert, key, ca } = files;
        let chain = tls::certificates(cert).map_err(between)?;
        let key = tls::key(key).map_err(between)?;
        let roots = Arc::new(tls::authorities(ca).map_err(between)?);
        let provider = Arc::new(ring::default_provider());
        let unusable = |error: &dyn Display| of_file(cert, error);

        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(clients.map_err(|error| of_file(ca, &error))?)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| unusable(&error))?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable(&error))?;
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self { acceptor: Arc::new(server).into(), connector: Arc::new(client).into() })
    }
}

/// Speaks to `host` once it has accepted our certificate, and we have accepted its own.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    connector: &TlsConnector,
    host: &str,
    stream: S,
) -> io::Result<BufReader<TlsStream<S>>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut stream = BufReader::new(connector.connect(name, stream).await?);
    // Our side of the handshake ends before the other one has looked at our certificate. If it does not like it, it says
    // so in the place of its first bytes, which come unasked in HTTP/2.
    stream.fill_buf().await?;
    Ok(stream)
}

/// Whether the other side does not speak TLS as it must, and not only broke off.
pub(super) fn is_of_tls(error: &io::Error) -> bool {
    tls_error(error).is_some()
}

/// What a person must look at, in the same words at each try.
pub(super) fn trouble_with_certificates(error: &io::Error) -> Option<String> {
    match tls_error(error)? {
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Some("its certificate has expired".to_owned())
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            Some("its certificate is not good yet".to_owned())
        }
        error @ (Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => Some(error.to_string()),
        Error::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError),
        ) => Some(format!("it does not accept our certificate: {alert:?}")),
        _ => None,
    }
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn of_file(path: &Path, error: &dyn Display) -> String {
    between(tls::of_file(path, error))
}

fn between(trouble: String) -> String {
    format!("certificates between nodes: {trouble}")
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn file(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tls").join(name)
    }

    fn node(name: &str) -> Tls {
        Tls::read(&InternodeTls { cert: file(name), key: file(name), ca: file("nodes-ca.pem") })
            .expect("the files are there")
    }

    /// A client that shows no certificate.
    fn nobody() -> TlsConnector {
        let roots = tls::authorities(&file("nodes-ca.pem")).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let client = client.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        Arc::new(client.with_no_client_auth()).into()
    }

    /// What stands against the call of a client, by its own word: `Some(None)` when it is no certificate.
    async fn trouble(server: &Tls, client: &TlsConnector) -> Option<Option<String>> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let serve = async {
            let mut stream = server.acceptor.accept(far).await?;
            stream.write_all(b"hello").await?;
            stream.flush().await
        };
        let (served, connected) = tokio::join!(serve, connect(client, "127.0.0.1", near));
        assert_eq!(served.is_ok(), connected.is_ok(), "both sides know: {served:?} {connected:?}");
        connected.err().map(|error| trouble_with_certificates(&error))
    }

    #[track_caller]
    fn check(trouble: Option<Option<String>>, expected: &str) {
        let trouble = trouble.expect("it is refused").expect("for its certificate");
        assert!(trouble.contains(expected), "{trouble}");
    }

    #[tokio::test]
    async fn only_two_certificates_of_the_authority_and_the_right_name_go_together() {
        let (good, stranger, elsewhere) = (node("node.pem"), node("node-stranger.pem"), node("node-elsewhere.pem"));
        assert_eq!(trouble(&good, &good.connector).await, None);
        check(trouble(&good, &nobody()).await, "our certificate: CertificateRequired");
        check(trouble(&good, &stranger.connector).await, "our certificate: UnknownCA");
        check(trouble(&stranger, &good.connector).await, "UnknownIssuer");
        check(trouble(&elsewhere, &good.connector).await, "elsewhere.test");
        assert_eq!(trouble(&good, &elsewhere.connector).await, None, "a caller may be anywhere");
    }

    #[tokio::test]
    async fn a_node_that_dies_in_a_handshake_is_no_trouble_with_certificates() {
        let (near, far) = tokio::io::duplex(1 << 16);
        drop(far);
        let error = connect(&node("node.pem").connector, "127.0.0.1", near).await.expect_err("nobody is there");
        assert_eq!((trouble_with_certificates(&error), is_of_tls(&error)), (None, false), "{error}");
    }
}
