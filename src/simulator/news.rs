//! News articles: published at any hour, sometimes shown late, edited, and
//! given insights afterwards. All of it within two days of their publication.

use jiff::civil::{Date, date};
use jiff::{Timestamp, ToSpan};

use super::columns::{Columns, Fact, MomentForm, text_array, write_text};
use super::days::{day_number, utc_midnight};
use super::dice::{Dice, hash_text, hex};
use super::universe::{Listing, Universe};

/// The first day with articles, in UTC.
pub const FIRST_NEWS_DAY: Date = date(2016, 1, 1);

/// Listings that articles are about.
const NEWSWORTHY: usize = 200;

/// An article with all that will be known of it.
#[derive(Debug)]
pub struct Article {
    pub id: String,
    pub published: Timestamp,
    title: String,
    /// The title after its edit, and when that is made.
    edited: Option<(Timestamp, String)>,
    author: &'static str,
    publisher: (&'static str, &'static str),
    pub tickers: Vec<String>,
    has_amp: bool,
    has_image: bool,
    description: Option<String>,
    keywords: Option<Vec<&'static str>>,
    known: Timestamp,
    /// When insights are added, and the sentiment for each ticker.
    insights: Option<(Timestamp, Vec<&'static str>)>,
}

impl Article {
    /// Whether the API shows it at this moment.
    pub fn is_visible(&self, as_of: Timestamp) -> bool {
        self.known <= as_of
    }
}

/// The articles of a day in UTC, by time and id.
pub fn articles(seed: u64, universe: &Universe, day: Date) -> Vec<Article> {
    let mut dice = Dice::of(&[seed, hash_text("news"), day_number(day).unsigned_abs()]);
    // In New York it can still be the day before.
    let eve = day.saturating_sub(1.days());
    let is_open = |listing: &Listing| listing.covers(day) && universe.is_listed(&listing.symbol, eve);
    let open: Vec<usize> = (0..universe.listings.len().min(NEWSWORTHY))
        .filter(|index| is_open(&universe.listings[*index]))
        .collect();
    let mut articles: Vec<Article> = Vec::new();
    if open.is_empty() || day < FIRST_NEWS_DAY {
        return articles;
    }
    for _ in 0..dice.between(2, 9) {
        let chance = utc_midnight(day) + dice.between(0, 86_399).seconds();
        // Now and then two articles have one time.
        let published =
            articles.last().map(|last| last.published).filter(|_| dice.one_in(8)).unwrap_or(chance);
        articles.push(article(seed, universe, &open, published, &mut dice));
    }
    articles.sort_by(|one, other| (one.published, &one.id).cmp(&(other.published, &other.id)));
    articles
}

fn article(seed: u64, universe: &Universe, open: &[usize], published: Timestamp, dice: &mut Dice) -> Article {
    let mut tickers: Vec<String> = Vec::new();
    for _ in 0..dice.between(1, 4) {
        let symbol = &universe.listings[dice.pick(open)].symbol;
        if !tickers.contains(symbol) {
            tickers.push(symbol.clone());
        }
    }
    let verb = dice.pick(&[
        "beats estimates",
        "warns of weaker demand",
        "names a new chief",
        "– what analysts say",
        "and \"the Fed\"",
    ]);
    let title = format!("{} {verb}", tickers[0]);
    let after = |minutes: i64| published + minutes.minutes();
    let known = if dice.one_in(30) { after(dice.between(600, 1_400)) } else { after(dice.between(0, 9)) };
    let insights_at = known.max(after(dice.between(60, 2_400)));
    let sentiments = tickers.iter().map(|_| dice.pick(&["positive", "neutral", "negative"])).collect();
    Article {
        id: hex(&[seed, dice.roll(), 11], 64),
        published,
        edited: dice.one_in(12).then(|| (after(dice.between(30, 1_800)), format!("{title} (updated)"))),
        title,
        author: dice.pick(&[
            "Sam Boughedda",
            "MarketWatch",
            "Zacks Equity Research",
            "The Motley Fool, Jane O'Neil",
        ]),
        publisher: dice.pick(&[
            ("Investing.com", "https://www.investing.com/"),
            ("MarketWatch", "https://www.marketwatch.com/"),
            ("The Motley Fool", "https://www.fool.com/"),
        ]),
        has_amp: dice.one_in(3),
        has_image: !dice.one_in(5),
        description: (!dice.one_in(6)).then(|| {
            format!("What happened to {} today, in one sentence.\nAnd a second one.", tickers.join(" and "))
        }),
        keywords: (!dice.one_in(3))
            .then(|| vec!["earnings", dice.pick(&["markets", "interest rates", "AI"])]),
        known,
        insights: (!dice.one_in(4)).then_some((insights_at, sentiments)),
        tickers,
    }
}

/// An article as the API shows it at some moment.
pub struct ArticleFact<'a> {
    pub article: &'a Article,
    pub as_of: Timestamp,
}

impl Fact for ArticleFact<'_> {
    fn tell(&self, columns: &mut impl Columns) {
        let article = self.article;
        let (publisher, homepage) = article.publisher;
        let logo = publisher.to_ascii_lowercase().replace([' ', '.'], "-");
        columns.text("id", &article.id);
        columns.json(
            "publisher",
            &format!(
                "{{\"name\":\"{publisher}\",\"homepage_url\":\"{homepage}\",\
                 \"logo_url\":\"https://s3.massive.com/public/assets/news/logos/{logo}.svg\",\
                 \"favicon_url\":\"https://s3.massive.com/public/assets/news/favicons/{logo}.ico\"}}"
            ),
        );
        let edited = article.edited.as_ref().filter(|(at, _)| *at <= self.as_of);
        columns.text("title", edited.map_or(&article.title, |(_, title)| title));
        columns.text("author", article.author);
        columns.moment("published_utc", article.published, MomentForm::Seconds);
        columns.text("article_url", &format!("{homepage}news/{}", &article.id[..12]));
        columns.json("tickers", &text_array(article.tickers.iter().map(String::as_str)));
        if article.has_amp {
            columns.text("amp_url", &format!("{homepage}amp/news/{}", &article.id[..12]));
        }
        if article.has_image {
            columns.text("image_url", &format!("{homepage}images/{}.jpg?w=1200&h=630", &article.id[..12]));
        }
        if let Some(description) = &article.description {
            columns.text("description", description);
        }
        if let Some(keywords) = &article.keywords {
            columns.json("keywords", &text_array(keywords.iter().copied()));
        }
        if let Some((_, sentiments)) = article.insights.as_ref().filter(|(at, _)| *at <= self.as_of) {
            columns.json("insights", &insights(&article.tickers, sentiments));
        }
    }
}

fn insights(tickers: &[String], sentiments: &[&str]) -> String {
    let each = tickers.iter().zip(sentiments).map(|(ticker, sentiment)| {
        let mut symbol = Vec::new();
        write_text(&mut symbol, ticker);
        let symbol = String::from_utf8(symbol).unwrap_or_default();
        format!("{{\"ticker\":{symbol},\"sentiment\":\"{sentiment}\",\"sentiment_reasoning\":\"The article is {sentiment} about it.\"}}")
    });
    format!("[{}]", each.collect::<Vec<_>>().join(","))
}
