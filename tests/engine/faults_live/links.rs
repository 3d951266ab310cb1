//! Interfaces that go, come back, and change, under traffic.

use crate::common::switched_off;
use crate::faults_live::bed::{Bed, second_input, second_output};

#[test]
fn an_input_interface_goes_and_another_of_its_name_comes() {
    if switched_off() {
        return;
    }
    let bed = Bed::start();
    for _ in 0..2 {
        bed.line.hop(1).ip("link del dev left2");
        bed.linger();
        second_input(&bed.line);
        bed.recovered("input interface deleted, made anew");
    }
    bed.finish(&[("there is no such interface yet", 2)]);
}

#[test]
fn an_output_interface_goes_and_another_of_its_name_comes() {
    if switched_off() {
        return;
    }
    let bed = Bed::start();
    for _ in 0..2 {
        bed.line.hop(1).ip("link del dev right2");
        bed.linger();
        second_output(&bed.line);
        bed.recovered("output interface deleted, made anew");
    }
    bed.finish(&[("the output is down: interface right2 is missing or down", 2)]);
}

#[test]
fn interfaces_are_renamed_and_get_their_names_back() {
    if switched_off() {
        return;
    }
    let bed = Bed::start();
    let rename = |from: &str, to: &str| {
        for command in [
            format!("link set dev {from} down"),
            format!("link set dev {from} name {to}"),
            format!("link set dev {to} up"),
        ] {
            bed.line.hop(1).ip(&command);
        }
    };
    for (name, fault) in [
        ("left2", "input interface renamed, and named as before"),
        ("right2", "output interface renamed, and named as before"),
    ] {
        rename(name, "other");
        bed.linger();
        rename("other", name);
        bed.line.hop(1).ready(name);
        bed.recovered(fault);
    }
    bed.finish(&[
        ("there is no such interface yet", 1),
        ("the output is down: interface right2 is missing or down", 1),
    ]);
}

#[test]
fn interfaces_are_set_down_and_up() {
    if switched_off() {
        return;
    }
    let bed = Bed::start();
    for (name, fault) in
        [("left2", "input interface down, up"), ("right2", "output interface down, up")]
    {
        bed.line.hop(1).ip(&format!("link set dev {name} down"));
        bed.linger();
        bed.line.hop(1).ip(&format!("link set dev {name} up"));
        bed.recovered(fault);
        let joined = bed.line.hop(1).proc_net("igmp");
        // 239.1.1.2 in the kernel's way of writing it.
        assert!(joined.contains("020101EF"), "{joined}");
    }
    bed.finish(&[("the output is down: interface right2 is missing or down", 1)]);
}

/// Made anew and not set up for a while: what cannot be had yet is told once.
#[test]
fn an_input_interface_comes_back_down() {
    if switched_off() {
        return;
    }
    let bed = Bed::start();
    bed.line.hop(1).ip("link set dev left2 down");
    bed.line.hop(1).ip("link set dev left2 name other");
    bed.process.binary.event("there is no such interface yet");
    bed.line.hop(1).ip("link set dev other name left2");
    bed.linger();
    bed.line.hop(1).ip("link set dev left2 up");
    bed.recovered("input interface back under its name, but down, then up");
    bed.finish(&[("there is no such interface yet", 1)]);
}

#[test]
fn the_other_end_of_a_cable_is_down() {
    if switched_off() {
        return;
    }
    let bed = Bed::start();
    for (end, name, fault) in [
        (bed.line.source(), "right2", "carrier of the input lost, back"),
        (bed.line.sink(), "left2", "carrier of the output lost, back"),
    ] {
        end.ip(&format!("link set dev {name} down"));
        bed.linger();
        end.ip(&format!("link set dev {name} up"));
        bed.recovered(fault);
    }
    bed.finish(&[("the output is down: interface right2 is missing or down", 1)]);
}

#[test]
fn addresses_are_taken_away_and_given_back() {
    if switched_off() {
        return;
    }
    let bed = Bed::start();
    for (name, address, fault) in [
        ("left2", "10.7.0.2/24", "address of the input removed, added"),
        ("right2", "10.8.0.1/24", "address of the output removed, added"),
    ] {
        bed.line.hop(1).ip(&format!("addr del {address} dev {name}"));
        bed.linger();
        bed.line.hop(1).ip(&format!("addr add {address} dev {name}"));
        bed.recovered(fault);
    }
    // A group is then sent to from an address of another interface.
    bed.finish(&[]);
}
