//! What lies around all routes.
//!
//! # Invariants
//!
//! * A request that takes too long, or panics, is answered like any other, with a problem.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use super::api::Api;
use super::observe::observe;
use super::problem::{Kind, Problem};
use crate::limits::{HTTP_BODY_BYTES_MAX, HTTP_REQUEST_TIMEOUT};

/// Lays them around these routes.
pub(super) fn around(router: Router<Arc<Api>>, api: &Arc<Api>) -> Router {
    router
        .fallback(async || Problem::new(Kind::NotFound, "no route has this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(Kind::MethodNotAllowed, "the header Allow has those that there are")
        })
        .layer(DefaultBodyLimit::max(HTTP_BODY_BYTES_MAX))
        .layer(from_fn(in_time))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(api.clone(), observe))
        .with_state(api.clone())
}

/// Gives up what takes too long.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(HTTP_REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(Kind::Timeout, "ask whether it has been done").into_response(),
    }
}

/// What a panic said has been told where it happened.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request has panicked");
    Problem::new(Kind::Internal, "the log says more").into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::StatusCode;
    use axum::routing::get;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::super::keys::Keys;
    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;

    /// What is answered on a path: its status and its problem's type.
    async fn answered(path: &str) -> (StatusCode, String) {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path(), 0).unwrap();
        let api = Arc::new(Api::new(keys, Arc::new(Metrics::new()), Clock::system()));
        let panics = async || -> StatusCode { panic!("this is no news") };
        let hangs = async || std::future::pending::<StatusCode>().await;
        let routes = Router::new().route("/panics", get(panics)).route("/hangs", get(hangs));
        let service = TowerToHyperService::new(around(routes, &api));
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = service.call(request).await.unwrap();
        let (status, id) = (response.status(), response.headers()["x-request-id"].clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["instance"].as_str().unwrap(), id);
        let counted = format!("route=\"{path}\",method=\"GET\",status=\"5xx\"}} 1");
        assert!(api.metrics.classic().contains(&counted), "no {counted}");
        (status, body["type"].as_str().unwrap().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_ends() {
        let (status, kind) = answered("/hangs").await;
        assert_eq!((status.as_u16(), kind.as_str()), (504, "urn:tidings:problem:timeout"));
    }

    #[tokio::test]
    async fn a_request_that_panics_is_answered() {
        let (status, kind) = answered("/panics").await;
        assert_eq!((status.as_u16(), kind.as_str()), (500, "urn:tidings:problem:internal"));
    }
}
