"""Which processes look alive to an observer, on a clock that the test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal, NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from django_sse.process.observer import PAUSE, RENEWALS, SOONER, Observer

INTERVAL = 1.0
LEASE = RENEWALS * INTERVAL


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Watched:
    """An observer, its clock, and the values that it sees."""

    values: dict[str, object] = field(default_factory=lambda: {"key": 0})
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.observer = Observer[str](self.clock)

    def goes_on(self, intervals: int) -> dict[str, float]:
        """Let it write and look as it should; return its last result."""
        for _ in range(intervals):
            self.clock.now += INTERVAL
            self.observer.wrote(PAUSE * INTERVAL)
            said = self.look()
        return said

    def look(self) -> dict[str, float]:
        return self.observer.unchanged(self.values, asked=self.clock.now)


def test_a_value_counts_as_unchanged_from_when_it_was_first_seen() -> None:
    watched = Watched()
    assert watched.goes_on(1) == {"key": 0.0}
    assert watched.goes_on(5) == {"key": 5.0}
    watched.values["key"] = 1
    assert watched.goes_on(1) == {"key": 0.0}
    assert watched.goes_on(3) == {"key": 3.0}


def test_each_key_has_its_own_time_and_one_that_is_gone_has_none() -> None:
    watched = Watched({"early": None})
    watched.goes_on(3)
    watched.values = {"early": None, "late": None}
    assert watched.goes_on(3) == {"early": 5.0, "late": 2.0}
    del watched.values["early"]
    watched.goes_on(1)
    watched.values["early"] = None
    assert watched.goes_on(1) == {"early": 0.0, "late": 4.0}


def test_without_writes_of_its_own_it_knows_nothing() -> None:
    watched = Watched()
    for _ in range(10):
        watched.clock.now += INTERVAL
        assert watched.look() == {"key": 0.0}


def test_one_write_is_not_enough() -> None:
    watched = Watched()
    watched.goes_on(1)
    watched.clock.now += INTERVAL
    watched.observer.wrote(within=100.0)
    watched.clock.now += 10 * INTERVAL
    assert watched.look() == {"key": 0.0}
    watched.observer.wrote(within=100.0)
    assert watched.look() == {"key": 11.0}


def test_after_a_failure_each_value_has_the_whole_time_again() -> None:
    watched = Watched()
    watched.goes_on(9)
    watched.observer.start_again()
    assert watched.goes_on(1) == {"key": 0.0}
    assert watched.goes_on(2) == {"key": 2.0}


def test_a_key_that_was_forgotten_is_observed_again() -> None:
    watched = Watched({"one": 1, "other": 1})
    watched.goes_on(3)
    watched.observer.forget("one")
    watched.observer.forget("never")
    assert watched.goes_on(1) == {"one": 0.0, "other": 3.0}


def test_after_a_pause_of_its_own_each_value_has_the_whole_time_again() -> None:
    watched = Watched()
    watched.goes_on(9)
    # It was stopped, and then it looks first, or writes first.
    watched.clock.now += 1000.0
    assert watched.look() == {"key": 0.0}
    watched.goes_on(9)
    watched.clock.now += 1000.0
    assert watched.goes_on(1) == {"key": 0.0}


def test_a_query_that_took_long_says_how_it_was_when_it_began() -> None:
    watched = Watched()
    watched.goes_on(3)
    asked = watched.clock.now
    watched.clock.now += 1.5
    assert watched.observer.unchanged(watched.values, asked=asked) == {"key": 2.0}


# -- two processes and their database


@dataclass(frozen=True)
class Fault:
    """A time in which queries fail or wait, or nothing runs (a suspended machine)."""

    begins: float
    seconds: float
    kind: Literal["fails", "waits", "nothing"]

    @property
    def ends(self) -> float:
        return self.begins + self.seconds

    def __contains__(self, moment: float) -> bool:
        return self.begins <= moment < self.ends


class Query(NamedTuple):
    """The times at which it began, the database was done, and the process got the answer."""

    asked: float
    done: float
    heard: float
    failed: bool


@dataclass(frozen=True)
class Repeated:
    """A task that repeats a query: its first time, and the time that the database takes."""

    first: float
    takes: float

    def queries(self, until: float, faults: list[Fault]) -> Iterator[Query]:
        now = self.first
        while now < until:
            asked = done = _awake(now, faults)
            failed = False
            for fault in faults:
                if done in fault and fault.kind != "nothing":
                    failed = fault.kind == "fails"
                    done = done if failed else fault.ends
            done += self.takes
            heard = _awake(done, faults)
            yield Query(asked, done, heard, failed)
            now = heard + INTERVAL * (SOONER if failed else 1)


def _awake(moment: float, faults: list[Fault]) -> float:
    asleep = (each.ends for each in faults if each.kind == "nothing" and moment in each)
    return max([moment, *asleep])


FAULT = st.builds(
    Fault,
    begins=st.floats(4, 7),
    seconds=st.floats(0, 9),
    kind=st.sampled_from(["fails", "waits", "nothing"]),
)
FAULTS = st.lists(FAULT, max_size=2).map(lambda some: sorted(some, key=attrgetter("begins")))
# The renewals of a live process may be slow.
RENEWING = st.builds(Repeated, first=st.floats(0, 1), takes=st.floats(0, 0.7))
OBSERVING = st.builds(Repeated, first=st.floats(0, 1), takes=st.floats(0, 0.3))
NEVER = 30.0
END = 45.0


def looks(
    faults: list[Fault], renewing: Repeated, writing: Repeated, looking: Repeated, dies: float
) -> list[tuple[float, float]]:
    """Return, for each look, its time and for how long the value was unchanged.

    The value is that of a process that ``dies`` at that time.
    """
    renewals = [
        query.done
        for query in renewing.queries(END, faults)
        if not query.failed and query.asked < dies
    ]
    clock = Clock()
    observer, said = Observer[str](clock), []

    def look(query: Query) -> None:
        values = {"it": sum(each < query.done for each in renewals)}
        said.append((clock.now, observer.unchanged(values, asked=query.asked)["it"]))

    steps: list[tuple[Query, Callable[[Query], None]]] = []
    for task, step in ((writing, lambda _: observer.wrote(PAUSE * INTERVAL)), (looking, look)):
        for query in task.queries(END, faults):
            steps.append((query, (lambda _: observer.start_again()) if query.failed else step))
    for query, step in sorted(steps, key=lambda each: each[0].heard):
        clock.now = query.heard
        step(query)
    return said


# An observer that may pause for longer would not notice this suspension.
@example([Fault(5.2, 3.9, "nothing")], Repeated(0.1, 0.7), Repeated(0.7, 0.1), Repeated(0.1, 0.3))
@given(FAULTS, RENEWING, OBSERVING, OBSERVING)
def test_no_fault_of_all_processes_makes_one_that_renews_look_unchanged_for_a_lease(
    faults: list[Fault], renewing: Repeated, writing: Repeated, looking: Repeated
) -> None:
    said = looks(faults, renewing, writing, looking, NEVER)
    assert max(seconds for at, seconds in said if at < NEVER) <= LEASE


@given(FAULTS, RENEWING, OBSERVING, OBSERVING, st.floats(0, 20))
def test_one_that_died_is_found_within_two_leases_after_the_last_fault(
    faults: list[Fault], renewing: Repeated, writing: Repeated, looking: Repeated, dies: float
) -> None:
    said = looks(faults, renewing, writing, looking, dies)
    found = min(at for at, seconds in said if seconds > LEASE)
    assert dies < found <= max([dies, *(each.ends for each in faults)]) + 2 * LEASE
