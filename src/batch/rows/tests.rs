use super::part::PART_SLACK;
use super::*;

#[test]
fn rows_lie_in_parts_and_none_is_cut() {
    let row = |index: usize| format!("{index:04}{}", "x".repeat(996)).into_bytes();
    let mut rows = Rows::default();
    assert!(rows.is_empty() && rows.iter().next().is_none());
    for index in 0..2500 {
        rows.push(&row(index));
    }
    assert_eq!((rows.len(), rows.bytes()), (2500, 2500 * 1001));
    assert!(rows.iter().eq((0..2500).map(row)));
    let parts: Vec<&[u8]> = rows.texts().collect();
    assert_eq!(parts.len(), 4);
    assert!(parts[0].len() <= FIRST_PART_BYTES + PART_SLACK, "few rows take little");
    assert!(parts.iter().all(|part| part.ends_with(b"x\n") && part.len() <= PART_BYTES + PART_SLACK));
}

#[test]
fn pieces_keep_their_rows_and_changes() {
    let row = vec![b'x'; PART_BYTES / 2];
    let mut rows = Rows::default();
    for index in 0..5 {
        rows.buffer().extend_from_slice(&row);
        if index != 2 {
            rows.note_change(index, Cause::Source);
        }
        if index == 2 {
            rows.note_keyless(index, Lack::Absent);
        }
        rows.end_row();
        if index != 3 {
            rows.delete_last();
        }
    }
    let pieces: Vec<Rows> = rows.into_pieces().collect();
    let told = |piece: &Rows| -> Vec<(usize, usize)> {
        piece.changes().iter().map(|change| (change.row, change.column)).collect()
    };
    assert_eq!(pieces.iter().map(Rows::len).collect::<Vec<_>>(), [1, 2, 2, 0]);
    assert_eq!(
        pieces.iter().map(told).collect::<Vec<_>>(),
        [vec![(0, 0)], vec![(0, 1)], vec![(0, 3), (1, 4)], vec![]]
    );
    assert!(pieces.iter().flat_map(Rows::iter).all(|text| text == row));
    let deletes: Vec<&[usize]> = pieces.iter().map(Rows::deletes).collect();
    assert_eq!(deletes, [&[0][..], &[0, 1], &[1], &[]]);
    let keyless: Vec<_> = pieces.iter().flat_map(Rows::keyless).collect();
    assert_eq!(keyless, [&Keyless { row: 1, column: 2, lack: Lack::Absent }]);
    assert_eq!(pieces[1].keyless().len(), 1);
}

#[test]
fn rows_are_split_with_what_was_said_of_them() {
    let mut rows = Rows::default();
    for index in 0..5 {
        rows.buffer().extend_from_slice(format!("{{\"n\":{index}}}").as_bytes());
        rows.note_change(index, Cause::Destination);
        rows.note("{}");
        rows.note_keyless(index, Lack::Misfit);
        rows.end_row();
        rows.delete_last();
    }
    let rest = rows.split_off(3);
    let keyless = |rows: &Rows| -> Vec<_> { rows.keyless().iter().map(|of| (of.row, of.column)).collect() };
    assert_eq!((keyless(&rows), keyless(&rest)), (vec![(0, 0), (1, 1), (2, 2)], vec![(0, 3), (1, 4)]));
    assert_eq!((rows.deletes(), rest.deletes()), (&[0, 1, 2][..], &[0, 1][..]));
    assert!(rows.iter().eq([b"{\"n\":0}", b"{\"n\":1}", b"{\"n\":2}"]));
    assert!(rest.iter().eq([b"{\"n\":3}", b"{\"n\":4}"]));
    let told = |rows: &Rows| -> Vec<_> {
        rows.changes()
            .iter()
            .zip(rows.notes())
            .map(|(change, note)| (change.row, change.column, note.row))
            .collect()
    };
    assert_eq!(
        (told(&rows), told(&rest)),
        (vec![(0, 0, 0), (1, 1, 1), (2, 2, 2)], vec![(0, 3, 0), (1, 4, 1)])
    );
}

#[test]
fn few_rows_are_copied_and_many_moved_and_what_was_said_goes_along() {
    let page = |count: usize, bytes: usize| {
        let mut rows = Rows::default();
        for index in 0..count {
            rows.buffer().extend(std::iter::repeat_n(b'x', bytes));
            rows.note_change(index, Cause::Source);
            rows.note("{}");
            rows.note_keyless(index, Lack::Absent);
            rows.end_row();
            rows.delete_last();
        }
        rows
    };
    let mut all = Rows::default();
    let mut sizes = Vec::new();
    for (count, bytes) in [(2, 10), (0, 0), (3, COPIED_MAX), (1, 20), (1, PART_BYTES)] {
        all.append(page(count, bytes));
        sizes.extend(std::iter::repeat_n(bytes, count));
    }
    assert_eq!(all.len(), sizes.len());
    assert!(all.iter().map(<[u8]>::len).eq(sizes));
    let rows: Vec<usize> = all.changes().iter().map(|change| change.row).collect();
    assert_eq!(rows, (0..7).collect::<Vec<_>>());
    assert!(all.notes().iter().map(|note| note.row).eq(rows.iter().copied()));
    assert_eq!(all.deletes(), rows);
    assert!(all.keyless().iter().map(|keyless| keyless.row).eq(rows));
}

#[test]
fn rows_without_a_key_are_taken_out_and_the_others_stay_what_they_are() {
    let mut rows = Rows::default();
    for index in 0..6 {
        rows.buffer().extend_from_slice(format!("{{\"n\":{index}}}").as_bytes());
        rows.note_change(index, Cause::Source);
        rows.note("{}");
        if index % 3 == 1 {
            rows.note_keyless(0, Lack::Misfit);
        }
        rows.end_row();
        if index > 1 {
            rows.delete_last();
        }
    }
    let taken = rows.take_keyless();
    let told: Vec<_> = taken.iter().map(|(keyless, text)| (keyless.row, &**text)).collect();
    assert_eq!(told, [(1, &b"{\"n\":1}"[..]), (4, b"{\"n\":4}")]);
    let left: Vec<&[u8]> = rows.iter().collect();
    assert_eq!(left, [&b"{\"n\":0}"[..], b"{\"n\":2}", b"{\"n\":3}", b"{\"n\":5}"]);
    let changes: Vec<_> = rows.changes().iter().map(|change| (change.row, change.column)).collect();
    assert_eq!(changes, [(0, 0), (1, 2), (2, 3), (3, 5)]);
    assert!(rows.notes().iter().map(|note| note.row).eq(0..4));
    assert_eq!((rows.deletes(), rows.keyless().len(), rows.len()), (&[1, 2, 3][..], 0, 4));
}

#[test]
fn rows_are_taken_back_also_across_parts() {
    let mut rows = Rows::default();
    rows.push(b"{}");
    rows.push(&vec![b'x'; PART_BYTES]);
    rows.note_change(1, Cause::Source);
    rows.note_keyless(0, Lack::Absent);
    rows.buffer().extend_from_slice(b"begun");
    rows.abandon_row();
    assert_eq!((rows.len(), rows.changes().len(), rows.keyless().len()), (2, 0, 0));
    rows.delete_last();
    rows.remove_last();
    assert_eq!((rows.deletes().len(), rows.keyless().len()), (0, 0));
    rows.push(b"[]");
    assert!(rows.iter().eq([b"{}", b"[]"]));
    rows.remove_last();
    rows.remove_last();
    assert!(rows.is_empty() && rows.bytes() == 0);
}
