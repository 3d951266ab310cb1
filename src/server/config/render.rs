//! Settings as the text of a configuration file that gives the same settings again.

use toml_edit::{ArrayOfTables, DocumentMut, Item};

use super::keys::SECTIONS;
use super::keys::relay::rule_table;
use super::settings::Settings;

/// Everything that is set, with its units. The path of the file itself is not part of it.
pub fn render(settings: &Settings) -> String {
    let mut document = DocumentMut::new();
    let root = document.as_table_mut();
    for section in SECTIONS {
        let Some(table) = section.table(settings) else { continue };
        match section.name() {
            "" => root.extend(table),
            name if !table.is_empty() => root[name] = Item::Table(table),
            _ => {}
        }
    }
    if let Some(relay) = &settings.relay
        && !relay.rules.is_empty()
    {
        let rules: ArrayOfTables = relay.rules.iter().map(rule_table).collect();
        root["relay"]["rule"] = Item::ArrayOfTables(rules);
    }
    document.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::keys::descriptions;
    use crate::server::config::{default_text, parse};
    use proptest::prelude::*;
    use std::path::Path;

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
        reread(&default_text());
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

    /// A file with the examples of some keys, rules and their outputs aside.
    fn file_of_examples(chosen: &[bool]) -> String {
        let mut text = String::new();
        let mut chosen = chosen.iter();
        for section in descriptions() {
            if section.name.starts_with("relay.rule") {
                continue;
            }
            if !section.name.is_empty() {
                text.push_str(&format!("[{}]\n", section.name));
            }
            for entry in &section.entries {
                if chosen.next() == Some(&true) {
                    text.push_str(&format!("{} = {}\n", entry.short_name(), entry.example));
                }
            }
        }
        text
    }

    proptest! {
        #[test]
        fn any_keys_together_are_rendered(chosen in prop::collection::vec(any::<bool>(), 80)) {
            let at = Path::new("/etc/ringtide.toml");
            // Some keys need others.
            if let Ok(settings) = parse(&file_of_examples(&chosen), at) {
                let rendered = render(&settings);
                let again = parse(&rendered, at).map_err(|error| format!("{error}: {rendered}"));
                prop_assert_eq!(again, Ok(settings));
            }
        }
    }

    #[test]
    fn the_examples_of_all_keys_go_together() {
        reread(&file_of_examples(&[true; 80]));
    }
}
