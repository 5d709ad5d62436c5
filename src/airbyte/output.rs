//! Messages with their moment.

use std::panic::PanicHookInfo;
use std::sync::Arc;

use jiff::Timestamp;

use super::descriptor::StreamDescriptor;
use super::messages::{ErrorTrace, Level, Log, Message, Trace};
use super::stdout::Lines;
use crate::error::{Error, FailureType, Result};
use crate::outlet;

/// Emits messages.
#[derive(Debug)]
pub struct Output {
    lines: Lines,
}

impl Output {
    /// Messages to `lines`.
    pub fn new(lines: Lines) -> Self {
        Self { lines }
    }

    /// Messages to stdout; a panic of any thread becomes one too.
    ///
    /// # Errors
    /// When the machine refuses another thread.
    #[expect(clippy::disallowed_methods, reason = "it tells them as the outlet does, and then in a message")]
    pub fn to_stdout() -> Result<Arc<Self>> {
        let output = Arc::new(Self::new(Lines::to_stdout()?));
        let for_panics = Arc::clone(&output);
        std::panic::set_hook(Box::new(move |panic| for_panics.panicked(panic)));
        Ok(output)
    }

    /// The writer, for records.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Emits a message.
    pub fn message(&self, message: &Message<'_>) {
        self.lines.message(message);
    }

    /// Emits a line for people.
    pub fn log(&self, level: Level, message: &str) {
        self.message(&Message::Log { log: Log { level, message } });
    }

    /// Emits a failure.
    pub fn error(&self, error: &Error, stream: Option<&StreamDescriptor>) {
        let (message, report) = (error.user_message(), error.report());
        let error = ErrorTrace {
            message: &message,
            internal_message: (report != message).then_some(&*report),
            failure_type: error.kind().policy().failure_type,
            stream_descriptor: stream,
        };
        self.message(&Message::Trace { trace: Trace::Error { emitted_at: now_ms(), error } });
    }

    fn panicked(&self, panic: &PanicHookInfo<'_>) {
        let internal = outlet::describe(panic);
        outlet::tell(format_args!("error: {internal}"));
        let error = ErrorTrace {
            message: "tapeline failed unexpectedly (hint: report it with this message and the version)",
            internal_message: Some(&internal),
            failure_type: FailureType::System,
            stream_descriptor: None,
        };
        let trace = Trace::Error { emitted_at: now_ms(), error };
        self.lines.last_message(&Message::Trace { trace });
    }
}

/// The wall clock's moment, whatever the data's clock is fixed to: it tells when
/// a message was emitted.
pub(super) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{self, Write};
    use std::sync::Mutex;

    use serde_json::{Value, json};

    use super::*;
    use crate::error::ErrorKind;
    use crate::secret::Secret;

    /// What a test wrote to stdout.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        /// An output whose lines are kept.
        pub(crate) fn output() -> (Arc<Output>, Self) {
            let captured = Self::default();
            (Arc::new(Output::new(Lines::to(captured.clone()).unwrap())), captured)
        }

        /// The lines, once `output` has written all of them.
        pub(crate) fn lines(&self, output: &Output) -> Vec<Value> {
            output.lines().close().unwrap();
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    #[test]
    fn messages_have_the_protocols_shape_and_no_key() {
        let (output, captured) = Captured::output();
        let _known = [Secret::new("another-of-output.rs"), Secret::new("k3y-of-output.rs")];
        output.log(Level::Warn, "the server said k3y-of-output.rs");
        let descriptor = StreamDescriptor { name: "news".to_owned(), namespace: None };
        let error = Error::new(ErrorKind::Unavailable, "GET /k3y-of-output.rs failed")
            .hint("try later")
            .caused_by(io::Error::other("reset by k3y%2Dof-output.rs"));
        output.error(&error, Some(&descriptor));
        output.error(&Error::config("`api_key` is empty"), None);
        let mut lines = captured.lines(&output);
        for line in &mut lines[1..] {
            assert!(line["trace"]["emitted_at"].as_i64().unwrap() > 1_577_836_800_000);
            line["trace"].as_object_mut().unwrap().remove("emitted_at");
        }
        assert_eq!(
            lines,
            [
                json!({"type": "LOG", "log": {"level": "WARN", "message": "the server said ***"}}),
                json!({"type": "TRACE", "trace": {"type": "ERROR", "error": {
                    "message": "GET /*** failed (hint: try later)",
                    "internal_message": "GET /*** failed (hint: try later)\n  caused by: reset by ***",
                    "failure_type": "transient_error",
                    "stream_descriptor": {"name": "news"}}}}),
                json!({"type": "TRACE", "trace": {"type": "ERROR", "error": {
                    "message": "`api_key` is empty", "failure_type": "config_error"}}}),
            ]
        );
    }

    /// The hook is the process's, so it is tried in a process of its own.
    #[test]
    fn a_panic_is_an_error_message_without_the_key() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "airbyte::output::tests::panics", "--ignored", "--nocapture"])
            .env("TAPELINE_TEST_PANICS", "1")
            .output()
            .unwrap();
        let stdout = String::from_utf8(child.stdout).unwrap();
        let stderr = String::from_utf8(child.stderr).unwrap();
        let line =
            stdout.lines().find_map(|line| line.find(r#"{"type":"TRACE""#).map(|at| &line[at..])).unwrap();
        let error = &serde_json::from_str::<Value>(line).unwrap()["trace"]["error"];
        assert_eq!(error["failure_type"], "system_error");
        let internal = error["internal_message"].as_str().unwrap();
        assert!(internal.contains("output.rs") && internal.ends_with(": a row of *** is bad"), "{internal}");
        assert!(!stdout.contains("hunter2") && !stderr.contains("hunter2"), "{stdout}{stderr}");
    }

    #[test]
    #[ignore = "panics; run by the test above"]
    fn panics() {
        if std::env::var_os("TAPELINE_TEST_PANICS").is_none() {
            return;
        }
        let _output = Output::to_stdout().unwrap();
        let _known = Secret::new("hunter2-hunter3");
        panic!("a row of {} is bad", "hunter2-hunter3");
    }
}
