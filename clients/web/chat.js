/**
 * How it works: a room is the topic `chat.<room>`; to enter is to subscribe, to speak is to publish. Our own messages are
 * shown when the server sends them back to us (that is `echo`, on by default), so everybody sees the same order.
 */

import { fields } from "./hub.js";
import { connect, element } from "./page.js";

const LINES_MAX = 200;

const $ = (id) => document.getElementById(id);
const me = crypto.getRandomValues(new Uint32Array(2)).join("-"); // tells our own lines from the others'
const hub = connect();
let leave = () => {};

$("name").value = `guest-${me.slice(0, 4)}`;
$("room").value = new URLSearchParams(location.search).get("room") ?? "lobby";
enter();

$("join").onsubmit = (event) => {
  event.preventDefault();
  enter();
  $("text").focus();
};

$("say").onsubmit = async (event) => {
  event.preventDefault();
  $("problem").textContent = "";
  try {
    await hub.publish($("topic").textContent, { from: me, name: $("name").value, text: $("text").value });
    $("text").value = "";
  } catch (error) {
    $("problem").textContent = `Not sent: ${error.message}`; // the text stays in its field, to be sent again
  }
};

function enter() {
  const topic = `chat.${$("room").value}`;
  if (topic === $("topic").textContent) return;
  leave();
  leave = hub.subscribe(topic, ({ data }) => show(data));
  $("topic").textContent = topic;
  $("log").replaceChildren();
}

/** Other programs publish here too: a bare string is a text, and what has no text is shown as it is. */
function show(data) {
  const { from, name, text } = typeof data === "string" ? { text: data } : fields(data);
  const line = element(
    "li",
    { className: from === me ? "line mine" : "line" },
    element("span", { className: "who" }, typeof name === "string" && name ? name.slice(0, 40) : "somebody"),
    element("time", {}, new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })),
    element("span", { className: "text" }, typeof text === "string" ? text.slice(0, 2000) : (JSON.stringify(data) ?? "").slice(0, 2000)),
  );
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40; // who reads older lines is left in peace
  log.append(line);
  while (log.children.length > LINES_MAX) log.firstChild.remove();
  if (atEnd || from === me) log.scrollTop = log.scrollHeight;
}
