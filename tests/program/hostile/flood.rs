//! Floods of valid announces with random info hashes and ports, against the program itself: what
//! it holds stays within `memory_limit`, and who was there or comes newly is served.
//!
//! What these print is in `developer_docs/reliability.md`. `scripts/flood.sh` makes the same with a
//! larger limit and more announces, by the variables below.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use fastrand::Rng;
use nix::sys::signal::Signal;
use ringtide::tracker::core::InfoHash;
use ringtide::values::units::format_size;
use ringtide::wire::bep15::request_field;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Ask, Binary, Client, RINGTIDE, give_away, hash};

/// What swarms may take.
const LIMIT_VARIABLE: &str = "RINGTIDE_FLOOD_MIB";
const LIMIT_MIB: u64 = 16;
/// Announces of each address family.
const ANNOUNCES_VARIABLE: &str = "RINGTIDE_FLOOD_ANNOUNCES";
const ANNOUNCES: u64 = 300_000;
const WORKERS: u64 = 2;
/// What `developer_docs/reliability.md` allows beside the limit: the program and its libraries, and
/// what each worker uses of its buffers and of the allocator's.
const RESIDENT_BYTES_PROGRAM: u64 = 24 << 20;
const RESIDENT_BYTES_WORKER: u64 = 12 << 20;

/// A program with two workers, a control socket, and a state directory.
struct Flooded {
    binary: Binary,
    directory: TempDir,
}

impl Flooded {
    fn start(limit_mib: u64) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), limit_mib)
    }

    fn start_in(directory: TempDir, limit_mib: u64) -> Self {
        let text = format!(
            "workers = {WORKERS}\nreport_interval = \"0s\"\n[privileges]\nuser = \"65534\"\n\
             [control]\nsocket = \"control.sock\"\n[state]\ndirectory = \"state\"\n[tracker]\n\
             listen = [\"127.0.0.1:0\", \"[::1]:0\"]\nmemory_limit = \"{limit_mib}MiB\"\n"
        );
        fs::write(directory.path().join("r.toml"), text).unwrap();
        give_away(directory.path());
        let mut command = Command::new(RINGTIDE);
        command.args(["run", "--log-format", "json", "-c"]).arg(directory.path().join("r.toml"));
        let binary = Binary::spawn(command);
        binary.event("serving");
        Self { binary, directory }
    }

    /// A client on an address of its own, of the first or the second family.
    fn client(&self, source: &str) -> Client {
        let event = self.binary.event("serving");
        let listen = event["listen"].as_str().unwrap().to_owned();
        let index = usize::from(source.contains(':'));
        Client::at(source, listen.split(", ").nth(index).unwrap().parse().unwrap())
    }

    fn stats(&self) -> Value {
        let mut command = Command::new(RINGTIDE);
        command.args(["ctl", "--socket"]).arg(self.directory.path().join("control.sock"));
        let output = command.args(["stats", "--json"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Stops it, which saves the swarms; its last words.
    fn stop(mut self) -> (TempDir, Value) {
        self.binary.signal(Signal::SIGTERM);
        assert_eq!(self.binary.exit().code(), Some(0), "{:?}", self.binary.lines());
        (self.directory, self.binary.event("summary"))
    }
}

/// What was resident and stored at one time.
struct Sample {
    resident_bytes: u64,
    torrents: u64,
    evicted: u64,
}

fn sample(flooded: &Flooded, announced: u64, limit_mib: u64) -> Sample {
    let stats = flooded.stats();
    let (tracker, process) = (&stats["tracker"], &stats["process"]);
    let number = |value: &Value| value.as_u64().unwrap();
    let holdings = &tracker["holdings"];
    let resident_bytes = number(&process["rss_bytes"]);
    let accounted = number(&holdings["memory_bytes"]);
    let torrents = number(&holdings["torrents_ipv4"]) + number(&holdings["torrents_ipv6"]);
    let counters = &tracker["counters"];
    let evicted = number(&counters["torrents_evicted"]);
    let refused = number(&counters["unstored_memory_limit"]);
    println!(
        "{announced:>9} announces: {:>7.1} MiB resident, {:>6.1} MiB accounted, {torrents:>8} \
         torrents, {evicted:>8} evicted, {refused} refused",
        mib(resident_bytes),
        mib(accounted),
    );
    assert!(accounted <= number(&tracker["memory_limit_bytes"]), "{tracker}");
    let allowed = (limit_mib << 20) + RESIDENT_BYTES_PROGRAM + WORKERS * RESIDENT_BYTES_WORKER;
    assert!(resident_bytes <= allowed, "{} resident", format_size(resident_bytes));
    Sample { resident_bytes, torrents, evicted }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Announces torrents that nobody else has, from random ports.
struct Flood {
    sources: Vec<(Client, [u8; 98])>,
    rng: Rng,
}

impl Flood {
    fn from(flooded: &Flooded, sources: impl Iterator<Item = String>, seed: u64) -> Self {
        let source = |address: String| {
            let client = flooded.client(&address);
            let request = client.announce_request(&Ask::leecher(hash(0), 1).numwant(0));
            (client, request)
        };
        Self { sources: sources.map(source).collect(), rng: Rng::with_seed(seed) }
    }

    /// Gets new connection IDs: on a slow machine a flood lasts longer than one is good for.
    fn renew(&mut self) {
        for (client, request) in &mut self.sources {
            client.connect();
            *request = client.announce_request(&Ask::leecher(hash(0), 1).numwant(0));
        }
    }

    /// One announce of each of [`WINDOW`], and their answers.
    fn turn(&mut self) {
        let index = self.rng.usize(..self.sources.len());
        let (client, request) = &mut self.sources[index];
        for _ in 0..WINDOW {
            self.rng.fill(&mut request[request_field::INFO_HASH]);
            let port = self.rng.u16(1..).to_be_bytes();
            request[request_field::PORT].copy_from_slice(&port);
            client.send(&*request);
        }
        (0..WINDOW).for_each(|_| assert_eq!(client.receive().len(), 20));
    }
}

const WINDOW: u64 = 100;
/// EventLoop between two samples.
const SAMPLES: u64 = 8;

/// Swarms of peers at several addresses: small ones and a large one.
fn establish(flooded: &Flooded) {
    for source in ["127.0.1.1", "127.0.1.2", "127.0.1.3"] {
        let client = flooded.client(source);
        (1..=SMALL_SWARMS).for_each(|torrent| {
            client.announce(&Ask::leecher(hash(torrent), 1));
        });
        (1..=40).for_each(|port| {
            client.announce(&Ask::leecher(hash(0), port));
        });
    }
    let client = flooded.client("::1");
    (1..=100).for_each(|port| {
        client.announce(&Ask::leecher(hash(0), port));
    });
}

fn assert_established(flooded: &Flooded) {
    let client = flooded.client("127.0.1.4");
    for torrent in 1..=SMALL_SWARMS {
        assert_eq!(client.scrape_one(hash(torrent)), (0, 0, 3), "torrent {torrent}");
    }
    assert_eq!(client.scrape_one(hash(0)), (0, 0, 120));
    assert_eq!(flooded.client("::1").scrape_one(hash(0)), (0, 0, 100));
}

const SMALL_SWARMS: u32 = 100;

fn number_from(variable: &str, usual: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// Floods the program until every announce is sent, with newcomers in between. Returns the samples.
fn flood(
    flooded: &Flooded,
    flood: &mut Flood,
    announces: u64,
    limit_mib: u64,
    newcomers: &[Client; 2],
) -> Vec<Sample> {
    let mut samples = Vec::new();
    let turns = announces / WINDOW;
    for turn in 0..turns {
        flood.turn();
        if turn % (turns / 100).max(1) == 0 {
            flood.renew();
            newcomers.iter().for_each(|newcomer| _ = newcomer.connect());
            assert_newcomer(&mut flood.rng, newcomers);
        }
        if (turn + 1) % (turns / SAMPLES).max(1) == 0 {
            samples.push(sample(flooded, (turn + 1) * WINDOW, limit_mib));
        }
    }
    samples
}

/// A new torrent is stored, and the next who comes learns of it.
fn assert_newcomer(rng: &mut Rng, [first, second]: &[Client; 2]) {
    let new = InfoHash(std::array::from_fn(|_| rng.u8(..)));
    assert_eq!(first.announce(&Ask::seeder(new, 4001)).counts(), (1, 0));
    let told = second.announce(&Ask::leecher(new, 4002));
    assert_eq!((told.counts(), told.ports()), ((1, 1), vec![4001]));
}

#[test]
fn a_flood_stays_within_the_memory_limit_and_locks_nobody_out() {
    let limit_mib = number_from(LIMIT_VARIABLE, LIMIT_MIB);
    let announces = number_from(ANNOUNCES_VARIABLE, ANNOUNCES);
    let flooded = Flooded::start(limit_mib);
    establish(&flooded);
    println!("memory_limit {limit_mib} MiB, {WORKERS} workers");
    sample(&flooded, 0, limit_mib);
    let families = [("127.0.2.", "127.0.3."), ("::1", "::1")];
    for (seed, (sources, others)) in (1..).zip(families) {
        let is_ipv4 = sources.ends_with('.');
        let address = |prefix: &str, host: u32| match is_ipv4 {
            true => format!("{prefix}{host}"),
            false => prefix.to_owned(),
        };
        let hosts = if is_ipv4 { 64 } else { 1 };
        let hosts = (1..=hosts).map(|host| address(sources, host));
        let mut source = Flood::from(&flooded, hosts, seed);
        let newcomers = [1, 2].map(|host| flooded.client(&address(others, host)));
        let began = Instant::now();
        let samples = flood(&flooded, &mut source, announces, limit_mib, &newcomers);
        let [.., earlier, last] = &samples[..] else { panic!("too few announces to tell") };
        println!("IPv{}: {:.1?}", if is_ipv4 { 4 } else { 6 }, began.elapsed());
        // Nearly each announce displaces a torrent by now.
        let (displaced, step) = (last.evicted - earlier.evicted, announces / SAMPLES);
        assert!(10 * displaced > 9 * step, "{displaced} of {step}: {announces} are no flood");
        // Flat: what is full takes no more.
        assert!(last.resident_bytes <= earlier.resident_bytes + RESIDENT_BYTES_STEP);
        assert_established(&flooded);
    }
    let (_, summary) = flooded.stop();
    println!("{summary}");
}

/// Pages that come into use by and by, as the allocator and the workers' buffers have it.
const RESIDENT_BYTES_STEP: u64 = 2 << 20;

#[test]
fn what_was_saved_beyond_the_limit_is_loaded_as_far_as_it_goes() {
    let flooded = Flooded::start(4 * LIMIT_MIB);
    establish(&flooded);
    let mut source = Flood::from(&flooded, (1..9).map(|host| format!("127.0.2.{host}")), 3);
    for turn in 0..ANNOUNCES / WINDOW {
        if turn % 100 == 0 {
            source.renew();
        }
        source.turn();
    }
    let stored = sample(&flooded, ANNOUNCES, 4 * LIMIT_MIB).torrents;
    let (directory, _) = flooded.stop();
    assert!(is_saved(directory.path()));

    let flooded = Flooded::start_in(directory, LIMIT_MIB);
    let loaded = flooded.binary.event("loaded swarm");
    println!("{loaded}");
    let after = sample(&flooded, 0, LIMIT_MIB);
    assert!(after.torrents < stored && loaded["refused"].as_u64() > Some(stored / 4));
    assert_eq!(loaded["torrents"].as_u64(), Some(after.torrents));
    assert_established(&flooded);
    let newcomers = ["127.0.3.1", "127.0.3.2"].map(|source| flooded.client(source));
    for _ in 0..100 {
        assert_newcomer(&mut Rng::new(), &newcomers);
    }
}

fn is_saved(directory: &Path) -> bool {
    directory.join("state").join("swarms").exists()
}
