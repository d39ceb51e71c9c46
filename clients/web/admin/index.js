/**
 * How it works: whoever signs in becomes a client with a token, and asks for `$sys.stats` like for any other topic. The
 * token is kept in this module, or in sessionStorage if that is wanted: never in an address, and the page itself holds no
 * secret. What is drawn where is said in the modules beside this one.
 */

import { connect } from "../vendor/topichub/index.js";
import { Inspector } from "./inspector.js";
import { Overview } from "./overview.js";
import { Sessions } from "./sessions.js";

const KEPT = "topichub.token";

const $ = (id) => document.getElementById(id);
let hub = null;

$("signin").onsubmit = (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  if ($("keep").checked) sessionStorage.setItem(KEPT, token);
  signIn(token);
};

$("signout").onclick = () => {
  sessionStorage.removeItem(KEPT);
  hub?.close();
  location.reload(); // whatever was shown is gone with it
};

const kept = sessionStorage.getItem(KEPT);
if (kept !== null) signIn(kept);

function signIn(token) {
  hub?.close();
  $("problem").textContent = "";
  let shown = false;
  const mine = (hub = connect("/ws", {
    // Asked for a second time, the first was refused, or ends soon.
    token: token && (() => (shown ? another(mine) : ((shown = true), token))),
  }));
  const overview = new Overview();
  const inspector = new Inspector(mine);
  const sessions = new Sessions(mine, token);
  overview.onTopic = (topic) => inspector.watch(topic);

  hub.addEventListener("state", ({ detail }) => mine === hub && showState(detail));
  hub.addEventListener("error", ({ detail }) => mine === hub && refused(detail));
  follow(mine, hub.subscribe("$sys.stats", { replay: { last: 1 } }), sessions, overview);
  showState({ state: hub.state });
}

async function follow(mine, figures, sessions, overview) {
  try {
    for await (const { data } of figures) {
      if (mine !== hub) return;
      if ($("board").hidden) enter(sessions);
      overview.show(data);
    }
  } catch (error) {
    if (mine === hub) refused(error);
  }
}

/** Another token in place of one that ends soon or is not known: nobody has one but the visitor. */
function another(mine) {
  if (mine === hub) {
    if ($("board").hidden) refused({ code: "unauthorized" });
    else $("problem").textContent = "This token ends soon: sign out, and in with another.";
  }
  throw new Error("there is no other token");
}

/** The first figures have come: this is somebody who may see them. */
function enter(sessions) {
  $("token").value = "";
  $("signin").hidden = true;
  $("board").hidden = $("sections").hidden = $("signout").hidden = false;
  $("problem").textContent = "";
  $("main").focus();
  sessions.start();
}

function showState({ state: name, code, reason }) {
  const waiting = navigator.onLine ? "reconnecting" : "offline";
  $("state").dataset.state = name;
  $("state").textContent = { connecting: "connecting", open: "connected", waiting, closed: "closed" }[name];
  if (name === "closed" && code !== 1000) $("problem").textContent = `The server has closed the connection: ${code} ${reason ?? ""}`;
}

/** What keeps this visitor out, in words. Once inside, it is told beside what was asked for. */
function refused(error) {
  if (!$("board").hidden && error.code !== "unauthorized") {
    $("problem").textContent = error.message;
    return;
  }
  if (error.code === "forbidden" && $("problem").textContent) return; // that is so because of the first
  const why = { unauthorized: "The server does not know this token.", forbidden: "This token may not see $sys.stats: it needs to be granted $sys.>." };
  $("problem").textContent = why[error.code] ?? error.message;
  sessionStorage.removeItem(KEPT);
  $("token").focus();
}
