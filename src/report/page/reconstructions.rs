//! Rows beside what an autoencoder makes of them.

use std::fmt::Write;

use super::html::{escape, figure, section, source};
use super::{Reconstructions, Run};
use crate::error::Result;
use crate::report::picture;
use crate::report::table::thousands;

/// Rows that are shown from the front, and as many of those that come back worst.
const SHOWN: usize = 16;

/// The section, empty where rows are no images.
pub(super) fn reconstructions(run: &Run<'_>) -> Result<String> {
    let (Some(made), Some(image)) = (run.reconstructions, run.image) else { return Ok(String::new()) };
    let (rows, features) = (run.test.len(), run.test.features());
    if !picture::fits(image, features) || made.values.len() != rows * features || made.errors.len() != rows {
        return Ok(String::new());
    }
    let mut worst: Vec<usize> = (0..rows).collect();
    worst.sort_by(|&a, &b| made.errors[b].total_cmp(&made.errors[a]).then(a.cmp(&b)));
    worst.truncate(SHOWN);
    let first: Vec<usize> = (0..rows.min(SHOWN)).collect();
    if first.is_empty() {
        return Ok(String::new());
    }
    let mut body =
        "<p>Test rows on the left, what the code alone lets the net give back on the right, and the mean \
         squared error of the row.</p>\n"
            .to_owned();
    for (title, rows) in [("The first", first), ("The worst", worst)] {
        let _ = writeln!(body, "<h3>{title}</h3>\n{}", pictures(run, &made, image, &rows)?);
    }
    Ok(section("reconstructions", "Reconstructions", &body))
}

fn pictures(
    run: &Run<'_>,
    made: &Reconstructions<'_>,
    image: crate::data::ImageShape,
    rows: &[usize],
) -> Result<String> {
    let features = run.test.features();
    let mut list = String::from("<ul class=\"pictures pairs-of-pictures\">\n");
    for &row in rows {
        let values = &made.values[row * features..][..features];
        let [original, again] = picture::of_pair(run.test, row, values, image)?;
        let _ = writeln!(
            list,
            "<li><figure><div><img {}><img {}></div><figcaption>{}<span>row {}</span></figcaption></figure></li>",
            source(&original, &format!("test row {row}")),
            source(&again, &format!("test row {row} given back")),
            escape(&figure(made.errors[row])),
            thousands(row)
        );
    }
    Ok(list + "</ul>\n")
}
