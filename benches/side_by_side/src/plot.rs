//! A report as a picture: how often each server does each work, beside plain axum.

use std::fmt::Write as _;

use crate::report::{Rate, Rates, Report};
use crate::server::Server;

const WIDTH: usize = 860;
const LABEL: usize = 190;
const BAR: usize = 18;
const GAP: usize = 6;
const TITLE: usize = 34;
/// Room behind the longest bar for its figure.
const FIGURE: usize = 150;

/// The picture, as SVG.
#[must_use]
pub fn svg(report: &Report) -> String {
    let height: usize = report.rates.iter().map(block_height).sum::<usize>() + 50;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let mut top = 10;
    for rates in &report.rates {
        block(&mut out, rates, top);
        top += block_height(rates);
    }
    let said = |name: &str| report.setting[name].as_str().unwrap_or("unknown").to_owned();
    let foot = format!(
        "{}, {}, one core for the server; commit {}; medians of {} rounds",
        said("date"),
        said("processor"),
        said("commit"),
        report.setting["rounds"]
    );
    text(&mut out, (10, top + 20), "#57606a", "", &foot);
    out.push_str("</svg>\n");
    out
}

fn block_height(rates: &Rates) -> usize {
    TITLE + rates.servers.len() * (BAR + GAP) + 14
}

fn block(out: &mut String, rates: &Rates, top: usize) {
    text(
        out,
        (10, top + 20),
        "#1f2328",
        " font-weight=\"600\"",
        &rates.name,
    );
    let rate = |rate: &Rate| rate.rounds.median(|sample| sample.per_second);
    let most = rates.servers.iter().map(rate).fold(1.0, f64::max);
    for (index, server) in rates.servers.iter().enumerate() {
        let y = top + TITLE + index * (BAR + GAP);
        let per_second = rate(server);
        let width = per_second / most * (WIDTH - LABEL - FIGURE) as f64;
        let color = match server.server {
            Server::AnynodeMemory | Server::AnynodeRedis => "#1a7f37",
            Server::Axum => "#8c959f",
            _ => "#54aeff",
        };
        text(out, (10, y + 14), "#1f2328", "", server.server.name());
        let _ok = writeln!(
            out,
            "<rect x=\"{LABEL}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{color}\"/>"
        );
        let figure = format!("{} /s", thousands(per_second));
        let x = LABEL + 8 + width as usize;
        text(out, (x, y + 14), "#57606a", "", &figure);
    }
}

fn text(out: &mut String, (x, y): (usize, usize), color: &str, more: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ok = writeln!(
        out,
        "<text x=\"{x}\" y=\"{y}\" fill=\"{color}\"{more}>{words}</text>"
    );
}

/// A number with a thin space between thousands.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut spaced = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            spaced.push('\u{2009}');
        }
        spaced.push(digit);
    }
    spaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(12.4), "12");
        assert_eq!(thousands(1_234_567.0), "1\u{2009}234\u{2009}567");
    }
}
