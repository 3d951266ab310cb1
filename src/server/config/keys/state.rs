//! `[state]` and `[export]`: what is written to disk.

use std::time::Duration;

use crate::server::config::kinds::{
    Boolean, File, Number, WHOLE_SECONDS, none_or_every, zero_is_never,
};
use crate::server::config::settings::{ExportConfig, StateConfig};
use crate::server::config::table::Reload::Restart;
use crate::server::config::table::{Key, Section};
use crate::values::limit::{Limit, Seconds};

pub(crate) static STATE: Section<StateConfig> = Section {
    name: "state",
    title: "[state]",
    doc: "What outlives the tracker, so that clients notice nothing of a restart.",
    notes: &[],
    keys: &[
        Key {
            name: "state.directory",
            doc: "The directory that keeps the key of connection IDs (unless \
                  `tracker.connection_key_file` names one) and the swarms. It is made if it is \
                  missing, and has to belong to the user that ringtide runs as, without others \
                  being able to write to it. Without a tracker it is of use only with `takeover`.",
            example: "\"/var/lib/ringtide\"",
            reload: Restart,
            value: &File::<StateConfig> {
                absent: "none, which keeps nothing",
                get: |state| state.directory.clone(),
                set: |state, directory| state.directory = directory,
            },
        },
        Key {
            name: "state.swarms",
            doc: "Whether swarms are saved at the end and loaded at the start. A million torrents \
                  of two peers are a file of 44 MB. Peers that have expired meanwhile are left \
                  out.",
            example: "false",
            reload: Restart,
            value: &Boolean::<StateConfig> {
                get: |state| state.swarms,
                set: |state, on| state.swarms = on,
            },
        },
        Key {
            name: "state.save_interval",
            doc: "How often swarms are saved before the end, so that less is lost in a crash. \
                  \"0s\" is never. Announces are answered meanwhile.",
            example: "\"10m\"",
            reload: Restart,
            value: &Number::<StateConfig, _> {
                unit: WHOLE_SECONDS,
                limit: &Limit {
                    min: Seconds(0),
                    max: Seconds(86_400),
                    because: "0s saves only at the end, and no peer is kept for a day",
                },
                get: |state| none_or_every(state.save_interval),
                set: |state, interval| state.save_interval = zero_is_never(interval),
            },
        },
        Key {
            name: "state.takeover",
            doc: "Whether a ringtide that is started while another one runs takes its sockets \
                  over: the other one finishes what it received, saves its swarms and ends, and \
                  what comes in meanwhile waits. Both need this key and the same directory; with a \
                  tracker, also the same `listen` and number of workers. A relay with another \
                  number of workers opens its packet sockets again. With false, ringtide refuses \
                  to start beside another one.",
            example: "true",
            reload: Restart,
            value: &Boolean::<StateConfig> {
                get: |state| state.takeover,
                set: |state, on| state.takeover = on,
            },
        },
    ],
};

pub(crate) static EXPORT: Section<ExportConfig> = Section {
    name: "export",
    title: "[export]",
    doc: "A list of all torrents for other programs, as comma-separated values: family, info hash, \
          seeders, leechers, completed.",
    notes: &[],
    keys: &[
        Key {
            name: "export.file",
            doc: "The file. It is always complete: it is written beside its place and then moved \
                  there.",
            example: "\"torrents.csv\"",
            reload: Restart,
            value: &File::<ExportConfig> {
                absent: "none, which writes no list",
                get: |export| export.file.clone(),
                set: |export, file| export.file = file,
            },
        },
        Key {
            name: "export.interval",
            doc: "How often the file is written. Announces are answered meanwhile.",
            example: "\"1m\"",
            reload: Restart,
            value: &Number::<ExportConfig, _> {
                unit: WHOLE_SECONDS,
                limit: &Limit {
                    min: Seconds(1),
                    max: Seconds(86_400),
                    because: "without `file` no list is written at all, and a list that is a day \
                              old is of little use",
                },
                get: |export| none_or_every(Some(export.interval)),
                set: |export, Seconds(seconds)| {
                    export.interval = Duration::from_secs(seconds.into());
                },
            },
        },
    ],
};
