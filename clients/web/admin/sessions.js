/** Who is connected: a page of `GET /sessions`, kept up to date by `$sys.sessions`. */

import { count, element } from "../page.js";

const ROWS_MAX = 200;

const $ = (id) => document.getElementById(id);

export class Sessions {
  #hub;
  #token;
  #known = new Map(); // session id -> row
  #outcome = "";
  #user = "";
  #next = null;

  constructor(hub, token) {
    this.#hub = hub;
    this.#token = token;
    $("find").onsubmit = (event) => {
      event.preventDefault();
      this.#user = $("user").value.trim();
      this.#list();
    };
    $("more").onclick = () => this.#list(this.#next);
  }

  start() {
    this.#follow(this.#hub.subscribe("$sys.sessions"));
    this.#list();
  }

  async #follow(subscription) {
    try {
      for await (const { data } of subscription) this.#news(data);
    } catch (error) {
      this.#tell(`Not kept up to date: ${error.message}`);
    }
  }

  async #list(after = null) {
    const query = new URLSearchParams({ limit: "100" });
    if (after) query.set("after", after);
    if (this.#user) query.set("user", this.#user);
    if (!after) this.#clear();
    try {
      const answer = await this.#ask("GET", `../sessions?${query}`);
      if (!answer.ok) throw new Error(await detailOf(answer));
      const page = await answer.json();
      for (const session of page.sessions) this.#show(session);
      this.#next = page.next ?? null;
      $("more").hidden = !this.#next;
      this.#tell();
    } catch (error) {
      this.#tell(`Not listed: ${error.message}`);
    }
  }

  #news({ connected, identified, ended, omitted }) {
    // A row that says it all already stays, and with it a button that has asked whether one is sure.
    const come = connected.filter(({ session }) => !this.#known.has(session));
    const named = identified.filter(({ session, user }) => this.#known.get(session)?.dataset.user !== String(user));
    for (const session of [...come, ...named]) {
      if (!this.#user || session.user === this.#user) this.#show(session);
    }
    for (const { session } of ended) this.#forget(session);
    this.#sum(omitted ? `and ${count(omitted, "change")} more than are told` : "");
  }

  #show({ session, user, protocol, address, age_ms, since_ms = Date.now() - age_ms }) {
    this.#forget(session);
    if (this.#known.size >= ROWS_MAX) return;
    const mine = session === this.#hub.session;
    const name = user ?? "–";
    const button = element("button", { type: "button", className: "quiet danger", disabled: mine }, mine ? "This page" : "Disconnect");
    button.setAttribute("aria-label", mine ? "This page" : `Disconnect ${user ?? `session ${session}`}`);
    button.onclick = () => this.#disconnect(session, button);
    const row = element(
      "tr",
      {},
      element("th", { scope: "row" }, name),
      element("td", {}, address ?? "–"),
      element("td", {}, protocol),
      element("td", {}, new Date(since_ms).toLocaleString()),
      element("td", {}, element("code", {}, session.slice(0, 8))),
      element("td", { className: "number" }, button),
    );
    row.dataset.session = session;
    row.dataset.user = String(user);
    this.#known.set(session, row);
    $("rows").append(row);
  }

  /** The first press asks, the second does it. */
  async #disconnect(session, button) {
    if (button.dataset.sure !== "yes") {
      button.dataset.sure = "yes";
      button.textContent = "Really?";
      const label = button.getAttribute("aria-label");
      button.setAttribute("aria-label", `${label}: really?`);
      button.onblur = () => {
        button.dataset.sure = "";
        button.textContent = "Disconnect";
        button.setAttribute("aria-label", label);
      };
      return;
    }
    button.disabled = true;
    try {
      const answer = await this.#ask("POST", `../sessions/${encodeURIComponent(session)}/disconnect`);
      if (!answer.ok) throw new Error(await detailOf(answer));
      this.#forget(session);
      this.#tell("Disconnected");
    } catch (error) {
      button.disabled = false;
      this.#tell(`Not disconnected: ${error.message}`);
    }
  }

  #ask(method, path) {
    const headers = this.#token ? { authorization: `Bearer ${this.#token}` } : {};
    return fetch(path, { method, headers, cache: "no-store", credentials: "omit" });
  }

  #forget(session) {
    this.#known.get(session)?.remove();
    this.#known.delete(session);
  }

  #clear() {
    this.#known.clear();
    $("rows").replaceChildren();
    this.#next = null;
    $("more").hidden = true;
  }

  /** What came of what was last done; it stands until something else is. */
  #tell(outcome = "") {
    this.#outcome = outcome;
    this.#sum();
  }

  #sum(also = "") {
    const text = [count(this.#known.size, "session"), this.#outcome, also].filter(Boolean).join(". ");
    if ($("told").textContent !== text) $("told").textContent = text;
  }
}

async function detailOf(answer) {
  const problem = await answer.json().catch(() => null);
  return problem?.detail ?? `the server answered ${answer.status}`;
}
