// Whether this page is still one of the gateway's own: one that stayed open over an update has scripts of before it.
// Rules that hold here
// - It is asked for whenever the stream was opened anew, as it is after every start of the gateway.
// - A page that sounds, or that somebody writes in, is not loaded again without being asked: a browser keeps a new page
//   silent until it is pressed. It says that it is to be. One that makes no sound loses none, and loads itself again,
//   once in a while at most.

const KEPT = "lapel-live-loaded";
const SELDOM_MS = 600_000;

export class Edition {
  outdated = false;
  #own;

  constructor(own) {
    this.#own = own;
  }

  async look() {
    try {
      const answer = await fetch(new URL("edition.txt", import.meta.url), { cache: "no-store" });
      if (answer.ok) this.outdated = (await answer.text()).trim() !== this.#own;
    } catch {
      // It is asked for again when the stream is.
    }
  }

  /** Load the page again, if it may do so by itself; `silent`: it makes no sound, whatever happens. */
  renew(silent) {
    if (!this.outdated || !silent || isWrittenIn()) return;
    try {
      const last = Number(sessionStorage.getItem(KEPT));
      if (Date.now() - last < SELDOM_MS) return;
      sessionStorage.setItem(KEPT, String(Date.now()));
    } catch {
      return; // Without a memory it might load again for ever.
    }
    location.reload();
  }
}

function isWrittenIn() {
  const fields = [...document.querySelectorAll("input, textarea")];
  return document.activeElement?.matches("input, textarea, select") || fields.some((one) => one.value !== one.defaultValue);
}
