"""The standard's rules, a loop that is behind, and a worker."""

from __future__ import annotations

import pytest

from tests.integration.browser.client import Opener, open_client, wait
from tests.integration.browser.scripted import CASES, MOST, scripted
from tests.servers import Server

pytestmark = [pytest.mark.needs("uvicorn"), pytest.mark.every_engine]

READ = """async ([base, types]) => {
    const all = [];
    for (const [index, names] of types.entries()) {
        const url = `${base}/case/${index}`;
        const stream = new django_sse.EventStream(url, { reconnect: false });
        const seen = [];
        for (const name of new Set(["message", ...names])) {
            stream.addEventListener(name, (event) => {
                const { type, data, lastEventId } = event;
                if (event instanceof MessageEvent) seen.push([type, data, lastEventId]);
            });
        }
        await new Promise((resolve) => stream.addEventListener("error", resolve));
        all.push(seen);
    }
    return all;
}"""


@pytest.mark.promise("it reads a stream by the standard's rules")
def test_every_rule_of_the_format_is_kept(open_page: Opener, server: Server) -> None:
    page = open_client(open_page, server.url)
    types = [[event[0] for event in case["events"]] + case.get("types", []) for case in CASES]
    with scripted() as other:
        results = page.evaluate(READ, [other.url, types])
    expected = {case["rule"]: case["events"] for case in CASES}
    assert dict(zip(expected, results, strict=True)) == expected


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
        # A browser that goes on buffering takes all; one that does not read keeps it open.
        assert other.flood.ended[0].wait(60)
        assert other.flood.sent[0] < MOST
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
