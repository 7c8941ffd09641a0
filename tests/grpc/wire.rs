//! The bytes of the apps in the field: fields 1-6 of an item, 1-3 of a request, 1-5 of a result.

use ironflow_sync::grpc::proto;
use prost::Message;

/// The messages as those apps have them.
mod old {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct SyncRequest {
        #[prost(string, tag = "1")]
        pub user_id: String,
        #[prost(string, tag = "2")]
        pub device_id: String,
        #[prost(message, repeated, tag = "3")]
        pub items: Vec<SyncItem>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct SyncItem {
        #[prost(string, tag = "1")]
        pub entity_type: String,
        #[prost(string, tag = "2")]
        pub entity_id: String,
        #[prost(string, tag = "3")]
        pub operation: String,
        #[prost(bytes = "vec", tag = "4")]
        pub data: Vec<u8>,
        #[prost(int32, tag = "5")]
        pub version: i32,
        #[prost(int64, tag = "6")]
        pub timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct SyncResponse {
        #[prost(message, repeated, tag = "1")]
        pub results: Vec<SyncResult>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct SyncResult {
        #[prost(string, tag = "1")]
        pub entity_id: String,
        #[prost(int32, tag = "2")]
        pub status: i32,
        #[prost(bytes = "vec", tag = "3")]
        pub server_data: Vec<u8>,
        #[prost(int32, tag = "4")]
        pub server_version: i32,
        #[prost(string, tag = "5")]
        pub error_message: String,
    }
}

/// Bytes from hexadecimal digits; white space is for the reader.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

/// user "mia", device "p1"; an update of workout "w" to {"a":1}, base 300, at 1700000000000;
/// a delete of workout "x", base 1.
const REQUEST: &str = "0a03 6d6961  1202 7031
    1a27  0a07 776f726b6f7574  1201 77  1a06 757064617465  2207 7b2261223a317d  28ac02  3080d095ffbc31
    1a16  0a07 776f726b6f7574  1201 78  1a06 64656c657465  2801";

/// A success at version 2; a conflict with {"a":1} at version 7; an error "no".
const RESPONSE: &str = "0a07  0a01 77  1001  2002
    0a10  0a01 78  1002  1a07 7b2261223a317d  2007
    0a09  0a01 79  1003  2a02 6e6f";

#[test]
fn requests_of_apps_in_the_field_are_read_as_they_meant_them() {
    let bytes = hex(REQUEST);
    let request = proto::SyncRequest::decode(&bytes[..]).expect("decodes");
    let item = proto::SyncItem {
        entity_type: "workout".to_owned(),
        entity_id: "w".to_owned(),
        operation: "update".to_owned(),
        data: br#"{"a":1}"#.to_vec(),
        version: 300,
        timestamp: 1_700_000_000_000,
        ..proto::SyncItem::default()
    };
    let deletion = proto::SyncItem {
        entity_type: "workout".to_owned(),
        entity_id: "x".to_owned(),
        operation: "delete".to_owned(),
        version: 1,
        ..proto::SyncItem::default()
    };
    let expected = proto::SyncRequest {
        user_id: "mia".to_owned(),
        device_id: "p1".to_owned(),
        items: vec![item, deletion],
        ..proto::SyncRequest::default()
    };
    assert_eq!(request, expected);
    assert_eq!(
        request.encode_to_vec(),
        bytes,
        "nothing was added to the bytes"
    );
    let theirs = old::SyncRequest::decode(&bytes[..]).expect("decodes");
    assert_eq!(
        theirs.encode_to_vec(),
        bytes,
        "the golden bytes are what those apps send"
    );
}

fn response() -> proto::SyncResponse {
    proto::SyncResponse {
        results: vec![
            proto::SyncResult {
                entity_id: "w".to_owned(),
                status: proto::SyncStatus::Success.into(),
                server_version: 2,
                ..proto::SyncResult::default()
            },
            proto::SyncResult {
                entity_id: "x".to_owned(),
                status: proto::SyncStatus::Conflict.into(),
                server_data: br#"{"a":1}"#.to_vec(),
                server_version: 7,
                ..proto::SyncResult::default()
            },
            proto::SyncResult {
                entity_id: "y".to_owned(),
                status: proto::SyncStatus::Error.into(),
                error_message: "no".to_owned(),
                ..proto::SyncResult::default()
            },
        ],
        server_time: 0,
    }
}

#[test]
fn answers_are_the_bytes_apps_in_the_field_know() {
    let bytes = hex(RESPONSE);
    assert_eq!(response().encode_to_vec(), bytes);
    let theirs = old::SyncResponse::decode(&bytes[..]).expect("decodes");
    assert_eq!(theirs.encode_to_vec(), bytes);
}

#[test]
fn apps_in_the_field_read_past_what_is_new() {
    let plain = old::SyncResponse::decode(&response().encode_to_vec()[..]).expect("decodes");
    let mut full = response();
    full.server_time = 1;
    for result in &mut full.results {
        result.resolution = proto::Resolution::NeedsUser.into();
        result.error_code = proto::ErrorCode::RetryLater.into();
        result.server_timestamp = -1;
        result.server_deleted = true;
        result.entity_type = "workout".to_owned();
        result.mutation_id = "m".to_owned();
        result.conflict = Some(proto::ConflictDetail {
            overlapping_paths: vec!["/a".to_owned()],
            ..proto::ConflictDetail::default()
        });
        result.violations = vec![proto::FieldViolation::default()];
    }
    let theirs = old::SyncResponse::decode(&full.encode_to_vec()[..]).expect("decodes");
    assert_eq!(theirs, plain);
}

/// Every field of today's messages, by its number and wire type.
#[test]
fn field_numbers_of_new_fields_are_fixed_too() {
    let request = proto::SyncRequest {
        client_time: 1,
        pending_count: 2,
        device: Some(proto::DeviceInfo {
            label: "l".to_owned(),
            platform: "p".to_owned(),
            app_version: "v".to_owned(),
        }),
        validate_only: true,
        schema_version: 3,
        ..proto::SyncRequest::default()
    };
    let bytes = hex("2001 2802  3209 0a016c 120170 1a0176  3801 4003");
    assert_eq!(request.encode_to_vec(), bytes);
    let item = proto::SyncItem {
        mutation_id: "m".to_owned(),
        force: true,
        group_id: "g".to_owned(),
        retry_count: 1,
        ..proto::SyncItem::default()
    };
    assert_eq!(item.encode_to_vec(), hex("3a016d 4001 4a0167 5001"));
    let result = proto::SyncResult {
        resolution: 1,
        error_code: 2,
        server_timestamp: 3,
        server_deleted: true,
        entity_type: "t".to_owned(),
        mutation_id: "m".to_owned(),
        conflict: Some(proto::ConflictDetail {
            conflict_id: "c".to_owned(),
            base_data: b"b".to_vec(),
            proposed_data: b"p".to_vec(),
            overlapping_paths: vec!["o".to_owned()],
            server_device_id: "d".to_owned(),
            server_device_label: "l".to_owned(),
            server_edit_time: 4,
        }),
        violations: vec![proto::FieldViolation {
            path: "p".to_owned(),
            description: "d".to_owned(),
        }],
        ..proto::SyncResult::default()
    };
    let conflict = "6214 0a0163 120162 1a0170 22016f 2a0164 32016c 3804";
    let bytes = hex(&format!(
        "3001 3802 4003 4801 520174 5a016d {conflict} 6a06 0a0170 120164"
    ));
    assert_eq!(result.encode_to_vec(), bytes);
}

#[test]
fn the_numbers_of_the_enums_are_fixed() {
    for (number, name) in [
        "SYNC_STATUS_UNSPECIFIED",
        "SYNC_STATUS_SUCCESS",
        "SYNC_STATUS_CONFLICT",
        "SYNC_STATUS_ERROR",
    ]
    .into_iter()
    .enumerate()
    {
        let status = proto::SyncStatus::from_str_name(name).expect(name);
        assert_eq!(status as usize, number, "{name}");
    }
    for (number, name) in [
        "UNSPECIFIED",
        "APPLIED",
        "UNCHANGED",
        "CLIENT_WON",
        "RESURRECTED",
        "MERGED",
        "SERVER_WON",
        "NEEDS_USER",
    ]
    .into_iter()
    .enumerate()
    {
        let resolution = proto::Resolution::from_str_name(&format!("RESOLUTION_{name}"));
        assert_eq!(resolution.expect(name) as usize, number, "{name}");
    }
    for (number, name) in [
        "UNSPECIFIED",
        "INVALID_ITEM",
        "UNKNOWN_ENTITY_TYPE",
        "INVALID_DATA",
        "TOO_LARGE",
        "READ_ONLY",
        "GROUP_ABORTED",
        "QUOTA_EXCEEDED",
        "RETRY_LATER",
    ]
    .into_iter()
    .enumerate()
    {
        let code = proto::ErrorCode::from_str_name(&format!("ERROR_CODE_{name}"));
        assert_eq!(code.expect(name) as usize, number, "{name}");
    }
}
