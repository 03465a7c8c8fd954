//! Pieces of HTML. Whatever comes from a file or a user goes through [`escape`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::report::table::{printable, shorten, thousands};

/// `text` as the contents of an element or of a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in printable(text).chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A name of at most `most` columns, whose direction of writing does not spread to what stands around it.
pub(super) fn name(text: &str, most: usize) -> String {
    format!("<bdi>{}</bdi>", escape(&shorten(text, most)))
}

/// Attributes of an `img` that holds the picture itself.
pub(super) fn source(png: &[u8], alt: &str) -> String {
    format!("src=\"data:image/png;base64,{}\" alt=\"{}\"", STANDARD.encode(png), escape(alt))
}

/// 0.9312 as "93.1 %". What is not quite all never reads as all, nor what is not quite nothing as nothing.
pub(super) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        _ if percent > 0.0 && percent < 0.05 => "&lt;\u{a0}0.1\u{a0}%".into(),
        _ if (99.95..100.0).contains(&percent) => "&gt;\u{a0}99.9\u{a0}%".into(),
        _ => format!("{percent:.1}\u{a0}%"),
    }
}

/// "1 step", "1,200 steps".
pub(super) fn counted(n: usize, what: &str) -> String {
    format!("{} {what}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// A measured number, to about four digits.
pub(super) fn figure(value: f64) -> String {
    if value != 0.0 && value.is_finite() && !(1e-3..1e5).contains(&value.abs()) {
        return format!("{value:.2e}");
    }
    format!("{value:.3}")
}

/// A section of the page; `id` is unique on it.
pub(super) fn section(id: &str, title: &str, body: &str) -> String {
    let title = escape(title);
    format!("<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n{body}</section>\n")
}

/// A table that may be wider than the page, which then scrolls by itself, also by keyboard; `note` stands under it.
pub(super) fn table(class: &str, label: &str, head: &str, rows: &str, note: &str) -> String {
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{label}\">\n\
         <table class=\"{class}\" aria-label=\"{label}\">\n<thead>\n{head}</thead>\n<tbody>\n{rows}</tbody>\n\
         </table>\n</div>\n<p class=\"note\">{note}</p>\n"
    )
}

/// The head of a table: a first column of names, columns of `words`, which begin at the left like the names, and columns
/// of numbers.
pub(super) fn head(first: &str, words: &[&str], numbers: &[&str]) -> String {
    let mut row = format!("<tr><th scope=\"col\">{first}</th>");
    for (columns, class) in [(words, " class=\"word\""), (numbers, "")] {
        row.extend(columns.iter().map(|column| format!("<th scope=\"col\"{class}>{column}</th>")));
    }
    row + "</tr>\n"
}

/// Names and values, under a heading of their own.
pub(super) fn pairs(title: &str, pairs: &[(String, String)]) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let rows = pairs.iter().map(|(name, value)| {
        format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name), escape(value))
    });
    let rows: Vec<String> = rows.collect();
    format!(
        "<div>\n<h3>{title}</h3>\n<table class=\"pairs\">\n<tbody>\n{}</tbody>\n</table>\n</div>\n",
        rows.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text_and_control_characters_are_shown() {
        assert_eq!(
            escape("<a href='x' b=\"&\">\n"),
            "&lt;a href=&#39;x&#39; b=&quot;&amp;&quot;&gt;\u{fffd}"
        );
        assert_eq!(name("<script>", 4), "<bdi>&lt;sc…</bdi>", "cut first, escaped whole");
    }

    #[test]
    fn shares_are_never_rounded_to_certainty() {
        let of = |share| percent(share).replace('\u{a0}', " ");
        assert_eq!([0.0, 0.9312, 1.0].map(of), ["0.0 %", "93.1 %", "100.0 %"]);
        assert_eq!([0.0001, 0.99999].map(of), ["&lt; 0.1 %", "&gt; 99.9 %"]);
        assert_eq!([0.0, 2.50259, -1e-7, 5e9].map(figure), ["0.000", "2.503", "-1.00e-7", "5.00e9"]);
    }
}
