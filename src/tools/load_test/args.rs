//! The flags of `ringtide load-test`, and checks of their combinations.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::error::LoadError;
use super::plan::Plan;
use super::popularity::Popularity;
use super::target::SourceRange;
use super::transaction::WINDOW_MAX;
use crate::io::EngineChoice;
use crate::values::limit::{Limit, in_limit};

/// The arguments of `ringtide load-test`.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct LoadTestArgs {
    /// The tracker: an address or a name, and a port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6969")]
    pub target: String,

    /// How long to send requests
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = in_limit(DURATION))]
    pub duration: Duration,

    /// Simulated clients, each with a socket and a connection ID of its own
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = in_limit(CLIENTS))]
    pub concurrency: usize,

    /// Requests per second of each client, on a fixed schedule; 0: as fast as answers come
    #[arg(long, value_name = "N", default_value_t = 0.0, value_parser = rate)]
    pub rate: f64,

    /// Requests in flight per client, at most [default: 8, with --rate 64]
    #[arg(long, value_name = "N", value_parser = in_limit(IN_FLIGHT))]
    pub in_flight: Option<usize>,

    /// Threads that make the load
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = in_limit(WORKERS))]
    pub workers: usize,

    /// Engine of the load's loops: auto, io_uring or epoll; auto is io_uring where available
    #[arg(long, value_name = "ENGINE", default_value = "auto")]
    pub engine: EngineChoice,

    /// How long to wait for an answer; unanswered requests are repeated after this time, then after
    /// twice as long, and so on (BEP 15 uses 15s)
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = in_limit(TIMEOUT))]
    pub timeout: Duration,

    /// Torrents of each client
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = in_limit(HASHES))]
    #[arg(help_heading = CONTENT)]
    pub hashes: usize,

    /// Torrents in all
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = in_limit(TORRENTS))]
    #[arg(help_heading = CONTENT)]
    pub torrents: u32,

    /// How clients choose torrents: uniform, zipf or zipf:EXPONENT
    #[arg(long, value_name = "LAW", default_value = "uniform", help_heading = CONTENT)]
    pub popularity: Popularity,

    /// Peers to announce, over all clients; those beyond one for each client and torrent are
    /// further ports [default: --concurrency times --hashes]
    #[arg(long, value_name = "N", value_parser = in_limit(PEERS), help_heading = CONTENT)]
    pub peers: Option<usize>,

    /// Share of the peers that start as seeders, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, value_parser = share)]
    #[arg(help_heading = CONTENT)]
    pub seeders: f64,

    /// Share of the announces that say completed or stopped, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, value_parser = share)]
    #[arg(help_heading = CONTENT)]
    pub churn: f64,

    /// Peers wanted in an answer; -1 leaves it to the tracker
    #[arg(long, value_name = "N", default_value_t = 50, allow_negative_numbers = true)]
    #[arg(value_parser = in_limit(NUMWANT), help_heading = CONTENT)]
    pub numwant: i32,

    /// Announces of a client between two of its scrapes; 0: no scrapes
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = in_limit(SCRAPE_EVERY))]
    #[arg(help_heading = CONTENT)]
    pub scrape_every: u32,

    /// Seed of the run: the same one gives the same clients, torrents and peers [default: random]
    #[arg(long, value_name = "N", help_heading = CONTENT)]
    pub seed: Option<u64>,

    /// Addresses that clients send from, one each [default: 127.0.0.0/16 to 127.0.0.0/8, else
    /// the host's own]
    #[arg(long, value_name = "NETWORK", help_heading = SENDING)]
    pub source_range: Option<SourceRange>,

    /// Whether announces of one client that are due together leave in one send (UDP_SEGMENT);
    /// auto: in a closed loop only
    #[arg(long, value_name = "MODE", default_value = "auto", help_heading = SENDING)]
    pub coalesce: Coalesce,

    /// Also report CPU time and memory of this process, the tracker
    #[arg(long, value_name = "PID", help_heading = REPORTS)]
    pub pid: Option<u32>,

    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    pub json: Option<PathBuf>,

    /// Also write the report to this file as a page with charts
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    pub html: Option<PathBuf>,
}

/// Whether requests share a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Coalesce {
    /// In a closed loop.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl LoadTestArgs {
    /// Checks what the flags must fulfil together.
    ///
    /// # Errors
    /// Which do not, and what would.
    pub fn check(&self) -> Result<(), LoadError> {
        let wrong = |problem: String, advice| Err(LoadError::Flags { problem, advice });
        if self.hashes > self.torrents as usize {
            let problem = format!(
                "--hashes {} asks for more torrents than --torrents {} are",
                self.hashes, self.torrents
            );
            return wrong(problem, "raise --torrents, or lower --hashes");
        }
        if self.peers.is_some_and(|peers| peers < self.concurrency) {
            let problem = format!(
                "--peers {} leaves some of --concurrency {} without a peer to announce",
                self.peers.unwrap_or(0),
                self.concurrency
            );
            return wrong(problem, "raise --peers, or lower --concurrency");
        }
        if self.workers > self.concurrency {
            let problem = format!(
                "--workers {} have no client each with --concurrency {}",
                self.workers, self.concurrency
            );
            return wrong(problem, "lower --workers, or raise --concurrency");
        }
        if self.concurrency.div_ceil(self.workers) > CLIENTS_PER_WORKER_MAX {
            let problem = format!(
                "--concurrency {} is more than --workers {} can serve",
                self.concurrency, self.workers
            );
            return wrong(problem, "use a worker for every 30,000 clients");
        }
        Ok(())
    }

    /// The plan for `target`.
    pub(super) fn plan(&self, target: std::net::SocketAddr) -> Plan {
        let closed = self.rate == 0.0;
        let usual = if closed { IN_FLIGHT_CLOSED } else { WINDOW_MAX };
        Plan {
            target,
            clients: self.concurrency,
            rate: (!closed).then_some(self.rate),
            in_flight: self.in_flight.unwrap_or(usual),
            duration: self.duration,
            timeout: self.timeout,
            hashes: self.hashes,
            torrents: self.torrents,
            popularity: self.popularity,
            peers: self.peers.unwrap_or(self.concurrency * self.hashes),
            seeders: self.seeders,
            churn: self.churn,
            numwant: self.numwant,
            scrape_every: (self.scrape_every > 0).then_some(self.scrape_every),
            coalesce: match self.coalesce {
                Coalesce::Auto => closed,
                Coalesce::On => true,
                Coalesce::Off => false,
            },
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..SEED_DRAWN_MAX)),
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    in_range(text, 1e6, |rate| rate == 0.0 || rate >= 0.001)
        .ok_or_else(|| "allowed is 0, or 0.001 to 1000000 requests per second".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    in_range(text, 1.0, |share| share >= 0.0)
        .ok_or_else(|| "allowed is 0 to 1, such as 0.3".to_owned())
}

fn in_range(text: &str, max: f64, fits: impl Fn(f64) -> bool) -> Option<f64> {
    text.parse().ok().filter(|value| *value <= max && fits(*value))
}

const DURATION: Limit<Duration> = Limit {
    min: Duration::from_millis(100),
    max: Duration::from_secs(30 * 86_400),
    because: "shorter measures nothing, and longer does not end",
};
const TIMEOUT: Limit<Duration> = Limit {
    min: Duration::from_millis(10),
    max: Duration::from_secs(60),
    because: "it is looked at every 100 ms, and the end of a run waits for it",
};
const CLIENTS: Limit<usize> =
    Limit { min: 1, max: 240_000, because: "each has a socket and keeps its requests in memory" };
const WORKERS: Limit<usize> = Limit { min: 1, max: 256, because: "each is a thread with a ring" };
const IN_FLIGHT: Limit<usize> =
    Limit { min: 1, max: WINDOW_MAX, because: "one send carries no more" };
const HASHES: Limit<usize> =
    Limit { min: 1, max: 1_000_000, because: "every client keeps a list of its torrents" };
const TORRENTS: Limit<u32> =
    Limit { min: 1, max: 100_000_000, because: "popularity is a table in memory" };
const PEERS: Limit<usize> =
    Limit { min: 1, max: 1_000_000_000, because: "the generator keeps 12 bytes for each" };
const NUMWANT: Limit<i32> =
    Limit { min: -1, max: 10_000, because: "no answer holds more, and -1 is the only negative" };
const SCRAPE_EVERY: Limit<u32> =
    Limit { min: 0, max: 1_000_000_000, because: "0 stands for no scrapes" };

/// The completion queue has room for 65,536 events, two of which each socket may need.
const CLIENTS_PER_WORKER_MAX: usize = 30_000;

const IN_FLIGHT_CLOSED: usize = 8;

/// Drawn seeds are short enough to type.
const SEED_DRAWN_MAX: u64 = 1_000_000_000;

const CONTENT: &str = "Requests";
const SENDING: &str = "Sending";
const REPORTS: &str = "Reports";

const HELP: &str = "\
Examples:
  ringtide load-test                                        the tracker on this host, for 30 s
  ringtide load-test --target tracker.example.org:6969 --rate 1 --concurrency 500
  ringtide load-test --concurrency 1000 --duration 60s --html report.html --json report.json
  ringtide load-test --torrents 1000000 --hashes 20000 --peers 2000000 --pid $(pidof ringtide)

Clients connect, announce their torrents one after the other (started, then regularly, some
completed, some stopped), scrape now and then, and renew their connection ID before it is two
minutes old. Every answer is checked: transaction ID, action, length, addresses and counts.

Closed loop (--rate 0): each client keeps --in-flight requests in flight and sends the next ones as
answers arrive. It measures how much a tracker can do; latency is then that of a full queue.
Open loop (--rate): each request has a scheduled time, regardless of earlier ones, and latency
counts from that time, so that a stall of the tracker shows in full. It measures how fast a tracker
answers at a given load.

A super-packet (--coalesce) reaches one socket of the tracker as a whole: a tracker with several
workers that steers by info hash sees it steered by its first request. Use --coalesce off there.

Test only your own trackers: to anyone else this is a flood.

Exit codes:
  0  done; at least 99.9 % of the requests were answered correctly
  1  more than 0.1 % failed, nothing answered, or a failure at run time
  2  wrong arguments; nothing was sent";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Outer {
        #[command(flatten)]
        args: LoadTestArgs,
    }

    fn parsed(flags: &str) -> LoadTestArgs {
        Outer::parse_from(["x"].into_iter().chain(flags.split_whitespace())).args
    }

    #[test]
    fn defaults_make_a_closed_loop() {
        let args = parsed("");
        args.check().unwrap();
        let plan = args.plan("127.0.0.1:6969".parse().unwrap());
        assert_eq!((plan.rate, plan.in_flight, plan.coalesce, plan.peers), (None, 8, true, 500));
        let plan = parsed("--rate 10 --seed 7").plan("127.0.0.1:6969".parse().unwrap());
        assert_eq!((plan.rate, plan.in_flight, plan.coalesce), (Some(10.0), 64, false));
        assert_eq!((plan.seed, plan.scrape_every), (7, Some(20)));
        let plan = parsed("--scrape-every 0 --numwant -1 --coalesce on --rate 1 --in-flight 3");
        let plan = plan.plan("127.0.0.1:6969".parse().unwrap());
        assert_eq!((plan.scrape_every, plan.numwant, plan.coalesce), (None, -1, true));
        assert_eq!(plan.in_flight, 3);
    }

    #[test]
    fn flags_must_go_together() {
        for (flags, problem) in [
            ("--hashes 101", "--hashes 101"),
            ("--peers 99", "--peers 99"),
            ("--workers 3 --concurrency 2", "--workers 3"),
            ("--concurrency 30001", "--concurrency 30001"),
        ] {
            let error = parsed(flags).check().unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(problem), "{error}");
        }
    }

    #[test]
    fn values_must_be_in_range() {
        for flags in [
            "--rate -1",
            "--rate 0.0001",
            "--rate NaN",
            "--seeders 1.1",
            "--churn x",
            "--duration 1ms",
            "--in-flight 65",
            "--numwant -2",
            "--source-range ::/0",
            "--popularity normal",
            "--coalesce maybe",
        ] {
            let words = ["x"].into_iter().chain(flags.split_whitespace());
            assert!(Outer::try_parse_from(words).is_err(), "{flags}");
        }
    }
}
