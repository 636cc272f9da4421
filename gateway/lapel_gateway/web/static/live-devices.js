// The devices: those first that need a look, the others counted and found by words. A row is touched when it has changed.

import { element } from "./lapel.js";
import { arrange, Slot } from "./live-rows.js";
import { since } from "./live-times.js";

const AT_ONCE = 60;
const LOW_PERCENT = 20;

export class Devices {
  #part;
  #live;
  #rows = new Map();
  #most = AT_ONCE;
  #drawn = 0;

  constructor(root, live) {
    this.#part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.#live = live;
    this.#part("devices").replaceChildren();
    const filter = this.#part("device-filter");
    filter.hidden = false;
    filter.addEventListener("submit", (event) => event.preventDefault());
    filter.addEventListener("input", () => {
      this.#most = AT_ONCE;
      this.show();
    });
    this.#part("more-devices").addEventListener("click", () => {
      this.#most += AT_ONCE;
      this.show();
    });
  }

  /** Show the devices; when asked often, not more than every half second. */
  soon() {
    if (!this.#drawn) {
      this.#drawn = setTimeout(() => {
        this.#drawn = 0;
        this.show();
      }, 500);
    }
  }

  show() {
    const all = Object.values(this.#live.section("devices"));
    const which = this.#part("device-filter").querySelector("select").value;
    const words = this.#part("device-filter").querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
    const asked = words.length > 0;
    const found = all.filter((one) => {
      if (!(asked && which === "attention") && !KINDS[which](one)) return false;
      const text = `${one.name} ${one.person} ${one.team} ${one.device}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    found.sort((a, b) => severity(b) - severity(a) || a.name.localeCompare(b.name) || (a.device < b.device ? -1 : 1));
    const shown = found.slice(0, this.#most);
    const wanted = new Set(shown.map((one) => one.device));
    for (const id of this.#rows.keys()) if (!wanted.has(id)) this.#rows.delete(id);
    arrange(this.#part("devices"), shown.map((one) => this.#row(one)));
    this.#part("devices").closest(".wide").hidden = shown.length === 0;
    this.#count(all);
    const rest = found.length - shown.length;
    this.#part("more-devices").hidden = rest === 0;
    this.#part("device-words").textContent =
      found.length === 0 ? { attention: "No device needs a look." }[asked ? "" : which] ?? "No device is like that." : rest ? `${shown.length} of ${found.length.toLocaleString()} shown.` : "";
  }

  #row(one) {
    let row = this.#rows.get(one.device);
    if (row === undefined) {
      const node = element("tr");
      row = { node, slot: new Slot(node) };
      this.#rows.set(one.device, row);
    }
    row.slot.show(one, () => cells(one));
    return row.node;
  }

  #count(all) {
    const counts = [
      ["good", "in contact", all.filter((one) => one.link === "in contact").length],
      ["warn", "silent", all.filter((one) => one.link === "silent").length],
      ["over", "never heard", all.filter((one) => one.link === "never heard").length],
      ["bad", "lost", all.filter((one) => one.state === "lost").length],
      ["good", "recording", all.filter((one) => one.recording).length],
      ["warn", `below ${LOW_PERCENT} %`, all.filter(low).length],
    ].filter(([, , count], index) => count || index === 0);
    const unsent = all.reduce((sum, one) => sum + (one.unsent_clips ?? 0), 0);
    const made = counts.map(([tone, name, count]) => element("span", { class: `state is-${tone}` }, `${count.toLocaleString()} ${name}`));
    if (unsent) made.push(element("span", {}, `${unsent.toLocaleString()} clips unsent`));
    this.#part("device-counts").replaceChildren(...made);
  }
}

const KINDS = {
  attention: (one) => severity(one) > 0,
  all: () => true,
  recording: (one) => one.recording,
  unsent: (one) => one.unsent_clips > 0,
  silent: (one) => one.link !== "in contact",
};

function low(one) {
  return one.battery_percent !== null && one.battery_percent < LOW_PERCENT && one.link === "in contact";
}

/** How much a device needs a look; 0 = not. */
function severity(one) {
  if (one.state === "lost") return one.link === "in contact" ? 7 : 5;
  if (one.blocked) return 6;
  if (one.storage_full) return 4;
  if (one.link === "silent") return 3;
  if (low(one)) return 2;
  return one.update_step === "failed" || one.update_step === "rolled_back" ? 1 : 0;
}

function statesOf(one) {
  const states = [];
  const add = (tone, words) => states.push(element("span", { class: `state is-${tone}` }, words));
  if (one.state !== "active") add("bad", one.state);
  if (one.link === "silent") add("warn", "silent");
  if (one.link === "never heard") add("over", "never heard");
  if (one.blocked) add("bad", "blocked");
  if (one.storage_full) add("bad", "storage full");
  if (one.cut_off) add("bad", "cut off");
  if (one.recording) add("good", "recording");
  if (!states.length) add("good", "in contact");
  return states;
}

function cells(one) {
  const battery = one.battery_percent;
  const minutes = one.battery_minutes ? `, ${Math.floor(one.battery_minutes / 60)} h ${one.battery_minutes % 60} min` : "";
  const power = battery === null ? "–" : element("span", low(one) ? { class: "state is-warn" } : {}, `${battery} %${minutes}`);
  const cell = (label, ...children) => element("td", { "data-label": label }, ...children);
  return [
    element("th", { scope: "row", title: one.device }, one.name || one.device),
    cell("Person", one.person || "–", one.team ? element("span", { class: "quiet" }, ` ${one.team}`) : null),
    element("td", { "data-label": "State", class: "states" }, ...statesOf(one)),
    cell("Battery", power),
    cell("Heard of", one.contact ? since(one.contact, "ago") : "never"),
    element("td", { "data-label": "Unsent clips", class: "number" }, one.unsent_clips ? String(one.unsent_clips) : "–"),
  ];
}
