//! What the vendor does not have: the simulated time, the counters and the truth.

use jiff::Timestamp;

use super::server::{Answer, Asked, Server};
use super::truth::{self, Question};

/// `GET` and `POST /__now`, `GET /__stats`, `GET /__truth`. No key is needed.
pub fn answer(server: &Server, asked: &Asked) -> Answer {
    let outcome = match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/__now") => Ok(now(server)),
        ("POST" | "PUT", "/__now") => set_now(server, asked),
        ("GET", "/__stats") => Ok(Answer::json(200, server.stats.render().into_bytes())),
        ("GET", "/__truth") => truth(server, asked),
        _ => Err("there are GET /__now, POST /__now?at=…, GET /__stats and GET /__truth?stream=…".to_owned()),
    };
    outcome.unwrap_or_else(|message| {
        let error = serde_json::json!({"status": "ERROR", "error": message});
        Answer::json(400, error.to_string().into_bytes())
    })
}

fn now(server: &Server) -> Answer {
    Answer::json(200, serde_json::json!({"now": server.now().to_string()}).to_string().into_bytes())
}

fn set_now(server: &Server, asked: &Asked) -> Result<Answer, String> {
    server.set_now(parsed(asked, "at")?.ok_or("`at` is missing")?);
    Ok(now(server))
}

fn truth(server: &Server, asked: &Asked) -> Result<Answer, String> {
    let adjusted = match asked.parameter("adjusted").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err("`adjusted` is true or false".to_owned()),
    };
    let tickers = asked.parameter("tickers").unwrap_or_default();
    let question = Question {
        stream: asked.parameter("stream").ok_or("`stream` is missing")?,
        as_of: parsed::<Timestamp>(asked, "as_of")?.unwrap_or_else(|| server.now()),
        start_date: parsed(asked, "start_date")?,
        end_date: parsed(asked, "end_date")?,
        tickers: tickers.split(',').filter(|ticker| !ticker.is_empty()).map(str::to_owned).collect(),
        adjusted,
    };
    let body = truth::tell(&server.market, &question)?;
    Ok(Answer { content_type: "application/x-ndjson", ..Answer::json(200, body) })
}

fn parsed<T: std::str::FromStr>(asked: &Asked, name: &str) -> Result<Option<T>, String> {
    let Some(text) = asked.parameter(name) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| format!("`{name}` cannot be {text:?}"))
}
