"""What the Hub answers about jobs: hardware, start one, list them, what became of one, its log, end it."""

from typing import Any

from tests.fake_hub.auth import need_account, open_repo
from tests.fake_hub.job_runner import Job
from tests.fake_hub.messages import Answer, Refused, Request, json_answer
from tests.fake_hub.routing import Routes
from tests.fake_hub.state import Account, Store, git_hash

JOBS = Routes()


def open_namespace(store: Store, request: Request, namespace: str, writes: bool = False) -> Account:
    account = need_account(store, request)
    if not (account.may_write_to(namespace) if writes else account.belongs_to(namespace)):
        raise Refused(403, message=f"You don't have the required permissions for the jobs of {namespace!r}")
    return account


def open_job(store: Store, request: Request, namespace: str, id: str, writes: bool = False) -> Job:
    open_namespace(store, request, namespace, writes)
    job = store.jobs.table.get(id)
    if job is None or job.namespace != namespace:
        raise Refused(404, message="Job not found")
    return job


def describe(store: Store, job: Job) -> dict[str, Any]:
    """A job as the Hub tells of it, which never tells secrets."""
    users = {account.name for account in store.accounts.values()}
    owner = {"id": git_hash("owner", job.namespace.encode())[:24], "name": job.namespace}
    said = {name: job.spec.get(name) for name in ("spaceId", "dockerImage", "flavor", "labels", "volumes")}
    return (
        said
        | job.times
        | {
            "id": job.id,
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
def hardware(store: Store, request: Request) -> Answer:
    need_account(store, request)
    return json_answer(store.jobs.hardware)


@JOBS.route("POST", "/api/jobs/{namespace}")
def create(store: Store, request: Request, namespace: str) -> Answer:
    open_namespace(store, request, namespace, writes=True)
    spec = request.json()
    if namespace in store.jobs.without_credit:
        raise Refused(402, message="Pre-paid credit balance is insufficient")
    if spec["flavor"] not in [known["name"] for known in store.jobs.hardware]:
        raise Refused(400, message=f"Invalid flavor: {spec['flavor']}")
    if not spec["command"] or not all(isinstance(part, str) for part in spec["command"]):
        raise Refused(400, message="Invalid command")
    if "spaceId" in spec:
        open_repo(store, request, "spaces", spec["spaceId"])
    return json_answer(describe(store, store.jobs.add(namespace, spec)))


@JOBS.route("GET", "/api/jobs/{namespace}")
def list_jobs(store: Store, request: Request, namespace: str) -> Answer:
    open_namespace(store, request, namespace)
    stages, labels = request.query.get("stage"), request.query.get("label", [])
    found = []
    for job in store.jobs.table.values():
        known = {f"{key}={value}" for key, value in (job.spec.get("labels") or {}).items()}
        if job.namespace == namespace and (not stages or job.stage in stages) and set(labels) <= known:
            found.append(describe(store, job))
    return json_answer(found[::-1])


@JOBS.route("GET", "/api/jobs/{namespace}/{id}")
def inspect(store: Store, request: Request, namespace: str, id: str) -> Answer:
    return json_answer(describe(store, open_job(store, request, namespace, id)))


@JOBS.route("GET", "/api/jobs/{namespace}/{id}/logs")
def logs(store: Store, request: Request, namespace: str, id: str) -> Answer:
    job = open_job(store, request, namespace, id)
    tail = request.query.get("tail")
    events = job.follow(int(tail[-1]) if tail else None, store.jobs.keep_alive)
    return Answer(200, headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}, stream=events)


@JOBS.route("POST", "/api/jobs/{namespace}/{id}/cancel")
def cancel(store: Store, request: Request, namespace: str, id: str) -> Answer:
    job = open_job(store, request, namespace, id, writes=True)
    if job.is_over:
        raise Refused(400, message="The job is over already")
    job.cancel()
    return json_answer(describe(store, job))
