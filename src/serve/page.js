"use strict";
const byId = (id) => document.getElementById(id);
const element = (name, attributes = {}, ...children) => {
  const created = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, value);
  created.append(...children);
  return created;
};
let columns = [];

async function start() {
  const health = await (await fetch("healthz")).json();
  columns = health.columns;
  document.title = byId("title").textContent = `${health.model}: ${health.labels.slice(0, 8).join(", ")}`;
  for (const option of [...byId("method").options]) {
    if (!health.methods.includes(option.value)) option.remove();
  }
  for (const [number, column] of columns.entries()) {
    const field = element("textarea", { id: `text-${number}`, spellcheck: "false", placeholder: "Enter a text" });
    byId("texts").append(element("label", { for: field.id }, column), field);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form").requestSubmit();
    });
  }
  byId("text-0").focus();
}

function inputs() {
  const texts = columns.map((_, number) => byId(`text-${number}`).value);
  return columns.length === 1 ? texts[0] : Object.fromEntries(columns.map((column, number) => [column, texts[number]]));
}

byId("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("button").disabled = true;
  byId("error").textContent = "";
  byId("result").replaceChildren();
  try {
    const body = JSON.stringify({ text: inputs(), method: byId("method").value });
    const response = await fetch("explain", {
      method: "POST", headers: { Accept: "text/html", "Content-Type": "application/json" }, body,
    });
    if (!response.ok) throw new Error((await response.json()).error);
    byId("result").innerHTML = await response.text();
  } catch (error) {
    byId("error").textContent = error.message;
  } finally {
    byId("button").disabled = false;
  }
});
start().catch((error) => { byId("error").textContent = error.message; });
