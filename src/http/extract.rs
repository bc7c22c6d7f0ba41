//! What a route takes from a request. Whatever is wrong with it is told as a [`Problem`].
//!
//! # Invariants
//!
//! * Nothing of a body or of a query goes to the log.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::Api;
use super::problem::{Kind, Problem};
use crate::hub::Hub;

/// A JSON body, of a request or of an answer.
pub(super) struct Json<T>(pub(super) T);

/// The query of an address.
pub(super) struct Query<T>(pub(super) T);

/// The variable parts of a path.
pub(super) struct Path<T>(pub(super) T);

/// The hub, once there is one.
pub(super) struct Ready(pub(super) Arc<Hub>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = <axum::Json<T> as FromRequest<S>>::from_request(request, state).await;
        read.map(|axum::Json(value)| Self(value)).map_err(body_problem)
    }
}

/// A body that may be left out.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let is_left_out = request.headers().get(header::CONTENT_TYPE).is_none();
        let is_empty = axum::body::HttpBody::is_end_stream(request.body());
        if is_left_out && is_empty {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::from_request_parts(parts, state).await;
        let problem =
            |rejection: QueryRejection| Problem::new(Kind::InvalidQuery, rejection.body_text());
        read.map(|axum::extract::Query(value)| Self(value)).map_err(problem)
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        let problem =
            |rejection: PathRejection| Problem::new(Kind::InvalidPath, rejection.body_text());
        read.map(|axum::extract::Path(value)| Self(value)).map_err(problem)
    }
}

impl FromRequestParts<Arc<Api>> for Ready {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        api.hub().map(Self)
    }
}

fn body_problem(rejection: JsonRejection) -> Problem {
    let kind = match &rejection {
        JsonRejection::JsonSyntaxError(_) => Kind::MalformedJson,
        JsonRejection::JsonDataError(_) => Kind::InvalidBody,
        JsonRejection::MissingJsonContentType(_) => Kind::UnsupportedMediaType,
        JsonRejection::BytesRejection(_) if rejection.status().as_u16() == 413 => Kind::BodyTooLong,
        _ => Kind::BadRequest,
    };
    Problem::new(kind, rejection.body_text())
}
