/**
 * How it works: a room is the topic `chat.<room>`; to enter is to subscribe, to speak is to publish. Our own messages are
 * shown when the server sends them back to us (that is `echo`, on by default), so everybody sees the same order. Who gives a
 * name connects by it; `presence` brings who is there, first as a whole and then who comes and goes.
 */

import { connect, count, element, fields, subscribe } from "./page.js";

const LINES_MAX = 200;
const REPLAY_LAST = 50;

const $ = (id) => document.getElementById(id);
const me = crypto.getRandomValues(new Uint32Array(2)).join("-"); // tells our own lines from the others'
let hub = connect();
let room = null; // { topic, name, subscription, members }

$("room").value = new URLSearchParams(location.search).get("room") ?? "lobby";

$("join").onsubmit = (event) => {
  event.preventDefault();
  enter(`chat.${$("room").value}`, $("name").value.trim()).then(() => $("text").focus());
};

$("leave").onclick = () => {
  leave();
  $("name").focus();
};

$("say").onsubmit = async (event) => {
  event.preventDefault();
  $("problem").textContent = "";
  try {
    await hub.publish(room.topic, { from: me, name: room.name || "guest", text: $("text").value, time: new Date().toISOString() });
    $("text").value = "";
  } catch (error) {
    $("problem").textContent = `Not sent: ${error.message}`; // the text stays in its field, to be sent again
  }
};

async function enter(topic, name) {
  if (topic === room?.topic && name === room.name) return;
  await leave();
  if (room) return; // entered twice meanwhile
  $("log").replaceChildren();
  hub = connect(name ? { user: name } : {}); // who takes another name is somebody else
  const subscription = subscribe(hub, topic, { message: show, presence }, { presence: true, replay: { last: REPLAY_LAST } });
  room = { topic, name, subscription, members: null };
  $("topic").textContent = topic;
  $("count").textContent = "";
  $("text").disabled = $("send").disabled = $("leave").disabled = false;
}

async function leave() {
  const ended = room?.subscription.unsubscribe();
  room = null;
  $("topic").textContent = "none";
  $("count").textContent = "Enter to see.";
  $("here").replaceChildren();
  $("text").disabled = $("send").disabled = $("leave").disabled = true;
  await ended;
}

// --- What is said

/** Other programs publish here too: a bare string is a text, and what has no text is shown as it is. */
function show({ data, replayed }) {
  const { from, name, text, time } = typeof data === "string" ? { text: data } : fields(data);
  const said = new Date(typeof time === "string" ? time : replayed ? NaN : Date.now());
  const line = element(
    "li",
    { className: from === me ? "line mine" : "line" },
    element("span", { className: "who" }, typeof name === "string" && name ? name.slice(0, 40) : "somebody"),
    element("time", {}, Number.isNaN(said.getTime()) ? "" : said.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })),
    element("span", { className: "text" }, typeof text === "string" ? text.slice(0, 2000) : (JSON.stringify(data) ?? "").slice(0, 2000)),
  );
  append(line, from === me);
}

function append(line, mine = false) {
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40; // who reads older lines is left in peace
  log.append(line);
  while (log.children.length > LINES_MAX) log.firstChild.remove();
  if (atEnd || mine) log.scrollTop = log.scrollHeight;
}

// --- Who is here

/** The state, or a change. Where there are too many to be named, neither has names, and the numbers remain. */
function presence(detail) {
  if (detail.topic !== room?.topic) return;
  const before = room.members;
  const members = new Map(detail.change ? before : (detail.members ?? []).map((member) => [key(member), member]));
  for (const member of detail.joined ?? []) members.set(key(member), member);
  for (const member of detail.left ?? []) members.delete(key(member));
  room.members = members;

  const sessions = detail.sessions > detail.count ? ` on ${count(detail.sessions, "page")}` : "";
  $("count").textContent = `${detail.count} here${sessions}`;
  $("here").replaceChildren(...[...members.values()].sort(byName).map(drawn));
  if (!before || detail.count > members.size) return; // we have just come, or not all are named
  for (const [id, member] of members) if (!before.has(id)) tell(member, "has come");
  for (const [id, member] of before) if (!members.has(id)) tell(member, "has left");
}

/** A member is a user, or a session that has named none. */
const key = ({ user, session }) => (user === undefined ? `session ${session}` : `user ${user}`);
const nameOf = ({ user }) => user ?? "guest";
const isMe = ({ user, session }) => (user === undefined ? session === hub.session : user === room.name);

function drawn(member) {
  const name = element("span", { className: isMe(member) ? "me" : "" }, `${nameOf(member)} `);
  return element("li", { className: member.user === undefined ? "guest" : "" }, name);
}

function tell(member, what) {
  if (!isMe(member)) append(element("li", { className: "gone" }, `${nameOf(member)} ${what}`));
}

function byName(a, b) {
  return nameOf(a).localeCompare(nameOf(b)) || (key(a) < key(b) ? -1 : 1);
}
