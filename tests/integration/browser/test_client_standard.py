"""EventStream and the browser's own EventSource read the same streams alike."""

from __future__ import annotations

import pytest

from tests.integration.browser.client import Opener, open_client, wait
from tests.integration.browser.scripted import CASES, MOST, scripted
from tests.servers import Server

pytestmark = [pytest.mark.needs("uvicorn"), pytest.mark.every_engine]

# What both make of one answer, until the connection ends.
READ = """async ([base, types]) => {
    const read = (source, names) => new Promise((resolve) => {
        const seen = [];
        for (const name of new Set(["message", ...names])) {
            source.addEventListener(name, (event) => {
                const { type, data, lastEventId } = event;
                if (event instanceof MessageEvent) seen.push([type, data, lastEventId]);
            });
        }
        source.addEventListener("error", () => { source.close(); resolve(seen); });
    });
    const { EventStream } = django_sse;
    const all = [];
    for (const [index, names] of types.entries()) {
        const url = `${base}/case/${index}`;
        all.push(await Promise.all([
            read(new EventStream(url, { reconnect: false }), names),
            read(new EventSource(url), names),
        ]));
    }
    return all;
}"""


@pytest.mark.promise("it reads what the standard's rules say, as the browser's own `EventSource`")
def test_every_rule_of_the_format_is_read_as_event_source_reads_it(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    types = [[event[0] for event in case["events"]] + case.get("types", []) for case in CASES]
    with scripted() as other:
        results = page.evaluate(READ, [other.url, types])
    for case, (ours, native) in zip(CASES, results, strict=True):
        assert (case["rule"], ours) == (case["rule"], case["events"])
        assert (case["rule"], native) == (case["rule"], case["events"])


@pytest.mark.promise("a `for await` loop that is behind costs bounded memory where events have ids")
def test_a_loop_that_is_behind_leaves_the_connection_and_misses_nothing(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    with scripted() as other:
        page.evaluate(
            """(url) => {
                window.got = [];
                window.more = () => {};
                (async () => {
                    for await (const { lastEventId } of new django_sse.EventStream(url)) {
                        got.push(Number(lastEventId));
                        if (got.length === 1) await new Promise((more) => { window.more = more; });
                        if (got.length === 500) break;
                    }
                    window.done = true;
                })();
            }""",
            f"{other.url}/flood",
        )
        wait(page, "got.length === 1")
        page.wait_for_timeout(2000)
        # What fits into the buffers of sockets and of the browser's own processes.
        assert other.flood.sent[0] < MOST / 2
        page.evaluate("more()")
        wait(page, "window.done")
        assert page.evaluate("got") == list(range(1, 501))
        assert len(other.flood.positions) > 1


@pytest.mark.promise("it works in a worker")
def test_a_worker_reads_an_answer(open_page: Opener, server: Server) -> None:
    page = open_client(open_page, server.url)
    got = page.evaluate(
        """() => {
            const modules = [...document.scripts].map((script) => script.src).slice(0, 2);
            const code = `
                for (const url of ${JSON.stringify(modules)}) await import(url);
                const { EventStream } = django_sse;
                const options = { method: "POST", csrfToken: "${document.cookie.split("=")[1]}" };
                const got = [];
                for await (const { data } of new EventStream("${location.origin}/answer/?count=5",
                    { ...options, batch: "frame", remember: "no storage here" })) got.push(data);
                postMessage(got);`;
            const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
            const worker = new Worker(url, { type: "module" });
            return new Promise((resolve, reject) => {
                worker.onmessage = ({ data }) => resolve(data);
                worker.onerror = ({ message }) => reject(new Error(message));
            });
        }"""
    )
    assert got[-5:] == [f"token {number}" for number in range(5)]
