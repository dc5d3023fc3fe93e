//! Horizontal bars, drawn as SVG: labels on the left, values at the ends of the bars.

use anyhow::anyhow;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

/// A picture.
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below the title: what a bar's length is.
    pub subtitle: String,
    /// What each colour stands for.
    pub legend: Vec<(String, RGBColor)>,
    /// From top to bottom.
    pub groups: Vec<Group>,
    /// Values at which a dotted line stands, and what it is.
    pub line: Option<(f64, String)>,
}

/// Bars with one label.
pub struct Group {
    /// On the left.
    pub label: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
    /// Where a goal is.
    pub goal: Option<f64>,
}

/// One bar.
pub struct Bar {
    /// Its length.
    pub value: f64,
    /// What stands at its end.
    pub text: String,
    /// Its colour.
    pub color: RGBColor,
}

const WIDTH: i32 = 880;
const LABELS: i32 = 330;
/// To the right of the longest bar: its value.
const VALUES: i32 = 110;
const BAR: i32 = 18;
const BETWEEN_BARS: i32 = 3;
const BETWEEN_GROUPS: i32 = 14;
const MARGIN: i32 = 16;
const HEAD: i32 = 66;
const LEGEND: i32 = 26;

const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const FAINT: RGBColor = RGBColor(0x6e, 0x77, 0x81);
const RULE: RGBColor = RGBColor(0xd0, 0xd7, 0xde);
/// Goals.
pub const GOAL: RGBColor = RGBColor(0xcf, 0x22, 0x2e);

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

impl Chart {
    /// Draws it into the file `path`.
    pub fn draw(&self, path: &Path) -> anyhow::Result<()> {
        self.try_draw(path).map_err(|error| anyhow!("drawing {}: {error}", path.display()))
    }
    fn try_draw(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(path, (WIDTH as u32, self.height() as u32)).into_drawing_area();
        area.fill(&WHITE)?;
        words(&area, &self.title, (MARGIN, 24), 18, INK, HPos::Left)?;
        words(&area, &self.subtitle, (MARGIN, 47), 13, FAINT, HPos::Left)?;
        let bottom = self.height() - 2 * MARGIN - LEGEND + BETWEEN_GROUPS / 2;
        rule(&area, LABELS, HEAD, bottom, RULE)?;
        if let Some((value, name)) = &self.line {
            let x = self.x(*value);
            rule(&area, x, HEAD, bottom, FAINT)?;
            words(&area, name, (x, HEAD - 9), 12, FAINT, HPos::Center)?;
        }
        let mut y = HEAD + BETWEEN_GROUPS / 2;
        for group in &self.groups {
            self.group(&area, group, y)?;
            y += group.height() + BETWEEN_GROUPS;
        }
        self.legend(&area, self.height() - MARGIN - LEGEND / 2)?;
        Ok(area.present()?)
    }
    fn group(&self, area: &Area<'_>, group: &Group, top: i32) -> Result<(), Box<dyn std::error::Error>> {
        let middle = top + group.height() / 2;
        words(area, &group.label, (LABELS - 10, middle), 13, INK, HPos::Right)?;
        for (n, bar) in group.bars.iter().enumerate() {
            let y = top + n as i32 * (BAR + BETWEEN_BARS);
            let corners = [(LABELS, y), (self.x(bar.value).max(LABELS + 1), y + BAR)];
            area.draw(&Rectangle::new(corners, bar.color.filled()))?;
            self.value(area, bar, group.goal, y + BAR / 2)?;
        }
        if let Some(goal) = group.goal {
            let x = self.x(goal);
            let corners = [(x - 1, top - 4), (x + 1, top + group.height() + 4)];
            area.draw(&Rectangle::new(corners, GOAL.filled()))?;
        }
        Ok(())
    }
    /// What stands at a bar's end: inside of it if a goal's mark or the line is in the way outside.
    fn value(
        &self,
        area: &Area<'_>,
        bar: &Bar,
        goal: Option<f64>,
        y: i32,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let (end, room) = (self.x(bar.value), width(&bar.text) + 14);
        let in_the_way = |mark: &i32| (end - 2..end + room).contains(mark);
        let line = self.line.as_ref().map(|(value, _)| *value);
        match goal.into_iter().chain(line).map(|value| self.x(value)).find(in_the_way) {
            None => words(area, &bar.text, (end + 7, y), 13, INK, HPos::Left),
            Some(_) if end - LABELS > room => {
                let ink = if is_dark(bar.color) { WHITE } else { INK };
                words(area, &bar.text, (end - 7, y), 13, ink, HPos::Right)
            }
            Some(mark) => words(area, &bar.text, (mark + 7, y), 13, INK, HPos::Left),
        }
    }
    fn legend(&self, area: &Area<'_>, y: i32) -> Result<(), Box<dyn std::error::Error>> {
        let mut x = MARGIN;
        for (name, color) in &self.legend {
            area.draw(&Rectangle::new([(x, y - 6), (x + 12, y + 6)], color.filled()))?;
            words(area, name, (x + 18, y), 13, INK, HPos::Left)?;
            x += 18 + width(name) + 26;
        }
        Ok(())
    }
    fn x(&self, value: f64) -> i32 {
        let bars =
            self.groups.iter().flat_map(|group| group.bars.iter().map(|bar| bar.value).chain(group.goal));
        let most = bars.chain(self.line.as_ref().map(|(value, _)| *value)).fold(f64::MIN_POSITIVE, f64::max);
        LABELS + (value / most * f64::from(WIDTH - LABELS - VALUES)).round() as i32
    }
    fn height(&self) -> i32 {
        let groups: i32 = self.groups.iter().map(|group| group.height() + BETWEEN_GROUPS).sum();
        HEAD + groups + LEGEND + 2 * MARGIN
    }
}

impl Group {
    fn height(&self) -> i32 {
        self.bars.len() as i32 * (BAR + BETWEEN_BARS) - BETWEEN_BARS
    }
}

fn rule(
    area: &Area<'_>,
    x: i32,
    top: i32,
    bottom: i32,
    color: RGBColor,
) -> Result<(), Box<dyn std::error::Error>> {
    Ok(area.draw(&PathElement::new([(x, top), (x, bottom)], color.stroke_width(1)))?)
}

fn is_dark(RGBColor(red, green, blue): RGBColor) -> bool {
    u32::from(red) + u32::from(green) + u32::from(blue) < 400
}

/// About how wide a text is: fonts differ from viewer to viewer.
fn width(text: &str) -> i32 {
    text.chars().count() as i32 * 7
}

/// Text whose middle is at the height of `at`.
fn words(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    color: RGBColor,
    side: HPos,
) -> Result<(), Box<dyn std::error::Error>> {
    let style =
        TextStyle::from(("sans-serif", size).into_font()).color(&color).pos(Pos::new(side, VPos::Center));
    Ok(area.draw(&Text::new(text.to_owned(), at, style))?)
}
