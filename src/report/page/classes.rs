//! How the classes fared: figures of each, and which were taken for which.

use std::collections::HashSet;
use std::fmt::Write;

use super::html::{escape, head, name, percent, section, table};
use crate::report::confusion::{ClassFigures, Confusion, MOST_COLUMNS};
use crate::report::table::{shorten, thousands};

/// Columns of a class name in tables.
const NAME: usize = 28;
/// Columns of a class name that stands upright over a column.
const UPRIGHT: usize = 18;
/// Classes beyond which the matrix takes the whole width of the page.
const BESIDE: usize = 12;

/// Shades from which the letters on them are inverted, on dark paper and on light.
const MIDDLE: f64 = 0.58;
const DEEP: f64 = 0.74;

/// The section, empty without classes.
pub(super) fn classes(confusion: &Confusion) -> String {
    if confusion.classes.is_empty() {
        return String::new();
    }
    let count = confusion.classes.len();
    let confused = match &confusion.counts {
        Some(counts) if count <= MOST_COLUMNS => matrix(counts, &confusion.classes),
        _ => most_confused(confusion),
    };
    let layout = if count > BESIDE && count <= MOST_COLUMNS { "stack" } else { "columns" };
    let body = format!(
        "<div class=\"{layout}\">\n<div>\n<h3>Figures of each class</h3>\n{}</div>\n\
         <div>\n<h3>Which was taken for which</h3>\n{confused}</div>\n</div>\n",
        figures(confusion)
    );
    section("classes", "Classes", &body)
}

fn figures(confusion: &Confusion) -> String {
    let (title, listed) = confusion.listed();
    let mut rows = String::new();
    for class in listed {
        let ClassFigures { precision, recall, f1, support, .. } = class;
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"bar\" style=\"--s:{f1:.3}\">{f1:.3}</td>\
             <td>{}</td></tr>",
            name(&class.name, NAME),
            percent(*precision),
            percent(*recall),
            thousands(*support)
        );
    }
    let note = "Precision: the right share of what was predicted as this class. Recall: the share of the class that was \
                found. F1: their harmonic mean.";
    let head = head(title, &[], &["precision", "recall", "F1", "rows"]);
    table("figures", "figures of each class", &head, &rows, note)
}

/// Names that would look alike when they are cut give way to numbers, which the rows explain.
fn matrix(counts: &[Vec<usize>], classes: &[ClassFigures]) -> String {
    let short: HashSet<String> = classes.iter().map(|class| shorten(&class.name, UPRIGHT)).collect();
    let numbered = short.len() < classes.len();
    let mut top = String::from("<tr><td></td>");
    for (number, class) in classes.iter().enumerate() {
        let _ = match numbered {
            true => write!(top, "<th scope=\"col\" class=\"number\">{number}</th>"),
            false => write!(top, "<th scope=\"col\"><span>{}</span></th>", name(&class.name, UPRIGHT)),
        };
    }
    top += "</tr>\n";
    let mut rows = String::new();
    for (truth, counts) in counts.iter().enumerate() {
        let class = &classes[truth];
        let number = if numbered { format!("{truth}\u{a0}") } else { String::new() };
        let _ = write!(rows, "<tr><th scope=\"row\">{number}{}</th>", name(&class.name, NAME));
        for (predicted, &count) in counts.iter().enumerate() {
            rows += &cell(count, class, truth == predicted, &classes[predicted].name);
        }
        rows += "</tr>\n";
    }
    let note = "Rows are the true classes, columns the predicted ones. A cell counts test rows; the deeper its shade, \
                the larger the share of the true class.";
    table("matrix", "confusion matrix", &top, &rows, note)
}

/// A count, shaded by the square root of its share so that rare confusions are seen too.
fn cell(count: usize, class: &ClassFigures, right: bool, predicted: &str) -> String {
    if count == 0 {
        return format!("<td{}>·</td>", if right { " class=\"right\" style=\"--s:0\"" } else { "" });
    }
    let share = count as f64 / class.support.max(count) as f64;
    let shade = share.sqrt();
    let side = if right { "right" } else { "wrong" };
    let depth = match shade {
        _ if shade >= DEEP => " deep",
        _ if shade >= MIDDLE => " middle",
        _ => "",
    };
    let (truth, predicted) = (escape(&shorten(&class.name, NAME)), escape(&shorten(predicted, NAME)));
    let verdict = if right { "right".into() } else { format!("taken for {predicted}") };
    format!(
        "<td class=\"{side}{depth}\" style=\"--s:{shade:.3}\" title=\"{truth}: {} {verdict}\">{}</td>",
        percent(share),
        thousands(count)
    )
}

fn most_confused(confusion: &Confusion) -> String {
    let wrong = confusion.most_confused();
    if wrong.is_empty() {
        return "<p>No class was taken for another.</p>\n".into();
    }
    let mut rows = String::new();
    for (count, truth, predicted) in wrong {
        let (truth, predicted) = (&confusion.classes[truth], &confusion.classes[predicted]);
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\">{}</th><td class=\"word\">{}</td><td>{}</td><td>{}</td></tr>",
            name(&truth.name, NAME),
            name(&predicted.name, NAME),
            thousands(count),
            percent(count as f64 / truth.support.max(1) as f64)
        );
    }
    let head = head("true class", &["predicted"], &["rows", "share"]);
    let note = "The most frequent confusions, with their share of the true class.";
    table("confused", "most frequent confusions", &head, &rows, note)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confusion(classes: u32, rows: u32) -> Confusion {
        let names: Vec<String> = (0..classes).map(|class| format!("<{class}>")).collect();
        let truth: Vec<u32> = (0..rows).map(|row| row % classes).collect();
        let predicted: Vec<u32> = (0..rows).map(|row| (row + row / classes % 2) % classes).collect();
        Confusion::new(&truth, &predicted, &names)
    }

    #[test]
    fn few_classes_have_a_matrix_and_many_a_list() {
        for (classes, cells, listed) in [(1, 1, 1), (2, 4, 2), (20, 400, 20), (21, 0, 21), (300, 0, 20)] {
            let html = super::classes(&confusion(classes, 6_000));
            assert_eq!(html.contains("class=\"matrix\""), cells > 0, "{classes}");
            let shaded =
                html.matches("<td class=\"right").count() + html.matches("<td class=\"wrong").count();
            let plain = html.matches("<td>·</td>").count();
            assert_eq!(shaded + plain, cells, "{classes}");
            assert_eq!(html.matches("class=\"bar\"").count(), listed, "{classes}");
            assert_eq!(html.contains("The most frequent confusions"), cells == 0, "{classes}");
            assert!(!html.contains("<0>") && html.contains("&lt;0&gt;"), "names are escaped");
        }
        assert!(super::classes(&Confusion::new(&[], &[], &[])).is_empty());
    }

    #[test]
    fn names_that_look_alike_give_way_to_numbers() {
        let names = ["superclass number one", "superclass number two"].map(String::from);
        let html = super::classes(&Confusion::new(&[0, 1], &[0, 0], &names));
        assert!(
            html.contains("class=\"number\">1</th>") && html.contains("1\u{a0}<bdi>superclass number two")
        );
        let html = super::classes(&Confusion::new(&[0, 1], &[0, 0], &["a", "b"].map(String::from)));
        assert!(html.contains("<span><bdi>b</bdi></span>") && !html.contains("number"), "{html}");
    }

    #[test]
    fn without_a_mistake_the_page_says_so() {
        let ids: Vec<u32> = (0..30).collect();
        let names: Vec<String> = ids.iter().map(u32::to_string).collect();
        let html = super::classes(&Confusion::new(&ids, &ids, &names));
        assert!(html.contains("No class was taken for another."), "{html}");
    }

    #[test]
    fn shades_follow_the_share_of_the_class() {
        let class = ClassFigures { name: "a".into(), support: 100, precision: 0.0, recall: 0.0, f1: 0.0 };
        let shown = cell(81, &class, true, "a");
        assert!(shown.contains("right deep") && shown.contains("--s:0.900"), "{shown}");
        let shown = cell(36, &class, false, "b");
        assert!(shown.contains("wrong middle") && shown.contains("taken for b"), "{shown}");
        assert!(cell(1, &class, false, "b").contains("class=\"wrong\""));
    }
}
