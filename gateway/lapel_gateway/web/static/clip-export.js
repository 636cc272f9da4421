// An export that is being made: its card changes as soon as it is ready, without a load of the page, which would stop the
// player. What is shown is the page's own word, asked for again.

const PLACE = "exports";
const AGAIN_MS = 2000;
const LATER_MS = 30000;
const PATIENT_AFTER = 30;

let asked = 0;

function waits() {
  return document.querySelector(`#${PLACE} [data-waits]`) !== null;
}

async function look() {
  try {
    const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById(PLACE);
    const shown = document.getElementById(PLACE);
    if (fresh === null || shown.contains(document.activeElement) || fresh.innerHTML === shown.innerHTML) return;
    shown.replaceChildren(...fresh.childNodes);
  } catch {
    // The gateway cannot be reached: the next look tells.
  }
}

async function watch() {
  while (waits()) {
    asked += 1;
    await new Promise((done) => setTimeout(done, asked > PATIENT_AFTER ? LATER_MS : AGAIN_MS));
    if (!document.hidden) await look();
  }
}

watch();
