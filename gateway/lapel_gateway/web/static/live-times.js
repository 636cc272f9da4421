// Times as people read them, and timers that run.

const clockForm = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const dayForm = new Intl.DateTimeFormat([], { weekday: "short", day: "numeric", month: "short" });

let now = () => Date.now();

/** Let times be told as of `nowMs()`: a gateway's clock, not this machine's. */
export function asOf(nowMs) {
  now = nowMs;
}

/** 03:12:44, in this machine's zone; with the day where that is another day than now. */
export function clock(ms) {
  const at = new Date(ms);
  const text = clockForm.format(at);
  return at.toDateString() === new Date(now()).toDateString() ? text : `${dayForm.format(at)}, ${text}`;
}

/** 0:42, 12:05, 1:02:05; from a day on 3 d 4 h. */
export function stopwatch(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (number) => String(number).padStart(2, "0");
  if (seconds >= 86_400) return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** A time with its day and second in the title; `words` (or the clock) is what is read. */
export function timeElement(moment, words) {
  const made = document.createElement("time");
  made.dateTime = moment.utc ?? "";
  made.title = new Date(moment.ms).toLocaleString();
  made.textContent = words ?? clock(moment.ms);
  return made;
}

/** How long ago `moment` was, running. */
export function since(moment, after = "") {
  const made = timeElement(moment, "");
  made.className = "number";
  Object.assign(made.dataset, { since: moment.ms, after });
  return made;
}

/** How long until `moment`, running: `before` 4:10, and once it has passed `after` 2:00. */
export function until(moment, before, after) {
  const made = timeElement(moment, "");
  made.className = "number";
  Object.assign(made.dataset, { until: moment.ms, before, after });
  return made;
}

/** Let every timer below `root` show what it stands at. */
export function tick(root, nowMs) {
  for (const one of root.querySelectorAll("[data-since], [data-until]")) {
    const { since: from, until: to, before, after } = one.dataset;
    let text;
    if (from !== undefined) text = `${stopwatch(nowMs - Number(from))}${after ? ` ${after}` : ""}`;
    else text = Number(to) > nowMs ? `${before} ${stopwatch(Number(to) - nowMs)}` : `${after} ${stopwatch(nowMs - Number(to))}`;
    if (one.textContent !== text) one.textContent = text;
  }
}
