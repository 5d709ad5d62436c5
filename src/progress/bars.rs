//! Bars at a terminal: a line for each stream that is being read, a line for the
//! run, and above them a line for each stream that has ended.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
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

/// Bars at the same time: with the run's line and those of streams that have ended
/// they leave more than half of a screen of 24 lines. More streams are counted.
const BARS_MAX: usize = 8;

/// The bars.
#[derive(Debug)]
pub(super) struct Bars {
    screen: MultiProgress,
    tally: Arc<Mutex<Tally>>,
    /// By the stream's name, in the order of the screen.
    streams: Mutex<Vec<(String, ProgressBar)>>,
    run: ProgressBar,
}

impl Bars {
    pub(super) fn new(tally: &Arc<Mutex<Tally>>) -> Self {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(Screen::new()), DRAWS_A_SECOND);
        let screen = MultiProgress::with_draw_target(target);
        let run = screen.add(ProgressBar::new(0));
        run.set_style(style("  {run}").with_key("run", key(tally, run_line)));
        run.enable_steady_tick(REDRAW_EVERY);
        Self { screen, tally: Arc::clone(tally), streams: Mutex::default(), run }
    }

    pub(super) fn screen(&self) -> MultiProgress {
        self.screen.clone()
    }

    /// Draws what a moment of the run changes on the screen.
    pub(super) fn show(&self, shown: Shown) {
        let mut bars = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, bar) in
            bars.extract_if(.., |(name, _)| shown.streams.iter().all(|stream| stream.name != *name))
        {
            bar.finish_and_clear();
            self.screen.remove(&bar);
        }
        if let Some(line) = shown.ended {
            // A terminal that went away takes no line, and the run goes on.
            drop(self.screen.println(line));
        }
        for stream in shown.streams {
            let known = bars.iter().position(|(name, _)| *name == stream.name);
            let index = known.unwrap_or_else(|| {
                bars.push((stream.name.clone(), self.bar(&stream.name)));
                bars.len() - 1
            });
            bars[index].1.set_length(stream.slices_total);
            bars[index].1.set_position(stream.slices);
        }
    }

    fn bar(&self, name: &str) -> ProgressBar {
        let bar = self.screen.insert_before(&self.run, ProgressBar::new(0));
        let stats_of = name.to_owned();
        let text = move |tally: &Tally, now| {
            tally.stream(&stats_of).map_or_else(String::new, |stream| stats(stream, now))
        };
        let template = format!("{{spinner:.cyan}} {name:<NAME_WIDTH$} {{wide_bar:.cyan/dim}} {{stats}}");
        bar.set_style(style(&template).with_key("stats", key(&self.tally, text)));
        bar.enable_steady_tick(REDRAW_EVERY);
        bar
    }

    pub(super) fn finish(&self) {
        for (_, bar) in self.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            bar.finish_and_clear();
        }
        self.run.finish_and_clear();
    }
}

/// What is on the screen after an event.
pub(super) struct Shown {
    /// A line above the bars.
    ended: Option<String>,
    /// Those that have a bar.
    streams: Vec<Bar>,
}

struct Bar {
    name: String,
    slices: u64,
    slices_total: u64,
}

/// What an event changes on the screen; none when the next redraw shows it anyway.
pub(super) fn shown(event: &Event<'_>, tally: &Tally, now: Instant) -> Option<Shown> {
    let ended = match event {
        Event::StreamStarted { .. } | Event::SliceRead { .. } => None,
        Event::StreamFinished { stream, .. }
        | Event::StreamFailed { stream, .. }
        | Event::StreamStopped { stream, .. } => {
            let line = |stream| ended_line(stream, Paint::stderr(), now);
            tally.stream(stream).map(line)
        }
        Event::Request { .. }
        | Event::Retry { .. }
        | Event::RateLimited { .. }
        | Event::Committed { .. }
        | Event::PartitionFailed { .. }
        | Event::Forgotten { .. }
        | Event::Warning { .. } => return None,
    };
    let bar = |stream: &StreamTally| Bar {
        name: stream.name.clone(),
        slices: stream.slices,
        slices_total: stream.slices_total,
    };
    Some(Shown { ended, streams: tally.active().take(BARS_MAX).map(bar).collect() })
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
    text: impl Fn(&Tally, Instant) -> String + Clone + Send + Sync + 'static,
) -> impl Fn(&ProgressState, &mut dyn Write) + Clone + Send + Sync + 'static {
    let tally = Arc::clone(tally);
    move |_: &ProgressState, writer: &mut dyn Write| {
        let text = text(&super::lock(&tally), Instant::now());
        // Writing to a line in memory does not fail.
        let _written = writer.write_str(&text);
    }
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

/// `us_stocks 3/5 · 108 requests · ETA 16 m 48 s · waiting 37 s for the rate limit`
fn run_line(tally: &Tally, now: Instant) -> String {
    let begun = tally.streams.len().min(tally.streams_total);
    let mut parts =
        vec![format!("{} {begun}/{}", tally.run, tally.streams_total), counted(tally.requests, "request")];
    if let Some(more) = tally.active().count().checked_sub(BARS_MAX).filter(|more| *more > 0) {
        parts.insert(1, format!("{more} more under way"));
    }
    if let Some(left) = tally.left(now) {
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
            "us_stocks 1/5 · 42 requests · ETA 16 m 45 s · waiting 37 s for the rate limit"
        );
        assert_eq!(stats(tally.active().next().unwrap(), now), "42/126 slices · 42,000 rows · 12k/s");
        tally.apply(&Event::StreamFinished { stream: "splits", rows: 42_000 }, now);
        assert_eq!(
            ended_line(&tally.streams[0], Paint::plain(), now),
            "✓ splits                 42,000 rows · 42 requests · 3.5 s"
        );
        assert_eq!(run_line(&tally, now), "us_stocks 1/5 · 42 requests");
    }
    #[test]
    fn as_many_bars_as_a_screen_has_room_for() {
        let begin = Instant::now();
        let mut tally = Tally::new("us_stocks", 12, 5, begin);
        let names: Vec<_> = (0..12).map(|number| format!("stream_{number}")).collect();
        let mut bars = Vec::new();
        for name in &names {
            let event = Event::StreamStarted { stream: name, slices: 3, rows_estimate: None };
            tally.apply(&event, begin);
            bars = shown(&event, &tally, begin).unwrap().streams;
        }
        assert_eq!(bars.len(), BARS_MAX);
        assert!(run_line(&tally, begin).starts_with("us_stocks 12/12 · 4 more under way · 0 requests"));
        // One that ends makes room for the next.
        let event = Event::StreamFinished { stream: "stream_2", rows: 0 };
        tally.apply(&event, begin);
        let after = shown(&event, &tally, begin).unwrap();
        assert!(after.ended.is_some_and(|line| line.contains("stream_2")));
        let names: Vec<_> = after.streams.iter().map(|bar| bar.name.as_str()).collect();
        assert_eq!(names[1..4], ["stream_1", "stream_3", "stream_4"]);
        assert_eq!(names[BARS_MAX - 1], "stream_8");
    }

    /// A line of the run and of each stream fits in 80 columns with room for its bar.
    #[test]
    fn the_lines_fit_in_eighty_columns() {
        let begin = Instant::now();
        let mut tally = Tally::new("us_stocks", 12, 5, begin);
        tally.apply(
            &Event::StreamStarted { stream: "stock_bars_1_minute", slices: 1_260, rows_estimate: None },
            begin,
        );
        tally.apply(
            &Event::SliceRead { stream: "stock_bars_1_minute", partition: "", rows: 1_234_567 },
            begin,
        );
        let stats = stats(&tally.streams[0], begin + Duration::from_secs(9));
        assert!(2 + NAME_WIDTH + 1 + 8 + 1 + stats.chars().count() <= 80, "{stats}");
    }
}
