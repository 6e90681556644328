//! The dictionaries on disk: read whole when the store opens, written by the commits.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::names::info::{
    InstrumentationInfo, OperationInfo, ResourceInfo, ServiceInfo, instrumentation_hash, resource_hash,
};
use super::names::{Dated, Dictionary, Key, Pending};
use super::row::Row;
use super::table;
use crate::model::id::{InstrumentationId, OperationId, ResourceId, ServiceId, TenantNumber};
use crate::model::node::NodeKind;
use crate::model::packed::Attributes;
use crate::model::resource::{Instrumentation, Resource};
use crate::model::span::SpanKind;
use crate::model::tenant::TenantId;
use crate::model::text::Text;
use crate::model::time::UnixNanos;
use bytes::Bytes;

/// Ids that one statement names.
const IDS_PER_STATEMENT: usize = 1_000;

/// Everything that was handed out and written.
pub(super) async fn read(connection: &mut Connection) -> Result<Pending, Error> {
    let statement = connection.sql("SELECT id, name FROM tenants ORDER BY id");
    let tenants = connection.rows(statement, |row| {
        let tenant = TenantId::try_from(&*row.get::<Cow<'_, str>>(1)?)
            .map_err(|_| Error::Unreadable { what: "tenant name" })?;
        Ok((TenantNumber(row.get(0)?), tenant))
    });
    let tenants = tenants.await?;
    let statement =
        connection.sql("SELECT id, tenant_id, kind, name, first_seen, last_day FROM services ORDER BY id");
    let services = connection.rows(statement, |row| dated(service(row)?, row, 5)).await?;
    let statement = connection.sql(
        "SELECT id, tenant_id, service_id, kind, name, first_seen, last_day FROM operations ORDER BY id",
    );
    let operations = connection.rows(statement, |row| dated(operation(row)?, row, 6)).await?;
    let statement = connection.sql(
        "SELECT r.id, r.tenant_id, r.service_id, r.version, r.instance, r.attributes, r.dropped_attributes, \
         r.schema_url, r.first_seen, s.name, r.last_day FROM resources r JOIN services s ON s.id = r.service_id \
         ORDER BY r.id",
    );
    let resources = connection.rows(statement, |row| dated(resource(row)?, row, 10)).await?;
    let statement = connection.sql(
        "SELECT id, tenant_id, name, version, attributes, dropped_attributes, schema_url, last_day \
         FROM instrumentations ORDER BY id",
    );
    let instrumentations = connection.rows(statement, |row| dated(instrumentation(row)?, row, 7)).await?;
    Ok(Pending { tenants, services, operations, resources, instrumentations, ..Pending::default() })
}

/// Writes what was handed out, named on a later day or forgotten. An id that is stored already, because a commit that
/// seemed to fail did not, is left as it is; one that is gone already as well.
pub(super) async fn write(connection: &mut Connection, pending: &Pending) -> Result<(), Error> {
    // First: their names may be among those that were handed out since.
    remove_gone(connection, &pending.gone).await?;
    add(connection, pending).await?;
    let mut last_days: BTreeMap<(Dictionary, Day), Vec<u32>> = BTreeMap::new();
    for (key, day) in &pending.seen {
        last_days.entry((key.dictionary, *day)).or_default().push(key.id);
    }
    for ((dictionary, day), ids) in last_days {
        set_last_day(connection, dictionary.table(), day, &ids).await?;
    }
    Ok(())
}

/// Moves the last day of rows of `table` on to `day`.
pub(super) async fn set_last_day(
    connection: &mut Connection,
    table: &str,
    day: Day,
    ids: &[u32],
) -> Result<(), Error> {
    let day = day.0;
    for ids in ids.chunks(IDS_PER_STATEMENT) {
        let are_meant = connection.dialect().is_one_of(ids.iter().map(|id| i64::from(*id)));
        let sql = format!("UPDATE {table} SET last_day = {day} WHERE last_day < {day} AND id{are_meant}");
        connection.execute(connection.sql(sql)).await?;
    }
    Ok(())
}

/// Removes rows of `table`.
pub(super) async fn remove(connection: &mut Connection, table: &str, ids: &[u32]) -> Result<(), Error> {
    for ids in ids.chunks(IDS_PER_STATEMENT) {
        let are_meant = connection.dialect().is_one_of(ids.iter().map(|id| i64::from(*id)));
        connection.execute(connection.sql(format!("DELETE FROM {table} WHERE id{are_meant}"))).await?;
    }
    Ok(())
}

/// Removes those of these rows of `table` whose last day is before this one.
pub(super) async fn remove_before(
    connection: &mut Connection,
    table: &str,
    before: Day,
    ids: &[u32],
) -> Result<(), Error> {
    for ids in ids.chunks(IDS_PER_STATEMENT) {
        let are_meant = connection.dialect().is_one_of(ids.iter().map(|id| i64::from(*id)));
        let sql = format!("DELETE FROM {table} WHERE last_day < {} AND id{are_meant}", before.0);
        connection.execute(connection.sql(sql)).await?;
    }
    Ok(())
}

/// Removes entries. The templates of services go by [`templates::remove_of`](super::templates::remove_of).
async fn remove_gone(connection: &mut Connection, gone: &[Key]) -> Result<(), Error> {
    for dictionary in Dictionary::ALL {
        let of = gone.iter().filter(|key| key.dictionary == dictionary);
        let ids: Vec<u32> = of.map(|key| key.id).collect();
        remove(connection, dictionary.table(), &ids).await?;
    }
    Ok(())
}

/// Writes entries that were handed out.
async fn add(connection: &mut Connection, pending: &Pending) -> Result<(), Error> {
    connection
        .insert(&table::TENANTS.whole(), &pending.tenants, |values, (number, tenant)| {
            values.int(number.0);
            values.text(tenant.as_str());
        })
        .await?;
    connection
        .insert(&table::SERVICES.whole(), &pending.services, |values, Dated { entry: service, last }| {
            values.int(service.id.0);
            values.int(service.tenant.0);
            values.int(service.kind as u8);
            values.shared_text(&service.name);
            values.int(service.first_seen.0);
            values.int(last.0);
        })
        .await?;
    connection
        .insert(
            &table::OPERATIONS.whole(),
            &pending.operations,
            |values, Dated { entry: operation, last }| {
                values.int(operation.id.0);
                values.int(operation.tenant.0);
                values.int(operation.service.0);
                values.int(operation.kind.0);
                values.shared_text(&operation.name);
                values.int(operation.first_seen.0);
                values.int(last.0);
            },
        )
        .await?;
    connection
        .insert(&table::RESOURCES.whole(), &pending.resources, |values, Dated { entry: info, last }| {
            values.int(info.id.0);
            values.int(info.tenant.0);
            values.blob(&resource_hash(&info.resource).to_be_bytes());
            values.int(info.service.0);
            values.shared_text(&info.version);
            values.shared_text(&info.instance);
            values.blob(info.resource.attributes.as_bytes());
            values.int(info.resource.dropped_attributes);
            values.text(info.resource.schema_url.as_str());
            values.int(info.first_seen.0);
            values.int(last.0);
        })
        .await?;
    connection
        .insert(
            &table::INSTRUMENTATIONS.whole(),
            &pending.instrumentations,
            |values, Dated { entry: info, last }| {
                let instrumentation = &info.instrumentation;
                values.int(info.id.0);
                values.int(info.tenant.0);
                values.blob(&instrumentation_hash(instrumentation).to_be_bytes());
                values.text(instrumentation.name.as_str());
                values.text(instrumentation.version.as_str());
                values.blob(instrumentation.attributes.as_bytes());
                values.int(instrumentation.dropped_attributes);
                values.text(instrumentation.schema_url.as_str());
                values.int(last.0);
            },
        )
        .await
}

/// An entry with its last day, which is in `column`.
fn dated<T>(entry: T, row: Row<'_>, column: usize) -> Result<Dated<T>, Error> {
    Ok(Dated { entry: Arc::new(entry), last: Day(row.get(column)?) })
}

fn service(row: Row<'_>) -> Result<ServiceInfo, Error> {
    Ok(ServiceInfo {
        id: ServiceId(row.get(0)?),
        tenant: TenantNumber(row.get(1)?),
        kind: NodeKind::from_number(row.get(2)?).ok_or(Error::Unreadable { what: "kind of node" })?,
        name: shared(row, 3)?,
        first_seen: UnixNanos(row.get(4)?),
    })
}

fn operation(row: Row<'_>) -> Result<OperationInfo, Error> {
    Ok(OperationInfo {
        id: OperationId(row.get(0)?),
        tenant: TenantNumber(row.get(1)?),
        service: ServiceId(row.get(2)?),
        kind: SpanKind(row.get(3)?),
        name: shared(row, 4)?,
        first_seen: UnixNanos(row.get(5)?),
    })
}

fn resource(row: Row<'_>) -> Result<ResourceInfo, Error> {
    let resource = Resource {
        service: shared(row, 9)?,
        attributes: attributes(row, 5)?,
        dropped_attributes: row.get(6)?,
        schema_url: text(row, 7)?,
    };
    Ok(ResourceInfo {
        id: ResourceId(row.get(0)?),
        tenant: TenantNumber(row.get(1)?),
        service: ServiceId(row.get(2)?),
        version: shared(row, 3)?,
        instance: shared(row, 4)?,
        resource: Arc::new(resource),
        first_seen: UnixNanos(row.get(8)?),
    })
}

fn instrumentation(row: Row<'_>) -> Result<InstrumentationInfo, Error> {
    let instrumentation = Instrumentation {
        name: text(row, 2)?,
        version: text(row, 3)?,
        attributes: attributes(row, 4)?,
        dropped_attributes: row.get(5)?,
        schema_url: text(row, 6)?,
    };
    Ok(InstrumentationInfo {
        id: InstrumentationId(row.get(0)?),
        tenant: TenantNumber(row.get(1)?),
        instrumentation: Arc::new(instrumentation),
    })
}

fn shared(row: Row<'_>, column: usize) -> Result<Arc<str>, Error> {
    Ok(row.get::<Cow<'_, str>>(column)?.into())
}

fn text(row: Row<'_>, column: usize) -> Result<Text, Error> {
    Ok(Text::from(&*row.get::<Cow<'_, str>>(column)?))
}

fn attributes(row: Row<'_>, column: usize) -> Result<Attributes, Error> {
    Ok(Attributes::from_checked(Bytes::copy_from_slice(row.get(column)?)))
}
