//! `information_schema`, in the words of the SQL standard.

use arrow_schema::Field;

use super::PgSession;
use super::catalog::Content;
use super::directory::Directory;
use super::relations::{NAMESPACES, Relation};
use super::spec::{Cell, Row, Spec};
use super::types::PgType;

const SCHEMATA: Spec = Spec {
    name: "schemata",
    columns: "catalog_name:text schema_name:text schema_owner:text default_character_set_name:text sql_path:text",
};

const TABLES: Spec = Spec {
    name: "tables",
    columns: "table_catalog:text table_schema:text table_name:text table_type:text \
              self_referencing_column_name:text reference_generation:text user_defined_type_catalog:text \
              is_insertable_into:text=NO is_typed:text=NO commit_action:text",
};

const COLUMNS: Spec = Spec {
    name: "columns",
    columns: "table_catalog:text table_schema:text table_name:text column_name:text ordinal_position:int4 \
              column_default:text is_nullable:text data_type:text character_maximum_length:int4 \
              character_octet_length:int4 numeric_precision:int4 numeric_precision_radix:int4 numeric_scale:int4 \
              datetime_precision:int4 interval_type:text collation_name:text domain_name:text udt_catalog:text \
              udt_schema:text=pg_catalog udt_name:text is_self_referencing:text=NO is_identity:text=NO \
              identity_generation:text is_generated:text=NEVER generation_expression:text is_updatable:text=NO",
};

const CHARACTER_SETS: Spec =
    Spec { name: "character_sets", columns: "character_set_name:text=UTF8 character_repertoire:text=UCS" };

const VIEWS: Spec =
    Spec { name: "views", columns: "table_catalog:text table_schema:text table_name:text view_definition:text" };

/// Tables of what there is none of.
const EMPTY: &[Spec] = &[
    Spec {
        name: "table_constraints",
        columns: "constraint_catalog:text constraint_schema:text constraint_name:text table_catalog:text \
                  table_schema:text table_name:text constraint_type:text is_deferrable:text initially_deferred:text",
    },
    Spec {
        name: "key_column_usage",
        columns: "constraint_catalog:text constraint_schema:text constraint_name:text table_catalog:text \
                  table_schema:text table_name:text column_name:text ordinal_position:int4 \
                  position_in_unique_constraint:int4",
    },
    Spec {
        name: "referential_constraints",
        columns: "constraint_catalog:text constraint_schema:text constraint_name:text unique_constraint_catalog:text \
                  unique_constraint_schema:text unique_constraint_name:text match_option:text update_rule:text \
                  delete_rule:text",
    },
    Spec {
        name: "constraint_column_usage",
        columns: "table_catalog:text table_schema:text table_name:text column_name:text constraint_catalog:text \
                  constraint_schema:text constraint_name:text",
    },
    Spec {
        name: "routines",
        columns: "specific_catalog:text specific_schema:text specific_name:text routine_catalog:text \
                  routine_schema:text routine_name:text routine_type:text data_type:text",
    },
    Spec {
        name: "parameters",
        columns: "specific_catalog:text specific_schema:text specific_name:text ordinal_position:int4 \
                  parameter_mode:text parameter_name:text data_type:text",
    },
    Spec {
        name: "sequences",
        columns: "sequence_catalog:text sequence_schema:text sequence_name:text data_type:text start_value:text",
    },
    Spec {
        name: "triggers",
        columns: "trigger_catalog:text trigger_schema:text trigger_name:text event_manipulation:text \
                  event_object_schema:text event_object_table:text",
    },
];

/// All tables of the schema.
pub(super) fn specs() -> impl Iterator<Item = &'static Spec> {
    [&SCHEMATA, &TABLES, &COLUMNS, &CHARACTER_SETS, &VIEWS].into_iter().chain(EMPTY)
}

/// Table `name`; `None` when there is no such table.
pub(super) fn content(name: &str) -> Option<Content> {
    let spec = specs().find(|spec| spec.name == name)?;
    let rows: fn(&Directory) -> Vec<Row> = match name {
        "schemata" => |known| schemata(&known.session),
        "tables" => |known| known.relations().iter().map(|relation| table(relation, &known.session)).collect(),
        "columns" => columns,
        "character_sets" => |_| vec![Vec::new()],
        "views" => views,
        _ => return Some((spec, None)),
    };
    Some((spec, Some(rows)))
}

fn schemata(session: &PgSession) -> Vec<Row> {
    let row = |(_, name): &(i64, &str)| -> Row {
        vec![
            ("catalog_name", session.database.as_str().into()),
            ("schema_name", (*name).into()),
            ("schema_owner", session.user.as_str().into()),
        ]
    };
    NAMESPACES.iter().map(row).collect()
}

fn place(relation: &Relation, session: &PgSession) -> Row {
    vec![
        ("table_catalog", session.database.as_str().into()),
        ("table_schema", relation.namespace_name().into()),
        ("table_name", relation.name.as_str().into()),
    ]
}

fn table(relation: &Relation, session: &PgSession) -> Row {
    let mut row = place(relation, session);
    row.push(("table_type", if relation.kind == "r" { "BASE TABLE" } else { "VIEW" }.into()));
    row
}

fn views(known: &Directory) -> Vec<Row> {
    let views = known.relations().iter().filter(|relation| relation.kind == "v");
    views.map(|relation| place(relation, &known.session)).collect()
}

fn columns(known: &Directory) -> Vec<Row> {
    let mut rows = Vec::new();
    for relation in known.relations() {
        for (position, field) in (1..).zip(relation.schema.fields()) {
            let mut row = place(relation, &known.session);
            row.extend(column(position, field));
            row.push(("udt_catalog", known.session.database.as_str().into()));
            rows.push(row);
        }
    }
    rows
}

fn column(position: i64, field: &Field) -> Row {
    let data_type = PgType::of(field);
    let spelled = if matches!(data_type, PgType::Array(_)) { "ARRAY".to_owned() } else { data_type.sql_name() };
    let is_time = matches!(field.data_type(), arrow_schema::DataType::Timestamp(..));
    vec![
        ("column_name", field.name().as_str().into()),
        ("ordinal_position", Cell::Int(position)),
        ("is_nullable", if field.is_nullable() { "YES" } else { "NO" }.into()),
        ("data_type", spelled.into()),
        ("udt_name", data_type.name().into()),
        ("datetime_precision", if is_time { Cell::Int(6) } else { Cell::Null }),
    ]
}
