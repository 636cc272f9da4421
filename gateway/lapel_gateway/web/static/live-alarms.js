// The open alarms: who needs help, where, since when, who knows, and what is to be done.

import { ask, element, Refused } from "./lapel.js";
import { arrange, Slot } from "./live-rows.js";
import { sketch } from "./live-sketch.js";
import { clock, since, stopwatch, timeElement, until } from "./live-times.js";

const TOLD = {
  waiting: ["warn", "being told"],
  delivering: ["warn", "being told"],
  delivered: ["good", "told"],
  refused: ["bad", "could not be told"],
  failed: ["bad", "could not be told"],
  withdrawn: ["over", "not needed any more"],
};

export class Alarms {
  #root;
  #page;
  #cards = new Map();
  #known = null;

  /** `root`: the page's frame; `page`: what it knows (kinds, technical, me, announce, picture, live). */
  constructor(root, page) {
    this.#root = root;
    this.#page = page;
    this.part("alarms").replaceChildren();
    root.addEventListener("submit", (event) => this.#send(event));
  }

  part(name) {
    return this.#root.querySelector(`[data-part="${name}"]`);
  }

  /** What is unanswered: {alarms, notices}; notices are drills and what is wrong with the gateway alone. */
  get unanswered() {
    const open = Object.values(this.#page.live.section("alarms")).filter((alarm) => !alarm.acknowledged);
    const alarms = open.filter((alarm) => this.tone(alarm) === "urgent").length;
    return { alarms, notices: open.length - alarms };
  }

  tone(alarm) {
    if (alarm.acknowledged) return "answered";
    if (alarm.test) return "drill";
    return this.#page.technical.has(alarm.kind) ? "technical" : "urgent";
  }

  kind(alarm) {
    return this.#page.kinds[alarm.kind] ?? alarm.kind.replaceAll("_", " ");
  }

  /** Show the alarms as they are now. */
  show() {
    const alarms = this.#page.live.section("alarms");
    for (const id of this.#cards.keys()) if (!(id in alarms)) this.#cards.delete(id);
    for (const [id, alarm] of Object.entries(alarms)) {
      let card = this.#cards.get(id);
      if (card === undefined) {
        card = new Card(this.part("alarm"), id, this.#page);
        this.#cards.set(id, card);
      }
      card.show(alarm, this.tone(alarm), this.kind(alarm));
    }
    this.#announce(alarms);
    const order = ["urgent", "technical", "drill", "answered"];
    const sorted = Object.values(alarms).sort(
      (a, b) => order.indexOf(this.tone(a)) - order.indexOf(this.tone(b)) || b.received.ms - a.received.ms || (a.id < b.id ? -1 : 1),
    );
    arrange(this.part("alarms"), sorted.map((alarm) => this.#cards.get(alarm.id).node));
    this.part("no-alarms").hidden = sorted.length > 0 || !this.#page.live.begun;
    const more = this.#page.live.section("more").alarms ?? 0;
    this.part("more-alarms").textContent = more ? `and ${more} more` : "";
  }

  #announce(alarms) {
    const before = this.#known;
    this.#known = new Map(Object.entries(alarms));
    if (before === null) {
      const { alarms: urgent, notices } = this.unanswered;
      if (urgent + notices) this.#page.announce(`${urgent + notices} alarms wait for an answer.`);
      return;
    }
    for (const [id, alarm] of this.#known) {
      const was = before.get(id);
      const name = `${this.kind(alarm)}${alarm.test ? ", a drill" : ""}, ${whoOf(alarm)}`;
      if (was === undefined && !alarm.acknowledged) this.#page.announce(`New alarm: ${name}.`);
      else if (was && !was.acknowledged && alarm.acknowledged) this.#page.announce(`${name}: acknowledged by ${alarm.acknowledged.by}.`);
      else if (was && !was.cancelled_by_wearer && alarm.cancelled_by_wearer) this.#page.announce(`${name}: cancelled by its wearer.`);
    }
    for (const [id, was] of before) if (!this.#known.has(id)) this.#page.announce(`${this.kind(was)}, ${whoOf(was)}: over.`);
  }

  /** An answer without leaving the page; the form itself does the same without a script. */
  async #send(event) {
    const form = event.target;
    const what = form.dataset.do;
    if (!what) return;
    event.preventDefault();
    const node = form.closest("[data-alarm]");
    const said = node.querySelector('[data-slot="said"]');
    const button = form.querySelector("button");
    const fields = new FormData(form);
    const body = { resolve: { reason: fields.get("reason"), note: fields.get("note") ?? "" }, notes: { note: fields.get("note") } }[what];
    button.disabled = true;
    said.replaceChildren();
    try {
      await ask(`/api/v1/alarms/${encodeURIComponent(node.dataset.alarm)}/${what}`, { method: "POST", body });
      if (what !== "acknowledge") {
        form.reset();
        form.closest("details").open = false;
      }
      // The button that was pressed is about to go; whoever uses the keyboard stays with the alarm.
      if (node.isConnected) node.focus({ preventScroll: true });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      said.append(element("span", { class: "bad" }, `${error.message[0].toUpperCase()}${error.message.slice(1)}.`.replace("..", ".")));
    } finally {
      button.disabled = false;
    }
  }
}

export function whoOf(alarm) {
  return alarm.person || alarm.about || "nobody known";
}

class Card {
  #page;
  #slots = {};
  #id;
  #ackForm;
  #log;

  constructor(template, id, page) {
    this.#page = page;
    this.#id = id;
    this.node = template.content.firstElementChild.cloneNode(true);
    this.node.dataset.alarm = id;
    for (const slot of this.node.querySelectorAll("[data-slot]")) {
      if (slot.dataset.slot !== "said" && slot.dataset.slot !== "log") this.#slots[slot.dataset.slot] = new Slot(slot);
    }
    for (const form of this.node.querySelectorAll("form[data-do]")) {
      form.action = `/live/alarms/${encodeURIComponent(id)}/${form.dataset.do}`;
      if (form.dataset.do === "acknowledge") this.#ackForm = form;
    }
    this.#log = this.node.querySelector('[data-part="log"]');
    this.#log.hidden = false;
    this.#log.addEventListener("toggle", () => this.#showLog());
  }

  show(alarm, tone, kind) {
    const node = this.node;
    node.className = `alarm is-${tone}`;
    node.setAttribute("aria-label", `${kind}${alarm.test ? ", drill" : ""}, ${whoOf(alarm)}`);
    if (this.#ackForm) this.#ackForm.hidden = Boolean(alarm.acknowledged);
    const slot = (name, words, make) => this.#slots[name].show(words, make);
    slot("kind", [kind, alarm.test, alarm.cancelled_by_wearer], () => [
      kind,
      alarm.test && element("span", { class: "tag" }, "Drill"),
      alarm.cancelled_by_wearer && element("span", { class: "tag" }, "Cancelled by its wearer"),
    ].filter(Boolean));
    slot("who", whoOf(alarm), () => whoOf(alarm));
    const device = alarm.device ? this.#page.deviceName(alarm.device) : "";
    const battery = alarm.battery_percent === null ? "" : `battery ${alarm.battery_percent} % then`;
    const lost = alarm.device_state && alarm.device_state !== "active" ? `device ${alarm.device_state}` : "";
    const about = [alarm.team, device, lost, battery, alarm.person ? alarm.about : "", alarm.detail].filter(Boolean).join(" · ");
    slot("about", about, () => about);
    slot("age", alarm.received, () => [since(alarm.received), element("span", { class: "alarm-clock" }, `since ${clock(alarm.received.ms)}`)]);
    slot("todo", alarm.todo, () => alarm.todo);
    slot("state", [alarm.acknowledged, alarm.escalation], () => stateOf(alarm));
    slot("call", alarm.phone, () => alarm.phone && element("a", { class: "button plain", href: telOf(alarm.phone) }, `Call ${alarm.phone}`));
    slot("where", alarm.where, () => whereOf(alarm));
    slot("told", [alarm.told, alarm.notes], () => [...toldOf(alarm), ...notesOf(alarm)]);
    slot("picture", [alarm.clip, alarm.clip_id], () => this.#page.picture(alarm));
    if (this.#log.open) this.#showLog();
  }

  async #showLog() {
    if (!this.#log.open) return;
    const into = this.#log.querySelector('[data-slot="log"]');
    try {
      const whole = await ask(`/api/v1/alarms/${encodeURIComponent(this.#id)}`);
      const lines = whole.log.map((one) =>
        element("li", {}, timeElement(one.at, clock(one.at.ms)), ` ${one.step} – ${one.who}${one.detail ? `: ${one.detail}` : ""}`),
      );
      into.replaceChildren(element("ol", { class: "log" }, ...lines));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      into.replaceChildren(element("p", { class: "bad" }, error.message));
    }
  }
}

function stateOf(alarm) {
  if (alarm.acknowledged) {
    return [element("span", { class: "state is-good" }, `Acknowledged by ${alarm.acknowledged.by}`), " at ", timeElement(alarm.acknowledged)];
  }
  const escalation = alarm.escalation;
  if (!escalation) return [element("span", { class: "state is-warn" }, "Nobody is being called: no policy takes it")];
  const stage = escalation.stage ?? "nobody called yet";
  const made = [element("span", {}, `Policy ${escalation.policy}: ${stage}`)];
  if (escalation.next_step) made.push(" · ", until(escalation.next_step, "next step in", "next step due for"));
  return made;
}

function whereOf(alarm) {
  const { place, position, trail } = alarm.where;
  if (!place && !position) return [element("h4", {}, "Where"), element("p", { class: "quiet" }, "Not known: no position was sent, and no visit runs.")];
  const made = [element("h4", {}, "Where")];
  if (place) made.push(element("p", { class: "place" }, place));
  if (!position) return [...made, element("p", { class: "quiet" }, "No position was sent: this is the visit's place.")];
  const { latitude, longitude, accuracy_m: accuracy } = position;
  const near = accuracy === null ? "accuracy not known" : `${accuracy} m near`;
  const degrees = `${latitude.toFixed(5)}, ${longitude.toFixed(5)}`;
  const earlier = trail.length ? `, and ${trail.length} earlier ones` : "";
  const label = `Sketch, north up: position ${degrees}, ${near}${earlier}${place ? `; visit at ${place}` : ""}`;
  const geo = `geo:${latitude},${longitude}${accuracy === null ? "" : `;u=${accuracy}`}`;
  const map = `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}#map=17/${latitude}/${longitude}`;
  return [
    ...made,
    sketch(position, trail, label),
    element("p", {}, element("span", { class: "number" }, degrees), ` · ${near} · `, since(position.measured, "old")),
    element("p", { class: "links" }, element("a", { href: geo }, "Open in a map app"),
      element("a", { href: map, target: "_blank", rel: "noreferrer noopener" }, "OpenStreetMap (another site)")),
  ];
}

function toldOf(alarm) {
  const made = [element("h4", {}, "Who was told")];
  if (!alarm.told.length) return [...made, element("p", { class: "quiet" }, "Nobody yet.")];
  const lines = alarm.told.map((one) => {
    const [tone, words] = TOLD[one.state] ?? ["warn", one.state];
    const took = one.done && one.asked ? ` after ${stopwatch(one.done.ms - one.asked.ms)}` : "";
    const trouble = one.state !== "delivered" && one.error ? element("span", { class: "quiet" }, ` ${one.error}`) : null;
    return element("li", {}, element("span", { class: `state is-${tone}` }, one.person ?? one.channel), ` ${words}${took}`,
      element("span", { class: "quiet" }, one.person ? ` (${one.channel})` : ""), trouble);
  });
  return [...made, element("ul", { class: "told" }, ...lines)];
}

function notesOf(alarm) {
  if (!alarm.notes.length) return [];
  const lines = alarm.notes.map((one) => element("li", {}, element("strong", {}, one.who), " ", timeElement(one.at), element("br"), one.note));
  return [element("h4", {}, "Notes"), element("ul", { class: "notes" }, ...lines)];
}

function telOf(phone) {
  return `tel:${phone.replace(/[^+0-9*#]/g, "")}`;
}
