//! Whole runs against a small broker in this process.
//!
//! # Invariants
//!
//! * The broker keeps what is published for clients that are away, and hands it out in order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;
use rumqttc::mqttbytes::v4::{
    ConnAck, ConnectReturnCode, Packet, PubAck, Publish, SubAck, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Sender, channel};

use crate::options::Scenario;
use crate::report::Report;
use crate::scenario::{self, On};

const PACKET_BYTES_MAX: usize = 10_000;
/// Packets on their way to one client; more than any of these runs has.
const PACKETS_MAX: usize = 10_000;

/// What the broker keeps of a client.
#[derive(Default)]
struct Client {
    topics: Vec<String>,
    waiting: VecDeque<Publish>,
    line: Option<Sender<Packet>>,
}

/// A broker in memory.
#[derive(Default)]
struct Small {
    clients: Mutex<HashMap<String, Client>>,
    /// How often it hands out a message.
    copies: usize,
}

impl Small {
    /// Starts a broker; says what the command line calls it.
    async fn start(copies: usize) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = format!("mqtt://{}", listener.local_addr().unwrap());
        let broker = Arc::new(Self { copies, ..Self::default() });
        let serving = broker.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        (broker, name)
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let (mut read, mut write) = stream.into_split();
        let (line, mut said) = channel::<Packet>(PACKETS_MAX);
        tokio::spawn(async move {
            let mut out = BytesMut::new();
            while let Some(packet) = said.recv().await {
                packet.write(&mut out, PACKET_BYTES_MAX).unwrap();
                if write.write_all(&out.split()).await.is_err() {
                    return;
                }
            }
        });
        let (mut input, mut id) = (BytesMut::new(), String::new());
        loop {
            match Packet::read(&mut input, PACKET_BYTES_MAX) {
                Ok(Packet::Disconnect) => break,
                Ok(packet) => self.take(packet, &mut id, &line),
                Err(Error::InsufficientBytes(_)) => match read.read_buf(&mut input).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                },
                Err(error) => panic!("{error}"),
            }
        }
        if let Some(client) = self.clients.lock().get_mut(&id) {
            client.line = None;
        }
    }

    fn take(&self, packet: Packet, id: &mut String, line: &Sender<Packet>) {
        let mut clients = self.clients.lock();
        let answer = match packet {
            Packet::Connect(connect) if connect.clean_session => {
                clients.remove(&connect.client_id);
                Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))
            }
            Packet::Connect(connect) => {
                id.clone_from(&connect.client_id);
                let known = clients.contains_key(id);
                let client = clients.entry(connect.client_id).or_default();
                let ack = ConnAck::new(ConnectReturnCode::Success, known);
                line.try_send(Packet::ConnAck(ack)).unwrap();
                client.line = Some(line.clone());
                client.hand_out();
                return;
            }
            Packet::Subscribe(subscribe) => {
                let topics = subscribe.filters.into_iter().map(|filter| filter.path);
                let client = clients.get_mut(id).unwrap();
                client.topics.extend(topics);
                let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
                Packet::SubAck(SubAck::new(subscribe.pkid, vec![granted; client.topics.len()]))
            }
            Packet::Publish(publish) => {
                for client in clients.values_mut().filter(|c| c.topics.contains(&publish.topic)) {
                    (0..self.copies).for_each(|_| client.waiting.push_back(publish.clone()));
                    client.hand_out();
                }
                Packet::PubAck(PubAck::new(publish.pkid))
            }
            Packet::PingReq => Packet::PingResp,
            _ => return,
        };
        // Who has gone needs no answer.
        let _ = line.try_send(answer);
    }
}

impl Client {
    fn hand_out(&mut self) {
        let Some(line) = &self.line else { return };
        for publish in self.waiting.drain(..) {
            let _ = line.try_send(Packet::Publish(publish));
        }
    }
}

async fn run(command: &str, broker: &str) -> Report {
    let command = format!("{command} --payload 64 --against {broker}");
    let scenario = Scenario::parse(&command, &[]).unwrap();
    let against = scenario.common().against.unwrap();
    scenario::run(&scenario, On::Broker(against)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_honest_broker_carries_is_proven_and_left_behind_nowhere() {
    let (small, name) = Small::start(1).await;
    let chat = run("chat --sessions 5 --window 4 --seconds 1 --warmup 0", &name).await;
    assert!(chat.is_good(), "{}", chat.table());
    assert!(chat.acked > 0 && chat.delivered == chat.acked, "{}", chat.table());
    let fanout = run("fanout --group 5 --rate 50 --seconds 1 --warmup 0", &name).await;
    assert!(fanout.is_good(), "{}", fanout.table());
    assert_eq!(fanout.delivered, 4 * fanout.acked);
    let offline = run("offline --peers 3 --messages 7", &name).await;
    assert!(offline.is_good(), "{}", offline.table());
    assert_eq!((offline.acked, offline.delivered), (21, 21));
    assert!(small.clients.lock().is_empty(), "every session is forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hands_out_twice_is_found_out() {
    let (_small, name) = Small::start(2).await;
    let chat = run("chat --sessions 3 --window 1 --seconds 1 --warmup 0", &name).await;
    assert!(chat.duplicated > 0 && !chat.is_good(), "{}", chat.table());
}
