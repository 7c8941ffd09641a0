//! Reads values out of a TOML document, and remembers every problem: with its line, its key and what
//! was expected there.
//!
//! By hand over the parsed document: serde would stop at the first problem, and not say its key.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::domain::schema::either;

/// Gives the text of a schema file, or says what was expected of it.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// One thing wrong with a catalog, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// The keys that lead there, joined by dots; empty where the text is no TOML.
    pub key: String,
    /// What was expected there.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "expected {}", self.expected)
    }
}

/// A table of the file.
pub(super) struct Section<'a> {
    /// The keys that lead to it, joined by dots.
    pub(super) path: String,
    /// Where its key stands.
    pub(super) at: Range<usize>,
    pub(super) table: &'a DeTable<'a>,
}

impl Section<'_> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// The keys that lead to an entry.
    pub(super) fn path_of(&self, name: &str) -> String {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let name = match name.chars().all(bare) && !name.is_empty() {
            true => name.to_owned(),
            false => format!("{name:?}"),
        };
        match self.path.as_str() {
            "" => name,
            path => format!("{path}.{name}"),
        }
    }

    /// Where the key of an entry stands, or else the section's.
    pub(super) fn at(&self, name: &str) -> Range<usize> {
        let entry = self.table.get_key_value(name);
        entry.map_or(self.at.clone(), |(key, _)| key.span())
    }
}

/// Reads, and remembers what was wrong.
pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) read_file: ReadFile<'a>,
    pub(super) problems: Vec<Problem>,
}

impl Reader<'_> {
    /// A value of the file as JSON. Dates and numbers that JSON does not have are complained about.
    pub(super) fn json(
        &mut self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<serde_json::Value> {
        let json = match value.get_ref() {
            DeValue::String(text) => Some(text.as_ref().into()),
            DeValue::Boolean(truth) => Some((*truth).into()),
            DeValue::Integer(whole) => i64::from_str_radix(whole.as_str(), whole.radix())
                .ok()
                .map(Into::into),
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .ok()
                .and_then(serde_json::Number::from_f64)
                .map(Into::into),
            DeValue::Datetime(_) => None,
            DeValue::Array(elements) => {
                let elements = elements.iter().enumerate();
                let elements =
                    elements.map(|(i, element)| self.json(&format!("{path}[{i}]"), element));
                return elements.collect();
            }
            DeValue::Table(table) => {
                let section = Section {
                    path: path.to_owned(),
                    at: value.span(),
                    table,
                };
                let entries = table.iter().map(|(name, value)| {
                    let json = self.json(&section.path_of(name.get_ref()), value)?;
                    Some((name.get_ref().to_string(), json))
                });
                return entries.collect();
            }
        };
        if json.is_none() {
            self.complain(path, value.span(), "a value that JSON has");
        }
        json
    }

    /// The table under a key, if there is one.
    pub(super) fn section<'a>(&mut self, parent: &Section<'a>, name: &str) -> Option<Section<'a>> {
        let (key, value) = parent.table.get_key_value(name)?;
        let path = parent.path_of(name);
        match value.get_ref() {
            DeValue::Table(table) => Some(Section {
                path,
                at: key.span(),
                table,
            }),
            _ => {
                self.complain(&path, value.span(), "a table");
                None
            }
        }
    }

    /// Complains about keys that mean nothing, which are misspelt ones.
    pub(super) fn only(&mut self, section: &Section<'_>, known: &[&str]) {
        for key in section.table.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let expected = format!("one of the keys {}", known.join(", "));
                self.complain(&section.path_of(name), key.span(), expected);
            }
        }
    }

    pub(super) fn text<'a>(&mut self, section: &Section<'a>, name: &str) -> Option<&'a str> {
        let (_, value) = section.table.get_key_value(name)?;
        let text = value.get_ref().as_str().filter(|text| !text.is_empty());
        if text.is_none() {
            self.complain(&section.path_of(name), value.span(), "text");
        }
        text
    }

    pub(super) fn choice<T: Clone>(
        &mut self,
        section: &Section<'_>,
        name: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let (_, value) = section.table.get_key_value(name)?;
        let text = value.get_ref().as_str();
        let chosen = choices.iter().find(|(choice, _)| Some(*choice) == text);
        if chosen.is_none() {
            let expected = one_of(choices.iter().map(|(choice, _)| *choice));
            self.complain(&section.path_of(name), value.span(), expected);
        }
        chosen.map(|(_, meaning)| meaning.clone())
    }

    pub(super) fn whole<T: TryFrom<i64>>(
        &mut self,
        section: &Section<'_>,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Option<T> {
        let (_, value) = section.table.get_key_value(name)?;
        let number = value.get_ref().as_integer();
        let number = number.and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            self.complain(&section.path_of(name), value.span(), expected);
        }
        number.and_then(|number| T::try_from(number).ok())
    }

    pub(super) fn complain(&mut self, key: &str, at: Range<usize>, expected: impl Into<String>) {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.problems.push(Problem {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            key: key.to_owned(),
            expected: expected.into(),
        });
    }
}

/// `"a", "b" or "c"`.
pub(super) fn one_of<'a>(choices: impl Iterator<Item = &'a str>) -> String {
    either(choices.map(|choice| format!("{choice:?}")))
}
