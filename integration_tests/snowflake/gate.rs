//! A server before the warehouse that stops at each statement until it is let on.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// A statement that waits. It is gone with its session when this is dropped.
pub(super) struct Waiting {
    /// The request that holds it.
    pub text: String,
    on: oneshot::Sender<()>,
}

impl Waiting {
    pub fn go_on(self) {
        // Whoever sent it may have ended.
        let _ = self.on.send(());
    }
}

pub(super) struct Gate {
    pub url: String,
    pub statements: mpsc::UnboundedReceiver<Waiting>,
}

#[derive(Clone)]
struct Behind {
    url: String,
    client: reqwest::Client,
    statements: mpsc::UnboundedSender<Waiting>,
}

impl Gate {
    /// Before the server at `url`.
    pub async fn before(url: String) -> Self {
        let (sender, statements) = mpsc::unbounded_channel();
        let behind = Behind { url, client: reqwest::Client::new(), statements: sender };
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(forward).with_state(behind);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, statements }
    }
}

async fn forward(State(behind): State<Behind>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let path = parts.uri.path_and_query().unwrap().as_str();
    if path.contains("/query-request") {
        let (on, let_on) = oneshot::channel();
        let text = String::from_utf8(body.to_vec()).unwrap();
        behind.statements.send(Waiting { text, on }).unwrap_or_default();
        if let_on.await.is_err() {
            // A client that ended does not read it.
            return Response::builder().status(500).body(Body::empty()).unwrap();
        }
    }
    let mut headers: HeaderMap = parts.headers;
    for of_the_way in ["host", "content-length", "accept-encoding"] {
        headers.remove(of_the_way);
    }
    let sent =
        behind.client.request(parts.method, format!("{}{path}", behind.url)).headers(headers).body(body);
    let answer = sent.send().await.unwrap();
    let status = answer.status();
    let kind = answer.headers().get("content-type").cloned();
    let mut response = Response::builder().status(status);
    if let Some(kind) = kind {
        response = response.header("content-type", kind);
    }
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}
