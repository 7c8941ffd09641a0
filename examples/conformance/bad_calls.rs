//! Section 7: calls that fail as a whole, with a code, a reason and the fields that are wrong.

use ironflow_sync::grpc::proto::restore_version_request::Source;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::{
    DeviceInfo, ExportAccountRequest, GetConflictRequest, GetServerInfoRequest, GetStatusRequest,
    ListConflictsRequest, ListDeletedRequest, ListVersionsRequest, PullRequest,
    ResolveConflictRequest, RestoreVersionRequest, RevokeDeviceRequest, SyncRequest, WatchRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::check::{Checked, Finding, ensure, expect, refused, refused_for};
use crate::history::restoring;
use crate::record::{WORKOUT, note};
use crate::subject::Subject;

/// Makes every call there is with these `authorization` headers, and says what came of each. The account is not
/// deleted, and the device is one that is revoked anyway: a server that lets these calls pass does no harm.
async fn all_calls(
    mut client: SyncServiceClient<Channel>,
    headers: &[&str],
) -> Vec<(&'static str, Result<(), Status>)> {
    fn call<T>(headers: &[&str], message: T) -> Request<T> {
        let mut request = Request::new(message);
        for header in headers {
            if let Ok(value) = header.parse() {
                request.metadata_mut().append("authorization", value);
            }
        }
        request
    }
    macro_rules! calls {
        ($($name:literal $rpc:ident $request:ident $(($device_id:ident))?,)*) => {
            vec![$(($name, {
                let message = $request {
                    $($device_id: "conformance-lost".to_owned(),)?
                    ..$request::default()
                };
                client.$rpc(call(headers, message)).await.map(drop)
            }),)*]
        };
    }
    #[allow(clippy::needless_update)] // some messages have no other field
    let called = calls![
        "Sync" sync SyncRequest (device_id),
        "Pull" pull PullRequest (device_id),
        "Watch" watch WatchRequest (device_id),
        "GetStatus" get_status GetStatusRequest (device_id),
        "GetServerInfo" get_server_info GetServerInfoRequest,
        "RevokeDevice" revoke_device RevokeDeviceRequest (device_id),
        "ListConflicts" list_conflicts ListConflictsRequest,
        "GetConflict" get_conflict GetConflictRequest,
        "ResolveConflict" resolve_conflict ResolveConflictRequest (device_id),
        "ListVersions" list_versions ListVersionsRequest,
        "RestoreVersion" restore_version RestoreVersionRequest (device_id),
        "ListDeleted" list_deleted ListDeletedRequest,
        "ExportAccount" export_account ExportAccountRequest,
    ];
    called
}

async fn all_are_unauthenticated(subject: &Subject, headers: &[&str], reason: &str) -> Checked {
    let client = subject.phone().user.connection.client();
    for (name, came) in all_calls(client, headers).await {
        refused(name, came, Code::Unauthenticated, reason)?;
    }
    Ok(())
}

pub async fn without_a_token(subject: &Subject) -> Checked {
    all_are_unauthenticated(subject, &[], "TOKEN_MISSING").await
}

pub async fn with_a_token_that_is_none(subject: &Subject) -> Checked {
    all_are_unauthenticated(subject, &["Bearer not.a.token"], "TOKEN_INVALID").await
}

pub async fn with_a_changed_token(subject: &Subject) -> Checked {
    let token = &subject.phone().user.account.token;
    let Some((claims, signature)) = token.rsplit_once('.') else {
        let why = "the token has no signature to change".to_owned();
        return Err(Finding::NotAsked(why));
    };
    let turned: String = signature.chars().rev().collect();
    let changed = format!("Bearer {claims}.{turned}");
    all_are_unauthenticated(subject, &[&changed], "TOKEN_INVALID").await?;
    let unsigned = format!("Bearer {claims}.");
    all_are_unauthenticated(subject, &[&unsigned], "TOKEN_INVALID").await
}

pub async fn with_two_tokens(subject: &Subject) -> Checked {
    let valid = format!("Bearer {}", subject.phone().user.account.token);
    all_are_unauthenticated(subject, &[&valid, &valid], "TOKEN_MISSING").await
}

pub async fn without_a_device(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    for (what, device_id) in [
        ("no device_id", String::new()),
        ("a device_id of 129 bytes", "d".repeat(129)),
    ] {
        let batch = SyncRequest {
            device_id: device_id.clone(),
            items: vec![workout.put(0, &note("a"))],
            ..phone.batch()
        };
        refused_for(
            &format!("a push with {what}"),
            phone.sync(batch).await,
            "device_id",
        )?;
        let page = PullRequest {
            device_id: device_id.clone(),
            ..phone.page(&[], "")
        };
        refused_for(
            &format!("a pull with {what}"),
            phone.pull(page).await,
            "device_id",
        )?;
        let message = GetStatusRequest { device_id };
        let came = phone.call(message, async |mut client, request| {
            client.get_status(request).await
        });
        refused_for(&format!("GetStatus with {what}"), came.await, "device_id")?;
    }
    expect(
        "what was written all the same",
        phone.held(subject, &workout).await?,
        None,
    )
}

pub async fn labels(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let long = || "x".repeat(129);
    for (field, info) in [
        (
            "device.label",
            DeviceInfo {
                label: long(),
                ..DeviceInfo::default()
            },
        ),
        (
            "device.platform",
            DeviceInfo {
                platform: long(),
                ..DeviceInfo::default()
            },
        ),
        (
            "device.app_version",
            DeviceInfo {
                app_version: long(),
                ..DeviceInfo::default()
            },
        ),
    ] {
        let batch = SyncRequest {
            device: Some(info),
            ..phone.batch()
        };
        refused_for(
            &format!("a {field} of 129 bytes"),
            phone.sync(batch).await,
            field,
        )?;
    }
    Ok(())
}

pub async fn all_bad_fields_are_named(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let bad = || PullRequest {
        device_id: String::new(),
        page_size: -1,
        schema_version: -1,
        ..phone.page(&[], "")
    };
    for field in ["device_id", "page_size", "schema_version"] {
        refused_for(
            "a pull with three bad fields",
            phone.pull(bad()).await,
            field,
        )?;
    }
    Ok(())
}

pub async fn too_many_items(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let most = usize::try_from(subject.limits().batch_items_max).unwrap_or(0);
    let workout = subject.fresh(WORKOUT).await?;
    let batch = SyncRequest {
        items: vec![workout.put(0, &note("a")); most + 1],
        ..phone.batch()
    };
    let came = phone.sync(batch).await;
    let what = "a batch of batch_items_max + 1 items";
    let status = refused(what, came, Code::ResourceExhausted, "BATCH_TOO_LARGE")?;
    ensure(status.get_details_quota_failure().is_some(), || {
        format!("a QuotaFailure with {what}; there is none")
    })?;
    expect(
        "what was written all the same",
        phone.held(subject, &workout).await?,
        None,
    )
}

pub async fn too_many_bytes(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let most = usize::try_from(subject.limits().message_bytes_max).unwrap_or(0);
    let workout = subject.fresh(WORKOUT).await?;
    let batch = SyncRequest {
        items: vec![workout.put_bytes(0, vec![b' '; most])],
        ..phone.batch()
    };
    let came = phone.sync(batch).await;
    let what = "a message larger than message_bytes_max";
    let status = refused(what, came, Code::ResourceExhausted, "MESSAGE_TOO_LARGE")?;
    ensure(status.get_details_quota_failure().is_some(), || {
        format!("a QuotaFailure with {what}; there is none")
    })
}

pub async fn empty_batches(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let answer = phone.sync(phone.batch()).await?;
    expect("answers to no items", answer.results.len(), 0)?;
    ensure(answer.server_time > 0, || "server_time; it is 0".to_owned())
}

pub async fn bad_history_calls(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    let negative = ListVersionsRequest {
        entity_type: WORKOUT.name.to_owned(),
        entity_id: workout.id.to_string(),
        page_size: -1,
        ..ListVersionsRequest::default()
    };
    let came = phone.call(negative, async |mut client, request| {
        client.list_versions(request).await
    });
    refused_for(
        "ListVersions with a negative page_size",
        came.await,
        "page_size",
    )?;
    let no_uuid = ListVersionsRequest {
        entity_type: WORKOUT.name.to_owned(),
        entity_id: "7".to_owned(),
        ..ListVersionsRequest::default()
    };
    let came = phone.call(no_uuid, async |mut client, request| {
        client.list_versions(request).await
    });
    refused_for("ListVersions of no UUID", came.await, "entity_id")?;
    let nothing = RestoreVersionRequest {
        source: None,
        ..restoring(&workout, Source::Version(1), 1)
    };
    let came = phone.restore(nothing).await;
    refused(
        "RestoreVersion of nothing",
        came,
        Code::InvalidArgument,
        "INVALID_REQUEST",
    )?;
    let negative = ListConflictsRequest {
        page_size: -1,
        ..ListConflictsRequest::default()
    };
    let came = phone.list_conflicts(negative).await;
    refused_for("ListConflicts with a negative page_size", came, "page_size")
}
