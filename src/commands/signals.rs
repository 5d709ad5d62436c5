//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second takes it.

use std::process;

use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};

/// Becomes true at the first signal. At the second the process ends at once, which
/// a sink survives as it survives any crash.
///
/// # Errors
/// [`ErrorKind::Io`] when the machine refuses to watch signals.
pub(super) fn stop_on_signal() -> Result<watch::Receiver<bool>> {
    let refused = |error: std::io::Error| Error::new(ErrorKind::Io, "cannot watch signals").caused_by(error);
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(refused)?;
    let mut interrupt =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(refused)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        for urgent in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if urgent {
                process::exit(i32::from(ErrorKind::Interrupted.policy().exit_code));
            }
            // Nobody listens once the run is over; then there is nothing to stop.
            let _listened = stop.send(true);
        }
    });
    Ok(stopped)
}
