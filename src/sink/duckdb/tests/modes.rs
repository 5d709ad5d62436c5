use super::*;
use crate::batch::{Bound, Extent};
use crate::sink::{Move, Portion};

const ALL: &str = "SELECT ticker, strftime(timestamp, '%H:%M'), v::VARCHAR FROM polygon.bars ORDER BY ALL";

#[tokio::test]
async fn append_adds_every_row() {
    let (file, table) = (File::new(), bars());
    let lines = [bar("A", 1, 1), bar("A", 1, 2)];
    assert_eq!(load(&file, &table, WriteMode::Append, "1", &[&lines]).await, None);
    assert_eq!(load(&file, &table, WriteMode::Append, "2", &[&lines]).await.as_deref(), Some("1"));
    assert_eq!(file.rows(ALL), ["A|00:01|1", "A|00:01|1", "A|00:01|2", "A|00:01|2"]);
}

#[tokio::test]
async fn the_last_row_of_a_key_wins_within_and_across_batches_and_commits() {
    let (file, table) = (File::new(), bars());
    let first = [bar("A", 1, 1), bar("A", 2, 2), bar("B", 1, 3), bar("A", 1, 4)];
    let second = [bar("A", 2, 5), bar("C", 9, 6)];
    load(&file, &table, WriteMode::AppendDedup, "1", &[&first, &second]).await;
    assert_eq!(file.rows(ALL), ["A|00:01|4", "A|00:02|5", "B|00:01|3", "C|00:09|6"]);
    let third = [bar("B", 1, 7), bar("D", 0, 8)];
    load(&file, &table, WriteMode::AppendDedup, "2", &[&third]).await;
    assert_eq!(file.rows(ALL), ["A|00:01|4", "A|00:02|5", "B|00:01|7", "C|00:09|6", "D|00:00|8"]);
}

/// Statistics of the committed rows must not hide those of the open transaction.
#[tokio::test]
async fn rows_of_the_same_transaction_are_replaced_beyond_what_is_committed() {
    let (file, table) = (File::new(), bars());
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::AppendDedup)).await.unwrap();
    write(&mut sink, stream, &table, &[bar("A", 1, 1), bar("A", 2, 1)]).await;
    commit(&mut sink, stream, "1").await;
    for v in [2, 3] {
        write(&mut sink, stream, &table, &[bar("Z", 1000, v), bar("Z", 1001, v)]).await;
    }
    commit(&mut sink, stream, "2").await;
    drop(sink);
    assert_eq!(file.rows(ALL), ["A|00:01|1", "A|00:02|1", "Z|16:40|3", "Z|16:41|3"]);
}

/// Minutes `from..until` of the day that [`bar`] speaks of.
fn minutes(ticker: Option<&str>, from: i64, until: Option<i64>) -> Extent {
    let day: jiff::Timestamp = "2024-06-28T00:00:00Z".parse().unwrap();
    let minute = |minute| Bound::Time(day + jiff::SignedDuration::from_mins(minute));
    Extent {
        partition: ticker.map(|ticker| ("ticker".to_owned(), ticker.into())),
        cursor: "timestamp".to_owned(),
        from: minute(from),
        until: until.map(minute),
    }
}

#[tokio::test]
async fn rows_that_the_source_has_no_more_go_with_the_part_that_is_replaced() {
    let (file, table) = (File::new(), bars());
    let held = ["A", "B", "it's"].map(|ticker| [1, 2, 3, 4].map(|minute| bar(ticker, minute, 1)));
    load(&file, &table, WriteMode::AppendDedup, "1", &[&held.concat()]).await;
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::AppendDedup)).await.unwrap();
    let parts = [
        (minutes(Some("A"), 2, Some(4)), vec![bar("A", 2, 2)]),
        (minutes(Some("it's"), 2, None), vec![bar("it's", 5, 2)]),
    ];
    for (extent, lines) in &parts {
        let batch = Batch { replaces: vec![extent.clone()], ..batch(&table, lines) };
        sink.write(stream, batch).await.unwrap();
    }
    sink.rollback(stream).await.unwrap();
    assert_eq!(file.rows("SELECT count(*)::VARCHAR FROM polygon.bars"), ["12"]);
    for (extent, lines) in parts {
        let batch = Batch { replaces: vec![extent], ..batch(&table, &lines) };
        sink.write(stream, batch).await.unwrap();
    }
    // The second batch of a slice replaces nothing but its keys.
    write(&mut sink, stream, &table, &[bar("A", 3, 2)]).await;
    commit(&mut sink, stream, "2").await;
    drop(sink);
    assert_eq!(
        file.rows(ALL),
        [
            "A|00:01|1",
            "A|00:02|2",
            "A|00:03|2",
            "A|00:04|1",
            "B|00:01|1",
            "B|00:02|1",
            "B|00:03|1",
            "B|00:04|1",
            "it's|00:01|1",
            "it's|00:05|2"
        ]
    );
}

#[tokio::test]
async fn a_part_may_be_of_days_and_of_all_partitions() {
    let file = File::new();
    let table = Arc::new(Table {
        cursor: Some("d".to_owned()),
        ..Table::new("days", vec![column("d", ColumnType::Date), column("v", ColumnType::Integer)], &["d"])
    });
    let row = |day: &str, v: i64| format!(r#"{{"d":"2024-06-{day}","v":{v}}}"#);
    load(&file, &table, WriteMode::AppendDedup, "1", &[&["01", "02", "03", "04"].map(|day| row(day, 1))])
        .await;
    let day = |day: i8| Bound::Day(jiff::civil::date(2024, 6, day));
    let extent = Extent { partition: None, cursor: "d".to_owned(), from: day(2), until: Some(day(4)) };
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::AppendDedup)).await.unwrap();
    let batch = Batch { replaces: vec![extent], ..batch(&table, &[row("03", 2)]) };
    sink.write(stream, batch).await.unwrap();
    commit(&mut sink, stream, "2").await;
    drop(sink);
    let all = "SELECT strftime(d, '%d'), v::VARCHAR FROM polygon.days ORDER BY ALL";
    assert_eq!(file.rows(all), ["01|1", "03|2", "04|1"]);
}

#[tokio::test]
async fn null_equals_null_in_a_key() {
    let (file, table) = (File::new(), bars());
    let row = |ticker: &str, v: i64| format!(r#"{{"ticker":{ticker},"v":{v}}}"#);
    load(&file, &table, WriteMode::AppendDedup, "1", &[&[row("null", 1), row("\"A\"", 2), bar("A", 1, 3)]])
        .await;
    load(&file, &table, WriteMode::AppendDedup, "2", &[&[row("null", 4)]]).await;
    load(&file, &table, WriteMode::AppendDedup, "3", &[&[bar("A", 2, 5), row("\"A\"", 6)]]).await;
    assert_eq!(file.rows(ALL), ["A|00:01|3", "A|00:02|5", "A|NULL|6", "NULL|NULL|4"]);
}

/// Keys of every type, with values that a range in SQL text could get wrong.
#[tokio::test]
async fn keys_of_every_type_replace() {
    let columns = [
        ("t", ColumnType::Text, [r#""it's; \"DROP\" \u0000 é""#, r#""""#]),
        ("b", ColumnType::Boolean, ["true", "false"]),
        ("i", ColumnType::Integer, ["-9223372036854775808", "9223372036854775807"]),
        ("n", DECIMAL, ["-99999999999999999999.999999999999999999", "0.1"]),
        ("d", ColumnType::Date, [r#""0001-01-01""#, r#""9999-12-31""#]),
        ("w", ColumnType::Timestamp, [r#""1677-09-22T00:00:00Z""#, r#""2262-04-11T23:47:16.854775806Z""#]),
        ("j", ColumnType::Json, [r#"{"a":[1]}"#, r#""x""#]),
    ];
    for (name, ty, values) in columns {
        let table =
            Arc::new(Table::new("things", vec![column(name, ty), column("v", ColumnType::Integer)], &[name]));
        let row = |value: &str, v: i64| format!(r#"{{"{name}":{value},"v":{v}}}"#);
        let file = File::new();
        load(&file, &table, WriteMode::AppendDedup, "1", &[&[row(values[0], 1), row(values[1], 2)]]).await;
        load(
            &file,
            &table,
            WriteMode::AppendDedup,
            "2",
            &[&[row(values[1], 3)], &[row(values[0], 4), row("null", 5)]],
        )
        .await;
        assert_eq!(file.rows("SELECT v::VARCHAR FROM polygon.things ORDER BY v"), ["3", "4", "5"], "{ty:?}");
    }
}

#[tokio::test]
async fn a_table_without_a_key_takes_every_row() {
    let file = File::new();
    let table = Arc::new(Table { key: Vec::new(), ..(*bars()).clone() });
    load(&file, &table, WriteMode::AppendDedup, "1", &[&[bar("A", 1, 1), bar("A", 1, 1)]]).await;
    assert_eq!(file.rows(ALL).len(), 2);
}

/// More rows than a row group holds, replaced in part, twice in one transaction.
#[tokio::test]
async fn many_rows_are_replaced_by_key() {
    let (file, table) = (File::new(), bars());
    let day = |day: u32, v: i64| -> Vec<String> {
        let row = |minute: u32| {
            let (hour, minute) = (minute / 60 % 24, minute % 60);
            format!(
                r#"{{"ticker":"T{}","timestamp":"2024-01-{day:02}T{hour:02}:{minute:02}:00Z","v":{v}}}"#,
                minute % 7
            )
        };
        (0..1440).map(row).collect()
    };
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::AppendDedup)).await.unwrap();
    for (round, days) in [(1, 1..29), (2, 5..8), (3, 7..10)] {
        for number in days {
            write(&mut sink, stream, &table, &day(number, round)).await;
        }
        if round != 2 {
            commit(&mut sink, stream, "x").await;
        }
    }
    drop(sink);
    assert_eq!(
        file.rows("SELECT v::VARCHAR, count(*)::VARCHAR FROM polygon.bars GROUP BY v ORDER BY v"),
        [format!("1|{}", 23 * 1440), format!("2|{}", 2 * 1440), format!("3|{}", 3 * 1440)]
    );
}

#[tokio::test]
async fn an_overwritten_table_changes_over_at_the_end_only() {
    let (file, table) = (File::new(), bars());
    load(&file, &table, WriteMode::Overwrite, "a", &[&[bar("OLD", 1, 1)]]).await;
    {
        let mut sink = file.sink().await;
        let (stream, before) = sink.open_one(&target(&table, WriteMode::Overwrite)).await.unwrap();
        assert_eq!(before, None, "a finished run is not gone on with");
        write(&mut sink, stream, &table, &[bar("NEW", 1, 2)]).await;
        commit(&mut sink, stream, "half").await;
        write(&mut sink, stream, &table, &[bar("LOST", 1, 3)]).await;
    }
    assert_eq!(file.rows(ALL), ["OLD|00:01|1"]);
    {
        let mut sink = file.sink().await;
        let (stream, before) = sink.open_one(&target(&table, WriteMode::Overwrite)).await.unwrap();
        assert_eq!(before.as_deref(), Some("half"), "an unfinished run goes on");
        write(&mut sink, stream, &table, &[bar("NEW", 2, 4)]).await;
        commit(&mut sink, stream, "whole").await;
        sink.finish(&[stream]).await.unwrap();
    }
    assert_eq!(file.rows(ALL), ["NEW|00:01|2", "NEW|00:02|4"]);
    assert_eq!(file.rows("SELECT DISTINCT _airbyte_generation_id::VARCHAR FROM polygon.bars"), ["2"]);
    assert_eq!(
        file.rows("SELECT table_name FROM duckdb_tables() ORDER BY 1"),
        ["_tapeline_progress", "_tapeline_rejected", "_tapeline_streams", "bars"],
        "nothing is left over"
    );
}

#[tokio::test]
async fn an_empty_run_empties_the_table() {
    let (file, table) = (File::new(), bars());
    load(&file, &table, WriteMode::Overwrite, "a", &[&[bar("OLD", 1, 1)]]).await;
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::Overwrite)).await.unwrap();
    sink.finish(&[stream]).await.unwrap();
    drop(sink);
    assert_eq!(file.rows(ALL), Vec::<String>::new());
    assert_eq!(load(&file, &table, WriteMode::Overwrite, "b", &[&[bar("NEW", 1, 1)]]).await, None);
    assert_eq!(file.rows(ALL), ["NEW|00:01|1"]);
}

/// The progress of rows that readers do not see yet is not that of the table.
#[tokio::test]
async fn modes_do_not_take_each_others_progress() {
    let (file, table) = (File::new(), bars());
    load(&file, &table, WriteMode::Append, "appended", &[&[bar("A", 1, 1)]]).await;
    {
        let mut sink = file.sink().await;
        let (stream, before) = sink.open_one(&target(&table, WriteMode::Overwrite)).await.unwrap();
        assert_eq!(before, None);
        write(&mut sink, stream, &table, &[bar("B", 1, 1)]).await;
        commit(&mut sink, stream, "half").await;
    }
    let before = load(&file, &table, WriteMode::Append, "appended twice", &[&[bar("A", 2, 2)]]).await;
    assert_eq!(before.as_deref(), Some("appended"));
    assert_eq!(file.rows(ALL), ["A|00:01|1", "A|00:02|2"]);
    let before = load(&file, &table, WriteMode::Overwrite, "whole", &[&[bar("B", 2, 2)]]).await;
    assert_eq!(before, None, "a run that was given up for another mode begins anew");
    let before = load(&file, &table, WriteMode::Append, "more", &[&[bar("B", 3, 3)]]).await;
    assert_eq!(before.as_deref(), Some("whole"), "the table holds that run's rows now");
    assert_eq!(file.rows(ALL), ["B|00:02|2", "B|00:03|3"]);
}

#[tokio::test]
async fn a_rollback_forgets_what_was_not_committed() {
    for mode in [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite] {
        let (file, table) = (File::new(), bars());
        let mut sink = file.sink().await;
        let (stream, _) = sink.open_one(&target(&table, mode)).await.unwrap();
        sink.rollback(stream).await.unwrap();
        write(&mut sink, stream, &table, &[bar("A", 1, 1)]).await;
        commit(&mut sink, stream, "1").await;
        write(&mut sink, stream, &table, &[bar("A", 1, 2), bar("B", 1, 2)]).await;
        sink.rollback(stream).await.unwrap();
        write(&mut sink, stream, &table, &[bar("C", 1, 3)]).await;
        commit(&mut sink, stream, "3").await;
        sink.finish(&[stream]).await.unwrap();
        drop(sink);
        assert_eq!(file.rows(ALL), ["A|00:01|1", "C|00:01|3"], "{mode:?}");
        assert_eq!(file.rows("SELECT \"position\" FROM polygon._tapeline_progress"), ["3"], "{mode:?}");
    }
}

#[tokio::test]
async fn progress_moves_without_rows_and_is_verbatim() {
    let (file, table) = (File::new(), bars());
    let state = "{ \"a\": 1.0,\t\"é'\\\"\": [ ] }\n";
    assert_eq!(load(&file, &table, WriteMode::Append, state, &[]).await, None);
    assert_eq!(load(&file, &table, WriteMode::Append, "", &[]).await.as_deref(), Some(state));
    assert_eq!(load(&file, &table, WriteMode::Append, "x", &[]).await.as_deref(), Some(""));
}

#[tokio::test]
async fn streams_commit_together_and_rows_ahead_of_them_by_themselves() {
    let file = File::new();
    let other = Arc::new(Table { name: "others".to_owned(), ..(*bars()).clone() });
    let table = bars();
    let mut sink = file.sink().await;
    let targets = [target(&table, WriteMode::AppendDedup), target(&other, WriteMode::Append)];
    let opened = sink.open(&targets).await.unwrap();
    let [first, second] = [&opened[0], &opened[1]].map(|opened| opened.as_ref().unwrap().id);
    write(&mut sink, first, &table, &[bar("A", 1, 1)]).await;
    let ahead = Batch { ahead: true, ..batch(&other, &[bar("B", 1, 1)]) };
    sink.write(second, ahead.clone()).await.unwrap();
    commit(&mut sink, first, "first").await;
    sink.rollback(second).await.unwrap();
    sink.write(second, ahead).await.unwrap();
    write(&mut sink, first, &table, &[bar("A", 2, 2)]).await;
    let text = String::new;
    let at = |position: &str| vec![Move { shard: "".into(), position: Some(position.to_owned()) }];
    let portions = [Portion::new(first, at("first again"), &text), Portion::new(second, at("second"), &text)];
    sink.commit(&portions).await.unwrap();
    write(&mut sink, first, &table, &[bar("LOST", 1, 1)]).await;
    drop(sink);
    assert_eq!(file.rows(ALL), ["A|00:01|1", "A|00:02|2"]);
    assert_eq!(file.rows("SELECT count(*)::VARCHAR FROM polygon.others"), ["1"]);
    assert_eq!(
        file.rows("SELECT \"position\" FROM polygon._tapeline_progress ORDER BY 1"),
        ["first again", "second"]
    );
}

/// What a commit writes is what moved, and nothing is there twice.
#[tokio::test]
async fn a_shard_is_a_row_that_moves_by_compare_and_set() {
    let (file, table) = (File::new(), bars());
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::Append)).await.unwrap();
    let text = String::new;
    let moves = |shards: std::ops::Range<u32>, position: &str| {
        let moved =
            |shard: u32| Move { shard: format!("T{shard}'").into(), position: Some(position.to_owned()) };
        shards.map(moved).collect::<Vec<_>>()
    };
    for (shards, position) in [(0..450, "1"), (100..500, "2"), (3..4, "3")] {
        let portion = Portion::new(stream, moves(shards, position), &text);
        sink.commit(&[portion]).await.unwrap();
    }
    drop(sink);
    assert_eq!(
        file.rows(
            "SELECT \"position\", version::VARCHAR, count(*)::VARCHAR FROM polygon._tapeline_progress GROUP BY ALL ORDER BY ALL"
        ),
        ["1|1|99", "2|1|50", "2|2|350", "3|2|1"]
    );
    file.execute("UPDATE polygon._tapeline_streams SET version = version + 1");
    let mut sink = file.sink().await;
    let opened = sink.open(&[target(&table, WriteMode::Append)]).await.unwrap().remove(0).unwrap();
    assert_eq!(opened.progress.positions.len(), 500);
    assert_eq!(opened.progress.positions["T3'"], "3");
}

/// Commits of some of many shards, at random and beyond what one statement names: each
/// changes the rows of those that it moves and no other.
#[tokio::test]
async fn a_commit_changes_the_rows_of_the_shards_that_it_moves_only() {
    let mut random = fastrand::Rng::with_seed(11);
    for stored in [1_usize, 10, 700] {
        let (file, table) = (File::new(), bars());
        let mut sink = file.sink().await;
        let (stream, _) = sink.open_one(&target(&table, WriteMode::Append)).await.unwrap();
        let text = String::new;
        let mut moved = vec![(0, 0); stored];
        for commit in 0..12 {
            let some = if commit == 0 { stored } else { random.usize(0..=stored) };
            let shards: Vec<usize> = random.choose_multiple(0..stored, some);
            let to = |shard: &usize| Move {
                shard: format!("T{shard:03}").into(),
                position: Some(commit.to_string()),
            };
            let moves = shards.iter().map(to).collect();
            sink.commit(&[Portion::new(stream, moves, &text)]).await.unwrap();
            for shard in shards {
                moved[shard] = (commit, moved[shard].1 + 1);
            }
        }
        drop(sink);
        let expected: Vec<String> =
            moved.iter().map(|(commit, times)| format!("{commit}|{times}|1")).collect();
        let query = "SELECT \"position\", version::VARCHAR, \
                     (count(*) OVER (PARTITION BY shard))::VARCHAR FROM polygon._tapeline_progress ORDER BY shard";
        assert_eq!(file.rows(query), expected);
        // A transaction has one moment, which a row keeps until it is changed.
        let moments = "SELECT (count(DISTINCT updated_at) - count(DISTINCT \"position\"))::VARCHAR FROM polygon._tapeline_progress";
        assert_eq!(file.rows(moments), ["0"]);
    }
}

#[tokio::test]
async fn progress_of_a_table_that_was_dropped_is_void() {
    let (file, table) = (File::new(), bars());
    load(&file, &table, WriteMode::Append, "1", &[&[bar("A", 1, 1)]]).await;
    file.execute("DROP TABLE polygon.bars");
    let mut sink = file.sink().await;
    assert_eq!(sink.open_one(&target(&table, WriteMode::Append)).await.unwrap().1, None);
    drop(sink);
    assert_eq!(load(&file, &table, WriteMode::Append, "2", &[&[bar("B", 1, 1)]]).await, None);
    assert_eq!(file.rows(ALL), ["B|00:01|1"]);
}

#[tokio::test]
async fn a_shard_without_a_position_is_forgotten_and_can_come_again() {
    let (file, table) = (File::new(), bars());
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::Append)).await.unwrap();
    let text = String::new;
    let moved = |shard: &str, position: Option<&str>| Move {
        shard: shard.into(),
        position: position.map(str::to_owned),
    };
    for moves in [
        vec![moved("A", Some("1")), moved("B", Some("1"))],
        vec![moved("A", None), moved("B", Some("2")), moved("never there", None)],
        vec![moved("A", Some("3"))],
        vec![moved("B", None)],
    ] {
        let portion = Portion::new(stream, moves, &text);
        assert!(sink.commit(&[portion]).await.unwrap().is_empty());
    }
    drop(sink);
    assert_eq!(
        file.rows("SELECT shard, \"position\", version::VARCHAR FROM polygon._tapeline_progress ORDER BY 1"),
        ["A|3|1"]
    );
}

/// Progress goes back together with the rows that would come a second time.
#[tokio::test]
async fn parts_go_without_rows_in_their_place() {
    let (file, table) = (File::new(), bars());
    let lines = [bar("A", 1, 1), bar("A", 9, 1), bar("B", 9, 1)];
    load(&file, &table, WriteMode::Append, "1", &[&lines]).await;
    let part = Extent {
        partition: Some(("ticker".to_owned(), "A".into())),
        cursor: "timestamp".to_owned(),
        from: Bound::Time("2024-06-28T00:05:00Z".parse().unwrap()),
        until: None,
    };
    let parts = vec![part];
    let mut sink = file.sink().await;
    let target = target(&table, WriteMode::AppendDedup);
    assert_eq!(sink.count(&target, &parts).await.unwrap(), 1);
    assert_eq!(sink.count(&target, &[]).await.unwrap(), 3);
    let (stream, _) = sink.open_one(&target).await.unwrap();
    let empty = || Batch { replaces: parts.clone(), ..batch(&table, &[]) };
    sink.write(stream, empty()).await.unwrap();
    sink.rollback(stream).await.unwrap();
    assert_eq!(sink.count(&target, &[]).await.unwrap(), 3);
    sink.write(stream, empty()).await.unwrap();
    commit(&mut sink, stream, "0").await;
    drop(sink);
    assert_eq!(file.rows(ALL), ["A|00:01|1", "B|00:09|1"]);
    assert_eq!(file.rows("SELECT \"position\" FROM polygon._tapeline_progress"), ["0"]);
}
