import { Connection, element } from "./connection.js";
import { complain, post } from "./http.js";

const page = element("[data-progress]");
const problem = element("[data-problem]");
/** Far above the pause between two steps: after it the job's process must have died. */
const SILENCE = 20_000;

element("[data-start]").addEventListener("click", async (click) => {
  click.target.disabled = true;
  try {
    location.assign((await post(page.dataset.jobs, {})).page);
  } catch (error) {
    complain(problem, error.message);
    click.target.disabled = false;
  }
});

if (page.dataset.events) follow(page.dataset.events);

function follow(url) {
  const stage = element("[data-stage]");
  const bar = element("[data-bar]");
  let watch = 0;
  const connection = new Connection(() => new EventSource(url), {
    "stream-open": () => alive(),
    "stream-reset": () => connection.open(),
    progress: (event) => {
      const step = JSON.parse(event.data);
      bar.value = step.percent;
      element("[data-percent]").textContent = step.percent;
      if (stage.textContent !== step.stage) stage.textContent = step.stage;
      alive();
    },
    close: () => {
      clearTimeout(watch);
      stage.textContent = "Done";
    },
    error: (event) => {
      if (!(event instanceof MessageEvent)) return;
      clearTimeout(watch);
      stage.textContent = "Failed";
      complain(problem, "The job failed; the server’s log says why.");
    },
  });
  connection.open();

  function alive() {
    complain(problem);
    clearTimeout(watch);
    watch = setTimeout(() => {
      complain(problem, "Nothing has been heard of this job for a while. Was the server restarted? Start another.");
    }, SILENCE);
  }
}
