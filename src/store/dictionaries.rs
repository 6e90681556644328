//! The dictionaries on disk: read whole when the store opens, written by the commits.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::error::Error;
use super::insert::Insert;
use super::names::Pending;
use super::names::info::{
    InstrumentationInfo, OperationInfo, ResourceInfo, ServiceInfo, instrumentation_hash, resource_hash,
};
use crate::model::id::{InstrumentationId, OperationId, ResourceId, ServiceId, TenantNumber};
use crate::model::node::NodeKind;
use crate::model::packed::Attributes;
use crate::model::resource::{Instrumentation, Resource};
use crate::model::span::SpanKind;
use crate::model::tenant::TenantId;
use crate::model::text::Text;
use crate::model::time::UnixNanos;

/// Everything that was handed out and written.
pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Pending, Error> {
    let mut rows = Pending::default();
    for row in sqlx::query("SELECT id, name FROM tenants ORDER BY id").fetch_all(&mut *connection).await? {
        let tenant = TenantId::try_from(row.try_get::<&str, _>(1)?)
            .map_err(|_| Error::Unreadable { what: "tenant name" })?;
        rows.tenants.push((TenantNumber(row.try_get(0)?), tenant));
    }
    for row in sqlx::query("SELECT id, tenant_id, kind, name, first_seen FROM services ORDER BY id")
        .fetch_all(&mut *connection)
        .await?
    {
        rows.services.push(Arc::new(service(&row)?));
    }
    let statement = "SELECT id, tenant_id, service_id, kind, name, first_seen FROM operations ORDER BY id";
    for row in sqlx::query(statement).fetch_all(&mut *connection).await? {
        rows.operations.push(Arc::new(OperationInfo {
            id: OperationId(row.try_get(0)?),
            tenant: TenantNumber(row.try_get(1)?),
            service: ServiceId(row.try_get(2)?),
            kind: SpanKind(row.try_get(3)?),
            name: row.try_get::<&str, _>(4)?.into(),
            first_seen: UnixNanos(row.try_get(5)?),
        }));
    }
    let statement = "SELECT r.id, r.tenant_id, r.service_id, r.version, r.instance, r.attributes, \
                     r.dropped_attributes, r.schema_url, r.first_seen, s.name \
                     FROM resources r JOIN services s ON s.id = r.service_id ORDER BY r.id";
    for row in sqlx::query(statement).fetch_all(&mut *connection).await? {
        rows.resources.push(Arc::new(resource(&row)?));
    }
    let statement = "SELECT id, tenant_id, name, version, attributes, dropped_attributes, schema_url \
                     FROM instrumentations ORDER BY id";
    for row in sqlx::query(statement).fetch_all(&mut *connection).await? {
        rows.instrumentations.push(Arc::new(instrumentation(&row)?));
    }
    Ok(rows)
}

/// Writes entries that were handed out. An id that is stored already, because a commit that seemed to fail did
/// not, is left as it is.
pub(super) async fn write(connection: &mut SqliteConnection, pending: &Pending) -> Result<(), Error> {
    TENANTS
        .run(&mut *connection, &pending.tenants, |values, (number, tenant)| {
            values.int(number.0);
            values.text(tenant.as_str());
        })
        .await?;
    SERVICES
        .run(&mut *connection, &pending.services, |values, service| {
            values.int(service.id.0);
            values.int(service.tenant.0);
            values.int(service.kind as u8);
            values.shared_text(&service.name);
            values.int(service.first_seen.0);
        })
        .await?;
    OPERATIONS
        .run(&mut *connection, &pending.operations, |values, operation| {
            values.int(operation.id.0);
            values.int(operation.tenant.0);
            values.int(operation.service.0);
            values.int(operation.kind.0);
            values.shared_text(&operation.name);
            values.int(operation.first_seen.0);
        })
        .await?;
    RESOURCES
        .run(&mut *connection, &pending.resources, |values, info| {
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
    INSTRUMENTATIONS
        .run(connection, &pending.instrumentations, |values, info| {
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

const KEEP: &str = "ON CONFLICT (id) DO NOTHING";

static TENANTS: LazyLock<Insert> = LazyLock::new(|| Insert::new("tenants (id, name)", 2, KEEP));

static SERVICES: LazyLock<Insert> =
    LazyLock::new(|| Insert::new("services (id, tenant_id, kind, name, first_seen)", 5, KEEP));

static OPERATIONS: LazyLock<Insert> =
    LazyLock::new(|| Insert::new("operations (id, tenant_id, service_id, kind, name, first_seen)", 6, KEEP));

static RESOURCES: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "resources (id, tenant_id, hash, service_id, version, instance, attributes, dropped_attributes, schema_url, \
         first_seen)",
        10,
        KEEP,
    )
});

static INSTRUMENTATIONS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "instrumentations (id, tenant_id, hash, name, version, attributes, dropped_attributes, schema_url)",
        8,
        KEEP,
    )
});

fn service(row: &SqliteRow) -> Result<ServiceInfo, Error> {
    Ok(ServiceInfo {
        id: ServiceId(row.try_get(0)?),
        tenant: TenantNumber(row.try_get(1)?),
        kind: NodeKind::from_number(row.try_get(2)?).ok_or(Error::Unreadable { what: "kind of node" })?,
        name: row.try_get::<&str, _>(3)?.into(),
        first_seen: UnixNanos(row.try_get(4)?),
    })
}

fn resource(row: &SqliteRow) -> Result<ResourceInfo, Error> {
    let resource = Resource {
        service: row.try_get::<&str, _>(9)?.into(),
        attributes: Attributes::from_checked(Bytes::copy_from_slice(row.try_get(5)?)),
        dropped_attributes: row.try_get(6)?,
        schema_url: Text::from(row.try_get::<&str, _>(7)?),
    };
    Ok(ResourceInfo {
        id: ResourceId(row.try_get(0)?),
        tenant: TenantNumber(row.try_get(1)?),
        service: ServiceId(row.try_get(2)?),
        version: row.try_get::<&str, _>(3)?.into(),
        instance: row.try_get::<&str, _>(4)?.into(),
        resource: Arc::new(resource),
        first_seen: UnixNanos(row.try_get(8)?),
    })
}

fn instrumentation(row: &SqliteRow) -> Result<InstrumentationInfo, Error> {
    let instrumentation = Instrumentation {
        name: Text::from(row.try_get::<&str, _>(2)?),
        version: Text::from(row.try_get::<&str, _>(3)?),
        attributes: Attributes::from_checked(Bytes::copy_from_slice(row.try_get(4)?)),
        dropped_attributes: row.try_get(5)?,
        schema_url: Text::from(row.try_get::<&str, _>(6)?),
    };
    Ok(InstrumentationInfo {
        id: InstrumentationId(row.try_get(0)?),
        tenant: TenantNumber(row.try_get(1)?),
        instrumentation: Arc::new(instrumentation),
    })
}
