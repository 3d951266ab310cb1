//! How many peers a reply names, and how large it gets.

use std::collections::BTreeSet;

use crate::common::{Ask, Client, Running, hash};

/// Enough to fill a datagram of either family.
const PEERS: u16 = 300;

fn crowded(numwant_max: u16) -> (Running, [Client; 2]) {
    let running = Running::start(|settings| {
        settings.tracker.as_mut().unwrap().listen.push("[::1]:0".parse().unwrap());
        settings.tracker.as_mut().unwrap().settings.numwant_max = numwant_max;
    });
    let clients = [0, 1].map(|listen| Client::new(running.address(listen)));
    for client in &clients {
        for port in 1..=PEERS {
            // A third are seeders.
            let left = u64::from(port % 3);
            client.announce(&Ask { left, ..Ask::leecher(hash(1), port) }.numwant(0));
        }
    }
    (running, clients)
}

/// How many peers the asker gets; they have to differ from each other and from the asker.
fn got(client: &Client, ask: &Ask) -> usize {
    let reply = client.announce(ask);
    let different: BTreeSet<_> = reply.peers.iter().collect();
    assert_eq!(different.len(), reply.peers.len());
    assert!(different.iter().all(|peer| peer.port() != ask.port), "told of itself");
    assert_eq!(reply.counts().0 + reply.counts().1, u32::from(PEERS));
    reply.peers.len()
}

#[test]
fn the_client_gets_what_it_wants_up_to_the_maximum() {
    let (_running, clients) = crowded(60);
    for client in &clients {
        for (numwant, expected) in [
            (-1, 50),
            (i32::MIN, 50),
            (0, 0),
            (1, 1),
            (2, 2),
            (50, 50),
            (60, 60),
            (61, 60),
            (200, 60),
            (i32::MAX, 60),
        ] {
            let leecher = Ask::leecher(hash(1), 1).numwant(numwant);
            assert_eq!(got(client, &leecher), expected, "leecher, numwant {numwant}");
            let seeder = Ask::seeder(hash(1), 3).numwant(numwant);
            assert_eq!(got(client, &seeder), expected, "seeder, numwant {numwant}");
        }
    }
}

#[test]
fn a_reply_fills_one_unfragmented_datagram_and_no_more() {
    let (_running, clients) = crowded(1000);
    for (client, peers, bytes) in [(&clients[0], 242, 1472), (&clients[1], 79, 1442)] {
        let ask = Ask::leecher(hash(1), 1).numwant(1000);
        assert_eq!(got(client, &ask), peers);
        assert_eq!(client.announce(&ask).bytes, bytes);
        // Fewer seeders' leechers than fit over IPv4.
        assert_eq!(got(client, &Ask::seeder(hash(1), 3).numwant(1000)), peers.min(200));
    }
}
