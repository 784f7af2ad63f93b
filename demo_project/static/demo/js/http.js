// @ts-check
/** POST JSON to the site itself and read the JSON it answers. */

/**
 * @param {string} url
 * @param {object} data
 * @returns {Promise<any>} the answer
 * @throws {Error} the server's own words where it refused, or that it could not be reached
 */
export async function post(url, data) {
  const headers = { "Content-Type": "application/json", "X-CSRFToken": cookie("csrftoken") };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(data) }).catch(() => {
    throw new Error("The server cannot be reached.");
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `The server answered ${response.status}.`);
  return answer;
}

/** @param {string} name */
function cookie(name) {
  const pair = document.cookie.split("; ").find((item) => item.startsWith(`${name}=`));
  return pair ? decodeURIComponent(pair.slice(name.length + 1)) : "";
}

/**
 * Show what went wrong, or nothing.
 * @param {HTMLElement} place
 * @param {string} [message]
 */
export function complain(place, message = "") {
  place.textContent = message;
  place.hidden = !message;
}
