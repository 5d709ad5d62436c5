//! Changes of a column, interleaved with others at each statement and cut at each, over one
//! table in memory.

mod model;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::sink::lifecycle::Head;
use crate::sink::snowflake::client::{Answer, Warehouse};
use crate::sink::snowflake::ddl::Place;
use crate::sink::snowflake::evolve;
use crate::sink::snowflake::layer::tests::refused_with;
use crate::sink::snowflake::names::held_name;
use crate::sink::snowflake::statement::{Bind, Statement};
use crate::sink::{Target, WriteMode};
use crate::table::{ColumnType, Metadata, Table, Width};

use model::{HUGE, Model, UNIT};

/// Times that a pipeline runs before it is given up.
const RUNS: usize = 6;

/// Lets the others go on once.
struct Turn(bool);

impl Future for Turn {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[derive(Clone)]
struct Session(Arc<Mutex<Model>>);

impl Session {
    async fn turn<T>(&self, work: impl FnOnce(&mut Model) -> T) -> T {
        Turn(false).await;
        work(&mut self.0.lock().unwrap())
    }
}

#[async_trait]
impl Warehouse for Session {
    async fn execute(&self, statement: Statement) -> Result<Answer> {
        self.turn(|model| model.execute(&statement)).await
    }

    async fn upload(&self, _: &str, _: &str, _: Bytes) -> Result<()> {
        unreachable!("nothing is loaded from a stage")
    }
}

fn target(pipeline: &str, scale: u8) -> Target {
    let ty = ColumnType::Decimal(Width::new(18, scale));
    let columns = vec![Column { name: "v".to_owned(), ty, doc: String::new() }];
    let table = Table::new("t", columns, &["k"]);
    Target { shared: true, ..Target::new(pipeline, "s", Arc::new(table), WriteMode::AppendDedup) }
}

/// A key and its value.
type Write = (u8, Option<i128>);

/// Runs a pipeline that wants `scale` digits until all is written or what fails will not pass.
async fn run(session: Session, pipeline: String, scale: u8, writes: Vec<Write>) -> Result<()> {
    let target = target(&pipeline, scale);
    let place = Place { database: "d".to_owned(), schema: "s".to_owned() };
    let mut left = writes.as_slice();
    let mut last = Ok(());
    for _ in 0..RUNS {
        let head = session.turn(|model| model.claim(&pipeline)).await;
        let claim = Claim { session: &session, place: &place, name: "t", target: &target, head };
        last = run_once(&session, &pipeline, &claim, &mut left).await;
        match &last {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            _ => return last,
        }
    }
    last
}

async fn run_once(session: &Session, pipeline: &str, claim: &Claim<'_>, left: &mut &[Write]) -> Result<()> {
    let held = evolve::fit(claim, &claim.target.table).await?;
    let ColumnType::Decimal(width) = held.columns[0].ty else { unreachable!("it is a decimal") };
    let mut head = claim.head;
    while let Some(((key, value), rest)) = left.split_first() {
        let loaded = session.turn(|model| model.load(*value, width.scale())).await;
        let at = match loaded {
            Err(error) => return Err(claim.unless_changing(error).await),
            Ok(at) => at,
        };
        if !session.turn(|model| model.commit(pipeline, &mut head, *key, *value, at)).await {
            return Err(progress::changing("t"));
        }
        *left = rest;
    }
    Ok(())
}

type Process = Pin<Box<dyn Future<Output = Result<()>>>>;

/// Lets processes take turns, each a statement, and then one after the other in turn; ends
/// one of them after some of its statements. Returns how they ended, and none for that one.
fn interleaved(
    mut processes: Vec<Process>,
    turns: &[u8],
    killed: Option<(usize, usize)>,
) -> Vec<Option<Result<()>>> {
    let mut context = Context::from_waker(Waker::noop());
    let mut ended: Vec<Option<Result<()>>> = processes.iter().map(|_| None).collect();
    let mut active: Vec<usize> = (0..processes.len()).collect();
    let mut polled = vec![0; processes.len()];
    let mut turns = turns.iter().map(|turn| usize::from(*turn)).chain(0..);
    while !active.is_empty() {
        let at = turns.next().unwrap() % active.len();
        let process = active[at];
        polled[process] += 1;
        let outcome = match processes[process].as_mut().poll(&mut context) {
            _ if killed == Some((process, polled[process])) => None,
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => continue,
        };
        ended[process] = outcome;
        active.remove(at);
    }
    ended
}

/// Runs a process alone.
fn alone(process: Process) -> Result<()> {
    interleaved(vec![process], &[], None).remove(0).expect("nobody ends it")
}

fn process(session: &Session, pipeline: &str, scale: u8, writes: &[Write]) -> Process {
    Box::pin(run(session.clone(), pipeline.to_owned(), scale, writes.to_vec()))
}

/// A table with a few values, written by the pipeline that wants the fewest digits.
fn session() -> Session {
    let session = Session(Arc::new(Mutex::new(Model::of(&["V"]))));
    let writes = [(0, Some(1_500_000)), (1, Some(2_250_000)), (2, None), (3, Some(-70_000))];
    alone(process(&session, "b", 2, &writes)).unwrap();
    session
}

/// Runs the pipelines once more, each alone, and compares what is there with what was committed.
fn assert_nothing_is_lost(session: &Session, pipelines: &[(&str, u8)]) {
    for (pipeline, scale) in pipelines {
        match alone(process(session, pipeline, *scale, &[])) {
            Err(error) if error.to_string().contains("the rows need NUMBER(38,") => {}
            run => run.unwrap_or_else(|error| panic!("{pipeline}: {}", error.report())),
        }
    }
    let model = session.0.lock().unwrap();
    assert_eq!(model.values(), model.truth);
    assert_eq!(model.names(), ["V"]);
    assert!(model.wrong.is_empty(), "{:?}", model.wrong);
}

/// Statements of a change at most, with those of the run that it is part of.
const STATEMENTS: usize = 30;

#[test]
fn another_pipeline_may_commit_between_any_two_statements() {
    let own = [(0, Some(111_100)), (9, Some(999_900))];
    let theirs = [(1, Some(7_000_000)), (0, None), (2, Some(30_000)), (5, Some(50_000))];
    for first in 0..STATEMENTS {
        for then in 0..STATEMENTS {
            let session = session();
            let processes = vec![process(&session, "a", 4, &own), process(&session, "b", 2, &theirs)];
            // It opens the table at one point, and loads and commits from another one on.
            let turns = [vec![0; first], vec![1; 3], vec![0; then]].concat();
            let mut turns: Vec<u8> = turns;
            turns.extend([1; 2 * STATEMENTS]);
            for ended in interleaved(processes, &turns, None) {
                ended.unwrap().unwrap();
            }
            assert_nothing_is_lost(&session, &[("a", 4), ("b", 2)]);
            let model = session.0.lock().unwrap();
            let scales: Vec<u8> = model.columns.iter().map(|column| column.scale).collect();
            assert_eq!(scales, [4], "{first} {then}");
        }
    }
}

#[test]
fn a_value_that_comes_too_late_is_not_cut() {
    let mut refused = 0;
    for first in 0..STATEMENTS {
        let session = session();
        let theirs = [(1, Some(HUGE))];
        let processes = vec![process(&session, "a", 4, &[]), process(&session, "b", 2, &theirs)];
        let turns = [vec![1; 3], vec![0; first], vec![1; STATEMENTS]].concat();
        let ended = interleaved(processes, &turns, None);
        if let Some(Err(error)) = &ended[0] {
            assert_eq!(error.kind(), ErrorKind::Table, "{}", error.report());
            assert!(error.to_string().contains("column V of table T is NUMBER(38,2)"), "{error}");
            refused += 1;
        }
        assert_nothing_is_lost(&session, &[("b", 2), ("a", 4)]);
    }
    assert!((5..STATEMENTS).contains(&refused), "{refused}");
}

#[test]
fn a_column_that_two_pipelines_add_at_once_is_known_by_the_type_that_it_got() {
    for then in 0..STATEMENTS {
        let session = Session(Arc::new(Mutex::new(Model::of(&[]))));
        let writes = [(0, Some(1_110_000)), (1, Some(2_220_000))];
        let processes = vec![process(&session, "a", 4, &writes), process(&session, "b", 2, &writes)];
        let turns = [vec![0; then], vec![1; STATEMENTS]].concat();
        for ended in interleaved(processes, &turns, None) {
            ended.unwrap().unwrap();
        }
        assert_nothing_is_lost(&session, &[("a", 4), ("b", 2)]);
    }
}

#[test]
fn what_a_cut_change_leaves_is_taken_up_by_whoever_comes_first() {
    for cut in 1..STATEMENTS {
        for order in [[("a", 4), ("b", 2)], [("b", 2), ("a", 4)]] {
            let session = session();
            let ended = interleaved(vec![process(&session, "a", 4, &[])], &[], Some((0, cut)));
            if ended[0].is_none() {
                let theirs = [(0, None), (1, Some(8_000_000)), (6, Some(60_000))];
                alone(process(&session, order[0].0, order[0].1, &theirs)).unwrap();
            }
            assert_nothing_is_lost(&session, &order);
        }
    }
}

#[test]
fn leftovers_of_every_kind_are_put_right() {
    let [a, b, other] = ["a", "b", "c"]
        .map(|pipeline| format!("{}0F0F0F0F_V", crate::sink::snowflake::mark(&target(pipeline, 2))));
    let of = |head: &str, end: &str| format!("_TAPELINE_{head}_{end}");
    let next = "_TAPELINE_NEXT_V".to_owned();
    let v = || "V".to_owned();
    // The columns, the one with the values last, and those that are there once `b` came.
    let cases = [
        // Of earlier versions: before and after the column was dropped.
        (vec![next.clone(), v()], vec!["V".to_owned()]),
        (vec![next.clone()], vec![v()]),
        (vec![next.clone(), of("NEW", &a), of("OLD", &a)], vec![of("NEW", &a), v()]),
        // Its own, and those of others.
        (vec![of("NEW", &b), v()], vec![v()]),
        (vec![of("NEW", &a), of("NEW", &b), v()], vec![of("NEW", &a), v()]),
        (vec![of("NEW", &a), of("OLD", &a)], vec![of("NEW", &a), v()]),
        (vec![of("NEW", &b), of("OLD", &b)], vec![v()]),
        (vec![of("OLD", &a)], vec![v()]),
        (vec![of("OLD", &a), v()], vec![v()]),
        (vec![of("OLD", &a), of("NEW", &other), of("OLD", &other)], vec![of("NEW", &other), v()]),
    ];
    for (columns, expected) in cases {
        let mut model = Model::of(&columns.iter().map(String::as_str).collect::<Vec<_>>());
        let held = model.made;
        model.rows.insert(0, BTreeMap::from([(held, 1_000_000)]));
        let session = Session(Arc::new(Mutex::new(model)));
        alone(process(&session, "b", 2, &[]))
            .unwrap_or_else(|error| panic!("{columns:?}: {}", error.report()));
        let model = session.0.lock().unwrap();
        assert_eq!(model.names(), expected.iter().map(String::as_str).collect::<Vec<_>>(), "{columns:?}");
        assert_eq!(model.values(), BTreeMap::from([(0, Some(1_000_000))]), "{columns:?}");
    }
    for columns in [[of("NEW", &a), of("OLD", &a), v()], [of("OLD", &a), of("OLD", &b), of("X", "")]] {
        let model = Model::of(&columns.each_ref().map(String::as_str));
        let session = Session(Arc::new(Mutex::new(model)));
        let error = alone(process(&session, "b", 2, &[])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Table);
        assert!(error.to_string().contains("may have values that column V lacks"), "{error}");
        assert_eq!(session.0.lock().unwrap().names(), columns, "nothing is dropped");
    }
}

#[test]
fn a_leftover_tells_its_column_however_long_the_name() {
    for length in [1, 200, 223, 224, 225, 255] {
        let name = "V".repeat(length);
        let mut target = target("a", 2);
        Arc::make_mut(&mut target.table).columns[0].name.clone_from(&name);
        let names = Names::of(&target, &name);
        assert!(names.new.chars().count() <= 255 && names.old.chars().count() <= 255);
        let mut model = Model::of(&[&names.new, &names.old]);
        model.rows.insert(0, BTreeMap::from([(2, 1)]));
        let session = Session(Arc::new(Mutex::new(model)));
        let place = Place { database: "d".to_owned(), schema: "s".to_owned() };
        let head = session.0.lock().unwrap().claim("a");
        let claim = Claim { session: &session, place: &place, name: "t", target: &target, head };
        let taken_up = Box::pin(leftovers::taken_up(&claim));
        let mut taken_up: Pin<Box<dyn Future<Output = _>>> = taken_up;
        while taken_up.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
        drop(taken_up);
        assert_eq!(session.0.lock().unwrap().names(), [name]);
    }
}

/// The digits that each pipeline wants, the last one by another configuration.
const PIPELINES: [(&str, u8); 4] = [("a", 4), ("b", 2), ("c", 6), ("a", 2)];

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    /// Two processes, of two pipelines or of one, also of one that was configured anew, in any order of their statements, one of them
    /// killed somewhere.
    #[test]
    fn nothing_is_lost_in_any_order(
        of in vec(prop_oneof![Just(0), Just(1), Just(3)], 2),
        writes in vec((0..4_u8, proptest::option::of(-9..9_i128)), 0..9),
        turns in vec(0..12_u8, 0..140),
        killed in proptest::option::of((0..2_usize, 1..40_usize)),
    ) {
        let session = session();
        interleave(&session, &of, &writes, &turns, killed);
        assert_nothing_is_lost(&session, &[("a", 4), ("b", 2)]);
    }

    /// More that change the same column at once: nothing is lost without a word.
    #[test]
    fn nothing_is_lost_among_many_without_a_word(
        of in vec(0..4_usize, 3..5),
        writes in vec((0..4_u8, proptest::option::of(-9..9_i128)), 0..9),
        turns in vec(0..60_u8, 0..200),
        killed in proptest::option::of((0..4_usize, 1..40_usize)),
    ) {
        let session = session();
        interleave(&session, &of, &writes, &turns, killed);
        let told = PIPELINES.iter().any(|(pipeline, scale)| {
            let run = alone(process(&session, pipeline, *scale, &[]));
            run.is_err_and(|error| error.to_string().contains("may have values that column V lacks"))
        });
        if !told {
            assert_nothing_is_lost(&session, &PIPELINES);
        }
    }
}

/// Lets pipelines run, each with the writes in its own digits.
fn interleave(
    session: &Session,
    of: &[usize],
    writes: &[Write],
    turns: &[u8],
    killed: Option<(usize, usize)>,
) {
    let start = |(place, which): (usize, &usize)| {
        let (pipeline, scale) = PIPELINES[*which];
        let step = 10_i128.pow(u32::from(UNIT - scale));
        let own = writes.iter().skip(place).step_by(of.len());
        let own: Vec<Write> = own.map(|(key, value)| (*key, value.map(|value| value * step))).collect();
        process(session, pipeline, scale, &own)
    };
    let processes = of.iter().enumerate().map(start).collect();
    for ended in interleaved(processes, turns, killed).into_iter().flatten().filter_map(Result::err) {
        let is_told = ended.kind() == ErrorKind::Conflict || ended.kind() == ErrorKind::Table;
        assert!(is_told, "{}", ended.report());
    }
}
