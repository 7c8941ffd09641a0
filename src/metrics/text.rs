//! The text format of Prometheus, version 0.0.4: what everything that scrapes reads.

use std::fmt;

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

/// All metrics of a registry. The library writes OpenMetrics, which names a counter without the `_total` of
/// its samples; here both have it.
pub(super) fn classic(registry: &Registry) -> Result<String, fmt::Error> {
    let mut open = String::new();
    encode_registry(&mut open, registry)?;
    let mut classic = String::with_capacity(open.len());
    let mut help = "";
    for line in open.lines() {
        if line.starts_with("# HELP ") {
            // The line behind it says whether it is of a counter.
            help = line;
            continue;
        }
        let counter = line.strip_prefix("# TYPE ");
        match counter.and_then(|counter| counter.strip_suffix(" counter")) {
            Some(name) => {
                let text = help.strip_prefix("# HELP ").unwrap_or_default();
                let text = text.strip_prefix(name).unwrap_or_default();
                classic.push_str("# HELP ");
                classic.push_str(name);
                classic.push_str("_total");
                classic.push_str(text);
                classic.push_str("\n# TYPE ");
                classic.push_str(name);
                classic.push_str("_total counter");
            }
            None => {
                if !help.is_empty() {
                    classic.push_str(help);
                    classic.push('\n');
                }
                classic.push_str(line);
            }
        }
        help = "";
        classic.push('\n');
    }
    Ok(classic)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    #[test]
    fn a_counter_is_described_by_the_name_its_samples_have() {
        let mut registry = Registry::default();
        let made: Counter = Counter::default();
        made.inc_by(3);
        registry.register("things", "Things that were made", made);
        let left: Gauge = Gauge::default();
        registry.register("room", "Room that is left", left);
        let expected = "# HELP things_total Things that were made.\n\
            # TYPE things_total counter\n\
            things_total 3\n\
            # HELP room Room that is left.\n\
            # TYPE room gauge\n\
            room 0\n";
        assert_eq!(classic(&registry), Ok(expected.to_owned()));
    }
}
