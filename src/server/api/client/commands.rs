//! The commands: what each requests, and how the answer is shown.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::CtlError;
use super::args::{AccessCommand, ConfigCommand, CtlArgs, CtlCommand, RuleArgs, RulesCommand};
use super::http::{Client, Reply};
use super::stats;
use super::table::{Table, number};
use crate::server::api::commands::ReloadOutcome;
use crate::server::api::stats::Stats;
use crate::server::api::{
    Access, AccessChanges, Check, Checked, Configuration, Health, LogLevel, Rules, Saved, Swarm,
    Top, Version,
};
use crate::server::config;
use crate::server::config::rule_spec::{NumberOrWord, OutputSpec, RuleChanges, RuleSpec};

pub(super) type Print<'a> = &'a mut dyn FnMut(&str) -> io::Result<()>;

/// Runs the command. Returns false if the process is unhealthy.
pub(super) fn run(args: &CtlArgs, client: &Client, print: Print<'_>) -> Result<bool, CtlError> {
    let mut session = Session { client, json: args.json, print };
    match &args.command {
        CtlCommand::Version => session.get("/version", |version: Version| {
            format!("ringtide {}, interface version {}\n", version.ringtide, version.api)
        }),
        CtlCommand::Health => return session.health(),
        CtlCommand::Stats { watch: None } => {
            session.get("/stats", |stats: Stats| stats::render(&stats, None))
        }
        CtlCommand::Stats { watch: Some(interval) } => session.watch(*interval),
        CtlCommand::Rules(command) => session.rules(command),
        CtlCommand::Access(command) => session.access(command),
        CtlCommand::Config(command) => session.config(command),
        CtlCommand::Top { limit } => {
            session.get(&format!("/torrents?limit={limit}"), |top: Top| show_top(&top))
        }
        CtlCommand::Swarm { hash } => {
            session.get(&format!("/torrents/{hash}"), |swarm: Swarm| show_swarm(&swarm))
        }
        CtlCommand::LogLevel { filter } => {
            let show = |level: LogLevel| format!("{}\n", level.filter);
            match filter.clone() {
                None => session.get("/log-level", show),
                Some(filter) => session.put("/log-level", &LogLevel { filter }, show),
            }
        }
        CtlCommand::Drain { wait, detach } => session.drain(wait.as_deref(), *detach),
    }?;
    Ok(true)
}

pub(super) struct Session<'a> {
    pub(super) client: &'a Client,
    pub(super) json: bool,
    pub(super) print: Print<'a>,
}

impl Session<'_> {
    fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
        show: impl FnOnce(T) -> String,
    ) -> Result<(), CtlError> {
        let answer = self.client.get(path)?;
        self.show(answer, show)
    }

    fn put<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
        show: impl FnOnce(T) -> String,
    ) -> Result<(), CtlError> {
        let answer = self.client.ask(Method::PUT, path, Some(body))?;
        self.show(answer, show)
    }

    fn patch<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
        show: impl FnOnce(T) -> String,
    ) -> Result<(), CtlError> {
        let answer = self.client.ask(Method::PATCH, path, Some(body))?;
        self.show(answer, show)
    }

    pub(super) fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
        show: impl FnOnce(T) -> String,
    ) -> Result<(), CtlError> {
        let answer = self.client.ask(Method::POST, path, Some(body))?;
        self.show(answer, show)
    }

    fn show<T: DeserializeOwned>(
        &mut self,
        answer: Value,
        show: impl FnOnce(T) -> String,
    ) -> Result<(), CtlError> {
        let text = if self.json { format!("{answer}\n") } else { show(self.read(answer)?) };
        (self.print)(&text).map_err(CtlError::Output)
    }

    pub(super) fn read<T: DeserializeOwned>(&self, answer: Value) -> Result<T, CtlError> {
        serde_json::from_value(answer).map_err(|error| self.client.garbled(error.to_string()))
    }

    fn health(&mut self) -> Result<bool, CtlError> {
        let Reply { body, .. } = self.client.send(Method::GET, "/health", None::<&()>)?;
        let health: Health = self.read(body.clone())?;
        self.show(body, |health: Health| match health.healthy {
            true => "healthy\n".to_owned(),
            false => lines("unhealthy: ", &health.problems),
        })?;
        Ok(health.healthy)
    }

    /// Shows figures until the process ends or standard output is closed.
    fn watch(&mut self, interval: std::time::Duration) -> Result<(), CtlError> {
        let mut before: Option<(Stats, Instant)> = None;
        loop {
            let answer = self.client.get("/stats")?;
            let taken = Instant::now();
            let stats: Stats = self.read(answer.clone())?;
            let text = if self.json {
                format!("{answer}\n")
            } else {
                let before = before.as_ref().map(|(stats, at)| (stats, taken.duration_since(*at)));
                format!("{CLEAR}{}", stats::render(&stats, before))
            };
            (self.print)(&text).map_err(CtlError::Output)?;
            before = Some((stats, taken));
            std::thread::sleep(interval);
        }
    }

    fn rules(&mut self, command: &RulesCommand) -> Result<(), CtlError> {
        match command {
            RulesCommand::List => self.get("/rules", |rules: Rules| show_rules(&rules)),
            RulesCommand::Add(rule) => {
                let changes = RuleChanges { add: specs(rule)?, ..RuleChanges::default() };
                self.patch("/rules", &changes, |rules: Rules| show_rules(&rules))
            }
            RulesCommand::Replace(rule) => {
                let changes = RuleChanges { replace: specs(rule)?, ..RuleChanges::default() };
                self.patch("/rules", &changes, |rules: Rules| show_rules(&rules))
            }
            RulesCommand::Set { file } => {
                let rules = Rules { rules: rules_of(file)?, ..Rules::default() };
                self.put("/rules", &rules, |rules: Rules| show_rules(&rules))
            }
            RulesCommand::Remove { names } => {
                let changes = RuleChanges { remove: names.clone(), ..RuleChanges::default() };
                self.patch("/rules", &changes, |rules: Rules| show_rules(&rules))
            }
        }
    }

    fn access(&mut self, command: &AccessCommand) -> Result<(), CtlError> {
        let show = |access: Access| {
            let hashes = number(access.hashes);
            format!("access list {}, {hashes} torrents\n", access.mode)
        };
        let none = Vec::new;
        match command {
            AccessCommand::Show => self.get("/access", show),
            AccessCommand::Reload => self.post("/access/reload", &EMPTY, show),
            AccessCommand::Add { hashes } => {
                let changes = AccessChanges { add: hashes.clone(), remove: none() };
                self.patch("/access", &changes, show)
            }
            AccessCommand::Remove { hashes } => {
                let changes = AccessChanges { add: none(), remove: hashes.clone() };
                self.patch("/access", &changes, show)
            }
        }
    }

    fn config(&mut self, command: &ConfigCommand) -> Result<(), CtlError> {
        match command {
            ConfigCommand::Show => self.get("/config", |config: Configuration| config.toml),
            ConfigCommand::Check { file } => {
                let toml = file.as_deref().map(read_file).transpose()?;
                self.post("/config/check", &Check { toml }, |checked: Checked| {
                    let summary = lines("  ", &checked.summary);
                    format!("valid\n{summary}{}", lines("  warning: ", &checked.warnings))
                })
            }
            ConfigCommand::Reload => {
                self.post("/config/reload", &EMPTY, |outcome: ReloadOutcome| {
                    let applied = lines("applied: ", &outcome.applied);
                    let restart = lines("needs a restart: ", &outcome.needs_restart);
                    let warnings = lines("warning: ", &outcome.warnings);
                    format!("reloaded\n{applied}{restart}{warnings}")
                })
            }
            ConfigCommand::Save => {
                self.post("/config/save", &EMPTY, |saved: Saved| match saved.written.is_empty() {
                    true => "nothing to save: the files are up to date\n".to_owned(),
                    false => lines("written: ", &saved.written),
                })
            }
        }
    }
}

fn show_top(top: &Top) -> String {
    let mut table = Table::new(1, &["info hash", "peers", "seeders", "leechers", "completed"]);
    for torrent in &top.torrents {
        let swarm = &torrent.swarm;
        let counts = [torrent.peers(), swarm.seeders, swarm.leechers, swarm.completed];
        let counts = counts.map(number);
        table.row(std::iter::once(torrent.info_hash.clone()).chain(counts).collect());
    }
    if table.is_empty() { "no torrents\n".to_owned() } else { table.render() }
}

fn show_swarm(swarm: &Swarm) -> String {
    let mut table = Table::new(1, &["family", "seeders", "leechers", "completed"]);
    for (family, counts) in [("IPv4", &swarm.ipv4), ("IPv6", &swarm.ipv6)] {
        let counts = counts
            .as_ref()
            .map(|counts| [counts.seeders, counts.leechers, counts.completed].map(number).to_vec());
        let cells = counts.unwrap_or_else(|| vec!["no such torrent".to_owned()]);
        table.row(std::iter::once(family.to_owned()).chain(cells).collect());
    }
    format!("{} in the shard of worker {}\n{}", swarm.info_hash, swarm.worker, table.render())
}

fn show_rules(rules: &Rules) -> String {
    let mut table = Table::new(4, &["rule", "input", "sources", "outputs"]);
    for rule in &rules.rules {
        let sources = match rule.source.is_empty() {
            true => "any".to_owned(),
            false => rule.source.join(", "),
        };
        let outputs: Vec<String> = rule.outputs.iter().map(show_output).collect();
        let outputs = match outputs.is_empty() {
            true => "none, only counts".to_owned(),
            false => outputs.join(", "),
        };
        let name = rule.name.clone().unwrap_or_default();
        table.row(vec![name, rule.input.clone(), sources, outputs]);
    }
    let text = if table.is_empty() { "no rules\n".to_owned() } else { table.render() };
    format!("{text}{}", lines("warning: ", &rules.warnings))
}

fn show_output(output: &OutputSpec) -> String {
    let text = |value: &NumberOrWord| match value {
        NumberOrWord::Number(number) => number.to_string(),
        NumberOrWord::Word(word) => word.clone(),
    };
    let mut extras = Vec::new();
    extras.extend(output.ttl.as_ref().map(|ttl| format!("ttl {}", text(ttl))));
    extras.extend(output.dscp.as_ref().map(|dscp| format!("dscp {}", text(dscp))));
    extras.extend(output.source.as_ref().map(|source| format!("source {source}")));
    match extras.is_empty() {
        true => output.to.clone(),
        false => format!("{} ({})", output.to, extras.join(", ")),
    }
}

/// The rules that the flags or a file describe.
fn specs(args: &RuleArgs) -> Result<Vec<RuleSpec>, CtlError> {
    if let Some(file) = &args.file {
        return rules_of(file);
    }
    let number_or_word = |text: &Option<String>| {
        let text = text.as_ref()?;
        Some(match text.parse() {
            Ok(number) => NumberOrWord::Number(number),
            Err(_) => NumberOrWord::Word(text.clone()),
        })
    };
    let output = |to: &String| OutputSpec {
        to: to.clone(),
        ttl: number_or_word(&args.ttl),
        dscp: number_or_word(&args.dscp),
        source: None,
    };
    let rule = RuleSpec {
        name: args.name.clone(),
        input: args.input.clone().unwrap_or_default(),
        source: args.source.clone(),
        outputs: args.output.iter().map(output).collect(),
    };
    // Checked here too, because wrong arguments have an exit code of their own.
    rule.draft(0).map_err(|problems| CtlError::Argument(problems.join("\n")))?;
    Ok(vec![rule])
}

fn rules_of(file: &Path) -> Result<Vec<RuleSpec>, CtlError> {
    let settings = config::load(file)
        .map_err(|error| CtlError::File { path: file.to_owned(), reason: error.to_string() })?;
    let rules = settings.relay.map(|relay| relay.rules).unwrap_or_default();
    Ok(rules.iter().map(RuleSpec::from).collect())
}

fn read_file(file: &Path) -> Result<String, CtlError> {
    fs::read_to_string(file)
        .map_err(|error| CtlError::File { path: file.to_owned(), reason: error.to_string() })
}

fn lines(prefix: &str, items: &[String]) -> String {
    items.iter().map(|item| format!("{prefix}{item}\n")).collect()
}

/// An empty body.
#[derive(Serialize)]
struct Nothing {}

const EMPTY: Nothing = Nothing {};

/// Clears a terminal and moves the cursor to the top.
const CLEAR: &str = "\x1b[2J\x1b[H";
