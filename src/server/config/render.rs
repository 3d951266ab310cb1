//! Settings as the text of a configuration file that gives the same settings again.

use std::path::Path;

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value, value};

use super::file::AUTO;
use super::rule_spec::{NumberOrWord, OutputSpec, RuleSpec};
use super::{AccessMode, ControlSocket, Settings, TrackerConfig, WorkerCount};
use crate::io::{EngineChoice, RingFeature};
use crate::relay::RelaySettings;
use crate::server::sandbox::PrivilegeSettings;
use crate::telemetry::log::LogFormat;
use crate::tracker::core::TrackerSettings;
use crate::values::units::{format_duration, format_size};

/// Everything in force, with its units. The path of the file itself is not part of it.
pub fn render(settings: &Settings) -> String {
    let mut document = DocumentMut::new();
    let root = document.as_table_mut();
    let workers = match settings.workers {
        WorkerCount::OnePerCore => 0,
        WorkerCount::Exactly(count) => count.get(),
    };
    root["workers"] = value(workers as i64);
    let is_engine = |(_, engine): &&(&str, EngineChoice)| *engine == settings.engine;
    let engine = EngineChoice::NAMES.iter().find(is_engine);
    root["engine"] = value(engine.map_or("auto", |(name, _)| *name));
    let without = settings.io_uring_without.iter().map(RingFeature::name);
    root["io_uring_without"] = list(without);
    root["cores"] = list(settings.cores.iter().map(|core| *core as i64));
    let interval = settings.report_interval.unwrap_or_default();
    root["report_interval"] = value(format_duration(interval));
    root["shutdown_timeout"] = value(format_duration(settings.shutdown_timeout));
    let mut log = Table::new();
    log["level"] = value(settings.log.filter.as_str());
    let is_format = |(_, format): &&(&str, LogFormat)| *format == settings.log.format;
    let format = LogFormat::NAMES.iter().find(is_format);
    log["format"] = value(format.map_or("text", |(name, _)| *name));
    root["log"] = Item::Table(log);
    let control = control(settings);
    if !control.is_empty() {
        root["control"] = Item::Table(control);
    }
    if let Some(address) = settings.http {
        let mut http = Table::new();
        http["listen"] = value(address.to_string());
        root["http"] = Item::Table(http);
    }
    root["privileges"] = Item::Table(privileges(&settings.privileges));
    root["state"] = Item::Table(state(settings));
    root["export"] = Item::Table(export(settings));
    if let Some(config) = &settings.tracker {
        root["tracker"] = Item::Table(tracker(config));
    }
    if let Some(settings) = &settings.relay {
        root["relay"] = Item::Table(relay(settings));
    }
    document.to_string()
}

/// A rule as a table below `[[relay.rule]]`.
pub(crate) fn rule_table(rule: &RuleSpec) -> Table {
    let mut table = Table::new();
    if let Some(name) = &rule.name {
        table["name"] = value(name);
    }
    table["input"] = value(&rule.input);
    if !rule.source.is_empty() {
        table["source"] = list(rule.source.iter());
    }
    table["outputs"] = list(rule.outputs.iter().map(output));
    table
}

fn output(output: &OutputSpec) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("to", output.to.as_str().into());
    let number_or_word = |given: &NumberOrWord| match given {
        NumberOrWord::Number(number) => Value::from(i64::try_from(*number).unwrap_or(i64::MAX)),
        NumberOrWord::Word(word) => Value::from(word),
    };
    for (key, given) in [("ttl", &output.ttl), ("dscp", &output.dscp)] {
        if let Some(given) = given {
            table.insert(key, number_or_word(given));
        }
    }
    if let Some(source) = &output.source {
        table.insert("source", source.as_str().into());
    }
    table
}

fn control(settings: &Settings) -> Table {
    let mut table = Table::new();
    match &settings.control.socket {
        ControlSocket::Usual => {}
        ControlSocket::At(file) => table["socket"] = path(file),
        ControlSocket::Off => table["socket"] = value("off"),
    }
    if let Some(group) = &settings.control.group {
        table["group"] = value(group);
    }
    table
}

fn privileges(settings: &PrivilegeSettings) -> Table {
    let mut table = Table::new();
    table["switch_user"] = value(settings.switch_user);
    if let Some(user) = &settings.user {
        table["user"] = value(user);
    }
    table["drop_capabilities"] = value(settings.drop_capabilities);
    table["broker"] = value(settings.broker);
    table["interfaces"] = list(settings.interfaces.iter());
    table["no_new_privileges"] = value(settings.no_new_privileges);
    table["seccomp"] = value(settings.seccomp);
    table["landlock"] = value(settings.landlock);
    table
}

fn state(settings: &Settings) -> Table {
    let mut table = Table::new();
    if let Some(directory) = &settings.state.directory {
        table["directory"] = path(directory);
    }
    table["swarms"] = value(settings.state.swarms);
    table["takeover"] = value(settings.state.takeover);
    let interval = settings.state.save_interval.unwrap_or_default();
    table["save_interval"] = value(format_duration(interval));
    table
}

fn export(settings: &Settings) -> Table {
    let mut table = Table::new();
    if let Some(file) = &settings.export.file {
        table["file"] = path(file);
    }
    table["interval"] = value(format_duration(settings.export.interval));
    table
}

fn tracker(config: &TrackerConfig) -> Table {
    let mut table = Table::new();
    let settings = &config.settings;
    let limits = &settings.source_limits;
    let seconds =
        |seconds: u32| value(format_duration(std::time::Duration::from_secs(seconds.into())));
    let number = |number: u64| value(i64::try_from(number).unwrap_or(i64::MAX));
    let cap = |cap: u64| if cap == TrackerSettings::NO_CAP { value(AUTO) } else { number(cap) };
    let size = |bytes: usize| value(format_size(bytes as u64));
    let sizes_interval = config.torrent_sizes_interval.unwrap_or_default();
    table["listen"] = list(config.listen.iter().map(ToString::to_string));
    for (key, item) in [
        ("announce_interval", seconds(settings.announce_interval_s)),
        ("announce_jitter", seconds(settings.announce_jitter_s)),
        ("peer_timeout", seconds(settings.peer_timeout_s)),
        ("connection_lifetime", seconds(settings.connection_lifetime_s)),
        ("numwant_default", number(settings.numwant_default.into())),
        ("numwant_max", number(settings.numwant_max.into())),
        ("scrape_hashes_max", number(settings.scrape_hashes_max.into())),
        ("memory_limit", config.memory_limit_bytes.map_or_else(|| value(AUTO), size)),
        ("torrents_max", cap(settings.torrents_max)),
        ("peers_max", cap(settings.peers_max)),
        ("peers_per_torrent_max", number(settings.peers_per_torrent_max.into())),
        ("answer_bad_connection_ids", value(settings.answer_bad_connection_ids)),
        ("client_statistics", value(settings.client_statistics)),
        ("torrent_sizes_interval", value(format_duration(sizes_interval))),
        ("connects_per_source", number(limits.connects.per_s.into())),
        ("connects_per_source_burst", number(limits.connects.burst.into())),
        ("announces_per_source", number(limits.announces.per_s.into())),
        ("announces_per_source_burst", number(limits.announces.burst.into())),
        ("source_limit_table", number(limits.table_sources.into())),
        ("receive_buffer", size(config.receive_buffer_bytes)),
        ("send_buffer", size(config.send_buffer_bytes)),
        ("steering", value(config.steering)),
    ] {
        table[key] = item;
    }
    if let Some(file) = &config.connection_key_file {
        table["connection_key_file"] = path(file);
    }
    let mode = config.access.as_ref().map_or(AccessMode::Off, |access| access.mode);
    table["access_mode"] = value(mode.name());
    if let Some(access) = &config.access {
        table["access_file"] = path(&access.file);
    }
    table
}

fn relay(settings: &RelaySettings) -> Table {
    let mut table = Table::new();
    table["offload"] = value(settings.offload.name());
    table["receive_buffer"] = value(format_size(settings.receive_buffer_bytes as u64));
    table["send_buffer"] = value(format_size(settings.send_buffer_bytes as u64));
    table["frame_buffers"] = value(i64::from(settings.frame_buffers.unwrap_or(0)));
    table["latency"] = value(settings.latency);
    if !settings.rules.is_empty() {
        let mut rules = ArrayOfTables::new();
        settings.rules.iter().for_each(|rule| rules.push(rule_table(&RuleSpec::from(rule))));
        table["rule"] = Item::ArrayOfTables(rules);
    }
    table
}

/// Absolute, so that it means the same wherever the text is saved.
fn path(file: &Path) -> Item {
    let absolute = std::path::absolute(file);
    value(absolute.as_deref().unwrap_or(file).to_string_lossy().into_owned())
}

fn list(items: impl Iterator<Item = impl Into<Value>>) -> Item {
    value(items.collect::<Array>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::{DEFAULT_TEXT, parse};

    fn reread(text: &str) {
        let at = Path::new("/etc/ringtide.toml");
        let settings = parse(text, at).unwrap();
        let rendered = render(&settings);
        let again = parse(&rendered, at).map_err(|error| format!("{error}: {rendered}"));
        assert_eq!(again.unwrap(), settings, "{rendered}");
    }

    #[test]
    fn what_is_rendered_gives_the_same_settings() {
        reread("");
        reread(DEFAULT_TEXT);
        reread("[relay]");
        reread(
            r#"
            workers = 2
            engine = "epoll"
            io_uring_without = ["send_to", "defer_taskrun"]
            cores = [1, 3]
            report_interval = "0s"
            shutdown_timeout = "1500ms"
            log = { level = "info,ringtide::tracker=debug", format = "json" }
            control = { socket = "/c", group = "g" }
            http = { listen = "[::1]:9" }
            state = { directory = "/d", swarms = true, save_interval = "5m" }
            export = { file = "/e", interval = "7m" }
            [tracker]
            listen = ["127.0.0.1:0"]
            announce_interval = "20s"
            connection_key_file = "/k"
            memory_limit = "3GiB"
            peers_max = 2_000
            announces_per_source = 50
            source_limit_table = 2_000
            access_mode = "deny"
            access_file = "/a \"b\""
            receive_buffer = "5KiB"
            steering = false
            client_statistics = true
            torrent_sizes_interval = "3m"
            [relay]
            offload = "off"
            frame_buffers = 64
            latency = true
            [[relay.rule]]
            input = "239.1.1.1:1@a"
            source = ["10.0.0.1", "10.0.0.2"]
            outputs = [{ to = "239.2.2.2:2@b", ttl = 3, dscp = "keep", source = "10.0.0.3" },
                       { to = "[ff15::1]:2@b", ttl = "keep", dscp = 4 }]
            [[relay.rule]]
            name = "sink"
            input = "[ff15::1]:1@a"
            "#,
        );
        reread(
            "privileges = { switch_user = false, user = \"u\", drop_capabilities = false, \
             broker = false, interfaces = [\"a\"], no_new_privileges = false, seccomp = false, \
             landlock = false }",
        );
        reread("[control]\nsocket = \"off\"\n[relay]\n[tracker]");
    }
}
