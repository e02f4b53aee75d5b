//! Certificates and keys, as files of PEM have them.
//!
//! # Promises
//! - An error names the file. Keys are never in one.
//!
//! # Not here
//! - Who is asked for a certificate, and who is believed: each protocol says so.

use std::fmt::Display;
use std::path::Path;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificates in a file, which holds one at least.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(of_file(path, &"there is no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(of_file(path, &error)),
    }
}

/// The first key in a file.
pub(crate) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| of_file(path, &error))
}

/// The authorities whose certificates are in a file.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for root in certificates(path)? {
        roots.add(root).map_err(|error| of_file(path, &error))?;
    }
    Ok(roots)
}

/// What is wrong with a file.
pub(crate) fn of_file(path: &Path, error: &dyn Display) -> String {
    format!("{}: {error}", path.display())
}
