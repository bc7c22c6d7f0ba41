//! Durable sends of the client library over networks that do each wrong thing there is: nothing is
//! lost, nothing comes twice, and everything comes in its order.

use std::time::Duration;

use tidings::client::{Client, ConnectOptions, Event, Fingerprint, Incoming, OpenOptions};
use tidings::client::{Outgoing, Session, Trust};
use tokio::task::JoinSet;

use crate::harness::{Running, peer, soon};
use crate::network::{Carried, Direction, Faults, Proxy};

/// Messages of a talk, one every few milliseconds.
const MESSAGES: u32 = 400;
const PACE: Duration = Duration::from_millis(5);
/// How many there are from one event of the network to the next.
const EVENT_EVERY: u32 = 50;
const EVENTS: u64 = (MESSAGES / EVENT_EVERY) as u64;
/// What the faults are drawn from.
const SEED: u64 = 20_261_122;

/// Ann and bob, each behind a bad network of their own way.
struct Talk {
    _server: Running,
    proxy: Proxy,
    clients: [Client; 2],
    ann: Session,
    bob: Session,
    to_ann: Incoming,
    to_bob: Incoming,
}

impl Talk {
    /// They meet on a good network.
    async fn start() -> Self {
        let server = Running::start().await;
        let proxy = Proxy::start(server.address(), SEED).await.unwrap();
        let fingerprint: Fingerprint = server.server().fingerprint().parse().unwrap();
        let address = proxy.address().unwrap().to_string();
        let connect = || async {
            let options = ConnectOptions::new(address.clone());
            let connecting = Client::connect(options.trust(Trust::Fingerprint(fingerprint)));
            soon("a connection", connecting).await.unwrap()
        };
        let clients = [connect().await, connect().await];
        let opening = |client: Client, name: &'static str| async move {
            soon("an opening", client.open(OpenOptions::new(peer(name)))).await.unwrap()
        };
        let (ann, to_ann) = opening(clients[0].clone(), "ann").await;
        let (bob, to_bob) = opening(clients[1].clone(), "bob").await;
        Self { _server: server, proxy, clients, ann, bob, to_ann, to_bob }
    }

    fn ports(&self) -> [u16; 2] {
        [0, 1].map(|index| self.clients[index].local_addr().unwrap().port())
    }

    /// They talk to one another in bodies of so many bytes while `event` happens now and then, and
    /// each has all that the other said, once and in order. Says what the network has done.
    async fn prove(self, bytes: usize, event: impl AsyncFn(&Proxy, [u16; 2])) -> Carried {
        let (ports, Self { _server, proxy, ann, bob, to_ann, to_bob, .. }) = (self.ports(), self);
        let (mut pace, mut answers) = (tokio::time::interval(PACE), JoinSet::new());
        let talk = async {
            for number in 0..MESSAGES {
                pace.tick().await;
                for (session, other) in [(&ann, "bob"), (&bob, "ann")] {
                    let mut body = vec![0; bytes];
                    body[..4].copy_from_slice(&number.to_be_bytes());
                    let message = Outgoing::to(peer(other), body);
                    answers.spawn(session.start_send(message).await.unwrap());
                }
                if number % EVENT_EVERY == EVENT_EVERY - 1 {
                    event(&proxy, ports).await;
                }
            }
            while let Some(answer) = answers.join_next().await {
                answer.unwrap().unwrap();
            }
        };
        let hear = |incoming| soon("all messages", hear_all(incoming));
        tokio::join!(soon("all answers", talk), hear(to_ann), hear(to_bob));
        let carried = proxy.carried();
        println!("{}", carried.told());
        carried
    }
}

/// Hears all messages of a talk, and nothing more.
async fn hear_all(mut incoming: Incoming) {
    let mut next = 0;
    while next < MESSAGES {
        match incoming.next().await.unwrap() {
            Event::Message(message) => {
                let number = u32::from_be_bytes(message.body[..4].try_into().unwrap());
                assert_eq!(number, next, "lost, repeated or out of order");
                next += 1;
            }
            Event::Dropped { count, .. } => panic!("{count} dropped"),
            Event::Ended(why) => panic!("{why:?}"),
            _ => {}
        }
    }
}

async fn nothing(_: &Proxy, _: [u16; 2]) {}

#[tokio::test]
async fn nothing_is_lost_or_repeated_where_datagrams_are_lost_reordered_and_doubled() {
    let talk = Talk::start().await;
    talk.proxy.set(Faults { loss: 10, reorder: 20, duplicate: 20, ..Faults::default() });
    let Carried { lost, reordered, duplicated, .. } = talk.prove(100, nothing).await;
    assert!(lost > 0 && reordered > 0 && duplicated > 0, "{lost}, {reordered}, {duplicated}");
}

#[tokio::test]
async fn nothing_is_lost_or_repeated_over_a_slow_and_distant_way() {
    let talk = Talk::start().await;
    let (delay, bits_per_second) = (Duration::from_millis(40), 2_000_000);
    talk.proxy.set(Faults { delay, bits_per_second, loss: 1, ..Faults::default() });
    assert!(talk.prove(1_000, nothing).await.lost > 0, "the way was good");
}

#[tokio::test]
async fn nothing_is_lost_or_repeated_when_long_datagrams_stop_getting_through() {
    let talk = Talk::start().await;
    // The connections find out that more gets through, and then it does not any more.
    let narrow = async |proxy: &Proxy, _: [u16; 2]| {
        if proxy.carried().came > 1_000 {
            proxy.set(Faults { mtu: 1_200, ..Faults::default() });
        }
    };
    assert!(talk.prove(2_000, narrow).await.too_long > 0, "no long datagram was stopped");
}

#[tokio::test]
async fn nothing_is_lost_or_repeated_while_addresses_change_under_loss() {
    let talk = Talk::start().await;
    talk.proxy.set(Faults { loss: 10, ..Faults::default() });
    let rebind = async |proxy: &Proxy, ports: [u16; 2]| {
        for port in ports {
            proxy.rebind(port).await.unwrap();
        }
    };
    let Carried { lost, rebinds, .. } = talk.prove(100, rebind).await;
    assert!(lost > 0, "the way was good");
    assert_eq!(rebinds, 2 * EVENTS);
}

#[tokio::test]
async fn nothing_is_lost_or_repeated_while_single_directions_are_cut() {
    let talk = Talk::start().await;
    let cut = async |proxy: &Proxy, [ann, bob]: [u16; 2]| {
        let time = Duration::from_millis(700);
        proxy.cut(ann, Direction::Up, time).unwrap();
        proxy.cut(bob, Direction::Down, time).unwrap();
    };
    assert!(talk.prove(100, cut).await.cut > 0, "nothing was cut");
}
