//! The words of the documentation: one sentence for each table and column.

/// Name, unit or nothing, sentence.
pub(super) type ColumnWords = (&'static str, &'static str, &'static str);

pub(super) struct TableWords {
    pub(super) table: &'static str,
    pub(super) about: &'static str,
    pub(super) columns: &'static [ColumnWords],
}

const fn table(table: &'static str, about: &'static str, columns: &'static [ColumnWords]) -> TableWords {
    TableWords { table, about, columns }
}

/// What tables of all nodes have at their end.
pub(super) const OF_EACH_NODE: &[ColumnWords] = &[
    ("node_id", "", "The node that tells this."),
    ("warning", "", "Why this node told nothing; all other columns are null then."),
];

pub(super) const TABLES: [&[TableWords]; 2] = [OF_THE_CLUSTER, OF_NODES];

const OF_THE_CLUSTER: &[TableWords] = &[
    table(
        "changes",
        "What operators asked for and got, the newest 1000 of the cluster.",
        &[
            ("catalog_version", "", "The entry of the catalog that made the change."),
            ("change_time", "", "When the change was made."),
            ("user_name", "", "The name of the token that asked; null without authorisation."),
            ("door", "", "The protocol over which it was asked."),
            ("node_id", "", "The node that was asked."),
            ("statement", "", "What was asked, as an SQL statement."),
        ],
    ),
    table(
        "columns",
        "The columns of the tables of the current database, or of all databases in _internal.",
        &[
            ("database_name", "", "The database of the table."),
            ("table_name", "", "The table of the column."),
            ("column_name", "", "The name of the column."),
            ("kind", "", "What it is in line protocol: tag, field or time."),
            ("data_type", "", "The type of its values, in the words of line protocol."),
            ("ordinal", "", "Its place in the table, from 1."),
        ],
    ),
    table(
        "databases",
        "The databases that the asker may read, dropped ones among them.",
        &[
            ("database_name", "", "The name of the database."),
            ("retention_period_ns", "ns", "How long its rows are kept; null keeps them for ever."),
            ("deleted", "", "Whether the database was dropped."),
            ("hard_deletion_time", "", "When a dropped database is gone for good."),
        ],
    ),
    table(
        "documentation",
        "What the system tables and their columns mean.",
        &[
            ("table_name", "", "The system table."),
            ("column_name", "", "The column; null in the row that is about the table."),
            ("data_type", "", "The type of the column."),
            ("unit", "", "The unit of a number that has one."),
            ("description", "", "What it is, in a sentence."),
        ],
    ),
    table(
        "generation_durations",
        "The widths of the time windows into which rows are cut as they become files.",
        &[
            ("level", "", "The level of a window, from 1 for the smallest."),
            ("duration_seconds", "s", "How much time a window of this level holds."),
        ],
    ),
    table(
        "influxdb_schema",
        "The columns of the current database in the words of line protocol.",
        &[
            ("measurement", "", "The table of the column."),
            ("key", "", "The name of the column."),
            ("data_type", "", "Whether it is a tag or the time, or else the type of the field."),
        ],
    ),
    table(
        "license",
        "One row that says that nothing is licensed.",
        &[
            ("license_type", "", "It is always open."),
            ("licensed_cores", "", "Always null, since cores are not licensed."),
            ("available_cores", "", "Threads of all nodes in the cluster."),
            ("expires_at", "", "Always null, since nothing expires."),
        ],
    ),
    table(
        "nodes",
        "The nodes that have been in the cluster, and how they are.",
        &[
            ("node_id", "", "The name that its operator gave the node."),
            ("node_catalog_id", "", "The number of the node among those that write."),
            ("instance_id", "", "An id that the node keeps for its life."),
            ("mode", "", "What the node does."),
            ("core_count", "", "Threads that its process was started with."),
            ("state", "", "Whether it is joining, running, stopping, stopped, lost or removed."),
            ("updated_at", "", "When its newest process began."),
            ("cli_params", "", "The options it was started with, as JSON without secrets."),
            (
                "heartbeat_age",
                "ms",
                "How long ago its heartbeat was seen to move, by the clock of the node that answers.",
            ),
            ("sealed", "", "Whether all its rows are in files and its log is closed."),
            ("epoch", "", "How many processes have owned its log."),
            ("http_address", "", "Where the other nodes reach its HTTP port."),
            ("internode_address", "", "Where the other nodes reach it to hear of new rows at once."),
            ("version", "", "The version of its program."),
            ("last_heartbeat", "", "When its heartbeat was seen to move."),
            ("uptime", "ns", "How long its process has been there."),
            ("cpu_ratio", "cores", "Processor cores its process kept busy in the last minute."),
            ("memory_bytes", "bytes", "Memory of its process, without what the system can take back."),
            ("memory_limit_bytes", "bytes", "Memory its process may use at most."),
            ("catalog_version", "", "The newest entry of the catalog that it knows."),
            ("catalog_lag", "ns", "How long ago it read the catalog to its end."),
            (
                "replica_lag",
                "ns",
                "How far it is behind the other node it is furthest behind; null when it follows none.",
            ),
            ("warning", "", "Why its process told nothing of itself."),
        ],
    ),
    table(
        "parquet_files",
        "The live files of the current database.",
        &[
            ("table_name", "", "The table whose rows the file holds."),
            ("path", "", "The key of the file in the object store."),
            ("size_bytes", "bytes", "The size of the file."),
            ("row_count", "", "How many rows it holds, all versions of a row counted."),
            ("min_time", "ns", "The time of its oldest row, since 1970."),
            ("max_time", "ns", "The time of its newest row, since 1970."),
        ],
    ),
    table(
        "retention",
        "How long the rows of each table are kept.",
        &[
            ("database_name", "", "The database of the table."),
            ("table_name", "", "The name of the table."),
            ("retention_period_ns", "ns", "How long its rows are kept; null keeps them for ever."),
            ("source", "", "Whether the table or the database says so, or nobody does."),
        ],
    ),
    table(
        "tables",
        "The tables of the current database, dropped ones among them, or of all databases in _internal.",
        &[
            ("database_name", "", "The database of the table."),
            ("table_name", "", "The name of the table."),
            ("column_count", "", "How many columns it has, time among them."),
            ("series_key_columns", "", "Its tags in the order of the key, joined by commas."),
            ("last_cache_count", "", "How many last value caches it has."),
            ("distinct_cache_count", "", "How many distinct value caches it has."),
            ("deleted", "", "Whether the table was dropped."),
            ("hard_deletion_time", "", "When a dropped table is gone for good."),
        ],
    ),
    table(
        "tokens",
        "The tokens of the cluster, without their secrets.",
        &[
            ("token_id", "", "The number of the token."),
            ("name", "", "The name of the token."),
            ("hash", "", "The first nine digits of its hash."),
            ("created_at", "", "When it was made."),
            ("description", "", "Always null for now."),
            ("created_by_token_id", "", "The token that asked for it."),
            ("updated_at", "", "Always null, since tokens do not change."),
            ("updated_by_token_id", "", "Always null, since tokens do not change."),
            ("expiry", "", "When it ends to be good; null is never."),
            ("permissions", "", "What it may do."),
        ],
    ),
];

const OF_NODES: &[TableWords] = &[
    table(
        "advice",
        "What operators should know and may mend, of all nodes; no row is good news.",
        &[
            ("severity", "", "How bad it is: info, warning or critical."),
            ("code", "", "A short name of the finding that never changes."),
            ("finding", "", "What was found, in a sentence."),
            ("evidence", "", "The numbers that show it."),
            ("query", "", "The SQL query, in _internal unless it says otherwise, that shows more."),
            ("statement", "", "The SQL statement, or the line of a shell, that mends it."),
            ("node_id", "", "The node that it is about; * is the cluster as a whole."),
        ],
    ),
    table(
        "compaction_events",
        "What compaction did on each node since its process began, newest last.",
        &[
            ("event_time", "", "When it ended."),
            ("event_type", "", "Whether it was planned, ran, or its result was published."),
            ("event_duration", "ns", "How long it took."),
            ("event_status", "", "It is success or failed."),
            ("event_data", "", "The files, tables and errors it was about, as JSON."),
        ],
    ),
    table(
        "jobs",
        "What each node does in the background at this moment.",
        &[
            ("kind", "", "It is snapshot, compaction, adoption or sweep."),
            ("database_name", "", "The database of the table, when it is about one."),
            ("table_name", "", "The table, when it is about one."),
            ("source_node", "", "The node whose log is put into files."),
            ("input_files", "", "Files that are read."),
            ("rows", "", "Rows that are read."),
            ("bytes", "bytes", "Bytes that are read."),
            ("since", "", "When it began."),
            ("running_for", "ns", "How long ago that was."),
        ],
    ),
    table(
        "object_store",
        "What each node asked of the object store since its process began, by kind of call.",
        &[
            ("op", "", "The kind of call."),
            ("requests", "", "Calls that ended, however."),
            ("errors", "", "Calls that failed; an answer such as not found is no failure."),
            ("not_found", "", "Calls that were answered that there is no such object."),
            ("already_exists", "", "Calls that were refused because of what is there already."),
            ("canceled", "", "Calls that nobody waited for to their end."),
            ("bytes", "bytes", "Bytes that were put, or read."),
            ("avg_latency", "ns", "Mean time of calls that were answered."),
            ("p99_latency", "ns", "Time that one in a hundred answered calls exceeds, about."),
            ("max_latency", "ns", "The longest that a call took."),
            ("last_error", "", "What the last failure said."),
            ("last_error_time", "", "When that was."),
        ],
    ),
    table(
        "processes",
        "How the process of each node does.",
        &[
            ("uptime", "ns", "How long the process has been there."),
            ("cpu_ratio", "cores", "Processor cores it kept busy in the last minute."),
            ("cpu_count", "cores", "Processor cores it may keep busy."),
            ("memory_bytes", "bytes", "Its memory, without what the system can take back."),
            ("memory_limit_bytes", "bytes", "Memory it may use at most."),
            ("io_threads", "", "Threads that read sockets, parse lines and wait for the store."),
            ("io_busy_ratio", "", "Share of their time in the last minute in which these threads worked."),
            ("query_memory_bytes", "bytes", "Memory that all queries together hold now."),
            ("query_memory_limit_bytes", "bytes", "Memory that all queries together may hold."),
            ("catalog_version", "", "The newest entry of the catalog that it knows."),
            ("catalog_lag", "ns", "How long ago it read the catalog to its end."),
            ("replica_lag", "ns", "How far it is behind the other node it is furthest behind."),
        ],
    ),
    table(
        "queries",
        "The newest queries of each node, of all databases that the asker may read.",
        &[
            ("id", "", "The id by which the query is cancelled."),
            ("phase", "", "It is received, planned, permit, success, fail or cancel."),
            ("issue_time", "", "When it came."),
            ("query_type", "", "The language of the query."),
            ("query_text", "", "The query, at most its first 16 KiB."),
            ("partitions", "", "Into how many parts it was cut."),
            ("parquet_files", "", "How many files it reads."),
            ("plan_duration", "ns", "How long it was planned."),
            ("permit_duration", "ns", "How long it waited because too many ran."),
            ("execute_duration", "ns", "How long it ran, its reader's pauses among it."),
            ("end2end_duration", "ns", "How long it took from arrival to end."),
            ("compute_duration", "ns", "Processor time of its operators."),
            ("max_memory", "bytes", "The most memory it held."),
            ("success", "", "Whether it ended well."),
            ("running", "", "Whether it has not ended."),
            ("cancelled", "", "Whether somebody ended it, or its client went away."),
            ("trace_id", "", "Always null, since queries are not traced."),
            ("door", "", "The protocol over which it came."),
            ("application_name", "", "What its client calls itself."),
            ("database_name", "", "The database that it names."),
            ("user_name", "", "The name of the token that asked."),
            ("rows", "", "How many rows it has answered so far."),
            ("error", "", "Why it failed."),
        ],
    ),
    table(
        "replicas",
        "How well each node that answers queries knows the logs of the other nodes.",
        &[
            ("source_node", "", "The node whose log is followed."),
            ("applied_position", "", "The newest object of that log whose rows are visible."),
            ("rows_waiting", "", "Rows in memory that are not in files."),
            ("bytes_waiting", "bytes", "Memory they take."),
            ("lag", "ns", "Time since all that the other node had stored was visible; null while that is not known."),
            ("trouble", "", "Why the log is not read on."),
        ],
    ),
    table(
        "settings",
        "What each node was started with and what operators changed since.",
        &[
            ("name", "", "The name of the setting, as its flag is called."),
            ("value", "", "What it is now; secrets are hidden."),
            ("unit", "", "The unit of the value."),
            ("default_value", "", "What it is when nobody says anything."),
            ("source", "", "Who said it: a flag, a setting of the node or of the cluster, or the default."),
            ("is_live", "", "Whether ALTER SYSTEM changes it while nodes run."),
            ("min_value", "", "The least it may be."),
            ("max_value", "", "The most it may be."),
            ("description", "", "What it does."),
        ],
    ),
    table(
        "wal",
        "How far the log of each node that takes writes is, and what of it waits for files.",
        &[
            ("epoch", "", "How many processes have owned the log."),
            ("next_position", "", "The number of the next object."),
            ("persisted_position", "", "Rows of all objects up to this one are in files."),
            ("objects_waiting", "", "Objects whose rows are not in files."),
            ("rows_waiting", "", "Rows in memory that are not in files."),
            ("bytes_waiting", "bytes", "Memory they take."),
            ("sorted_bytes", "bytes", "Memory of what queries put in order beside them."),
            ("oldest_unpersisted", "", "When the oldest row came that is in no file."),
            ("oldest_age", "ns", "How long ago that was."),
            ("flush_p50", "ns", "Time within which half of all objects were stored."),
            ("flush_p99", "ns", "Time within which all objects but one in a hundred were stored, about."),
            ("stamp_floor", "", "The node stamps no row as older than this."),
        ],
    ),
];
