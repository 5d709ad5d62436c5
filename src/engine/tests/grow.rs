//! Tables that learn columns on the way.

use super::*;
use crate::table::{Column, ColumnType};

fn learned(name: &str) -> Event {
    Event::Grown(vec![Column { name: name.to_owned(), ty: ColumnType::Text, doc: String::new() }])
}

/// What became of the events of two streams, the first of which may learn columns.
async fn taken(events: Vec<(usize, Event)>, sink: &mut Memory) -> Report {
    let targets = [TRADES, NEWS].map(|name| job(name, WriteMode::Append).target);
    let targets = [Target { grows: true, ..targets[0].clone() }, targets[1].clone()];
    let ids = sink.open_all(&targets).await.unwrap().into_iter();
    let streams: Vec<_> =
        ids.zip(&targets).map(|(id, target)| (id, target.stream.as_str(), target)).collect();
    let (_keep, stop) = watch::channel(false);
    let engine = Engine::new(Arc::new(Silent), policy(100), stop);
    engine.take(&mut Scheduled::new(events, false), sink, &streams).await
}

/// Of a table that cannot learn a column no more is taken; what was covered stays, and the
/// other streams go on.
#[tokio::test]
async fn a_table_that_cannot_learn_a_column_ends_its_stream_alone() {
    let mut sink = Memory { rigid: vec![TRADES.to_owned()], ..Memory::default() };
    let events = vec![
        (1, row("n1")),
        (0, row("t1")),
        (0, foreign("1")),
        (0, row("t2")),
        (0, learned("new")),
        (0, row("t3")),
        (0, foreign("3")),
        (1, foreign("1")),
        (1, row("n2")),
        (1, foreign("2")),
        (1, Event::Ended(Ok(()))),
    ];
    let report = taken(events, &mut sink).await;
    assert!(report.error.is_none(), "{:?}", report.error);
    let [trades, news] = &report.streams[..] else { panic!("two streams") };
    assert_eq!((trades.errors.len(), trades.errors[0].stream()), (1, Some(TRADES)));
    assert!(news.errors.is_empty());
    assert_eq!(
        (sink.of(TRADES).durable.as_slice(), sink.of(TRADES).positions[""].as_str()),
        (&["t1".to_owned()][..], "1")
    );
    assert_eq!(
        (sink.of(NEWS).durable.as_slice(), sink.of(NEWS).finished),
        (&["n1".to_owned(), "n2".to_owned()][..], 1)
    );
}

/// No rows wait for a commit meanwhile, of no stream; see [`Memory`].
#[tokio::test]
async fn what_the_sink_has_is_committed_before() {
    for index in 0..2 {
        let mut sink = Memory::default();
        let events = vec![
            (index, row(&"x".repeat(2 << 20))),
            (index, foreign("1")),
            (0, learned("new")),
            (index, row("more")),
            (index, foreign("2")),
        ];
        assert!(taken(events, &mut sink).await.error.is_none());
        let kept = sink.of([TRADES, NEWS][index]);
        assert_eq!((kept.durable.len(), kept.positions[""].as_str(), sink.commits), (2, "2", 2));
    }
}

/// A source that was not to, or names a column twice, is at fault.
#[tokio::test]
async fn only_what_may_learn_learns_and_nothing_twice() {
    let twice = vec![(0, learned("new")), (0, row("t1")), (0, learned("NEW"))];
    for events in [vec![(1, learned("new"))], twice, vec![(0, learned("ticker"))]] {
        let mut sink = Memory::default();
        let error = taken(events, &mut sink).await.error.expect("a fault");
        assert_eq!(error.kind(), ErrorKind::Bug, "{}", error.report());
    }
}
