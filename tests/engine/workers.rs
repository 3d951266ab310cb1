//! Several workers: one tracker to every client, each request at the worker that owns it.

use std::fs;
use std::process::Command;

use crate::common::{
    Ask, Binary, Client, Fleet, PANIC, PANIC_HOLDING_THE_SHARD, RINGTIDE, Running, eventually, hash,
};
use ringtide::io::LoopSizes;
use ringtide::telemetry::{Counter, DropReason};
use ringtide::tracker::core::TrackerSettings;

const WORKERS: usize = 2;

fn fleet() -> Fleet {
    Fleet::start(WORKERS, LoopSizes::TRACKER, TrackerSettings::default())
}

/// Hashes that belong to `owner`, from the number `from` on.
fn owned(fleet: &Fleet, owner: usize, from: u32, count: usize) -> Vec<u32> {
    (from..).filter(|number| fleet.shards.owner(&hash(*number)) == owner).take(count).collect()
}

#[test]
fn clients_of_all_workers_meet_in_one_swarm() {
    for steering in [true, false] {
        let running = Running::with_workers(WORKERS, |settings| {
            settings.tracker.as_mut().unwrap().steering = steering
        });
        assert_eq!(running.view().is_steered(), steering);
        // Enough flows and transactions that both workers get some, whatever spreads them.
        let clients: Vec<Client> = (0..40).map(|_| running.client()).collect();
        for (before, client) in (0u16..).zip(&clients) {
            let reply = client.announce(&Ask::leecher(hash(1), 1001 + before).numwant(200));
            assert_eq!(reply.counts(), (0, u32::from(before) + 1));
            assert_eq!(reply.ports(), (1001..1001 + before).collect::<Vec<_>>());
        }
        let announces = running.view().counted_by_worker().map(|worker| {
            assert!(worker.get(Counter::ConnectsIpv4) > 0, "connects spread");
            worker.get(Counter::AnnouncesIpv4)
        });
        let busy = announces.filter(|announces| *announces > 0).count();
        assert_eq!(busy, if steering { 1 } else { WORKERS }, "steering = {steering}");
        assert_eq!(running.holdings(), (1, 40));
        running.stop();
    }
}

#[test]
fn every_request_arrives_at_its_owner() {
    let fleet = fleet();
    for listen in [0, 1] {
        let clients: Vec<Client> = (0..20).map(|_| fleet.client(listen)).collect();
        let (mut announces, mut scrapes) = ([0; WORKERS], [0; WORKERS]);
        for (number, client) in (0..5000).zip(clients.iter().cycle()) {
            client.announce(&Ask::leecher(hash(number), 1001));
            announces[fleet.shards.owner(&hash(number))] += 1;
        }
        for (number, client) in (4000..6000).zip(clients.iter().cycle()) {
            let leechers = u32::from(number < 5000);
            assert_eq!(client.scrape_one(hash(number)), (0, 0, leechers));
            scrapes[fleet.shards.owner(&hash(number))] += 1;
        }
        assert!(announces.iter().all(|share| *share > 2000), "uneven: {announces:?}");
        let [announced, scraped] = [
            [Counter::AnnouncesIpv4, Counter::ScrapesIpv4],
            [Counter::AnnouncesIpv6, Counter::ScrapesIpv6],
        ][listen];
        assert_eq!(fleet.by_worker(announced), announces);
        assert_eq!(fleet.by_worker(scraped), scrapes);
    }
    let total = fleet.started.stop_and_check();
    assert_eq!(total.get(Counter::RequestsAtOwner), 2 * 7000);
    assert_eq!(total.get(Counter::RequestsElsewhere), 0);
}

#[test]
fn connects_spread_over_the_workers() {
    let running = Running::with_workers(WORKERS, |_| {});
    let mut request = [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 0, 0, 0, 0];
    let client = running.client();
    let mut random = fastrand::Rng::with_seed(7);
    // Clients number their transactions at random, or count, in either order of bytes.
    let numberings: [&mut dyn FnMut(u32) -> u32; 4] =
        [&mut |_| random.u32(..), &mut |n| n, &mut u32::swap_bytes, &mut |n| n << 16];
    let mut before = vec![0; WORKERS];
    for numbering in numberings {
        for number in 0..1000 {
            request[12..].copy_from_slice(&numbering(number).to_be_bytes());
            assert_eq!(client.exchange(&request)[4..8], request[12..]);
        }
        for (worker, before) in running.view().counted_by_worker().zip(&mut before) {
            let connects = worker.get(Counter::ConnectsIpv4);
            assert!((300..700).contains(&(connects - *before)), "{} of 1000", connects - *before);
            *before = connects;
        }
    }
    running.stop();
}

#[test]
fn without_steering_every_answer_is_the_same() {
    let running = Running::with_workers(WORKERS, |settings| {
        settings.tracker.as_mut().unwrap().steering = false
    });
    let clients: Vec<Client> = (0..20).map(|_| running.client()).collect();
    for number in 0..1000 {
        let [first, second] = [number, number + 7].map(|at| &clients[at as usize % clients.len()]);
        first.announce(&Ask::leecher(hash(number), 1001));
        let reply = second.announce(&Ask::seeder(hash(number), 1002));
        assert_eq!((reply.counts(), reply.ports()), ((1, 1), vec![1001]));
        assert_eq!(first.scrape_one(hash(number)), (1, 0, 1));
    }
    let total = running.stop();
    let elsewhere = total.get(Counter::RequestsElsewhere);
    assert!(elsewhere > 0);
    assert_eq!(total.get(Counter::RequestsAtOwner) + elsewhere, 3000);
}

/// A panic of worker 0, with and without its shard's lock held, as clients of both see it.
#[test]
fn a_panic_leaves_the_swarms_and_the_other_worker_alone() {
    for poison in [PANIC, PANIC_HOLDING_THE_SHARD] {
        let fleet = fleet();
        let clients: Vec<Client> = (0..8).map(|_| fleet.client(0)).collect();
        let numbers: Vec<u32> = (0..400).collect();
        for (number, client) in numbers.iter().zip(clients.iter().cycle()) {
            client.announce(&Ask::seeder(hash(*number), 1001).completed());
            client.announce(&Ask::leecher(hash(*number), 1002));
        }
        for client in &clients {
            client.id();
        }
        let others = owned(&fleet, 1, 0, 150);
        for panics in 1..=3 {
            clients[0].send(poison);
            // The other worker answers while this one goes down and comes back.
            for (number, client) in others.iter().zip(clients.iter().cycle()) {
                assert_eq!(client.scrape_one(hash(*number)), (1, 1, 1));
            }
            let restarts = || fleet.by_worker(Counter::WorkerRestarts) == [panics, 0];
            eventually("the restart", || restarts().then_some(()));
        }
        for (number, client) in numbers.iter().zip(clients.iter().cycle()) {
            assert_eq!(client.scrape_one(hash(*number)), (1, 1, 1), "the swarm lives on");
            let reply = client.announce(&Ask::leecher(hash(*number), 1003));
            assert_eq!((reply.counts(), reply.ports()), ((1, 2), vec![1001, 1002]));
        }
        // Steering is as exact as before: the sockets and their order are the same.
        for (number, client) in (1000..2000).zip(clients.iter().cycle()) {
            client.announce(&Ask::leecher(hash(number), 1001));
        }
        let total = fleet.started.stop_and_check();
        assert_eq!(total.get(Counter::RequestsElsewhere), 0);
        assert_eq!(total.get(Counter::WorkerRestarts), 3);
        assert_eq!(total.dropped(DropReason::Panic), 3);
        assert_eq!(total.dropped_total(), 3);
    }
}

#[test]
fn workers_are_pinned_to_the_cores_of_the_mask() {
    let usable: Vec<usize> =
        core_affinity::get_core_ids().unwrap().iter().map(|core| core.id).collect();
    let last = *usable.last().unwrap();
    for cores in [usable, vec![last]] {
        let list = cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut command = Command::new("taskset");
        command.args(["-c", &list, RINGTIDE, "tracker", "--listen", "127.0.0.1:0"]);
        command.args(["--log-format", "json"]);
        let binary = Binary::spawn(command);
        binary.serving();
        assert_eq!(binary.event("serving")["workers"], cores.len());
        let mut pinned: Vec<(String, String)> = fs::read_dir(tasks_of(&binary))
            .unwrap()
            .map(|task| {
                name_and_cores(&fs::read_to_string(task.unwrap().path().join("status")).unwrap())
            })
            .filter(|(name, _)| name.starts_with("worker-"))
            .collect();
        pinned.sort_unstable();
        let expected: Vec<(String, String)> = (0..)
            .zip(&cores)
            .map(|(index, core): (usize, _)| (format!("worker-{index}"), core.to_string()))
            .collect();
        assert_eq!(pinned, expected);
    }
}

fn tasks_of(binary: &Binary) -> String {
    format!("/proc/{}/task", binary.pid())
}

/// A thread's name and the cores it may run on, from its `status` (proc(5)).
fn name_and_cores(status: &str) -> (String, String) {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    };
    (field("Name"), field("Cpus_allowed_list"))
}
