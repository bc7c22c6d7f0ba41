//! The steps of one thing that grows, and whether the cost stays flat.
//!
//! # Invariants
//!
//! * Flat is judged by server CPU: for each delivery where a message has several, for each message
//!   otherwise.

use serde::Serialize;

use super::plan::Plan;
use crate::options::{Scenario, What};
use crate::report::{Report, median};
use crate::scenario::{self, On, rounded};

/// How much more a step may cost than the base to be flat.
const FLAT: f64 = 1.25;

/// Steps of one thing that grows.
#[derive(Debug, Serialize)]
pub(super) struct Series {
    pub(super) what: What,
    pub(super) title: &'static str,
    /// What it shows.
    pub(super) note: &'static str,
    #[serde(skip)]
    on: On,
    #[serde(skip)]
    pub(super) unit: &'static str,
    /// The step that the others are compared with.
    base: f64,
    pub(super) steps: Vec<Step>,
    /// Whether nothing from the base on costs more than a quarter more; `None` without figures.
    pub(super) is_flat: Option<bool>,
    pub(super) verdict: String,
}

/// One step.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) value: f64,
    pub(super) command: Option<String>,
    /// Why it cannot be taken.
    pub(super) left_out: Option<String>,
    pub(super) failures: Vec<String>,
    pub(super) figures: Figures,
    pub(super) rounds: Vec<Report>,
    #[serde(skip)]
    scenario: Option<Scenario>,
}

/// Medians of the rounds, each on its own.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Figures {
    /// Server CPU of a delivery, or of a message where it has one.
    pub(super) cpu_us: Option<f64>,
    /// That, in parts of the base's.
    pub(super) to_base: Option<f64>,
    /// UDP packets of a delivery, or of a message where it has one.
    pub(super) packets: Option<f64>,
    pub(super) dropped_percent: Option<f64>,
    pub(super) messages_per_second: Option<f64>,
    pub(super) deliveries_per_second: Option<f64>,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) rss_mib: Option<f64>,
}

impl Series {
    /// A series with nothing run yet.
    ///
    /// # Errors
    ///
    /// When the command of a step is wrong.
    pub(super) fn new(what: What, plan: Plan, arguments: &[String]) -> Result<Self, String> {
        let step = |planned: super::plan::Planned| {
            let command = planned.command.as_ref().ok();
            let scenario = command.map(|command| Scenario::parse_any(command, arguments));
            Ok(Step {
                value: planned.value,
                scenario: scenario.transpose()?,
                command: command.cloned(),
                left_out: planned.command.err(),
                failures: Vec::new(),
                figures: Figures::default(),
                rounds: Vec::new(),
            })
        };
        let steps: Result<Vec<Step>, String> = plan.steps.into_iter().map(step).collect();
        let Plan { title, note, on, unit, base, .. } = plan;
        let verdict = "nothing measured".to_owned();
        Ok(Self { what, title, note, on, unit, base, steps: steps?, is_flat: None, verdict })
    }

    /// Takes a step once more; says how it went, if it could be taken.
    pub(super) async fn play(&mut self, step: usize) -> Option<String> {
        let is_ours = matches!(self.on, On::Server);
        let step = &mut self.steps[step];
        let (scenario, command) = (step.scenario.as_ref()?, step.command.clone()?);
        match scenario::run(scenario, self.on).await {
            Ok(report) => step.rounds.push(report),
            Err(why) => step.failures.push(why),
        }
        Some(match step.failures.last() {
            Some(why) => format!("{command}: {why}"),
            None => {
                let figures = Figures::of(&step.rounds);
                let Figures { cpu_us, messages_per_second, packets, p99_ms, .. } = figures;
                let told = |value: Option<f64>| value.map_or("?".into(), |v| format!("{v:.1}"));
                let (cpu, speed, p99) = (told(cpu_us), told(messages_per_second), told(p99_ms));
                let (packets, on) = (told(packets), if is_ours { "" } else { "floor " });
                let proof = if step.is_good() { "" } else { ", promises broken" };
                let cost = format!("{cpu} us, {packets} packets");
                format!("{on}{command}: {cost}, {speed} messages/s, p99 {p99} ms{proof}")
            }
        })
    }

    /// Compares what there is.
    pub(super) fn conclude(&mut self) {
        self.steps.iter_mut().for_each(|step| step.figures = Figures::of(&step.rounds));
        let base = self.steps.iter().find(|step| step.value == self.base);
        let Some(base) = base.and_then(|step| step.figures.cpu_us) else { return };
        let (mut worst, mut last) = (None::<(f64, f64)>, self.base);
        for step in self.steps.iter_mut().filter(|step| step.value >= self.base) {
            let Some(cpu_us) = step.figures.cpu_us else { continue };
            let to_base = rounded(cpu_us / base);
            step.figures.to_base = Some(to_base);
            last = step.value;
            if worst.is_none_or(|(most, _)| to_base > most) {
                worst = Some((to_base, step.value));
            }
        }
        let Some((most, at)) = worst else { return };
        let (unit, base) = (self.unit, self.base);
        self.is_flat = Some(most <= FLAT);
        self.verdict = match most <= FLAT {
            true => format!("flat within 25 percent from {base}{unit} to {last}{unit} ({most:.2})"),
            false => format!("worse: {most:.2} times the cost of {base}{unit} at {at}{unit}"),
        };
    }
}

impl Step {
    /// Whether nothing failed and every promise was kept.
    pub(super) fn is_good(&self) -> bool {
        self.failures.is_empty() && self.rounds.iter().all(Report::is_good)
    }
}

impl Figures {
    fn of(rounds: &[Report]) -> Self {
        let middle = |of: fn(&Report) -> Option<f64>| {
            median(&rounds.iter().filter_map(of).collect::<Vec<_>>())
        };
        Self {
            cpu_us: middle(|round| {
                round.server_cpu_us_per_delivery.or(round.server_cpu_us_per_message)
            }),
            to_base: None,
            packets: middle(|round| round.packets_each),
            dropped_percent: middle(|round| round.packets_dropped_percent),
            messages_per_second: middle(|round| Some(round.messages_per_second)),
            deliveries_per_second: middle(|round| round.deliveries_per_second),
            p50_ms: middle(|round| Some(round.latency_ms?.p50)),
            p99_ms: middle(|round| Some(round.latency_ms?.p99)),
            rss_mib: middle(|round| round.server_rss_mib),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::growth::plan::Planned;

    /// A series of 10, 100 and 1,000, and one step that cannot be taken.
    pub(in crate::growth) fn series(costs: [f64; 3]) -> Series {
        let planned = |value| Planned { value, command: Ok("chat".into()) };
        let mut steps: Vec<_> = [10.0, 100.0, 1e3].into_iter().map(planned).collect();
        steps.push(Planned { value: 1e4, command: Err("there is no room".into()) });
        let (note, on) = ("What it shows.", On::Server);
        let plan = Plan { title: "members", note, on, unit: "", base: 100.0, steps };
        let mut series = Series::new(What::Groups, plan, &[]).unwrap();
        for (step, cost) in series.steps.iter_mut().zip(costs) {
            let cost = Some(cost);
            step.rounds.push(Report { server_cpu_us_per_message: cost, ..Report::default() });
        }
        series.conclude();
        series
    }

    #[test]
    fn what_costs_no_more_than_a_quarter_more_than_its_base_is_flat() {
        let flat = series([50.0, 10.0, 12.5]);
        assert_eq!(flat.is_flat, Some(true));
        assert_eq!(flat.verdict, "flat within 25 percent from 100 to 1000 (1.25)");
        assert_eq!(flat.steps[0].figures.to_base, None, "what is below the base is not compared");
        let worse = series([1.0, 10.0, 13.0]);
        assert_eq!(worse.is_flat, Some(false));
        assert_eq!(worse.verdict, "worse: 1.30 times the cost of 100 at 1000");
    }

    #[test]
    fn a_failure_is_no_figure() {
        let mut series = series([1.0, 1.0, 1.0]);
        assert!(series.steps.iter().all(Step::is_good));
        series.steps[1].failures.push("the server is gone".into());
        assert!(!series.steps[1].is_good());
    }
}
