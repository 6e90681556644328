//! The dictionaries on disk: read whole when the store opens, written by the commits.

use std::borrow::Cow;
use std::sync::Arc;

use super::connection::Connection;
use super::error::Error;
use super::names::Pending;
use super::names::info::{
    InstrumentationInfo, OperationInfo, ResourceInfo, ServiceInfo, instrumentation_hash, resource_hash,
};
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

/// Everything that was handed out and written.
pub(super) async fn read(connection: &mut Connection) -> Result<Pending, Error> {
    let statement = connection.sql("SELECT id, name FROM tenants ORDER BY id");
    let tenants = connection.rows(statement, |row| {
        let tenant = TenantId::try_from(&*row.get::<Cow<'_, str>>(1)?)
            .map_err(|_| Error::Unreadable { what: "tenant name" })?;
        Ok((TenantNumber(row.get(0)?), tenant))
    });
    let tenants = tenants.await?;
    let statement = connection.sql("SELECT id, tenant_id, kind, name, first_seen FROM services ORDER BY id");
    let services = connection.rows(statement, |row| Ok(Arc::new(service(row)?))).await?;
    let statement = connection
        .sql("SELECT id, tenant_id, service_id, kind, name, first_seen FROM operations ORDER BY id");
    let operations = connection.rows(statement, |row| Ok(Arc::new(operation(row)?))).await?;
    let statement = connection.sql(
        "SELECT r.id, r.tenant_id, r.service_id, r.version, r.instance, r.attributes, r.dropped_attributes, \
         r.schema_url, r.first_seen, s.name FROM resources r JOIN services s ON s.id = r.service_id ORDER BY r.id",
    );
    let resources = connection.rows(statement, |row| Ok(Arc::new(resource(row)?))).await?;
    let statement = connection.sql(
        "SELECT id, tenant_id, name, version, attributes, dropped_attributes, schema_url FROM instrumentations \
         ORDER BY id",
    );
    let instrumentations = connection.rows(statement, |row| Ok(Arc::new(instrumentation(row)?))).await?;
    Ok(Pending { tenants, services, operations, resources, instrumentations })
}

/// Writes entries that were handed out. An id that is stored already, because a commit that seemed to fail did
/// not, is left as it is.
pub(super) async fn write(connection: &mut Connection, pending: &Pending) -> Result<(), Error> {
    connection
        .insert(&table::TENANTS.whole(), &pending.tenants, |values, (number, tenant)| {
            values.int(number.0);
            values.text(tenant.as_str());
        })
        .await?;
    connection
        .insert(&table::SERVICES.whole(), &pending.services, |values, service| {
            values.int(service.id.0);
            values.int(service.tenant.0);
            values.int(service.kind as u8);
            values.shared_text(&service.name);
            values.int(service.first_seen.0);
        })
        .await?;
    connection
        .insert(&table::OPERATIONS.whole(), &pending.operations, |values, operation| {
            values.int(operation.id.0);
            values.int(operation.tenant.0);
            values.int(operation.service.0);
            values.int(operation.kind.0);
            values.shared_text(&operation.name);
            values.int(operation.first_seen.0);
        })
        .await?;
    connection
        .insert(&table::RESOURCES.whole(), &pending.resources, |values, info| {
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
        })
        .await?;
    connection
        .insert(&table::INSTRUMENTATIONS.whole(), &pending.instrumentations, |values, info| {
            let instrumentation = &info.instrumentation;
            values.int(info.id.0);
            values.int(info.tenant.0);
            values.blob(&instrumentation_hash(instrumentation).to_be_bytes());
            values.text(instrumentation.name.as_str());
            values.text(instrumentation.version.as_str());
            values.blob(instrumentation.attributes.as_bytes());
            values.int(instrumentation.dropped_attributes);
            values.text(instrumentation.schema_url.as_str());
        })
        .await
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
