//! Requests through the whole control interface, without a socket.
//!
//! Input: a byte of choices (bit 0 a relay, bit 1 an access list, bit 2 no tracker and so no list),
//! then requests, each behind three bytes: choices (bits 0 to 2 the method, bit 3 a claim that the
//! body is longer than allowed) and the body's length; then the path up to the end of the line,
//! then the body.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{StatusCode, Uri};
use ringtide::io::clock::Clock;
use ringtide::io::{Engine, RingFeatures};
use ringtide::relay::Rule;
use ringtide::server::api::commands::{
    AdminOps, ApiError, CommandQueue, ReloadOutcome, command_channel,
};
use ringtide::server::api::view::{TrackerView, View};
use ringtide::server::api::{Api, answering};
use ringtide::server::config::rule_spec::{RuleChanges, RuleSpec, read_rules};
use ringtide::server::config::{Settings, render};
use ringtide::server::sandbox::Confinement;
use ringtide::telemetry::log::LogFilter;
use ringtide::tracker::core::InfoHash;
use ringtide::tracker::core::access_list::{AccessList, AccessMode};
use ringtide::tracker::core::policy::{Policy, SharedPolicy};
use ringtide::tracker::store::{Secrets, Shards};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::description::{check, description};
use super::input::{Input, bit};

const REQUESTS_MAX: usize = 32;
const METHODS: [&str; 8] = ["GET", "PUT", "PATCH", "POST", "DELETE", "HEAD", "OPTIONS", "BREW"];
/// Further states are like those before.
const RULES_MAX: usize = 64;

thread_local! {
    /// What every input can share: nothing in it changes.
    static COMMON: Common = Common::new();
}

struct Common {
    runtime: Runtime,
    shards: Arc<Shards>,
    description: Value,
}

impl Common {
    fn new() -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
            shards: Arc::new(Shards::new(2, &Secrets::from_seed(&[7; Secrets::SEED_BYTES]))),
            description: description(),
        }
    }
}

pub fn run(data: &[u8]) {
    COMMON.with(|common| {
        let mut input = Input::new(data);
        let choices = input.byte();
        let (sender, commands) = command_channel().unwrap();
        let mut process = Process::new(choices);
        let api = Api::new(Arc::new(process.view(common, choices)), sender);
        let answer = answering(api);
        for _ in 0..REQUESTS_MAX {
            if input.is_empty() || process.rules.as_ref().is_some_and(|r| r.len() > RULES_MAX) {
                break;
            }
            let Some(asked) = Asked::read(&mut input) else { continue };
            let before = process.state();
            let answered = common.runtime.block_on(async {
                let mut response = pin!(answer(asked.request()));
                let response = loop {
                    tokio::select! {
                        biased;
                        response = &mut response => break response,
                        () = tokio::task::yield_now() => process.run_commands(&commands),
                    }
                };
                let (parts, body) = response.into_parts();
                let json = parts.headers.get("content-type").is_some_and(|kind| kind == JSON);
                let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
                Answered { status: parts.status, json, body }
            });
            answered.check(&common.description, &asked);
            process.check(&asked, &answered, &before);
        }
    });
}

const JSON: &str = "application/json";

/// A request that a client of HTTP can make.
struct Asked<'a> {
    method: &'static str,
    uri: Uri,
    claims_too_much: bool,
    body: &'a [u8],
}

impl<'a> Asked<'a> {
    fn read(input: &mut Input<'a>) -> Option<Self> {
        let (choices, length) = (input.byte(), input.word());
        let uri = Uri::try_from(input.line()).ok();
        let body = input.take(length.into());
        Some(Self {
            method: METHODS[usize::from(choices & 7)],
            uri: uri?,
            claims_too_much: bit(choices, 3),
            body,
        })
    }

    fn request(&self) -> Request {
        let mut request = Request::builder().method(self.method).uri(self.uri.clone());
        if self.claims_too_much {
            request = request.header("content-length", "1048577");
        }
        request.body(Body::from(self.body.to_vec())).unwrap()
    }

    /// The description of this path, if there is one.
    fn operations<'d>(&self, description: &'d Value) -> Option<&'d Value> {
        let path = self.uri.path();
        let is_hash = |rest: &str| !rest.is_empty() && !rest.contains('/');
        let described = match path.strip_prefix("/api/v1/torrents/") {
            Some(rest) if is_hash(rest) => "/api/v1/torrents/{info_hash}",
            _ => path,
        };
        description["paths"].get(described)
    }

    fn method_described(&self) -> String {
        if self.method == "HEAD" { "get".to_owned() } else { self.method.to_lowercase() }
    }
}

struct Answered {
    status: StatusCode,
    json: bool,
    body: Vec<u8>,
}

impl Answered {
    /// The status and the shape are those that the description has.
    fn check(&self, description: &Value, asked: &Asked<'_>) {
        let place = format!("{} {}: {}", asked.method, asked.uri, self.status);
        let bytes_max = ANSWER_BYTES_MAX + ANSWER_BYTES_PER_BYTE_MAX * asked.body.len();
        assert!(self.body.len() <= bytes_max, "{place}: {} bytes", self.body.len());
        let error = &description["components"]["schemas"]["Error"];
        let status = self.status.as_u16();
        let operations = asked.operations(description);
        let operation = operations.map(|operations| &operations[asked.method_described()]);
        let schema = match operation {
            _ if asked.claims_too_much => {
                assert_eq!(status, 413, "{place}");
                Some(error)
            }
            None => {
                assert_eq!(status, 404, "{place}");
                Some(error)
            }
            Some(Value::Null) => {
                assert_eq!(status, 405, "{place}");
                Some(error)
            }
            Some(operation) => {
                let response = &operation["responses"][status.to_string()];
                assert!(response.is_object(), "{place} is not described");
                response["content"][JSON].get("schema")
            }
        };
        if asked.method == "HEAD" {
            return assert!(self.body.is_empty(), "{place}: a body for HEAD");
        }
        let Some(schema) = schema else { return };
        assert!(self.json, "{place}: not JSON");
        let value: Value = serde_json::from_slice(&self.body).unwrap();
        check(description, schema, &value, &place);
    }
}

/// What stands in for the process: it keeps what the process would put in force, and reads it with
/// the same functions.
struct Process {
    rules: Option<Vec<Rule>>,
    policy: SharedPolicy,
    has_list: bool,
    filter: LogFilter,
    wait: Option<Duration>,
}

/// What is in force.
#[derive(Debug, PartialEq)]
struct State {
    rules: Option<Vec<RuleSpec>>,
    hashes: Vec<InfoHash>,
    filter: LogFilter,
    wait: Option<Duration>,
}

impl Process {
    fn new(choices: u8) -> Self {
        let mode = if bit(choices, 1) { AccessMode::Allow } else { AccessMode::Off };
        let access = AccessList::parse("", mode).unwrap();
        Self {
            rules: bit(choices, 0).then(Vec::new),
            policy: SharedPolicy::new(Policy { access, ..Policy::default() }, [7; 2]),
            has_list: bit(choices, 1) && !bit(choices, 2),
            filter: LogFilter::default(),
            wait: None,
        }
    }

    fn view(&self, common: &Common, choices: u8) -> View {
        let tracker = TrackerView {
            addresses: Vec::new(),
            steered: true,
            steering: "on",
            sockets: Vec::new(),
            policy: self.policy.clone(),
            shards: Arc::clone(&common.shards),
            torrent_sizes: Arc::default(),
        };
        View {
            clock: Clock::start(),
            started: Instant::now(),
            engine: Engine::Epoll,
            features: RingFeatures::NONE,
            privileges: Confinement::default(),
            broker: None,
            workers: Vec::new(),
            tracker: (!bit(choices, 2)).then_some(tracker),
            relay: None,
            draining: false.into(),
        }
    }

    fn run_commands(&mut self, commands: &CommandQueue) {
        while let Some(command) = commands.next() {
            command(self);
        }
    }

    fn state(&self) -> State {
        State {
            rules: self.rules.as_ref().map(|rules| specs(rules)),
            hashes: self.policy.current().access.hashes().to_vec(),
            filter: self.filter.clone(),
            wait: self.wait,
        }
    }

    /// What is only asked, or refused, changes nothing. What is answered is what is in force.
    fn check(&self, asked: &Asked<'_>, answered: &Answered, before: &State) {
        let now = self.state();
        if !answered.status.is_success() || ["GET", "HEAD"].contains(&asked.method) {
            assert_eq!(now, *before, "{} {}", asked.method, asked.uri);
            return;
        }
        let value: Value = serde_json::from_slice(&answered.body).unwrap();
        match asked.uri.path() {
            "/api/v1/rules" => {
                let told: Vec<RuleSpec> = serde_json::from_value(value["rules"].clone()).unwrap();
                assert_eq!(Some(&told), now.rules.as_ref(), "the rules in force");
                let (again, _) = read_rules(&told).unwrap();
                assert_eq!(Some(&again), self.rules.as_ref(), "rules that are told can be put");
            }
            "/api/v1/access" => assert_eq!(value["hashes"], now.hashes.len()),
            "/api/v1/log-level" => assert_eq!(value["filter"], now.filter.as_str()),
            _ => {}
        }
    }
}

fn specs(rules: &[Rule]) -> Vec<RuleSpec> {
    rules.iter().map(RuleSpec::from).collect()
}

fn absent() -> ApiError {
    ApiError::conflict("it is not there", "have one")
}

impl AdminOps for Process {
    fn rules(&self) -> Result<Vec<RuleSpec>, ApiError> {
        self.rules.as_ref().map(|rules| specs(rules)).ok_or_else(absent)
    }

    fn replace_rules(&mut self, rules: &[RuleSpec]) -> Result<Vec<String>, ApiError> {
        let (rules, warnings) = read_rules(rules)?;
        *self.rules.as_mut().ok_or_else(absent)? = rules;
        Ok(warnings)
    }

    fn change_rules(&mut self, changes: RuleChanges) -> Result<Vec<String>, ApiError> {
        let rules = self.rules.as_ref().ok_or_else(absent)?;
        let list = changes.apply(rules)?;
        self.replace_rules(&list)
    }

    fn change_access(&mut self, add: &[InfoHash], remove: &[InfoHash]) -> Result<usize, ApiError> {
        if !self.has_list {
            return Err(absent());
        }
        let policy = self.policy.current();
        let access = policy.access.changed(add, remove).map_err(|_| absent())?;
        let hashes = access.len();
        self.policy.replace(Policy { access, settings: policy.settings.clone() });
        Ok(hashes)
    }

    fn reload_access(&mut self) -> Result<usize, ApiError> {
        if self.has_list { Ok(self.policy.current().access.len()) } else { Err(absent()) }
    }

    fn configuration(&self) -> (String, Option<String>) {
        (render(&Settings::default()), None)
    }

    fn reload(&mut self) -> Result<ReloadOutcome, ApiError> {
        Ok(ReloadOutcome::default())
    }

    fn save(&mut self) -> Result<Vec<String>, ApiError> {
        Err(absent())
    }

    fn log_level(&self) -> String {
        self.filter.as_str().to_owned()
    }

    fn set_log_level(&mut self, filter: &str) -> Result<(), ApiError> {
        self.filter =
            LogFilter::parse(filter).map_err(|error| ApiError::invalid(error.to_string(), "no"))?;
        Ok(())
    }

    fn drain(&mut self, wait: Duration) {
        self.wait = Some(wait);
    }
}

/// The dashboard, and the metrics of a process with nothing to tell.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// What a body can lead to: every problem in it is told, with its place.
const ANSWER_BYTES_PER_BYTE_MAX: usize = 256;
