"""What the Hub answers about jobs: hardware, start one, list them, what became of one, its log, end it."""

from typing import Any

from tests.fake_hub.auth import open_repo, require_account
from tests.fake_hub.job_runner import HubJob
from tests.fake_hub.messages import HubHTTPError, Request, Response, make_json_response
from tests.fake_hub.routing import Routes
from tests.fake_hub.state import HubAccount, HubState, compute_git_hash

JOBS = Routes()


def require_namespace(store: HubState, request: Request, namespace: str, writes: bool = False) -> HubAccount:
    account = require_account(store, request)
    if not (account.can_write_to(namespace) if writes else account.is_member_of(namespace)):
        raise HubHTTPError(403, message=f"You don't have the required permissions for the jobs of {namespace!r}")
    return account


def open_job(store: HubState, request: Request, namespace: str, job_id: str, writes: bool = False) -> HubJob:
    require_namespace(store, request, namespace, writes)
    job = store.jobs.by_id.get(job_id)
    if job is None or job.namespace != namespace:
        raise HubHTTPError(404, message="Job not found")
    return job


def describe_job(store: HubState, job: HubJob) -> dict[str, Any]:
    """A job as the Hub tells of it, which never tells secrets."""
    users = {account.name for account in store.accounts.values()}
    owner = {"id": compute_git_hash("owner", job.namespace.encode())[:24], "name": job.namespace}
    said = {name: job.spec.get(name) for name in ("spaceId", "dockerImage", "flavor", "labels", "volumes")}
    return (
        said
        | job.timestamps
        | {
            "id": job.job_id,
            "command": job.spec["command"],
            "arguments": job.spec["arguments"],
            "environment": job.spec["environment"],
            "secrets": {},
            "timeout": job.spec.get("timeoutSeconds", 1800),
            "status": {"stage": job.stage, "message": job.message},
            "type": "job",
            "owner": owner | {"type": "user" if job.namespace in users else "org"},
        }
    )


@JOBS.route("GET", "/api/jobs/hardware")
def list_hardware(store: HubState, request: Request) -> Response:
    require_account(store, request)
    return make_json_response(store.jobs.hardware)


@JOBS.route("POST", "/api/jobs/{namespace}")
def create_job(store: HubState, request: Request, namespace: str) -> Response:
    require_namespace(store, request, namespace, writes=True)
    spec = request.json()
    if namespace in store.jobs.accounts_without_credit:
        raise HubHTTPError(402, message="Pre-paid credit balance is insufficient")
    if spec["flavor"] not in [known["name"] for known in store.jobs.hardware]:
        raise HubHTTPError(400, message=f"Invalid flavor: {spec['flavor']}")
    if not spec["command"] or not all(isinstance(part, str) for part in spec["command"]):
        raise HubHTTPError(400, message="Invalid command")
    if "spaceId" in spec:
        open_repo(store, request, "spaces", spec["spaceId"])
    return make_json_response(describe_job(store, store.jobs.add(namespace, spec)))


@JOBS.route("GET", "/api/jobs/{namespace}")
def list_jobs(store: HubState, request: Request, namespace: str) -> Response:
    require_namespace(store, request, namespace)
    stages, labels = request.query.get("stage"), request.query.get("label", [])
    found = []
    for job in store.jobs.by_id.values():
        known = {f"{key}={value}" for key, value in (job.spec.get("labels") or {}).items()}
        if job.namespace == namespace and (not stages or job.stage in stages) and set(labels) <= known:
            found.append(describe_job(store, job))
    return make_json_response(found[::-1])


@JOBS.route("GET", "/api/jobs/{namespace}/{job_id}")
def inspect_job(store: HubState, request: Request, namespace: str, job_id: str) -> Response:
    return make_json_response(describe_job(store, open_job(store, request, namespace, job_id)))


@JOBS.route("GET", "/api/jobs/{namespace}/{job_id}/logs")
def stream_logs(store: HubState, request: Request, namespace: str, job_id: str) -> Response:
    job = open_job(store, request, namespace, job_id)
    tail = request.query.get("tail")
    events = job.stream_log(int(tail[-1]) if tail else None, store.jobs.keep_alive_s)
    return Response(200, headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}, stream=events)


@JOBS.route("POST", "/api/jobs/{namespace}/{job_id}/cancel")
def cancel_job(store: HubState, request: Request, namespace: str, job_id: str) -> Response:
    job = open_job(store, request, namespace, job_id, writes=True)
    if job.is_finished:
        raise HubHTTPError(400, message="The job is over already")
    job.cancel()
    return make_json_response(describe_job(store, job))
