//! Lines from stdin, read by a thread of their own so that the runtime never waits
//! for a pipe.

use std::io::{self, Read};

use tokio::sync::mpsc;

use crate::error::{Error, ErrorKind, Result};

/// Bytes of one read. A pipe of Linux holds 64 KB unless it was enlarged.
const READ_BYTES: usize = 256 << 10;

/// Blocks that wait: the reader stays ahead a little, and memory stays bounded.
const BLOCKS_AHEAD: usize = 4;

/// Text in blocks of whole lines.
#[derive(Debug)]
pub struct Blocks(mpsc::Receiver<io::Result<Vec<u8>>>);

impl Blocks {
    /// Blocks of the process's stdin.
    ///
    /// # Errors
    /// When the machine refuses another thread.
    pub fn of_stdin() -> Result<Self> {
        Self::of(io::stdin())
    }

    /// Blocks of `input`.
    ///
    /// # Errors
    /// When the machine refuses another thread.
    pub fn of(input: impl Read + Send + 'static) -> Result<Self> {
        let (sender, receiver) = mpsc::channel(BLOCKS_AHEAD);
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || read(input, &sender)).map_err(
            |error| Error::new(ErrorKind::Io, "cannot start the thread that reads stdin").caused_by(error),
        )?;
        Ok(Self(receiver))
    }

    /// The next block: whole lines, except that the last line of the input may lack
    /// its line feed. None at the end of the input.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the input cannot be read.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let block = self.0.recv().await.transpose();
        block.map_err(|error| Error::new(ErrorKind::Io, "cannot read stdin").caused_by(error))
    }
}

/// Sends blocks until the input ends or nobody takes them.
fn read(mut input: impl Read, blocks: &mpsc::Sender<io::Result<Vec<u8>>>) {
    let mut text = Vec::new();
    loop {
        let start = text.len();
        text.resize(start + READ_BYTES, 0);
        let count = match input.read(&mut text[start..]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                text.truncate(start);
                continue;
            }
            Err(error) => {
                // Without a receiver there is nobody to tell.
                let _told = blocks.blocking_send(Err(error));
                return;
            }
        };
        text.truncate(start + count);
        if count == 0 {
            if !text.is_empty() {
                let _told = blocks.blocking_send(Ok(text));
            }
            return;
        }
        // What was there before holds no line feed.
        let Some(end) = memchr::memrchr(b'\n', &text[start..]) else { continue };
        let rest = text.split_off(start + end + 1);
        if blocks.blocking_send(Ok(std::mem::replace(&mut text, rest))).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its text in pieces of `step` bytes.
    struct Slow {
        text: Vec<u8>,
        step: usize,
    }

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.step.min(self.text.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.text[..count]);
            self.text.drain(..count);
            Ok(count)
        }
    }

    async fn blocks(text: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut blocks = Blocks::of(Slow { text: text.to_vec(), step }).unwrap();
        let mut all = Vec::new();
        while let Some(block) = blocks.next().await.unwrap() {
            all.push(block);
        }
        all
    }

    #[tokio::test]
    async fn no_line_is_cut_however_the_text_comes() {
        for step in 1..9 {
            let all = blocks(b"one\ntwo\n\nthree\nfour", step).await;
            assert_eq!(all.concat(), b"one\ntwo\n\nthree\nfour", "{step}");
            let (last, others) = all.split_last().unwrap();
            assert_eq!(last, b"four");
            assert!(others.iter().all(|block| block.ends_with(b"\n")), "{step}");
        }
        assert!(blocks(b"", 3).await.is_empty());
    }

    #[tokio::test]
    async fn a_long_line_is_one_block() {
        let long = [vec![b'x'; 3 * READ_BYTES], b"\n".to_vec()].concat();
        assert_eq!(blocks(&long, usize::MAX).await, [long]);
    }

    #[tokio::test]
    async fn a_failure_is_told() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("torn"))
            }
        }
        let error = Blocks::of(Broken).unwrap().next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
    }
}
