//! What is too much, too slow or nonsense is answered or cut off, and others are served meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use crate::common::asking::Controlled;

#[test]
fn errors_are_json_with_advice() {
    let process = Controlled::start("");
    for (method, path, body, status) in [
        ("GET", "/api/v1/nothing", "", 404),
        ("POST", "/api/v1/stats", "", 405),
        ("PATCH", "/api/v1/access", "{", 400),
        ("PATCH", "/api/v1/access", r#"{"ad":[]}"#, 400),
        ("PUT", "/api/v1/log-level", "", 400),
        ("GET", "/api/v1/torrents?limit=x", "", 400),
        ("GET", "/api/v1/torrents?limit=1001", "", 422),
        ("GET", "/api/v1/torrents/12", "", 422),
        ("GET", "/api/v1/rules", "", 409),
        ("POST", "/api/v1/drain", r#"{"wait":"10"}"#, 422),
    ] {
        let (answered, value) = process.ask_json(method, path, body);
        assert_eq!(answered, status, "{method} {path}: {value}");
        assert!(!value["error"].as_str().unwrap().is_empty(), "{method} {path}: {value}");
        assert!(!value["advice"].as_str().unwrap().is_empty(), "{method} {path}: {value}");
    }
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    let process = Controlled::start("");
    let stream = UnixStream::connect(process.path("control.sock")).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let head = "PATCH /api/v1/access HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                content-length: 2000000\r\n\r\n";
    writer.write_all(head.as_bytes()).unwrap();
    // Nothing of the body is sent: what the other side leaves unread would reset the connection,
    // and could take the answer with it.
    let mut answer = String::new();
    (&stream).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("send less"), "{answer}");
    assert_eq!(process.ctl_text("health"), "healthy\n");
}

/// As many as fit into a body. That they are refused is not enough: others must be served
/// meanwhile, as they are when it takes no time to speak of.
#[test]
fn more_rules_than_there_may_be_are_refused_before_they_are_compared() {
    let rules = "[relay]\n[[relay.rule]]\nname = \"a\"\ninput = \"239.9.1.1:1@absent\"\n";
    let process = Controlled::start(rules);
    let many = |item: &str| vec![item; 1_000_000 / (item.len() + 1)].join(",");
    let (spec, name) = (many(r#"{"input":"x"}"#), many("\"a\""));
    let same = many(r#"{"input":"239.9.1.1:1@x","source":["10.0.0.1"]}"#);
    for (method, body) in [
        ("PATCH", format!(r#"{{"add":[{spec}]}}"#)),
        ("PATCH", format!(r#"{{"replace":[{spec}]}}"#)),
        ("PATCH", format!(r#"{{"remove":[{name}]}}"#)),
        ("PUT", format!(r#"{{"rules":[{spec}]}}"#)),
        ("PUT", format!(r#"{{"rules":[{same}]}}"#)),
    ] {
        let (status, value) = process.ask_json(method, "/api/v1/rules", &body);
        let what = &body[..20];
        assert_eq!(status, 422, "{method} {what}: {value}");
        let error = value["error"].as_str().unwrap();
        assert!(error.starts_with("allowed are up to 1024 rules, not "), "{what}: {error}");
        // The main thread is there for others.
        assert_eq!(process.ctl_text("log-level"), "info\n", "{what}");
    }
    let one = vec![r#"{"input":"239.9.1.2:2@absent"}"#; 1024].join(",");
    let (status, value) =
        process.ask_json("PATCH", "/api/v1/rules", &format!(r#"{{"add":[{one}]}}"#));
    assert_eq!((status, value["error"].as_str().unwrap().len() < 100), (422, true), "{value}");
}

#[test]
fn clients_that_are_silent_do_not_keep_others_out() {
    let process = Controlled::start("");
    let address = process.http();
    // As many as are served at a time, and some that wait behind them.
    let mut silent: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    silent.iter_mut().for_each(|stream| stream.write_all(b"GET /stats").unwrap());
    // The control socket has room of its own.
    assert_eq!(process.ctl_text("health"), "healthy\n");
    // They are turned out one after the other, and then this one's turn has come.
    let (status, _) = process.get("/healthz");
    assert_eq!(status, 200);
}

#[test]
fn garbage_and_heads_without_end_are_cut_off() {
    let process = Controlled::start("");
    for bytes in [vec![0; 100], [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 1 << 20]].concat()] {
        let mut stream = TcpStream::connect(process.http()).unwrap();
        // The other side may have closed before all is written.
        let _ = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
    }
    assert_eq!(process.get("/healthz").0, 200);
}

#[test]
fn what_everybody_may_ask_changes_nothing() {
    let process = Controlled::start("");
    for path in ["/api/v1/version", "/api/v1/stats", "/api/v1/config", "/../api/v1/config"] {
        assert_eq!(process.get(path).0, 404, "{path}");
    }
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let stream = TcpStream::connect(process.http()).unwrap();
        let (status, _) = crate::common::asking::ask(stream, method, "/stats.json", "{}");
        assert_eq!(status, 405, "{method}");
    }
}
