/**
 * What the pages share beyond the connection: the state indicator and the JSON | MessagePack switch in the header, the line
 * that says what a reconnect has brought, and a few small things for the DOM. Text from the network only ever becomes text
 * (`textContent`), never HTML.
 */

import { defaultUrl, Hub } from "./hub.js";

/**
 * Connects, and shows in the header's `#connection` how that goes, and below it what a reconnect has brought.
 * `?protocol=pubsub.msgpack` chooses the subprotocol.
 */
export function connect() {
  const hub = new Hub({ protocol: new URLSearchParams(location.search).get("protocol") ?? undefined });
  const state = element("p", { className: "state", role: "status" });
  const choice = (protocol, label) => {
    const radio = element("input", { type: "radio", name: "protocol", value: protocol, checked: hub.protocol === protocol });
    radio.onchange = () => {
      const address = new URL(location.href);
      address.searchParams.set("protocol", protocol);
      history.replaceState(null, "", address);
      hub.use(protocol);
    };
    return element("label", {}, radio, element("span", {}, label));
  };
  const legend = element("legend", { className: "unseen" }, "Subprotocol");
  const protocols = element("fieldset", { className: "switch" }, legend, choice("pubsub.json", "JSON"), choice("pubsub.msgpack", "MessagePack"));
  document.querySelector("#connection").append(state, protocols);
  const notice = element("p", { id: "notice", className: "notice", role: "status" });
  document.querySelector("main").prepend(notice);

  const show = () => {
    const { name, code, reason } = hub.state;
    const why = code ? `${code}${reason ? ` ${reason}` : ""}` : "";
    state.dataset.state = name;
    const waiting = navigator.onLine ? "reconnecting" : "offline";
    state.textContent = { connecting: "connecting", open: "connected", waiting, closed: "closed" }[name];
    state.title = why;
    if (name === "closed" && why) state.textContent += ` (${why})`;
    if (name !== "open") notice.textContent = "";
  };
  hub.addEventListener("state", show);
  hub.addEventListener("resumed", ({ detail: { messages, missed } }) => {
    const lost = missed === null ? "some may be missed: the server has begun anew" : `${missed || "none"} missed`;
    notice.textContent = `resumed, ${count(messages, "message")} caught up, ${lost}`;
    notice.dataset.whole = missed === 0;
  });
  hub.addEventListener("trouble", ({ detail }) => {
    state.dataset.state = "trouble";
    state.textContent = detail.message;
  });
  show();
  return hub;
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
