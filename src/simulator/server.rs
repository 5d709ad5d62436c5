//! The server: takes requests, asks the market, and answers as the vendor
//! does, or as a fault wants it.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Config;
use super::admin;
use super::api::{self, Call};
use super::cache::Cache;
use super::dice::hex;
use super::disturb::disturb;
use super::exchange::{Answer, Asked};
use super::faults::{Fault, FaultKind, Script as Faults};
use super::page::{Page, Refusal};
use super::plan::{Access, Limiter};
use super::query::Query;
use super::replay::Recordings;
use super::wire::{Script, Step, Wire};
use super::world::World;
use crate::clock::SIMULATED_NOW;

/// Pages whose last row is remembered, for continuations that repeat it.
const LAST_ROWS_KEPT: usize = 4_096;

/// How long half a body gets to be on its way before the connection breaks.
const FLUSH: Duration = Duration::from_millis(30);

/// Each so-manieth answer is sent in chunks instead of with its length.
const CHUNKED_EVERY: u64 = 5;

/// Everything that the connections share.
pub struct Server {
    world: Arc<World>,
    seed: u64,
    plan: super::plan::Plan,
    history: super::plan::HistoryPolicy,
    limiter: Limiter,
    faults: Faults,
    recordings: Option<Recordings>,
    last_rows: Cache<String, Arc<[u8]>>,
}

impl Server {
    /// A server that nobody has asked yet.
    pub fn new(config: &Config, world: Arc<World>, recordings: Option<Recordings>) -> Self {
        Self {
            world,
            seed: config.seed,
            plan: config.plan,
            history: config.history,
            limiter: Limiter::new(config.plan, config.window),
            faults: Faults::new(config.seed, config.faults.clone()),
            recordings,
            last_rows: Cache::new(LAST_ROWS_KEPT),
        }
    }

    /// Serves connections until `stop` changes.
    pub async fn run(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        tokio::spawn(Arc::clone(&self).connection(stream, stop.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                _ = stop.changed() => return,
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, mut stop: watch::Receiver<bool>) {
        let _ = stream.set_nodelay(true);
        let reset = Arc::new(AtomicBool::new(false));
        let io = TokioIo::new(Wire::new(stream, Arc::clone(&reset)));
        let service = service_fn(move |request: Request<Incoming>| {
            let (server, reset) = (Arc::clone(&self), Arc::clone(&reset));
            async move { Ok::<_, Infallible>(server.respond(Asked::of(&request), &reset).await) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        let connection = http.auto_date_header(false).serve_connection(io, service);
        tokio::select! {
            // A client that goes away, or a fault that breaks the connection, is no news.
            _ = connection => {}
            _ = stop.changed() => {}
        }
    }

    async fn respond(&self, asked: Asked, reset: &Arc<AtomicBool>) -> Response<Script> {
        if asked.path.starts_with("/__") {
            let answer = admin::answer(&self.world, &asked);
            return self.send(&asked, 0, answer, reset);
        }
        let number = self.world.stats.request(api::endpoint(&asked.path));
        let answer = self.answer(&asked, number).await;
        self.world.stats.answered(answer.status);
        self.send(&asked, number, answer, reset)
    }

    async fn answer(&self, asked: &Asked, number: u64) -> Answer {
        let request_id = hex(&[self.seed, number, 1], 32);
        let refuse = |refusal: &Refusal| {
            let body = refusal.render(&request_id);
            let content_type =
                if *refusal == Refusal::NoPath { "text/plain; charset=utf-8" } else { "application/json" };
            Answer { content_type, ..Answer::json(refusal.status(), body) }
        };
        if let Some(recordings) = &self.recordings {
            return match recordings.find(&asked.path, &asked.query) {
                Some(body) => Answer::json(200, body.to_vec()),
                None => refuse(&Refusal::NoPath),
            };
        }
        if let Err(refusal) = self.admit(asked) {
            return refuse(&refusal);
        }
        let query = match Query::parse(&asked.query) {
            Ok(query) => query,
            Err(refusal) => return refuse(&refusal),
        };
        let fault = self.faults.next(&asked.path, &asked.query, query.is_continuation);
        if let Some(fault) = fault {
            self.world.stats.fault(fault.kind);
            if fault.kind == FaultKind::SlowHeaders {
                tokio::time::sleep(fault.delay()).await;
            }
            if let Some(answer) = faulty_answer(fault, &request_id) {
                return answer;
            }
        }
        let access = Access { plan: self.plan, history: self.history, now: self.world.now() };
        match api::answer(&Call { market: &self.world.market, access, path: &asked.path, query }) {
            Err(refusal) => refuse(&refusal),
            Ok(page) => {
                let mut answer = Answer::json(200, self.render(asked, page, fault, number, &request_id));
                answer.wire_fault = fault.cloned();
                answer
            }
        }
    }

    /// Checks the key and the plan's limit.
    fn admit(&self, asked: &Asked) -> Result<(), Refusal> {
        if asked.method != Method::GET {
            return Err(Refusal::NoPath);
        }
        let key = asked.key.as_deref().ok_or(Refusal::NoKey)?;
        if key.starts_with("invalid") {
            return Err(Refusal::UnknownKey);
        }
        if !self.limiter.admit(key, Instant::now()) {
            self.world.stats.broke_limit();
            return Err(Refusal::TooMany);
        }
        Ok(())
    }

    fn render(
        &self,
        asked: &Asked,
        mut page: Page,
        fault: Option<&Fault>,
        number: u64,
        request_id: &str,
    ) -> Vec<u8> {
        // The port is named now and then, as the vendor does.
        if number.is_multiple_of(3) {
            page.next_host.push_str(":443");
        }
        let url = asked.without_key();
        if self.faults.has(FaultKind::DuplicateLastRow)
            && let (Some(next), Some(last)) = (&page.next, page.rows.iter().last())
        {
            self.last_rows.put(next.clone(), Arc::from(last));
        }
        if let Some(fault) = fault {
            let previous = self.last_rows.get(&url);
            disturb(&mut page, fault.kind, &url, previous.as_deref(), number);
        }
        page.render(request_id)
    }

    fn send(&self, asked: &Asked, number: u64, answer: Answer, reset: &Arc<AtomicBool>) -> Response<Script> {
        let Answer { status, content_type, mut body, retry_after, wire_fault } = answer;
        let wire = wire_fault.as_ref().map(|fault| fault.kind);
        if wire == Some(FaultKind::TruncatedJson) {
            body.truncate(body.len() / 2);
        }
        let needs_gzip = matches!(wire, Some(FaultKind::BadGzip | FaultKind::TwoMembers));
        let is_gzip = (asked.takes_gzip && !body.is_empty()) || needs_gzip;
        if wire == Some(FaultKind::TwoMembers) {
            let (first, second) = body.split_at(body.len() / 2);
            body = [gzip(first), gzip(second)].concat();
        } else if is_gzip {
            body = gzip(&body);
        }
        if wire == Some(FaultKind::BadGzip) {
            body.truncate(body.len() * 2 / 3);
        }
        let length = body.len();
        let bytes = Bytes::from(body);
        let half = bytes.slice(..length / 2);
        let broken = match (wire, &wire_fault) {
            (Some(FaultKind::ShortBody), _) => Some(vec![Step::Data(half), Step::Wait(FLUSH), Step::Close]),
            (Some(FaultKind::Reset), _) => {
                Some(vec![Step::Data(half), Step::Wait(FLUSH), Step::Reset(Arc::clone(reset))])
            }
            (Some(FaultKind::SlowDrip), Some(fault)) => Some(drip(&bytes, fault.delay())),
            (Some(FaultKind::Stall), Some(fault)) => {
                Some(vec![Step::Data(half), Step::Wait(fault.delay()), Step::Close])
            }
            _ => None,
        };
        let is_broken = broken.is_some();
        let is_chunked = !is_broken && number % CHUNKED_EVERY == CHUNKED_EVERY - 1;
        let script = broken.map_or_else(|| Script::whole(bytes, !is_chunked), Script::of);
        let mut response = Response::new(script);
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=15724800; includeSubDomains"),
        );
        if let Ok(now) = HeaderValue::from_str(&self.world.now().to_string()) {
            headers.insert(SIMULATED_NOW, now);
        }
        if let Some(date) = date(wire_fault.as_ref()) {
            headers.insert(header::DATE, date);
        }
        headers.insert("x-polygon-cluster-name", HeaderValue::from_static("lga5-prod"));
        if let Ok(id) = HeaderValue::from_str(&hex(&[self.seed, number, 2], 32)) {
            headers.insert("x-request-id", id);
        }
        if wire == Some(FaultKind::ForeignEncoding) {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        } else if is_gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if is_broken {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The answer of a fault that needs no page.
fn faulty_answer(fault: &Fault, request_id: &str) -> Option<Answer> {
    let error = |text: &str| {
        let text = serde_json::Value::from(text);
        format!("{{\"status\":\"ERROR\",\"request_id\":\"{request_id}\",\"error\":{text}}}").into_bytes()
    };
    let mut answer = match fault.kind {
        FaultKind::RateLimited => Answer::json(429, Refusal::TooMany.render(request_id)),
        FaultKind::RateLimitedEmpty => Answer::json(429, Vec::new()),
        FaultKind::ServerError => Answer::json(fault.status.unwrap_or(500), error("internal server error")),
        FaultKind::BadGatewayHtml => {
            let status = fault.status.unwrap_or(504);
            let reason =
                StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or("Error");
            // nginx writes "Gateway Time-out".
            let title = format!("{status} {}", reason.replace("Timeout", "Time-out"));
            let body = format!(
                "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n<hr><center>nginx/1.19.2</center>\r\n</body>\r\n</html>\r\n"
            );
            Answer { content_type: "text/html", ..Answer::json(status, body.into_bytes()) }
        }
        FaultKind::StatusError => Answer::json(200, error("the query could not be completed")),
        FaultKind::Continuation400 => {
            Answer::json(400, error("The parameter 'to' cannot be a time that occurs before 'from'"))
        }
        _ => return None,
    };
    answer.retry_after = fault.retry_after;
    Some(answer)
}

/// When an answer was made, by the machine's clock. The time in the market is in a
/// header of its own: clients that know of no simulation live by the machine's.
fn date(fault: Option<&Fault>) -> Option<HeaderValue> {
    let ahead = match fault {
        Some(fault) if fault.kind == FaultKind::NoDate => return None,
        Some(fault) if fault.kind == FaultKind::WrongDate => fault.ahead_s(),
        _ => 0,
    };
    let moment = Timestamp::now() + SignedDuration::from_secs(ahead);
    HeaderValue::from_str(&moment.strftime("%a, %d %b %Y %T GMT").to_string()).ok()
}

/// A byte at a time.
fn drip(body: &Bytes, pause: Duration) -> Vec<Step> {
    let bytes = (0..body.len()).map(|at| body.slice(at..=at));
    bytes.flat_map(|byte| [Step::Data(byte), Step::Wait(pause)]).collect()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing to a vector cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}
