//! The styles of the screen.

use ratatui::style::{Color, Modifier, Style};

/// The styles of one screen; without colours, only weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    colours: bool,
    pub(crate) problem: Style,
    pub(crate) good: Style,
    pub(crate) careful: Style,
}

pub(crate) fn palette(colours: bool) -> Palette {
    let paint = |colour| if colours { Style::default().fg(colour) } else { Style::default() };
    Palette {
        colours,
        problem: paint(Color::Red).add_modifier(Modifier::BOLD),
        good: paint(Color::Green),
        careful: paint(Color::Yellow),
    }
}

impl Palette {
    /// Everybody has a colour, always the same.
    pub(crate) fn name(self, account: u64) -> Style {
        const COLOURS: [Color; 6] =
            [Color::Cyan, Color::Green, Color::Magenta, Color::Yellow, Color::Blue, Color::LightRed];
        let bold = Style::default().add_modifier(Modifier::BOLD);
        // Neighbouring numbers should not look alike.
        let place = usize::try_from(account.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61).unwrap_or(0);
        if self.colours { bold.fg(COLOURS[place % COLOURS.len()]) } else { bold }
    }
}
