//! The proxy as sockets on both sides see it.

use super::*;

/// Longer than anything takes, on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client, a proxy, and a server.
struct Line {
    client: UdpSocket,
    proxy: Proxy,
    server: UdpSocket,
}

impl Line {
    async fn start(faults: Faults) -> Self {
        let server = bind().await.unwrap();
        let proxy = Proxy::start(server.local_addr().unwrap(), 7).await.unwrap();
        proxy.set(faults);
        let client = bind().await.unwrap();
        client.connect(proxy.address().unwrap()).await.unwrap();
        Self { client, proxy, server }
    }

    async fn say(&self, number: u32) {
        self.client.send(&number.to_be_bytes()).await.unwrap();
    }

    /// What the server hears next, and from which port.
    async fn hear(&self) -> (u32, SocketAddr) {
        let mut bytes = [0; 4];
        let hearing = self.server.recv_from(&mut bytes);
        let (_, from) = tokio::time::timeout(PATIENCE, hearing).await.unwrap().unwrap();
        (u32::from_be_bytes(bytes), from)
    }

    async fn answer(&self, number: u32, to: SocketAddr) {
        self.server.send_to(&number.to_be_bytes(), to).await.unwrap();
    }

    /// What the client hears next.
    async fn hear_answer(&self) -> u32 {
        let mut bytes = [0; 4];
        let hearing = self.client.recv(&mut bytes);
        tokio::time::timeout(PATIENCE, hearing).await.unwrap().unwrap();
        u32::from_be_bytes(bytes)
    }

    fn port(&self) -> u16 {
        self.client.local_addr().unwrap().port()
    }

    /// Waits until the proxy has had so many datagrams.
    async fn until_came(&self, count: u64) -> Carried {
        let look = async {
            while self.proxy.carried().came < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap();
        self.proxy.carried()
    }
}

#[tokio::test]
async fn without_faults_all_passes_in_order_both_ways() {
    let line = Line::start(Faults::default()).await;
    for number in 0..100 {
        line.say(number).await;
        let (heard, from) = line.hear().await;
        assert_eq!(heard, number);
        line.answer(number, from).await;
        assert_eq!(line.hear_answer().await, number);
    }
    let carried = line.proxy.carried();
    assert_eq!(carried, Carried { came: 200, ..Carried::default() });
}

#[tokio::test]
async fn a_loss_of_100_percent_loses_all() {
    let line = Line::start(Faults { loss: 100, ..Faults::default() }).await;
    for number in 0..50 {
        line.say(number).await;
    }
    assert_eq!(line.until_came(50).await.lost, 50);
    // Nothing of it may come behind the first that passes.
    line.proxy.set(Faults::default());
    line.say(50).await;
    assert_eq!(line.hear().await.0, 50);
}

#[tokio::test]
async fn a_rebind_is_a_new_source_port_and_the_old_one_leads_nowhere() {
    let line = Line::start(Faults::default()).await;
    assert!(line.proxy.rebind(line.port()).await.is_err(), "nobody has come");
    line.say(1).await;
    let (_, before) = line.hear().await;
    let port = line.proxy.rebind(line.port()).await.unwrap();
    line.say(2).await;
    let (heard, after) = line.hear().await;
    assert_eq!((heard, after.port()), (2, port));
    assert_ne!(before, after);
    line.answer(3, before).await;
    line.answer(4, after).await;
    assert_eq!(line.hear_answer().await, 4, "what goes to the old address is lost");
    assert_eq!(line.proxy.carried().rebinds, 1);
}

#[tokio::test]
async fn what_is_duplicated_comes_twice() {
    let line = Line::start(Faults { duplicate: 100, ..Faults::default() }).await;
    let mut heard = [0; 20];
    for number in 0..20 {
        line.say(number).await;
    }
    for _ in 0..40 {
        heard[line.hear().await.0 as usize] += 1;
    }
    assert_eq!(heard, [2; 20]);
}

#[tokio::test]
async fn what_is_reordered_comes_in_another_order_and_all_of_it_comes() {
    let line = Line::start(Faults { reorder: 50, ..Faults::default() }).await;
    for number in 0..200 {
        line.say(number).await;
    }
    let mut heard = Vec::new();
    for _ in 0..200 {
        heard.push(line.hear().await.0);
    }
    assert!(!heard.is_sorted());
    heard.sort_unstable();
    assert!(heard.into_iter().eq(0..200));
}

#[tokio::test]
async fn a_cut_is_of_one_direction() {
    let line = Line::start(Faults::default()).await;
    line.say(1).await;
    let (_, from) = line.hear().await;
    line.proxy.cut(line.port(), Direction::Down, PATIENCE).unwrap();
    line.answer(2, from).await;
    assert_eq!(line.until_came(2).await.cut, 1);
    line.say(3).await;
    assert_eq!(line.hear().await.0, 3, "the other direction works");
    line.proxy.cut(line.port(), Direction::Down, Duration::ZERO).unwrap();
    line.answer(4, from).await;
    assert_eq!(line.hear_answer().await, 4, "what was cut never comes");
}

#[tokio::test]
async fn what_is_longer_than_the_mtu_never_comes() {
    let line = Line::start(Faults { mtu: 1_200, ..Faults::default() }).await;
    line.client.send(&[9; 1_201]).await.unwrap();
    line.say(1).await;
    assert_eq!(line.hear().await.0, 1);
    assert_eq!(line.proxy.carried().too_long, 1);
}
