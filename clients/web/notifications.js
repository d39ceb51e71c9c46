/**
 * How it works: the notifications of a user are the topic `inbox.<user>`, and how far they have been read is another,
 * `inbox.<user>.read`, of which only the last message counts. So every tab and every device knows the same, because
 * each has been told the same. The tabs of a browser share one connection by a SharedWorker, where there are any.
 */

import { connect, count, element, fields, fillSnippets, subscribe } from "./page.js";
import { connectShared } from "./vendor/topichub/shared-worker.js";

const REPLAY_LAST = 50;
const SHOWN_MAX = 200;
const KEPT = "topichub.user";

const $ = (id) => document.getElementById(id);
const title = document.title;
let hub = null;
let inbox = null; // { user, notes: [{ epoch, offset, node }], read: { epoch, offset } }

fillSnippets();
const known = new URLSearchParams(location.search).get("user") ?? localStorage.getItem(KEPT);
if (known) come((($("user").value = known), known));

$("come").onsubmit = (event) => {
  event.preventDefault();
  come($("user").value.trim());
};

$("read").onclick = async () => {
  const { epoch, offset } = inbox.notes.at(-1);
  await hub.publish(`inbox.${inbox.user}.read`, { epoch, offset }).catch((error) => ($("summary").textContent = `Not marked: ${error.message}`));
};

$("send").onsubmit = async (event) => {
  event.preventDefault();
  const to = $("to").value.trim();
  try {
    hub ??= connect({}, connectShared);
    const { subscribers } = await hub.publish(`inbox.${to}`, { from: inbox?.user, text: $("text").value, time: new Date().toISOString() }, { offline: "queue" });
    $("text").value = "";
    $("told").textContent = subscribers ? `Sent to ${to}, who is looking.` : `Sent to ${to}, who will find it later.`;
  } catch (error) {
    $("told").textContent = `Not sent: ${error.message}`;
  }
};

function come(user) {
  if (user === inbox?.user) return;
  localStorage.setItem(KEPT, user);
  const mine = (inbox = { user, notes: [], read: null });
  $("inbox").replaceChildren();
  hub = connect({ user }, connectShared);
  const only = (take) => (message) => mine === inbox && (take(message), draw());
  subscribe(hub, `inbox.${user}`, { message: only(add) }, { replay: { last: REPLAY_LAST } });
  subscribe(hub, `inbox.${user}.read`, { message: only(({ data }) => (mine.read = fields(data))) }, { replay: { last: 1 } });
  draw();
}

/** Anybody may publish anything: what is no text is shown as JSON, and briefly. */
function add({ epoch, offset, data }) {
  const { from, text, time } = typeof data === "string" ? { text: data } : fields(data);
  const sent = new Date(typeof time === "string" ? time : NaN);
  const node = element(
    "li",
    {},
    element("span", { className: "text" }, (typeof text === "string" ? text : (JSON.stringify(data) ?? "")).slice(0, 500)),
    element("small", {}, [typeof from === "string" ? `from ${from.slice(0, 40)}` : "", Number.isNaN(sent.getTime()) ? "" : sent.toLocaleTimeString()].filter(Boolean).join(", ")),
  );
  inbox.notes.push({ epoch, offset, node });
  $("inbox").prepend(node);
  if (inbox.notes.length > SHOWN_MAX) inbox.notes.shift().node.remove();
}

/** Read is what comes up to the mark; what is of another epoch than the mark has come after it. */
function draw() {
  const { user, notes, read } = inbox;
  const isRead = ({ epoch, offset }) => epoch === read?.epoch && offset <= read?.offset;
  let unread = 0;
  for (const note of notes) {
    note.node.className = isRead(note) ? "" : "unread";
    unread += Number(!isRead(note));
  }
  $("badge").hidden = unread === 0;
  $("badge").textContent = String(unread);
  $("read").disabled = unread === 0;
  $("summary").textContent = notes.length ? `${count(notes.length, "notification")} for ${user}, ${unread || "none"} unread` : `Nothing for ${user} yet.`;
  document.title = unread ? `(${unread}) ${title}` : title;
  if (unread) navigator.setAppBadge?.(unread).catch(() => {}); // installed pages have one
  else navigator.clearAppBadge?.().catch(() => {});
}
