//! `grpc.health.v1.Health/Check`, for probes of orchestrators and load balancers.
//!
//! Probes carry no credentials, so none are asked for; the answer tells only whether the doors are open.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use prost::Message;

use crate::model::batch::Signal;

use super::Error;
use super::grpc;
use super::inflate::Inflate;
use super::intake::Intake;

/// The path of the method.
pub(super) const CHECK_PATH: &str = "/grpc.health.v1.Health/Check";

/// Longest request in bytes; it holds the name of a service.
const REQUEST_BYTES_MAX: usize = 1024;

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

/// Answers whether a service, or with an empty name the server, takes requests.
pub(super) async fn check(intake: Arc<Intake>, request: Request) -> Response {
    if let Err(error) = grpc::is_grpc(&request) {
        return grpc::not_grpc(request.headers(), &error);
    }
    match answer(&intake, request).await {
        Ok(response) => grpc::success(&response.encode_to_vec().into()),
        Err(error) => grpc::failure(&error),
    }
}

async fn answer(intake: &Intake, request: Request) -> Result<HealthCheckResponse, Error> {
    let named = grpc::named_compression(request.headers())?;
    let reader = intake.reader_even_closed(request.into_body(), REQUEST_BYTES_MAX + grpc::PREFIX_BYTES)?;
    let (compression, body, permit) = grpc::message(reader, named, REQUEST_BYTES_MAX).await?;
    let plain_permit = permit.another(REQUEST_BYTES_MAX);
    let (body, _permit) = Inflate::new(compression, body, permit, plain_permit)?.finish()?;
    let malformed = |_malformed| Error::Framing { what: "it is not a HealthCheckRequest" };
    let HealthCheckRequest { service } = HealthCheckRequest::decode(body).map_err(malformed)?;
    if !service.is_empty() && !Signal::ALL.into_iter().any(|signal| is_service(signal, &service)) {
        return Err(Error::NoSuchService);
    }
    Ok(HealthCheckResponse { status: if intake.is_serving() { SERVING } else { NOT_SERVING } })
}

fn is_service(signal: Signal, service: &str) -> bool {
    grpc::export_path(signal).strip_prefix('/').and_then(|path| path.strip_suffix("/Export")) == Some(service)
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}
