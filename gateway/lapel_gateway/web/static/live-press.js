// While something is pressed the page holds still: what moves away from under a finger, because an alarm came in above
// it, makes no click of that press, and an "Acknowledge" would be lost without a word.

const STILL_MS = 1_000; // however long it is pressed: nobody's finger keeps an alarm from being shown
const AFTER_MS = 60; // the click comes after the pointer has gone up

export class Press {
  #since = null;
  #timer = 0;
  #over;

  /** `over()` is called once the page need not hold still any more. */
  constructor(over) {
    this.#over = over;
    const listen = (kind, does) => document.addEventListener(kind, does, { capture: true, passive: true });
    listen("pointerdown", () => {
      this.#since = performance.now();
      this.#endIn(STILL_MS);
    });
    for (const kind of ["pointerup", "pointercancel"]) {
      listen(kind, () => {
        if (this.holds) this.#endIn(AFTER_MS);
      });
    }
  }

  get holds() {
    return this.#since !== null && performance.now() - this.#since < STILL_MS;
  }

  #endIn(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#since = null;
      this.#over();
    }, ms);
  }
}
