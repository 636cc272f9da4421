// The newest picture of an alarm's clip while it comes in, asked for once a second as long as somebody looks at it.
// A picture is drawn, not linked to: what was seen is kept by no cache, and an answer that says why there is none is read.

import { element } from "./lapel.js";
import { progress } from "./live-gateway.js";
import { clock } from "./live-times.js";

const EVERY_MS = 1_000;
const SELDOM_MS = 10_000; // once a clip is here whole, or where it cannot be seen
const MOST_SLOWER = 8; // with many pictures on a page; above it the gateway would think that nobody looks any more
const COMING = ["open", "ended", "cut", "held"];

export class Pictures {
  #page;
  #shown = new Map();

  constructor(page) {
    this.#page = page;
  }

  /** What an alarm's card shows of its clip; null where it has none. */
  of(alarm) {
    const id = alarm.clip?.id ?? alarm.clip_id;
    if (!id) return null;
    const key = `${alarm.id} ${id}`; // two alarms may name one clip
    let picture = this.#shown.get(key);
    if (picture === undefined) {
      picture = new Picture(id, this.#page);
      this.#shown.set(key, picture);
    }
    return picture.show(alarm);
  }

  /** To be called several times a second. */
  look(live) {
    for (const [key, picture] of this.#shown) {
      if (!picture.node.isConnected) this.#shown.delete(key);
      else if (!live.away && !document.hidden) picture.look(Math.min(MOST_SLOWER, Math.max(1, this.#shown.size / 2)));
    }
  }
}

class Picture {
  #path;
  #page;
  #canvas = element("canvas", { hidden: true, role: "img" });
  #words = element("p", { class: "quiet" });
  #bar = element("p", { class: "clip-bar" });
  #etag = "";
  #next = 0;
  #known = false; // whether anything of the clip is here: before, there is no such clip for anybody
  #whole = false;
  #refused = false;
  #asking = false;
  #who = "";
  #shown = ""; // when the picture on the canvas was drawn; empty while there is none

  constructor(id, page) {
    this.#path = `/api/v1/clips/${encodeURIComponent(id)}/picture`;
    this.#page = page;
    const link = page.clips ? element("p", { class: "links" }, element("a", { href: `/clips/${encodeURIComponent(id)}` }, "The clip")) : null;
    this.node = element("div", {}, element("h4", {}, "Clip"), element("div", { class: "live-picture" }, this.#canvas, this.#words), this.#bar);
    if (link) this.node.append(link);
    if (!page.plays) this.#words.textContent = "";
  }

  show(alarm) {
    this.#who = alarm.person || "";
    if (alarm.clip) this.#bar.replaceChildren(...progress(alarm.clip));
    else this.#bar.replaceChildren("Announced; nothing of it is here yet.");
    this.#known = Boolean(alarm.clip);
    this.#whole = this.#known && !COMING.includes(alarm.clip.state);
    return this.node;
  }

  /** Ask, when it is time; with many pictures on a page each is asked for less often. */
  async look(slower) {
    if (!this.#page.plays || this.#asking || performance.now() < this.#next) return;
    this.#asking = true;
    // The gateway opens a clip while it is asked for: whoever asked seldom once must not go on so when it comes in.
    this.#next = performance.now() + (this.#whole || this.#refused ? SELDOM_MS : EVERY_MS) * slower;
    try {
      const headers = this.#etag ? { "If-None-Match": this.#etag } : {};
      const response = await fetch(this.#path, { headers, cache: "no-store" });
      const early = response.status === 404 && !this.#known;
      this.#refused = response.status >= 400 && response.status < 500 && !early;
      if (response.status === 200) await this.#draw(response);
      else if (this.#refused) this.#words.textContent = response.status === 404 ? "You may not see this clip." : sentence((await response.json()).detail);
      else if (response.status === 204 && this.#canvas.hidden) {
        this.#words.textContent = "No picture is here yet.";
      }
    } catch {
      // The gateway is away: the page says so.
    } finally {
      this.#asking = false;
    }
  }

  async #draw(response) {
    const content = await response.blob();
    let bitmap;
    try {
      bitmap = await createImageBitmap(content);
    } catch {
      // The canvas keeps the picture before, if there was one, which is not the newest any more.
      if (this.#shown) this.#say("Picture", `The newest picture cannot be drawn; this one was shown at ${this.#shown}.`);
      else this.#words.textContent = "The newest picture cannot be drawn.";
      return;
    }
    this.#canvas.width = bitmap.width;
    this.#canvas.height = bitmap.height;
    this.#canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    this.#etag = response.headers.get("ETag") ?? "";
    this.#canvas.hidden = false;
    this.#shown = clock(this.#page.live.nowMs);
    this.#say("Newest picture", `Newest picture, shown at ${this.#shown}.`);
  }

  /** What the canvas is to those who do not see it, and the words below it. */
  #say(what, words) {
    this.#canvas.setAttribute("aria-label", `${what}, shown at ${this.#shown}${this.#who ? `, of ${this.#who}'s clip` : ""}`);
    this.#words.textContent = words;
  }
}

function sentence(words) {
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}
