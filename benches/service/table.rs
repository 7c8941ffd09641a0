//! What is printed: a line for each case, with its aim and whether it is reached.

use crate::lanes::measured;
use crate::turns::Compared;

/// What a figure should be.
#[derive(Clone, Copy)]
pub enum Aim {
    /// At least this.
    Least(f64),
    /// At most this.
    Most(f64),
    /// No more than this part away from 1.
    Near(f64),
    /// Whatever it is.
    Told,
}

impl Aim {
    fn text(self) -> String {
        match self {
            Self::Least(least) => format!(">= {least}"),
            Self::Most(most) => format!("<= {most}"),
            Self::Near(part) => format!("1 +- {part}"),
            Self::Told => "-".to_owned(),
        }
    }

    fn verdict(self, figure: f64) -> &'static str {
        let reached = match self {
            Self::Least(least) => figure >= least,
            Self::Most(most) => figure <= most,
            Self::Near(part) => (figure - 1.0).abs() <= part,
            Self::Told => return "-",
        };
        match (reached, measured()) {
            // A run that measures nothing reaches and misses nothing.
            (_, false) => "not measured",
            (true, true) => "reached",
            (false, true) => "MISSED",
        }
    }
}

/// Prints what stands above the lines.
pub fn heading() {
    line(
        "case",
        "beside",
        "service",
        "ratio (spread)",
        "left out",
        "aim",
        "",
    );
}

/// Prints how two sides compare; their figures are told in a unit, which is so many of the compared ones.
pub fn compared(case: &str, compared: &Compared, unit: &str, per_step: f64, aim: Aim) {
    if compared.counted() == 0 {
        let left_out = compared.left_out.to_string();
        line(
            case,
            "",
            "",
            "the machine was too busy",
            &left_out,
            &aim.text(),
            "",
        );
        return;
    }
    let [lowest, middle, highest] = compared.ratios();
    let figure = |value: f64| format!("{} {unit}", rounded(value * per_step));
    line(
        case,
        &figure(compared.base()),
        &figure(compared.measured()),
        &format!("{middle:.2} ({lowest:.2}-{highest:.2})"),
        &format!(
            "{} of {}",
            compared.left_out,
            compared.left_out + compared.counted()
        ),
        &aim.text(),
        aim.verdict(middle),
    );
}

/// Prints two figures, and their ratio.
pub fn ratio(case: &str, beside: f64, service: f64, unit: &str, aim: Aim) {
    let ratio = service / beside;
    let figure = |value: f64| format!("{} {unit}", rounded(value));
    let (beside, service) = (figure(beside), figure(service));
    let verdict = aim.verdict(ratio);
    line(
        case,
        &beside,
        &service,
        &format!("{ratio:.2}"),
        "",
        &aim.text(),
        verdict,
    );
}

/// Prints a figure that stands alone.
pub fn figure(case: &str, service: f64, unit: &str, aim: Aim) {
    let text = format!("{} {unit}", rounded(service));
    let aim_text = match aim {
        Aim::Told => aim.text(),
        Aim::Least(_) | Aim::Most(_) | Aim::Near(_) => format!("{} {unit}", aim.text()),
    };
    line(case, "", &text, "", "", &aim_text, aim.verdict(service));
}

/// Enough digits.
fn rounded(value: f64) -> String {
    match value {
        large if large >= 100.0 => format!("{large:.0}"),
        middling if middling >= 10.0 => format!("{middling:.1}"),
        small => format!("{small:.2}"),
    }
}

fn line(
    case: &str,
    beside: &str,
    service: &str,
    ratio: &str,
    left_out: &str,
    aim: &str,
    verdict: &str,
) {
    println!("{case:54} {beside:>13} {service:>13}  {ratio:24} {left_out:>8}  {aim:11} {verdict}");
}
