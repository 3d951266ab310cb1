//! What several settings must fulfil together, shared by file and flags.

use std::collections::HashSet;
use std::path::PathBuf;

use super::{AccessConfig, AccessMode, Settings, WorkerCount};
use crate::io::socket_table::SOCKETS_MAX;
use crate::relay::Rule;
use crate::tracker::core::TrackerSettings;

/// Why mode and file do not make an access list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessError {
    /// A list is to be applied, but there is none.
    FileMissing(AccessMode),
    /// There is a list, but nothing says what it means.
    ModeMissing,
}

/// Joins mode and file. A file under an explicit "off" is kept for later and no error.
pub(crate) fn access_config(
    mode: Option<AccessMode>,
    file: Option<PathBuf>,
) -> Result<Option<AccessConfig>, AccessError> {
    match (mode, file) {
        (None | Some(AccessMode::Off), None) | (Some(AccessMode::Off), Some(_)) => Ok(None),
        (None, Some(_)) => Err(AccessError::ModeMissing),
        (Some(mode), None) => Err(AccessError::FileMissing(mode)),
        (Some(mode), Some(file)) => Ok(Some(AccessConfig { mode, file })),
    }
}

/// Checks a list of cores against the number of workers.
pub(crate) fn check_cores(workers: WorkerCount, cores: &[usize]) -> Result<(), String> {
    for (index, core) in cores.iter().enumerate() {
        if cores[..index].contains(core) {
            return Err(format!("core {core} is listed twice"));
        }
    }
    match workers {
        WorkerCount::Exactly(count) if !cores.is_empty() && count.get() > cores.len() => {
            Err(format!("{count} workers do not fit {} listed cores, one each", cores.len()))
        }
        _ => Ok(()),
    }
}

/// Checks that each worker's loop has room for its sockets: with `listen` addresses, one for each
/// of them, for each output, and for each interface that rules take from.
pub(crate) fn check_sockets(listen: usize, rules: &[Rule]) -> Result<(), String> {
    let outputs: usize = rules.iter().map(|rule| rule.outputs.len()).sum();
    let interfaces = rules.iter().map(|rule| &rule.input.endpoint.interface);
    let interfaces = interfaces.collect::<HashSet<_>>().len();
    if outputs + interfaces + listen <= SOCKETS_MAX {
        return Ok(());
    }
    Err(format!(
        "a worker serves up to {SOCKETS_MAX} sockets; these would be {}: {outputs} outputs, \
         {interfaces} interfaces to take from, {listen} addresses to listen on",
        outputs + interfaces + listen
    ))
}

/// What is allowed, but probably not what was meant.
pub(crate) fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(tracker) = &settings.tracker {
        tracker_warnings(&tracker.settings, &mut warnings);
    }
    if let Some(address) = settings.http.filter(|address| !address.ip().is_loopback()) {
        warnings.push(format!(
            "http.listen is {address}: whoever reaches it can read all figures and the names of \
             torrents, without a password"
        ));
    }
    if settings.tracker.is_none() {
        let unused = [
            ("state.directory", settings.state.directory.is_some() && !settings.state.takeover),
            ("export.file", settings.export.file.is_some()),
        ];
        for (key, _) in unused.into_iter().filter(|(_, is_set)| *is_set) {
            warnings.push(format!("{key} is set, but there is no tracker whose state it is for"));
        }
    } else if settings.state.save_interval.is_some() && !settings.state.saves_swarms() {
        warnings.push("save_interval is set, but swarms are not saved".to_owned());
    }
    if settings.state.takeover && settings.state.directory.is_none() {
        warnings.push("takeover is set, but without state.directory nobody is found".to_owned());
    }
    if let WorkerCount::Exactly(count) = settings.workers
        && count.get() < settings.cores.len()
    {
        warnings.push(format!(
            "workers is {count}: of the {} listed cores the last {} stay unused",
            settings.cores.len(),
            settings.cores.len() - count.get()
        ));
    }
    warnings
}

fn tracker_warnings(tracker: &TrackerSettings, warnings: &mut Vec<String>) {
    if tracker.peer_timeout_s < tracker.announce_interval_s + tracker.announce_jitter_s {
        warnings.push(
            "peer_timeout is below announce_interval + announce_jitter: peers are forgotten \
             between two announces"
                .to_owned(),
        );
    }
    if tracker.connection_lifetime_s < CLIENT_KEEPS_CONNECTION_ID_S {
        warnings.push(
            "connection_lifetime is below 1m: clients may use a connection ID for that long \
             (BEP 15) and will be turned away"
                .to_owned(),
        );
    }
    if tracker.numwant_max > IPV4_PEERS_PER_DATAGRAM {
        warnings.push(format!(
            "numwant_max is beyond what one datagram holds: {IPV4_PEERS_PER_DATAGRAM} peers \
             over IPv4, {IPV6_PEERS_PER_DATAGRAM} over IPv6"
        ));
    }
    if tracker.source_limits.connects.per_s > 0 {
        warnings.push(
            "connects_per_source is set: whoever forges the address of a client can keep it from \
             connecting"
                .to_owned(),
        );
    }
    if tracker.scrape_hashes_max < SCRAPE_HASHES_BEP15 {
        warnings.push(format!(
            "scrape_hashes_max is below {SCRAPE_HASHES_BEP15}: clients that follow BEP 15 get \
             short answers"
        ));
    }
}

/// The warning for an access file that an explicit "off" leaves unread.
pub(crate) const ACCESS_FILE_UNUSED: &str =
    "access_file is set but access_mode is \"off\": every torrent is served";

/// BEP 15: a client can use a connection ID until one minute after it has received it.
const CLIENT_KEEPS_CONNECTION_ID_S: u32 = 60;

/// BEP 15: up to about 74 torrents can be scraped at once.
const SCRAPE_HASHES_BEP15: u16 = 74;

/// 1,472 bytes of UDP payload less 20 of header, 6 bytes a peer.
const IPV4_PEERS_PER_DATAGRAM: u16 = 242;

/// 1,452 bytes of UDP payload less 20 of header, 18 bytes a peer.
const IPV6_PEERS_PER_DATAGRAM: u16 = 79;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::{Dscp, Input, Output, Ttl};

    #[test]
    fn an_access_list_needs_mode_and_file() {
        let file = || Some(PathBuf::from("list"));
        assert_eq!(access_config(None, None), Ok(None));
        assert_eq!(access_config(Some(AccessMode::Off), None), Ok(None));
        assert_eq!(access_config(Some(AccessMode::Off), file()), Ok(None));
        assert_eq!(access_config(None, file()), Err(AccessError::ModeMissing));
        assert_eq!(
            access_config(Some(AccessMode::Deny), None),
            Err(AccessError::FileMissing(AccessMode::Deny))
        );
        let access = access_config(Some(AccessMode::Allow), file()).unwrap().unwrap();
        assert_eq!((access.mode, access.file), (AccessMode::Allow, PathBuf::from("list")));
    }

    #[test]
    fn more_workers_than_listed_cores_are_refused() {
        assert!(check_cores(3.into(), &[0, 1]).is_err());
        assert!(check_cores(0.into(), &[1, 1]).is_err());
        assert!(check_cores(2.into(), &[0, 1]).is_ok());
        assert!(check_cores(64.into(), &[]).is_ok());
    }

    #[test]
    fn a_loop_has_room_for_every_socket() {
        let rule = |interface: &str, outputs: usize| {
            let endpoint = |text: String| text.parse().unwrap();
            let output = |port| Output {
                endpoint: endpoint(format!("10.0.0.1:{port}@out")),
                ttl: Ttl::Usual,
                dscp: Dscp::Usual,
                source: None,
            };
            let input = Input {
                endpoint: endpoint(format!("239.1.1.1:1@{interface}")),
                sources: Vec::new(),
            };
            Rule { name: String::new(), input, outputs: (1..=outputs).map(output).collect() }
        };
        // An interface counts once, whatever is taken from it.
        let rules = [rule("a", 500), rule("a", 450), rule("b", 0)];
        assert_eq!(check_sockets(8, &rules), Ok(()));
        let error = check_sockets(9, &rules).unwrap_err();
        assert!(error.contains("up to 960 sockets; these would be 961: 950 outputs, 2 inter"));
        assert_eq!(check_sockets(64, &[]), Ok(()));
    }

    #[test]
    fn the_defaults_give_no_warning() {
        assert_eq!(warnings(&Settings::default()), Vec::<String>::new());
    }

    #[test]
    fn state_of_nothing_and_saves_to_nowhere_are_told() {
        let mut settings = Settings::default();
        settings.state.save_interval = Some(std::time::Duration::from_secs(60));
        assert_eq!(warnings(&settings), ["save_interval is set, but swarms are not saved"]);
        settings.state.takeover = true;
        assert!(warnings(&settings)[1].starts_with("takeover is set, but"));
        settings.state.directory = Some(PathBuf::from("state"));
        assert_eq!(warnings(&settings), [""; 0]);
        settings.tracker = None;
        assert_eq!(warnings(&settings), [""; 0], "a relay is taken over, too");
        settings.state.takeover = false;
        settings.export.file = Some(PathBuf::from("list"));
        let told = warnings(&settings);
        assert!(told[0].starts_with("state.directory is set, but") && told.len() == 2, "{told:?}");
    }

    #[test]
    fn each_doubtful_value_gives_its_warning() {
        let mut settings = Settings { workers: 1.into(), cores: vec![0, 1], ..Settings::default() };
        let tracker = &mut settings.tracker.as_mut().unwrap().settings;
        tracker.peer_timeout_s = 1919;
        tracker.connection_lifetime_s = 59;
        tracker.numwant_max = 243;
        tracker.scrape_hashes_max = 73;
        tracker.source_limits.connects.per_s = 1;
        let warnings = warnings(&settings);
        let names = [
            "peer_timeout",
            "connection_lifetime",
            "numwant_max",
            "connects_per_source",
            "scrape_hashes_max",
            "workers",
        ];
        assert_eq!(warnings.len(), names.len());
        for (warning, name) in warnings.iter().zip(names) {
            assert!(warning.starts_with(name), "{warning}");
        }
    }
}
