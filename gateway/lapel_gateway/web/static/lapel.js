// What the scripts of several pages share. No page needs one to be read, and every form works without.

const formToken = document.querySelector('meta[name="form-token"]')?.content ?? "";

/** What the gateway refused: its words, and the status of its answer (0: it did not answer). */
export class Refused extends Error {
  constructor(words, status) {
    super(words);
    this.status = status;
  }
}

/** The problem details of an answer (RFC 9457) in words. */
async function wordsOf(response) {
  try {
    const problem = await response.json();
    return problem.detail || problem.title || response.statusText;
  } catch {
    return response.statusText || `status ${response.status}`;
  }
}

/** Ask the API; JSON of the answer, or null where it has none. Throws Refused. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-Form-Token"] = formToken;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The gateway does not answer.", 0);
  }
  if (response.status === 401) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
    throw new Refused("You are not logged in any more.", 401);
  }
  if (!response.ok) throw new Refused(await wordsOf(response), response.status);
  return response.status === 204 ? null : response.json();
}

/** An element: its name, attributes (a value of null or false: none; true: without a value), and what is in it. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A length of time in seconds as people say it: 45 s, 3 min, 2 h 5 min, 3 d 4 h. */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}
