//! The picture as SVG. First every box gets its size, from the inside to the outside; then they are placed.

use super::{branches, label, short};
use crate::Definition;

/// The size of a step without others inside, and the distances between boxes, in pixels.
const WIDTH: u32 = 300;
const HEIGHT: u32 = 44;
const GAP: u32 = 18;
const PAD: u32 = 12;
/// The longest label of a box, in characters that fit its width.
const LABEL: usize = 46;

/// A step or a way through one, with its size.
struct Shape {
    name: String,
    label: String,
    kind: &'static str,
    width: u32,
    height: u32,
    /// What stands below each other inside of it.
    column: Vec<Shape>,
    /// What stands beside each other below that.
    row: Vec<Shape>,
}

pub(super) fn draw(definition: &Definition) -> String {
    let column = column(definition, 0);
    let (width, height) = (widest(&column) + 2 * PAD, total(&column) + 2 * PAD + HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n<title>{}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{PAD}\" y=\"26\" font-size=\"16\" font-weight=\"bold\">{}</text>\n",
        escape(&definition.name),
        escape(&definition.name),
    );
    below_each_other(&column, PAD, PAD + HEIGHT, width - 2 * PAD, &mut svg);
    svg.push_str("</svg>\n");
    svg
}

fn column(definition: &Definition, block: u16) -> Vec<Shape> {
    let steps = definition.block(block).iter();
    steps.map(|step| shape(definition, *step)).collect()
}

fn shape(definition: &Definition, step: u16) -> Shape {
    let (mut inside, mut row) = (Vec::new(), Vec::new());
    for branch in branches(definition, step) {
        let steps = column(definition, branch.block);
        if branch.beside {
            row.push(sized(
                String::new(),
                branch.label,
                "branch",
                steps,
                Vec::new(),
            ));
        } else {
            inside.extend(steps);
        }
    }
    let action = &definition.step(step).action;
    sized(
        definition.step(step).name.to_string(),
        label(definition, step),
        action.kind(),
        inside,
        row,
    )
}

fn sized(
    name: String,
    label: String,
    kind: &'static str,
    column: Vec<Shape>,
    row: Vec<Shape>,
) -> Shape {
    let row_width: u32 = row
        .iter()
        .map(|shape| shape.width + GAP)
        .sum::<u32>()
        .saturating_sub(GAP);
    let row_height = row
        .iter()
        .map(|shape| shape.height + GAP)
        .max()
        .unwrap_or(0);
    let inside = total(&column) + row_height;
    let bare = column.is_empty() && row.is_empty();
    Shape {
        width: if bare {
            WIDTH
        } else {
            widest(&column).max(row_width).max(WIDTH) + 2 * PAD
        },
        height: if bare { HEIGHT } else { HEIGHT + inside + PAD },
        name,
        label,
        kind,
        column,
        row,
    }
}

fn widest(column: &[Shape]) -> u32 {
    column
        .iter()
        .map(|shape| shape.width)
        .max()
        .unwrap_or(WIDTH)
}

fn total(column: &[Shape]) -> u32 {
    column.iter().map(|shape| shape.height + GAP).sum()
}

/// Draws shapes from top to bottom, in the middle of `width`, with a line from each to the next.
fn below_each_other(column: &[Shape], x: u32, mut y: u32, width: u32, svg: &mut String) {
    let middle = x + width / 2;
    for (number, shape) in column.iter().enumerate() {
        if number > 0 {
            let tip = format!(
                "{},{} {},{} {middle},{y}",
                middle - 4,
                y - 6,
                middle + 4,
                y - 6
            );
            svg.push_str(&format!("<path d=\"M{middle} {}V{}\" stroke=\"#555\"/><polygon points=\"{tip}\" fill=\"#555\"/>\n", y - GAP, y - 6));
        }
        draw_shape(shape, x + (width - shape.width) / 2, y, svg);
        y += shape.height + GAP;
    }
}

fn draw_shape(shape: &Shape, x: u32, y: u32, svg: &mut String) {
    let (fill, dash) = match shape.kind {
        "branch" => ("#fafafa", " stroke-dasharray=\"4 3\""),
        "receive" | "listen" => ("#e8f1fb", ""),
        "send" | "call" | "worker" | "start" => ("#eaf6ea", ""),
        "raise" | "suspend" | "terminate" | "compensate" => ("#fdecea", ""),
        "scope" | "each" | "loop" | "parallel" | "decide" => ("#f6f6f6", ""),
        _ => ("#fff", ""),
    };
    let (width, height) = (shape.width, shape.height);
    let full = if shape.name.is_empty() {
        &shape.label
    } else {
        &format!("{}: {}", shape.name, shape.label)
    };
    svg.push_str(&format!(
        "<g><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"5\" fill=\"{fill}\" stroke=\"#888\"{dash}/>",
        escape(full)
    ));
    if !shape.name.is_empty() {
        svg.push_str(&format!(
            "<text x=\"{}\" y=\"{}\" font-weight=\"bold\">{}</text>",
            x + 10,
            y + 18,
            escape(&short(&shape.name, LABEL))
        ));
    }
    svg.push_str(&format!(
        "<text x=\"{}\" y=\"{}\">{}</text></g>\n",
        x + 10,
        y + 34,
        escape(&short(&shape.label, LABEL))
    ));
    let top = y + HEIGHT;
    below_each_other(&shape.column, x + PAD, top, width - 2 * PAD, svg);
    let (mut at, top) = (x + PAD, top + total(&shape.column));
    for way in &shape.row {
        draw_shape(way, at, top, svg);
        at += way.width + GAP;
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            // What XML cannot hold at all.
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
