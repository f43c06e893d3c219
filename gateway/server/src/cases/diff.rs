//! Two texts, line by line.

/// How many lines of each text are compared.
const LINES: usize = 400;
/// How many lines of a difference are shown.
const SHOWN: usize = 40;

/// What is not the same in both, with `-` before what was expected and `+` before what came.
pub(super) fn lines(expected: &str, came: &str) -> Vec<String> {
    let expected: Vec<&str> = expected.lines().take(LINES).collect();
    let came: Vec<&str> = came.lines().take(LINES).collect();
    let mut shown = Vec::new();
    let (mut left, mut right) = (0, 0);
    let common = common(&expected, &came);
    let end = (expected.len(), came.len());
    for (at, to) in common.into_iter().chain([end]) {
        shown.extend(expected[left..at].iter().map(|line| format!("- {line}")));
        shown.extend(came[right..to].iter().map(|line| format!("+ {line}")));
        if (at, to) != end {
            shown.push(format!("  {}", expected[at]));
        }
        (left, right) = (at + 1, to + 1);
    }
    // Lines that are the same are of use near those that are not.
    let differs = |line: &String| !line.starts_with("  ");
    let near = |at: usize| {
        let until = shown.len().min(at + 3);
        shown[at.saturating_sub(2)..until].iter().any(differs)
    };
    let mut lines: Vec<String> = (0..shown.len())
        .filter(|at| near(*at))
        .map(|at| shown[at].clone())
        .collect();
    if lines.len() > SHOWN {
        lines.truncate(SHOWN);
        lines.push("…".to_owned());
    }
    lines
}

/// The longest row of lines that both have: their numbers in each.
fn common(a: &[&str], b: &[&str]) -> Vec<(usize, usize)> {
    let width = b.len() + 1;
    let mut length = vec![0_u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            length[i * width + j] = if a[i] == b[j] {
                length[(i + 1) * width + j + 1] + 1
            } else {
                length[(i + 1) * width + j].max(length[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            found.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if length[(i + 1) * width + j] >= length[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_shown_with_what_stands_around_it() {
        let expected = "a\nb\nc\nd\ne\nf\ng\nh";
        let came = "a\nb\nc\nX\nd\ne\nf\ng";
        assert_eq!(
            lines(expected, came),
            ["  b", "  c", "+ X", "  d", "  e", "  f", "  g", "- h"]
        );
        assert_eq!(lines("a", "b"), ["- a", "+ b"]);
        assert_eq!(lines("a\nb", "a\nb"), [""; 0]);
        assert_eq!(lines("", "x"), ["+ x"]);
        let long: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(lines("", &long.join("\n")).len(), SHOWN + 1);
    }
}
