// The visits that run, those first whose deadline is next, and the plans of a day ahead.

import { element } from "./lapel.js";
import { arrange, Slot } from "./live-rows.js";
import { clock, since, until } from "./live-times.js";

export class Visits {
  #list;
  #none;
  #live;
  #rows = new Map();

  constructor(root, live) {
    this.#list = root.querySelector('[data-part="visits"]');
    this.#none = root.querySelector('[data-part="no-visits"]');
    this.#live = live;
    this.#list.replaceChildren();
  }

  show() {
    const visits = this.#live.section("visits");
    for (const number of this.#rows.keys()) if (!(number in visits)) this.#rows.delete(number);
    for (const [number, visit] of Object.entries(visits)) {
      let row = this.#rows.get(number);
      if (row === undefined) {
        const node = element("li", { class: "visit" });
        row = { node, slot: new Slot(node) };
        this.#rows.set(number, row);
      }
      const tone = toneOf(visit);
      row.node.className = `visit is-${tone}`;
      row.slot.show(visit, () => describe(visit, tone));
    }
    const sorted = Object.values(visits).sort((a, b) => rank(a) - rank(b) || whenOf(a) - whenOf(b) || a.id - b.id);
    arrange(this.#list, sorted.map((visit) => this.#rows.get(String(visit.id)).node));
    this.#none.hidden = sorted.length > 0 || !this.#live.begun;
  }
}

function toneOf(visit) {
  if (visit.state === "planned") return "over";
  return visit.late ? "bad" : visit.state === "amber" ? "warn" : "good";
}

function rank(visit) {
  return visit.late ? 0 : visit.state === "planned" ? 2 : 1;
}

function whenOf(visit) {
  return (visit.deadline ?? visit.planned ?? visit.made).ms;
}

function describe(visit, tone) {
  const word = visit.late ? "overdue" : { active: "on a visit", amber: "time is nearly up", planned: "planned" }[visit.state] ?? visit.state;
  const timers = [];
  const add = (timer) => timers.push(element("li", {}, timer));
  if (visit.state === "planned") {
    if (visit.planned) add(until(visit.planned, "begins in", "should have begun"));
  } else {
    if (visit.next_check_in) add(until(visit.next_check_in, "check-in due in", "check-in missed for"));
    if (visit.due) add(until(visit.due, "to end in", "should have ended"));
    if (visit.late && visit.deadline) add(until(visit.deadline, "deadline in", "overdue for"));
    if (visit.contact) add(element("span", { class: "quiet" }, "device heard of ", since(visit.contact, "ago")));
  }
  return [
    element("p", { class: "visit-who" }, element("strong", {}, visit.person), " ", element("span", { class: `state is-${tone}` }, word)),
    element("p", { class: "visit-place" }, visit.place, visit.purpose ? element("span", { class: "quiet" }, ` – ${visit.purpose}`) : null),
    element("ul", { class: "timers" }, ...timers),
    visit.contact_lost && visit.state !== "planned" ? element("p", {}, element("span", { class: "state is-bad" }, `No contact since ${clock(visit.contact_lost.ms)}`)) : null,
    element("p", { class: "quiet" }, [visit.team, visit.buddy && `buddy ${visit.buddy}`, visit.present && `with ${visit.present}`].filter(Boolean).join(" · "),
      visit.phone ? element("a", { href: `tel:${visit.phone.replace(/[^+0-9*#]/g, "")}` }, ` ${visit.phone}`) : null),
    visit.risk ? element("p", { class: "visit-risk" }, element("span", { class: "state is-warn" }, "Risk"), ` ${visit.risk}`) : null,
  ];
}
