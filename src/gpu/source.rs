//! Assembles the text of a kernel: the prelude, generated constants, the shader file.
//!
//! A shader file is plain WGSL with one directive, because drivers differ in whether they unroll loops and keep arrays in registers, and a
//! register tile of named scalars is fast on all of them:
//!
//! ```text
//! //! unroll i 0..ROWS
//! var sum_$i = a_$i * b;
//! //! end
//! ```
//!
//! repeats its lines with `$i` replaced by each number of the range. Blocks nest. A bound is a product or quotient of integers and
//! generated constants (`4*ROWS/LANES`). A name after `$` is lower-case letters only, so `sum_$i_$j` and `v$i.x` read as they look.

use std::fmt::Write as _;
use std::ops::Range;

const PRELUDE: &str = include_str!("../../shaders/prelude.wgsl");

/// The text that is compiled for `source` with `constants`, each a `const NAME: u32`.
///
/// # Errors
/// A text that names the line of a directive that cannot be understood or of an unknown `$name`.
pub fn assemble(source: &str, constants: &[(&str, u32)]) -> Result<String, String> {
    let mut out = String::with_capacity(PRELUDE.len() + 2 * source.len());
    out.push_str(PRELUDE);
    for (name, value) in constants {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "const {name}: u32 = {value}u;");
    }
    let lines: Vec<Line> = source.lines().zip(1..).map(|(text, number)| Line { number, text }).collect();
    Expansion { constants, variables: Vec::new(), out: &mut out }.block(&lines)?;
    Ok(out)
}

#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn directive(&self) -> Option<&'a str> {
        self.text.trim().strip_prefix("//!").map(str::trim)
    }

    fn opens(&self) -> bool {
        self.directive().is_some_and(|d| d.starts_with("unroll"))
    }

    fn closes(&self) -> bool {
        self.directive() == Some("end")
    }

    fn error<T>(&self, problem: impl std::fmt::Display) -> Result<T, String> {
        Err(format!("line {}: {problem}", self.number))
    }
}

struct Expansion<'a> {
    constants: &'a [(&'a str, u32)],
    /// The blocks being repeated, outermost first, each with its current number.
    variables: Vec<(&'a str, u32)>,
    out: &'a mut String,
}

impl<'a> Expansion<'a> {
    fn block(&mut self, mut lines: &[Line<'a>]) -> Result<(), String> {
        while let Some((line, rest)) = lines.split_first() {
            lines = rest;
            match line.directive() {
                None => self.line(line)?,
                Some(_) if line.opens() => {
                    let (name, range) = self.header(line)?;
                    let Some(end) = end_of_block(rest) else {
                        return line.error("this block has no `//! end`");
                    };
                    for number in range {
                        self.variables.push((name, number));
                        self.block(&rest[..end])?;
                        self.variables.pop();
                    }
                    lines = &rest[end + 1..];
                }
                Some("end") => return line.error("`//! end` without a block"),
                Some(other) => return line.error(format_args!("unknown directive `{other}`")),
            }
        }
        Ok(())
    }

    /// `unroll NAME FROM..TO`
    fn header(&self, line: &Line<'a>) -> Result<(&'a str, Range<u32>), String> {
        let words: Vec<_> = line.directive().unwrap_or_default().split_whitespace().collect();
        let (name, range) = match words.as_slice() {
            ["unroll", name, range] => (*name, range.split_once("..")),
            _ => return line.error("expected `//! unroll NAME FROM..TO`"),
        };
        if !name.bytes().all(|b| b.is_ascii_lowercase()) {
            return line.error(format_args!("`{name}` must be lower-case letters"));
        }
        if self.variables.iter().any(|(taken, _)| *taken == name) {
            return line.error(format_args!("`{name}` is repeated by an outer block already"));
        }
        let Some((from, to)) = range else { return line.error("expected a range FROM..TO") };
        Ok((name, self.bound(line, from)?..self.bound(line, to)?))
    }

    /// Factors joined by `*` and `/`, applied from left to right.
    fn bound(&self, line: &Line, text: &str) -> Result<u32, String> {
        let mut value = 1u32;
        let mut operator = '*';
        let mut rest = text;
        loop {
            let end = rest.find(['*', '/']).unwrap_or(rest.len());
            let factor = self.factor(line, &rest[..end])?;
            let result = if operator == '*' { value.checked_mul(factor) } else { value.checked_div(factor) };
            let Some(result) = result else {
                return line.error(format_args!("`{text}` is no 32-bit number"));
            };
            value = result;
            let Some(next) = rest[end..].chars().next() else { return Ok(value) };
            operator = next;
            rest = &rest[end + 1..];
        }
    }

    fn factor(&self, line: &Line, text: &str) -> Result<u32, String> {
        let constant = self.constants.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        match constant.or_else(|| text.parse().ok()) {
            Some(value) => Ok(value),
            None => line.error(format_args!("`{text}` is neither a number nor a generated constant")),
        }
    }

    fn line(&mut self, line: &Line) -> Result<(), String> {
        let mut parts = line.text.split('$');
        self.out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(part.len());
            let (name, rest) = part.split_at(end);
            let Some((_, number)) = self.variables.iter().find(|(known, _)| *known == name) else {
                return line.error(format_args!("`${name}` is not repeated by any block around it"));
            };
            let _ = write!(self.out, "{number}{rest}");
        }
        self.out.push('\n');
        Ok(())
    }
}

/// The position of the `end` that closes the block whose lines begin here.
fn end_of_block(lines: &[Line]) -> Option<usize> {
    let mut depth = 0;
    lines.iter().position(|line| {
        if line.opens() {
            depth += 1;
        } else if line.closes() {
            depth -= 1;
        }
        depth < 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(source: &str, constants: &[(&str, u32)]) -> Result<String, String> {
        let all = assemble(source, constants)?;
        let constants: usize = constants.iter().map(|(n, v)| format!("const {n}: u32 = {v}u;\n").len()).sum();
        Ok(all[PRELUDE.len() + constants..].to_owned())
    }

    #[test]
    fn plain_text_follows_the_prelude_and_the_constants() {
        let text = assemble("fn f() {}", &[("TILE", 8), ("LANES", 4)]).expect("plain");
        assert_eq!(text, format!("{PRELUDE}const TILE: u32 = 8u;\nconst LANES: u32 = 4u;\nfn f() {{}}\n"));
    }

    #[test]
    fn blocks_repeat_their_lines_and_nest() {
        let source = "a\n//! unroll i 0..TM\n  //! unroll j 1..TN/2\n  s_$i_$j = v$i[$j] * $j;\n  //! end\nb$i\n//! end\nc";
        let text = expand(source, &[("TM", 2), ("TN", 6)]).expect("nested");
        assert_eq!(
            text,
            "a\n  s_0_1 = v0[1] * 1;\n  s_0_2 = v0[2] * 2;\nb0\n  s_1_1 = v1[1] * 1;\n  s_1_2 = v1[2] * 2;\nb1\nc\n"
        );
    }

    #[test]
    fn bounds_are_products_and_quotients() {
        let count = |bound: &str| {
            let source = format!("//! unroll i 0..{bound}\nx\n//! end");
            expand(&source, &[("A", 12), ("B", 3)]).map(|text| text.lines().count())
        };
        assert_eq!(count("4"), Ok(4));
        assert_eq!(count("A/B"), Ok(4));
        assert_eq!(count("2*A/B/4*B"), Ok(6));
        assert_eq!(count("0"), Ok(0));
        for bad in ["", "A*", "A/0", "C", "A*4294967295", "-1", "A+B"] {
            let error = count(bad).expect_err(bad);
            assert!(error.starts_with("line 1: "), "{bad}: {error}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        let error = |source: &str| expand(source, &[]).expect_err(source);
        assert_eq!(error("a\n//! unroll i 0..2\nb"), "line 2: this block has no `//! end`");
        assert_eq!(error("a\nb\n//! end"), "line 3: `//! end` without a block");
        assert_eq!(
            error("//! unroll i 0..1\n$j\n//! end"),
            "line 2: `$j` is not repeated by any block around it"
        );
        assert_eq!(error("\n//! repeat"), "line 2: unknown directive `repeat`");
        assert_eq!(error("//! unroll i"), "line 1: expected `//! unroll NAME FROM..TO`");
        assert_eq!(error("//! unroll i 3"), "line 1: expected a range FROM..TO");
        assert_eq!(error("//! unroll I 0..3\n//! end"), "line 1: `I` must be lower-case letters");
        let nested = "//! unroll i 0..1\n//! unroll i 0..1\n//! end\n//! end";
        assert_eq!(error(nested), "line 2: `i` is repeated by an outer block already");
    }
}
