"""The documented ways to work outside of the web process, each with real processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import httpx
import pytest

from django_sse.wire import MessageEvent
from tests.integration.many.stores import run_python
from tests.integration.servers.client import Stream, get
from tests.integration.workers.gates import Gate
from tests.integration.workers.place import Place, Visitor
from tests.processes import Program
from tests.requirements import require

# What a client gets, but for who wrote a page.
Seen = tuple[str, object]
STARTED: Seen = ("started", {})


class Job:
    """A report that is being written as `kind` has it, and its owner, who watches."""

    def __init__(self, place: Place, kind: str, visitor: Visitor) -> None:
        self.kind = kind
        path = {"tasks": "/reports/tasks/", "command": "/reports/nobody/"}.get(kind, "/reports/")
        self.place, self._visitor = place, visitor
        created = visitor.post(path)
        self.pk: str = created["id"]
        self.events: str = created["events"]
        self.gate = Gate(place.directory, self.pk)
        self.program: Program | None = None
        if kind == "command":
            self.program = place.start(f"-m django write_report {self.pk}")
        self.stream = visitor.stream(self.events)
        assert self.stream.next().type == "stream-open"

    def close(self) -> None:
        self.stream.close()
        self.gate.close()

    def next(self) -> Seen:
        return seen(self.stream.next())

    def write(self, number: int, text: str) -> int:
        """Let it write one page, which is there before it goes on; who wrote it."""
        self.gate.let(text)
        event = json.loads(self.stream.next().data)
        assert (event["number"], event["text"]) == (number, text)
        pid: int = event["pid"]
        return pid

    def rest(self) -> list[MessageEvent]:
        return list(self.stream)

    def again(self, last_event_id: str | None = None) -> Stream:
        return self._visitor.stream(self.events, last_event_id)


def seen(event: MessageEvent) -> Seen:
    if event.data == "[DONE]":
        return event.type, event.data
    data = json.loads(event.data)
    return event.type, data["text"] if event.type == "page" else data


def seen_from_the_start(job: Job) -> list[Seen]:
    with job.again() as stream:
        return [seen(event) for event in stream][1:]


@pytest.fixture(scope="module", params=["prefork", "threads", "tasks", "command"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def visitor(place: Place) -> Iterator[Visitor]:
    with Visitor(place) as visitor:
        yield visitor


@pytest.fixture
def job(place: Place, kind: str, visitor: Visitor) -> Iterator[Job]:
    if kind != "command":
        place.worker(kind)
    job = Job(place, kind, visitor)
    yield job
    job.close()


def ends_well(job: Job, *written: str) -> None:
    """It writes no more, and its whole stream is what was `written`, from then on, too."""
    job.gate.let("end")
    (end,) = job.rest()
    assert (end.type, end.data) == ("close", "[DONE]")
    expected: list[Seen] = []
    for each in written:
        expected.append(STARTED if each == "started" else ("page", each))
    assert seen_from_the_start(job) == [*expected, ("close", "[DONE]")]
    with job.again(end.last_event_id) as stream:
        assert (stream.status, stream.read()) == (204, b"")


def test_each_event_arrives_while_the_job_runs_and_then_the_end(job: Job) -> None:
    assert job.next() == STARTED
    for number in range(5):
        job.write(number, f"page {number}")
    ends_well(job, "started", *(f"page {number}" for number in range(5)))


def test_a_client_that_was_cut_goes_on_where_it_was(job: Job) -> None:
    assert job.next() == STARTED
    job.write(0, "one")
    job.gate.let("two")
    position = job.stream.next().last_event_id
    job.gate.let("three")
    with job.again(position) as stream:
        assert [event.type for event in stream.take(2)] == ["stream-open", "page"]
    assert job.next() == ("page", "three")
    ends_well(job, "started", "one", "two", "three")


def test_an_exception_ends_the_stream_with_an_error(job: Job) -> None:
    assert job.next() == STARTED
    job.write(0, "one")
    job.gate.let("fail")
    (end,) = job.rest()
    assert seen(end) == ("error", {"error": "The report could not be written.", "code": "error"})
    assert b"secret" not in job.stream.body
    with job.again(end.last_event_id) as stream:
        assert stream.status == 204
    if job.program is not None:
        assert job.program.wait() == 1


def test_a_job_that_is_stopped_says_no_more_and_its_worker_is_free(
    job: Job, visitor: Visitor
) -> None:
    assert job.next() == STARTED
    job.write(0, "one")
    assert visitor.post(f"/reports/{job.pk}/stop/") == {"stopped": True}
    (end,) = job.rest()
    assert seen(end) == ("error", {"error": "The report was stopped.", "code": "aborted"})
    assert visitor.post(f"/reports/{job.pk}/stop/") == {"stopped": False}
    job.gate.let("never seen")
    if job.program is not None:
        assert job.program.wait() == 0
    else:
        another = Job(job.place, job.kind, visitor)
        try:
            assert another.next() == STARTED
            ends_well(another, "started")
        finally:
            another.close()
    assert [what for what, _ in seen_from_the_start(job)] == ["started", "page", "error"]


# Of each of these only one kind is asked.
celery = pytest.mark.parametrize("kind", ["prefork"], indirect=True, scope="module")
tasks = pytest.mark.parametrize("kind", ["tasks"], indirect=True, scope="module")
command = pytest.mark.parametrize("kind", ["command"], indirect=True, scope="module")


@celery
def test_a_task_that_is_retried_goes_on_with_the_same_stream(job: Job) -> None:
    assert job.next() == STARTED
    job.write(0, "one")
    job.gate.let("busy")
    assert job.next() == STARTED
    job.write(0, "one again")
    ends_well(job, "started", "one", "started", "one again")


@celery
def test_the_last_attempt_of_a_task_ends_the_stream_with_an_error(job: Job) -> None:
    job.gate.let(*["busy"] * 4)
    events = [seen(event)[0] for event in job.rest()]
    assert events == ["started"] * 4 + ["error"]


@celery
def test_a_task_whose_process_is_killed_is_begun_anew_by_another(job: Job) -> None:
    assert job.next() == STARTED
    job.write(0, "one")
    killed = job.write(1, "two")
    os.kill(killed, signal.SIGKILL)
    assert job.next() == STARTED
    assert job.write(0, "one") != killed
    ends_well(job, "started", "one", "two", "started", "one")


@celery
def test_a_task_whose_worker_is_killed_is_begun_anew_when_the_broker_hands_it_out_again(
    place: Place, kind: str, visitor: Visitor
) -> None:
    # A second after a task was handed out Redis takes it for lost.
    first = place.worker(kind, DJANGO_SSE_TEST_VISIBILITY="1")
    job = Job(place, kind, visitor)
    try:
        assert job.next() == STARTED
        job.write(0, "one")
        first.kill()
        place.worker(kind, DJANGO_SSE_TEST_VISIBILITY="1")
        assert job.next() == STARTED
        job.write(0, "one")
        ends_well(job, "started", "one", "started", "one")
    finally:
        job.close()
        # The next is one without the short time.
        place.worker(kind).kill()


@celery
def test_a_pool_that_was_forked_after_a_publish_is_heard(job: Job) -> None:
    """The prefork pool's parent has published, so its connections were open at the fork."""
    worker = job.place.worker(job.kind)
    with Stream(job.place.server, f"/channels/parent-{worker.pid}/") as stream:
        assert stream.take(2)[1].data == "before the fork"
    assert job.next() == STARTED
    assert job.write(0, "one") != worker.pid
    ends_well(job, "started", "one")


@tasks
def test_a_task_whose_worker_is_killed_is_ended_by_the_command(job: Job) -> None:
    assert job.next() == STARTED
    job.write(0, "one")
    job.place.worker(job.kind).kill()
    assert job.place.run("finish_lost_reports") == "0 ended\n"
    assert job.place.run("finish_lost_reports", "--silent", "0") == "1 ended\n"
    (end,) = job.rest()
    assert seen(end) == ("error", {"error": "The report was interrupted.", "code": "interrupted"})
    assert job.place.run("finish_lost_reports", "--silent", "0") == "0 ended\n"


@pytest.mark.parametrize("kind", ["one-task", "tasks", "gevent"], indirect=True, scope="module")
def test_the_shortest_task_that_can_be_streamed(place: Place, kind: str) -> None:
    """With Celery in a process that ends with the task, and in greenlets; with `django.tasks` a
    coroutine."""
    if kind == "gevent":
        require("gevent")
    place.worker(kind)
    how = "tasks" if kind == "tasks" else "celery"
    channel = f"{kind}-count"
    with Stream(place.server, f"/channels/{channel}/") as stream:
        assert stream.next().type == "stream-open"
        assert get(place.server, f"/count/{how}/{channel}/")[0] == 200
        *progress, end = stream
    assert [json.loads(event.data)["percent"] for event in progress] == [25, 50, 75, 100]
    assert (end.type, end.data) == ("close", "[DONE]")


TWICE = """
from uuid import uuid4
import django
django.setup()
from tests.integration.workers.reports.jobs import FAILED, STARTED, run
from tests.integration.workers.reports.models import Report
report, later = Report.objects.get(pk="{pk}"), uuid4()

def slow(event):
    try:
        yield "one"
        # The task is handed out again while it is still worked on.
        report.say(STARTED, by=later)
        yield event
        raise RuntimeError("never asked")
    finally:
        print("closed")

run(report, slow("two"))
assert report.say("three", by=later, attempt=later)
assert not report.end("error", FAILED, attempt=uuid4())
assert report.end("done", attempt=later)
run(report, slow("four"))
"""


def test_of_two_attempts_at_once_only_the_later_is_heard(place: Place, visitor: Visitor) -> None:
    created = visitor.post("/reports/nobody/")
    assert run_python(place.env, "-c", TWICE.format(pk=created["id"])) == "closed\n"
    with visitor.stream(created["events"]) as stream:
        events = [(event.type, event.data) for event in stream][1:]
    started = ("started", "{}")
    assert events == [
        started,
        ("message", "one"),
        started,
        ("message", "three"),
        ("close", "[DONE]"),
    ]


def test_a_report_is_its_owners_alone(place: Place, visitor: Visitor) -> None:
    created = visitor.post("/reports/nobody/")
    with Visitor(place) as stranger, stranger.stream(created["events"]) as stream:
        assert stream.status == 404
    with pytest.raises(httpx.HTTPStatusError, match="404"), Visitor(place) as stranger:
        stranger.post(f"/reports/{created['id']}/stop/")


def test_a_command_publishes_in_batches(place: Place) -> None:
    path = place.directory / "rows.csv"
    path.write_text("".join(f"{number},äöü\n" for number in range(250)))
    with Stream(place.server, "/channels/rows/") as stream:
        assert stream.next().type == "stream-open"
        place.run("import_rows", "rows", str(path))
        *rows, end = stream
    assert [json.loads(event.data) for event in rows] == [[f"{n}", "äöü"] for n in range(250)]
    assert end.type == "close"


@command
def test_a_command_that_is_interrupted_says_so(job: Job) -> None:
    assert job.next() == STARTED
    job.write(0, "one")
    assert job.program is not None
    os.kill(job.program.pid, signal.SIGINT)
    (end,) = job.rest()
    assert seen(end) == ("error", {"error": "The report was stopped.", "code": "aborted"})
    assert job.program.wait() == 0
