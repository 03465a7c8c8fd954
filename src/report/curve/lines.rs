//! Lines over steps or epochs, under a legend.

use std::error::Error as Failure;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use unicode_width::UnicodeWidthStr;

use super::{GRID, INK, LINE};
use crate::error::{Error, Result};
use crate::report::table::{shorten, thousands};

/// A line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// Places on it, from left to right. The line has a gap where a number is not finite.
    pub points: Vec<(f64, f64)>,
    /// Thin and pale: values that scatter, behind their mean. It has the colour of the next line that is not faint.
    pub faint: bool,
}

/// Points that a line is drawn with at most: more than one a pixel shows nothing and costs bytes.
const MOST_POINTS: usize = 800;

/// Points up to which each is marked by a dot.
const MOST_DOTS: usize = 30;

/// Beyond this, the ends of an axis would overflow.
const LARGEST: f64 = 1e300;

/// Pixels of the backend in one of the drawing, in which all other lengths count. The backend rounds to whole pixels, which would make steps of curves.
const FINE: i32 = 4;
const WIDTH: i32 = 640;
const HEIGHT: i32 = 400;
/// The width at which a browser shows the file by itself.
const SHOWN: (i32, i32) = (960, 600);

const LEFT: i32 = 60;
const RIGHT: i32 = 624;
const BOTTOM: i32 = 344;
const TEXT: i32 = 14;

/// Told apart by readers of all kinds of colour vision, in this order.
const COLORS: [RGBColor; 5] =
    [LINE, RGBColor(201, 93, 20), RGBColor(20, 133, 104), RGBColor(150, 74, 145), RGBColor(110, 110, 110)];

/// How many points of a line of `points` points are averaged to one, so that at most 800 are drawn.
pub fn thinned_by(points: usize) -> usize {
    points.div_ceil(MOST_POINTS).max(1)
}

/// A chart of `lines`. Lines of more than 800 points are thinned by averaging neighbours, [`thinned_by`] so many: their
/// trend stays, single peaks become lower. Points that are not finite are left out. One point is drawn as a dot.
///
/// # Errors
/// [`Error::Usage`] when no point is finite.
pub fn lines(title: &str, x_label: &str, y_label: &str, lines: &[Line]) -> Result<String> {
    let drawn: Vec<Vec<Vec<(f64, f64)>>> = lines.iter().map(|line| pieces(&line.points)).collect();
    let points = || drawn.iter().flatten().flatten().copied();
    let (Some(x), Some(y)) = (extremes(points().map(|(x, _)| x)), extremes(points().map(|(_, y)| y))) else {
        return Err(Error::usage("there is nothing to plot", "give at least one finite point"));
    };
    // Nobody asks for step 2.5.
    let whole = lines.iter().flat_map(|line| &line.points).all(|point| point.0.fract() == 0.0);
    let mut svg = String::new();
    let size = ((WIDTH * FINE) as u32, (HEIGHT * FINE) as u32);
    let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    let drawn = (|| -> std::result::Result<(), Box<dyn Failure>> {
        root.fill(&WHITE)?;
        let top = heading(&root, title, y_label, lines)?;
        let x = Axis { low: x.0, high: x.1, from: LEFT, to: RIGHT }.with_margin(0.02, whole);
        let y = Axis { low: y.0, high: y.1, from: BOTTOM, to: top }.with_margin(0.05, false);
        grid(&root, x_label, &x, &y, whole)?;
        for ((line, color), pieces) in lines.iter().zip(colors(lines)).zip(&drawn) {
            series(&root, line, color, pieces, |&(a, b)| (x.place(a), y.place(b)))?;
        }
        root.present()?;
        Ok(())
    })();
    drop(root);
    drawn.map_err(|error| Error::usage(format!("the plot cannot be drawn: {error}"), "plot fewer lines"))?;
    let inner = format!("<svg width=\"{}\" height=\"{}\"", size.0, size.1);
    Ok(svg.replacen(&inner, &format!("<svg width=\"{}\" height=\"{}\"", SHOWN.0, SHOWN.1), 1))
}

/// The parts of a line between its gaps, thinned.
fn pieces(points: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
    let drawable = |&&(x, y): &&(f64, f64)| x.abs() <= LARGEST && y.abs() <= LARGEST;
    let thinned = points.chunks(thinned_by(points.len())).map(|chunk| {
        let count = chunk.iter().filter(drawable).count() as f64;
        let mean = |axis: fn(&(f64, f64)) -> f64| {
            chunk.iter().filter(drawable).map(|point| axis(point) / count).sum::<f64>()
        };
        (count > 0.0).then(|| (mean(|point| point.0), mean(|point| point.1)))
    });
    let thinned: Vec<Option<(f64, f64)>> = thinned.collect();
    thinned
        .split(Option::is_none)
        .filter(|piece| !piece.is_empty())
        .map(|piece| piece.iter().copied().flatten().collect())
        .collect()
}

fn extremes(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |found, value| match found {
        None => Some((value, value)),
        Some((low, high)) => Some((low.min(value), high.max(value))),
    })
}

/// Numbers along a side of the drawing, which may run upwards.
struct Axis {
    low: f64,
    high: f64,
    from: i32,
    to: i32,
}

impl Axis {
    /// Room beyond the extremes. Equal extremes get some too: a whole step where numbers are `whole`, else so much that
    /// the ends differ in 64 bit.
    fn with_margin(self, share: f64, whole: bool) -> Self {
        let size = self.low.abs().max(self.high.abs());
        let least = if self.low < self.high { size * 1e-9 } else { (size * 0.05).max(1e-9) };
        let least = if whole && self.low == self.high { least.max(1.0) } else { least };
        let margin = ((self.high - self.low) * share).max(least);
        Self { low: self.low - margin, high: self.high + margin, ..self }
    }

    /// In pixels of the backend.
    fn place(&self, value: f64) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        let (from, to) = (f64::from(self.from * FINE), f64::from(self.to * FINE));
        (from + share * (to - from)).round() as i32
    }

    /// About `about` round numbers within the ends, with their names; no fractions where numbers are `whole`.
    fn ticks(&self, about: f64, whole: bool) -> Vec<(f64, String)> {
        let rough = (self.high - self.low) / about;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0].map(|factor| factor * power).into_iter().find(|&step| step >= rough);
        let step = step.unwrap_or(10.0 * power).max(if whole { 1.0 } else { 0.0 });
        let first = (self.low / step).ceil();
        let ticks = (0..40).map(|i| (first + f64::from(i)) * step).take_while(|&value| value <= self.high);
        // Adding 0 makes −0 a plain 0.
        ticks.map(|value| (value, self.name(value + 0.0, step))).collect()
    }

    fn name(&self, value: f64, step: f64) -> String {
        let size = self.low.abs().max(self.high.abs());
        if size >= 1e9 || step < 1e-6 {
            let digits = (size / step).log10().ceil().clamp(0.0, 15.0) as usize;
            return format!("{value:.digits$e}");
        }
        let decimals = (-(step * 1.000_001).log10().floor()).max(0.0) as usize;
        if decimals > 0 || value.abs() < 10_000.0 {
            return format!("{value:.decimals$}");
        }
        format!("{}{}", if value < 0.0 { "−" } else { "" }, thousands(value.abs().round() as usize))
    }
}

type Area<'a, 'b> = DrawingArea<SVGBackend<'b>, Shift>;
type Drawn<T> = std::result::Result<T, Box<dyn Failure>>;

/// The colour of each line.
fn colors(lines: &[Line]) -> Vec<RGBColor> {
    let strong = |before: usize| lines[..before].iter().filter(|line| !line.faint).count();
    (0..lines.len()).map(|line| COLORS[strong(line) % COLORS.len()]).collect()
}

/// A place of the drawing in pixels of the backend.
fn fine(x: i32, y: i32) -> (i32, i32) {
    (x * FINE, y * FINE)
}

fn stroke(color: RGBColor, faint: bool) -> ShapeStyle {
    if faint { color.mix(0.45).stroke_width(FINE as u32) } else { color.stroke_width(2 * FINE as u32) }
}

/// Writes at a place in pixels of the backend, which is the middle of the letters' height.
fn text(area: &Area<'_, '_>, text: &str, at: (i32, i32), anchor: HPos, size: i32, bold: bool) -> Drawn<()> {
    // The backend writes sizes divided by this number, which was meant for another unit.
    let size = f64::from(size * FINE) * 1.24;
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = ("sans-serif", size, style).into_font().color(&INK);
    let font = font.pos(Pos::new(anchor, VPos::Center));
    Ok(area.draw(&Text::new(shorten(text, 90), at, font))?)
}

/// Title, legend and the name of the vertical axis; returns where the plot may begin.
fn heading(area: &Area<'_, '_>, title: &str, y_label: &str, lines: &[Line]) -> Drawn<i32> {
    let mut y = 20;
    if !title.is_empty() {
        text(area, title, fine(14, y), HPos::Left, 16, true)?;
        y += 26;
    }
    let mut x = 14;
    for (line, color) in lines.iter().zip(colors(lines)) {
        let name = shorten(&line.name, 40);
        // No font is at hand to measure with: letters are about this wide in the usual ones.
        let width = 26 + name.width() as i32 * 15 / 2 + 18;
        if x > 14 && x + width > RIGHT {
            (x, y) = (14, y + 22);
        }
        let ends = [fine(x, y), fine(x + 20, y)];
        area.draw(&PathElement::new(ends, stroke(color, line.faint)))?;
        text(area, &name, fine(x + 26, y), HPos::Left, TEXT, false)?;
        x += width;
    }
    text(area, y_label, fine(14, y + 28), HPos::Left, TEXT, false)?;
    Ok(y + 50)
}

/// Lines across the plot at round numbers, and the numbers of both axes.
fn grid(area: &Area<'_, '_>, x_label: &str, x: &Axis, y: &Axis, whole: bool) -> Drawn<()> {
    for (value, name) in y.ticks(6.0, false) {
        let (place, rule) = (y.place(value), GRID.stroke_width(FINE as u32));
        area.draw(&PathElement::new([(LEFT * FINE, place), (RIGHT * FINE, place)], rule))?;
        text(area, &name, ((LEFT - 8) * FINE, place + FINE), HPos::Right, TEXT, false)?;
    }
    let ink = INK.stroke_width(FINE as u32);
    area.draw(&PathElement::new([fine(LEFT, BOTTOM), fine(RIGHT, BOTTOM)], ink))?;
    for (value, name) in x.ticks(7.0, whole) {
        let place = x.place(value);
        area.draw(&PathElement::new([(place, BOTTOM * FINE), (place, (BOTTOM + 5) * FINE)], ink))?;
        text(area, &name, (place, (BOTTOM + 16) * FINE), HPos::Center, TEXT, false)?;
    }
    text(area, x_label, fine((LEFT + RIGHT) / 2, BOTTOM + 38), HPos::Center, TEXT, false)
}

fn series(
    area: &Area<'_, '_>,
    line: &Line,
    color: RGBColor,
    pieces: &[Vec<(f64, f64)>],
    place: impl Fn(&(f64, f64)) -> (i32, i32),
) -> Drawn<()> {
    let dots = !line.faint && line.points.len() <= MOST_DOTS;
    for piece in pieces {
        let places: Vec<(i32, i32)> = piece.iter().map(&place).collect();
        if dots || places.len() == 1 {
            for &at in &places {
                area.draw(&Circle::new(at, 3 * FINE, color.filled()))?;
            }
        }
        if places.len() > 1 {
            area.draw(&PathElement::new(places, stroke(color, line.faint)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, points: impl IntoIterator<Item = (f64, f64)>, faint: bool) -> Line {
        Line { name: name.into(), points: points.into_iter().collect(), faint }
    }

    /// The points of every path that is not a rule of the grid, an axis or a mark in the legend.
    fn paths(svg: &str) -> Vec<usize> {
        let paths = svg.split("points=\"").skip(1).filter_map(|rest| rest.split('"').next());
        paths.map(|points| points.split_whitespace().count()).filter(|&count| count > 2).collect()
    }

    #[test]
    fn names_are_drawn_and_escaped() {
        let points = || (1..=5).map(|x| (f64::from(x), f64::from(x * x)));
        let chart = [line("a < b", points(), true), line("mean\u{7}", points(), false)];
        let svg = lines("A & B", "step", "loss", &chart).expect("a chart");
        assert!(svg.starts_with("<svg width=\"960\" height=\"600\" viewBox=\"0 0 2560 1600\""), "{svg}");
        assert!(svg.trim_end().ends_with("</svg>"));
        for name in ["A &amp; B", "a &lt; b", "mean\u{fffd}", "step", "loss", "1", "5", "25"] {
            assert!(svg.lines().any(|line| line == name), "{name}");
        }
        assert_eq!(svg.matches("<circle").count(), 5, "a faint line has no dots");
        assert_eq!(svg.matches("stroke=\"#1F61AB\"").count(), 4, "both share a colour: {svg}");
    }

    #[test]
    fn long_series_are_averaged() {
        let saw = (0..100_000).map(|x| (f64::from(x), f64::from(x % 2)));
        let svg = lines("", "", "", &[line("saw", saw, false)]).expect("a chart");
        assert_eq!(paths(&svg), [800]);
        assert_eq!(thinned_by(100_000), 125);
        assert!(svg.len() < 30_000, "{} bytes", svg.len());
        assert_eq!([0, 1, 800, 801].map(thinned_by), [1, 1, 1, 2]);
        let halves = pieces(&(0..1600).map(|x| (f64::from(x), f64::from(x % 2))).collect::<Vec<_>>());
        assert!(halves[0].iter().all(|&(_, y)| y == 0.5) && halves[0][0].0 == 0.5);
    }

    #[test]
    fn gaps_are_where_numbers_are_not_finite() {
        let mut points: Vec<(f64, f64)> = (0..9).map(|x| (f64::from(x), 1.0)).collect();
        points[3].1 = f64::NAN;
        points[8].1 = f64::INFINITY;
        let svg = lines("", "", "", &[line("a", points, false)]).expect("a chart");
        assert_eq!(paths(&svg), [3, 4]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn one_point_is_a_dot_and_none_is_refused() {
        let svg = lines("", "epoch", "", &[line("a", [(1.0, 0.5)], false)]).expect("a chart");
        assert_eq!(svg.matches("<circle").count(), 1);
        for tick in ["0", "1", "2"] {
            assert!(svg.lines().any(|line| line == tick), "epoch {tick} is named: {svg}");
        }
        for points in [vec![], vec![(0.0, f64::NAN)], vec![(f64::INFINITY, 0.0)]] {
            assert_eq!(lines("", "", "", &[line("a", points, false)]).expect_err("nothing").exit_code(), 2);
        }
        assert!(lines("", "", "", &[]).is_err());
    }

    #[test]
    fn ticks_are_round_and_few_at_every_scale() {
        let spans = [(0.0, 1.0), (0.84, 0.91), (-3.0, 12_000.0), (1e10, 1e10 + 1e-5), (-1e300, 1e300)];
        for (low, high) in spans.into_iter().chain([(0.0, 0.0), (1e-9, 2e-9), (7.0, 7.0), (1.0, 46_900.0)]) {
            let axis = Axis { low, high, from: 0, to: 100 }.with_margin(0.05, false);
            let ticks = axis.ticks(5.0, false);
            assert!((2..=8).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
            assert!(ticks.iter().all(|(value, name)| *value <= axis.high && name.len() < 24), "{ticks:?}");
            assert!((0..=100 * FINE).contains(&axis.place(low)));
        }
        let names = |low, high| {
            let axis = Axis { low, high, from: 0, to: 100 };
            axis.ticks(5.0, false).into_iter().map(|(_, name)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(0.0, 1.0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(names(-20_000.0, 20_000.0), ["−20,000", "−10,000", "0", "10,000", "20,000"]);
        assert_eq!(names(0.0, 2e9), ["0.0e0", "5.0e8", "1.0e9", "1.5e9", "2.0e9"]);
    }
}
