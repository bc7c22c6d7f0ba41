//! What a scenario asks of its server and of its peers.
//!
//! # Invariants
//!
//! * Options that do not go together are refused before anything is started.

use super::{Against, Common, Scenario, ServerChoice, With};
use crate::stamp::STAMP_TEXT_BYTES;

impl Scenario {
    /// The flags that every scenario has.
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Chat(chat) => &chat.common,
            Self::Rate(rate) => &rate.common,
            Self::Offline(offline) => &offline.common,
            Self::Idle(idle) => &idle.common,
            Self::Fanout(fanout) => &fanout.common,
            Self::Presence(presence) => &presence.common,
            Self::Roam(roam) => &roam.common,
            Self::Push(push) => &push.common,
            Self::History(history) => &history.common,
            Self::Webhook(webhook) => &webhook.common,
            Self::Overload(overload) => &overload.common,
            Self::Restart(restart) => &restart.common,
            Self::BadNet(badnet) => &badnet.common,
            Self::Soak(soak) => &soak.common,
            Self::Hostile(hostile) => &hostile.common,
        }
    }

    /// Peers that take part.
    pub(crate) fn peers(&self) -> u32 {
        match self {
            Self::Chat(chat) => chat.sessions,
            Self::Rate(rate) => rate.sessions,
            Self::Offline(offline) => offline.peers + crate::offline::SENDERS,
            Self::Idle(idle) => idle.sessions,
            Self::Fanout(fanout) => fanout.groups * fanout.group,
            Self::Presence(presence) => presence.sessions,
            // One more watches them.
            Self::Roam(roam) => roam.sessions + 1,
            Self::Push(push) => push.devices,
            Self::History(_) => 0,
            Self::Webhook(webhook) => webhook.sessions,
            Self::Overload(overload) => overload.sessions,
            Self::Restart(restart) => restart.sessions + restart.absent,
            Self::BadNet(badnet) => badnet.sessions,
            Self::Hostile(hostile) => hostile.sessions,
            // A back end, and one that watches.
            Self::Soak(soak) => soak.sessions + soak.commuters + 2,
        }
    }

    /// The scenario, with what its server has to be told for it.
    pub(crate) fn complete(mut self) -> Self {
        let common = match &mut self {
            Self::Webhook(webhook) => &mut webhook.common,
            Self::Soak(soak) => &mut soak.common,
            _ => return self,
        };
        // A receiver listens on this machine, where a server posts nothing unless it may.
        common.serve_arg.extend(["--webhook-networks", "127.0.0.0/8"].map(str::to_owned));
        self
    }

    /// What no single option can tell is wrong.
    ///
    /// # Errors
    ///
    /// Why the options do not go together.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.common().with_floor && !self.has_floor() {
            let name = self.name();
            return Err(format!("a relay only carries messages to peers: `{name}` has no floor"));
        }
        if let Some(against) = self.common().against {
            self.check_against(against)?;
        }
        match self {
            Self::Presence(presence) if presence.watchers >= presence.sessions => {
                Err("of the sessions, one at least must be watched: lower --watchers".into())
            }
            Self::Presence(presence) if presence.churn > presence.watched() => {
                Err("a peer would change more than once a second: lower --churn".into())
            }
            Self::Push(push) if push.talk.body.payload < STAMP_TEXT_BYTES => {
                Err(format!("the body of a push has {STAMP_TEXT_BYTES} bytes at least"))
            }
            Self::Push(push) if push.connections > push.devices => {
                Err("a connection would have no device: lower --connections".into())
            }
            Self::History(With { common, .. })
            | Self::Restart(With { common, .. })
            | Self::Soak(With { common, .. })
                if common.server != ServerChoice::Spawn =>
            {
                let name = self.name();
                Err(format!("`{name}` starts its server again, so it must be spawned"))
            }
            Self::Soak(soak) if soak.group > soak.sessions => {
                Err("a group would have more members than there are sessions: lower --group".into())
            }
            Self::Rate(rate) if rate.recipients >= rate.sessions => {
                Err("a sender would be its own recipient: lower --recipients".into())
            }
            _ if self.is_filled_blindly() => {
                Err("--log-gib wants to know the size of the log: name --metrics-file".into())
            }
            _ => Ok(()),
        }
    }

    /// Whether nobody could tell when the log is full.
    fn is_filled_blindly(&self) -> bool {
        let common = self.common();
        let is_spawned = common.server == ServerChoice::Spawn;
        common.log_gib.is_some() && !is_spawned && common.metrics_file.is_none()
    }

    fn check_against(&self, against: Against) -> Result<(), String> {
        let common = self.common();
        if !self.has_broker() {
            return Err(format!("`{}` asks for what MQTT 3.1.1 does not have", self.name()));
        }
        let is_ours = common.kill || common.log_gib.is_some();
        if is_ours || common.server != ServerChoice::Spawn {
            return Err(format!(
                "--against {against} takes neither --server, --kill nor --log-gib"
            ));
        }
        Ok(())
    }

    /// UDP sockets that carry them.
    pub(crate) fn sockets(&self) -> usize {
        match self {
            Self::Roam(_) => self.peers() as usize,
            _ => usize::from(self.common().sockets),
        }
    }

    /// Bytes of a message body.
    pub(crate) fn payload(&self) -> usize {
        match self {
            Self::Chat(chat) => chat.talk.body.payload,
            Self::Rate(rate) => rate.talk.body.payload,
            Self::Offline(offline) => offline.body.payload,
            Self::Fanout(fanout) => fanout.talk.body.payload,
            Self::Roam(roam) => roam.talk.body.payload,
            Self::Push(push) => push.talk.body.payload,
            Self::Webhook(webhook) => webhook.talk.body.payload,
            Self::Overload(overload) => overload.body.payload,
            Self::Restart(restart) => restart.body.payload,
            Self::BadNet(badnet) => badnet.talk.body.payload,
            Self::Soak(soak) => soak.body.payload,
            Self::Hostile(hostile) => hostile.body.payload,
            Self::History(_) => crate::history::BODY_BYTES,
            Self::Idle(_) | Self::Presence(_) => 0,
        }
    }

    /// Whether each message has several deliveries.
    pub(crate) fn fans_out(&self) -> bool {
        match self {
            Self::Fanout(_) | Self::Presence(_) => true,
            Self::Rate(rate) => rate.recipients > 1,
            _ => false,
        }
    }

    /// Whether a broker of MQTT can carry it.
    pub(super) fn has_broker(&self) -> bool {
        self.has_floor() || matches!(self, Self::Offline(_) | Self::Fanout(_))
    }

    /// Whether a relay can carry it.
    pub(crate) fn has_floor(&self) -> bool {
        matches!(self, Self::Chat(_) | Self::Rate(_) | Self::Idle(_)) && !self.fans_out()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Chat(_) => "chat",
            Self::Rate(_) => "rate",
            Self::Offline(_) => "offline",
            Self::Idle(_) => "idle",
            Self::Fanout(_) => "fanout",
            Self::Presence(_) => "presence",
            Self::Roam(_) => "roam",
            Self::Push(_) => "push",
            Self::History(_) => "history",
            Self::Webhook(_) => "webhook",
            Self::Overload(_) => "overload",
            Self::Restart(_) => "restart",
            Self::BadNet(_) => "badnet",
            Self::Soak(_) => "soak",
            Self::Hostile(_) => "hostile",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::options::{Command, Options};

    #[test]
    fn options_must_go_together() {
        let check = |line: &str| {
            let options = Options::try_parse_from(line.split(' ')).unwrap();
            let Command::Scenario(scenario) = options.command else { panic!("not a scenario") };
            scenario.check()
        };
        assert_eq!(check("loadtest presence --sessions 40 --watchers 10 --churn 30"), Ok(()));
        assert!(check("loadtest presence --sessions 40 --watchers 10 --churn 31").is_err());
        assert!(check("loadtest presence --sessions 40 --watchers 40").is_err());
        assert!(check("loadtest presence --sessions 9000 --churn 1001").is_err(), "1,000 watched");
        assert_eq!(check("loadtest push --devices 20 --payload 40"), Ok(()));
        assert!(check("loadtest push --devices 20 --payload 39").is_err());
        assert!(check("loadtest push --devices 15").is_err(), "16 connections");
        assert_eq!(check("loadtest history"), Ok(()));
        assert!(check("loadtest history --server 127.0.0.1:1").is_err());
        assert_eq!(check("loadtest rate --with-floor"), Ok(()));
        assert!(check("loadtest roam --with-floor").is_err());
        assert_eq!(check("loadtest fanout --against mosquitto"), Ok(()));
        assert!(check("loadtest presence --against mosquitto").is_err());
        assert!(check("loadtest chat --against nats --kill").is_err());
        assert!(check("loadtest chat --against nats --log-gib 1").is_err());
        assert_eq!(check("loadtest restart --sessions 50 --log-gib 0.5"), Ok(()));
        assert!(check("loadtest restart --server 127.0.0.1:1").is_err());
        assert_eq!(check("loadtest overload --times 2,5,10"), Ok(()));
        assert!(check("loadtest overload --with-floor").is_err());
        assert_eq!(check("loadtest rate --sessions 21 --recipients 20"), Ok(()));
        assert!(check("loadtest rate --sessions 20 --recipients 20").is_err());
        assert!(check("loadtest rate --recipients 2 --with-floor").is_err());
        assert!(check("loadtest chat --server 127.0.0.1:1 --log-gib 1").is_err());
        assert_eq!(
            check("loadtest chat --server 127.0.0.1:1 --log-gib 1 --metrics-file x"),
            Ok(())
        );
    }
}
