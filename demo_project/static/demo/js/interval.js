import { Connection, element } from "./connection.js";

const { events } = element("[data-interval]").dataset;
const lamps = [...element("[data-lamps]").children];
const verdict = element("[data-verdict]");
const again = element("[data-again]");

const connection = new Connection(() => new EventSource(events), {
  message: (event) => {
    const { number } = JSON.parse(event.data);
    lamps[number - 1].classList.add("lit");
    verdict.textContent = `Event ${number} of 5.`;
  },
  error: () => {
    const closed = connection.stream.readyState === EventSource.CLOSED;
    verdict.textContent = closed
      ? "The view answered 204: the browser stopped for good."
      : "The response ended. The browser comes back with the last id it saw.";
    again.disabled = !closed;
  },
});

again.addEventListener("click", () => {
  for (const lamp of lamps) lamp.classList.remove("lit");
  again.disabled = true;
  verdict.textContent = "Waiting for the first event.";
  connection.open();
});
connection.open();
