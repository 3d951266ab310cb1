//! A process takes over from the one that runs, while datagrams keep coming.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use tempfile::TempDir;

use crate::common::{Ask, Client, eventually, give_away, hash, raw_socket, switched_off};
use crate::relay::hop::{Hop, Summary};
use crate::relay::line::Line;
use crate::relay::numbered::Numbered;
use crate::relay::traffic::rule;

/// A relay that is taken over from again and again.
struct Succession {
    line: Line,
    directory: TempDir,
    running: Hop,
    ended: Vec<Summary>,
}

impl Succession {
    fn start(text: &str) -> Self {
        let (line, directory) = (Line::new(1), tempfile::tempdir().unwrap());
        write(directory.path(), text);
        give_away(directory.path());
        let running = Hop::configured(line.hop(1), file(directory.path()).to_str().unwrap());
        Self { line, directory, running, ended: Vec::new() }
    }

    /// Another one takes over; it is there when the one before has ended.
    #[track_caller]
    fn take_over(&mut self) {
        let path = file(self.directory.path());
        let next = Hop::configured(self.line.hop(1), path.to_str().unwrap());
        let before = std::mem::replace(&mut self.running, next);
        before.event("handed over");
        self.ended.push(before.ended());
    }

    /// Ends the last one. Returns what all of them counted, and the namespaces.
    fn end(self) -> (Vec<Summary>, Line) {
        let Self { line, running, mut ended, .. } = self;
        ended.push(running.stop());
        (ended, line)
    }
}

fn write(directory: &Path, text: &str) {
    let common = "report_interval = \"0s\"\n[privileges]\nuser = \"65534\"\n\
                  [state]\ndirectory = \"state\"\ntakeover = true\n";
    let (workers, rest) = text.split_once('\n').unwrap();
    fs::write(file(directory), format!("{workers}\n{common}{rest}")).unwrap();
}

fn file(directory: &Path) -> PathBuf {
    directory.join("r.toml")
}

/// Insists that all processes together relayed so many of a rule, and dropped nothing at all.
#[track_caller]
fn assert_relayed(summaries: &[Summary], rule: &str, count: usize) {
    let all = summaries.iter().map(|summary| summary.input(rule));
    assert_eq!(all.map(|figures| figures.packets).sum::<u64>(), count as u64, "{rule}");
    for summary in summaries {
        assert_eq!((&*summary.input(rule).drops, summary.drops()), ("0", "0"));
        assert!(summary.outputs(rule).iter().all(|output| output.drops == "0"));
    }
}

const IPV6_RULE: &str = "[[relay.rule]]\nname = \"v6\"\ninput = \"[ff15::1]:5001@left\"\n\
                         outputs = [{ to = \"[ff15::2]:5002@right\" }]\n";

#[test]
fn every_datagram_arrives_once_over_five_takeovers() {
    if switched_off() {
        return;
    }
    let tracker = "[tracker]\nlisten = [\"127.0.0.1:0\"]\n";
    let mut all =
        Succession::start(&format!("workers = 2\n{tracker}[relay]\n{}{IPV6_RULE}", rule(1)));
    let reports = Reports::watch(&all.line);
    let v4 = Numbered::start(&all.line, "239.1.1.1:5001", "239.2.2.1:5002");
    let v6 = Numbered::start(&all.line, "[ff15::1]:5001", "[ff15::2]:5002");
    let server = all.running.tracker();
    let space = all.line.hop(1);
    space.run(|| Client::new(server).announce(&Ask::leecher(hash(1), 1)));
    for _ in 0..5 {
        v4.flow();
        v6.flow();
        all.take_over();
        assert_eq!(all.running.tracker(), server);
        all.running.event("packet sockets taken over");
        assert_eq!(reports.leaves(), 0, "a group was left");
    }
    v4.flow();
    v6.flow();
    all.line.hop(1).run(|| {
        let counts = Client::new(server).announce(&Ask::leecher(hash(1), 2)).counts();
        assert_eq!(counts, (0, 2), "the swarms came along");
    });
    let (v4, v6) = (v4.end(), v6.end());
    let (summaries, _line) = all.end();
    assert_relayed(&summaries, "r1", v4);
    assert_relayed(&summaries, "v6", v6);
    // The last one leaves both, and is seen to.
    eventually("reports that the groups were left", || (reports.leaves() >= 2).then_some(()));
}

#[test]
fn a_relay_without_a_tracker_is_taken_over_with_other_rules() {
    if switched_off() {
        return;
    }
    let text = |rules: &[u8]| {
        let rules: String = rules.iter().map(|number| rule(*number)).collect();
        format!("workers = 1\n[relay]\n{rules}")
    };
    let mut all = Succession::start(&text(&[1]));
    let steady = Numbered::start(&all.line, "239.1.1.1:5001", "239.2.2.1:5002");
    steady.flow();
    write(all.directory.path(), &text(&[2, 1]));
    all.take_over();
    let other = Numbered::start(&all.line, "239.1.1.2:5001", "239.2.2.2:5002");
    other.flow();
    steady.flow();
    write(all.directory.path(), &text(&[1, 3, 2]));
    all.take_over();
    other.flow();
    let others = other.end();
    write(all.directory.path(), &text(&[3, 1]));
    all.take_over();
    steady.flow();
    let count = steady.end();
    let kept: Vec<_> = fs::read_dir(all.directory.path().join("state")).unwrap().collect();
    assert_eq!(kept.len(), 2, "a lock and a socket: {kept:?}");
    let (summaries, _line) = all.end();
    assert_relayed(&summaries, "r1", count);
    assert_relayed(&summaries[1..3], "r2", others);
}

#[test]
fn another_number_of_workers_opens_its_own_sockets_and_says_so() {
    if switched_off() {
        return;
    }
    let text = |workers| format!("workers = {workers}\n[relay]\n{}", rule(1));
    let mut all = Succession::start(&text(1));
    write(all.directory.path(), &text(2));
    all.take_over();
    let told = all.running.event("the packet sockets of the process before this one");
    let message = told["message"].as_str().unwrap();
    assert!(message.ends_with("there are 1 for 2 workers"), "{message}");
    let numbered = Numbered::start(&all.line, "239.1.1.1:5001", "239.2.2.1:5002");
    numbered.flow();
    let count = numbered.end();
    assert_relayed(&all.end().0[1..], "r1", count);
}

/// What the relay's host reports of its memberships, as routers hear it (RFC 3376, RFC 3810).
struct Reports(OwnedFd);

impl Reports {
    fn watch(line: &Line) -> Self {
        let socket = raw_socket(line.source(), "right");
        setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).unwrap();
        Self(socket)
    }

    /// How often a group was left in the reports that came since the last call.
    fn leaves(&self) -> usize {
        let mut frame = [0; 2048];
        let mut count = 0;
        while let Ok(length) = recv(self.0.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
            count += leaves(&frame[..length]);
        }
        count
    }
}

/// The records of a report that include no source any more.
fn leaves(frame: &[u8]) -> usize {
    let (records, record_bytes) = match (&frame[12..14], &frame[14..]) {
        ([0x08, 0x00], ip) if ip[9] == IGMP => (&ip[4 * usize::from(ip[0] & 15)..], 8),
        // Behind a hop-by-hop header of eight bytes.
        ([0x86, 0xdd], ip) if (ip[6], ip[40]) == (0, ICMPV6) => (&ip[48..], 20),
        _ => return 0,
    };
    if ![IGMP_REPORT, MLD_REPORT].contains(&records[0]) {
        return 0;
    }
    let mut rest = &records[8..];
    let mut count = 0;
    for _ in 0..u16::from_be_bytes([records[6], records[7]]) {
        let sources = u16::from_be_bytes([rest[2], rest[3]]);
        count += usize::from((rest[0], sources) == (CHANGE_TO_INCLUDE, 0));
        let address_bytes = record_bytes - 4;
        rest = &rest[record_bytes + usize::from(sources) * address_bytes..];
    }
    count
}

const IGMP: u8 = 2;
const ICMPV6: u8 = 58;
const IGMP_REPORT: u8 = 0x22;
const MLD_REPORT: u8 = 143;
const CHANGE_TO_INCLUDE: u8 = 3;
