use std::sync::Arc;
use std::time::Duration;

use futures::future;
use storage::bucket::Secret;
use storage::catalog::{self, Access, Asked, Catalog, CreatedToken, Deletion, Error, Node, State};
use storage::cluster::{Condition, Member};
use storage::model::{ErrorKind, NodeId, TableId, TimeRange};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Command, Compacted, Grant, Hands, Named, TableRef};
use crate::settings::Shown;
use crate::system::{Cancelled, Facts, Peers, Told};

/// Performs commands on a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operator {
    pub catalog: Arc<Catalog>,
    pub member: Member,
    pub facts: Arc<Facts>,
    pub peers: Arc<dyn Peers>,
    pub hands: Hands,
}

/// Who asks, and by which way in.
#[derive(Debug, Clone)]
pub struct Asker {
    pub access: Access,
    /// What the asker showed, for other nodes to judge.
    pub token: Option<Secret>,
    pub door: &'static str,
    /// How long the asker waits for what takes its time; `None` for as long as it takes.
    pub within: Option<Duration>,
    /// Thrown when the asker is to wait no longer.
    pub cancelled: CancellationToken,
}

impl Asker {
    /// Waits for what goes on by itself, `within` at the longest; the error is until when it was waited for. It is begun
    /// also when nobody waits for it.
    pub(super) async fn wait<T>(&self, within: Option<Duration>, work: impl Future<Output = T>) -> Result<T, String> {
        let late = async {
            match within {
                Some(within) => tokio::time::sleep(within).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = work => Ok(done),
            // Both are only waits.
            () = self.cancelled.cancelled() => Err("until the wait was cancelled".to_owned()),
            () = late => Err(format!("within {:?}", within.unwrap_or_default())),
        }
    }
}

/// What came of a command.
#[derive(Debug, Clone)]
pub enum Done {
    Changed,
    Token(Box<CreatedToken>),
    /// A node, and what it is from now on.
    Node(Arc<Node>, Condition),
    /// The node on which the query ran, and whether it was one.
    Cancelled {
        id: Uuid,
        node: String,
        how: Cancelled,
    },
    /// Nodes that have not said that they know of it, and why.
    Deleted {
        silent: Vec<String>,
    },
    /// A setting of this node.
    Shown {
        name: String,
        value: Option<String>,
    },
    /// The nodes that put their rows into files.
    Written(Vec<String>),
    Compacted(Compacted),
}

impl Operator {
    /// Performs the command, if who asks may have it done. Only of orders the call is a mere wait: any other command goes on
    /// to its end when the call is dropped.
    pub async fn perform(&self, command: &Command, asker: &Asker) -> Result<Done, Error> {
        if command.is_order() {
            return self.perform_here(command, asker).await;
        }
        // Whoever hangs up in the middle must not leave half of it undone, nor nodes that nobody has told.
        let (operator, command, asker) = (self.clone(), command.clone(), asker.clone());
        let work = async move { operator.perform_here(&command, &asker).await };
        Handle::current().spawn(work).await.unwrap_or_else(|error| {
            Err(Error::Unavailable(format!("the command broke off, and may have been carried out: {error}")))
        })
    }

    async fn perform_here(&self, command: &Command, asker: &Asker) -> Result<Done, Error> {
        if let Command::CancelQuery { id } = command {
            return self.cancel(*id, asker).await;
        }
        if let Command::DeleteRows(deletion) = command {
            return self.delete_rows(deletion, asker).await;
        }
        if !asker.access.is_admin() {
            let message = format!("{} needs an admin token", command.words());
            return Err(Error::refused(ErrorKind::Denied, message));
        }
        if matches!(command, Command::CreateToken { .. } | Command::DropToken(_)) && asker.access.token.is_none() {
            // It would open the nodes that ask for tokens to whoever reaches one that does not.
            let message = format!("{} needs a token, and this node was started without auth", command.words());
            return Err(Error::refused(ErrorKind::Denied, message));
        }
        let asked = self.asked(asker, command.to_string());
        match command {
            Command::Show { setting } => self.show(setting),
            Command::DrainNode { node } => self.drain(node, &asked).await,
            Command::RemoveNode { node } => self.remove(node, &asked).await,
            Command::Snapshot { node } => self.snapshot(node.as_deref(), (asker, &asked)).await,
            Command::CompactTable { table, window } => {
                self.compact((table, window.unwrap_or(TimeRange::ALL)), (asker, &asked)).await
            }
            Command::CreateToken { name, grant, expiry } => {
                let operator = self.catalog.by(&asked);
                let created = match grant {
                    Grant::Everything => operator.create_named_admin_token(name, *expiry).await,
                    Grant::Permissions(texts) => operator.create_resource_token(name, texts, *expiry).await,
                };
                created.map(|token| Done::Token(Box::new(token)))
            }
            _ => self.change(command, &asked).await.map(|()| Done::Changed),
        }
    }

    /// What a change by `asker` is recorded as.
    #[must_use]
    pub fn asked(&self, asker: &Asker, statement: String) -> Asked {
        let state = self.catalog.state();
        let by = asker.access.token.and_then(|id| state.tokens.get(&id)).map(|token| Arc::clone(&token.name));
        Asked { by, node: self.member.node().as_str().into(), door: asker.door, statement }
    }

    async fn change(&self, command: &Command, asked: &Asked) -> Result<(), Error> {
        let operator = self.catalog.by(asked);
        match command {
            Command::CreateDatabase { database: Named { name, tolerant }, retention_ns } => {
                let created = operator.create_database(name, *retention_ns).await.map(drop);
                tolerate(tolerant.then_some(ErrorKind::Conflict), created)
            }
            Command::SetDatabaseRetention { database, retention_ns } => {
                operator.set_database_retention(database, *retention_ns).await
            }
            Command::DropDatabase { database: Named { name, tolerant }, hard_delete } => {
                tolerate(tolerant.then_some(ErrorKind::NotFound), operator.drop_database(name, *hard_delete).await)
            }
            Command::CreateTable { table, tolerant } => {
                let created = operator.create_table(table.clone()).await.map(drop);
                tolerate(tolerant.then_some(ErrorKind::Conflict), created)
            }
            Command::SetTableRetention { table, retention_ns } => {
                operator.set_table_retention(&table.database, &table.table, *retention_ns).await
            }
            Command::DropTable { table, tolerant, hard_delete } => {
                let dropped = operator.drop_table(&table.database, &table.table, *hard_delete).await;
                tolerate(tolerant.then_some(ErrorKind::NotFound), dropped)
            }
            Command::CreateCache { cache, tolerant } => {
                let created = operator.create_cache(cache).await;
                tolerate(tolerant.then_some(ErrorKind::Conflict), created)
            }
            Command::DropCache { kind, table: TableRef { database, table }, cache: Named { name, tolerant } } => {
                let dropped = operator.drop_cache((database, table), (*kind, name)).await;
                tolerate(tolerant.then_some(ErrorKind::NotFound), dropped)
            }
            Command::DropToken(Named { name, tolerant }) => {
                tolerate(tolerant.then_some(ErrorKind::NotFound), operator.delete_token(name).await)
            }
            Command::Configure { setting, node, value } => {
                let invalid = |message| Error::refused(ErrorKind::Invalid, message);
                let (setting, value) = self.facts.settings.judge(setting, value.as_deref()).map_err(invalid)?;
                let node = node.as_deref().map(NodeId::new).transpose().map_err(invalid)?;
                operator.configure(&setting, node.as_ref(), value.as_deref()).await
            }
            Command::ResetAll { node } => {
                let node = node.as_deref().map(NodeId::new).transpose();
                let node = node.map_err(|message| Error::refused(ErrorKind::Invalid, message))?;
                operator.reset_all(node.as_ref()).await
            }
            Command::CreateToken { .. }
            | Command::Show { .. }
            | Command::DrainNode { .. }
            | Command::RemoveNode { .. }
            | Command::Snapshot { .. }
            | Command::CompactTable { .. }
            | Command::CancelQuery { .. }
            | Command::DeleteRows(_) => unreachable!("perform() takes these"),
        }
    }

    fn show(&self, setting: &str) -> Result<Done, Error> {
        let shown = self.facts.settings.shown_as(setting);
        let missing = || Error::refused(ErrorKind::NotFound, format!("there is no setting {setting}"));
        shown.map(|Shown { name, value, .. }| Done::Shown { name, value }).ok_or_else(missing)
    }

    async fn drain(&self, id: &str, asked: &Asked) -> Result<Done, Error> {
        let (node, condition) = self.node(id).await?;
        match condition {
            Condition::Stopped => {
                let message = format!("tried to stop a node ({id}) that is already stopped");
                return Err(Error::refused(ErrorKind::Invalid, message));
            }
            Condition::Lost => {
                let message = format!(
                    "node '{id}' is dead and cannot be asked to stop; what it answered is in its log, and is shown by \
                     every node that answers queries"
                );
                return Err(Error::refused(ErrorKind::Conflict, message));
            }
            Condition::Joining | Condition::Running | Condition::Stopping | Condition::Removed => {}
        }
        // A process that was started since this look is not the one that was meant.
        self.catalog.by(asked).stop_node(&node.id, node.epoch).await?;
        Ok(Done::Node(node, Condition::Stopping))
    }

    async fn remove(&self, id: &str, asked: &Asked) -> Result<Done, Error> {
        let (node, condition) = self.node(id).await?;
        if condition != Condition::Stopped {
            let message =
                format!("node '{id}' is not fully stopped (current state: {condition}); run \"stop node\" first");
            return Err(Error::refused(ErrorKind::Conflict, message));
        }
        self.catalog.by(asked).remove_node(&node.id, node.epoch).await?;
        Ok(Done::Node(node, Condition::Removed))
    }

    /// A node of the cluster, as the catalog and its heartbeat have it now.
    pub async fn node(&self, id: &str) -> Result<(Arc<Node>, Condition), Error> {
        let state = self.catalog.refresh().await?;
        self.member.observe(Duration::ZERO).await;
        let node = state.members().find(|node| node.id.as_str() == id).cloned().ok_or_else(|| {
            let shown: String = id.escape_debug().take(60).collect();
            Error::refused(ErrorKind::NotFound, format!("the requested resource was not found: {shown}"))
        })?;
        let condition = self.member.lives().condition(&node);
        Ok((node, condition))
    }

    async fn delete_rows(&self, deletion: &Deletion, asker: &Asker) -> Result<Done, Error> {
        let unable = || Error::refused(ErrorKind::Invalid, "this node shows no rows, and so deletes none");
        let deleter = self.hands.deleter.clone().ok_or_else(unable)?;
        let asked = self.asked(asker, Command::DeleteRows(deletion.clone()).to_string());
        let told = match deleter.delete(deletion, &asker.access, &asked).await? {
            Some(version) => self.peers.follow(version, asker.token.clone()).await,
            None => Vec::new(),
        };
        Ok(Done::Deleted { silent: told.iter().filter_map(Told::complaint).collect() })
    }

    async fn cancel(&self, id: Uuid, asker: &Asker) -> Result<Done, Error> {
        let here = self.facts.cancel(id, &asker.access);
        let told = match here {
            Cancelled::Unknown => self.peers.cancel(id, asker.token.clone()).await,
            _ => vec![Told { node_id: self.member.node().to_string(), outcome: Ok(here) }],
        };
        let found = told.iter().find_map(|told| match told.outcome {
            Ok(Cancelled::Unknown) | Err(_) => None,
            Ok(how) => Some((told.node_id.clone(), how)),
        });
        if let Some((node, how)) = found {
            if how == Cancelled::GoesOn {
                let message = format!("{id} is a command that cannot be cancelled: it goes on to its end");
                return Err(Error::refused(ErrorKind::Invalid, message));
            }
            return Ok(Done::Cancelled { id, node, how });
        }
        let silent: Vec<String> = told.iter().filter_map(Told::complaint).collect();
        Err(match silent.as_slice() {
            [] => Error::refused(ErrorKind::NotFound, format!("no query {id} runs that this token may cancel")),
            silent => {
                let who = silent.join("; ");
                catalog::Error::Unavailable(format!("no query {id} was found, and not every node answered: {who}"))
            }
        })
    }
}

/// The live table that is meant.
pub(super) fn table_id(state: &State, table: &TableRef) -> Result<TableId, Error> {
    let TableRef { database, table } = table;
    let found = state.database(database).and_then(|database| state.table_named(database, table));
    let missing = || {
        let message = format!("the requested resource was not found: table '{table}' of database '{database}'");
        Error::refused(ErrorKind::NotFound, message)
    };
    found.map(|table| table.schema.table).ok_or_else(missing)
}

/// What was asked for with IF EXISTS or IF NOT EXISTS is no error when there is nothing to do.
fn tolerate(kind: Option<ErrorKind>, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if kind == Some(error.kind()) => Ok(()),
        result => result,
    }
}
