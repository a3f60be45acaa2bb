// Asks insight. The session goes in a header and is kept for this origin only, its port included:
// a cookie would go to every port of this host.

const KEY = "headrace-session";

/** An answer that is no answer. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** The JSON at `path`; raises Refused, with status 0 when insight was not reached. */
export async function ask(path) {
  return sent("GET", path, `Session ${localStorage.getItem(KEY) ?? ""}`);
}

/** Exchanges a token, or the secret of a link, for a session. */
export async function enter(scheme, secret) {
  const { session } = await sent("POST", "/session", `${scheme} ${secret}`);
  localStorage.setItem(KEY, session);
}

/** Ends the session. */
export async function leave() {
  const session = localStorage.getItem(KEY);
  localStorage.removeItem(KEY);
  if (session) await sent("POST", "/session/end", `Session ${session}`);
}

/** Whether there is a session, as far as this page knows. */
export function entered() {
  return localStorage.getItem(KEY) !== null;
}

async function sent(method, path, authorization) {
  let answer;
  try {
    answer = await fetch(path, { method, headers: { authorization }, cache: "no-store" });
  } catch {
    throw new Refused(0, "insight was not reached");
  }
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, document.error ?? answer.statusText);
  return document;
}
