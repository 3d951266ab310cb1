//! Line charts as SVG, drawn here so that a page needs neither scripts nor a network.

use std::fmt::Write as _;

/// The scale of an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From 0 on, evenly.
    Linear,
    /// As linear, and as long as the values are.
    Time,
    /// Each power of ten as far apart as any other.
    Logarithmic,
    /// Percentiles: 90, 99, 99.9 and so on as far apart as any other.
    Nines,
}

/// One line of a chart; its class chooses the colour.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart with its axes.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) x: (&'static str, Scale),
    pub(super) y: (&'static str, Scale),
    pub(super) lines: Vec<Line>,
}

/// An axis with its ticks, from values to pixels.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    pixels: (f64, f64),
    ticks: Vec<f64>,
}

impl Chart {
    /// The chart as an `svg` element with a legend before it.
    pub(super) fn svg(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let x = Axis::over(self.x.1, points().map(|point| point.0), (LEFT, WIDTH - RIGHT));
        let y = Axis::over(self.y.1, points().map(|point| point.1), (HEIGHT - BOTTOM, TOP));
        writeln!(out, "<figure><figcaption>{}<span class=\"legend\">", self.title)?;
        for line in &self.lines {
            writeln!(out, "<span class=\"{}\">&#9632; {}</span>", line.class, line.name)?;
        }
        writeln!(out, "</span></figcaption>")?;
        writeln!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            self.title
        )?;
        for tick in &y.ticks {
            let at = y.at(*tick);
            let right = WIDTH - RIGHT;
            writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                number(*tick)
            )?;
        }
        for tick in &x.ticks {
            let text = if x.scale == Scale::Nines { percentile(*tick) } else { number(*tick) };
            let (at, below) = (x.at(*tick), HEIGHT - BOTTOM + 18.0);
            writeln!(out, "<text class=\"middle\" x=\"{at:.1}\" y=\"{below}\">{text}</text>")?;
        }
        let (middle, bottom) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 6.0);
        writeln!(out, "<text class=\"middle\" x=\"{middle}\" y=\"{bottom}\">{}</text>", self.x.0)?;
        writeln!(out, "<text x=\"4\" y=\"14\">{}</text>", self.y.0)?;
        self.lines.iter().try_for_each(|line| line.write(&x, &y, self.y.0, out))?;
        writeln!(out, "</svg></figure>")
    }
}

impl Line {
    fn write(&self, x: &Axis, y: &Axis, unit: &str, out: &mut String) -> std::fmt::Result {
        let class = self.class;
        write!(out, "<polyline class=\"{class}\" points=\"")?;
        for point in &self.points {
            write!(out, "{:.1},{:.1} ", x.at(point.0), y.at(point.1))?;
        }
        writeln!(out, "\"/>")?;
        // Points show their figures when the pointer rests on them.
        for point in &self.points {
            let at = if x.scale == Scale::Nines { percentile(point.0) } else { number(point.0) };
            writeln!(
                out,
                "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\">\
                 <title>{} at {at}: {} {unit}</title></circle>",
                x.at(point.0),
                y.at(point.1),
                self.name,
                number(point.1)
            )?;
        }
        Ok(())
    }
}

impl Axis {
    fn over(scale: Scale, values: impl Iterator<Item = f64>, pixels: (f64, f64)) -> Self {
        let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let high = values.iter().copied().fold(0.0, f64::max);
        match scale {
            Scale::Linear => {
                let step = step(if high > 0.0 { high } else { 1.0 });
                let count = (high / step).ceil().max(1.0) as usize;
                let ticks: Vec<f64> = (0..=count).map(|tick| tick as f64 * step).collect();
                Self { scale, low: 0.0, high: count as f64 * step, pixels, ticks }
            }
            Scale::Time => {
                let high = if high > 0.0 { high } else { 1.0 };
                let step = step(high);
                let count = (high / step + 1e-9).floor() as usize;
                let ticks: Vec<f64> = (0..=count).map(|tick| tick as f64 * step).collect();
                Self { scale, low: 0.0, high, pixels, ticks }
            }
            Scale::Logarithmic => {
                let above = values.iter().copied().filter(|value| *value > 0.0);
                let low = above.fold(f64::MAX, f64::min).min(high.max(1.0));
                let (first, last) = (low.log10().floor(), high.max(low).log10().ceil());
                let last = last.max(first + 1.0);
                let ticks = (first as i32..=last as i32).map(|power| 10_f64.powi(power)).collect();
                Self { scale, low: first, high: last, pixels, ticks }
            }
            Scale::Nines => {
                // Rounding must not make a whole number a little more.
                let last = (nines(high) - 1e-9).ceil().max(1.0);
                let ticks = (0..=last as i32).map(|nines| 100.0 - 100.0 / 10_f64.powi(nines));
                Self { scale, low: 0.0, high: last, pixels, ticks: ticks.collect() }
            }
        }
    }

    fn at(&self, value: f64) -> f64 {
        let along = match self.scale {
            Scale::Linear | Scale::Time => value,
            Scale::Logarithmic => value.max(1e-9).log10().max(self.low),
            Scale::Nines => nines(value),
        };
        let share = (along - self.low) / (self.high - self.low);
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }
}

/// How many nines a percentile has: 1 for 90, 2 for 99.
fn nines(percentile: f64) -> f64 {
    -((100.0 - percentile).max(1e-9) / 100.0).log10()
}

/// A round step that puts about five ticks below `high`.
fn step(high: f64) -> f64 {
    let power = 10_f64.powf((high / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|step| high / step <= 5.0).unwrap_or(10.0 * power)
}

/// As many digits as a reader needs: 1.5M, 20k, 0.25.
fn number(value: f64) -> String {
    let (value, unit) = match value {
        1e6.. => (value / 1e6, "M"),
        1e4.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = if value >= 100.0 { 1 } else { 3 };
    format!("{}{unit}", trimmed(value, digits))
}

fn percentile(value: f64) -> String {
    format!("{}%", trimmed(value, 5))
}

/// Rounds to a number of decimals and removes trailing zeros.
fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 44.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_ticks() {
        let axis = Axis::over(Scale::Linear, [3.0, 47.0].into_iter(), (0.0, 100.0));
        assert_eq!(axis.ticks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!((axis.at(0.0), axis.at(25.0)), (0.0, 50.0));
        let axis = Axis::over(Scale::Time, [3.0, 0.3].into_iter(), (0.0, 90.0));
        assert_eq!((axis.ticks.len(), axis.at(3.0)), (4, 90.0));
        let axis = Axis::over(Scale::Logarithmic, [0.02, 30.0, 0.0].into_iter(), (0.0, 100.0));
        assert_eq!(axis.ticks.len(), 5);
        assert!((axis.at(1.0) - 50.0).abs() < 1e-9 && axis.at(0.0) == 0.0);
        let axis = Axis::over(Scale::Nines, [0.0, 99.9].into_iter(), (0.0, 90.0));
        assert_eq!(axis.ticks, [0.0, 90.0, 99.0, 99.9]);
        assert!((axis.at(99.0) - 60.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_to_show_is_an_empty_chart() {
        for scale in [Scale::Linear, Scale::Time, Scale::Logarithmic, Scale::Nines] {
            let line = Line { name: "none", class: "a", points: Vec::new() };
            let chart = Chart { title: "t", x: ("s", scale), y: ("ms", scale), lines: vec![line] };
            let svg = chart.svg();
            assert!(svg.ends_with("</svg></figure>\n") && !svg.contains("NaN"), "{svg}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (1000.0, "1000"),
            (20_000.0, "20k"),
            (1_500_000.0, "1.5M"),
            (99.9, "99.9"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(percentile(100.0 - 100.0 / 1e5), "99.999%");
    }
}
