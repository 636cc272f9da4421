// The player of a clip: single frames, five seconds to and fro, speeds, keys, and where the clip is on its time line.
// The browser's own controls stay, and do all that they do without this.
import { ask } from "./lapel.js";

const video = document.getElementById("video");
const line = document.getElementById("line");
const where = document.getElementById("where");
const play = document.getElementById("play");
const speed = document.getElementById("speed");
const jumps = [...document.querySelectorAll("[data-jump]")];
const MOVE_S = 5;
let framesMs = null;

/** Seconds as 1:02:03.4 or 2:03.4. */
function clock(seconds) {
  const tenths = Math.floor(Math.max(0, seconds) * 10 + 1e-6);
  const minutes = Math.floor(tenths / 600);
  const rest = `${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

/** The number of the frame that is shown: the last one that began; -1 before the first. */
function frameAt(timeMs) {
  let low = 0;
  let high = framesMs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (framesMs[middle] <= timeMs + 0.5) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function show() {
  const at = video.currentTime;
  const length = video.duration || Number(line?.dataset.length ?? 0) / 1000;
  const frame = framesMs?.length ? `  ·  frame ${Math.max(0, frameAt(at * 1000)) + 1} of ${framesMs.length}` : "";
  where.textContent = `${clock(at)} / ${clock(length)}${frame}`;
  if (line && length) {
    const across = Math.min(1, at / length) * 1000;
    document.getElementById("played").setAttribute("width", across);
    document.getElementById("head").setAttribute("x", Math.min(997, across));
  }
  let now = null;
  for (const one of jumps) {
    if (Number(one.dataset.jump) <= at * 1000 + 0.5) now = one;
    one.closest("li").classList.remove("is-now");
  }
  now?.closest("li").classList.add("is-now");
  play.textContent = video.paused ? "Play" : "Pause";
}

function go(seconds) {
  video.currentTime = Math.min(Math.max(0, seconds), video.duration || seconds);
}

/** One frame on or back. A time just after a frame's beginning is within it, whatever a player rounds. */
async function step(by) {
  video.pause();
  framesMs ??= (await ask(`${video.getAttribute("src").replace(/media\/mp4$/, "frames")}`)).frames_ms;
  const wanted = Math.min(framesMs.length - 1, Math.max(0, frameAt(video.currentTime * 1000) + by));
  const following = framesMs[wanted + 1] ?? framesMs[wanted] + 2;
  go((framesMs[wanted] + Math.min(1, (following - framesMs[wanted]) / 2)) / 1000);
}

const deeds = {
  play: () => (video.paused ? video.play() : video.pause()),
  back: () => go(video.currentTime - MOVE_S),
  forward: () => go(video.currentTime + MOVE_S),
  previous: () => step(-1),
  next: () => step(1),
};
const keys = { " ": "play", ArrowLeft: "back", ArrowRight: "forward", ",": "previous", ".": "next" };

async function act(name) {
  try {
    await deeds[name]();
  } catch (error) {
    where.textContent = error.message;
  }
}

for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => act(button.dataset.do));
}
document.addEventListener("keydown", (event) => {
  const busy = event.target.closest("input, select, textarea, summary, a, button");
  const mine = !busy || (busy.closest("#controls") && event.key !== " " && busy.tagName !== "SELECT");
  if (!mine || event.ctrlKey || event.altKey || event.metaKey || !(event.key in keys)) return;
  event.preventDefault();
  act(keys[event.key]);
}, { capture: true });
speed.addEventListener("change", () => { video.playbackRate = Number(speed.value); });
video.addEventListener("ratechange", () => {
  if ([...speed.options].some((one) => Number(one.value) === video.playbackRate)) speed.value = String(video.playbackRate);
});
for (const one of jumps) {
  one.addEventListener("click", (event) => {
    event.preventDefault();
    go(Number(one.dataset.jump) / 1000);
  });
}
line?.addEventListener("click", (event) => {
  const box = line.getBoundingClientRect();
  go(((event.clientX - box.left) / box.width) * (video.duration || 0));
});
for (const name of ["timeupdate", "seeked", "play", "pause", "loadedmetadata", "ended"]) video.addEventListener(name, show);
if (video.requestVideoFrameCallback) {
  const each = () => { show(); video.requestVideoFrameCallback(each); };
  video.requestVideoFrameCallback(each);
}
line?.classList.add("is-live");
document.getElementById("controls").hidden = false;
document.getElementById("keys").hidden = false;
show();
