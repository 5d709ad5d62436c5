use std::sync::mpsc;

use serde_json::json;

use super::*;
use crate::error::ErrorKind;

/// A reader that takes what is written only when it is told to.
struct Gate {
    open: mpsc::Receiver<()>,
    taken: Arc<Mutex<Vec<u8>>>,
    largest: Arc<Mutex<usize>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let mut largest = self.largest.lock().unwrap();
        *largest = (*largest).max(bytes.len());
        self.taken.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Taken = Arc<Mutex<Vec<u8>>>;

fn gate() -> (Lines, mpsc::Sender<()>, Taken, Arc<Mutex<usize>>) {
    let (opener, open) = mpsc::channel();
    let (taken, largest) = (Taken::default(), Arc::new(Mutex::new(0)));
    let output = Gate { open, taken: Arc::clone(&taken), largest: Arc::clone(&largest) };
    (Lines::to(output).unwrap(), opener, taken, largest)
}

/// Appends `lines` lines, as a batch does.
async fn fill(lines: &Lines, count: usize) -> Result<()> {
    let mut left = count;
    let fill = |buffer: &mut Vec<u8>, bytes: usize| {
        let end = buffer.len() + bytes;
        while left > 0 && buffer.len() < end {
            buffer.extend_from_slice(b"{\"a record\":\"of some length\"}\n");
            left -= 1;
        }
        left > 0
    };
    lines.fill(fill).await
}

#[tokio::test]
async fn lines_keep_their_order_and_nothing_is_lost() {
    let (lines, opener, taken, _) = gate();
    (0..10_000).for_each(|_| opener.send(()).unwrap());
    for round in 0..50 {
        fill(&lines, 3000).await.unwrap();
        lines.message(&json!({ "round": round }));
    }
    lines.close().unwrap();
    let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 50 * 3001);
    for (round, line) in text.lines().skip(3000).step_by(3001).enumerate() {
        assert_eq!(line, format!("{{\"round\":{round}}}"));
    }
}

#[tokio::test]
async fn a_slow_reader_holds_the_producer_back() {
    let (lines, opener, taken, largest) = gate();
    let lines = Arc::new(lines);
    let producer = tokio::spawn({
        let lines = Arc::clone(&lines);
        async move { fill(&lines, 1_000_000).await }
    });
    let held = || lines.shared.lock().buffer.len();
    while held() < BUFFER_MAX && !producer.is_finished() {
        tokio::task::yield_now().await;
    }
    // It was its turn again, with the buffer full.
    tokio::task::yield_now().await;
    assert!(!producer.is_finished());
    assert!(held() <= BUFFER_MAX + WRITE_AT + 100);
    (0..10_000).for_each(|_| opener.send(()).unwrap());
    producer.await.unwrap().unwrap();
    lines.close().unwrap();
    assert_eq!(taken.lock().unwrap().len(), 30_000_000);
    assert!(*largest.lock().unwrap() <= BUFFER_MAX + WRITE_AT + 100);
}

#[tokio::test]
async fn a_reader_that_goes_away_fails_the_producer_and_not_the_messages() {
    let (lines, opener, ..) = gate();
    drop(opener);
    let error = fill(&lines, 1_000_000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    lines.message(&json!("dropped"));
    assert_eq!(lines.check().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(lines.close().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_producer_that_panics_leaves_whole_lines() {
    let (lines, opener, taken, _) = gate();
    (0..10).for_each(|_| opener.send(()).unwrap());
    let lines = Arc::new(lines);
    let producer = tokio::spawn({
        let lines = Arc::clone(&lines);
        async move {
            let panics = |buffer: &mut Vec<u8>, _| -> bool {
                buffer.extend_from_slice(b"{}\n{\"half a line");
                panic!("a test's");
            };
            lines.fill(panics).await
        }
    });
    assert!(producer.await.unwrap_err().is_panic());
    lines.last_message(&json!("last"));
    assert_eq!(*taken.lock().unwrap(), b"{}\n\"last\"\n");
    lines.close().unwrap();
}

#[test]
fn the_last_message_gives_up_on_a_lock_that_its_own_thread_holds() {
    let (lines, ..) = gate();
    let begin = Instant::now();
    let held = lines.shared.lock();
    lines.last_message(&json!("never"));
    assert!(begin.elapsed() >= PANIC_DRAIN_MAX);
    drop(held);
}
