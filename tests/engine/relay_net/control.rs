//! What the control side makes of interfaces whose news it has not heard yet.

use std::sync::Arc;
use std::time::Duration;

use ringtide::io::socket_table::SocketTable;
use ringtide::io::{ServiceId, WorkerControl};
use ringtide::relay::control::{OwnSockets, RelayControl, RelayWorker};
use ringtide::relay::{Dscp, Input, Output, RelaySettings, Rule, Ttl};
use ringtide::sys::fd_bundle::Inherited;

use crate::common::{Cable, switched_off};

/// A rule from an interface that is not there to these outputs.
fn rule(outputs: &[&str]) -> Rule {
    let output = |endpoint: &&str| Output {
        endpoint: endpoint.parse().unwrap(),
        ttl: Ttl::Usual,
        dscp: Dscp::Set(0),
        source: None,
    };
    Rule {
        name: "r1".to_owned(),
        input: Input { endpoint: "239.1.1.1:5001@absent".parse().unwrap(), sources: Vec::new() },
        outputs: outputs.iter().map(output).collect(),
    }
}

/// News that come one by one are of one event, and the reason is the same throughout.
#[test]
fn an_output_by_an_interface_that_has_just_gone_is_down_for_that_reason() {
    if switched_off() {
        return;
    }
    for fault in ["link del dev a", "link set dev a down"] {
        let cable = Cable::new();
        let why = cable.near.run(|| {
            let worker = RelayWorker {
                sockets: Arc::new(SocketTable::new(ServiceId::Tracker, [])),
                control: Arc::new(WorkerControl::new(Duration::from_secs(2)).unwrap()),
                shared: Arc::default(),
                counters: Arc::default(),
            };
            let settings = RelaySettings {
                rules: vec![rule(&["239.2.2.2:5002@a"])],
                ..RelaySettings::default()
            };
            let mut control = RelayControl::new(
                settings,
                vec![worker],
                Box::new(OwnSockets),
                Inherited::default(),
            )
            .unwrap();
            let why = |control: &RelayControl, output: usize| {
                control.view().load().rules[0].outputs[output].down.clone()
            };
            assert_eq!(why(&control, 0), None);
            cable.near.ip(fault);
            // No news have been read since.
            control.apply(vec![rule(&["239.2.2.2:5002@a", "239.2.2.3:5002@a"])]).unwrap();
            why(&control, 1)
        });
        assert_eq!(why.as_deref(), Some("interface a is missing or down"), "{fault}");
    }
}
