//! What one statement of a Postgres client knows of the names there are: relations by number and by name, sizes, settings.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::PgSession;
use super::relations::{NAMESPACES, Relation, relations};
use crate::system::World;

/// The schema in which names without one are looked for.
const PG_CATALOG: &str = "pg_catalog";

/// Made for one statement; what is in it is found out when it is first asked for.
pub(crate) struct Directory {
    pub(super) world: World,
    pub(super) session: Arc<PgSession>,
    found: OnceLock<Found>,
}

struct Found {
    relations: Vec<Relation>,
    by_oid: HashMap<i64, usize>,
    by_name: HashMap<(&'static str, String), usize>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Directory {
    pub(crate) fn new(world: World, session: Arc<PgSession>) -> Self {
        Self { world, session, found: OnceLock::new() }
    }

    /// The schemas of the search path that exist, in their order. As in Postgres `pg_catalog` is the first unless the
    /// path says where it is: a table of a user can have no name by which catalogs are asked for.
    pub(crate) fn path(&self) -> Vec<&'static str> {
        let mut path: Vec<&'static str> = Vec::new();
        for schema in &self.session.search_path {
            let known = |(_, name): &&(i64, &'static str)| *name == plain_schema(schema);
            if let Some((_, name)) = NAMESPACES.iter().find(known)
                && !path.contains(name)
            {
                path.push(name);
            }
        }
        if !path.contains(&PG_CATALOG) {
            path.insert(0, PG_CATALOG);
        }
        path
    }

    /// The path as the client set it, without what it does not say.
    pub(super) fn said_path(&self) -> Vec<&'static str> {
        let is_said = self.session.search_path.iter().any(|schema| schema == PG_CATALOG);
        self.path().into_iter().skip(usize::from(!is_said)).collect()
    }

    /// The schema that is searched first.
    pub(super) fn current_schema(&self) -> Option<&'static str> {
        self.said_path().first().copied()
    }

    fn found(&self) -> &Found {
        self.found.get_or_init(|| {
            let relations = relations(&self.world);
            let by_oid = relations.iter().enumerate().map(|(i, relation)| (relation.oid, i)).collect();
            let by_name = relations.iter().enumerate();
            let by_name = by_name.map(|(i, r)| ((r.namespace_name(), r.name.clone()), i)).collect();
            Found { relations, by_oid, by_name }
        })
    }

    pub(super) fn relations(&self) -> &[Relation] {
        &self.found().relations
    }

    /// The relation a text names: `a`, `s.a`, `"A"`.
    pub(super) fn relation(&self, text: &str) -> Option<&Relation> {
        let mut parts = name_parts(text);
        let name = parts.pop()?;
        match parts.last() {
            Some(schema) => self.in_schema(plain_schema(schema), name),
            None => self.path().into_iter().find_map(|schema| self.in_schema(schema, name.clone())),
        }
    }

    fn in_schema(&self, schema: &str, name: String) -> Option<&Relation> {
        let (_, schema) = NAMESPACES.iter().find(|(_, known)| *known == schema)?;
        let found = self.found();
        found.by_name.get(&(*schema, name)).map(|index| &found.relations[*index])
    }

    pub(super) fn by_oid(&self, oid: i64) -> Option<&Relation> {
        let found = self.found();
        found.by_oid.get(&oid).map(|index| &found.relations[*index])
    }

    /// Whether its name alone means it.
    pub(super) fn is_visible(&self, relation: &Relation) -> bool {
        let mut path = self.path().into_iter();
        path.find_map(|schema| self.in_schema(schema, relation.name.clone())).is_some_and(|r| r.oid == relation.oid)
    }

    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        let found = self.session.settings.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Users' tables have two schemas, which are one.
fn plain_schema(schema: &str) -> &str {
    if schema == "iox" { "public" } else { schema }
}

/// `a."B c"` is the names `a` and `B c`.
pub(super) fn name_parts(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => part.extend(chars.next()),
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            c if quoted => part.push(c),
            c => part.extend(c.to_lowercase()),
        }
    }
    parts.push(part);
    parts
}

/// A name as it is written in SQL.
pub(super) fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if starts_plain && name.chars().all(is_plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        check("a", &["a"]);
        check("S.Tab", &["s", "tab"]);
        check("public.\"A.b\"\"c\"", &["public", "A.b\"c"]);
    }

    #[track_caller]
    fn check(text: &str, parts: &[&str]) {
        assert_eq!(name_parts(text), parts, "{text}");
        let written: Vec<String> = parts.iter().map(|part| quoted(part)).collect();
        assert_eq!(name_parts(&written.join(".")), parts, "{text}");
    }
}
