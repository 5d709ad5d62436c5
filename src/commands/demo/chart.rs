//! Charts in a terminal's characters: candlesticks with volume, and sparklines.

use crate::terminal::Paint;

/// A bar. Prices are for drawing only.
#[derive(Debug, Clone, PartialEq)]
pub struct Candle {
    /// The day, `YYYY-MM-DD`.
    pub day: String,
    /// Price of the first trade.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Price of the last trade.
    pub close: f64,
    /// Shares traded.
    pub volume: f64,
}

impl Candle {
    fn is_up(&self) -> bool {
        self.close >= self.open
    }
}

/// Columns for the prices at the left, with the line after them.
const AXIS_WIDTH: usize = 10;

/// Columns for a candle: a gap makes them easier to tell apart.
const STEP: usize = 2;

/// Every how many rows a price is written.
const PRICE_EVERY: usize = 4;

/// The eighths of a line.
const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What half of a character's height shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Nothing,
    Wick,
    Body,
}

/// Candlesticks of the last bars that fit in `width` columns, `height` rows high,
/// with a row of volume and one of dates below; each line ends with a line feed.
pub fn candlesticks(candles: &[Candle], width: usize, height: usize, paint: Paint) -> String {
    let room = width.saturating_sub(AXIS_WIDTH).max(1);
    let shown = &candles[candles.len().saturating_sub(room / STEP)..];
    let top = shown.iter().map(|candle| candle.high).fold(f64::MIN, f64::max);
    let bottom = shown.iter().map(|candle| candle.low).fold(f64::MAX, f64::min);
    if shown.is_empty() || !(top - bottom).is_finite() {
        return String::new();
    }
    let scale = Scale { top, bottom, halves: height * 2 };
    let mut text = String::new();
    for row in 0..height {
        let label = match row % PRICE_EVERY {
            0 => format!("{:>8.2} ┤", scale.price(row * 2)),
            _ => " ".repeat(AXIS_WIDTH - 1) + "│",
        };
        text += &paint.dim(&label);
        for candle in shown {
            let mark = glyph(scale.half(candle, row * 2), scale.half(candle, row * 2 + 1));
            text += &coloured(mark, candle, paint);
            text += &" ".repeat(STEP - 1);
        }
        text.push('\n');
    }
    text + &volume_row(shown, paint) + &date_row(shown, paint)
}

/// Prices as halves of a character's height, counted from the top.
struct Scale {
    top: f64,
    bottom: f64,
    halves: usize,
}

impl Scale {
    fn index(&self, price: f64) -> usize {
        let height = (self.top - self.bottom).max(f64::MIN_POSITIVE);
        let index = (self.top - price) / height * self.halves as f64;
        (index.max(0.0) as usize).min(self.halves - 1)
    }

    fn price(&self, half: usize) -> f64 {
        self.top - (self.top - self.bottom) * half as f64 / self.halves as f64
    }

    fn half(&self, candle: &Candle, half: usize) -> Half {
        let body = self.index(candle.open.max(candle.close))..=self.index(candle.open.min(candle.close));
        let wick = self.index(candle.high)..=self.index(candle.low);
        match half {
            half if body.contains(&half) => Half::Body,
            half if wick.contains(&half) => Half::Wick,
            _ => Half::Nothing,
        }
    }
}

fn glyph(upper: Half, lower: Half) -> char {
    use Half::{Body, Nothing, Wick};
    match (upper, lower) {
        (Body, Body) => '┃',
        (Body, Wick) => '╿',
        (Wick, Body) => '╽',
        (Wick, Wick) => '│',
        (Body, Nothing) => '╹',
        (Nothing, Body) => '╻',
        (Wick, Nothing) => '╵',
        (Nothing, Wick) => '╷',
        (Nothing, Nothing) => ' ',
    }
}

fn coloured(mark: char, candle: &Candle, paint: Paint) -> String {
    match mark {
        ' ' => " ".to_owned(),
        mark if candle.is_up() => paint.green(&mark.to_string()),
        mark => paint.red(&mark.to_string()),
    }
}

fn volume_row(shown: &[Candle], paint: Paint) -> String {
    let most = shown.iter().map(|candle| candle.volume).fold(0.0, f64::max);
    let mut text = paint.dim(&format!("{:>8} │", "volume"));
    for candle in shown {
        text += &paint.dim(&eighth(candle.volume, 0.0, most).to_string());
        text += &" ".repeat(STEP - 1);
    }
    text + "\n"
}

/// The day under the first candle of each month, `Apr 1`, where there is room.
fn date_row(shown: &[Candle], paint: Paint) -> String {
    let mut line = " ".repeat(AXIS_WIDTH - 1) + "└";
    let mut month = "";
    for (index, candle) in shown.iter().enumerate() {
        let column = AXIS_WIDTH + index * STEP;
        let length = line.chars().count();
        let begins = candle.day.get(..7).is_some_and(|this| this != month);
        if begins && (length < column || index == 0) {
            line += &" ".repeat(column.saturating_sub(length));
            line += &candle.day;
        }
        month = candle.day.get(..7).unwrap_or(month);
    }
    paint.dim(&line) + "\n"
}

/// A line of eighths, `width` characters at most: each the last of its share of the values.
pub fn sparkline(values: &[f64], width: usize) -> String {
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    let most = values.iter().copied().fold(f64::MIN, f64::max);
    let columns = width.min(values.len());
    (1..=columns).map(|column| eighth(values[column * values.len() / columns - 1], least, most)).collect()
}

fn eighth(value: f64, least: f64, most: f64) -> char {
    let range = (most - least).max(f64::MIN_POSITIVE);
    let index = ((value - least) / range * 8.0) as usize;
    EIGHTHS[index.min(7)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candle(day: &str, [open, high, low, close]: [f64; 4]) -> Candle {
        Candle { day: day.to_owned(), open, high, low, close, volume: high }
    }

    #[test]
    fn candles_stand_where_their_prices_are() {
        let candles = [
            candle("2024-05-31", [2.0, 4.0, 0.0, 3.0]),
            candle("2024-06-03", [3.0, 3.0, 1.0, 1.0]),
            candle("2024-06-04", [1.0, 1.0, 1.0, 1.0]),
        ];
        let expected = "    4.00 ┤│     \n         │┃ ┃   \n         │╿ ┃   \n         ││ ╹ ╹ \n  volume │█ ▇ ▃ \n         └2024-05-31\n";
        let text = candlesticks(&candles, 40, 4, Paint::plain());
        assert_eq!(text, expected, "\n{text}");
        assert_eq!(candlesticks(&[], 40, 4, Paint::plain()), "");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let candles: Vec<_> = (0..200)
            .map(|day| candle(&format!("2024-{:02}-{:02}", day / 28 + 1, day % 28 + 1), [1.0, 3.0, 0.5, 2.0]))
            .collect();
        for width in [60, 80, 120, 160] {
            let text = candlesticks(&candles, width, 8, Paint::plain());
            let widest = text.lines().take(9).map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{width}\n{text}");
        }
    }

    #[test]
    fn sparklines_go_from_the_least_to_the_most() {
        assert_eq!(sparkline(&[1.0, 2.0, 3.0, 8.0], 10), "▁▂▃█");
        assert_eq!(sparkline(&[0.0, 9.0, 0.0, 9.0, 0.0, 9.0], 3), "███");
        assert_eq!(sparkline(&[5.0, 5.0], 9), "▁▁");
        assert_eq!(sparkline(&[], 9), "");
    }
}
