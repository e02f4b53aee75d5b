//! Token files: tokens that were made without a server, for a start that nobody attends.
//!
//! # Promises
//! - What is wrong with a file is told with its path, and never with what stands in it.
//! - A file that anybody may write to is refused: whoever wrote it last would be an admin.
//! - A file is written whole or not at all, readable for its owner alone.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use storage::catalog::{GivenToken, OPERATOR_TOKEN, PermissionText, Secret, check_database_name};

/// The tokens that files give, each with its path.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenFiles {
    pub(crate) admin: Option<(PathBuf, GivenToken)>,
    pub(crate) resources: Option<(PathBuf, GivenResources)>,
}

/// Tokens with permissions, and databases they may need.
#[derive(Debug, Clone)]
pub(crate) struct GivenResources {
    pub(crate) databases: Vec<String>,
    pub(crate) tokens: Vec<(GivenToken, Vec<PermissionText>)>,
}

/// A token as files have it.
#[derive(Serialize, Deserialize)]
struct Entry {
    token: String,
    #[serde(default = "operator_name")]
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry_millis: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct ResourceEntry {
    token: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry_millis: Option<u64>,
    permissions: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
struct ResourceFile {
    #[serde(default)]
    create_databases: Vec<String>,
    tokens: Vec<ResourceEntry>,
}

fn operator_name() -> String {
    OPERATOR_TOKEN.to_owned()
}

/// Files of tokens are small; something larger is something else.
const BYTES_MAX: u64 = 1 << 20;

/// A file with one admin token. The warning, if any, is about who may read it.
pub(crate) fn read_admin_token(path: &Path, warnings: &mut Vec<String>) -> Result<GivenToken, String> {
    let form = "an object with token, and perhaps name and expiry_millis";
    let Entry { token, name, expiry_millis } = read(path, form, warnings)?;
    given(&name, &token, expiry_millis).map_err(|problem| format!("{}: {problem}", path.display()))
}

/// A file with tokens and their permissions.
pub(crate) fn read_permission_tokens(path: &Path, warnings: &mut Vec<String>) -> Result<GivenResources, String> {
    let ResourceFile { create_databases, tokens } = read(path, RESOURCE_FORM, warnings)?;
    let problem = |problem: String| format!("{}: {problem}", path.display());
    if let Some(wrong) = create_databases.iter().find_map(|name| check_database_name(name).err()) {
        return Err(problem(wrong));
    }
    let mut names = BTreeSet::new();
    let mut read = Vec::new();
    for ResourceEntry { token, name, expiry_millis, permissions } in tokens {
        if !names.insert(name.clone()) {
            return Err(problem(format!("token '{}' is there twice", name.escape_debug())));
        }
        let permissions: Result<_, _> = permissions.iter().map(|text| PermissionText::parse(text)).collect();
        let permissions = permissions.map_err(|error| problem(error.to_string()))?;
        read.push((given(&name, &token, expiry_millis).map_err(problem)?, permissions));
    }
    Ok(GivenResources { databases: create_databases, tokens: read })
}

const RESOURCE_FORM: &str = "an object with tokens, each with token, name, permissions and perhaps expiry_millis, and \
                             perhaps with create_databases";

fn given(name: &str, token: &str, expires_at_ms: Option<u64>) -> Result<GivenToken, String> {
    let secret = Secret::parse(token).map_err(|problem| format!("token '{}' {problem}", name.escape_debug()))?;
    GivenToken::new(name, secret, expires_at_ms).map_err(|error| error.to_string())
}

fn read<T: DeserializeOwned>(path: &Path, form: &str, warnings: &mut Vec<String>) -> Result<T, String> {
    let shown = path.display();
    let failed = |error: io::Error| format!("{shown}: {error}");
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("{shown}: not a file"));
    }
    let mode = metadata.permissions().mode();
    if mode & 0o002 != 0 {
        return Err(format!(
            "{shown}: anybody on this machine may write to it (mode {:o}); chmod 600 it",
            mode & 0o777
        ));
    }
    if mode & 0o004 != 0 {
        warnings.push(format!("{shown} holds tokens, and anybody on this machine may read it; chmod 600 it"));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    // What serde says of a wrong value has the value in it, which may be a secret.
    serde_json::from_slice(&bytes).map_err(|error| {
        format!("{shown}, line {}, column {}: not JSON of the form: {form}", error.line(), error.column())
    })
}

/// Writes a new file with one admin token.
pub(crate) fn write_admin_token(path: &Path, given: &GivenToken) -> Result<(), String> {
    let GivenToken { name, secret, expires_at_ms } = given;
    let token = secret.reveal().to_owned();
    let entry = Entry { token, name: name.clone(), expiry_millis: *expires_at_ms };
    let created = create(path).and_then(|file| write(file, &entry));
    created.map_err(|error| format!("{}: {error}", path.display()))
}

/// Adds a token and databases to a file, or makes the file.
pub(crate) fn add_permission_token(
    path: &Path,
    (given, permissions): (&GivenToken, &[String]),
    databases: &[String],
) -> Result<(), String> {
    let mut contents = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => ResourceFile::default(),
        _ => read(path, RESOURCE_FORM, &mut Vec::new())?,
    };
    let GivenToken { name, secret, expires_at_ms } = given;
    if contents.tokens.iter().any(|entry| entry.name == *name) {
        return Err(format!("{}: it has a token '{}' already", path.display(), name.escape_debug()));
    }
    let new = databases.iter().filter(|name| !contents.create_databases.contains(name));
    let new: Vec<_> = new.cloned().collect();
    contents.create_databases.extend(new);
    contents.tokens.push(ResourceEntry {
        token: secret.reveal().to_owned(),
        name: name.clone(),
        expiry_millis: *expires_at_ms,
        permissions: permissions.to_vec(),
    });
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let written = create(&draft).and_then(|file| write(file, &contents)).and_then(|()| fs::rename(&draft, path));
    written.map_err(|error| format!("{}: {error}", draft.display()))
}

/// A file that did not exist, for its owner alone.
fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn write(mut file: File, contents: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(contents)?;
    text.push('\n');
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
