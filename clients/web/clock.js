/**
 * TopicHub without any library. If you know WebSocket from a tutorial, you know everything here but two things:
 *
 *   1. the second argument of `new WebSocket` names the subprotocol, "pubsub.json": every frame is one JSON map;
 *   2. its `op` says what it is. We send `subscribe` and `publish`; the server answers a command that has an `id` with
 *      one reply that bears it, and pushes `welcome` once and `message` for each message of our topics.
 */

const $ = (id) => document.getElementById(id);
const echoTopic = `echo.${[...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
const sentAt = new Map(); // number of an echo -> when it left
let socket = null;
let echoes = 0;

$("open").onclick = connect;
$("close").onclick = () => socket.close(1000, "the Close button");
$("echo").onsubmit = (event) => {
  event.preventDefault();
  sentAt.set(++echoes, performance.now());
  send({ op: "publish", topic: echoTopic, data: { number: echoes, text: $("text").value } });
  $("text").value = "";
};
$("topic").textContent = echoTopic;
connect();

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`, "pubsub.json");
  show("connecting");
  socket.onopen = () => {
    show("open");
    send({ op: "subscribe", id: 1, topics: ["clock", echoTopic] });
  };
  socket.onmessage = ({ data }) => {
    log("←", data);
    receive(JSON.parse(data));
  };
  socket.onclose = ({ code, reason, wasClean }) => {
    show("closed");
    $("close-code").textContent = `${code}${wasClean ? "" : ", without a closing handshake"}`;
    $("close-reason").textContent = reason || "none given";
    log("×", `closed with ${code} ${reason}`);
  };
}

function send(command) {
  const frame = JSON.stringify(command);
  socket.send(frame);
  log("→", frame);
}

function receive({ op, session, topic, data }) {
  if (op === "welcome") $("session").textContent = session;
  else if (op === "message" && topic === "clock") showTime(data?.time);
  else if (op === "message" && topic === echoTopic) showEcho(data ?? {});
}

function showTime(time) {
  const date = new Date(typeof time === "string" ? time : NaN);
  if (Number.isNaN(date.getTime())) return; // anybody may publish to `clock`
  $("time").textContent = date.toLocaleTimeString();
  $("time").dateTime = time;
  $("date").textContent = date.toLocaleDateString(undefined, { dateStyle: "full" });
}

function showEcho({ number, text }) {
  if (!sentAt.has(number)) return;
  const tookMs = performance.now() - sentAt.get(number);
  sentAt.delete(number);
  $("answer").textContent = `“${text}” came back after ${tookMs.toFixed(1)} ms`;
}

function show(state) {
  $("state").dataset.state = state;
  $("state").textContent = { connecting: "connecting", open: "connected", closed: "closed" }[state];
  $("open").disabled = state !== "closed";
  $("close").disabled = $("send").disabled = state !== "open";
  if (state === "open") $("close-code").textContent = $("close-reason").textContent = "–";
}

function log(direction, text) {
  $("frames").textContent = [`${direction} ${text}`, ...$("frames").textContent.split("\n")].slice(0, 40).join("\n");
}
