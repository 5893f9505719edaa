//! A terminal's screen as a page, so that a browser can make a picture of it.

use std::fmt::Write;

/// The sixteen colours of a terminal, and what it has where nothing is said.
struct Palette {
    ground: &'static str,
    ink: &'static str,
    colours: [&'static str; 16],
}

const DARK: Palette = Palette {
    ground: "#14161b",
    ink: "#e8eaf0",
    colours: [
        "#2a2e38", "#ff8a80", "#6fd28f", "#f2c55c", "#8ba3ff", "#d8a1ff", "#63d4dc", "#cfd3dc", "#7d8596",
        "#ff9a91", "#8fe3a9", "#ffd98a", "#a9bbff", "#e6c2ff", "#8fe6ec", "#ffffff",
    ],
};
const LIGHT: Palette = Palette {
    ground: "#ffffff",
    ink: "#1a1d24",
    colours: [
        "#1a1d24", "#b3261e", "#1f7a3d", "#8a5a00", "#3457d5", "#8a3ffc", "#0b7480", "#565d6d", "#7d8596",
        "#c2352c", "#268a47", "#9a6700", "#4a6be0", "#9a59ff", "#12838f", "#000000",
    ],
};

/// The page of a screen, in a dark or a light terminal.
pub fn page(screen: &vt100::Screen, dark: bool) -> String {
    let palette = if dark { &DARK } else { &LIGHT };
    let (rows, cols) = screen.size();
    let mut lines = String::new();
    for row in 0..rows.get() {
        for col in 0..cols.get() {
            let Some(cell) = screen.cell(row, col).filter(|cell| !cell.is_wide_continuation()) else {
                continue;
            };
            lines += &drawn(cell, palette);
        }
        lines.push('\n');
    }
    let Palette { ground, ink, .. } = palette;
    format!(
        "<!doctype html><meta charset='utf-8'><style>body {{ margin: 0; padding: 14px; background: {ground}; color: {ink}; \
         width: max-content; font: 15px/1.25 'DejaVu Sans Mono', monospace; }} pre {{ margin: 0; font: inherit; }}</style><pre>{lines}</pre>"
    )
}

fn drawn(cell: &vt100::Cell, palette: &Palette) -> String {
    let mut ink = colour(cell.fgcolor(), palette).unwrap_or_else(|| palette.ink.into());
    let mut ground = colour(cell.bgcolor(), palette).unwrap_or_else(|| palette.ground.into());
    if cell.inverse() {
        std::mem::swap(&mut ink, &mut ground);
    }
    let mut style = format!("color:{ink};background:{ground}");
    for (is_so, rule) in [
        (cell.bold(), "font-weight:bold"),
        (cell.dim(), "opacity:0.65"),
        (cell.italic(), "font-style:italic"),
    ] {
        if is_so {
            write!(style, ";{rule}").expect("a string takes whatever is written");
        }
    }
    let text = if cell.has_contents() { cell.contents() } else { " " };
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!("<span style='{style}'>{text}</span>")
}

fn colour(colour: vt100::Color, palette: &Palette) -> Option<String> {
    match colour {
        vt100::Color::Default => None,
        vt100::Color::Idx(index) => palette.colours.get(usize::from(index)).map(|&colour| colour.into()),
        vt100::Color::Rgb(red, green, blue) => Some(format!("rgb({red},{green},{blue})")),
    }
}
