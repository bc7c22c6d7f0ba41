//! The figures of a server, read from the text form of Prometheus.
//!
//! # Invariants
//!
//! * Pure. A figure that the server does not tell is missing, and not zero.
//! * A counter that has become smaller began again with the server.

/// All figures of one moment.
#[derive(Debug, Default)]
pub(super) struct Figures {
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: String,
    value: f64,
}

impl Figures {
    /// Reads the text; passes over what is no sample.
    pub(super) fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let value = value.parse().ok()?;
            Some(Sample { name: name.into(), labels: labels.trim_end_matches('}').into(), value })
        };
        Self { samples: text.lines().filter_map(sample).collect() }
    }

    /// The sum of a figure over all its labels.
    pub(super) fn sum(&self, name: &str) -> Option<f64> {
        self.of(name).map(|sample| sample.value).reduce(|sum, value| sum + value)
    }

    /// How much a counter has grown since `before`.
    pub(super) fn growth(&self, before: &Self, name: &str) -> Option<f64> {
        let (now, then) = (self.sum(name)?, before.sum(name).unwrap_or(0.0));
        Some(if now < then { now } else { now - then })
    }

    /// Below what lies this share of what a histogram has counted since `before`; `None` if that
    /// is nothing. Between the bounds of a bucket it is taken to be spread evenly.
    pub(super) fn quantile(&self, before: &Self, name: &str, share: f64) -> Option<f64> {
        let name = format!("{name}_bucket");
        let mut buckets: Vec<(f64, f64)> = self
            .of(&name)
            .filter_map(|sample| {
                let then = before.of(&name).find(|other| other.labels == sample.labels);
                let then = then.map_or(0.0, |then| then.value);
                let grown = if sample.value < then { sample.value } else { sample.value - then };
                Some((bound(&sample.labels)?, grown))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let count = buckets.last().map(|bucket| bucket.1).filter(|count| *count > 0.0)?;
        let rank = share * count;
        let (mut lower, mut below) = (0.0, 0.0);
        for (upper, up_to) in buckets {
            if up_to >= rank {
                let is_open = upper.is_infinite() || up_to <= below;
                let part = if is_open { 0.0 } else { (rank - below) / (up_to - below) };
                return Some(if is_open { lower } else { lower + part * (upper - lower) });
            }
            (lower, below) = (upper, up_to);
        }
        None
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> + 'a {
        self.samples.iter().filter(move |sample| sample.name == name)
    }
}

/// The upper bound of a bucket.
fn bound(labels: &str) -> Option<f64> {
    let (bound, _) = labels.split_once("le=\"")?.1.split_once('"')?;
    bound.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_sum_over_its_labels() {
        let text = "# HELP a_total 5\n# TYPE a_total counter\na_total{route=\"/x/{y} z\"} 1\n\
                    a_total{route=\"b\"} 2.5\na 7\n";
        let figures = Figures::parse(text);
        assert_eq!(figures.sum("a_total"), Some(3.5));
        assert_eq!(figures.sum("a"), Some(7.0));
        assert_eq!(figures.sum("b"), None);
        assert_eq!(figures.growth(&Figures::parse("a_total 1"), "a_total"), Some(2.5));
        let restarted = figures.growth(&Figures::parse("a_total 9"), "a_total");
        assert_eq!(restarted, Some(3.5));
    }

    #[test]
    fn a_share_is_that_of_what_was_counted_since() {
        let buckets = |counts: [u32; 3]| {
            let [a, b, c] = counts;
            let line = |le, count| format!("s_bucket{{le=\"{le}\"}} {count}\n");
            Figures::parse(&[line("0.1", a), line("0.2", b), line("+Inf", c)].concat())
        };
        let (before, after) = (buckets([5, 5, 5]), buckets([5, 15, 15]));
        let near = |share: f64, expected: f64| {
            let found = after.quantile(&before, "s", share).unwrap();
            assert!((found - expected).abs() < 1e-9, "{found}");
        };
        near(0.5, 0.15);
        near(1.0, 0.2);
        assert_eq!(after.quantile(&after, "s", 0.5), None);
        assert_eq!(buckets([0, 0, 4]).quantile(&Figures::default(), "s", 0.5), Some(0.2));
        assert_eq!(before.quantile(&buckets([9, 9, 9]), "s", 0.5), Some(0.05));
    }
}
