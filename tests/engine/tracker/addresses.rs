//! Which address a reply comes from. That it is the one asked, [`Client`] checks of every reply.

use std::net::{IpAddr, SocketAddr};

use ringtide::telemetry::Counter;

use crate::common::{Ask, Client, Running, hash};

#[test]
fn wildcard_sockets_answer_from_the_address_that_was_asked() {
    for workers in [1, 2] {
        let running = Running::with_workers(workers, |settings| {
            let listen = ["0.0.0.0:0", "[::]:0", "0.0.0.0:0"];
            settings.tracker.as_mut().unwrap().listen =
                listen.map(|text| text.parse().unwrap()).to_vec();
        });
        let mut port = 1000;
        for (listen, asked) in [
            (0, "127.0.0.5"),
            (0, "127.0.0.1"),
            (0, "127.255.0.77"),
            (1, "::1"),
            (2, "127.0.0.1"),
            (2, "127.0.0.5"),
        ] {
            let asked: IpAddr = asked.parse().unwrap();
            let client = Client::new(SocketAddr::new(asked, running.address(listen).port()));
            port += 1;
            client.announce(&Ask::leecher(hash(1), port));
            client.scrape(&[hash(1), hash(2)]);
        }
        assert_eq!(running.holdings(), (2, 6));
        running.stop();
    }
}

#[test]
fn several_addresses_share_one_tracker() {
    let listen = ["127.0.0.1:0", "127.0.0.1:0", "127.0.0.2:0", "[::1]:0", "[::1]:0"];
    let running = Running::start(|settings| {
        settings.tracker.as_mut().unwrap().listen =
            listen.map(|text| text.parse().unwrap()).to_vec();
    });
    let addresses: Vec<SocketAddr> = running.view().addresses().collect();
    for (at, asked) in listen.iter().zip(&addresses) {
        assert_eq!(asked.ip(), at.parse::<SocketAddr>().unwrap().ip());
        assert!(addresses.iter().filter(|other| *other == asked).count() == 1 && asked.port() > 0);
    }
    let clients: Vec<Client> = addresses.iter().map(|asked| Client::new(*asked)).collect();
    for (port, client) in (1001..).zip(&clients) {
        client.announce(&Ask::leecher(hash(1), port));
    }
    assert_eq!(clients[0].announce(&Ask::leecher(hash(1), 1001)).ports(), [1002, 1003]);
    assert_eq!(clients[4].announce(&Ask::leecher(hash(1), 1005)).ports(), [1004]);
    assert_eq!(running.stop().get(Counter::ConnectResponses), 5);
}
