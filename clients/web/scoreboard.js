/**
 * How it works: the pattern `sports.>` brings every match, one topic each. A message is a partial state, laid over what
 * the card already knows: `{"home":3}` changes the score of one side and nothing else. So the last message alone says
 * little; we ask for the last hundred of each topic, and lay them over each other too.
 */

import { connect, element, fields, fillSnippets, flash, subscribe } from "./page.js";

const CARDS_MAX = 100; // a pattern can match more topics than a page should show
const KNOWN = ["competition", "minute", "date", "home_team", "home", "away_team", "away", "event", "venue"];

fillSnippets();
const cards = new Map(); // topic -> card
const show = ({ topic, data, replayed }) => {
  const card = cards.get(topic) ?? addCard(topic);
  if (card) update(card, fields(data), replayed);
};
subscribe(connect(), "sports.>", { message: show }, { replay: { last: 100 } });

/** What is past is no news: it neither glows nor is announced. */
function update(card, changes, past) {
  const state = Object.fromEntries(KNOWN.filter((key) => key in changes).map((key) => [key, text(changes[key])]));
  const scored = ["home", "away"].filter((side) => side in state && state[side] !== card.state[side]);
  const known = "home" in card.state || "away" in card.state;
  Object.assign(card.state, state);
  draw(card);
  if (past) return;
  for (const side of scored) flash(card.nodes[side], "--glow");
  if (scored.length && known) announce(card.state);
}

function draw({ state, nodes, name }) {
  nodes.competition.textContent = state.competition ?? name;
  nodes.when.textContent = state.minute ? `${state.minute}′` : (state.date ?? "");
  nodes.home_team.textContent = state.home_team ?? "Home";
  nodes.away_team.textContent = state.away_team ?? "Away";
  nodes.home.textContent = state.home ?? "–";
  nodes.away.textContent = state.away ?? "–";
  nodes.event.textContent = [state.event, state.venue].filter(Boolean).join(" · ");
}

/** One sentence for screen readers; a newer one replaces it, so that a busy day does not become a flood. */
function announce({ home_team = "Home", home = "no score", away_team = "Away", away = "no score" }) {
  document.querySelector("#announcement").textContent = `${home_team} ${home}, ${away_team} ${away}`;
}

/** Anybody may publish anything: what is not text, a number or a truth value is shown as JSON, and briefly. */
function text(value) {
  if (value === null || value === undefined) return undefined;
  return (typeof value === "object" ? JSON.stringify(value) : String(value)).slice(0, 80);
}

function addCard(topic) {
  if (cards.size >= CARDS_MAX) return null;
  const nodes = {
    competition: element("span"),
    when: element("span", { className: "when" }),
    home_team: element("span", { className: "team" }),
    home: element("span", { className: "score" }),
    away_team: element("span", { className: "team" }),
    away: element("span", { className: "score" }),
    event: element("p", { className: "event" }),
  };
  const article = element(
    "article",
    { className: "match" },
    element("p", { className: "head" }, nodes.competition, nodes.when),
    element("p", { className: "side" }, nodes.home_team, nodes.home),
    element("p", { className: "side" }, nodes.away_team, nodes.away),
    nodes.event,
    element("code", {}, topic),
  );
  article.dataset.topic = topic;
  const card = { state: {}, nodes, article, name: topic.split(".").slice(1).join(" · ") };
  cards.set(topic, card);
  const after = [...cards.keys()].filter((other) => shortTopicsFirst(topic, other) < 0).sort(shortTopicsFirst)[0];
  document.querySelector("#matches").insertBefore(article, cards.get(after)?.article ?? null);
  document.querySelector("#empty").hidden = true;
  return card;
}

/** `sports.demo` before `sports.live.leicester-liverpool`, and then by name: cards never change places. */
function shortTopicsFirst(a, b) {
  return a.split(".").length - b.split(".").length || (a < b ? -1 : Number(a > b));
}
