// @ts-check
/** The list of what the client did, newest last. */

import { element } from "./connection.js";

const MOST = 200;
const list = element("[data-deeds]");

/**
 * @param {string} what in a few words
 * @param {string} [why] the rest of the sentence
 * @param {"lost" | "back" | "whole" | "over" | "plain"} [kind]
 */
export function tell(what, why = "", kind = "plain") {
  const item = document.createElement("li");
  const time = document.createElement("time");
  const strong = document.createElement("b");
  item.dataset.kind = kind;
  time.textContent = new Date().toLocaleTimeString([], { hourCycle: "h23" });
  strong.textContent = what;
  item.append(time, " ", strong, why && ` ${why}`);
  list.append(item);
  if (list.children.length > MOST) list.firstElementChild?.remove();
  list.scrollTop = list.scrollHeight;
}
