import { Connection, element } from "./connection.js";

const { events } = element("[data-clock]").dataset;
const now = element("[data-now]");
const stop = element("[data-stop]");
const start = element("[data-start]");

const connection = new Connection(() => new EventSource(events), {
  connecttime: (event) => tell(element("[data-since]"), event),
  onTimeChanged: (event) => tell(now, event),
});

stop.addEventListener("click", () => {
  connection.close();
  swap(start, stop);
});
start.addEventListener("click", () => {
  connection.open();
  swap(stop, start);
});
connection.open();

function tell(place, event) {
  const time = new Date(JSON.parse(event.data).time);
  place.dateTime = time.toISOString();
  place.textContent = time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
}

function swap(shown, hidden) {
  shown.hidden = false;
  hidden.hidden = true;
  shown.focus();
}
