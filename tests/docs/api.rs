//! `docs/api.md` is made from `proto/` and its comments. To make it anew:
//!
//! ```sh
//! WRITE_DOCS=1 cargo test --test main docs::api
//! ```

use std::collections::HashMap;
use std::fmt::Write;
use std::{env, fs};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    ServiceDescriptorProto,
};

use super::{descriptors, path, read};

const PAGE: &str = "docs/api.md";

/// Numbers of fields in `descriptor.proto`, of which a path to a comment is made.
mod place {
    pub const MESSAGES: i32 = 4;
    pub const ENUMS: i32 = 5;
    pub const SERVICES: i32 = 6;
    pub const SYNTAX: i32 = 12;
    /// Of a message's fields, of an enum's values and of a service's methods alike.
    pub const MEMBERS: i32 = 2;
}

#[test]
fn the_reference_of_the_api_is_what_the_commented_protocol_files_say() {
    let page = page();
    if env::var_os("WRITE_DOCS").is_some() {
        fs::write(path(PAGE), &page).expect("written");
    }
    let written = read(PAGE);
    let differs = page
        .lines()
        .zip(written.lines())
        .find(|(new, old)| new != old);
    assert!(
        page == written,
        "{PAGE} is old, first in {differs:?}; run: WRITE_DOCS=1 cargo test --test main docs::api"
    );
}

/// The page as it has to be.
fn page() -> String {
    let mut page = "# The API\n\nEvery call, message and field of `ironflow.sync.v1`, made from the comments in \
                    `proto/` by `WRITE_DOCS=1 cargo test --test main docs::api`.\nWhat the answers mean is in \
                    [protocol.md](protocol.md), what a client does about them in [clients.md](clients.md).\n"
        .to_owned();
    let mut files = descriptors().file;
    files.retain(|file| file.package() == "ironflow.sync.v1");
    // The calls first, then what they speak of; both in the order of the files' names.
    files.sort_by_key(|file| (file.service.is_empty(), file.name().to_owned()));
    for file in &files {
        write_file(&mut page, file);
    }
    page
}

fn write_file(page: &mut String, file: &FileDescriptorProto) {
    let comments = Comments::of(file);
    for (at, service) in (0..).zip(&file.service) {
        write_service(page, &comments, service, &[place::SERVICES, at]);
    }
    let name = file.name().rsplit('/').next().unwrap_or_default();
    let head = comments.text(&[place::SYNTAX]);
    write!(page, "\n## {name}\n\n{head}\n").expect("a string takes it");
    for (at, message) in (0..).zip(&file.message_type) {
        write_message(page, &comments, message, &[place::MESSAGES, at]);
    }
    for (at, values) in (0..).zip(&file.enum_type) {
        write_enum(page, &comments, values, &[place::ENUMS, at]);
    }
}

fn write_service(
    page: &mut String,
    comments: &Comments,
    service: &ServiceDescriptorProto,
    place: &[i32],
) {
    let name = service.name();
    write!(page, "\n## {name}\n\n{}\n", comments.text(place)).expect("a string takes it");
    for (at, method) in (0..).zip(&service.method) {
        let name = method.name();
        let input = link(method.input_type());
        let stream = if method.server_streaming() {
            "a stream of "
        } else {
            ""
        };
        let output = link(method.output_type());
        let text = comments.text(&below(place, at));
        write!(
            page,
            "\n### {name}\n\n{input} → {stream}{output}\n\n{text}\n"
        )
        .expect("a string takes it");
    }
}

fn write_message(page: &mut String, comments: &Comments, message: &DescriptorProto, place: &[i32]) {
    assert!(
        message.nested_type.is_empty(),
        "messages stand side by side"
    );
    assert!(message.enum_type.is_empty(), "enums stand beside messages");
    let name = message.name();
    write!(page, "\n### {name}\n\n{}\n", comments.text(place)).expect("a string takes it");
    if message.field.is_empty() {
        return;
    }
    page.push_str("\n| # | field | type | |\n|---|---|---|---|\n");
    for (at, field) in (0..).zip(&message.field) {
        let number = field.number();
        let name = field.name();
        let kind = kind(field);
        let mut text = comments.cell(&below(place, at));
        if let Some(choice) = field.oneof_index {
            let choice = message.oneof_decl[usize::try_from(choice).expect("an index")].name();
            text = format!("(one of `{choice}`) {text}");
        }
        writeln!(page, "| {number} | `{name}` | {kind} | {text} |").expect("a string takes it");
    }
}

fn write_enum(page: &mut String, comments: &Comments, values: &EnumDescriptorProto, place: &[i32]) {
    let name = values.name();
    write!(page, "\n### {name}\n\n{}\n", comments.text(place)).expect("a string takes it");
    page.push_str("\n| # | value | |\n|---|---|---|\n");
    for (at, value) in (0..).zip(&values.value) {
        let number = value.number();
        let name = value.name();
        let text = comments.cell(&below(place, at));
        writeln!(page, "| {number} | `{name}` | {text} |").expect("a string takes it");
    }
}

/// The place of a field, value or method.
fn below(place: &[i32], at: i32) -> Vec<i32> {
    [place, &[place::MEMBERS, at]].concat()
}

/// The type of a field, for people.
fn kind(field: &FieldDescriptorProto) -> String {
    let name = match field.r#type() {
        Type::Message | Type::Enum => link(field.type_name()),
        scalar => scalar
            .as_str_name()
            .trim_start_matches("TYPE_")
            .to_lowercase(),
    };
    match field.label() {
        Label::Repeated => format!("{name}, repeated"),
        Label::Optional | Label::Required => name,
    }
}

/// The name of a message or enum, leading to it.
fn link(full_name: &str) -> String {
    let name = full_name.rsplit('.').next().unwrap_or_default();
    format!("[{name}](#{})", name.to_lowercase())
}

/// The comments of a file, by place.
struct Comments(HashMap<Vec<i32>, String>);

impl Comments {
    fn of(file: &FileDescriptorProto) -> Self {
        let info = file.source_code_info.as_ref().expect("comments are kept");
        let texts = info.location.iter().map(|location| {
            // The head of a file is not attached to anything.
            let detached = location
                .leading_detached_comments
                .iter()
                .map(String::as_str);
            let texts = detached.chain(location.leading_comments.as_deref());
            let text = texts.collect::<Vec<_>>().join("\n");
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            (location.path.clone(), lines.join("\n").trim().to_owned())
        });
        Self(texts.collect())
    }

    /// What stands above it: nothing in `proto/` goes without a comment.
    fn text(&self, place: &[i32]) -> &str {
        let text = self.0.get(place).filter(|text| !text.is_empty());
        text.unwrap_or_else(|| panic!("no comment at {place:?} (see descriptor.proto)"))
    }

    /// The same in one line.
    fn cell(&self, place: &[i32]) -> String {
        let paragraphs = self.text(place).split("\n\n");
        let lines: Vec<String> = paragraphs.map(|text| text.replace('\n', " ")).collect();
        lines.join("<br>").replace('|', "\\|")
    }
}
