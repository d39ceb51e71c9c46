/**
 * What the pages share beyond the connection: the state indicator and the JSON | MessagePack switch in the header, the line
 * that says what a reconnect has brought, and a few small things for the DOM. Text from the network only ever becomes text
 * (`textContent`), never HTML.
 */

import { connect as connectAlone } from "./vendor/topichub/index.js";

const protocol = new URLSearchParams(location.search).get("protocol") === "pubsub.msgpack" ? "pubsub.msgpack" : "pubsub.json";
const codec = protocol === "pubsub.msgpack" ? (await import("./vendor/topichub/msgpack.js")).msgpack : undefined; // loaded only when chosen
const state = element("p", { className: "state", role: "status" });
const notice = element("p", { id: "notice", className: "notice", role: "status" });
let shown = null; // the hub whose state is in the header
let resumption = { messages: 0, missed: 0, timer: 0 }; // what has been caught up since the connection was lost

/** When nothing of the past has come for so long, all of it has. */
const CAUGHT_UP_MS = 300;

/**
 * Connects, and shows in the header's `#connection` how that goes. `?protocol=pubsub.msgpack` chooses the subprotocol. Another
 * one may be made later, with other options: it takes the place of the one before. `dial` is `connect` of the client, or `connectShared`.
 */
export function connect(options, dial = connectAlone) {
  if (shown === null) furnish();
  shown?.close();
  const hub = (shown = dial("/ws", { codec, ...options }));
  hub.addEventListener("state", ({ detail }) => hub === shown && show(detail));
  hub.addEventListener("error", ({ detail }) => hub === shown && trouble(detail));
  show({ state: hub.state });
  return hub;
}

/**
 * Subscribes; `takers` are called with what comes: `{ message, gap, presence }`, each of them optional. What a reconnect has
 * brought is said below the header.
 */
export function subscribe(hub, topic, takers, options) {
  const subscription = hub.subscribe(topic, options);
  const follow = async () => {
    let resuming = false;
    for await (const event of subscription.events()) {
      if (event.op === "subscribed") resuming = event.resumed;
      if (resuming) resumed(event);
      takers[event.op]?.(event);
    }
  };
  follow().catch((error) => hub === shown && trouble(error));
  return subscription;
}

function furnish() {
  const choice = (name, label) => {
    const radio = element("input", { type: "radio", name: "protocol", value: name, checked: protocol === name });
    radio.onchange = () => {
      const address = new URL(location.href);
      address.searchParams.set("protocol", name);
      location.replace(address);
    };
    return element("label", {}, radio, element("span", {}, label));
  };
  const legend = element("legend", { className: "unseen" }, "Subprotocol");
  const protocols = element("fieldset", { className: "switch" }, legend, choice("pubsub.json", "JSON"), choice("pubsub.msgpack", "MessagePack"));
  document.querySelector("#connection").append(state, protocols);
  document.querySelector("main").prepend(notice);
}

function show({ state: name, code, reason }) {
  const why = code ? `${code}${reason ? ` ${reason}` : ""}` : "";
  state.dataset.state = name;
  const waiting = navigator.onLine ? "reconnecting" : "offline";
  state.textContent = { connecting: "connecting", open: "connected", waiting, closed: "closed" }[name];
  state.title = why;
  if (name === "closed" && why) state.textContent += ` (${why})`;
  if (name === "open") return;
  notice.textContent = "";
  clearTimeout(resumption.timer);
  resumption = { messages: 0, missed: 0, timer: 0 };
}

/** Something of what was missed has come, or will not. */
function resumed(event) {
  if (event.op === "message" && event.replayed) resumption.messages += 1;
  else if (event.op === "gap") resumption.missed += event.from ? event.to - event.from + 1 : NaN; // nobody knows how many
  else if (event.op !== "subscribed") return;
  clearTimeout(resumption.timer);
  resumption.timer = setTimeout(() => {
    const { messages, missed } = resumption;
    const lost = Number.isNaN(missed) ? "some may be missed: the server has begun anew" : `${missed || "none"} missed`;
    notice.textContent = `resumed, ${count(messages, "message")} caught up, ${lost}`;
    notice.dataset.whole = missed === 0;
  }, CAUGHT_UP_MS);
}

function trouble(error) {
  state.dataset.state = "trouble";
  state.textContent = error.message;
}

/** The server of this page, as a snippet names it. */
export function defaultUrl() {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
}

/**
 * The fields of a payload, whatever somebody has published: a map as it is, bytes that hold a JSON map (`curl -d` says
 * nothing about its type), and `{}` for all the rest.
 */
export function fields(data) {
  if (data instanceof Uint8Array) {
    try {
      data = JSON.parse(new TextDecoder().decode(data));
    } catch {
      return {};
    }
  }
  return data !== null && typeof data === "object" && !Array.isArray(data) && !ArrayBuffer.isView(data) ? data : {};
}

/** `1 message`, `2 messages` */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** `element("p", { className: "note" }, "text", child)` */
export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** Lets the background of an element glow once in a colour of the style sheet, unless the visitor prefers rest. */
export function flash(node, colour) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const glow of node.getAnimations()) glow.cancel();
  node.animate([{ backgroundColor: `var(${colour})` }, { backgroundColor: "transparent" }], { duration: 1200, easing: "ease-out" });
}

/** Makes every `<code data-origin>` name the server of this page, and gives each snippet a button that copies it. */
export function fillSnippets() {
  const host = location.protocol === "https:" ? location.origin : location.host;
  for (const code of document.querySelectorAll("[data-origin]")) {
    code.textContent = code.textContent.replace("ws://127.0.0.1:8080/ws", defaultUrl()).replace("127.0.0.1:8080", host);
  }
  if (!navigator.clipboard) return; // browsers have it on https and localhost only
  for (const pre of document.querySelectorAll("pre.snippet")) {
    const button = element("button", { type: "button", className: "copy" }, "Copy");
    button.onclick = async () => {
      await navigator.clipboard.writeText(pre.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    };
    const row = element("div", { className: "snippet-row" });
    pre.replaceWith(row);
    row.append(pre, button);
  }
}
