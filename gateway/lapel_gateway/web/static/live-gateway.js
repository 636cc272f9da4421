// What is wrong with the gateway itself and what it depends on; and the clips that are on their way.

import { element } from "./lapel.js";
import { arrange, Slot } from "./live-rows.js";
import { clock } from "./live-times.js";

/** {words, tone, blind} of everything that keeps the page, or the gateway, from seeing what is going on; blind: so that
    an alarm may be raised and not be here. */
export function troublesOf(live) {
  const found = [];
  const bad = (words, blind = false) => found.push({ tone: "bad", words, blind });
  const warn = (words) => found.push({ tone: "warn", words });
  for (const role of Object.values(live.section("roles"))) {
    const what = { ingest: "clips are not taken in", alarms: "new alarms may not come in", deliver: "nobody is told of alarms", web: "" }[role.role];
    if (!role.alive) {
      const when = role.last_round ? ` since ${clock(role.last_round.ms)}` : "";
      bad(`The gateway's ${role.role} role is silent${when}${what ? `: ${what}` : ""}.`, role.role === "alarms");
    } else if (role.connected === false) {
      bad(`The gateway's ${role.role} role has no connection to the broker${what ? `: ${what}` : ""}.`, role.role === "alarms");
    }
    if (role.late_since) warn(`The gateway's ${role.role} role is late with ${role.late_with} since ${clock(role.late_since.ms)}.`);
  }
  const broker = live.section("broker").broker;
  if (broker?.connected === false) bad(`The broker is away (${broker.trouble}): devices are not heard of.`, true);
  for (const one of Object.values(live.section("channels"))) {
    if (one.state === "failing") warn(`${one.channel}${one.person ? ` to ${one.person}` : ""} does not deliver${one.waiting ? `: ${one.waiting} wait` : ""}.`);
  }
  for (const one of Object.values(live.section("storage"))) {
    if (one.trouble) bad(`The disk of ${one.name} cannot be looked at: ${one.trouble}.`);
    else if (one.low) bad(`The disk of ${one.name} is nearly full: ${size(one.free_bytes)} free.`);
  }
  return found;
}

function size(bytes) {
  if (bytes === null) return "–";
  return bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : bytes >= 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${Math.ceil(bytes / 1024)} KiB`;
}

/** How much of a clip is here, as a bar with its words. */
export function progress(clip) {
  const settled = clip.segments_settled;
  const words = `${clip.segments}${settled === null ? "" : ` of ${settled}`} segments, ${size(clip.bytes)}`;
  // Until the device has said how long the clip is, the bar only says that it grows.
  const bar = settled === null ? element("progress", { "aria-label": words }) : element("progress", { max: Math.max(1, settled), value: clip.segments, "aria-label": words });
  return [bar, element("span", { class: "number" }, words)];
}

export class Gateway {
  #section;
  #slot;
  #live;

  constructor(root, live) {
    this.#section = root.querySelector('[data-section="gateway"]');
    this.#slot = new Slot(root.querySelector('[data-part="gateway"]'));
    this.#live = live;
  }

  show() {
    const [roles, broker, channels, storage] = ["roles", "broker", "channels", "storage"].map((name) => Object.values(this.#live.section(name)));
    this.#section.hidden = roles.length + channels.length + storage.length === 0;
    this.#slot.show([roles, broker, channels, storage], () => {
      const part = (tone, name, words) => element("li", {}, element("span", { class: `state is-${tone}` }, name), element("span", { class: "quiet" }, ` ${words}`));
      return [
        ...roles.map((one) => part(!one.alive || one.connected === false ? "bad" : one.late_since ? "warn" : "good", one.role, !one.alive ? "silent" : one.connected === false ? "no broker" : one.late_since ? `late with ${one.late_with}` : "works")),
        ...broker.filter((one) => one.connected !== null).map((one) => part(one.connected ? "good" : "bad", "broker", one.connected ? "connected" : one.trouble)),
        ...channels.map((one) => part({ works: "good", failing: "bad" }[one.state] ?? "over", one.channel, `${one.state}${one.waiting ? `, ${one.waiting} wait` : ""}`)),
        ...storage.map((one) => part(one.low || one.trouble ? "bad" : "good", `disk of ${one.name}`, one.trouble ?? `${size(one.free_bytes)} free${one.days === null ? "" : `, ${one.days} days`}`)),
      ];
    });
  }
}

export class Clips {
  #list;
  #none;
  #live;
  #rows = new Map();

  constructor(root, live) {
    this.#list = root.querySelector('[data-part="clips"]');
    this.#none = root.querySelector('[data-part="no-clips"]');
    this.#live = live;
    this.#list.replaceChildren();
  }

  show() {
    const clips = this.#live.section("clips");
    for (const id of this.#rows.keys()) if (!(id in clips)) this.#rows.delete(id);
    const sorted = Object.values(clips).sort((a, b) => Number(b.alarm) - Number(a.alarm) || (b.first_received?.ms ?? 0) - (a.first_received?.ms ?? 0));
    for (const clip of sorted) {
      if (!this.#rows.has(clip.id)) {
        const node = element("li", { class: "clip" });
        this.#rows.set(clip.id, { node, slot: new Slot(node) });
      }
      this.#rows.get(clip.id).slot.show(clip, () => [
        element("strong", {}, clip.person || clip.device),
        clip.alarm ? element("span", { class: "tag" }, "Alarm") : null,
        clip.missing_since ? element("span", { class: "state is-warn" }, "its beginning is missing") : null,
        element("span", { class: "clip-bar" }, ...progress(clip)),
      ]);
    }
    arrange(this.#list, sorted.map((clip) => this.#rows.get(clip.id).node));
    this.#none.hidden = sorted.length > 0 || !this.#live.begun;
  }
}
