//! Permissions as people write them, `TYPE:NAMES:ACTIONS`, and as tokens keep them.

use super::invalid;
use crate::catalog::{Action, Error, Permission, Resource, State, Token};
use crate::model::ErrorKind;

const ANY: &str = "*";

/// The system endpoints that can be granted.
const SYSTEM_NAMES: &[&str] = &["health", "metrics", "ping", "ready"];

const ACTIONS: &[(&str, Action)] = &[
    ("read", Action::Read),
    ("write", Action::Write),
    ("describe", Action::Describe),
    ("create", Action::Create),
    ("delete", Action::Delete),
];

/// One grant as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionText {
    /// `db`, `system` or `*`.
    pub resource_type: String,
    pub resource_names: Vec<String>,
    pub actions: Vec<String>,
}

impl PermissionText {
    /// Takes `db:a,b:read,write` apart. What the words mean is seen only when a token is made.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let list = |names: &str| names.split(',').map(|name| name.trim().to_owned()).collect();
        match *text.split(':').collect::<Vec<_>>() {
            [resource_type, names, actions] => Ok(Self {
                resource_type: resource_type.trim().to_owned(),
                resource_names: list(names),
                actions: list(actions),
            }),
            _ => Err(invalid(format!("permission '{}' is not of the form TYPE:NAMES:ACTIONS", text.escape_debug()))),
        }
    }
}

/// What these texts grant in `state`; grants for one resource are united.
pub(super) fn resolve(state: &State, texts: &[PermissionText]) -> Result<Vec<Permission>, Error> {
    if texts.is_empty() {
        return Err(invalid("a token needs at least one permission".to_owned()));
    }
    let mut permissions: Vec<Permission> = Vec::new();
    for text in texts {
        let actions = actions_of(text)?;
        for resource in resources_of(state, text)? {
            match permissions.iter_mut().find(|p| p.resource == resource) {
                Some(known) => known.actions.extend(&actions),
                None => permissions.push(Permission { resource, actions: actions.clone() }),
            }
        }
    }
    for permission in &mut permissions {
        let granted = std::mem::take(&mut permission.actions);
        permission.actions = ACTIONS.iter().map(|(_, a)| *a).filter(|a| granted.contains(a)).collect();
    }
    Ok(permissions)
}

fn resources_of(state: &State, text: &PermissionText) -> Result<Vec<Resource>, Error> {
    let PermissionText { resource_type, resource_names, actions } = text;
    let any = is_any(resource_names, "resource name")?;
    match (resource_type.as_str(), any) {
        (ANY, true) if is_any(actions, "action")? => Ok(vec![Resource::All]),
        (ANY, _) => Err(invalid("the resource type '*' can only be granted as a whole, as *:*:*".to_owned())),
        ("db", true) => Ok(vec![Resource::AnyDatabase]),
        ("db", false) => resource_names.iter().map(|name| database(state, name)).collect(),
        ("system", true) => Ok(vec![Resource::AnySystem]),
        ("system", false) => resource_names.iter().map(|name| system(name)).collect(),
        (other, _) => {
            Err(invalid(format!("unknown resource type '{}', expected 'db', 'system' or '*'", other.escape_debug())))
        }
    }
}

fn database(state: &State, name: &str) -> Result<Resource, Error> {
    match state.database(name) {
        Some(database) => Ok(Resource::Database(database.id)),
        None => Err(Error::refused(ErrorKind::NotFound, format!("Database not found {}", name.escape_debug()))),
    }
}

fn system(name: &str) -> Result<Resource, Error> {
    if SYSTEM_NAMES.contains(&name) {
        return Ok(Resource::System(name.to_owned()));
    }
    let known = SYSTEM_NAMES.join("', '");
    Err(invalid(format!("unknown system resource '{}', expected '{known}' or '*'", name.escape_debug())))
}

fn actions_of(text: &PermissionText) -> Result<Vec<Action>, Error> {
    let system = text.resource_type == "system";
    if is_any(&text.actions, "action")? {
        return Ok(match text.resource_type.as_str() {
            // Nothing is said of actions where everything is granted.
            ANY => Vec::new(),
            "system" => vec![Action::Read],
            _ => ACTIONS.iter().map(|(_, action)| *action).collect(),
        });
    }
    let action = |name: &String| match ACTIONS.iter().find(|(word, _)| word == name) {
        Some((_, action)) if !system || *action == Action::Read => Ok(*action),
        Some(_) => Err(invalid(format!("action '{name}' cannot be granted on system resources, only 'read'"))),
        None => {
            let known = ACTIONS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join("', '");
            Err(invalid(format!("unknown action '{}', expected '{known}' or '*'", name.escape_debug())))
        }
    };
    text.actions.iter().map(action).collect()
}

/// Whether the list is `*`; an empty list, and `*` among other words, is refused.
fn is_any(list: &[String], what: &str) -> Result<bool, Error> {
    if list.iter().all(String::is_empty) {
        return Err(invalid(format!("a permission needs at least one {what}")));
    }
    let any = list.iter().any(|word| word == ANY);
    if any && list.len() > 1 {
        return Err(invalid(format!("mixed wildcard (*) and {what}")));
    }
    Ok(any)
}

/// The permissions of a token as people write them, several joined by `,`. Databases that are forgotten are shown by
/// number.
#[must_use]
pub fn permissions_text(token: &Token, state: &State) -> String {
    let mut groups: Vec<(&str, Vec<String>, String)> = Vec::new();
    for permission in &token.permissions {
        let (kind, name) = words(&permission.resource, state);
        let actions = action_words(permission);
        // Databases with the same actions stand together; a wildcard stands alone.
        let joins = |(k, names, a): &&mut (&str, Vec<String>, String)| {
            *k == kind && *a == actions && name != ANY && names.iter().all(|n| n != ANY)
        };
        match groups.iter_mut().find(joins) {
            Some((_, names, _)) => names.push(name),
            None => groups.push((kind, vec![name], actions)),
        }
    }
    let texts: Vec<String> =
        groups.iter().map(|(kind, names, actions)| format!("{kind}:{}:{actions}", names.join(","))).collect();
    texts.join(",")
}

fn words<'a>(resource: &Resource, state: &State) -> (&'a str, String) {
    match resource {
        Resource::All => (ANY, ANY.to_owned()),
        Resource::AnyDatabase => ("db", ANY.to_owned()),
        Resource::Database(id) => {
            ("db", state.databases.get(id).map_or_else(|| format!("#{id}"), |d| d.name.to_string()))
        }
        Resource::AnySystem => ("system", ANY.to_owned()),
        Resource::System(name) => ("system", name.clone()),
    }
}

fn action_words(permission: &Permission) -> String {
    if permission.resource == Resource::All {
        return ANY.to_owned();
    }
    let granted = ACTIONS.iter().filter(|(_, action)| permission.actions.contains(action));
    granted.map(|(word, _)| *word).collect::<Vec<_>>().join(",")
}
