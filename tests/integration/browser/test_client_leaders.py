"""What a tab makes of what a leader says, and of tabs that are slow."""

from __future__ import annotations

import pytest

from tests.integration.browser.client import CLOSED, Opener, asked, publish, seen, wait
from tests.integration.browser.test_client_shared import (
    expect_data,
    leaders,
    settled,
    share,
    tab,
    tabs,
)
from tests.requirements import in_full
from tests.servers import Server

pytestmark = [pytest.mark.needs("uvicorn"), pytest.mark.every_engine]


# A leader that is the test's: `lead(position)` says where it stands, `tell(frames)` what came;
# while it is not `up` it has no connection, and who comes waits for it.
LEADER = """(path) => {
    const name = `django_sse ${new URL(path, location)} ann`;
    const channel = new BroadcastChannel(name);
    const say = (message) => channel.postMessage({ from: "test", ...message });
    window.up = true;
    window.lead = (position) => say({ type: "leader", position, up, clear: true });
    window.tell = (...frames) => say({ type: "frames", frames });
    channel.onmessage = ({ data }) => data.type === "who" && lead("elsewhere");
    return new Promise((resolve) => navigator.locks.request(name, () => {
        resolve();
        return new Promise(() => {});
    }));
}"""
FORGED = "tell(['x-1', 'id: x-1\\ndata: forged\\n\\n', true])"
FREEZE = "void document.dispatchEvent(new Event('freeze'))"
RESUME = "void document.dispatchEvent(new Event('resume'))"
# The server is the test's: `send(text)`.
SERVED = """(url) => {
    const bytes = new TextEncoder();
    const fetch = async (resource, { signal }) => {
        const start = (controller) => {
            window.send = (text) => controller.enqueue(bytes.encode(text));
            signal.addEventListener("abort", () => controller.error(signal.reason));
        };
        const headers = { "Content-Type": "text/event-stream" };
        window.connection = signal;
        return new Response(new ReadableStream({ start }), { headers });
    };
    follow(new django_sse.SharedEventStream(url, { share: "ann", fetch }));
}"""


def test_a_tab_ahead_of_the_leader_follows_when_the_leader_has_come_to_it(
    open_page: Opener, server: Server
) -> None:
    page = tab(open_page, server)
    page.evaluate(LEADER, "/channels/ahead/")
    share(page, "/channels/ahead/")
    settled(page)
    publish(server, "ahead", "own")
    expect_data([page], "own")
    page.evaluate(
        "tell(['elsewhere', '', true], [seen.stream.lastEventId, 'data: no\\n\\n', true])"
    )
    page.evaluate(FORGED)
    expect_data([page], "own", "forged")


def test_a_tab_that_stands_elsewhere_than_a_new_leader_connects_by_itself(
    open_page: Opener, server: Server
) -> None:
    page = tab(open_page, server)
    page.evaluate(LEADER, "/channels/astray/")
    share(page, "/channels/astray/")
    settled(page)
    page.evaluate("lead(seen.stream.lastEventId)")
    publish(server, "astray", "not told by the leader")
    page.evaluate("lead('elsewhere')")
    expect_data([page], "not told by the leader")
    assert seen(page, "errors") == []


@pytest.mark.parametrize(
    ("options", "leave", "left"),
    [
        ("{}", "seen.stream.close()", CLOSED),
        ("{}", FREEZE, "seen.errors.length === 1"),
        ("{ watchdog: 200 }", "0", "seen.errors.length === 2"),
    ],
    ids=["closed", "frozen", "timeout"],
)
def test_an_attempt_that_is_left_while_it_waits_for_the_leader_makes_no_request(
    open_page: Opener, server: Server, options: str, leave: str, left: str
) -> None:
    page = tab(open_page, server)
    page.evaluate(LEADER, "/channels/waits/")
    page.evaluate("window.up = false")
    share(page, "/channels/waits/", options)
    page.evaluate("fetch('/ok/').then(() => 0)")  # by then it waits
    page.evaluate(leave)
    wait(page, left)
    page.evaluate("seen.stream.close()")
    page.evaluate(RESUME)
    share(page, "/channels/waits/")
    page.evaluate("window.up = true, lead('elsewhere')")
    settled(page)
    assert asked(page, "channels") == [("GET", "/channels/waits/")]


def test_a_tab_follows_at_no_position_that_stands_for_several_events(
    open_page: Opener, server: Server
) -> None:
    leader = tab(open_page, server)
    leader.evaluate(SERVED, "/checkpoints/")
    wait(leader, "window.connection")
    leader.evaluate("send('id: 1\\ndata: A\\n\\ndata: B\\n\\ndata: C\\n\\n')")
    expect_data([leader], *"ABC")
    late = tab(open_page, server, leader)
    late.evaluate(SERVED, "/checkpoints/")
    wait(late, "window.connection")
    late.evaluate("send('id: 1\\ndata: A\\n\\n')")
    expect_data([late], "A")
    late.evaluate("send('data: B\\n\\ndata: C\\n\\n')")
    expect_data([late], *"ABC")
    assert not late.evaluate("connection.aborted")
    for page in (leader, late):
        page.evaluate("send('id: 2\\ndata: D\\n\\n')")
    wait(late, "connection.aborted")
    leader.evaluate("send('data: E\\n\\n')")
    expect_data([leader, late], *"ABCDE")


def test_heartbeats_reach_the_tabs_that_follow(open_page: Opener, server: Server) -> None:
    first = tab(open_page, server)
    second = tab(open_page, server, first)
    for page in (first, second):
        share(page, "/channels/beats/", "{ watchdog: 4000 }")
        settled(page)
    second.wait_for_timeout(6000)
    assert [seen(page, "errors") for page in (first, second)] == [[], []]
    assert not seen(second, "stream.leading")


@pytest.mark.parametrize("slow", [0, pytest.param(1, marks=in_full)], ids=["leader", "follower"])
@pytest.mark.promise("a tab that reads slowly stops no other tab and gets everything")
def test_a_tab_that_does_not_read_stops_nobody_and_gets_all_in_the_end(
    open_page: Opener, server: Server, slow: int
) -> None:
    pages = tabs(open_page, server, f"/channels/slow-{slow}/", 2)
    pages[slow].evaluate(
        """() => {
            const events = seen.stream[Symbol.asyncIterator]();
            const first = events.next();
            window.rest = async (count) => {
                const got = [(await first).value.data];
                while (got.length < count) {
                    const { value } = await events.next();
                    if (value.type === "message") got.push(value.data);
                }
                return got;
            };
        }"""
    )
    publish(server, f"slow-{slow}", "first")
    wait(pages[slow], "seen.data.length === 1")
    texts = [str(number) for number in range(300)]
    texts += [f"{number} {'x' * 60_000}" for number in range(40)]
    publish(server, f"slow-{slow}", *texts)
    expect_data([pages[1 - slow]], "first", *texts)
    assert pages[slow].evaluate(f"rest({1 + len(texts)})") == ["first", *texts]
    # Which of the two comes first to its bound: the loop, or what the page has not read.
    assert {code for code, _ in seen(pages[slow], "errors")} <= {"given-up", "truncated"}
    assert leaders(pages) == [pages[1 - slow] if slow == 0 else pages[0]]
