// Visits while one looks: times count on, and what changed is fetched again. Without it every page says how things stood
// when it was made.
import { span } from "./lapel.js";

const REFRESH_MS = 10_000;
const region = document.getElementById("fresh");
const news = document.getElementById("news");

/** What each countdown counts from: the gateway's clock when the page was made, and this browser's steady one since. */
let base = null;

function nowMs() {
  return base.gateway + (performance.now() - base.here);
}

function begin() {
  base = { gateway: Number(region.dataset.now), here: performance.now() };
}

function place(svg, ms) {
  const from = Number(svg.dataset.begin);
  return `${Math.min(100, Math.max(0, (100 * (ms - from)) / (Number(svg.dataset.end) - from)))}%`;
}

function tick() {
  const now = nowMs();
  let due = false;
  for (const one of region.querySelectorAll("[data-until]")) {
    const left = Number(one.dataset.until) - now;
    one.textContent = span(left / 1000);
    due ||= left <= 0;
  }
  for (const one of region.querySelectorAll("[data-since]")) one.textContent = span((now - Number(one.dataset.since)) / 1000);
  for (const svg of region.querySelectorAll("svg.timer")) {
    const x = place(svg, now);
    svg.querySelector(".passed").setAttribute("width", x);
    const mark = svg.querySelector(".now");
    mark.setAttribute("x1", x);
    mark.setAttribute("x2", x);
  }
  return due;
}

/** Whether somebody is in the middle of something that must not go from under their hands. */
function busy() {
  if (region.querySelector("details[open]")) return true;
  const focused = document.activeElement;
  return region.contains(focused) && focused.matches("input, select, textarea");
}

function states(part) {
  return [...part.querySelectorAll(".state")].map((one) => one.textContent.trim()).join(", ");
}

/** Take what the gateway shows now in place of what is shown, and keep the focus where it was. */
function replace(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("fresh");
  if (!fresh || busy()) return;
  const before = states(region);
  const focused = region.contains(document.activeElement) ? document.activeElement.id : "";
  region.replaceChildren(...fresh.childNodes);
  region.dataset.now = fresh.dataset.now;
  begin();
  tick();
  if (focused) document.getElementById(focused)?.focus();
  const after = states(region);
  if (after !== before) news.textContent = `Now: ${after}.`;
}

async function refresh() {
  if (document.hidden || busy()) return;
  try {
    const response = await fetch(location.pathname + location.search, { headers: { Accept: "text/html" } });
    if (response.redirected && new URL(response.url).pathname.startsWith("/login")) location.reload();
    else if (response.ok) replace(await response.text());
  } catch {
    // The gateway is out of reach: the page stays as it is, and it is asked again.
  }
}

if (region) {
  begin();
  let asked = 0;
  const look = async () => {
    const due = tick();
    const wait = due ? 2_000 : REFRESH_MS;
    if (!("still" in region.dataset) && performance.now() - asked > wait) {
      asked = performance.now();
      await refresh();
    }
  };
  asked = performance.now();
  setInterval(look, 1_000);
  document.addEventListener("visibilitychange", () => {
    asked = 0;
  });
}

const zone = document.getElementById("zone");
if (zone && !zone.form.elements.planned.value) {
  zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone || zone.value;
}
