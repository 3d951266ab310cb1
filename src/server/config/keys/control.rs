//! `[control]` and `[http]`: how a running process is asked and changed.

use std::net::SocketAddr;

use crate::server::config::control::{ControlConfig, ControlSocket, OFF};
use crate::server::config::kinds::{FileOrWord, OptionalText, OrWord};
use crate::server::config::table::Reload::Restart;
use crate::server::config::table::{Key, Section};
use crate::values::listen::parse_listen;

pub(crate) static CONTROL: Section<ControlConfig> = Section {
    name: "control",
    title: "[control]",
    doc: "How a running ringtide is asked and changed: `ringtide ctl`, or HTTP and JSON on a Unix \
          socket.",
    notes: &[],
    keys: &[
        Key {
            name: "control.socket",
            doc: "The control socket, or \"off\" for none. Anyone who can write to it controls the \
                  process: it belongs to this user and `group`, with mode 0660. A path set here \
                  must work, or ringtide does not start.",
            example: "\"/run/ringtide/control.sock\"",
            reload: Restart,
            value: &FileOrWord::<ControlConfig> {
                word: OFF,
                absent: "/run/ringtide/control.sock, or what the environment variable \
                         RINGTIDE_CONTROL_SOCKET names; if that fails, ringtide logs it and runs \
                         without a control socket",
                get: |control| match &control.socket {
                    ControlSocket::Usual => OrWord::Absent,
                    ControlSocket::Off => OrWord::Word,
                    ControlSocket::At(path) => OrWord::Value(path.clone()),
                },
                set: |control, socket| {
                    control.socket = match socket {
                        OrWord::Absent => ControlSocket::Usual,
                        OrWord::Word => ControlSocket::Off,
                        OrWord::Value(path) => ControlSocket::At(path),
                    };
                },
            },
        },
        Key {
            name: "control.group",
            doc: "The group that may use the control socket.",
            example: "\"ringtide\"",
            reload: Restart,
            value: &OptionalText::<ControlConfig, _> {
                unit: "the name of a group",
                absent: "the group of the process",
                parse: |name| match name {
                    "" => Err("must name a group".to_owned()),
                    name => Ok(name.to_owned()),
                },
                get: |control| control.group.clone(),
                set: |control, group| control.group = group,
            },
        },
    ],
};

pub(crate) static HTTP: Section<Option<SocketAddr>> = Section {
    name: "http",
    title: "[http]",
    doc: "Metrics, health and a dashboard over HTTP, for reading only.",
    notes: &[],
    keys: &[Key {
        name: "http.listen",
        doc: "The address to serve on: /metrics for Prometheus, /stats.json, /healthz, and / for \
              browsers. There is no password: leave it on a loopback address, or let a firewall \
              or proxy decide who may read.",
        example: "\"127.0.0.1:9100\"",
        reload: Restart,
        value: &OptionalText::<Option<SocketAddr>, _> {
            unit: "an address and a port",
            absent: "none, which serves nothing",
            parse: parse_listen,
            get: |http| *http,
            set: |http, address| *http = address,
        },
    }],
};
