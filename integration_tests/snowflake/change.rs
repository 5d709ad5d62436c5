//! A column that takes another type while a second pipeline writes to the table.

use super::crash::MENDED;
use super::evolve::{PRICE, columns, full, table_of, value};
use super::gate::Gate;
use super::*;

use tapeline::error::{Error, Result};

/// What the changing pipeline wants of the column, and the values that it has then.
struct Case {
    wants: ColumnType,
    ty: &'static str,
    /// Of a row of its own.
    own: &'static str,
    /// What is there of the values 1.5, 2.5, 3.5, 4.5, 10.5 and its own.
    values: [&'static str; 6],
    /// Whether the other pipeline goes on with the column.
    both: bool,
}

const CASES: [Case; 2] = [
    Case {
        wants: ColumnType::Decimal(Width::new(24, 12)),
        ty: "NUMBER 12",
        own: "0.000000000001",
        values: [
            "1.500000000000",
            "2.500000000000",
            "3.500000000000",
            "4.500000000000",
            "10.500000000000",
            "0.000000000001",
        ],
        both: true,
    },
    Case {
        wants: ColumnType::Text,
        ty: "TEXT -",
        own: "\"five\"",
        values: ["1.5", "2.5", "3.5", "4.5", "10.5", "five"],
        both: false,
    },
];

/// What happens at a statement.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    /// The other pipeline commits, that has the table open.
    Commits,
    /// The other pipeline opens the table and commits.
    Opens,
    /// The changing one ends, and the other one is the next to open the table.
    Ends,
}

fn shared(pipeline: &str, ty: ColumnType) -> Target {
    Target { shared: true, ..Target::new(pipeline, "trades", table_of("v", ty), WriteMode::AppendDedup) }
}

async fn at_mended(schema: &str) -> SnowflakeSink {
    SnowflakeSink::connect(&config_at(MENDED, schema)).await.unwrap()
}

/// Opens the table for a column of this type and commits a row.
async fn open_and_commit(
    config: SnowflakeConfig,
    pipeline: &str,
    ty: ColumnType,
    rows: Vec<String>,
) -> Result<()> {
    let mut sink = SnowflakeSink::connect(&config).await?;
    let (stream, _) = sink.open_one(&shared(pipeline, ty)).await?;
    commit_of(&mut sink, stream, ty, &rows).await
}

async fn commit_of(
    sink: &mut SnowflakeSink,
    stream: StreamId,
    ty: ColumnType,
    rows: &[String],
) -> Result<()> {
    sink.write(stream, Batch { table: table_of("v", ty), ..batch(rows) }).await?;
    sink.commit_one(stream, "p").await
}

/// The other pipeline's rows: a new one, one with another value, and one without.
fn theirs() -> Vec<String> {
    vec![value(4, "4.5"), value(1, "10.5"), value(2, "null")]
}

/// Lets something happen at a statement of a change, counted from its first one. Returns what
/// came of the other's commit; none when the change had come to its end before.
async fn at_a_statement(case: &Case, event: Event, point: usize) -> Option<Result<()>> {
    let what = format!("{:?}, {event:?} at {point}", case.wants);
    let schema = schema();
    let mut other = at_mended(&schema).await;
    let (stream, _) = other.open_one(&shared("b", PRICE)).await.unwrap();
    let before = [value(1, "1.5"), value(2, "2.5"), value(3, "3.5")];
    commit_of(&mut other, stream, PRICE, &before).await.unwrap();

    let mut gate = Gate::before(server(MENDED)).await;
    let config = config_to(&gate.url, &schema);
    let (wants, own) = (case.wants, value(5, case.own));
    let mut change = tokio::spawn(open_and_commit(config, "a", wants, vec![own.clone()]));
    let (mut passed, mut came) = (0, None);
    let changed = loop {
        let statement = tokio::select! {
            changed = &mut change => break Some(changed.unwrap()),
            statement = gate.statements.recv() => statement.expect("the gate is open"),
        };
        passed += usize::from(passed > 0 || statement.text.contains("ADD COLUMN \\\"_TAPELINE_NEW_"));
        let is_of_change = !statement.text.contains("BEGIN TRANSACTION");
        if passed == point && came.is_none() && is_of_change {
            came = Some(match event {
                Event::Commits => commit_of(&mut other, stream, PRICE, &theirs()).await,
                Event::Opens => open_and_commit(config_at(MENDED, &schema), "b", PRICE, theirs()).await,
                Event::Ends => {
                    change.abort();
                    break None;
                }
            });
        }
        statement.go_on();
    };
    let came = match (event, &changed) {
        (Event::Commits | Event::Opens, _) => came?,
        (Event::Ends, None) => open_and_commit(config_at(MENDED, &schema), "b", PRICE, theirs()).await,
        (_, Some(_)) => return None,
    };
    if let Some(Err(error)) = changed {
        assert_conflict(&error, &what);
    }
    let again = open_and_commit(config_at(MENDED, &schema), "a", wants, vec![own]).await;
    again.unwrap_or_else(|error| panic!("{what}: {}", error.report()));
    let mut is_there = came.is_ok();
    if case.both {
        let again = open_and_commit(config_at(MENDED, &schema), "b", PRICE, theirs()).await;
        again.unwrap_or_else(|error| panic!("{what}: {}", error.report()));
        is_there = true;
    }
    let [first, second, third, fourth, another, own] = case.values;
    let expected = match is_there {
        true => vec![another, "NULL", third, fourth, own],
        false => vec![first, second, third, own],
    };
    let looker = at_mended(&schema).await;
    assert_eq!(super::evolve::values(&looker, &schema).await, expected, "{what}");
    let names = ["ADDITIONAL_PROPERTIES", "ID", "V"].map(str::to_owned).to_vec();
    assert_eq!(columns(&looker, &schema).await, (names, case.ty.to_owned()), "{what}");
    let count = format!("SELECT CAST(COUNT(*) AS VARCHAR) FROM {}", full(&schema));
    assert_eq!(one(&looker, &count).await.unwrap(), expected.len().to_string());
    Some(came)
}

fn assert_conflict(error: &Error, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Conflict, "{what}: {}", error.report());
    assert!(error.to_string().contains("is changing a column of the table"), "{what}: {error}");
}

/// At each statement of a change, until it is over. Returns how often the other's commit was
/// taken, and how often it was told to come again.
async fn at_every_statement(case: &Case, event: Event) -> (usize, usize) {
    let (mut taken, mut refused) = (0, 0);
    for point in 1.. {
        let Some(came) = at_a_statement(case, event, point).await else { break };
        match came {
            Ok(()) => taken += 1,
            Err(error) if error.kind() == ErrorKind::Table && !case.both => {
                assert!(error.to_string().contains("column V of table TRADES is TEXT"), "{error}");
                refused += 1;
            }
            Err(error) => {
                assert_conflict(&error, &format!("{event:?} at {point}"));
                refused += 1;
            }
        }
    }
    (taken, refused)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn what_another_pipeline_commits_at_any_statement_of_a_change_is_kept() {
    for case in &CASES {
        let (taken, refused) = at_every_statement(case, Event::Commits).await;
        assert!(taken >= 3 && refused >= 6, "{taken} taken, {refused} refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn another_pipeline_that_opens_the_table_at_any_statement_of_a_change_goes_on() {
    let (taken, refused) = at_every_statement(&CASES[0], Event::Opens).await;
    assert!(taken >= 9 && refused == 0, "{taken} taken, {refused} refused");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn a_change_that_is_cut_is_taken_up_by_another_pipeline() {
    let (taken, refused) = at_every_statement(&CASES[0], Event::Ends).await;
    assert!(taken >= 9 && refused == 0, "{taken} taken, {refused} refused");
}
