//! Keys of S3 in a JSON file that somebody else keeps fresh.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::AwsCredential;
use object_store::{CredentialProvider, Error, Result};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

/// The file is read again when a key is wanted and it was read so long ago. So new keys count at once, whether the old
/// ones expired, were refused, or were replaced before their time; a request that failed is tried again with them.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// Whoever signs asks here first.
pub(super) struct CredentialsFile {
    path: PathBuf,
    read: Mutex<Read>,
}

/// What was read last.
struct Read {
    credential: Arc<AwsCredential>,
    at: Instant,
}

/// What stands in the file. When the keys expire is written there too; it is not asked, see `FRESH_FOR`.
#[derive(Deserialize)]
struct Keys {
    aws_access_key_id: String,
    aws_secret_access_key: String,
    aws_session_token: Option<String>,
}

impl CredentialsFile {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let read = Mutex::new(Read { credential: read(path)?, at: Instant::now() });
        Ok(Self { path: path.to_owned(), read })
    }
}

fn read(path: &Path) -> Result<Arc<AwsCredential>> {
    let fail =
        |reason: String| Error::Generic { store: "S3", source: format!("read {}: {reason}", path.display()).into() };
    let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    // Its own message may quote a value.
    let keys: Keys = serde_json::from_slice(&bytes).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        fail(format!("not JSON with aws_access_key_id and aws_secret_access_key, at {place}"))
    })?;
    let Keys { aws_access_key_id, aws_secret_access_key, aws_session_token } = keys;
    Ok(Arc::new(AwsCredential {
        key_id: aws_access_key_id,
        secret_key: aws_secret_access_key,
        token: aws_session_token,
    }))
}

#[async_trait]
impl CredentialProvider for CredentialsFile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> Result<Arc<AwsCredential>> {
        let mut last = self.read.lock();
        if last.at.elapsed() >= FRESH_FOR {
            last.at = Instant::now();
            match read(&self.path) {
                Ok(credential) => last.credential = credential,
                // It may be being replaced; the service decides whether the old keys are still good.
                Err(error) => tracing::warn!(%error, "the keys read before are used"),
            }
        }
        Ok(Arc::clone(&last.credential))
    }
}

impl std::fmt::Debug for CredentialsFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialsFile").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn new_keys_count_at_once_and_a_damaged_file_changes_nothing() {
        let path = std::env::temp_dir().join(format!("weir-keys-{}.json", std::process::id()));
        let put = |text: &str| std::fs::write(&path, text).expect("the folder for temporary files can be written");
        put(r#"{"aws_access_key_id": "one", "aws_secret_access_key": "s1"}"#);
        let file = CredentialsFile::open(&path).expect("the file is right");
        let now = async |id: &str| assert_eq!(file.get_credential().await.expect("there are keys").key_id, id);
        now("one").await;
        put(r#"{"aws_access_key_id": "two", "aws_secret_access_key": "s2", "aws_session_token": "t", "expiry": 1}"#);
        tokio::time::advance(FRESH_FOR).await;
        now("two").await;
        put(r#"{"aws_access_key_id": "#);
        tokio::time::advance(FRESH_FOR).await;
        now("two").await;

        put(r#"{"aws_access_key_id": 5, "aws_secret_access_key": "hidden-value"}"#);
        let error = CredentialsFile::open(&path).expect_err("a number is no key").to_string();
        assert!(error.contains("weir-keys") && !error.contains("hidden-value"), "{error}");
        std::fs::remove_file(&path).expect("it is ours");
        assert!(CredentialsFile::open(&path).is_err());
    }
}
