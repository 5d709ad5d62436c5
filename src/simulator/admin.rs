//! What the vendor does not have: the simulated time, the counters and the truth.

use jiff::Timestamp;

use super::exchange::{Answer, Asked};
use super::truth::{self, Question};
use super::world::World;

/// `GET` and `POST /__now`, `GET /__stats`, `GET /__truth`. No key is needed.
pub fn answer(world: &World, asked: &Asked) -> Answer {
    let outcome = match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/__now") => Ok(now(world)),
        ("POST" | "PUT", "/__now") => set_now(world, asked),
        ("GET", "/__stats") => Ok(Answer::json(200, world.stats.render().into_bytes())),
        ("GET", "/__truth") => truth(world, asked),
        _ => Err("there are GET /__now, POST /__now?at=…, GET /__stats and GET /__truth?stream=…".to_owned()),
    };
    outcome.unwrap_or_else(|message| {
        let error = serde_json::json!({"status": "ERROR", "error": message});
        Answer::json(400, error.to_string().into_bytes())
    })
}

fn now(world: &World) -> Answer {
    Answer::json(200, serde_json::json!({"now": world.now().to_string()}).to_string().into_bytes())
}

fn set_now(world: &World, asked: &Asked) -> Result<Answer, String> {
    world.set_now(parsed(asked, "at")?.ok_or("`at` is missing")?);
    Ok(now(world))
}

fn truth(world: &World, asked: &Asked) -> Result<Answer, String> {
    let adjusted = match asked.parameter("adjusted").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err("`adjusted` is true or false".to_owned()),
    };
    let tickers = asked.parameter("tickers").unwrap_or_default();
    let question = Question {
        stream: asked.parameter("stream").ok_or("`stream` is missing")?,
        as_of: parsed::<Timestamp>(asked, "as_of")?.unwrap_or_else(|| world.now()),
        start_date: parsed(asked, "start_date")?,
        end_date: parsed(asked, "end_date")?,
        tickers: tickers.split(',').filter(|ticker| !ticker.is_empty()).map(str::to_owned).collect(),
        adjusted,
    };
    let body = truth::tell(&world.market, &question)?;
    Ok(Answer { content_type: "application/x-ndjson", ..Answer::json(200, body) })
}

fn parsed<T: std::str::FromStr>(asked: &Asked, name: &str) -> Result<Option<T>, String> {
    let Some(text) = asked.parameter(name) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| format!("`{name}` cannot be {text:?}"))
}
