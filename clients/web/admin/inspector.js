/** One topic or pattern: what comes, what was before, who is there, and a box to publish. */

import { count, element } from "../page.js";

const LINES_MAX = 200;
const LINE_CHARS_MAX = 2000;
const PAGE = 20;

const $ = (id) => document.getElementById(id);
const isPattern = (topic) => /(^|\.)[*>](\.|$)/.test(topic);

export class Inspector {
  #hub;
  #watched = null; // { topic, subscription, epoch, first, last }
  #paused = false;

  constructor(hub) {
    this.#hub = hub;
    $("watch").onsubmit = (event) => {
      event.preventDefault();
      this.watch($("topic").value.trim());
    };
    $("pause").onclick = () => {
      this.#paused = !this.#paused;
      $("pause").setAttribute("aria-pressed", this.#paused);
    };
    $("earlier").onclick = () => this.#earlier();
    $("publish").onsubmit = (event) => {
      event.preventDefault();
      this.#publish();
    };
  }

  /** Begins with the last messages of a topic. */
  async watch(topic) {
    if (!topic) return;
    this.#watched?.subscription.unsubscribe();
    $("topic").value = topic;
    $("tail").replaceChildren();
    $("published").textContent = "";
    this.#paused = false;
    $("pause").setAttribute("aria-pressed", "false");
    const pattern = isPattern(topic);
    const options = { replay: { last: pattern ? 1 : PAGE }, slow: "latest", ...(pattern ? {} : { presence: { join: false, watch: true } }) };
    const subscription = this.#hub.subscribe(topic, options);
    this.#watched = { topic, subscription, epoch: null, first: null, last: null };
    this.#follow(this.#watched);
    $("pause").disabled = false;
    $("earlier").disabled = $("send").disabled = pattern;
    $("position").textContent = pattern ? `All topics that match ${topic}.` : `Nothing has been published to ${topic} yet.`;
    $("inspector").scrollIntoView();
    $("tail").focus({ preventScroll: true });
    if (pattern) {
      $("present").textContent = "Of a pattern nobody is told.";
      $("members").replaceChildren();
    } else {
      await this.#lookAtMembers();
    }
  }

  async #follow(watched) {
    try {
      for await (const event of watched.subscription.events()) {
        if (watched !== this.#watched) return;
        if (event.op === "message") this.#show(event);
        else if (event.op === "gap") this.#gap(event);
        else if (event.op === "presence") this.#lookAtMembers();
      }
    } catch (error) {
      if (watched === this.#watched) $("position").textContent = error.message;
    }
  }

  #show({ topic, epoch, offset, key, data }) {
    const watched = this.#watched;
    watched.epoch = epoch ?? watched.epoch;
    watched.first ??= offset;
    watched.last = offset;
    if (!isPattern(watched.topic)) $("position").textContent = `At offset ${offset}${watched.epoch ? ` of epoch ${watched.epoch}` : ""}.`;
    if (this.#paused) return;
    const tail = $("tail");
    const atEnd = tail.scrollHeight - tail.scrollTop - tail.clientHeight < 40;
    tail.append(drawn({ topic: isPattern(watched.topic) ? topic : "", offset, key, data }));
    while (tail.children.length > LINES_MAX) tail.firstChild.remove();
    if (atEnd) tail.scrollTop = tail.scrollHeight;
  }

  #gap({ from, to, why }) {
    if (this.#paused) return;
    const missing = from ? `${count(to - from + 1, "message")} did not come: ${from} to ${to}` : "Some messages did not come";
    $("tail").append(element("li", { className: "gap" }, `${missing} (${why})`));
  }

  async #earlier() {
    const watched = this.#watched;
    const before = watched.first && watched.epoch ? { before: { epoch: watched.epoch, offset: watched.first } } : {};
    try {
      const page = await this.#hub.history(watched.topic, { limit: PAGE, ...before });
      if (watched !== this.#watched) return;
      watched.epoch = page.epoch ?? watched.epoch;
      watched.first = page.messages[0]?.offset ?? watched.first;
      $("tail").prepend(...page.messages.map((message) => drawn({ ...message, topic: "" })));
      $("tail").scrollTop = 0;
      $("earlier").disabled = !page.more;
      if (!page.messages.length) $("position").textContent = "Nothing earlier is remembered.";
    } catch (error) {
      $("position").textContent = error.message;
    }
  }

  async #lookAtMembers() {
    const { topic } = this.#watched;
    try {
      const presence = await this.#hub.presence(topic);
      if (topic !== this.#watched.topic) return;
      $("present").textContent = `${count(presence.count, "member")} in ${count(presence.sessions, "session")}`;
      const names = (presence.members ?? []).map(({ user, session }) => element("li", {}, user ?? `session ${session}`));
      $("members").replaceChildren(...names);
    } catch (error) {
      $("present").textContent = error.message;
      $("members").replaceChildren();
    }
  }

  async #publish() {
    try {
      const data = JSON.parse($("data").value);
      const { offset, subscribers } = await this.#hub.publish(this.#watched.topic, data);
      $("published").textContent = `Published at offset ${offset}, to ${count(subscribers, "subscription")}.`;
    } catch (error) {
      $("published").textContent = `Not published: ${error.message}`;
    }
  }
}

function drawn({ topic, offset, key, data }) {
  const text = data instanceof Uint8Array ? `${data.length} bytes` : (JSON.stringify(data) ?? "");
  const label = [topic, offset, key].filter((part) => part || part === 0).join(" ");
  return element("li", {}, element("span", { className: "offset" }, label), text.slice(0, LINE_CHARS_MAX));
}
