//! A seeded synthetic market that looks like the vendor's API.
//!
//! A seed makes the whole market: who is listed, every trade of every day,
//! splits, dividends, news. Nothing depends on the wall clock except the plan's
//! rate limit: the time in the market is a parameter, and can be moved while
//! the server runs. Every fact knows since when it is known, so a request sees
//! the market as it was known at that time, and `GET /__truth` tells what a
//! perfect warehouse would hold.
//!
//! What differs from the vendor is kept small and said where it is made:
//! [`tape`] (which trades count for bars), [`dividends`] (how far back rows are
//! restated), [`fixed`] (how far ahead holidays are listed).

mod admin;
mod api;
mod bars;
mod cache;
mod columns;
mod days;
mod decimal;
mod dice;
mod disturb;
mod dividends;
mod exchange;
mod faults;
mod fixed;
mod market;
mod named;
mod news;
mod page;
mod plan;
mod price;
mod query;
mod reference;
mod replay;
mod server;
mod splits;
mod stats;
mod tape;
#[cfg(test)]
mod tests;
mod truth;
mod universe;
mod wire;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};

pub use faults::{Fault, FaultKind, Match, Rule, parse as parse_faults, read as read_faults};
pub use plan::{HistoryPolicy, LimitWindow, Plan};
use server::Server;
pub use universe::TICKERS_MAX;
use world::World;

/// A simulated market and how it is served.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What makes the market.
    pub seed: u64,
    /// The time in it.
    pub now: Timestamp,
    /// The plan of every key.
    pub plan: Plan,
    /// What goes wrong.
    pub faults: Vec<Rule>,
    /// A folder of recorded responses that are served in place of a market.
    pub replay: Option<PathBuf>,
    /// What becomes of a range that begins before the plan's history.
    pub history: HistoryPolicy,
    /// How the plan's requests are counted.
    pub window: LimitWindow,
    /// How many tickers are listed.
    pub tickers: usize,
}

/// Tickers of a market by default: all those with a name.
pub const TICKERS_DEFAULT: usize = named::NAMED.len();

/// Friday, 28 June 2024, an hour after the close.
const NOW_DEFAULT: Timestamp = Timestamp::constant(1_719_608_400, 0);

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 7,
            now: NOW_DEFAULT,
            plan: Plan::Unlimited,
            faults: Vec::new(),
            replay: None,
            history: HistoryPolicy::Refuse,
            window: LimitWindow::Sliding,
            tickers: TICKERS_DEFAULT,
        }
    }
}

/// A server at work. It stops when this is dropped.
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The task that accepts connections.
    pub handle: JoinHandle<()>,
    world: Arc<World>,
    stop: watch::Sender<bool>,
}

impl Running {
    /// The address as a base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Requests for data so far.
    pub fn requests(&self) -> u64 {
        self.world.stats.requests()
    }

    /// Requests so far that broke the plan's limit.
    pub fn rate_limited(&self) -> u64 {
        self.world.stats.rate_limited()
    }

    /// The time in the market.
    pub fn now(&self) -> Timestamp {
        self.world.now()
    }

    /// Moves the time in the market.
    pub fn set_now(&self, now: Timestamp) {
        self.world.set_now(now);
    }

    /// Ends all connections and waits until the server has stopped.
    pub async fn shutdown(self) {
        // Nobody is left to be told when the server has stopped by itself.
        let _ = self.stop.send(true);
        let _ = self.handle.await;
    }
}

/// Starts a server.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`] when the address cannot be listened on or
/// the recordings cannot be read.
pub async fn serve(config: Config) -> Result<Running> {
    let recordings = config.replay.as_deref().map(replay::Recordings::read).transpose()?;
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        Error::config(format!("cannot listen on {}", config.listen))
            .caused_by(error)
            .hint("port 0 takes a free port")
    })?;
    let addr = listener
        .local_addr()
        .map_err(|error| Error::bug("a listening socket has no address").caused_by(error))?;
    let world = Arc::new(World::new(&config));
    let server = Arc::new(Server::new(&config, Arc::clone(&world), recordings));
    let (stop, stopped) = watch::channel(false);
    let handle = tokio::spawn(server.run(listener, stopped));
    Ok(Running { addr, handle, world, stop })
}
