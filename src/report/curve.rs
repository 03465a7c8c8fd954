//! Curves as SVG.

mod lines;

use plotters::prelude::*;

use crate::classify::knn::mean_and_deviation;
use crate::error::{Error, Result};
pub use lines::{Line, lines, thinned_by};

const SIZE: (u32, u32) = (860, 520);
const LINE: RGBColor = RGBColor(31, 97, 171);
const POINT: RGBColor = RGBColor(140, 140, 140);
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(228, 228, 228);

/// The plot that assignment 1 asks for: over k, the accuracy of each fold as a point, and the mean with its standard
/// deviation as a line with error bars. `accuracies` holds the folds of each of `ks`.
///
/// # Errors
/// [`Error::Usage`] when there is nothing to plot.
pub fn cross_validation(title: &str, ks: &[usize], accuracies: &[Vec<f64>]) -> Result<String> {
    let mut points: Vec<(f64, &[f64])> =
        ks.iter().map(|&k| k as f64).zip(accuracies.iter().map(Vec::as_slice)).collect();
    points.retain(|(_, folds)| !folds.is_empty());
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (Some(&(first, _)), Some(&(last, _))) = (points.first(), points.last()) else {
        return Err(Error::usage("there is nothing to plot", "give at least one k and one fold"));
    };
    let all = || points.iter().flat_map(|(_, folds)| folds.iter().copied());
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let margin = ((high - low) * 0.12).max(0.005);
    // Values of k bunch at the small end, so the axis is logarithmic; a single k gets room on both sides.
    let (from, to) = (first * 0.85, last.max(first * 1.1) * 1.12);

    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let drawn = (|| -> std::result::Result<(), Box<dyn std::error::Error>> {
        root.fill(&WHITE)?;
        let font = |size: i32| ("sans-serif", size).into_font().color(&INK);
        let mut chart = ChartBuilder::on(&root)
            .caption(title, font(19))
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(64)
            .build_cartesian_2d((from..to).log_scale(), (low - margin)..(high + margin))?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .x_desc("k (neighbours, logarithmic)")
            .y_desc("cross-validation accuracy")
            .disable_x_mesh()
            .x_label_formatter(&|_| String::new())
            .y_label_formatter(&|accuracy| format!("{accuracy:.3}"))
            .label_style(font(14))
            .axis_desc_style(font(15))
            .draw()?;
        // The axis names the values that were tried, not round powers of ten; a name needs 9 % to its left.
        let mut named = 0.0;
        for &(k, _) in &points {
            if k > named * 1.09 {
                named = k;
                let place = chart.backend_coord(&(k, low - margin));
                let style = font(14);
                let label = format!("{k}");
                let left = 4 * label.len() as i32;
                root.draw(&Text::new(label, (place.0 - left, place.1 + 7), style))?;
            }
        }
        let folds = points.iter().flat_map(|&(k, folds)| folds.iter().map(move |&accuracy| (k, accuracy)));
        chart.draw_series(folds.map(|at| Circle::new(at, 3, POINT.mix(0.65).filled())))?;
        let summary: Vec<(f64, f64, f64)> = points
            .iter()
            .map(|&(k, folds)| {
                let (mean, deviation) = mean_and_deviation(folds);
                (k, mean, deviation)
            })
            .collect();
        chart.draw_series(LineSeries::new(
            summary.iter().map(|&(k, mean, _)| (k, mean)),
            LINE.stroke_width(2),
        ))?;
        let bar = |&(k, mean, deviation): &(f64, f64, f64)| {
            ErrorBar::new_vertical(k, mean - deviation, mean, mean + deviation, LINE.stroke_width(2), 10)
        };
        chart.draw_series(summary.iter().map(bar))?;
        root.present()?;
        Ok(())
    })();
    drop(root);
    drawn.map_err(|error| {
        Error::usage(format!("the plot cannot be drawn: {error}"), "try fewer values of k")
    })?;
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_means_and_names_are_drawn() {
        let svg = cross_validation("A & B", &[10, 1, 100], &[vec![0.3, 0.5], vec![0.2, 0.2], vec![0.1, 0.3]]);
        let svg = svg.expect("a plot");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<circle").count(), 6 + 3, "six folds and three means");
        assert!(svg.contains("A &amp; B"));
        for k in [1, 10, 100] {
            assert!(svg.lines().any(|line| line.trim() == k.to_string()), "k = {k} is named");
        }
    }

    #[test]
    fn one_value_is_enough_and_none_is_refused() {
        assert!(cross_validation("", &[5], &[vec![0.5]]).is_ok());
        assert!(cross_validation("", &[], &[]).is_err());
    }
}
