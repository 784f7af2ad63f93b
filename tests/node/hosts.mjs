/** Which hosts this process connects to: an SDK that reports home must not go unnoticed. */
import { subscribe } from "node:diagnostics_channel";

/** Starts watching; returns a function that gives the names so far, sorted. */
export function watchHosts() {
  const hosts = new Set();
  // fetch, and the http and https modules: each announces a connection or a request before it is made.
  subscribe("undici:client:beforeConnect", ({ connectParams }) => hosts.add(connectParams.hostname));
  subscribe("http.client.request.start", ({ request }) => hosts.add(request.host));
  return () => [...hosts].sort();
}
