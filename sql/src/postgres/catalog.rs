//! `pg_catalog`: what clients ask to learn which tables, columns and types there are.
//!
//! # Why
//! Tables of things that do not exist here (indexes, constraints, sequences) are empty: then a client finds none, rather
//! than an error.

use super::activity;
use super::directory::Directory;
use super::relations;
use super::spec::{Cell, Row, Spec};

/// A table with rows.
struct Table {
    spec: Spec,
    rows: fn(&Directory) -> Vec<Row>,
}

const fn table(name: &'static str, columns: &'static str, rows: fn(&Directory) -> Vec<Row>) -> Table {
    Table { spec: Spec { name, columns }, rows }
}

const TABLES: &[Table] = &[
    table(
        "pg_class",
        "oid:oid relname:text relnamespace:oid reltype:oid=0 reloftype:oid=0 relowner:oid=10 relam:oid=0 \
         relfilenode:oid=0 reltablespace:oid=0 relpages:int4=0 reltuples:float4=-1 relallvisible:int4=0 \
         reltoastrelid:oid=0 relhasindex:bool=f relisshared:bool=f relpersistence:text=p relkind:text=r relnatts:int2 \
         relchecks:int2=0 relhasrules:bool=f relhastriggers:bool=f relhassubclass:bool=f relrowsecurity:bool=f \
         relforcerowsecurity:bool=f relispopulated:bool=t relreplident:text=d relispartition:bool=f relrewrite:oid=0 \
         relfrozenxid:int8=0 relminmxid:int8=0 relacl:text[] reloptions:text[] relpartbound:text xmin:int8=0",
        relations::classes,
    ),
    table(
        "pg_attribute",
        "attrelid:oid attname:text atttypid:oid attstattarget:int4=-1 attlen:int2 attnum:int2 attndims:int4=0 \
         attcacheoff:int4=-1 atttypmod:int4=-1 attbyval:bool=f attalign:text=i attstorage:text=p attcompression:text= \
         attnotnull:bool=f atthasdef:bool=f atthasmissing:bool=f attidentity:text= attgenerated:text= \
         attisdropped:bool=f attislocal:bool=t attinhcount:int4=0 attcollation:oid=0 attacl:text[] attoptions:text[] \
         attfdwoptions:text[] attmissingval:text",
        relations::attributes,
    ),
    table("pg_namespace", "oid:oid nspname:text nspowner:oid=10 nspacl:text[]", |_| relations::namespaces()),
    table(
        "pg_type",
        "oid:oid typname:text typnamespace:oid=11 typowner:oid=10 typlen:int2 typbyval:bool=f typtype:text=b \
         typcategory:text typispreferred:bool=f typisdefined:bool=t typdelim:text=, typrelid:oid=0 typsubscript:regproc=- \
         typelem:oid=0 typarray:oid=0 typinput:regproc typoutput:regproc typreceive:regproc typsend:regproc typmodin:regproc=- \
         typmodout:regproc=- typanalyze:regproc=- typalign:text=i typstorage:text=p typnotnull:bool=f typbasetype:oid=0 \
         typtypmod:int4=-1 typndims:int4=0 typcollation:oid=0 typdefaultbin:text typdefault:text typacl:text[]",
        |_| relations::types(),
    ),
    table(
        "pg_database",
        "oid:oid datname:text datdba:oid=10 encoding:int4=6 datlocprovider:text=c datistemplate:bool=f \
         datallowconn:bool=t datconnlimit:int4=-1 datfrozenxid:int8=0 datminmxid:int8=0 dattablespace:oid=1663 \
         datcollate:text=C datctype:text=C daticulocale:text datlocale:text daticurules:text datcollversion:text \
         datacl:text[]",
        |known| relations::databases(&known.world),
    ),
    table(
        "pg_roles",
        "oid:oid rolname:text rolsuper:bool=f rolinherit:bool=t rolcreaterole:bool=f rolcreatedb:bool=f \
         rolcanlogin:bool=t rolreplication:bool=f rolconnlimit:int4=-1 rolpassword:text rolvaliduntil:text \
         rolbypassrls:bool=f rolconfig:text[]",
        |known| relations::roles(&known.session),
    ),
    table(
        "pg_user",
        "usename:text usesysid:oid usecreatedb:bool=f usesuper:bool=f userepl:bool=f usebypassrls:bool=f passwd:text \
         valuntil:text useconfig:text[]",
        |known| relations::users(&known.session),
    ),
    table(
        "pg_settings",
        "name:text setting:text unit:text category:text=Session short_desc:text= extra_desc:text context:text=user \
         vartype:text=string source:text=session min_val:text max_val:text enumvals:text[] boot_val:text reset_val:text \
         sourcefile:text sourceline:int4 pending_restart:bool=f",
        |known| relations::settings(&known.session),
    ),
    table(
        "pg_tables",
        "schemaname:text tablename:text tableowner:text tablespace:text hasindexes:bool=f hasrules:bool=f \
         hastriggers:bool=f rowsecurity:bool=f",
        relations::tables,
    ),
    table("pg_views", "schemaname:text viewname:text viewowner:text definition:text", relations::views),
    table("pg_am", "oid:oid amname:text amhandler:text amtype:text", |_| {
        vec![vec![("oid", Cell::Int(2)), ("amname", "heap".into()), ("amtype", "t".into())]]
    }),
    table("pg_tablespace", "oid:oid spcname:text spcowner:oid=10 spcacl:text[] spcoptions:text[]", |_| {
        vec![vec![("oid", Cell::Int(1663)), ("spcname", "pg_default".into())]]
    }),
    table("pg_description", "objoid:oid classoid:oid objsubid:int4=0 description:text", relations::descriptions),
    table(
        "pg_stat_activity",
        "datid:oid datname:text pid:int4 leader_pid:int4 usesysid:oid=10 usename:text application_name:text \
         client_addr:text client_hostname:text client_port:int4 backend_start:timestamptz xact_start:timestamptz \
         query_start:timestamptz state_change:timestamptz wait_event_type:text wait_event:text state:text query:text= \
         backend_type:text=client-backend",
        activity::rows,
    ),
];

const fn empty(name: &'static str, columns: &'static str) -> Spec {
    Spec { name, columns }
}

/// Tables of what there is none of.
const EMPTY: &[Spec] = &[
    empty(
        "pg_index",
        "indexrelid:oid indrelid:oid indnatts:int2 indnkeyatts:int2 indisunique:bool indnullsnotdistinct:bool \
         indisprimary:bool indisexclusion:bool indimmediate:bool indisclustered:bool indisvalid:bool indcheckxmin:bool \
         indisready:bool indislive:bool indisreplident:bool indkey:int2[] indcollation:oid[] indclass:oid[] \
         indoption:int2[] indexprs:text indpred:text",
    ),
    empty("pg_indexes", "schemaname:text tablename:text indexname:text tablespace:text indexdef:text"),
    empty(
        "pg_constraint",
        "oid:oid conname:text connamespace:oid contype:text condeferrable:bool condeferred:bool convalidated:bool \
         conrelid:oid contypid:oid conindid:oid conparentid:oid confrelid:oid confupdtype:text confdeltype:text \
         confmatchtype:text conislocal:bool coninhcount:int4 connoinherit:bool conkey:int2[] confkey:int2[] \
         conpfeqop:oid[] conppeqop:oid[] conffeqop:oid[] conexclop:oid[] conbin:text conperiod:bool \
         tableoid:oid",
    ),
    empty("pg_attrdef", "oid:oid adrelid:oid adnum:int2 adbin:text"),
    empty("pg_default_acl", "oid:oid defaclrole:oid defaclnamespace:oid defaclobjtype:text defaclacl:text[]"),
    empty("pg_inherits", "inhrelid:oid inhparent:oid inhseqno:int4 inhdetachpending:bool"),
    empty("pg_shdescription", "objoid:oid classoid:oid description:text"),
    empty("pg_enum", "oid:oid enumtypid:oid enumsortorder:float4 enumlabel:text"),
    empty(
        "pg_range",
        "rngtypid:oid rngsubtype:oid rngmultitypid:oid rngcollation:oid rngsubopc:oid rngcanonical:text rngsubdiff:text",
    ),
    empty(
        "pg_proc",
        "oid:oid proname:text pronamespace:oid proowner:oid prolang:oid procost:float4 prorows:float4 provariadic:oid \
         prosupport:text prokind:text prosecdef:bool proleakproof:bool proisstrict:bool proretset:bool provolatile:text \
         proparallel:text pronargs:int2 pronargdefaults:int2 prorettype:oid proargtypes:oid[] proallargtypes:oid[] \
         proargmodes:text[] proargnames:text[] proargdefaults:text prosrc:text probin:text proconfig:text[] proacl:text[]",
    ),
    empty(
        "pg_trigger",
        "oid:oid tgrelid:oid tgparentid:oid tgname:text tgfoid:oid tgtype:int2 tgenabled:text tgisinternal:bool \
         tgconstrrelid:oid tgconstrindid:oid tgconstraint:oid tgdeferrable:bool tginitdeferred:bool tableoid:oid",
    ),
    empty(
        "pg_policy",
        "oid:oid polname:text polrelid:oid polcmd:text polpermissive:bool polroles:oid[] polqual:text polwithcheck:text",
    ),
    empty("pg_rewrite", "oid:oid rulename:text ev_class:oid ev_type:text ev_enabled:text is_instead:bool tableoid:oid"),
    empty("pg_extension", "oid:oid extname:text extowner:oid extnamespace:oid extrelocatable:bool extversion:text"),
    empty("pg_available_extensions", "name:text default_version:text installed_version:text comment:text"),
    empty(
        "pg_publication",
        "oid:oid pubname:text pubowner:oid puballtables:bool pubinsert:bool pubupdate:bool pubdelete:bool \
         pubtruncate:bool pubviaroot:bool",
    ),
    empty("pg_publication_rel", "oid:oid prpubid:oid prrelid:oid prqual:text prattrs:int2[]"),
    empty("pg_publication_namespace", "oid:oid pnpubid:oid pnnspid:oid"),
    empty(
        "pg_statistic_ext",
        "oid:oid stxrelid:oid stxname:text stxnamespace:oid stxowner:oid stxstattarget:int4 stxkeys:int2[] stxkind:text[]",
    ),
    empty(
        "pg_foreign_server",
        "oid:oid srvname:text srvowner:oid srvfdw:oid srvtype:text srvversion:text srvacl:text[] srvoptions:text[]",
    ),
    empty("pg_foreign_table", "ftrelid:oid ftserver:oid ftoptions:text[]"),
    empty(
        "pg_foreign_data_wrapper",
        "oid:oid fdwname:text fdwowner:oid fdwhandler:oid fdwvalidator:oid \
         fdwacl:text[] fdwoptions:text[]",
    ),
    empty(
        "pg_sequence",
        "seqrelid:oid seqtypid:oid seqstart:int8 seqincrement:int8 seqmax:int8 seqmin:int8 seqcache:int8 seqcycle:bool",
    ),
    empty("pg_sequences", "schemaname:text sequencename:text sequenceowner:text data_type:text start_value:int8"),
    empty("pg_matviews", "schemaname:text matviewname:text matviewowner:text ispopulated:bool definition:text"),
    empty("pg_partitioned_table", "partrelid:oid partstrat:text partnatts:int2 partdefid:oid partattrs:int2[]"),
    empty(
        "pg_language",
        "oid:oid lanname:text lanowner:oid lanispl:bool lanpltrusted:bool \
         lanplcallfoid:oid lanvalidator:oid laninline:oid lanacl:text[] tableoid:oid",
    ),
    empty(
        "pg_operator",
        "oid:oid oprname:text oprnamespace:oid oprowner:oid oprkind:text oprleft:oid oprright:oid \
         oprresult:oid oprcode:oid",
    ),
    empty(
        "pg_opclass",
        "oid:oid opcmethod:oid opcname:text opcnamespace:oid opcintype:oid opcdefault:bool \
         opckeytype:oid opcfamily:oid opcowner:oid tableoid:oid",
    ),
    empty("pg_opfamily", "oid:oid opfmethod:oid opfname:text opfnamespace:oid opfowner:oid tableoid:oid"),
    empty("pg_aggregate", "aggfnoid:oid aggkind:text aggnumdirectargs:int2"),
    // The one there is is that of every column, and clients ask for others.
    empty(
        "pg_collation",
        "oid:oid collname:text collnamespace:oid collowner:oid collprovider:text collisdeterministic:bool \
         collencoding:int4 collcollate:text collctype:text colliculocale:text collversion:text",
    ),
    empty("pg_cast", "oid:oid castsource:oid casttarget:oid castfunc:oid castcontext:text castmethod:text"),
    empty("pg_depend", "classid:oid objid:oid objsubid:int4 refclassid:oid refobjid:oid refobjsubid:int4 deptype:text"),
    empty("pg_auth_members", "oid:oid roleid:oid member:oid grantor:oid admin_option:bool"),
    empty("pg_db_role_setting", "setdatabase:oid setrole:oid setconfig:text[]"),
    empty(
        "pg_event_trigger",
        "oid:oid evtname:text evtevent:text evtowner:oid evtfoid:oid evtenabled:text \
         evttags:text[]",
    ),
    empty("pg_locks", "locktype:text database:oid relation:oid pid:int4 mode:text granted:bool"),
    empty("pg_prepared_xacts", "transaction:int8 gid:text owner:text database:text"),
    empty("pg_prepared_statements", "name:text statement:text from_sql:bool"),
    empty("pg_cursors", "name:text statement:text is_holdable:bool is_binary:bool is_scrollable:bool"),
    empty("pg_replication_slots", "slot_name:text plugin:text slot_type:text database:text active:bool"),
    empty(
        "pg_stat_user_tables",
        "relid:oid schemaname:text relname:text seq_scan:int8 n_live_tup:int8 n_dead_tup:int8",
    ),
    empty("pg_stat_gssapi", "pid:int4 gss_authenticated:bool principal:text encrypted:bool"),
    empty("pg_stat_ssl", "pid:int4 ssl:bool version:text cipher:text bits:int4"),
    empty("pg_timezone_names", "name:text abbrev:text utc_offset:text is_dst:bool"),
    empty(
        "pg_conversion",
        "oid:oid conname:text connamespace:oid conowner:oid conforencoding:int4 contoencoding:int4 conproc:text \
         condefault:bool",
    ),
    empty("pg_ts_config", "oid:oid cfgname:text cfgnamespace:oid cfgowner:oid cfgparser:oid"),
    empty("pg_user_mappings", "umid:oid srvid:oid srvname:text umuser:oid usename:text umoptions:text[]"),
    empty(
        "pg_subscription",
        "oid:oid subdbid:oid subname:text subowner:oid subenabled:bool subpublications:text[] subconninfo:text",
    ),
    empty("pg_largeobject_metadata", "oid:oid lomowner:oid lomacl:text[]"),
    empty(
        "pg_statio_user_tables",
        "relid:oid schemaname:text relname:text heap_blks_read:int8 heap_blks_hit:int8 idx_blks_read:int8 idx_blks_hit:int8",
    ),
    empty(
        "pg_stat_user_indexes",
        "relid:oid indexrelid:oid schemaname:text relname:text indexrelname:text idx_scan:int8",
    ),
    empty("pg_group", "groname:text grosysid:oid grolist:oid[]"),
];

/// All tables of the schema.
pub(super) fn specs() -> impl Iterator<Item = &'static Spec> {
    TABLES.iter().map(|table| &table.spec).chain(EMPTY)
}

/// The columns of a table, and its rows if it ever has any.
pub(super) type Content = (&'static Spec, Option<fn(&Directory) -> Vec<Row>>);

/// Table `name`; `None` when there is no such table.
pub(super) fn content(name: &str) -> Option<Content> {
    let table = TABLES.iter().find(|table| table.spec.name == name).map(|table| (&table.spec, Some(table.rows)));
    table.or_else(|| EMPTY.iter().find(|spec| spec.name == name).map(|spec| (spec, None)))
}
