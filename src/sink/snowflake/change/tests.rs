//! Changes of a column, interleaved with others at each statement and cut at each, over one
//! table in memory.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::catalog::{ColumnType, Metadata, Table, Width};
use crate::sink::WriteMode;
use crate::sink::snowflake::client::Answer;
use crate::sink::snowflake::evolve;
use crate::sink::snowflake::layer::tests::refused_with;
use crate::sink::snowflake::statement::Bind;

/// Digits after the point in which the model counts.
const UNIT: u8 = 6;
/// Stands for a value that fits a column of 2 digits after the point, and none of 4.
const HUGE: i128 = i128::MAX;
/// Times that a pipeline runs before it is given up.
const RUNS: usize = 6;

/// A value by the column's number: none is NULL.
type Cells = BTreeMap<u64, i128>;

struct Held {
    name: String,
    number: u64,
    scale: u8,
}

/// A table in memory, and the rows of progress of those who write to it.
#[derive(Default)]
struct Model {
    columns: Vec<Held>,
    rows: BTreeMap<u8, Cells>,
    heads: BTreeMap<String, Head>,
    made: u64,
    /// What was committed last of each key.
    truth: BTreeMap<u8, Option<i128>>,
    /// What came into the table as another value than it was.
    wrong: Vec<String>,
}

/// Whether a column of this scale has room for a value.
fn fits(value: i128, scale: u8) -> bool {
    value != HUGE || scale <= 2
}

/// What a column of this scale makes of a value: of one that it has no room for as a double
/// does, without a word.
fn rounded(value: i128, scale: u8) -> i128 {
    let step = 10_i128.pow(u32::from(UNIT - scale));
    match value == HUGE {
        true if fits(value, scale) => value,
        true => value - 1,
        false => value / step * step,
    }
}

fn no<T>() -> Result<T> {
    Err(refused_with("000904"))
}

impl Model {
    fn of(names: &[&str]) -> Self {
        let mut model = Self::default();
        for name in names {
            model.add(name, 2);
        }
        model
    }

    fn add(&mut self, name: &str, scale: u8) {
        self.made += 1;
        self.columns.push(Held { name: name.to_owned(), number: self.made, scale });
    }

    fn at(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|column| column.name == name).map_or_else(no, Ok)
    }

    fn alter(&mut self, sql: &str, names: &[&str]) -> Result<()> {
        if let Some((_, ty)) = sql.split_once("NUMBER(38,") {
            if self.at(names[3]).is_err() {
                self.add(names[3], ty[..1].parse().unwrap());
            } else if !sql.contains("IF NOT EXISTS") {
                return no();
            }
        } else if sql.contains(" RENAME COLUMN ") {
            let at = self.at(names[3])?;
            if self.at(names[4]).is_ok() {
                return no();
            }
            self.columns[at].name = names[4].to_owned();
        } else if let Ok(at) = self.at(names[3]) {
            self.columns.remove(at);
        } else if !sql.contains("IF EXISTS") {
            return no();
        }
        Ok(())
    }

    fn fill(&mut self, names: &[&str]) -> Result<()> {
        // All rows, or those where the one differs from what the other one is made of.
        assert!(names.len() == 5 || names[5..] == names[3..5], "{names:?}");
        let (to, from) = (self.at(names[3])?, self.at(names[4])?);
        let (scale, to, from) = (self.columns[to].scale, self.columns[to].number, self.columns[from].number);
        for cells in self.rows.values_mut() {
            match cells.get(&from).copied() {
                Some(value) => cells.insert(to, rounded(value, scale)),
                None => cells.remove(&to),
            };
        }
        Ok(())
    }

    fn fence(&mut self, pipeline: &str) {
        let others = self.heads.iter_mut().filter(|(other, _)| *other != pipeline);
        others.for_each(|(_, head)| head.version += 1);
    }

    fn execute(&mut self, Statement { sql, binds }: &Statement) -> Result<Answer> {
        let names: Vec<&str> = sql.split('"').skip(1).step_by(2).collect();
        let pipeline = binds.iter().rev().nth(1).map(|bind| match bind {
            Bind::Text(pipeline) => pipeline.as_str(),
            Bind::Integer(_) => panic!("{sql}"),
        });
        let text = |cell: &dyn ToString| Some(cell.to_string());
        if sql.starts_with("SELECT CAST(TABLE_NAME") {
            let column = |held: &Held| {
                vec![text(&"T"), text(&held.name), text(&"NUMBER"), text(&38), text(&held.scale)]
            };
            let own = Metadata::ALL.iter().map(|metadata| {
                vec![text(&"T"), text(&held_name(metadata.column())), text(&"TEXT"), None, None]
            });
            return Ok(self.columns.iter().map(column).chain(own).collect());
        }
        if sql.starts_with("SELECT CAST(COUNT(*)") {
            let at = self.columns[self.at(names[3])?].number;
            let bound: i128 = sql.rsplit(' ').next().unwrap().parse().unwrap();
            let bound = bound.saturating_mul(10_i128.pow(u32::from(UNIT)));
            let held = self.rows.values().filter_map(|cells| cells.get(&at));
            return Ok(vec![vec![text(&held.filter(|value| value.abs() >= bound).count())]]);
        }
        if sql.starts_with("SELECT CAST(\"PIPELINE\"") {
            let (name, head) = self.heads.get_key_value(pipeline.unwrap()).unwrap();
            let (epoch, version) = (text(&head.epoch), text(&head.version));
            return Ok(vec![vec![
                text(name),
                text(&"s"),
                text(&"t"),
                text(&"true"),
                epoch,
                version,
                text(&0),
                None,
            ]]);
        }
        match sql.split(' ').next() {
            Some("ALTER") => self.alter(sql, &names)?,
            Some("UPDATE") if names[2] == "_TAPELINE_STREAMS" => self.fence(pipeline.unwrap()),
            Some("UPDATE") => self.fill(&names)?,
            _ => panic!("{sql}"),
        }
        Ok(Vec::new())
    }

    /// Takes a stream over.
    fn claim(&mut self, pipeline: &str) -> Head {
        let head = self.heads.entry(pipeline.to_owned()).or_default();
        head.version += 1;
        head.epoch += 1;
        *head
    }

    /// Loads a value, as one of `scale` digits, and returns the column that it goes to.
    fn load(&mut self, value: Option<i128>, scale: u8) -> Result<(u64, bool)> {
        let held = &self.columns[self.at("V")?];
        match value {
            Some(value) if !fits(value, held.scale) => Err(refused_with("100132")),
            _ => Ok((held.number, held.scale != scale)),
        }
    }

    /// Commits what was loaded, unless the progress has moved.
    fn commit(
        &mut self,
        pipeline: &str,
        head: &mut Head,
        key: u8,
        value: Option<i128>,
        at: (u64, bool),
    ) -> bool {
        let stored = self.heads.get_mut(pipeline).unwrap();
        if stored.version != head.version {
            return false;
        }
        stored.version += 1;
        head.version += 1;
        let cells = self.rows.entry(key).or_default();
        match value {
            Some(value) => cells.insert(at.0, value),
            None => cells.remove(&at.0),
        };
        self.truth.insert(key, value);
        if at.1 {
            self.wrong.push(format!("{key} has a value that was meant for another type"));
        }
        true
    }

    /// The values of V.
    fn values(&self) -> BTreeMap<u8, Option<i128>> {
        let at = self.columns[self.at("V").unwrap()].number;
        self.rows.iter().map(|(key, cells)| (*key, cells.get(&at).copied())).collect()
    }

    fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }
}

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
    let table = Table {
        name: "t".to_owned(),
        columns,
        key: vec!["k".to_owned()],
        cursor: None,
        version: None,
        metadata: Metadata::ALL.to_vec(),
    };
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
