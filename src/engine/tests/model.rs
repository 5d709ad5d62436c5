//! Whatever is said in whatever order: what must be durable.

use proptest::prelude::*;

use super::*;
use crate::batch::Lack;
use crate::table::{Column, ColumnType};

/// A row of the model test.
#[derive(Debug, Clone, PartialEq)]
struct Modelled {
    text: String,
    at: i64,
    keyless: bool,
}

fn arrival(modelled: &[Modelled]) -> Event {
    let mut rows = Rows::default();
    for Modelled { text, keyless, .. } in modelled {
        if *keyless {
            rows.note_keyless(0, Lack::Absent);
        }
        rows.push(text.as_bytes());
    }
    let extracted_at = ExtractedAt::Each(modelled.iter().map(|row| row.at).collect());
    Event::Rows(Box::new(Arrival { partition: Arc::from(""), rows, extracted_at, replaces: None }))
}

fn column(number: usize) -> Column {
    Column { name: format!("learned_{number}"), ty: ColumnType::Text, doc: String::new() }
}

/// What a stream of the model test says.
#[derive(Debug, Clone, Copy)]
enum Step {
    Row,
    /// Rows of one page, by whether each is without a key.
    Page(&'static [bool]),
    /// Its table learns a column.
    Grows,
    Cover,
    PartitionFails,
    Ends,
    Fails,
}

fn schedule() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        12 => Just(Step::Row),
        1 => Just(Step::Page(&[true])),
        1 => Just(Step::Page(&[false, true, false, true])),
        2 => Just(Step::Grows),
        5 => Just(Step::Cover),
        1 => Just(Step::PartitionFails),
        1 => Just(Step::Ends),
        1 => Just(Step::Fails),
    ];
    prop::collection::vec((0..MODELLED.len(), step), 0..80)
}

const MODELLED: [&str; 3] = ["stock_trades", "news", "splits"];

/// What must be true of a stream: its rows that were not taken back, and how many of
/// them are covered. Its position is that number.
#[derive(Debug, Default)]
struct Model {
    rows: Vec<Modelled>,
    covered: usize,
    over: bool,
}

impl Model {
    /// The rows of a page, of which more than `max` without a key fail the stream.
    fn page(&mut self, number: usize, keyless: &[bool], max: usize) -> Event {
        let modelled = |(index, keyless): (usize, &bool)| {
            let at = i64::try_from(10 * number + index).unwrap();
            Modelled { text: format!("{number:03}-{index}"), at, keyless: *keyless }
        };
        let page: Vec<Modelled> = keyless.iter().enumerate().map(modelled).collect();
        self.rows.extend(page.clone());
        if self.rows.iter().filter(|row| row.keyless).count() > max {
            self.rows.truncate(self.covered);
            self.over = true;
        }
        arrival(&page)
    }
}

/// The events of a schedule, and what must be true after all of them.
fn told(steps: &[(usize, Step)], max: usize) -> (Vec<(usize, Event)>, [Model; 3]) {
    let mut models: [Model; 3] = Default::default();
    let mut events = Vec::new();
    for (number, (index, step)) in steps.iter().enumerate() {
        let model = &mut models[*index];
        if model.over {
            continue;
        }
        events.push((
            *index,
            match step {
                Step::Row => model.page(number, &[false], max),
                Step::Page(keyless) => model.page(number, keyless, max),
                Step::Grows => Event::Grown(vec![column(number)]),
                Step::Cover => {
                    model.covered = model.rows.len();
                    foreign(&model.covered.to_string())
                }
                Step::PartitionFails => {
                    model.rows.truncate(model.covered);
                    Event::PartitionFailed {
                        partition: "A".into(),
                        error: Error::new(ErrorKind::NotFound, "x"),
                        given_up: None,
                    }
                }
                Step::Ends | Step::Fails => {
                    model.rows.truncate(model.covered);
                    model.over = true;
                    let failure = || Err(Error::new(ErrorKind::NotEntitled, "scripted"));
                    Event::Ended(if matches!(step, Step::Ends) { Ok(()) } else { failure() })
                }
            },
        ));
    }
    (events, models)
}

proptest! {
    /// Whatever is said in whatever order, whatever tables learn on the way (rows are written
    /// as those of the table as it is then), however much is held back, whatever a commit
    /// is worth, whichever commit fails, whichever stream is refused and however many rows
    /// have no key: durable, in the table or beside it, are exactly the rows that the stored
    /// position covers, and, when no commit fails, that is everything that was covered of the
    /// others.
    #[test]
    fn durable_rows_are_those_that_the_position_covers(
        steps in schedule(), commit_rows in 1_u64..12, held in 1_usize..40, worth in 0_u64..8,
        fail in prop::option::of(1_usize..6), refused in prop::option::weighted(0.3, 0..MODELLED.len()),
        joins in prop_oneof![Just(Joins::One), Just(Joins::Many(2)), Just(Joins::Many(100))],
        max in 0_usize..6,
    ) {
        let (events, models) = told(&steps, max);
        let unloadable: Vec<String> = refused.map(|index| MODELLED[index].to_owned()).into_iter().collect();
        let abilities = Abilities { joins, ..ALL };
        let mut sink =
            Memory { abilities, fail_commit: fail, worth, unloadable: unloadable.clone(), ..Memory::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let report = runtime.block_on(async {
            let targets: Vec<Target> =
                MODELLED.iter().map(|name| Target { rejected_max: max as u64, grows: true, ..job(name, WriteMode::AppendDedup).target }).collect();
            let ids = sink.open_all(&targets).await.unwrap().into_iter();
            let streams: Vec<_> =
                ids.zip(&targets).map(|(id, target)| (id, target.stream.as_str(), target)).collect();
            let (_keep, stop) = watch::channel(false);
            let engine = Engine::new(Arc::new(Silent), policy(commit_rows), stop).holding(held);
            engine.take(&mut Scheduled::new(events, false), &mut sink, &streams).await
        });
        let has_failed = fail.is_some_and(|fail| sink.commits >= fail);
        prop_assert_eq!(report.error.is_some(), has_failed, "{:?}", report.error);
        for (name, model) in MODELLED.iter().zip(&models) {
            let kept = sink.of(name);
            let stored: usize = kept.positions.get("").map_or(0, |position| position.parse().unwrap());
            prop_assert!(stored <= model.covered);
            let (beside, within): (Vec<_>, Vec<_>) =
                model.rows[..stored].iter().cloned().partition(|row| row.keyless);
            let durable = kept.durable.iter().zip(&kept.extracted_at);
            let durable = durable.map(|(text, at)| Modelled { text: text.clone(), at: *at, keyless: false });
            prop_assert_eq!(durable.collect::<Vec<_>>(), within);
            let texts: Vec<String> = kept.rejected.iter().map(|[_, _, text]| text.clone()).collect();
            prop_assert_eq!(texts, beside.into_iter().map(|row| row.text).collect::<Vec<_>>());
            let report = report.streams.iter().find(|report| report.stream == *name).unwrap();
            prop_assert_eq!(report.rejected, kept.rejected.len() as u64);
            if !has_failed {
                let is_refused = unloadable.iter().any(|refused| refused == name);
                prop_assert_eq!(stored, if is_refused { 0 } else { model.covered });
                prop_assert!(!kept.is_open());
            }
        }
    }
}
