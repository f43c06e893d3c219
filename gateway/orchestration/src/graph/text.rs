//! The picture in text: a tree of lines.

use super::{branches, label, short};
use crate::Definition;

/// The longest line, without its indent.
const WIDTH: usize = 110;

/// A line of the tree with the lines below it.
struct Line {
    text: String,
    below: Vec<Line>,
}

pub(super) fn draw(definition: &Definition) -> String {
    let mut text = format!("{}\n", definition.name);
    write(&steps(definition, 0), "", &mut text);
    text
}

fn steps(definition: &Definition, block: u16) -> Vec<Line> {
    let all = definition.block(block).iter();
    all.map(|step| {
        let mut below = Vec::new();
        for branch in branches(definition, *step) {
            let inside = steps(definition, branch.block);
            if branch.label.is_empty() {
                below.extend(inside);
            } else {
                below.push(Line {
                    text: format!("[{}]", branch.label),
                    below: inside,
                });
            }
        }
        let name = &definition.step(*step).name;
        Line {
            text: format!("{name}  {}", label(definition, *step)),
            below,
        }
    })
    .collect()
}

fn write(lines: &[Line], indent: &str, text: &mut String) {
    for (number, line) in lines.iter().enumerate() {
        let last = number + 1 == lines.len();
        let (corner, rail) = if last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        text.push_str(&format!("{indent}{corner}{}\n", short_line(&line.text)));
        write(&line.below, &format!("{indent}{rail}"), text);
    }
}

/// The name and what follows it, which keeps its distance.
fn short_line(line: &str) -> String {
    match line.split_once("  ") {
        Some((name, rest)) => format!("{name}  {}", short(rest, WIDTH)),
        None => short(line, WIDTH),
    }
}
