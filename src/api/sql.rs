//! `/api/v1/sql`.

use serde::Serialize;
use serde_json::{Number, Value as Json};
use utoipa::ToSchema;

use crate::auth::Right;
use crate::model::packed::value::Value as Packed;
use crate::store::read::sql::value::Value;
use crate::store::read::sql::words::TEXT_BYTES_MAX;
use crate::store::read::sql::{ROWS_MAX, Table};

use super::answer::{Answer, laid_out};
use super::call::Call;
use super::parameter::{LIMIT, Parameter, Shape};
use super::problem::Problem;
use super::routes::Route;
use super::value;

/// Most bytes of an answer.
const BYTES_MAX: usize = 16 << 20;

const Q: Parameter = Parameter {
    name: "q",
    description: "One statement: SELECT, WITH or EXPLAIN QUERY PLAN. It may read `v_services`, `v_operations`, `v_spans`, \
                  `v_traces`, `v_logs`, `v_points` and `v_rollups`; a refusal tells what else is taken.",
    shape: Shape::Text { bytes_max: TEXT_BYTES_MAX },
};
const ROWS: Parameter = Parameter {
    name: LIMIT.name,
    description: "Most rows of the answer. An answer over 16 MiB is cut before that; `truncated` says so.",
    shape: Shape::Integer { min: 1, max: ROWS_MAX as u64, default: ROWS_MAX as u64 },
};

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/sql",
    right: Right::Admin,
    name: "askInSql",
    summary: "A statement in SQL that reads",
    description: "For the operator of a server with a single tenant: answers one statement over the views for people, in \
                  the dialect of the database. Refused with 403 where the database has data of another tenant than the \
                  server's default. With `Accept: text/csv` the answer is a table with a line of names; one that is cut \
                  has a last line `# truncated`.",
    in_path: &[],
    in_body: Some(&Q),
    parameters: &[&Q, &ROWS],
    schema: |schemas| schemas.object::<TableView>(),
    answer: |call| Box::pin(answer(call)),
};

/// The rows that a statement answers.
#[derive(Serialize, ToSchema)]
#[schema(as = SqlTable)]
struct TableView {
    /// The names of the columns; the same name may come twice.
    columns: Vec<String>,
    /// The rows, with a value for each column: integers beyond 2^53 - 1, NaN and the infinities are text, bytes are
    /// hexadecimal text.
    #[schema(value_type = Vec<Vec<serde_json::Value>>)]
    rows: Vec<Vec<Json>>,
    /// Whether there are more rows than these.
    truncated: bool,
}

async fn answer(call: Call) -> Result<Answer, Problem> {
    let Some(tenant) = &call.parts.options.sql_tenant else {
        return Err(Problem::denied("SQL is not answered by this server"));
    };
    if call.scope.tenant() != tenant {
        return Err(Problem::denied(
            "SQL knows no tenants and is answered to the server's default tenant only: leave out `x-tenant-id`, or use a key of that tenant",
        ));
    }
    let text = call.needed(&Q)?;
    let rows_max = usize::try_from(call.integer(&ROWS)).unwrap_or(ROWS_MAX);
    let turn = tokio::time::timeout(call.parts.options.turn_wait, call.parts.sql_turns.acquire()).await;
    let turn = turn.ok().and_then(Result::ok).ok_or_else(Problem::overloaded)?;
    let table = call.query().sql(&call.scope, text, rows_max).await?;
    drop(turn);
    let wants_csv = call.wants_csv;
    laid_out(move || if wants_csv { Ok(Answer::csv(csv(&table))) } else { Answer::object(&in_json(&table)) })
        .await
}

fn in_json(table: &Table) -> TableView {
    let mut view = TableView { columns: table.columns.clone(), rows: Vec::new(), truncated: table.truncated };
    let mut bytes = 0;
    for row in &table.rows {
        let row: Vec<Json> = row.iter().map(json).collect();
        bytes += row.iter().map(|value| value.to_string().len() + 1).sum::<usize>() + 3;
        if bytes > BYTES_MAX {
            view.truncated = true;
            break;
        }
        view.rows.push(row);
    }
    view
}

fn json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::from(*flag),
        Value::Integer(number) => value::json(&Packed::Int(*number), 1),
        Value::Real(number) => {
            Number::from_f64(*number).map_or_else(|| value::json(&Packed::Double(*number), 1), Json::Number)
        }
        Value::Text(text) => Json::from(text.as_str()),
        Value::Bytes(bytes) => Json::from(hexadecimal(bytes)),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A table as RFC 4180 has it. Null is an empty field, empty text an empty field in quotes.
fn csv(table: &Table) -> Vec<u8> {
    let mut text = String::new();
    let names = table.columns.iter().map(|name| field(&Value::Text(name.clone())));
    line(&mut text, names);
    let mut truncated = table.truncated;
    for row in &table.rows {
        let before = text.len();
        line(&mut text, row.iter().map(field));
        if text.len() > BYTES_MAX {
            text.truncate(before);
            truncated = true;
            break;
        }
    }
    if truncated {
        text.push_str("# truncated\r\n");
    }
    text.into_bytes()
}

fn line(text: &mut String, fields: impl Iterator<Item = String>) {
    for (index, field) in fields.enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&field);
    }
    text.push_str("\r\n");
}

fn field(value: &Value) -> String {
    let plain = match value {
        Value::Null => return String::new(),
        Value::Bool(flag) => return flag.to_string(),
        Value::Integer(number) => return number.to_string(),
        Value::Real(number) => return number.to_string(),
        Value::Bytes(bytes) => return hexadecimal(bytes),
        Value::Text(text) => text,
    };
    let is_plain = !plain.is_empty() && !plain.starts_with('#') && !plain.contains(['"', ',', '\r', '\n']);
    if is_plain { plain.clone() } else { format!("\"{}\"", plain.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            columns: vec!["a".to_owned(), "b, c".to_owned()],
            rows: vec![
                vec![Value::Integer(i64::MAX), Value::Text("say \"x\",\n".to_owned())],
                vec![Value::Null, Value::Text(String::new())],
                vec![Value::Real(f64::NAN), Value::Bytes(vec![0, 255])],
                vec![Value::Bool(true), Value::Real(0.5)],
            ],
            truncated: true,
        }
    }

    #[test]
    fn a_table_is_quoted_where_it_must_be() {
        let wanted = "a,\"b, c\"\r\n9223372036854775807,\"say \"\"x\"\",\n\"\r\n,\"\"\r\nNaN,00ff\r\ntrue,0.5\r\n# truncated\r\n";
        assert_eq!(String::from_utf8(csv(&table())).unwrap(), wanted);
    }

    #[test]
    fn values_are_what_every_reader_of_json_reads_alike() {
        let rows: Vec<Vec<Json>> = table().rows.iter().map(|row| row.iter().map(json).collect()).collect();
        let wanted = serde_json::json!([
            ["9223372036854775807", "say \"x\",\n"],
            [null, ""],
            ["NaN", "00ff"],
            [true, 0.5],
        ]);
        assert_eq!(serde_json::json!(rows), wanted);
    }

    #[test]
    fn an_answer_is_cut_at_its_bound() {
        let long = Value::Text("\u{1}".repeat(1 << 20));
        let table = Table { columns: vec!["a".to_owned()], rows: vec![vec![long]; 12], truncated: false };
        let view = in_json(&table);
        assert!(view.truncated && view.rows.len() == 2, "six bytes in JSON for each control character");
        let text = Value::Text("x".repeat(1 << 20));
        let table = Table { columns: vec!["a".to_owned()], rows: vec![vec![text]; 17], truncated: false };
        let csv = csv(&table);
        assert!(csv.len() <= BYTES_MAX + 16 && csv.ends_with(b"# truncated\r\n"));
    }
}
