//! `[tracker]`: the BitTorrent UDP tracker.

use crate::server::config::checks::{ACCESS_FILE_UNUSED, AccessError, access_config};
use crate::server::config::kinds::{
    Boolean, Choice, File, List, Number, NumberOrWord, OrWord, WHOLE_SECONDS, none_or_every,
    zero_is_never,
};
use crate::server::config::limits;
use crate::server::config::reader::Reader;
use crate::server::config::settings::TrackerConfig;
use crate::server::config::table::Reload::{Live, Restart};
use crate::server::config::table::{Key, Section};
use crate::tracker::core::access_list::AccessMode;
use crate::tracker::core::{RateLimit, SourceLimitSettings, TrackerSettings};
use crate::values::limit::{Bytes, Limit, Seconds};
use crate::values::listen::{LISTEN_MAX, check_listen, parse_listen};

/// The values of the section. Mode and file of the access list, which are one value of the
/// tracker, are apart here.
#[derive(Default)]
pub(crate) struct TrackerKeys {
    config: TrackerConfig,
    /// `None` where the file does not say.
    access_mode: Option<AccessMode>,
    access_file: Option<std::path::PathBuf>,
}

impl From<&TrackerConfig> for TrackerKeys {
    fn from(config: &TrackerConfig) -> Self {
        Self {
            config: config.clone(),
            access_mode: config.access.as_ref().map(|access| access.mode),
            access_file: config.access.as_ref().map(|access| access.file.clone()),
        }
    }
}

impl From<TrackerKeys> for TrackerConfig {
    /// Mode and file that do not fit, which a file that is read has as a problem, are no list.
    fn from(keys: TrackerKeys) -> Self {
        let access = access_config(keys.access_mode, keys.access_file).unwrap_or_default();
        Self { access, ..keys.config }
    }
}

impl TrackerKeys {
    fn policy(&self) -> &TrackerSettings {
        &self.config.settings
    }

    fn policy_mut(&mut self) -> &mut TrackerSettings {
        &mut self.config.settings
    }
}

pub(crate) static TRACKER: Section<TrackerKeys> = Section {
    name: "tracker",
    title: "[tracker]",
    doc: "The BitTorrent UDP tracker (BEP 15). Without this section and without [relay], a tracker \
          runs with these defaults; a file with [relay] alone runs no tracker.",
    notes: &[
        (
            "tracker.torrents_max",
            "`torrents_max`, `peers_max` and `peers_per_torrent_max` are caps besides the memory \
             limit, for IPv4 and IPv6 each; the first two are for the whole process and divided \
             among its workers. A peer over a cap is answered as usual, but neither stored nor \
             shown to others, and counted; nothing makes room. Leave `torrents_max` and \
             `peers_max` unset unless you want just that.",
        ),
        (
            "tracker.announces_per_source",
            "`announces_per_source` and `connects_per_source`, each with its burst, are limits \
             for each source: an IPv4 address, or the /64 of an IPv6 address. What is over one is \
             dropped and counted. They hold for the whole process, whichever workers a \
             source's requests go to. A change gives everybody the whole burst again. Many clients \
             can be behind one address: 50 a second with bursts of 5000 let it announce 90,000 \
             torrents every half hour, room for several hundred homes behind a carrier's NAT.",
        ),
    ],
    keys: &[
        Key {
            name: "tracker.listen",
            doc: "The addresses to listen on, all different. Each has a port; IPv6 addresses are \
                  in brackets. \"0.0.0.0\" is every IPv4 address, \"[::]\" every IPv6 address (and \
                  IPv6 only). Port 0 lets the kernel choose. Host names are not looked up. Clients \
                  are always answered from the address that they asked.",
            example: "[\"192.0.2.7:6969\", \"[2001:db8::7]:6969\"]",
            reload: Restart,
            value: &List::<TrackerKeys, _> {
                unit: "addresses with ports",
                allowed: || format!("1 to {LISTEN_MAX} of them"),
                because: "each is a socket in every worker",
                absent: "",
                parse: parse_listen,
                check: check_listen,
                get: |tracker| tracker.config.listen.clone(),
                set: |tracker, listen| tracker.config.listen = listen,
            },
        },
        Key {
            name: "tracker.announce_interval",
            doc: "How often clients are told to announce. Shorter finds peers sooner and \
                  multiplies the load.",
            example: "\"20m\"",
            reload: Live,
            value: &Number::<TrackerKeys, _> {
                unit: WHOLE_SECONDS,
                limit: &limits::ANNOUNCE_INTERVAL,
                get: |tracker| Seconds(tracker.policy().announce_interval_s),
                set: |tracker, Seconds(seconds)| tracker.policy_mut().announce_interval_s = seconds,
            },
        },
        Key {
            name: "tracker.announce_jitter",
            doc: "Up to this much is added to the interval, different for each peer, so that \
                  clients that came together do not return together.",
            example: "\"5m\"",
            reload: Live,
            value: &Number::<TrackerKeys, _> {
                unit: WHOLE_SECONDS,
                limit: &ANNOUNCE_JITTER,
                get: |tracker| Seconds(tracker.policy().announce_jitter_s),
                set: |tracker, Seconds(seconds)| tracker.policy_mut().announce_jitter_s = seconds,
            },
        },
        Key {
            name: "tracker.peer_timeout",
            doc: "A peer that has not announced for this long is forgotten. Keep it above \
                  `announce_interval` and `announce_jitter` together, or peers vanish between two \
                  announces.",
            example: "\"40m\"",
            reload: Live,
            value: &Number::<TrackerKeys, _> {
                unit: WHOLE_SECONDS,
                limit: &limits::PEER_TIMEOUT,
                get: |tracker| Seconds(tracker.policy().peer_timeout_s),
                set: |tracker, Seconds(seconds)| tracker.policy_mut().peer_timeout_s = seconds,
            },
        },
        Key {
            name: "tracker.connection_lifetime",
            doc: "How long a connection ID is valid at least; at most it is twice as long. BEP 15 \
                  asks for 2m. Shorter than 1m turns away clients that follow it.",
            example: "\"3m\"",
            reload: Restart,
            value: &Number::<TrackerKeys, _> {
                unit: WHOLE_SECONDS,
                limit: &Limit {
                    min: Seconds(1),
                    max: Seconds(3600),
                    because: "a connection ID that lives longer protects little against forged \
                              sources",
                },
                get: |tracker| Seconds(tracker.policy().connection_lifetime_s),
                set: |tracker, Seconds(seconds)| {
                    tracker.policy_mut().connection_lifetime_s = seconds
                },
            },
        },
        Key {
            name: "tracker.connection_key_file",
            doc: "A file that holds the secret key for connection IDs, as 32 hex digits. With one, \
                  connection IDs stay valid over a restart, and several trackers can share them.",
            example: "\"connection.key\"",
            reload: Restart,
            value: &File::<TrackerKeys> {
                absent: "none; the key is that of the state directory, or without one a random key \
                         at every start, so that clients must connect again after a restart",
                get: |tracker| tracker.config.connection_key_file.clone(),
                set: |tracker, file| tracker.config.connection_key_file = file,
            },
        },
        Key {
            name: "tracker.numwant_default",
            doc: "How many peers a client gets that leaves the number to the tracker. At most \
                  `numwant_max`; if only `numwant_max` is set, and lower, this follows it.",
            example: "30",
            reload: Live,
            value: &Number::<TrackerKeys, _> {
                unit: "peers",
                limit: &NUMWANT,
                get: |tracker| tracker.policy().numwant_default,
                set: |tracker, count| tracker.policy_mut().numwant_default = count,
            },
        },
        Key {
            name: "tracker.numwant_max",
            doc: "The most peers a client gets. One datagram bounds it further: 242 peers over \
                  IPv4, 79 over IPv6. Lower saves bandwidth; clients then know fewer peers.",
            example: "100",
            reload: Live,
            value: &Number::<TrackerKeys, _> {
                unit: "peers",
                limit: &NUMWANT,
                get: |tracker| tracker.policy().numwant_max,
                set: |tracker, count| tracker.policy_mut().numwant_max = count,
            },
        },
        Key {
            name: "tracker.scrape_hashes_max",
            doc: "The most info hashes answered in one scrape; further ones are left out of the \
                  reply. BEP 15 allows clients to ask for 74; with less they get short answers.",
            example: "100",
            reload: Live,
            value: &Number::<TrackerKeys, _> {
                unit: "info hashes",
                limit: &Limit {
                    min: 1,
                    max: TrackerSettings::SCRAPE_HASHES_MAX,
                    because: "the reply must fit one unfragmented datagram",
                },
                get: |tracker| tracker.policy().scrape_hashes_max,
                set: |tracker, count| tracker.policy_mut().scrape_hashes_max = count,
            },
        },
        Key {
            name: "tracker.memory_limit",
            doc: "The most memory that all swarms may take. \"auto\" is half of what the machine, \
                  control groups and resource limits allow this process. Each worker has an equal \
                  share, at least 4MiB. When it is used up, a new torrent replaces one that can be \
                  spared; swarms of several hosts that announced again stay. Besides it the \
                  program takes 24 MiB, and 12 MiB for each worker.",
            example: "\"2GiB\"",
            reload: Restart,
            value: &NumberOrWord::<TrackerKeys, _> {
                unit: "",
                limit: &Limit {
                    min: Bytes(16 << 20),
                    max: Bytes(1 << 44),
                    because: "with less the storage cannot be divided, and no machine has more",
                },
                word: AUTO,
                absent: "",
                get: |tracker| tracker.config.memory_limit_bytes.map(Bytes).into(),
                set: |tracker, limit| {
                    tracker.config.memory_limit_bytes = limit.value().map(|Bytes(bytes)| bytes);
                },
            },
        },
        Key {
            name: "tracker.torrents_max",
            doc: "The most torrents. \"auto\" is as many as the memory limit holds.",
            example: "500000",
            reload: Live,
            value: &NumberOrWord::<TrackerKeys, _> {
                unit: "torrents",
                limit: &Limit {
                    min: 1,
                    max: 1_000_000_000,
                    because: "a cap beyond that protects nothing: their info hashes alone take \
                              20 GB",
                },
                word: AUTO,
                absent: "",
                get: |tracker| cap(tracker.policy().torrents_max),
                set: |tracker, cap| tracker.policy_mut().torrents_max = uncapped(cap),
            },
        },
        Key {
            name: "tracker.peers_max",
            doc: "The most peers in all torrents. \"auto\" is as many as the memory limit holds.",
            example: "5000000",
            reload: Live,
            value: &NumberOrWord::<TrackerKeys, _> {
                unit: "peers",
                limit: &Limit {
                    min: 1,
                    max: 4_000_000_000,
                    because: "a cap beyond that protects nothing: at 8 bytes each they take 32 GB",
                },
                word: AUTO,
                absent: "",
                get: |tracker| cap(tracker.policy().peers_max),
                set: |tracker, cap| tracker.policy_mut().peers_max = uncapped(cap),
            },
        },
        Key {
            name: "tracker.peers_per_torrent_max",
            doc: "The most peers in one torrent.",
            example: "10000",
            reload: Live,
            value: &Number::<TrackerKeys, _> {
                unit: "peers",
                limit: &Limit {
                    min: 1,
                    max: 100_000_000,
                    because: "a cap beyond that protects nothing: no swarm is that large",
                },
                get: |tracker| tracker.policy().peers_per_torrent_max,
                set: |tracker, count| tracker.policy_mut().peers_per_torrent_max = count,
            },
        },
        Key {
            name: "tracker.answer_bad_connection_ids",
            doc: "Whether a wrong connection ID gets an error response. The source of such a \
                  request may be forged: then the answer hits whoever it names. true helps to \
                  debug clients.",
            example: "true",
            reload: Live,
            value: &Boolean::<TrackerKeys> {
                get: |tracker| tracker.policy().answer_bad_connection_ids,
                set: |tracker, on| tracker.policy_mut().answer_bad_connection_ids = on,
            },
        },
        Key {
            name: "tracker.client_statistics",
            doc: "Whether new peers are counted by the program that their peer ID names (BEP 20), \
                  for metrics, the dashboard and `ringtide ctl stats`. Clients name themselves as \
                  they like.",
            example: "true",
            reload: Live,
            value: &Boolean::<TrackerKeys> {
                get: |tracker| tracker.policy().client_statistics,
                set: |tracker, on| tracker.policy_mut().client_statistics = on,
            },
        },
        Key {
            name: "tracker.torrent_sizes_interval",
            doc: "How often torrents are counted by how many peers they have, for metrics, \
                  the dashboard and `ringtide ctl stats`. All of them are visited in small steps; \
                  announces are answered meanwhile. \"0s\" is never.",
            example: "\"5m\"",
            reload: Restart,
            value: &Number::<TrackerKeys, _> {
                unit: WHOLE_SECONDS,
                limit: &Limit {
                    min: Seconds(0),
                    max: Seconds(86_400),
                    because: "0s is never, and a count that is a day old says nothing",
                },
                get: |tracker| none_or_every(tracker.config.torrent_sizes_interval),
                set: |tracker, interval| {
                    tracker.config.torrent_sizes_interval = zero_is_never(interval);
                },
            },
        },
        Key {
            name: "tracker.announces_per_source",
            doc: "How many announces and scrapes, together, a source may send that has proved \
                  its address. A scrape counts once, however many hashes it asks for. 0 is no \
                  limit.",
            example: "50",
            reload: Live,
            value: &Number::<TrackerKeys, _> {
                unit: "requests per second",
                limit: &PER_SOURCE,
                get: |tracker| tracker.policy().source_limits.announces.per_s,
                set: |tracker, count| tracker.policy_mut().source_limits.announces.per_s = count,
            },
        },
        Key {
            name: "tracker.announces_per_source_burst",
            doc: "How many announces and scrapes of a source may come at once, as when a \
                  client with many torrents starts.",
            example: "2000",
            reload: Live,
            value: &Number::<TrackerKeys, _> {
                unit: "requests",
                limit: &PER_SOURCE_BURST,
                get: |tracker| tracker.policy().source_limits.announces.burst,
                set: |tracker, count| tracker.policy_mut().source_limits.announces.burst = count,
            },
        },
        Key {
            name: "tracker.connects_per_source",
            doc: "How many connects a source may send. They can be forged: whoever sends this \
                  many in the name of another address uses up all that it may send, and it cannot \
                  connect until that ends. The limit bounds how often that address is answered, \
                  so it is for trackers that are used to flood others; the limit on announces \
                  needs no such caution. 0 is no limit.",
            example: "20",
            reload: Live,
            value: &Number::<TrackerKeys, _> {
                unit: "requests per second",
                limit: &PER_SOURCE,
                get: |tracker| tracker.policy().source_limits.connects.per_s,
                set: |tracker, count| tracker.policy_mut().source_limits.connects.per_s = count,
            },
        },
        Key {
            name: "tracker.connects_per_source_burst",
            doc: "How many connects of a source may come at once.",
            example: "200",
            reload: Live,
            value: &Number::<TrackerKeys, _> {
                unit: "requests",
                limit: &PER_SOURCE_BURST,
                get: |tracker| tracker.policy().source_limits.connects.burst,
                set: |tracker, count| tracker.policy_mut().source_limits.connects.burst = count,
            },
        },
        Key {
            name: "tracker.source_limit_table",
            doc: "How many sources each limit keeps an account of, rounded up to a power of two, 8 \
                  bytes each. An account is needed until the source may use its whole burst again, \
                  so their number is the requests per second of everybody divided by the limit. \
                  When more are needed, those that have used the least are forgotten first, and \
                  counted.",
            example: "262144",
            reload: Live,
            value: &Number::<TrackerKeys, _> {
                unit: "sources",
                limit: &Limit {
                    min: 1024,
                    max: SourceLimitSettings::TABLE_SOURCES_MAX,
                    because: "fewer hold no swarm, and that many take 128 MiB for each limit",
                },
                get: |tracker| tracker.policy().source_limits.table_sources,
                set: |tracker, count| tracker.policy_mut().source_limits.table_sources = count,
            },
        },
        Key {
            name: "tracker.access_mode",
            doc: "What the access list does: \"off\" serves every torrent, \"allow\" only the \
                  listed ones, \"deny\" all but those. The last two need `access_file`.",
            example: "\"deny\"",
            reload: Live,
            value: &Choice::<TrackerKeys, _> {
                choices: &AccessMode::NAMES,
                get: |tracker| tracker.access_mode.unwrap_or(AccessMode::Off),
                set: |tracker, mode| tracker.access_mode = Some(mode),
            },
        },
        Key {
            name: "tracker.access_file",
            doc: "The access list: one info hash a line, 40 or 64 hex digits, # for comments. Read \
                  at the start and on every reload. Needs `access_mode`.",
            example: "\"access.txt\"",
            reload: Live,
            value: &File::<TrackerKeys> {
                absent: "none",
                get: |tracker| tracker.access_file.clone(),
                set: |tracker, file| tracker.access_file = file,
            },
        },
        Key {
            name: "tracker.receive_buffer",
            doc: "The kernel's receive buffer of each socket. It holds the requests of a burst \
                  until a worker takes them; what does not fit is lost. The kernel may grant less: \
                  see net.core.rmem_max.",
            example: "\"16MiB\"",
            reload: Restart,
            value: &Number::<TrackerKeys, _> {
                unit: "",
                limit: &limits::SOCKET_BUFFER,
                get: |tracker| Bytes(tracker.config.receive_buffer_bytes),
                set: |tracker, Bytes(bytes)| tracker.config.receive_buffer_bytes = bytes,
            },
        },
        Key {
            name: "tracker.send_buffer",
            doc: "The kernel's send buffer of each socket. A reply that does not fit is dropped \
                  and counted. The kernel may grant less: see net.core.wmem_max.",
            example: "\"8MiB\"",
            reload: Restart,
            value: &Number::<TrackerKeys, _> {
                unit: "",
                limit: &limits::SOCKET_BUFFER,
                get: |tracker| Bytes(tracker.config.send_buffer_bytes),
                set: |tracker, Bytes(bytes)| tracker.config.send_buffer_bytes = bytes,
            },
        },
        Key {
            name: "tracker.steering",
            doc: "Whether the kernel delivers each request straight to the worker that owns its \
                  torrent. Without it workers wait for each other's locks: correct, but slower.",
            example: "false",
            reload: Restart,
            value: &Boolean::<TrackerKeys> {
                get: |tracker| tracker.config.steering,
                set: |tracker, on| tracker.config.steering = on,
            },
        },
    ],
};

/// Checks what values must fulfil together.
pub(super) fn check(file: &mut Reader<'_>, keys: &mut TrackerKeys) -> Vec<String> {
    check_numwant(file, keys.policy_mut());
    check_access(file, keys);
    let is_unused = keys.access_mode == Some(AccessMode::Off) && keys.access_file.is_some();
    is_unused.then(|| ACCESS_FILE_UNUSED.to_owned()).into_iter().collect()
}

fn check_numwant(file: &mut Reader<'_>, policy: &mut TrackerSettings) {
    const DEFAULT: &str = "tracker.numwant_default";
    let (default, max) = (policy.numwant_default, policy.numwant_max);
    if default <= max {
        return;
    }
    if file.is_read(DEFAULT) {
        file.problem(DEFAULT, &format!("{default} is above numwant_max, which is {max}"));
    } else {
        policy.numwant_default = max;
    }
}

fn check_access(file: &mut Reader<'_>, keys: &TrackerKeys) {
    // What is wrong by itself has been reported; whether the two fit is then unknown.
    if file.is_wrong("tracker.access_mode") || file.is_wrong("tracker.access_file") {
        return;
    }
    match access_config(keys.access_mode, keys.access_file.clone()) {
        Ok(_) => {}
        Err(AccessError::FileMissing(mode)) => file.problem(
            "tracker.access_mode",
            &format!("\"{}\" needs access_file, the list it applies to", mode.name()),
        ),
        Err(AccessError::ModeMissing) => file.problem(
            "tracker.access_file",
            "needs access_mode, \"allow\" or \"deny\", to say what the list means",
        ),
    }
}

fn cap(cap: u64) -> OrWord<u64> {
    (cap != TrackerSettings::NO_CAP).then_some(cap).into()
}

fn uncapped(cap: OrWord<u64>) -> u64 {
    cap.value().unwrap_or(TrackerSettings::NO_CAP)
}

/// Stands for what follows from something else.
const AUTO: &str = "auto";

const ANNOUNCE_JITTER: Limit<Seconds> = Limit {
    min: Seconds(0),
    max: Seconds(3600),
    because: "with the announce interval it must stay within the 3h that a peer can be kept",
};

const NUMWANT: Limit<u16> =
    Limit { min: 0, max: 1000, because: "no reply of one datagram comes near that many peers" };

const PER_SOURCE: Limit<u32> = Limit {
    min: 0,
    max: RateLimit::PER_S_MAX,
    because: "0 is off, and a source that may ask more often is as good as not limited",
};

const PER_SOURCE_BURST: Limit<u32> = Limit {
    min: 1,
    max: RateLimit::BURST_MAX,
    because: "a source must be able to send at least one, and accounts are kept for days at most",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_and_jitter_together_stay_within_the_longest_peer_timeout() {
        let longest = limits::ANNOUNCE_INTERVAL.max.0 + ANNOUNCE_JITTER.max.0;
        assert!(longest <= limits::PEER_TIMEOUT.max.0);
    }
}
