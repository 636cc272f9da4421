// The live page: what is going on now, kept current, and never shown as current when it is not.

import { element } from "./lapel.js";
import { Alarms } from "./live-alarms.js";
import { Devices } from "./live-devices.js";
import { Edition } from "./live-edition.js";
import { Clips, Gateway, troublesOf } from "./live-gateway.js";
import { Pictures } from "./live-picture.js";
import { Press } from "./live-press.js";
import { Slot } from "./live-rows.js";
import { Sound } from "./live-sound.js";
import { Live } from "./live-stream.js";
import { asOf, clock, tick } from "./live-times.js";
import { Visits } from "./live-visits.js";

const TICK_MS = 250;

const root = document.getElementById("live");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const sees = new Set(root.dataset.sees.split(" "));
const icon = document.querySelector('link[rel="icon"]');
const calmIcon = icon.href;
const alarmIcon = new URL("live-alarm.svg", import.meta.url).href;
const awayIcon = new URL("live-away.svg", import.meta.url).href;
const troubleSlot = new Slot(part("troubles"));
const countSlot = new Slot(part("counts"));
const toShow = {};
let wasAway = null;

const edition = new Edition(root.dataset.edition);
const live = new Live("/api/v1/stream", changed, () => edition.look());
asOf(() => live.nowMs);
const page = {
  live,
  kinds: JSON.parse(root.dataset.kinds),
  technical: new Set(root.dataset.technical.split(" ")),
  announce,
  deviceName: (id) => live.section("devices")[id]?.name ?? id,
  plays: Boolean(root.dataset.plays),
  clips: Boolean(root.dataset.clips),
};
const pictures = new Pictures(page);
page.picture = (alarm) => pictures.of(alarm);
const alarms = sees.has("alarms") ? new Alarms(root, page) : null;
const visits = sees.has("visits") ? new Visits(root, live) : null;
const devices = sees.has("devices") ? new Devices(root, live) : null;
const clips = sees.has("clips") ? new Clips(root, live) : null;
const gateway = sees.has("gateway") ? new Gateway(root, live) : null;
const press = new Press(() => {
  showChanges();
  showSound();
});
const sound = alarms ? new Sound(showSound) : null;

part("still").remove();
part("sound").hidden = sound === null;
part("sound-button").addEventListener("click", () => sound.turn(sound.state === "off" || sound.state === "blocked"));
showSound();
setInterval(() => {
  live.watch();
  if (!press.holds) pictures.look(live);
  showChanges();
  if (!press.holds) edition.renew(sound === null || ["none", "off", "blocked"].includes(sound.state));
}, TICK_MS);
document.addEventListener("visibilitychange", stand);

function changed(changes) {
  Object.assign(toShow, changes);
  showChanges();
}

function showChanges() {
  if (!press.holds) {
    const changes = { ...toShow };
    for (const name of Object.keys(changes)) delete toShow[name];
    if (alarms && ("alarms" in changes || "more" in changes || "devices" in changes)) alarms.show();
    if (visits && "visits" in changes) visits.show();
    if (devices && "devices" in changes) devices.soon();
    if (clips && "clips" in changes) clips.show();
    if (gateway && Object.keys(changes).length) gateway.show();
  }
  stand();
}

/** Say how it stands: whether this is live, what is in the way, what waits; and let the timers run. */
function stand() {
  const away = live.away;
  // Called for at once, pressed or not: it moves nothing.
  showInTitle(away);
  if (press.holds) return;
  if (wasAway !== away) {
    if (wasAway !== null) announce(away ? "This page is not live any more." : "This page is live again.");
    wasAway = away;
    root.classList.toggle("is-away", away);
    for (const title of root.querySelectorAll("section > h2")) title.dataset.asOf = live.begun ? clock(live.nowMs) : "";
    const standing = part("standing");
    standing.className = `state ${away ? "is-bad" : "is-good"}`;
  }
  const shown = live.begun ? clock(live.nowMs) : "–";
  setText(part("standing"), away ? (live.begun ? `Not live: as of ${shown}` : "Connecting …") : `Live ${shown}`);
  showTroubles(away, shown);
  if (live.begun) tick(root, live.nowMs);
  showCounts();
}

function showTroubles(away, shown) {
  const troubles = [];
  if (away && (live.begun || live.silentMs > 4_000)) {
    const why = live.loggedOut ? "you are not logged in any more" : live.trouble || "nothing is heard from the gateway";
    const what = live.begun ? `What is shown is as of ${shown}` : "Nothing is known";
    troubles.push({ tone: "bad", words: `Not live: ${why}. ${what}; alarms raised since then are not here.`, link: live.loggedOut ? ["/login?next=/live", "Log in"] : null });
  }
  if (live.begun && !away) troubles.push(...troublesOf(live));
  if (edition.outdated) {
    const words = "The gateway was updated since this page was loaded: it may show things wrongly until it is loaded again.";
    troubles.push({ tone: "warn", words, blind: true, link: ["/live", "Load it again"] });
  }
  const calm = root.querySelector('[data-part="no-alarms"] .state');
  if (calm) {
    const blind = away || troubles.some((one) => one.blind);
    calm.className = `state ${blind ? "is-warn" : "is-good"}`;
    setText(calm, blind ? "No open alarm is known; there may be some all the same" : "No open alarm");
  }
  troubleSlot.show(troubles, () =>
    troubles.map((one) => element("p", { class: one.tone }, one.words, one.link ? element("a", { href: one.link[0] }, ` ${one.link[1]}`) : null)),
  );
}

function showCounts() {
  const count = (name) => Object.keys(live.section(name)).length + (live.section("more")[name] ?? 0);
  const running = Object.values(live.section("visits")).filter((one) => one.state !== "planned").length;
  const many = (number, name) => `${number.toLocaleString()} ${name}${number === 1 ? "" : "s"}`;
  const words = [
    alarms && many(count("alarms"), "open alarm"),
    visits && many(running, "visit"),
    devices && many(count("devices"), "device"),
    clips && `${many(count("clips"), "clip")} coming`,
  ].filter(Boolean);
  if (live.begun) countSlot.show(words, () => words.join(" · "));
}

function showInTitle(away) {
  const { alarms: urgent, notices } = alarms?.unanswered ?? { alarms: 0, notices: 0 };
  const waiting = urgent + notices;
  const words = urgent ? `▲ ${urgent} ALARM${urgent > 1 ? "S" : ""}` : waiting ? `△ ${waiting} to answer` : away ? "? NOT LIVE" : "Live";
  const title = `${away && waiting ? "? " : ""}${words} – Lapel`;
  if (document.title !== title) document.title = title;
  const href = away ? awayIcon : waiting ? alarmIcon : calmIcon;
  if (icon.href !== href) icon.href = href;
  sound?.call(urgent ? "alarm" : away && live.begun ? "away" : notices ? "notice" : "");
}

function showSound() {
  if (!sound || press.holds) return;
  const state = sound.state;
  root.dataset.sound = state;
  const on = state !== "off" && state !== "blocked";
  part("sound-button").hidden = state === "none";
  setText(part("sound-button"), on ? "Sound off" : "Sound on");
  part("sound-button").className = state === "blocked" ? "" : "plain";
  const words = {
    none: "This browser makes no sound: alarms are only seen.",
    off: "Silent: alarms are only seen.",
    blocked: "Your browser keeps this page silent until you press Sound on.",
    alarm: "Sounding until every alarm is acknowledged.",
    notice: "Sounding until every alarm is acknowledged.",
    away: "Sounding because the page is not live.",
  };
  setText(part("sound-words"), words[state] ?? "");
}

/** Read out at once by a screen reader. */
function announce(words) {
  const into = part("announce");
  into.append(element("p", {}, words));
  while (into.childElementCount > 5) into.firstElementChild.remove();
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
