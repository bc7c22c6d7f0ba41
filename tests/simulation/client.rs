//! An honest client of one device, which reads when it is told to and remembers what it was told.
//!
//! # Invariants
//!
//! * What it hears is exactly what it is due, in order: nothing twice, nothing left out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tidings::hub::{Hub, Next, Session};
use tidings::id::{ConversationId, DeviceFlag, DeviceId, MessageId, PeerId};
use tidings::limits::FRAME_BYTES_MAX;
use tidings::reason::Reason;
use tidings::wire::{Decoder, Deliver, Open, Opened, Recalled, Send, ServerFrame, Target};

use crate::model::Model;

/// A send, which is kept until it has been answered, and longer, to be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) to: Target,
    pub(crate) body: String,
    pub(crate) answer: Option<(i64, u32)>,
}

/// What a request was.
#[derive(Clone, Copy, Debug)]
enum Asked {
    /// A send; `false` if its number was another's.
    Send(u64, bool),
    Other,
}

/// A session, and what it has to hear.
pub(crate) struct Live {
    pub(crate) session: Arc<Session>,
    decoder: Decoder,
    asked: HashMap<u64, Asked>,
    /// What waited when it opened, and what was lost.
    opening: Option<(u64, u64)>,
    due: VecDeque<i64>,
    /// What of it was lost is still to be told.
    lost: u64,
    /// The highest id it was put.
    put: i64,
    /// Copies of what its peer sent that it may not have read.
    echoes: usize,
    pub(crate) is_over: bool,
}

impl Live {
    /// The highest id that it was put, which it may acknowledge.
    pub(crate) fn put(&self) -> i64 {
        self.put
    }

    /// What there may be to read.
    pub(crate) fn unread(&self) -> usize {
        self.due.len() + self.asked.len() + self.echoes
    }
}

/// One device.
pub(crate) struct Client {
    pub(crate) peer: &'static str,
    pub(crate) device: &'static str,
    pub(crate) live: Option<Live>,
    pub(crate) sends: BTreeMap<u64, Sending>,
    /// What the app has had.
    pub(crate) cursor: i64,
    epoch: u64,
    requests: u64,
    /// The newest message that it had of each conversation.
    pub(crate) newest: BTreeMap<i64, (ConversationId, u32)>,
    /// How far others have read, as it was told.
    pub(crate) marks: HashMap<(ConversationId, String), u32>,
}

pub(crate) fn peer(name: &str) -> PeerId {
    PeerId::new(name).unwrap()
}

impl Client {
    pub(crate) fn new(peer: &'static str, device: &'static str) -> Self {
        Self {
            peer,
            device,
            live: None,
            sends: BTreeMap::new(),
            cursor: 0,
            epoch: 0,
            requests: 0,
            newest: BTreeMap::new(),
            marks: HashMap::new(),
        }
    }

    pub(crate) fn request(&mut self) -> u64 {
        self.requests += 1;
        let live = self.live.as_mut().unwrap();
        live.asked.insert(self.requests, Asked::Other);
        self.requests
    }

    /// The frame of a send, new or not; with another body if it is to be refused.
    pub(crate) fn send(&mut self, number: u64, wrong: bool) -> Send {
        let request = self.request();
        let live = self.live.as_mut().unwrap();
        live.asked.insert(request, Asked::Send(number, !wrong));
        let sending = &self.sends[&number];
        let body = if wrong { format!("not {}", sending.body) } else { sending.body.clone() };
        Send {
            request,
            transient: false,
            receipt: false,
            number,
            answered: number.saturating_sub(100),
            ttl_ms: 0,
            client_msg_no: "".into(),
            target: sending.to.clone(),
            body: body.into(),
            push: "".into(),
        }
    }

    pub(crate) fn opening(&self) -> Open {
        Open {
            version: 1,
            app: "".into(),
            peer: peer(self.peer),
            device: Some(DeviceId::new(&format!("{}-{}", self.peer, self.device)).unwrap()),
            flag: DeviceFlag::App,
            instance: 7,
            client: "simulation".into(),
            epoch: self.epoch,
            cursor: MessageId(self.cursor),
            watch: Vec::new(),
            signature: None,
        }
    }

    /// It has a session, which has to hear what waits.
    pub(crate) fn opened(&mut self, session: Arc<Session>, waiting: Vec<i64>, lost: u64) {
        self.live = Some(Live {
            session,
            decoder: Decoder::new(FRAME_BYTES_MAX),
            asked: HashMap::new(),
            opening: Some((waiting.len() as u64, lost)),
            due: waiting.into(),
            lost,
            put: 0,
            echoes: 0,
            is_over: false,
        });
    }

    /// It is to hear of this.
    pub(crate) fn is_due(&mut self, id: i64) {
        if let Some(live) = self.live.as_mut().filter(|live| !live.is_over) {
            live.due.push_back(id);
        }
    }

    /// Its peer has sent something, on this device or another.
    pub(crate) fn may_be_echoed(&mut self) {
        if let Some(live) = &mut self.live {
            live.echoes += 1;
        }
    }

    /// The sends that have not been answered.
    pub(crate) fn unanswered(&self) -> Vec<u64> {
        let open = self.sends.iter().filter(|(_, sending)| sending.answer.is_none());
        open.map(|(number, _)| *number).collect()
    }

    /// Reads all there is, which must be all that is due.
    pub(crate) async fn read(&mut self, hub: &Hub, model: &Model) {
        let Some(live) = &self.live else { return };
        let session = live.session.clone();
        loop {
            match session.outbox().next() {
                Next::Write(bytes) => self.hear(bytes, model),
                Next::Feed(after) => hub.feed(&session, after).await.unwrap(),
                Next::Wait | Next::Finish => break,
            }
        }
        let who = self.name();
        let live = self.live.as_mut().unwrap();
        live.echoes = 0;
        if !live.is_over {
            let recalled = |id: &i64| is_recalled(model, *id);
            let missing: Vec<_> = live.due.iter().filter(|id| !recalled(id)).collect();
            assert!(missing.is_empty(), "{who} was not told of {missing:?}");
            assert!(live.asked.is_empty(), "{who} was not answered: {:?}", live.asked);
            assert_eq!((live.opening, live.lost), (None, 0), "{who} was not told of its opening");
        }
    }

    fn name(&self) -> String {
        format!("{} on {}", self.peer, self.device)
    }

    fn hear(&mut self, bytes: bytes::Bytes, model: &Model) {
        self.live.as_mut().unwrap().decoder.push(bytes);
        while let Some(raw) = self.live.as_mut().unwrap().decoder.next_frame().unwrap() {
            let frame = ServerFrame::decode(raw).unwrap();
            self.heard(frame, model);
        }
    }

    fn heard(&mut self, frame: ServerFrame, model: &Model) {
        let who = self.name();
        let live = self.live.as_mut().unwrap();
        match frame {
            ServerFrame::Opened(opened) => self.check_opened(&opened),
            ServerFrame::Sent(sent) => {
                let asked = live.asked.remove(&sent.request).unwrap();
                let Asked::Send(number, true) = asked else { panic!("{who}: {asked:?}: {sent:?}") };
                let sending = self.sends.get_mut(&number).unwrap();
                let answer = (sent.id.0, sent.sequence);
                let stored = model.by_body[&sending.body];
                let is = (stored, model.messages[&stored].sequence);
                assert_eq!(answer, is, "{who}: the answer to {sending:?}");
                assert!(sending.answer.is_none_or(|before| before == answer));
                sending.answer = Some(answer);
            }
            ServerFrame::Error(error) if error.request != 0 => {
                let asked = live.asked.remove(&error.request).unwrap();
                assert!(matches!(asked, Asked::Send(_, false)), "{who}: {asked:?}: {error:?}");
                assert_eq!(error.reason, Reason::NumberReused as u16);
            }
            ServerFrame::Error(error) => {
                assert_eq!(error.reason, Reason::Replaced as u16, "{who}: {error:?}");
                live.is_over = true;
            }
            ServerFrame::Deliver(deliver) => self.check_deliver(&deliver, model),
            ServerFrame::Recalled(recalled) => self.check_recalled(&recalled, model),
            ServerFrame::GroupEvent(event) => self.take(event.id.0, false, model),
            ServerFrame::Dropped(dropped) => {
                assert_eq!(dropped.count, live.lost, "{who}");
                live.lost = 0;
                self.put(dropped.id.0);
            }
            ServerFrame::Read(read) => {
                let mark =
                    self.marks.entry((read.conversation, read.peer.to_string())).or_default();
                *mark = (*mark).max(read.sequence);
            }
            ServerFrame::ReadNoted(noted) => drop(live.asked.remove(&noted.request)),
            ServerFrame::RecallDone(done) => drop(live.asked.remove(&done.request)),
            ServerFrame::Closed(closed) => drop(live.asked.remove(&closed.request)),
            other => panic!("{who} did not expect {other:?}"),
        }
    }

    fn check_opened(&mut self, opened: &Opened) {
        let (who, live) = (self.name(), self.live.as_mut().unwrap());
        let expected = live.opening.take().unwrap();
        assert_eq!((opened.waiting, opened.dropped), expected, "{who} opens");
        assert!(self.epoch == 0 || self.epoch == opened.epoch, "the log has lost something");
        self.epoch = opened.epoch;
    }

    fn check_deliver(&mut self, deliver: &Deliver, model: &Model) {
        let who = self.name();
        let stored = model.messages.get(&deliver.id.0);
        let stored = stored.unwrap_or_else(|| panic!("{who}: nobody sent {deliver:?}"));
        let told =
            (deliver.from.as_str(), deliver.sequence, deliver.conversation, &deliver.body[..]);
        let is = (stored.from, stored.sequence, stored.conversation, stored.body.as_bytes());
        assert_eq!(told, is, "{who}");
        assert_eq!(deliver.own, stored.from == self.peer, "{who}: {deliver:?}");
        let session = self.live.as_ref().unwrap().session.id().unwrap();
        let is_gone = stored.recalled.is_some_and(|notice| notice < session.0);
        assert!(!is_gone, "{who}: {deliver:?} was taken back before the session opened");
        self.take(deliver.id.0, deliver.own, model);
        self.newest.insert(deliver.id.0, (deliver.conversation, deliver.sequence));
    }

    fn check_recalled(&mut self, recalled: &Recalled, model: &Model) {
        let stored = &model.messages[&recalled.message.0];
        assert_eq!(stored.recalled, Some(recalled.id.0), "{}: {recalled:?}", self.name());
        self.take(recalled.id.0, false, model);
    }

    /// What is put is the next that is due; copies of what the peer sent itself come beside that.
    fn take(&mut self, id: i64, own: bool, model: &Model) {
        let who = self.name();
        let live = self.live.as_mut().unwrap();
        let mut is_found = own;
        while !is_found {
            let next = live.due.pop_front();
            let next = next.unwrap_or_else(|| panic!("{who} was told of {id}, and should not be"));
            is_found = next == id;
            assert!(is_found || is_recalled(model, next), "{who} heard {id}, and not {next}");
        }
        self.put(id);
    }

    fn put(&mut self, id: i64) {
        let who = self.name();
        let live = self.live.as_mut().unwrap();
        assert!(id > live.put, "{who}: {id} came behind {}", live.put);
        (live.put, self.cursor) = (id, self.cursor.max(id));
    }
}

fn is_recalled(model: &Model, id: i64) -> bool {
    model.messages.get(&id).is_some_and(|message| message.recalled.is_some())
}
