//! What is run as something grows.
//!
//! # Invariants
//!
//! * A step is a command line of this program, so that it can be run again on its own.
//! * Every series says what it shows, and what else changes in it.

use std::path::Path;

use tidings::limits::{GROUP_MEMBERS_SETTING_MAX, RECIPIENTS_MAX};

use crate::options::{Growth, What};
use crate::scenario::On;

/// Sessions of which all are in groups, whatever the size of these.
const IN_GROUPS: u64 = 1_000;
/// Deliveries a second, where these stay as they are.
const DELIVERIES: u64 = 10_000;
/// Seconds after which a session says something again, where that stays as it is.
const PAUSE: f64 = 5.0;
/// Messages a second to a group, where these stay as they are.
const GROUP_RATE: u64 = 20;
const GIB: f64 = (1u64 << 30) as f64;
/// Disk that a log takes for each byte of it, beside what is free for others.
const ROOM: f64 = 1.5;

/// Steps of one thing that grows.
pub(super) struct Plan {
    pub(super) title: &'static str,
    /// What it shows.
    pub(super) note: &'static str,
    /// What it is run on.
    pub(super) on: On,
    pub(super) unit: &'static str,
    /// The step that the others are compared with.
    pub(super) base: f64,
    pub(super) steps: Vec<Planned>,
}

/// A step, or why it cannot be taken.
pub(super) struct Planned {
    pub(super) value: f64,
    pub(super) command: Result<String, String>,
}

/// What is run for one thing that grows.
pub(super) fn plans(what: What, growth: &Growth) -> Vec<Plan> {
    let seconds = growth.measured_seconds();
    let timing = format!("--seconds {seconds} --warmup 2");
    let mut plans = match what {
        What::Sessions => sessions(&timing),
        What::Log => vec![
            plan("the log, in GiB", " GiB", 0.1, &[0.1, 1.0, 10.0], |gib| {
                let room = free_bytes(growth.data.as_deref());
                if room.is_some_and(|room| room < (gib + 1.0) * GIB * ROOM) {
                    return Err(format!("the disk has no room for a log of {gib} GiB"));
                }
                Ok(format!("chat --sessions 1000 --window 1 --log-gib {gib} {timing}"))
            })
            .shows("The same load on a log that was filled before."),
        ],
        What::Groups => groups(&timing),
        What::Recipients => {
            vec![
                plan("recipients of a message", "", 1.0, &RECIPIENTS, |count| {
                    recipients(count as u64, &timing)
                })
                .shows("10,000 deliveries/s: the more recipients, the fewer messages."),
            ]
        }
    };
    if growth.quick {
        plans.iter_mut().for_each(|plan| drop(plan.steps.pop()));
    }
    plans
}

const SESSIONS: [f64; 4] = [100.0, 1e3, 5e3, 2e4];
const MEMBERS: [f64; 4] = [10.0, 100.0, 1e3, 1e4];
const RECIPIENTS: [f64; 5] = [1.0, 5.0, 10.0, 20.0, 50.0];

fn plan(
    title: &'static str,
    unit: &'static str,
    base: f64,
    values: &[f64],
    command: impl Fn(f64) -> Result<String, String>,
) -> Plan {
    let steps = values.iter().map(|value| Planned { value: *value, command: command(*value) });
    Plan { title, note: "", on: On::Server, unit, base, steps: steps.collect() }
}

impl Plan {
    fn shows(self, note: &'static str) -> Self {
        Self { note, ..self }
    }
}

fn sessions(timing: &str) -> Vec<Plan> {
    let rate = |sessions, rate| Ok(format!("rate --sessions {sessions} --rate {rate} {timing}"));
    let chat = |sessions| Ok(format!("chat --sessions {sessions} --window 1 {timing}"));
    let each = |sessions: f64| rate(sessions, sessions / PAUSE);
    let relay =
        plan("the bare relay, one message of each session under way", "", 1e3, &SESSIONS, chat);
    vec![
        plan("sessions, a message every five seconds of each", "", 1e3, &SESSIONS, each).shows(
            "What each session says and hears stays as it is. The messages of all together grow, \
                 and the more there are, the more share a commit.",
        ),
        plan("sessions, 2,000 messages/s of all together", "", 1e3, &SESSIONS, |sessions| {
            rate(sessions, 2e3)
        })
        .shows("The same messages, spread over more sessions."),
        plan("sessions, one message of each under way", "", 1e3, &SESSIONS, chat).shows(CROWDED),
        Plan { on: On::Floor, ..relay }.shows(
            "The series above without conversations, log and inboxes: what it costs QUIC that \
             sessions have less to say in one go.",
        ),
    ]
}

/// What a closed loop shows.
const CROWDED: &str = "Not only the sessions grow: as many messages as there are sessions are \
                       under way, the processors are busy all the time, and each session has its \
                       turn more seldom. Answers, deliveries and acknowledgements that shared \
                       packets then go alone, and a busy server's socket drops some: see the \
                       packets, and the relay's series below.";

fn groups(timing: &str) -> Vec<Plan> {
    let of_all = |members: f64| DELIVERIES / (members as u64 - 1);
    vec![
        plan(
            "members of each group, of 1,000 sessions in groups",
            "",
            100.0,
            &MEMBERS,
            |members| group(members, IN_GROUPS / members as u64, of_all(members), timing),
        )
        .shows(
            "Each session hears 10 messages a second, from a few large groups or many small; the \
             larger the groups, the fewer messages.",
        ),
        plan("members of one group, 20 messages/s to it", "", 100.0, &MEMBERS, |members| {
            group(members, 1, GROUP_RATE, timing)
        })
        .shows("Each session hears as many messages; the sessions grow too."),
        plan("members of one group, 10,000 deliveries/s", "", 100.0, &MEMBERS, |members| {
            group(members, 1, of_all(members), timing)
        })
        .shows(
            "Not only the group grows: a member of ten hears a message every millisecond, one of \
             1,000 every tenth of a second. What the first hears and acknowledges shares packets; \
             each delivery to the second has three of its own: see the packets.",
        ),
    ]
}

fn group(members: f64, groups: u64, rate: u64, timing: &str) -> Result<String, String> {
    let members = members as u64;
    if members > GROUP_MEMBERS_SETTING_MAX as u64 {
        return Err(format!("the server allows {GROUP_MEMBERS_SETTING_MAX} members at the most"));
    }
    let serve = format!("--serve-arg=--group-members-max={members}");
    Ok(format!("fanout --group {members} --groups {groups} --rate {rate} {timing} {serve}"))
}

fn recipients(count: u64, timing: &str) -> Result<String, String> {
    if count > RECIPIENTS_MAX as u64 {
        return Err(format!("the server allows {RECIPIENTS_MAX} recipients at the most"));
    }
    let rate = DELIVERIES / count;
    Ok(format!("rate --sessions 1000 --rate {rate} --recipients {count} {timing}"))
}

/// What the disk has left where folders are made, as `df` tells it; `None` if it does not.
fn free_bytes(data: Option<&Path>) -> Option<f64> {
    let own = std::env::current_exe().ok()?;
    let folder = data.filter(|folder| folder.exists()).or(own.parent())?;
    let output = std::process::Command::new("df")
        .args(["--output=avail", "--block-size=1"])
        .arg(folder)
        .output();
    String::from_utf8_lossy(&output.ok()?.stdout).lines().nth(1)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::{Command, Options, Scenario};

    fn growth(line: &str) -> Growth {
        let options = Options::try_parse_from(line.split(' ')).unwrap();
        let Command::Growth(growth) = options.command else { panic!("not growth") };
        growth
    }

    #[test]
    fn every_step_is_a_command_or_says_why_it_is_not() {
        let growth = growth("loadtest growth");
        for what in growth.all() {
            for plan in plans(what, &growth) {
                assert!(plan.steps.iter().any(|step| step.value == plan.base), "{}", plan.title);
                assert!(!plan.note.is_empty(), "{}", plan.title);
                for step in &plan.steps {
                    match &step.command {
                        Ok(command) => drop(Scenario::parse_any(command, &[]).unwrap()),
                        Err(why) => {
                            let known = ["at the most", "no room"];
                            assert!(known.iter().any(|reason| why.contains(reason)), "{why}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_quick_run_leaves_out_the_largest() {
        let quick = growth("loadtest growth --quick --what recipients,sessions");
        assert_eq!(quick.all(), [What::Sessions, What::Recipients]);
        let plans = plans(What::Sessions, &quick);
        assert_eq!(plans[0].steps.last().map(|step| step.value), Some(5_000.0));
        assert!(plans[0].steps[0].command.as_ref().unwrap().contains("--seconds 2 "));
    }
}
