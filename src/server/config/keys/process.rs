//! The keys before the first section, and `[log]`: the process, its workers and its log.

use crate::io::{EngineChoice, RingFeature, RingFeatures};
use crate::server::config::Settings;
use crate::server::config::checks::check_cores;
use crate::server::config::kinds::{
    Choice, List, Number, Numbers, Text, WHOLE_SECONDS, none_or_every, zero_is_never,
};
use crate::server::config::limits;
use crate::server::config::reader::{Reader, quoted};
use crate::server::config::table::Reload::{Live, Restart};
use crate::server::config::table::{Key, Section};
use crate::server::config::workers::WorkerCount;
use crate::telemetry::log::{LogFilter, LogFormat, LogSettings};
use crate::values::limit::Limit;

pub(crate) static PROCESS: Section<Settings> = Section {
    name: "",
    title: "Before the first section",
    doc: "The process and its workers.",
    notes: &[],
    keys: &[
        Key {
            name: "workers",
            doc: "How many workers (threads with one event loop each) serve packets. 0 starts one \
                  for each core listed in `cores`; without a list, for each core that this \
                  process may use, so that `taskset` is respected. More workers than listed cores \
                  are refused. Without a list, more workers than cores share cores, which costs \
                  more than it gains.",
            example: "2",
            reload: Restart,
            value: &Number::<Settings, _> {
                unit: "threads",
                limit: &limits::WORKERS,
                get: |settings| match settings.workers {
                    WorkerCount::OnePerCore => 0,
                    WorkerCount::Exactly(count) => count.get(),
                },
                set: |settings, count| settings.workers = WorkerCount::from(count),
            },
        },
        Key {
            name: "engine",
            doc: "What drives the workers' event loops. \"auto\" uses io_uring where it is \
                  available and epoll elsewhere, and logs why: old kernels lack io_uring, and most \
                  container runtimes forbid it. Both engines behave identically; epoll needs more \
                  system calls. \"io_uring\" fails without it.",
            example: "\"epoll\"",
            reload: Restart,
            value: &Choice::<Settings, _> {
                choices: &EngineChoice::NAMES,
                get: |settings| settings.engine,
                set: |settings, engine| settings.engine = engine,
            },
        },
        Key {
            name: "io_uring_without",
            doc: "Features of io_uring that the workers do without, although the kernel may have \
                  them: for a kernel whose feature is broken, or to see what an older one does. A \
                  feature that the kernel lacks is left out anyway, and one line in the log says \
                  so. Without \"buffer_rings\" or \"multishot_receive\" there is no io_uring, and \
                  `engine` decides what happens. It has no effect on epoll.",
            example: "[\"defer_taskrun\"]",
            reload: Restart,
            value: &List::<Settings, _> {
                unit: "names of features",
                allowed: || format!("any of {}", quoted(RingFeature::ALL.iter().map(|f| f.name()))),
                because: "",
                absent: "",
                parse: str::parse::<RingFeature>,
                check: |_| Ok(()),
                get: |settings| settings.io_uring_without.iter().collect(),
                set: |settings, features| {
                    settings.io_uring_without = RingFeatures::from_iter(features);
                },
            },
        },
        Key {
            name: "cores",
            doc: "The cores to pin workers to, in this order, numbered as in /proc/cpuinfo. With \
                  an empty list these are all cores that this process may use. A listed core that \
                  this process may not use stops the start.",
            example: "[2, 3]",
            reload: Restart,
            value: &Numbers::<Settings, _> {
                unit: "core numbers",
                limit: &limits::CORE,
                get: |settings| settings.cores.clone(),
                set: |settings, cores| settings.cores = cores,
            },
        },
        Key {
            name: "report_interval",
            doc: "How often one line of figures (requests, responses, torrents, peers, drops) is \
                  logged. \"0s\" is never.",
            example: "\"1m\"",
            reload: Live,
            value: &Number::<Settings, _> {
                unit: WHOLE_SECONDS,
                limit: &limits::REPORT_INTERVAL,
                get: |settings| none_or_every(settings.report_interval),
                set: |settings, interval| settings.report_interval = zero_is_never(interval),
            },
        },
        Key {
            name: "shutdown_timeout",
            doc: "How long a shutdown by SIGINT or SIGTERM waits for replies that are on their \
                  way out. What is not sent by then is cancelled; a second signal does not wait.",
            example: "\"500ms\"",
            reload: Restart,
            value: &Number::<Settings, _> {
                unit: "",
                limit: &Limit {
                    min: std::time::Duration::ZERO,
                    max: std::time::Duration::from_secs(60),
                    because: "service managers kill what takes longer to stop",
                },
                get: |settings| settings.shutdown_timeout,
                set: |settings, timeout| settings.shutdown_timeout = timeout,
            },
        },
    ],
};

pub(crate) static LOG: Section<LogSettings> = Section {
    name: "log",
    title: "[log]",
    doc: "What is logged to standard error. The environment variable RINGTIDE_LOG overrides \
          `level`; the flags --log-level and --log-format override both.",
    notes: &[],
    keys: &[
        Key {
            name: "log.level",
            doc: "One of \"error\", \"warn\", \"info\", \"debug\", \"trace\", \"off\", or a \
                  filter by module. Nothing is logged per packet at any level.",
            example: "\"info,ringtide::tracker=debug\"",
            reload: Live,
            value: &Text::<LogSettings, _> {
                unit: "a level or a filter",
                parse: |text| LogFilter::parse(text).map_err(|error| error.to_string()),
                get: |log| log.filter.clone(),
                set: |log, filter| log.filter = filter,
            },
        },
        Key {
            name: "log.format",
            doc: "\"text\" for people, or \"json\" for one JSON object per line.",
            example: "\"json\"",
            reload: Restart,
            value: &Choice::<LogSettings, _> {
                choices: &LogFormat::NAMES,
                get: |log| log.format,
                set: |log, format| log.format = format,
            },
        },
    ],
};

/// Checks the number of workers against the list of cores.
pub(super) fn check(file: &mut Reader<'_>, settings: &mut Settings) -> Vec<String> {
    if let Err(message) = check_cores(settings.workers, &settings.cores) {
        file.problem("cores", &message);
    }
    Vec::new()
}
