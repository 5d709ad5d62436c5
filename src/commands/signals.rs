//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second takes it. A
//! stderr that takes no more words asks as the first does.

use std::process;

use tokio::sync::watch;

use crate::engine::stopped;
use crate::error::{Error, ErrorKind, Result};
use crate::outlet;

/// Becomes true at the first signal, or when stderr fails. At the second the process
/// ends at once, which a sink survives as it survives any crash.
///
/// # Errors
/// [`ErrorKind::Io`] when the machine refuses to watch signals.
pub(crate) fn stop_on_signal() -> Result<watch::Receiver<bool>> {
    let refused = |error: std::io::Error| Error::new(ErrorKind::Io, "cannot watch signals").caused_by(error);
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(refused)?;
    let mut interrupt =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(refused)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        let mut urgent = false;
        let mut hears = true;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = outlet::stderr_lost(), if hears => {
                    hears = false;
                    let _listened = stop.send(true);
                    continue;
                }
            }
            if urgent {
                process::exit(i32::from(ErrorKind::Interrupted.policy().exit_code));
            }
            urgent = true;
            // Nobody listens once the run is over; then there is nothing to stop.
            let _listened = stop.send(true);
        }
    });
    Ok(stopped)
}

/// What `work` comes to, unless it shall stop before: a server that does not answer
/// must not outlast Ctrl-C.
///
/// # Errors
/// [`ErrorKind::Interrupted`], or what `work` fails with.
pub(super) async fn unless_stopped<T>(
    stop: &watch::Receiver<bool>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut stop = stop.clone();
    tokio::select! {
        biased;
        outcome = work => outcome,
        () = stopped(&mut stop) => {
            Err(Error::new(ErrorKind::Interrupted, "stopped on request before anything was moved")
                .hint("run the same command again"))
        }
    }
}
