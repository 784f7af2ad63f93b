"""What a reload, a stop and a killed server do to an answer in the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.browser.client import (
    CLOSED,
    NETWORK,
    Opener,
    asked,
    open_client,
    publish,
    seen,
    wait,
)
from tests.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.needs("uvicorn"), pytest.mark.every_engine]

KEY = "sessionStorage.getItem('django_sse:answer')"


def ask(page: Page, query: str, options: str = "{}") -> None:
    """POSTs for an answer, remembered as "answer"."""
    page.evaluate(
        f"""() => void follow(new django_sse.EventStream("/answer/?{query}",
            {{ method: "POST", remember: "answer", ...{options} }}))"""
    )


def resume(page: Page, options: str = "{}") -> bool:
    """Whether something was remembered; it is followed, then."""
    found: bool = page.evaluate(
        f"""() => {{
            const stream = django_sse.EventStream.resume("answer", {options});
            if (stream) follow(stream);
            return stream !== null;
        }}"""
    )
    return found


def reload(page: Page) -> None:
    page.reload()
    wait(page, "window.ready")


def tokens(count: int) -> list[str]:
    return [f"token {number}" for number in range(count)]


def methods(page: Page) -> list[str]:
    """The methods of the requests for streams."""
    return [method for method, _ in asked(page, "answer", "events")]


@pytest.mark.promise("an answer survives reloads, and nothing of it is missing or comes twice")
def test_a_reload_in_the_middle_shows_the_whole_answer_and_goes_on(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    ask(page, "count=60&pause=0.05")
    for reached in (5, 20):
        wait(page, f"seen.data.length > {reached}")
        reload(page)
        assert resume(page)
    wait(page, CLOSED)
    assert seen(page, "data") == tokens(60)
    assert seen(page, "types")[-1] == "close"
    assert methods(page) == ["POST", "GET", "GET"]


def test_an_answer_that_ended_is_forgotten(open_page: Opener, server: Server) -> None:
    page = open_client(open_page, server.url)
    assert not resume(page)
    ask(page, "count=3")
    wait(page, CLOSED)
    assert page.evaluate(KEY) is None
    reload(page)
    assert not resume(page)


def test_a_stream_that_the_page_closed_is_remembered_until_it_is_told_to_forget(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    ask(page, "count=2000&pause=0.05")
    wait(page, "seen.data.length > 0")
    page.evaluate("seen.stream.close()")
    reload(page)
    assert resume(page)
    wait(page, "seen.data[0] === 'token 0'")
    page.evaluate("seen.stream.stop()")
    page.evaluate("django_sse.EventStream.forget('answer')")
    assert page.evaluate(KEY) is None


def test_a_run_that_is_gone_is_forgotten(open_page: Opener, server: Server) -> None:
    page = open_client(open_page, server.url, expected=NETWORK)
    page.evaluate(
        """() => {
            const url = new URL("/runs/00000000-0000-4000-8000-000000000000/events/", location);
            sessionStorage.setItem("django_sse:answer", JSON.stringify({ url, run: true }));
        }"""
    )
    assert resume(page)
    wait(page, CLOSED)
    assert page.evaluate("seen.stream.error.status") == 404
    assert page.evaluate(KEY) is None


def test_a_run_that_was_seen_to_its_end_is_forgotten(open_page: Opener, server: Server) -> None:
    page = open_client(open_page, server.url)
    ask(page, "count=3")
    wait(page, CLOSED)
    page.evaluate(
        """() => {
            const { runURL: url, lastEventId: id } = seen.stream;
            sessionStorage.setItem("django_sse:answer", JSON.stringify({ url, run: true, id }));
        }"""
    )
    assert resume(page, "{ restores: true }")
    wait(page, CLOSED)
    assert (seen(page, "types"), page.evaluate("seen.stream.error")) == ([], None)
    assert page.evaluate(KEY) is None


@pytest.mark.promise("`stop()` stops the run")
def test_stop_ends_the_answer_as_aborted(open_page: Opener, server: Server) -> None:
    page = open_client(open_page, server.url)
    ask(page, "count=2000&pause=0.05")
    wait(page, "seen.data.length > 2")
    assert page.evaluate("seen.stream.stop()") == {"stopped": True}
    wait(page, CLOSED)
    assert page.evaluate("seen.stream.error.code") == "aborted"
    assert seen(page, "types")[-1] == "error"
    assert page.evaluate("seen.stream.stop()") == {"stopped": False}
    assert not resume(page)


@pytest.mark.promise("an answer survives reloads, and nothing of it is missing or comes twice")
def test_a_page_that_restores_what_it_showed_goes_on_after_it(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    ask(page, "count=60&pause=0.05", "{ restores: true }")
    wait(page, "seen.data.length > 5")
    page.evaluate(
        """() => addEventListener("pagehide", () =>
            sessionStorage.setItem("shown", JSON.stringify(seen.data)))"""
    )
    reload(page)
    assert resume(page, "{ restores: true }")
    wait(page, CLOSED)
    shown = page.evaluate("JSON.parse(sessionStorage.getItem('shown'))")
    assert len(shown) > 5
    assert shown + seen(page, "data") == tokens(60)


# A loop that takes the first tokens and is then in the middle of one for good, as far as a test
# can see; `shown` survives the reload.
SLOW_LOOP = """([query, options]) => {
    const stream = new django_sse.EventStream(`/answer/?${query}`, options);
    window.seen = { stream };
    (async () => {
        const shown = [];
        for await (const { type, data } of stream) {
            if (type !== "message") continue;
            shown.push(data);
            sessionStorage.setItem("shown", JSON.stringify(shown));
            if (shown.length === 3) await new Promise(() => {});
        }
    })();
}"""


@pytest.mark.promise("an answer survives reloads, and nothing of it is missing or comes twice")
def test_a_page_that_restores_what_its_loop_showed_goes_on_after_it(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    options = {"method": "POST", "remember": "answer", "restores": True}
    for query, read in (("count=60", CLOSED), ("count=200&pause=0.05", "true")):
        page.evaluate(SLOW_LOOP, [query, options])
        wait(page, "sessionStorage.getItem('shown')?.includes('token 2')")
        wait(page, read)
        reload(page)
        assert resume(page, "{ restores: true }")
        wait(page, "seen.data.length > 50")
        shown = page.evaluate("JSON.parse(sessionStorage.getItem('shown'))")
        data = seen(page, "data")
        assert shown + data == tokens(3 + len(data))
        page.evaluate("seen.stream.close(), sessionStorage.clear()")


def test_an_answer_that_a_loop_has_not_shown_to_its_end_is_remembered(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    page.evaluate(SLOW_LOOP, ["count=20", {"method": "POST", "remember": "answer"}])
    wait(page, f"sessionStorage.getItem('shown') && {CLOSED}")
    reload(page)
    assert resume(page)
    wait(page, CLOSED)
    assert seen(page, "data") == tokens(20)
    assert page.evaluate(KEY) is None


def test_an_answer_that_a_loop_has_taken_whole_is_forgotten(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    got = page.evaluate(
        """async () => {
            const options = { method: "POST", remember: "answer", restores: true };
            const stream = new django_sse.EventStream("/answer/?count=20", options);
            const got = [];
            for await (const { type, data } of stream) {
                if (type === "message") got.push(data);
            }
            return got;
        }"""
    )
    assert got == tokens(20)
    assert page.evaluate(KEY) is None


def test_a_position_is_not_used_by_a_page_that_does_not_restore(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    ask(page, "count=40&pause=0.05", "{ restores: true }")
    wait(page, "seen.data.length > 5")
    reload(page)
    assert resume(page)
    wait(page, CLOSED)
    assert seen(page, "data") == tokens(40)


@pytest.mark.promise("an answer survives reloads, and nothing of it is missing or comes twice")
def test_a_channel_is_remembered_only_by_a_page_that_restores(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    for options, remembered in (("{}", False), ("{ restores: true }", True)):
        page.evaluate(
            f"""() => void follow(new django_sse.EventStream("/channels/restored/",
                {{ remember: "answer", ...{options} }}))"""
        )
        wait(page, "seen.types.includes('stream-open')")
        publish(server, "restored", "before")
        wait(page, "seen.data.length === 1")
        reload(page)
        publish(server, "restored", "between")
        assert resume(page, options) == remembered
    assert not page.evaluate("django_sse.EventStream.resume('answer')")
    wait(page, "seen.data.length === 1")
    publish(server, "restored", "after")
    wait(page, "seen.data.length === 2")
    assert seen(page, "data") == ["between", "after"]


def test_a_browser_that_forbids_storage_shows_the_answer_all_the_same(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    page.evaluate(
        """() => Object.defineProperty(window, "sessionStorage", {
            get() { throw new DOMException("forbidden", "SecurityError"); } })"""
    )
    assert not resume(page)
    ask(page, "count=3")
    wait(page, CLOSED)
    assert seen(page, "data") == tokens(3)


@pytest.mark.promise("a server that dies costs no event, and its runs end as `interrupted`")
def test_a_killed_server_comes_back_and_the_answer_ends_as_interrupted(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url, expected=NETWORK)
    ask(page, "count=2000&pause=0.02", "{ maxDelay: 500 }")
    wait(page, "seen.data.length > 20")
    server.kill()
    wait(page, "seen.errors.length > 0")
    server.start()
    wait(page, CLOSED)
    data = seen(page, "data")
    assert data == tokens(len(data))
    assert page.evaluate("seen.stream.error.code") == "interrupted"
    assert "close" not in seen(page, "types")
    assert methods(page).count("POST") == 1


@pytest.mark.promise("a server that dies costs no event, and its runs end as `interrupted`")
def test_a_killed_server_comes_back_and_no_event_of_a_channel_is_missed(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url, expected=NETWORK)
    page.evaluate(
        """() => void follow(new django_sse.EventStream("/channels/killed/", { maxDelay: 500 }))"""
    )
    wait(page, "seen.types.includes('stream-open')")
    publish(server, "killed", "one", "two")
    wait(page, "seen.data.length === 2")
    server.kill()
    wait(page, "seen.errors.length > 0")
    server.start()
    publish(server, "killed", "three")
    wait(page, "seen.data.length === 3")
    publish(server, "killed", "four")
    wait(page, "seen.data.length === 4")
    assert seen(page, "data") == ["one", "two", "three", "four"]
