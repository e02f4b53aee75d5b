//! Who may do what: tokens carry permissions, a request carries an `Access`.

use crate::model::DatabaseId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub u64);

/// One grant of a token: actions on a kind of resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    pub resource: Resource,
    pub actions: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// Everything; only ever granted as a whole (`*:*:*`).
    All,
    /// Every database, also those that do not exist yet.
    AnyDatabase,
    Database(DatabaseId),
    /// Every system endpoint.
    AnySystem,
    /// One system endpoint: `health`, `metrics`, `ping`, `ready`.
    System(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Read,
    Write,
    Describe,
    Create,
    Delete,
}

/// What the sender of one request may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// `None` without authentication.
    pub token: Option<TokenId>,
    /// Empty grants nothing; admin access holds one `Resource::All`.
    pub permissions: Vec<Permission>,
}

impl Access {
    /// What a request may do on a server that was started without authentication.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self { token: None, permissions: vec![Permission { resource: Resource::All, actions: Vec::new() }] }
    }

    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.permissions.iter().any(|p| p.resource == Resource::All)
    }

    /// Whether `action` on `database` is granted. The entry for the database decides when there is one; else the entry
    /// for all databases; the two are not united. `None` is a database that does not exist yet.
    #[must_use]
    pub fn allows(&self, database: Option<DatabaseId>, action: Action) -> bool {
        let granted = |resource: &Resource| {
            let mut entries = self.permissions.iter().filter(|p| p.resource == *resource).peekable();
            entries.peek().is_some().then(|| entries.any(|p| p.actions.contains(&action)))
        };
        let exact = database.and_then(|id| granted(&Resource::Database(id)));
        self.is_admin() || exact.or_else(|| granted(&Resource::AnyDatabase)).unwrap_or(false)
    }

    /// Whether reading the system endpoint `name` is granted.
    #[must_use]
    pub fn allows_system(&self, name: &str) -> bool {
        self.is_admin()
            || self.permissions.iter().any(|p| match &p.resource {
                Resource::AnySystem => p.actions.contains(&Action::Read),
                Resource::System(system) => system == name && p.actions.contains(&Action::Read),
                _ => false,
            })
    }
}
