//! The figures that a picture shows better: as SVG files.

use super::report::Report;
use crate::failure::Failure;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::ops::Range;
use std::path::{Path, PathBuf};

const SIZE: (u32, u32) = (800, 440);
const COLOURS: [RGBColor; 3] = [RGBColor(0, 90, 160), RGBColor(200, 110, 0), RGBColor(130, 30, 110)];

/// What a chart shows.
struct Chart<'a> {
    file: &'a str,
    title: &'a str,
    x: &'a str,
    y: &'a str,
    /// Whether each point stands by itself, or all of a series are joined.
    points: bool,
    series: Vec<(&'a str, Vec<(f64, f64)>)>,
}

/// Draws what was measured, each chart into a file of the folder; gives the files.
pub(super) fn draw(folder: &Path, report: &Report) -> Result<Vec<PathBuf>, Failure> {
    let charts = [throughput(report), ladder(report), fail_over(report)];
    let mut files = Vec::new();
    for chart in charts.into_iter().filter(|chart| chart.series.iter().any(|(_, points)| !points.is_empty()))
    {
        let path = folder.join(chart.file);
        chart.draw(&path).map_err(|error| {
            Failure::Failed(format!("{}: the chart can't be drawn: {error}", path.display()))
        })?;
        files.push(path);
    }
    Ok(files)
}

#[expect(clippy::cast_precision_loss, reason = "some hundred calls")]
fn throughput(report: &Report) -> Chart<'static> {
    let of = |figure: fn(&super::report::InFlight) -> f64| {
        report.in_flight.iter().map(|rate| (rate.calls as f64, figure(rate))).collect()
    };
    Chart {
        file: "throughput.svg",
        title: "Messages a second",
        x: "calls in flight",
        y: "a second",
        points: false,
        series: vec![
            ("the service, each message synced by all replicas", of(|rate| rate.per_second)),
            ("do-nothing calls", of(|rate| rate.do_nothing_per_second)),
        ],
    }
}

fn ladder(report: &Report) -> Chart<'static> {
    let of = |figure: fn(&super::report::Rung) -> f64| {
        report.ladder.iter().map(|rung| (rung.offered_per_second, figure(rung))).collect()
    };
    Chart {
        file: "latency.svg",
        title: "Latency at a rate, from when each message was to be sent",
        x: "messages a second",
        y: "milliseconds",
        points: false,
        series: vec![
            ("p50", of(|rung| rung.p50_ms)),
            ("p99", of(|rung| rung.p99_ms)),
            ("p99.9", of(|rung| rung.p999_ms)),
        ],
    }
}

fn fail_over(report: &Report) -> Chart<'static> {
    let moments = report.gaps.iter().flat_map(|gaps| &gaps.moments);
    Chart {
        file: "fail-over.svg",
        title: "One sender, and kill -9 of the primary",
        x: "milliseconds since the kill",
        y: "milliseconds a message",
        points: true,
        series: vec![("one message", moments.map(|moment| (moment.since_kill_ms, moment.took_ms)).collect())],
    }
}

impl Chart<'_> {
    fn draw(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        self.draw_on(&area)?;
        Ok(area.present()?)
    }

    fn draw_on<'a>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        area.fill(&WHITE)?;
        let all = || self.series.iter().flat_map(|(_, points)| points);
        let (x, y) = (around(all().map(|point| point.0)), around(all().map(|point| point.1)));
        // Never from 0 on a scale of powers.
        let y = y.start.max(0.01)..y.end.max(0.1) * 2.0;
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(70)
            .build_cartesian_2d(x, y.log_scale())?;
        chart.configure_mesh().light_line_style(WHITE).x_desc(self.x).y_desc(self.y).draw()?;
        for ((name, points), colour) in self.series.iter().zip(COLOURS) {
            let drawn = if self.points {
                chart.draw_series(points.iter().map(|point| Circle::new(*point, 2, colour.filled())))?
            } else {
                chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            };
            drawn
                .label(*name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()
    }
}

/// From the least to the most of them.
fn around(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(f64::NEG_INFINITY, f64::max);
    // A range of no width can't be drawn.
    least..most.max(least + 1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::{Gaps, InFlight, Moment, Rung};

    #[test]
    fn what_was_measured_is_drawn_and_what_was_not_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        assert!(draw(folder.path(), &Report::default()).unwrap().is_empty());
        let rate = |calls, per_second| InFlight {
            calls,
            per_second,
            do_nothing_per_second: 20_000.0,
            share: 0.3,
            share_worst: 0.3,
            share_best: 0.3,
        };
        let rung = |rate| Rung {
            offered_per_second: rate,
            per_second: rate,
            p50_ms: 1.0,
            p99_ms: 3.0,
            p999_ms: 0.0,
            do_nothing_p50_ms: 0.5,
        };
        let moment = |since_kill_ms| Moment { since_kill_ms, took_ms: 1.2 };
        let report = Report {
            in_flight: vec![rate(16, 4000.0), rate(64, 6000.0)],
            ladder: vec![rung(1000.0), rung(2000.0)],
            gaps: Some(Gaps {
                kills: 1,
                median_ms: 9.0,
                worst_ms: 9.0,
                connections_closed_median_ms: 3.0,
                longest_silence_after_ms: 9.0,
                moments: vec![moment(-3.0), moment(9.0)],
            }),
            ..Report::default()
        };
        let files = draw(folder.path(), &report).unwrap();
        let words = ["do-nothing calls", "p99.9", "since the kill"];
        assert_eq!(files.len(), words.len());
        for (file, word) in files.iter().zip(words) {
            let svg = std::fs::read_to_string(file).unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{}", file.display());
            assert!(svg.contains(word), "{} lacks {word}", file.display());
        }
    }
}
