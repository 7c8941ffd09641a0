"""Two devices of one lifter, in any language: push, conflict, resolve, pull, watch.

    python3 -m venv venv && venv/bin/pip install -r examples/python/requirements.txt
    cargo run                                              # the service, in a terminal of its own
    export IRONFLOW_TOKEN=$(cargo run -q -- token --user lifter)
    venv/bin/python examples/python/client.py

The stubs are made from proto/ when it starts (grpc.protos_and_services, of grpcio-tools), so there are none to
keep in step. Reading order: main is the story, Device what every client needs; docs/clients.md has all the rules.
"""

import json
import os
import sys
import time
import uuid
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "proto"))
pb, service = grpc.protos_and_services("ironflow/sync/v1/sync.proto")
conflicts = grpc.protos("ironflow/sync/v1/conflicts.proto")
pulls = grpc.protos("ironflow/sync/v1/pull.proto")
Resolution = grpc.protos("ironflow/sync/v1/resolution.proto").Resolution

WAITS_S = [30, 60, 300, 900, 3600]  # docs/clients.md, "When to try again"
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL}


class Device:
    """One installation of an app. A real one keeps all of this in its database, rule by rule."""

    def __init__(self, stub, name):
        self.stub, self.id = stub, f"{name}-{uuid.uuid4()}"
        self.metadata = [("authorization", f"Bearer {os.environ['IRONFLOW_TOKEN']}")]
        self.copies, self.queue, self.cursor, self.count = {}, [], "", 0

    def call(self, method, request):
        """Makes a call until it is answered: the same request, so that nothing is done twice (rule 4)."""
        waits = iter(WAITS_S)
        while True:
            try:
                return method(request, metadata=self.metadata, timeout=30)
            except grpc.RpcError as error:
                wait = retry_after_s(error)
                if wait is None and error.code() in AWAY:
                    wait = next(waits, None)
                if wait is None:
                    raise
                time.sleep(wait)

    def edit(self, entity_id, data):
        """Queues an edit based on the version the person saw, under a name of its own (rule 2)."""
        version, _ = self.copies.get(entity_id, (0, None))
        self.queue.append(pb.SyncItem(
            entity_type="workout", entity_id=entity_id, operation="update", data=json.dumps(data).encode(),
            version=version, timestamp=now_ms(), mutation_id=str(uuid.uuid4())))

    def push(self):
        """Sends what waits as one batch, with the next number, and takes the answers (rules 3 and 5)."""
        self.count += 1
        response = self.call(self.stub.Sync, pb.SyncRequest(
            device_id=self.id, items=self.queue, client_time=now_ms(), batch_number=self.count))
        for item, result in zip(self.queue, response.results):
            if result.status == pb.SYNC_STATUS_SUCCESS:
                self.adopt(item.entity_id, result.server_version, item.data)
            elif result.status == pb.SYNC_STATUS_CONFLICT:
                self.adopt(item.entity_id, result.server_version, result.server_data)
            else:
                print("  set aside:", result.error_message)
            if result.resolution:
                print(f"  {Resolution.Name(result.resolution)}, version {result.server_version}")
        self.queue = []
        return response.results

    def pull(self):
        """Reads what the others changed, page by page (rule 6)."""
        more = True
        while more:
            page = self.call(self.stub.Pull, pulls.PullRequest(
                device_id=self.id, cursor=self.cursor, batch_number=self.count, include_own=not self.count))
            for entity in page.entities:
                self.adopt(entity.entity_id, entity.version, entity.data)
            self.cursor, more = page.cursor, page.has_more

    def watch(self):
        """What happens after the cursor, as it happens (rule 8)."""
        request = pulls.WatchRequest(device_id=self.id, cursor=self.cursor, batch_number=self.count)
        return self.stub.Watch(request, metadata=self.metadata)

    def resolve(self, conflict_id, choice, data, seen_version):
        """Tells what the person decided about the version they saw (rule 9). A decision counts like a batch."""
        request = conflicts.ResolveConflictRequest(
            device_id=self.id, conflict_id=conflict_id, choice=choice, data=data, expected_version=seen_version)
        answer = self.call(self.stub.ResolveConflict, request)
        self.adopt(answer.conflict.entity_id, answer.server.version, answer.server.data)
        return answer

    def adopt(self, entity_id, version, data):
        """Takes what the server holds, unless something newer is known (rule 5)."""
        if version >= self.copies.get(entity_id, (0, None))[0]:
            self.copies[entity_id] = (version, json.loads(data) if data else None)


def retry_after_s(error):
    """How long the service asks to wait, if it does."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.ToTimedelta().total_seconds()
    return None


def now_ms():
    return time.time_ns() // 1_000_000


def main(address):
    stub = service.SyncServiceStub(grpc.insecure_channel(address))
    phone, tablet, workout = Device(stub, "phone"), Device(stub, "tablet"), str(uuid.uuid4())
    bench, squat = {"id": "bench", "sets": "3x225"}, {"id": "squat", "sets": "3x315"}

    print("The phone pushes a workout, the tablet pulls it")
    phone.edit(workout, {"title": "Push day", "exercises": []})
    phone.push()
    tablet.pull()

    print("Both edit it offline; the tablet is online first, then the phone")
    phone.edit(workout, {"title": "Push day", "exercises": [bench]})
    tablet.edit(workout, {"title": "Push day", "exercises": [squat]})
    tablet.push()
    [answer] = phone.push()

    print("The person is asked on the phone, and keeps both; the tablet watches")
    events = tablet.watch()
    proposed = answer.conflict.proposed_data
    phone.resolve(answer.conflict.conflict_id, conflicts.CHOICE_USE_DATA, proposed, answer.server_version)
    for event in events:
        for entity in event.changes.entities:
            tablet.adopt(entity.entity_id, entity.version, entity.data)
        if tablet.copies[workout] == phone.copies[workout]:
            break
    events.cancel()
    version, data = tablet.copies[workout]
    print(f"Both hold version {version}:", ", ".join(f"{e['id']} {e['sets']}" for e in data["exercises"]))


if __name__ == "__main__":
    main(*sys.argv[1:] or ["127.0.0.1:50051"])
