"""API of Jobs: list hardware, create, list, inspect and cancel jobs, stream logs."""

from typing import Any

from tests.fake_hub.auth import open_repo, require_account
from tests.fake_hub.job_runner import HubJob
from tests.fake_hub.messages import HubHTTPError, Request, Response, make_json_response
from tests.fake_hub.routing import Routes
from tests.fake_hub.state import HubAccount, HubState, compute_git_hash

JOBS = Routes()


def require_namespace(state: HubState, request: Request, namespace: str, requires_write: bool = False) -> HubAccount:
    account = require_account(state, request)
    if not (account.can_write_to(namespace) if requires_write else account.is_member_of(namespace)):
        raise HubHTTPError(403, message=f"You don't have the required permissions for the jobs of {namespace!r}")
    return account


def open_job(state: HubState, request: Request, namespace: str, job_id: str, requires_write: bool = False) -> HubJob:
    require_namespace(state, request, namespace, requires_write)
    job = state.jobs.by_id.get(job_id)
    if job is None or job.namespace != namespace:
        raise HubHTTPError(404, message="Job not found")
    return job


def describe_job(state: HubState, job: HubJob) -> dict[str, Any]:
    """Describe a job as the Hub does, without its secrets."""
    users = {account.name for account in state.accounts.values()}
    owner = {"id": compute_git_hash("owner", job.namespace.encode())[:24], "name": job.namespace}
    fields = {name: job.spec.get(name) for name in ("spaceId", "dockerImage", "flavor", "labels", "volumes")}
    return (
        fields
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
def list_hardware(state: HubState, request: Request) -> Response:
    require_account(state, request)
    return make_json_response(state.jobs.hardware)


@JOBS.route("POST", "/api/jobs/{namespace}")
def create_job(state: HubState, request: Request, namespace: str) -> Response:
    require_namespace(state, request, namespace, requires_write=True)
    spec = request.json()
    if namespace in state.jobs.accounts_without_credit:
        raise HubHTTPError(402, message="Pre-paid credit balance is insufficient")
    if spec["flavor"] not in [hardware["name"] for hardware in state.jobs.hardware]:
        raise HubHTTPError(400, message=f"Invalid flavor: {spec['flavor']}")
    if not spec["command"] or not all(isinstance(part, str) for part in spec["command"]):
        raise HubHTTPError(400, message="Invalid command")
    if "spaceId" in spec:
        open_repo(state, request, "spaces", spec["spaceId"])
    return make_json_response(describe_job(state, state.jobs.add(namespace, spec)))


@JOBS.route("GET", "/api/jobs/{namespace}")
def list_jobs(state: HubState, request: Request, namespace: str) -> Response:
    require_namespace(state, request, namespace)
    stages, labels = request.query.get("stage"), request.query.get("label", [])
    jobs = []
    for job in state.jobs.by_id.values():
        job_labels = {f"{key}={value}" for key, value in (job.spec.get("labels") or {}).items()}
        if job.namespace == namespace and (not stages or job.stage in stages) and set(labels) <= job_labels:
            jobs.append(describe_job(state, job))
    return make_json_response(jobs[::-1])


@JOBS.route("GET", "/api/jobs/{namespace}/{job_id}")
def inspect_job(state: HubState, request: Request, namespace: str, job_id: str) -> Response:
    return make_json_response(describe_job(state, open_job(state, request, namespace, job_id)))


@JOBS.route("GET", "/api/jobs/{namespace}/{job_id}/logs")
def stream_logs(state: HubState, request: Request, namespace: str, job_id: str) -> Response:
    job = open_job(state, request, namespace, job_id)
    tail = request.query.get("tail")
    events = job.stream_log(int(tail[-1]) if tail else None, state.jobs.keep_alive_s)
    return Response(200, headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}, stream=events)


@JOBS.route("POST", "/api/jobs/{namespace}/{job_id}/cancel")
def cancel_job(state: HubState, request: Request, namespace: str, job_id: str) -> Response:
    job = open_job(state, request, namespace, job_id, requires_write=True)
    if job.is_finished:
        raise HubHTTPError(400, message="The job is over already")
    job.cancel()
    return make_json_response(describe_job(state, job))
