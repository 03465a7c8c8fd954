//! What a search tries: options by their own names, each with a range or with choices.
//!
//! A value is set as the command line sets it, by the same parser, so every training option can be searched and none is named here.

use clap::{CommandFactory, Parser};

use crate::cli::train::TrainOptions;
use crate::error::{Error, Result};
use crate::rng;

/// Tells the search's streams of a seed from others.
const STREAM: u64 = 2;

/// How much of its range a round of coarse-to-fine keeps.
const KEPT: f64 = 1.0 / 3.0;

/// An option and the values to try.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parameter {
    /// The option, without dashes.
    pub(super) name: String,
    values: Values,
}

#[derive(Debug, Clone, PartialEq)]
enum Values {
    /// Between two numbers; the logarithm or the number itself is uniform.
    Range { low: f64, high: f64, log: bool, integers: bool },
    /// One of these.
    Choices(Vec<String>),
}

/// The training options alone, for the parser.
#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    options: TrainOptions,
}

/// The names of all training options.
fn names() -> Vec<String> {
    Alone::command().get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

/// The option `name` with this value, and no other option.
pub(super) fn option(name: &str, value: &str) -> Result<TrainOptions> {
    match Alone::try_parse_from(["search", &format!("--{name}={value}")]) {
        Ok(alone) => Ok(alone.options),
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            Err(Error::usage(line, format!("give values that train takes for --{name}")))
        }
    }
}

impl Parameter {
    /// Reads `name=low..high`, `name=log:low..high` or `name=a|b|c`; with `grid`, also `name=a,b,c`, and no range.
    pub(super) fn parse(text: &str, grid: bool) -> Result<Self> {
        let refuse = |problem: String, hint: &str| Err(Error::usage(problem, hint));
        let remedy = if grid { "write for example lr=1e-3,1e-2 or hidden=64|256,128" } else { FORMS };
        let Some((name, values)) = text.split_once('=') else {
            return refuse(format!("\"{text}\" names no values"), remedy);
        };
        let (name, values) = (name.trim(), values.trim());
        let names = names();
        if !names.iter().any(|known| known == name) {
            return refuse(
                format!("no training option is called \"{name}\""),
                &format!("choose from {}", names.join(", ")),
            );
        }
        if name == "val-fraction" {
            return refuse(
                "val-fraction cannot be searched: scores on different rows do not compare".into(),
                "set it once, as --val-fraction",
            );
        }
        let (log, range) = match values.strip_prefix("log:") {
            Some(rest) => (true, rest),
            None => (false, values),
        };
        let values = match range.split_once("..") {
            Some(_) if grid => return refuse(format!("\"{text}\": a grid has no ranges"), remedy),
            Some((low, high)) => range_of(text, name, low, high, log)?,
            None if log => return refuse(format!("\"{text}\" has no range after log:"), remedy),
            None => {
                let separator = if grid && !values.contains('|') { ',' } else { '|' };
                let choices: Vec<String> = values.split(separator).map(|c| c.trim().to_owned()).collect();
                choices.iter().try_for_each(|choice| option(name, choice).map(drop))?;
                Values::Choices(choices)
            }
        };
        Ok(Self { name: name.to_owned(), values })
    }

    /// Whether rounds can narrow it.
    pub(super) fn is_range(&self) -> bool {
        matches!(self.values, Values::Range { .. })
    }

    /// The choices; none of a range.
    pub(super) fn choices(&self) -> &[String] {
        if let Values::Choices(choices) = &self.values { choices } else { &[] }
    }

    /// The value of a trial: a function of the seed, the trial and the parameter's position, so no draw depends on another.
    pub(super) fn draw(&self, seed: u64, trial: u64, position: u64) -> String {
        // 53 random bits: every number of [0, 1) that they make is exact.
        let word = rand::Rng::next_u64(&mut rng::stream(seed, [trial, position, STREAM]));
        let share = (word >> 11) as f64 / (1u64 << 53) as f64;
        match &self.values {
            Values::Choices(choices) => {
                let at = (share * choices.len() as f64) as usize;
                choices.get(at).cloned().unwrap_or_default()
            }
            &Values::Range { low, high, log, integers } => {
                // Every integer has an interval of length 1.
                let (from, to) = if integers { (low - 0.5, high + 0.5) } else { (low, high) };
                let (from, to) = if log { (low.ln(), high.ln()) } else { (from, to) };
                let value = from + share * (to - from);
                let value = if log { value.exp() } else { value };
                if integers {
                    return value.round().clamp(low, high).to_string();
                }
                // Four digits: people read them, and the next round starts from them.
                let short = format!("{value:.3e}").parse().unwrap_or(value);
                format!("{}", f64::clamp(short, low, high))
            }
        }
    }

    /// A range of a third of the length for every round before, around `best`, within the range that it was.
    pub(super) fn narrowed(&self, best: &str, round: usize) -> Self {
        let mut narrow = self.clone();
        if let Values::Range { low, high, log, integers } = &mut narrow.values
            && let Ok(best) = best.parse::<f64>()
        {
            let inner = |x: f64| if *log { x.ln() } else { x };
            let outer = |x: f64| if *log { x.exp() } else { x };
            let (from, to) = (inner(*low), inner(*high));
            let half = (to - from) * KEPT.powi(round.min(64) as i32) / 2.0;
            let (mut below, mut above) = (outer(inner(best) - half), outer(inner(best) + half));
            if *integers {
                (below, above) = (below.round(), above.round());
            }
            (*low, *high) = (below.clamp(*low, *high), above.clamp(*low, *high));
        }
        narrow
    }
}

/// The forms of `--param`.
const FORMS: &str = "write for example lr=log:1e-5..1e-1, dropout=0..0.5 or hidden=64|128|256,128";

fn range_of(text: &str, name: &str, low: &str, high: &str, log: bool) -> Result<Values> {
    let number = |part: &str| part.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    let (Some(low), Some(high)) = (number(low), number(high)) else {
        return Err(Error::usage(format!("\"{text}\" has a range without two numbers"), FORMS));
    };
    if low >= high {
        return Err(Error::usage(
            format!("\"{text}\": {low} is not below {high}"),
            "write the smaller number first; a single value needs no range",
        ));
    }
    if log && low <= 0.0 {
        return Err(Error::usage(
            format!("\"{text}\": a logarithmic range cannot start at {low}"),
            "start above 0, or leave log: out",
        ));
    }
    // Options that take no fraction are counts.
    let integers = option(name, "0.5").is_err();
    for bound in [low, high] {
        option(name, &bound.to_string())?;
    }
    Ok(Values::Range { low, high, log, integers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(text: &str) -> Parameter {
        Parameter::parse(text, false).expect(text)
    }

    #[test]
    fn draws_lie_within_their_range_and_repeat() {
        let (lr, size) = (parameter("lr=log:1e-5..1e-1"), parameter("batch-size=2..4"));
        let (mut small, mut seen) = (0, std::collections::BTreeMap::new());
        for trial in 0..600 {
            let value: f64 = lr.draw(231, trial, 0).parse().expect("a number");
            assert!((1e-5..=1e-1).contains(&value));
            small += i32::from(value < 1e-3);
            *seen.entry(size.draw(231, trial, 1)).or_insert(0) += 1;
            assert_eq!(lr.draw(231, trial, 0), lr.draw(231, trial, 0));
        }
        // 300 ± 5 and 200 ± 5 standard deviations.
        assert!((small - 300i32).abs() < 62, "{small}");
        assert!(
            seen.keys().eq(["2", "3", "4"]) && seen.values().all(|n: &i32| (n - 200).abs() < 58),
            "{seen:?}"
        );
    }

    #[test]
    fn choices_may_hold_commas_and_grids_split_at_them() {
        assert_eq!(parameter("hidden=64|256,128").choices(), ["64", "256,128"]);
        assert_eq!(Parameter::parse("lr=1e-3,1e-2", true).expect("a grid").choices(), ["1e-3", "1e-2"]);
        assert_eq!(parameter("optimizer=adam|sgd").choices(), ["adam", "sgd"]);
    }

    #[test]
    fn rounds_narrow_ranges_around_the_best() {
        let narrow = parameter("lr=log:1e-6..1e0").narrowed("0.001", 1);
        let Values::Range { low, high, .. } = narrow.values else { panic!("a range") };
        assert!((low / 1e-4 - 1.0).abs() < 1e-9 && (high / 1e-2 - 1.0).abs() < 1e-9, "{low} {high}");
        let edge = parameter("dropout=0..0.9").narrowed("0.1", 1);
        assert_eq!(edge.values, Values::Range { low: 0.0, high: 0.25, log: false, integers: false });
    }

    #[test]
    fn what_means_nothing_is_refused_with_a_remedy() {
        for (text, part) in [
            ("lr", "names no values"),
            ("speed=1..2", "no training option is called \"speed\""),
            ("lr=2..1", "2 is not below 1"),
            ("lr=log:0..1", "cannot start at 0"),
            ("lr=a..b", "without two numbers"),
            ("lr=log:0.1", "no range after log:"),
            ("optimizer=0..1", "invalid value"),
            ("optimizer=adam|fast", "invalid value 'fast'"),
            ("val-fraction=0..0.5", "cannot be searched"),
        ] {
            let error = Parameter::parse(text, false).expect_err(text);
            assert!(error.to_string().contains(part) && error.hint().is_some(), "{text}: {error}");
        }
        assert!(Parameter::parse("lr=0..1", true).is_err());
    }
}
