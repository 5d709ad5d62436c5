//! What sinks log, as LOG messages: Airbyte shows nothing else of it.

use std::fmt::{self, Write};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

use super::messages::Level;
use super::output::Output;

/// From here on warnings of the program, and what its sinks do to tables, are told.
pub fn tell(output: &Arc<Output>) {
    // Whoever logs already, such as a test, goes on doing so.
    let _begun = registry().with(Told(Arc::clone(output))).try_init();
}

struct Told(Arc<Output>);

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let level = match *metadata.level() {
            tracing::Level::ERROR | tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            _ => return,
        };
        let target = metadata.target();
        let is_ours = target.starts_with("tapeline::");
        if is_ours && (level == Level::Warn || target.starts_with("tapeline::sink")) {
            let mut line = Line::default();
            event.record(&mut line);
            self.0.log(level, &format!("{}{}", line.message, line.fields));
        }
    }
}

/// The message of an event, and its fields after it.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _written = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}
