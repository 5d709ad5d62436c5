//! The queries that people write first, over rows of the simulator, in every sink:
//! none may fail for want of digits, and each must come out as doubles do.

use duckdb::Connection;
use tapeline::simulator::Config;
use tapeline::sink::snowflake::SnowflakeSink;

use super::sync::World;

/// What is asked, as SQL that every sink understands, of one value `v`.
const QUERIES: [(&str, &str); 20] = [
    ("dollar volume of a day", "SELECT max(close * volume) AS v FROM stock_daily_bars"),
    ("dollar volume", "SELECT sum(close * volume) AS v FROM stock_daily_bars"),
    ("notional of a trade", "SELECT max(price * size) AS v FROM stock_trades"),
    ("notional with fractions", "SELECT sum(price * decimal_size) AS v FROM stock_trades"),
    ("squares", "SELECT sum(close * close) AS v FROM stock_daily_bars"),
    (
        "weighted squares",
        "SELECT sum(close * close * volume) AS v FROM stock_daily_bars WHERE ticker = 'AAPL'",
    ),
    ("vwap of trades", "SELECT sum(price * size) / sum(size) AS v FROM stock_trades"),
    ("vwap of bars", "SELECT sum(vwap * volume) / sum(volume) AS v FROM stock_bars_1_minute"),
    (
        "split-adjusted close",
        "SELECT sum(b.close * s.split_from / s.split_to) AS v FROM stock_daily_bars b \
         JOIN splits s ON s.ticker = b.ticker",
    ),
    (
        "split-adjusted volume",
        "SELECT sum(b.volume * s.split_to / s.split_from) AS v FROM stock_daily_bars b \
         JOIN splits s ON s.ticker = b.ticker",
    ),
    (
        "adjusted close",
        "SELECT sum(b.close * d.historical_adjustment_factor) AS v FROM stock_daily_bars b \
         JOIN dividends d ON d.ticker = b.ticker",
    ),
    (
        "dividend yield",
        "SELECT max(d.cash_amount * d.frequency / b.close) AS v FROM dividends d \
         JOIN stock_daily_bars b ON b.ticker = d.ticker",
    ),
    (
        "returns",
        "SELECT sum(r * r) AS v FROM (SELECT close / lag(close) OVER (PARTITION BY ticker ORDER BY date) - 1 AS r \
         FROM stock_daily_bars) AS x",
    ),
    (
        "log returns",
        "SELECT sum(r * r) AS v FROM (SELECT ln(close / lag(close) OVER (PARTITION BY ticker ORDER BY date)) AS r \
         FROM stock_daily_bars) AS x",
    ),
    ("variance", "SELECT avg(close * close) - avg(close) * avg(close) AS v FROM stock_daily_bars"),
    ("typical price", "SELECT sum((high + low + close) / 3 * volume) AS v FROM stock_bars_1_minute"),
    ("range", "SELECT max((high - low) / open) AS v FROM stock_bars_1_minute"),
    ("average trade", "SELECT avg(volume / transactions * vwap) AS v FROM stock_daily_bars"),
    (
        "market capitalisation",
        "SELECT max(d.weighted_shares_outstanding * b.close) AS v FROM ticker_details d \
         JOIN stock_daily_bars b ON b.ticker = d.ticker",
    ),
    (
        "turnover",
        "SELECT max(b.close * b.volume / d.market_cap) AS v FROM ticker_details d \
         JOIN stock_daily_bars b ON b.ticker = d.ticker",
    ),
];

const PIPELINE: &str = r#"name: queries
source:
  polygon:
    api_key: "${POLYGON_API_KEY}"
    base_url: "${MARKET}"
    plan: {type: custom, requests_per_minute: 6000000}
    start_date: 2024-06-03
    tickers: [AAPL, BRK.A, NVDA]
    bar_sizes: [1minute]
streams: [stock_daily_bars, stock_bars_1_minute, stock_trades, splits, dividends, ticker_details]
sink:
"#;

async fn load(sink: &str) -> World {
    let world = World::new(Config::default()).await;
    world.write("q.yaml", &format!("{PIPELINE}  {sink}\n"));
    let outcome = world.run(&["sync", "q.yaml"]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    world
}

/// What DuckDB answers to each query, from the decimals and from doubles.
fn asked(world: &World) -> Vec<(f64, f64)> {
    let connection = Connection::open(world.folder.path().join("market.duckdb")).unwrap();
    doubles(&connection);
    let ask = |schema: &str, (what, query): (&str, &str)| -> f64 {
        connection.execute_batch(&format!("SET schema = 'market.{schema}'")).unwrap();
        let query = format!("SELECT CAST(v AS DOUBLE) FROM ({query}) AS q");
        connection.query_row(&query, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{what}: {error}"))
    };
    QUERIES.iter().map(|query| (ask("polygon", *query), ask("doubles", *query))).collect()
}

/// Views of all tables in which every decimal is a double.
fn doubles(connection: &Connection) {
    connection.execute_batch("CREATE SCHEMA doubles").unwrap();
    let query = "SELECT table_name, string_agg(CASE WHEN starts_with(data_type, 'DECIMAL') \
        THEN column_name || '::DOUBLE AS ' || column_name ELSE column_name END, ', ') \
        FROM duckdb_columns() WHERE schema_name = 'polygon' GROUP BY table_name";
    let mut statement = connection.prepare(query).unwrap();
    let views: Vec<(String, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for (table, columns) in views {
        let sql = format!("CREATE VIEW doubles.{table} AS SELECT {columns} FROM polygon.{table}");
        connection.execute_batch(&sql).unwrap();
    }
}

fn assert_near(what: &str, got: f64, expected: f64) {
    assert!(expected.is_finite() && expected != 0.0, "{what} is {expected}: it asks nothing");
    let error = ((got - expected) / expected).abs();
    assert!(error < 1e-6, "{what}: {got} is not {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_answers_what_people_ask_first() {
    let world = load("duckdb: {path: market.duckdb}").await;
    for ((what, _), (decimal, double)) in QUERIES.iter().zip(asked(&world)) {
        assert_near(what, decimal, double);
    }
    world.market.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn snowflake_answers_what_people_ask_first() {
    let expected = {
        let world = load("duckdb: {path: market.duckdb}").await;
        let expected = asked(&world);
        world.market.shutdown().await;
        expected
    };
    let schema = super::snowflake::schema();
    let config = super::snowflake::config(&schema);
    let host = config.host.clone().unwrap();
    let sink = format!(
        "snowflake: {{account: fakesnow, user: tester, password: no-secret-at-all, warehouse: wh, database: integration, \
         schema: {schema}, host: \"{host}\"}}"
    );
    let world = load(&sink).await;
    let sink = SnowflakeSink::connect(&config).await.unwrap();
    for ((what, query), (_, expected)) in QUERIES.iter().zip(expected) {
        let query = format!("SELECT CAST(v AS VARCHAR) FROM ({query}) AS q");
        let rows = sink.query(&query).await.unwrap_or_else(|error| panic!("{what}: {}", error.report()));
        let value = rows[0][0].as_deref().unwrap_or_else(|| panic!("{what} is NULL"));
        assert_near(what, value.parse().unwrap(), expected);
    }
    world.market.shutdown().await;
}
