//! Commits: rows and progress of the streams that are named, and of none that was refused.

use duckdb::Connection;

use super::super::ahead::Own;
use super::super::client::execute;
use super::super::progress::{Advance, First, Ledger};
use super::{KEPT_BYTES_MAX, OwnedPortion, Stream, Writer};
use crate::error::{Error, ErrorKind, Result, listed};

/// Tables with new rows after which the log is worked into the file.
const TABLES_PER_CHECKPOINT: usize = 100;

/// Tables that a message names.
const TABLES_NAMED_MAX: usize = 5;

impl Writer {
    /// Makes rows and moves durable: those of all streams in one transaction, and
    /// before them each stream's whose rows were written ahead. Returns the streams
    /// that were refused.
    pub fn commit(&mut self, portions: &[OwnedPortion]) -> Result<Vec<(usize, Error)>> {
        self.flush()?;
        self.commit_portions(portions)?;
        let told = || Error::bug("a stream is used after it was refused");
        let error = |portion: &OwnedPortion| {
            let error = self.refused.get_mut(&portion.stream)?;
            Some((portion.stream, std::mem::replace(error, told())))
        };
        Ok(portions.iter().filter_map(error).collect())
    }

    fn commit_portions(&mut self, portions: &[OwnedPortion]) -> Result<()> {
        if let Some(stream) =
            self.in_shared.iter().find(|stream| portions.iter().all(|p| p.stream != **stream))
        {
            return Err(Error::bug("rows were written of a stream that a commit leaves out"))
                .map_err(|error| error.in_stream(self.name(*stream)));
        }
        let (mut own, mut beside, mut shared) = (Vec::new(), Vec::new(), Vec::new());
        for portion in portions.iter().filter(|portion| !self.refused.contains_key(&portion.stream)) {
            match &self.streams[portion.stream].own {
                Some(Own::Transaction(_)) => own.push(portion),
                Some(Own::Beside(..)) => beside.push(portion),
                None => shared.push(portion),
            }
        }
        own.into_iter().try_for_each(|portion| self.commit_own(portion))?;
        if !shared.is_empty() {
            self.commit_shared(shared)?;
        }
        // No other transaction has rows of their tables now.
        beside.into_iter().try_for_each(|portion| self.commit_own(portion))
    }

    /// Commits the rows that a stream has ahead.
    fn commit_own(&mut self, portion: &OwnedPortion) -> Result<()> {
        let index = portion.stream;
        let mut own = self.streams[index].own.take().ok_or_else(|| Error::bug("rows ahead are gone"))?;
        let moved =
            own.unload(&mut self.streams[index]).and_then(|()| self.advance(own.connection(), &[portion]));
        if let Err(error) = moved {
            // What was begun is undone with the connection.
            self.streams[index].narrow();
            self.refuse(index, error);
            return Ok(());
        }
        execute(own.connection(), "COMMIT", || "could not commit rows".to_owned())
            .map_err(|error| error.in_stream(self.name(index)))?;
        self.tell_widths(index);
        // Others that write to the table have no rows of it in an open transaction.
        let into = self.streams[index].into.sql();
        for stream in self.streams.iter_mut().filter(|stream| stream.into.sql() == into) {
            stream.settle();
        }
        self.advanced(portion);
        Ok(())
    }

    fn commit_shared(&mut self, mut portions: Vec<&OwnedPortion>) -> Result<()> {
        self.begin_shared()?;
        while let Err((refused, error)) = self.derive_and_advance(&portions) {
            if self.kept_bytes > KEPT_BYTES_MAX {
                return Err(error);
            }
            self.undo_shared();
            let refused = match refused {
                Some(stream) => vec![(stream, error)],
                None if error.kind() != ErrorKind::Conflict => return Err(error),
                None => {
                    let overtaken = self.overtaken(&portions)?;
                    if overtaken.is_empty() {
                        return Err(error);
                    }
                    overtaken
                }
            };
            for (stream, error) in refused {
                self.refuse(stream, error);
            }
            self.load_again();
            portions.retain(|portion| !self.refused.contains_key(&portion.stream));
            if portions.is_empty() {
                return Ok(());
            }
            self.begin_shared()?;
        }
        self.end_shared()?;
        for stream in self.streams.iter_mut().filter(|stream| !stream.is_apart()) {
            stream.settle();
        }
        portions.into_iter().for_each(|portion| self.advanced(portion));
        self.checkpoint()
    }

    /// The last statements of the transaction of all streams. An error is of the stream
    /// that it comes with, or of the transaction.
    fn derive_and_advance(&mut self, portions: &[&OwnedPortion]) -> Result<(), (Option<usize>, Error)> {
        for portion in portions {
            self.derive(portion.stream).map_err(|error| (Some(portion.stream), error))?;
        }
        self.advance(&self.shared, portions).map_err(|error| (None, error))
    }

    /// Runs what is derived of the rows that a stream has in the transaction of all streams.
    fn derive(&mut self, index: usize) -> Result<()> {
        let stream = &mut self.streams[index];
        let Some(batch) = stream.batch.take() else { return Ok(()) };
        batch.derive(&self.shared, stream)?;
        batch.drop(&self.shared)
    }

    /// Those of the streams whose rows are not where this sink left them.
    fn overtaken(&self, portions: &[&OwnedPortion]) -> Result<Vec<(usize, Error)>> {
        let mut overtaken = Vec::new();
        for portion in portions {
            let Stream { ledger, target, head, .. } = &self.streams[portion.stream];
            if !ledger.is_at(&self.shared, target, head.version)? {
                overtaken.push((portion.stream, ledger.conflict(&target.stream)));
            }
        }
        Ok(overtaken)
    }

    /// Works the log into the file when rows of many tables lie there: DuckDB holds at
    /// least a block of memory for each of them until then, and decides by bytes alone.
    fn checkpoint(&mut self) -> Result<()> {
        let is_busy = self.streams.iter().any(|stream| stream.own.is_some());
        if is_busy || self.since_checkpoint.len() < TABLES_PER_CHECKPOINT {
            return Ok(());
        }
        self.since_checkpoint.clear();
        self.database.checkpoint()
    }

    pub(super) fn end_shared(&mut self) -> Result<()> {
        self.is_shared_open = false;
        self.kept = Vec::new();
        self.kept_bytes = 0;
        let streams = std::mem::take(&mut self.in_shared);
        self.since_checkpoint.extend(&streams);
        let what = || {
            let tables: Vec<String> = streams.iter().map(|stream| self.streams[*stream].into.sql()).collect();
            format!("could not commit rows to {}", listed(&tables, TABLES_NAMED_MAX))
        };
        execute(&self.shared, "COMMIT", what).map_err(|error| match streams.first() {
            Some(stream) if streams.len() == 1 => error.in_stream(self.name(*stream)),
            _ => error,
        })
    }

    /// Moves progress in a transaction; streams of one schema in the same statements.
    fn advance(&self, connection: &Connection, portions: &[&OwnedPortion]) -> Result<()> {
        let mut of_schemas: Vec<(&Ledger, Vec<Advance<'_>>)> = Vec::new();
        for portion in portions {
            let stream = &self.streams[portion.stream];
            let advance = Advance {
                target: &stream.target,
                staged: stream.is_staged,
                head: stream.head,
                moves: stream.versions.moving(&portion.moves),
            };
            match of_schemas.iter_mut().find(|(ledger, _)| std::ptr::eq(*ledger, &*stream.ledger)) {
                Some((_, advances)) => advances.push(advance),
                None => of_schemas.push((&stream.ledger, vec![advance])),
            }
            if let Some(first) = &stream.first {
                First::forget(connection, first, &stream.target.first_key())?;
            }
            let added = stream.quarantine.add(connection, &stream.target, &portion.rejected);
            added.map_err(|error| error.in_stream(self.name(portion.stream)))?;
        }
        for (ledger, advances) in of_schemas {
            ledger.advance(connection, &advances).map_err(|error| match portions {
                [one] => error.in_stream(self.name(one.stream)),
                _ => error,
            })?;
        }
        Ok(())
    }

    /// What was committed is where the next commit begins.
    fn advanced(&mut self, portion: &OwnedPortion) {
        let stream = &mut self.streams[portion.stream];
        stream.head.version += 1;
        stream.first = None;
        stream.versions.advance(&portion.moves);
    }
}
