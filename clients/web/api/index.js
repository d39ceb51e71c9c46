/**
 * How it works: the server describes its HTTP API in `openapi.json`, of which this page draws every operation, with a form
 * that asks for it, and every shape. The token is kept in its field only. Text becomes text, never HTML.
 */

import { element } from "../page.js";

const $ = (id) => document.getElementById(id);

try {
  const answer = await fetch("../openapi.json");
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  draw(await answer.json());
} catch (error) {
  $("problem").textContent = `The description cannot be read: ${error.message}`;
}

function draw(api) {
  const paragraphs = api.info.description.split("\n\n").map((text) => element("p", {}, ...prose(text)));
  $("about").append(...paragraphs);
  const all = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
  );
  for (const { name, description } of api.tags) {
    const some = all.filter(({ operation }) => operation.tags.includes(name));
    section(name, description, some.map((one) => drawOperation(api, one)));
  }
  const shapes = Object.entries(api.components.schemas).map(([name, schema]) => drawShape(api, name, schema));
  section("shapes", "What bodies look like", shapes);
  open();
  addEventListener("hashchange", open);
}

function section(name, description, entries) {
  const title = name[0].toUpperCase() + name.slice(1);
  const id = `part-${name}`;
  const heading = element("h2", { id }, title);
  const part = element("section", {}, heading, element("p", { className: "note" }, `${description}.`), ...entries);
  part.setAttribute("aria-labelledby", id);
  $("operations").append(part);
  $("sections").append(element("a", { href: `#${id}` }, title));
}

/** What the address names is opened; a link to it may be passed on. */
function open() {
  const named = $(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) named.open = true;
  named?.scrollIntoView();
}

function drawOperation(api, { path, method, operation }) {
  const badge = element("b", {}, method);
  badge.dataset.method = method;
  const summary = element("summary", {}, badge, element("code", {}, path), element("span", {}, operation.summary));
  const answers = Object.entries(operation.responses).map(([status, response]) => {
    const headers = Object.keys(response.headers ?? {});
    const also = headers.length ? [element("br"), element("small", {}, `with ${headers.join(", ")}`)] : [];
    const kinds = Object.entries(response.content ?? {}).map(([type, { schema }]) => element("div", {}, ...kind(schema), element("small", {}, ` ${type}`)));
    return [status, [...prose(response.description), ...also], kinds];
  });
  const inside = element("div", { className: "inside" });
  if (operation.description) inside.append(element("p", {}, ...prose(operation.description)));
  inside.append(form(api, path, method, operation), element("h3", {}, "Answers"), table(answers));
  return element("details", { id: operation.operationId }, summary, inside);
}

/** Fields for all that can be said, and what the server answers to it. */
function form(api, path, method, operation) {
  const fields = (operation.parameters ?? []).map((parameter) => {
    const id = `${operation.operationId}-${parameter.name}`;
    const input = element("input", { id, required: parameter.required === true, spellcheck: false, autocapitalize: "off" });
    const said = parameter.description ? [...prose(parameter.description), " · "] : [];
    const note = element("small", { id: `${id}-note`, className: "note" }, ...said, `${parameter.in}, `, ...kind(parameter.schema));
    input.setAttribute("aria-describedby", note.id);
    const label = element("label", { htmlFor: id }, element("code", {}, parameter.name), input.required ? "" : " (if wanted)");
    return { parameter, input, field: element("div", {}, label, input, note) };
  });
  const contents = Object.entries(operation.requestBody?.content ?? {}).filter(([type]) => !type.includes("msgpack"));
  const type = element("select", {}, ...contents.map(([type]) => element("option", {}, type)));
  const body = element("textarea", { rows: 5, spellcheck: false });
  const result = element("div", { className: "result" });
  result.setAttribute("role", "status");
  const asking = element("form", {}, ...fields.map(({ field }) => field));
  if (contents.length > 0) {
    const shape = element("small", { className: "note" }, ...kind(contents[0][1].schema));
    body.value = JSON.stringify(sample(api, contents[0][1].schema), null, 2);
    asking.append(element("label", {}, "Kind of body", type), element("label", {}, "Body", body), shape);
  }
  asking.append(element("p", {}, element("button", {}, `Send ${method}`)), result);
  asking.onsubmit = async (event) => {
    event.preventDefault();
    const said = fields.filter(({ input }) => input.value !== "").map(({ parameter, input }) => ({ ...parameter, value: input.value }));
    const where = (place) => said.filter((parameter) => parameter.in === place);
    const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(where("path").find((known) => known.name === name)?.value ?? ""));
    const query = new URLSearchParams(where("query").map(({ name, value }) => [name, value])).toString();
    const headers = Object.fromEntries(where("header").map(({ name, value }) => [name, value]));
    if ($("token").value.trim()) headers.Authorization = `Bearer ${$("token").value.trim()}`;
    if (contents.length > 0) headers["Content-Type"] = type.value;
    const request = { method, headers, body: contents.length > 0 ? body.value : undefined, cache: "no-store" };
    result.replaceChildren("…");
    try {
      const answer = await fetch(`..${filled}${query && `?${query}`}`, request);
      const lines = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
      const status = element("p", {}, element("b", {}, `${answer.status} ${answer.statusText}`));
      result.replaceChildren(status, element("pre", { tabIndex: 0 }, lines), element("pre", { tabIndex: 0 }, pretty(await answer.text())));
    } catch (error) {
      result.replaceChildren(element("p", { className: "problem" }, `No answer: ${error.message}`));
    }
  };
  return asking;
}

function drawShape(api, name, schema) {
  const object = (schema.oneOf ?? []).find(({ properties }) => properties) ?? schema;
  const rows = Object.entries(object.properties ?? {}).map(([key, property]) => {
    const needed = object.required?.includes(key) ? [] : [element("small", {}, " if there")];
    return [key, [...kind(property), ...needed], prose(property.description ?? "")];
  });
  const summary = element("summary", {}, element("code", {}, name), element("span", {}, ...prose(schema.description ?? "")));
  const whole = object.properties && !schema.oneOf ? [] : [element("p", {}, ...kind(schema))];
  return element("details", { id: `shape-${name}` }, summary, element("div", { className: "inside" }, ...whole, table(rows)));
}

/** Rows of a name and what is to be said of it. */
function table(rows) {
  const cells = rows.map(([name, ...others]) => {
    const heading = element("th", { scope: "row" }, name);
    return element("tr", {}, heading, ...others.map((other) => element("td", {}, ...other)));
  });
  return element("table", { className: "facts-table" }, element("tbody", {}, ...cells));
}

/** What a value is, in words; what has a name of its own as a link to it. */
function kind(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    return [element("a", { href: `#shape-${name}` }, name)];
  }
  if (schema.oneOf) return schema.oneOf.flatMap((one, index) => [...(index ? [" or "] : []), ...kind(one)]);
  const types = [schema.type ?? []].flat();
  if (types.includes("array")) return ["array of ", ...kind(schema.items)];
  const { minimum, maximum, minLength, maxLength, format } = schema;
  const between = (low, high, unit) => (low ?? high) !== undefined && `${low ?? 0}${high === undefined ? " or more" : ` to ${high}`}${unit}`;
  const limits = [format === "uuid" && "UUID", between(minimum, maximum, ""), between(minLength, maxLength, " characters")];
  return [[types.join(" or ") || "any value", ...limits.filter(Boolean)].join(", ")];
}

/** The least that is of a shape, to begin with. */
function sample(api, schema) {
  if (schema.$ref) return sample(api, api.components.schemas[schema.$ref.split("/").at(-1)]);
  if (schema.type === "array") return [sample(api, schema.items)];
  if (schema.properties) {
    const keys = Object.keys(schema.properties).filter((key) => schema.required?.includes(key) || key === "data");
    return Object.fromEntries(keys.map((key) => [key, sample(api, schema.properties[key])]));
  }
  return { string: "a.topic", integer: 1 }[schema.type] ?? "hello";
}

/** Text in which `code` is marked as in Markdown. */
function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
