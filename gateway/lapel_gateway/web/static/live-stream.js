// The picture of now as it is told: the sections, kept up to date, and whether they still hold.
// Rules that hold here
// - What is known holds as long as something is heard at least every AWAY_MS; then it is old, and said to be.
// - The time is the gateway's, as it last told it, and what has passed here since. It stands still while nothing is heard.
// - It comes back by itself, whatever ended it.

const AWAY_MS = 4_000; // with the time that it takes to draw, a silence is told within five seconds
const OPEN_AGAIN_MS = 3_000;

export class Live {
  sections = {};
  trouble = "";
  loggedOut = false;
  #source = null;
  #path;
  #changed;
  #opened;
  #openedAt = 0;
  #heardAt = null;
  #toldMs = 0;
  #whole = false;

  /** `changed({section: {key: words or null}})` is called with every change, `opened()` when the stream is open (again). */
  constructor(path, changed, opened) {
    this.#path = path;
    this.#changed = changed;
    this.#opened = opened;
    this.#open();
  }

  /** Whether what is known does not hold (any more), or nothing is known yet. */
  get away() {
    return !this.#whole || this.trouble !== "" || this.silentMs > AWAY_MS;
  }

  get silentMs() {
    return this.#heardAt === null ? performance.now() : performance.now() - this.#heardAt;
  }

  /** Whether there has been anything to show. */
  get begun() {
    return this.#whole;
  }

  /** The gateway's time in Unix milliseconds; while away, that of what is shown. */
  get nowMs() {
    return this.away ? this.#toldMs : this.#toldMs + (performance.now() - this.#heardAt);
  }

  section(name) {
    return this.sections[name] ?? {};
  }

  /** To be called several times a second: opens the stream again where it has ended for good, or hangs. */
  watch() {
    if (this.silentMs > AWAY_MS && performance.now() - this.#openedAt > OPEN_AGAIN_MS) this.#open();
  }

  #open() {
    this.#source?.close();
    this.#openedAt = performance.now();
    const source = (this.#source = new EventSource(this.#path));
    for (const kind of ["snapshot", "change", "beat", "reload"]) {
      source.addEventListener(kind, (event) => this.#hear(kind, JSON.parse(event.data)));
    }
    source.addEventListener("open", () => this.#opened());
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) this.#askWhy();
    });
  }

  /** A browser does not say with what status a stream was refused. */
  async #askWhy() {
    try {
      const response = await fetch("/api/v1/me", { headers: { Accept: "application/json" } });
      this.loggedOut = response.status === 401;
    } catch {
      this.loggedOut = false;
    }
  }

  #hear(kind, words) {
    this.#heardAt = performance.now();
    this.loggedOut = false;
    if (words.time) this.#toldMs = words.time.ms;
    if (kind === "beat") {
      this.trouble = words.trouble ?? "";
    } else if (kind === "snapshot") {
      this.trouble = "";
      const { cursor, time, ...sections } = words;
      const before = this.sections;
      this.sections = sections;
      this.#whole = true;
      this.#changed(Object.fromEntries(Object.keys(sections).map((name) => [name, difference(before[name] ?? {}, sections[name])])));
    } else if (kind === "change") {
      this.trouble = "";
      for (const [name, changes] of Object.entries(words.changed)) {
        const section = (this.sections[name] ??= {});
        for (const [key, now] of Object.entries(changes)) {
          if (now === null) delete section[key];
          // Of what is here already only the fields that changed are told.
          else section[key] = key in section && typeof now === "object" ? { ...section[key], ...now } : now;
        }
      }
      this.#changed(words.changed);
    }
  }
}

function difference(before, now) {
  const changes = { ...now };
  for (const key of Object.keys(before)) if (!(key in now)) changes[key] = null;
  return changes;
}
