//! `tapeline simulate`: a synthetic market behind an address.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result, ResultExt as _};
use crate::simulator::{self, Config, HistoryPolicy, LimitWindow, Plan, TICKERS_DEFAULT, TICKERS_MAX};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to listen on; port 0 takes a free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8800")]
    listen: SocketAddr,
    /// What makes the market: the same seed, the same market.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// The time in the market; POST /__now?at=… moves it.
    #[arg(long, value_name = "TIME", default_value = "2024-06-28T21:00:00Z")]
    now: Timestamp,
    /// The plan that every key has.
    #[arg(long, value_enum, default_value = "unlimited")]
    plan: Plan,
    /// A file that says which requests go wrong, and how.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Serve recorded responses from this folder in place of a market.
    #[arg(long, value_name = "FOLDER")]
    replay: Option<PathBuf>,
    /// What happens to a range that begins before the plan's history.
    #[arg(long, value_enum, default_value = "refuse")]
    history_policy: HistoryPolicy,
    /// How the plan's requests are counted.
    #[arg(long, value_enum, default_value = "sliding")]
    limit_window: LimitWindow,
    /// How many tickers are listed; those after the named ones are made up.
    #[arg(long, value_name = "COUNT", default_value_t = TICKERS_DEFAULT)]
    tickers: usize,
}

/// Serves until SIGINT or SIGTERM.
pub async fn run(args: Args) -> Result<ExitCode> {
    if !(1..=TICKERS_MAX).contains(&args.tickers) {
        return Err(Error::config(format!("`--tickers` {} is not from 1 to {TICKERS_MAX}", args.tickers)));
    }
    let faults = args.faults.as_deref().map(simulator::read_faults).transpose()?.unwrap_or_default();
    let running = simulator::serve(Config {
        listen: args.listen,
        seed: args.seed,
        now: args.now,
        plan: args.plan,
        faults,
        replay: args.replay,
        history: args.history_policy,
        window: args.limit_window,
        tickers: args.tickers,
    })
    .await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", running.url())
        .and_then(|()| stdout.flush())
        .or_fail(ErrorKind::Io, || "cannot write to stdout".to_owned())?;
    signal().await?;
    running.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Waits until the process is asked to end.
async fn signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate =
        signal(SignalKind::terminate()).or_fail(ErrorKind::Io, || "cannot wait for SIGTERM".to_owned())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt.or_fail(ErrorKind::Io, || "cannot wait for SIGINT".to_owned()),
        _ = terminate.recv() => Ok(()),
    }
}
