// The sounds of the page, made here: they go on until everything is acknowledged.
// Rules that hold here
// - A browser lets no page sound before somebody has pressed something in it: until then the page says that it is silent.
// - What the page says of its sound changes once a press is over, never during it: the words are of another length, and
//   what lay under the pointer would move away from it, so that the press of a button were no click.
// - Whether sound is wanted is remembered in this browser; it is, unless somebody has turned it off.

const KEPT = "lapel-live-sound";

/** [frequency in Hz, beginning and length in s] of each tone of a call, and s from one call to the next. */
const CALLS = {
  alarm: { tones: [[880, 0, 0.16], [1175, 0.2, 0.16], [880, 0.4, 0.16], [1175, 0.6, 0.3]], every: 1.8, volume: 0.5 },
  notice: { tones: [[660, 0, 0.18], [550, 0.24, 0.24]], every: 6, volume: 0.25 },
  away: { tones: [[330, 0, 0.3], [247, 0.34, 0.45]], every: 8, volume: 0.3 },
};

export class Sound {
  #context = null;
  #call = "";
  #timer = 0;
  #told;

  /** `told()` is called when `state` may have changed. */
  constructor(told) {
    this.#told = told;
    this.wanted = remembered() !== "off";
    if (typeof AudioContext === "undefined") return;
    this.#context = new AudioContext();
    this.#context.addEventListener("statechange", () => this.#told());
    const wake = () => this.#wake();
    for (const kind of ["click", "keydown"]) document.addEventListener(kind, wake, { capture: true, passive: true });
  }

  /** none: this browser has no sound; off: not wanted; blocked: the browser keeps it silent; ready; or the name of the call that sounds. */
  get state() {
    if (this.#context === null) return "none";
    if (!this.wanted) return "off";
    if (this.#context.state !== "running") return "blocked";
    return this.#call || "ready";
  }

  /** Let a call sound, again and again; "" for none. */
  call(name) {
    if (name === this.#call) return;
    this.#call = name;
    clearInterval(this.#timer);
    if (name) {
      this.#sound();
      this.#timer = setInterval(() => this.#sound(), CALLS[name].every * 1000);
    }
    this.#told();
  }

  /** Somebody turns it on or off; turned on it is heard at once. */
  turn(on) {
    this.wanted = on;
    try {
      localStorage.setItem(KEPT, on ? "on" : "off");
    } catch {
      // A browser that keeps nothing asks again next time.
    }
    if (on) {
      this.#wake().then(() => (this.#call ? undefined : this.#play(CALLS.notice)));
    }
    this.#told();
  }

  async #wake() {
    if (this.wanted && this.#context?.state === "suspended") {
      await this.#context.resume();
      this.#told();
    }
  }

  #sound() {
    if (this.state === this.#call) this.#play(CALLS[this.#call]);
  }

  #play({ tones, volume }) {
    if (this.#context?.state !== "running") return;
    const start = this.#context.currentTime + 0.02;
    for (const [frequency, at, length] of tones) {
      const tone = new OscillatorNode(this.#context, { type: "triangle", frequency });
      const gain = new GainNode(this.#context, { gain: 0 });
      gain.gain.setValueAtTime(0, start + at);
      gain.gain.linearRampToValueAtTime(volume, start + at + 0.015);
      gain.gain.setValueAtTime(volume, start + at + length - 0.03);
      gain.gain.linearRampToValueAtTime(0, start + at + length);
      tone.connect(gain).connect(this.#context.destination);
      tone.start(start + at);
      tone.stop(start + at + length);
    }
  }
}

function remembered() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}
