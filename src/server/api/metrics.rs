//! The figures for Prometheus, in the OpenMetrics text format.

use std::fmt;
use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Api;
use super::stats::{Counts, FlowStats, Histogram, RelayStats, Stats, TrackerStats, WorkerStats};
use crate::relay::stats::RelayDrop;
use crate::server::sandbox::BrokerState;
use crate::telemetry::Counter;

pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let mut registry = Registry::with_prefix("ringtide");
    registry.register_collector(Box::new(Figures(Stats::collect(&api.view))));
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Figures of one moment, as metrics.
#[derive(Debug)]
struct Figures(Stats);

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = &self.0;
        let mut out = Out(encoder);
        process(&mut out, stats)?;
        workers(&mut out, &stats.workers)?;
        tracker(&mut out, stats)?;
        relay(&mut out, stats)
    }
}

fn process(out: &mut Out<'_>, stats: &Stats) -> fmt::Result {
    let process = &stats.process;
    let version: [Label<'_>; 2] = [("version", &process.version), ("engine", &process.engine)];
    out.gauge("build", "Always 1; labels show the version and the engine.", |mut metric| {
        metric.row(&version, 1)
    })?;
    out.gauge("uptime_seconds", "Seconds since ringtide started to serve.", |mut metric| {
        metric.row(NONE, process.uptime_s)
    })?;
    out.family("cpu_seconds", "CPU time, user and system.", COUNTER, |mut metric| {
        metric.0.encode_counter::<NoLabelSet, f64, f64>(&process.cpu_s, None)
    })?;
    out.gauge("resident_bytes", "Resident memory.", |mut metric| {
        metric.row(NONE, process.rss_bytes)
    })?;
    out.gauge("open_files", "Open file descriptors.", |mut metric| {
        metric.row(NONE, process.open_files)
    })?;
    let broker = process.privileges.broker;
    if broker == BrokerState::None {
        return Ok(());
    }
    let help = "Whether the process that opens sockets runs and answers: 1 or 0.";
    out.gauge("broker_up", help, |mut metric| {
        metric.row(NONE, u64::from(broker == BrokerState::Up))
    })
}

fn workers(out: &mut Out<'_>, workers: &[WorkerStats]) -> fmt::Result {
    for counter in Counter::ALL {
        out.counter(counter.name(), counter.help(), |mut metric| {
            workers.iter().try_for_each(|worker| {
                let count = worker.counters.get(counter.name()).copied().unwrap_or(0);
                metric.row(&[("worker", &worker.index)], count)
            })
        })?;
    }
    out.counter("drops", "Datagrams that got no reply, by reason.", |mut metric| {
        for worker in workers {
            for (reason, count) in &worker.drops {
                let labels: [Label<'_>; 2] = [("worker", &worker.index), ("reason", reason)];
                metric.row(&labels, *count)?;
            }
        }
        Ok(())
    })?;
    worker_gauges(out, workers)?;
    worker_histograms(out, workers)
}

fn worker_gauges(out: &mut Out<'_>, workers: &[WorkerStats]) -> fmt::Result {
    let gauges: [Figure<WorkerStats>; 9] = [
        ("worker_healthy", "Whether the worker's loop ticks: 1 or 0.", |worker| {
            worker.healthy.into()
        }),
        ("worker_heartbeat_age_seconds", "Seconds since the loop last ticked.", |worker| {
            worker.heartbeat_age_s
        }),
        ("shard_torrents", "Torrents in the worker's shard, both families.", |worker| {
            worker.shard.torrents()
        }),
        ("shard_peers", "Peers in the worker's shard, both families.", |worker| {
            worker.shard.peers()
        }),
        ("shard_memory_bytes", "Bytes allocated for the worker's shard.", |worker| {
            worker.shard.memory_bytes
        }),
        ("receive_buffers_free", "Free receive buffers for datagrams.", |worker| {
            worker.pools.receive_buffers_free
        }),
        ("frame_buffers_free", "Free receive buffers for frames.", |worker| {
            worker.pools.frame_buffers_free
        }),
        ("send_slots_free", "Send slots that are not in flight.", |worker| {
            worker.pools.send_slots_free
        }),
        ("frames_waiting", "Frames waiting for send slots.", |worker| worker.pools.frames_waiting),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help, |mut metric| {
            workers
                .iter()
                .try_for_each(|worker| metric.row(&[("worker", &worker.index)], value(worker)))
        })?;
    }
    Ok(())
}

fn worker_histograms(out: &mut Out<'_>, workers: &[WorkerStats]) -> fmt::Result {
    let histogram = |metric: &mut Rows<'_>, part: fn(&WorkerStats) -> &Histogram, scale: f64| {
        workers.iter().try_for_each(|worker| {
            metric.histogram(&[("worker", &worker.index)], part(worker), scale)
        })
    };
    let help = "Datagrams and frames taken in one iteration of the loop, if any.";
    out.family("iteration_packets", help, MetricType::Histogram, |mut metric| {
        histogram(&mut metric, |worker| &worker.iteration_packets, 1.0)
    })?;
    let help = "Time from the end of the wait until all packets are handled: the longest that a \
                packet of that iteration spends in this process.";
    out.family("iteration_seconds", help, MetricType::Histogram, |mut metric| {
        histogram(&mut metric, |worker| &worker.iteration_us, 1e-6)
    })
}

fn tracker(out: &mut Out<'_>, stats: &Stats) -> fmt::Result {
    let Some(tracker) = &stats.tracker else { return Ok(()) };
    let holdings = tracker.holdings;
    let families = |ipv4: u64, ipv6: u64| [("ipv4", ipv4), ("ipv6", ipv6)];
    for (name, help, counts) in [
        ("torrents", "Torrents.", families(holdings.torrents_ipv4, holdings.torrents_ipv6)),
        ("peers", "Peers.", families(holdings.peers_ipv4, holdings.peers_ipv6)),
    ] {
        out.gauge(name, help, |mut metric| {
            let mut row = |(family, count): &(&str, u64)| metric.row(&[("family", family)], *count);
            counts.iter().try_for_each(&mut row)
        })?;
    }
    let help = "Datagrams that the kernel dropped because a receive buffer was full.";
    out.counter("kernel_drops", help, |mut metric| metric.row(NONE, tracker.kernel_drops))?;
    let help = "Bytes that all shards together may allocate.";
    out.gauge("memory_limit_bytes", help, |mut metric| {
        metric.row(NONE, tracker.memory_limit_bytes)
    })?;
    let help = "Torrents on the access list.";
    out.gauge("access_list_hashes", help, |mut metric| {
        metric.row(&[("mode", &tracker.access_mode)], tracker.access_hashes)
    })?;
    let steering = u64::from(matches!(&*tracker.steering, "on" | "not needed"));
    let help = "Whether requests arrive at the worker that owns their torrent: 1 or 0.";
    out.gauge("steering", help, |mut metric| metric.row(NONE, steering))?;
    peers(out, tracker)
}

/// Optional figures of peers and torrents.
fn peers(out: &mut Out<'_>, tracker: &TrackerStats) -> fmt::Result {
    if let Some(clients) = &tracker.clients {
        let help = "New peers by the client program in their peer ID.";
        out.counter("new_peers", help, |mut metric| {
            let mut programs = clients.programs.iter();
            programs.try_for_each(|(name, count)| metric.row(&[("client", name)], *count))
        })?;
    }
    if let Some(sizes) = &tracker.torrent_sizes {
        let help = "Torrents by number of peers at the last count; buckets can decrease.";
        out.family("torrent_peers", help, MetricType::Histogram, |mut metric| {
            metric.histogram(&[("family", &"ipv4")], &sizes.ipv4, 1.0)?;
            metric.histogram(&[("family", &"ipv6")], &sizes.ipv6, 1.0)
        })?;
    }
    Ok(())
}

fn relay(out: &mut Out<'_>, stats: &Stats) -> fmt::Result {
    let Some(relay) = &stats.relay else { return Ok(()) };
    let mut flows = Vec::new();
    for rule in &relay.rules {
        flows.push((Flow { rule: &rule.name, direction: "in", endpoint: &rule.input }, &rule.flow));
        flows.extend(rule.outputs.iter().map(|output| {
            (Flow { rule: &rule.name, direction: "out", endpoint: &output.to }, &output.flow)
        }));
    }
    let counters: [Figure<FlowStats>; 3] = [
        ("relay_packets", "Datagrams that a rule received or an output sent.", |flow| flow.packets),
        ("relay_bytes", "Payload bytes of these datagrams.", |flow| flow.bytes),
        ("relay_sends", "Frames received or sends made for them.", |flow| flow.sends),
    ];
    for (name, help, value) in counters {
        out.counter(name, help, |mut metric| {
            flows.iter().try_for_each(|(labels, flow)| metric.row(&labels.labels(), value(flow)))
        })?;
    }
    let help = "Datagrams not forwarded, by reason; the rule is empty if none matched.";
    out.counter("relay_drops", help, |mut metric| {
        let none = Flow { rule: "", direction: "in", endpoint: "" };
        let unmatched = std::iter::once((&none, &relay.unmatched));
        let of_flows = flows.iter().map(|(labels, flow)| (labels, &flow.drops));
        unmatched.chain(of_flows).try_for_each(|(labels, drops)| metric.drops(labels, drops))
    })?;
    let help = "Time of the last datagram, in seconds since the Unix epoch; 0 means never.";
    out.gauge("relay_last_seen_seconds", help, |mut metric| {
        flows.iter().try_for_each(|(labels, flow)| metric.row(&labels.labels(), flow.last_seen_s))
    })?;
    out.gauge("relay_output_up", "Whether the output can send: 1 or 0.", |mut metric| {
        relay.rules.iter().try_for_each(|rule| {
            rule.outputs.iter().try_for_each(|output| {
                let labels = Flow { rule: &rule.name, direction: "out", endpoint: &output.to };
                metric.row(&labels.labels(), output.down.is_none().into())
            })
        })
    })?;
    relay_latency(out, relay)?;
    let help = "Frames that the kernel dropped because a packet socket's buffer was full.";
    out.counter("relay_kernel_drops", help, |mut metric| metric.row(NONE, relay.kernel_drops))
}

fn relay_latency(out: &mut Out<'_>, relay: &RelayStats) -> fmt::Result {
    if relay.rules.iter().all(|rule| rule.latency_us.is_none()) {
        return Ok(());
    }
    let help = "Time from a frame's arrival at the interface to the end of its send, once per \
                send, for the datagram in it that waited longest.";
    out.family("relay_latency_seconds", help, MetricType::Histogram, |mut metric| {
        for rule in &relay.rules {
            for output in &rule.outputs {
                let flow = Flow { rule: &rule.name, direction: "out", endpoint: &output.to };
                if let Some(latency_us) = &output.latency_us {
                    metric.histogram(&flow.labels(), latency_us, 1e-6)?;
                }
            }
        }
        Ok(())
    })
}

/// The labels of a relay figure.
struct Flow<'a> {
    rule: &'a str,
    direction: &'a str,
    endpoint: &'a str,
}

impl Flow<'_> {
    fn labels(&self) -> [Label<'_>; 3] {
        [("rule", &self.rule), ("direction", &self.direction), ("endpoint", &self.endpoint)]
    }
}

/// Writes metrics one after the other.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counter(
        &mut self,
        name: &str,
        help: &str,
        rows: impl FnOnce(Rows<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.family(name, help, COUNTER, rows)
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        rows: impl FnOnce(Rows<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, rows)
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        rows: impl FnOnce(Rows<'_>) -> fmt::Result,
    ) -> fmt::Result {
        rows(Rows(self.0.encode_descriptor(name, help, None, kind)?, kind))
    }
}

/// Writes the values of one metric.
struct Rows<'a>(MetricEncoder<'a>, MetricType);

impl Rows<'_> {
    fn row(&mut self, labels: &[Label<'_>], value: u64) -> fmt::Result {
        let (kind, labels) = (self.1, Labels(labels));
        if labels.0.is_empty() {
            return put(&mut self.0, kind, value);
        }
        put(&mut self.0.encode_family(&labels)?, kind, value)
    }

    /// Writes every reason, also those without a drop: a series that starts with its first drop
    /// would hide that drop from `rate()`.
    fn drops(&mut self, flow: &Flow<'_>, drops: &Counts) -> fmt::Result {
        RelayDrop::ALL.iter().map(|reason| reason.name()).try_for_each(|reason| {
            let [rule, direction, endpoint] = flow.labels();
            let count = drops.get(reason).copied().unwrap_or(0);
            self.row(&[rule, direction, endpoint, ("reason", &reason)], count)
        })
    }

    fn histogram(
        &mut self,
        labels: &[Label<'_>],
        histogram: &Histogram,
        scale: f64,
    ) -> fmt::Result {
        let labels = Labels(labels);
        let last = histogram.buckets.len().saturating_sub(1);
        let upper = |place: usize| match place {
            place if place == last => f64::INFINITY,
            place => (1_u64 << place) as f64 * scale,
        };
        let buckets: Vec<(f64, u64)> =
            histogram.buckets.iter().enumerate().map(|(at, count)| (upper(at), *count)).collect();
        let count = histogram.buckets.iter().sum();
        let sum = histogram.sum as f64 * scale;
        let mut row = self.0.encode_family(&labels)?;
        row.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

fn put(metric: &mut MetricEncoder<'_>, kind: MetricType, value: u64) -> fmt::Result {
    match kind {
        MetricType::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
        _ => metric.encode_gauge(&value),
    }
}

/// A name, its help text, and where its value comes from.
type Figure<T> = (&'static str, &'static str, fn(&T) -> u64);

type Label<'a> = (&'a str, &'a dyn fmt::Display);

/// Labels whose values are anything that implements `Display`.
struct Labels<'a>(&'a [Label<'a>]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(key, value)| {
            let mut label = encoder.encode_label();
            let mut name = label.encode_label_key()?;
            name.write_str(key)?;
            let mut text = name.encode_label_value()?;
            write!(text, "{value}")?;
            text.finish()
        })
    }
}

const NONE: &[Label<'static>] = &[];

const COUNTER: MetricType = MetricType::Counter;
