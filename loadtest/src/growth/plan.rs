//! What is run as something grows.
//!
//! # Invariants
//!
//! * A step is a command line of this program, so that it can be run again on its own.
//! * Only one thing grows within a series; the messages under way, or the deliveries a second, stay
//!   as they are.

use std::path::Path;

use tidings::limits::{GROUP_MEMBERS_SETTING_MAX, RECIPIENTS_MAX};

use crate::options::{Growth, What};

/// Deliveries a second, where these stay as they are.
const DELIVERIES: u64 = 10_000;
/// Messages a second to a group, where these stay as they are.
const GROUP_RATE: u64 = 20;
/// Deliveries a second that are too many for a machine with two processors.
const DELIVERIES_MAX: u64 = 50_000;
const GIB: f64 = (1u64 << 30) as f64;
/// Disk that a log takes for each byte of it, beside what is free for others.
const ROOM: f64 = 1.5;

/// Steps of one thing that grows.
pub(super) struct Plan {
    pub(super) title: &'static str,
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
        What::Sessions => vec![
            plan("sessions, one message of each under way", "", 1e3, &SESSIONS, |sessions| {
                Ok(format!("chat --sessions {sessions} --window 1 {timing}"))
            }),
            plan("sessions, 2,000 messages/s of all together", "", 1e3, &SESSIONS, |sessions| {
                Ok(format!("rate --sessions {sessions} --rate 2000 {timing}"))
            }),
        ],
        What::Log => vec![plan("the log, in GiB", " GiB", 0.1, &[0.1, 1.0, 10.0], |gib| {
            let room = free_bytes(growth.data.as_deref());
            if room.is_some_and(|room| room < (gib + 1.0) * GIB * ROOM) {
                return Err(format!("the disk has no room for a log of {gib} GiB"));
            }
            Ok(format!("chat --sessions 1000 --window 1 --log-gib {gib} {timing}"))
        })],
        What::Groups => vec![
            plan("members, 10,000 deliveries/s to all together", "", 100.0, &MEMBERS, |members| {
                group(members, (DELIVERIES / (members as u64 - 1)).max(1), &timing)
            }),
            plan("members, 20 messages/s to each", "", 100.0, &MEMBERS, |members| {
                group(members, GROUP_RATE, &timing)
            }),
        ],
        What::Recipients => {
            vec![plan("recipients of a message", "", 1.0, &RECIPIENTS, |count| {
                recipients(count as u64, &timing)
            })]
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
    Plan { title, unit, base, steps: steps.collect() }
}

fn group(members: f64, rate: u64, timing: &str) -> Result<String, String> {
    let members = members as u64;
    if members > GROUP_MEMBERS_SETTING_MAX as u64 {
        return Err(format!("the server allows {GROUP_MEMBERS_SETTING_MAX} members at the most"));
    }
    if rate * (members - 1) > DELIVERIES_MAX {
        return Err(format!("{} deliveries a second are too many", rate * (members - 1)));
    }
    let serve = format!("--serve-arg=--group-members-max={members}");
    Ok(format!("fanout --group {members} --rate {rate} {timing} {serve}"))
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
                for step in &plan.steps {
                    match &step.command {
                        Ok(command) => drop(Scenario::parse_any(command, &[]).unwrap()),
                        Err(why) => {
                            let known = ["at the most", "too many", "no room"];
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
