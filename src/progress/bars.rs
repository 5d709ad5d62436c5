//! Bars at a terminal: a line for the stream that is being read, a line for the
//! run, and above them a line for each stream that has ended.

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::screen::Screen;
use super::tally::{End, StreamTally, Tally};
use crate::observe::Event;
use crate::terminal::{Paint, count, counted, duration, short};

/// Often enough for a countdown of seconds to look even.
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// At most: what moves faster is a blur.
const DRAWS_A_SECOND: u8 = 20;

/// The names of streams line up up to this length.
const NAME_WIDTH: usize = 22;

/// The bars.
#[derive(Debug)]
pub(super) struct Bars {
    screen: MultiProgress,
    stream: ProgressBar,
    run: ProgressBar,
}

/// What changes on the screen.
pub(super) enum Shown {
    /// Another stream is being read.
    Started { slices: u64 },
    /// This many slices were read.
    Slices(u64),
    /// A line above the bars.
    Ended(String),
    /// Nothing that the next redraw does not show.
    Nothing,
}

impl Bars {
    pub(super) fn new(tally: &Arc<Mutex<Tally>>) -> Self {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(Screen::new()), DRAWS_A_SECOND);
        let screen = MultiProgress::with_draw_target(target);
        let stream = screen.add(ProgressBar::new(0));
        stream.set_style(
            style("{spinner:.cyan} {name} {wide_bar:.cyan/dim} {stats}")
                .with_key("name", key(tally, |tally, _| name_of(tally.active())))
                .with_key(
                    "stats",
                    key(tally, |tally, now| {
                        tally.active().map_or_else(String::new, |active| stats(active, now))
                    }),
                ),
        );
        let run = screen.add(ProgressBar::new(0));
        run.set_style(style("  {run}").with_key("run", key(tally, run_line)));
        stream.enable_steady_tick(REDRAW_EVERY);
        run.enable_steady_tick(REDRAW_EVERY);
        Self { screen, stream, run }
    }

    pub(super) fn screen(&self) -> MultiProgress {
        self.screen.clone()
    }

    pub(super) fn show(&self, shown: Shown) {
        match shown {
            Shown::Started { slices } => {
                self.stream.set_length(slices);
                self.stream.set_position(0);
            }
            Shown::Slices(slices) => self.stream.set_position(slices),
            // A terminal that went away takes no line, and the run goes on.
            Shown::Ended(line) => drop(self.screen.println(line)),
            Shown::Nothing => {}
        }
    }

    pub(super) fn finish(&self) {
        self.stream.finish_and_clear();
        self.run.finish_and_clear();
    }
}

/// What an event changes on the screen.
pub(super) fn shown(event: &Event<'_>, tally: &Tally, now: Instant) -> Shown {
    match event {
        Event::StreamStarted { slices, .. } => Shown::Started { slices: *slices },
        Event::SliceRead { stream, .. } => {
            tally.stream(stream).map_or(Shown::Nothing, |stream| Shown::Slices(stream.slices))
        }
        Event::StreamFinished { stream, .. }
        | Event::StreamFailed { stream, .. }
        | Event::StreamStopped { stream, .. } => {
            let paint = Paint::stderr();
            tally.stream(stream).map_or(Shown::Nothing, |stream| Shown::Ended(ended_line(stream, paint, now)))
        }
        Event::Request { .. }
        | Event::Retry { .. }
        | Event::RateLimited { .. }
        | Event::Committed { .. }
        | Event::PartitionFailed { .. }
        | Event::Forgotten { .. }
        | Event::Warning { .. } => Shown::Nothing,
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("a template that is a constant")
        .progress_chars("━╸─")
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}

/// A key of a template whose text comes from the tally at each redraw.
fn key(
    tally: &Arc<Mutex<Tally>>,
    text: fn(&Tally, Instant) -> String,
) -> impl Fn(&ProgressState, &mut dyn Write) + Clone + Send + Sync + 'static {
    let tally = Arc::clone(tally);
    move |_: &ProgressState, writer: &mut dyn Write| {
        let text = text(&super::lock(&tally), Instant::now());
        // Writing to a line in memory does not fail.
        let _written = writer.write_str(&text);
    }
}

fn name_of(active: Option<&StreamTally>) -> String {
    format!("{:<NAME_WIDTH$}", active.map_or("", |stream| &stream.name))
}

/// `42/126 slices · 1,234,567 rows · 12k/s`
fn stats(stream: &StreamTally, now: Instant) -> String {
    format!(
        "{}/{} slices · {} · {}/s",
        count(stream.slices),
        count(stream.slices_total),
        counted(stream.rows, "row"),
        short(stream.pace(now))
    )
}

/// `us_stocks 3/5 · 108 requests · 16 m 48 s left · waiting 37 s for the rate limit`
fn run_line(tally: &Tally, now: Instant) -> String {
    let begun = tally.streams.len().min(tally.streams_total);
    let mut parts =
        vec![format!("{} {begun}/{}", tally.run, tally.streams_total), counted(tally.requests, "request")];
    if let Some(left) = tally.active().and_then(|active| active.left(tally.requests_per_minute, now)) {
        parts.push(format!("ETA {}", duration(left)));
    }
    if let Some((what, left)) = tally.waiting(now) {
        parts.push(format!("waiting {} s {what}", left.as_secs() + 1));
    }
    parts.join(" · ")
}

/// `✓ splits                 12 rows · 1 request · 0.1 s`
fn ended_line(stream: &StreamTally, paint: Paint, now: Instant) -> String {
    let mark = match stream.ended {
        Some((_, End::Finished)) => paint.green("✓"),
        Some((_, End::Failed)) => paint.red("✗"),
        Some((_, End::Stopped)) | None => paint.bold("■"),
    };
    format!(
        "{mark} {:<NAME_WIDTH$} {} · {} · {}",
        stream.name,
        counted(stream.rows, "row"),
        counted(stream.requests, "request"),
        duration(stream.elapsed(now))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_say_what_moves_and_what_waits() {
        let begin = Instant::now();
        let mut tally = Tally::new("us_stocks", 5, 5, begin);
        tally.apply(&Event::StreamStarted { stream: "splits", slices: 126, rows_estimate: None }, begin);
        for _ in 0..42 {
            tally.apply(&Event::Request { stream: Some("splits"), bytes: 1 }, begin);
            tally.apply(&Event::SliceRead { stream: "splits", partition: "", rows: 1_000 }, begin);
        }
        let delay = Duration::from_secs(40);
        tally.apply(&Event::RateLimited { stream: Some("splits"), delay }, begin);
        let now = begin + Duration::from_millis(3_500);
        assert_eq!(
            run_line(&tally, now),
            "us_stocks 1/5 · 42 requests · ETA 16 m 48 s · waiting 37 s for the rate limit"
        );
        assert_eq!(stats(tally.active().unwrap(), now), "42/126 slices · 42,000 rows · 12k/s");
        tally.apply(&Event::StreamFinished { stream: "splits", rows: 42_000 }, now);
        assert_eq!(
            ended_line(&tally.streams[0], Paint::plain(), now),
            "✓ splits                 42,000 rows · 42 requests · 3.5 s"
        );
        assert_eq!(run_line(&tally, now), "us_stocks 1/5 · 42 requests");
    }
}
