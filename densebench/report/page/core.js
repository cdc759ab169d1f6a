"use strict";
// Data, state and the small tools that every part uses. Text enters the page as text nodes alone.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const state = { view: "", filter: "", baseline: "", sort: null, image: 0, patch: 27 };

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "line", "circle", "path", "text", "title", "rect"].includes(tag);
  const node = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const percent = (value, digits = 2) => (value === null ? "" : (100 * value).toFixed(digits));

function signed(value, digits = 2) {
  const text = Math.abs(100 * value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value < 0 ? "−" : "+") + text;
}

const direction = (value) => (Math.abs(value) < 5e-5 ? "" : value > 0 ? "up" : "down");
const quantity = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

function millions(count) {
  if (!count) return "none";
  if (count < 1e5) return `${(count / 1e3).toFixed(1)} k`;
  return count < 1e9 ? `${(count / 1e6).toFixed(1)} M` : `${(count / 1e9).toFixed(2)} B`;
}

// The table in view, or none where all tasks of a variant are.
function table() {
  return state.view.startsWith("t") ? data.tables[Number(state.view.slice(1))] : null;
}

function overall() {
  return state.view.startsWith("o") ? data.overall[Number(state.view.slice(1))] : null;
}

const matches = (label) => label.toLowerCase().includes(state.filter.trim().toLowerCase());
const visible = (rows) => rows.filter((row) => matches(row.label));

// The row that differences refer to: the chosen one, or else a base of others, or the lowest.
function baseline(rows) {
  const chosen = rows.find((row) => row.label === state.baseline);
  if (chosen) return chosen;
  const base = rows.map((row) => row.base).find((found) => found !== null);
  return base === undefined ? rows[rows.length - 1] : rows[base.row];
}

// Parts below the fold are drawn when they come near the window.
const pending = new Map();
const observer = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const draw = pending.get(entry.target);
      if (!entry.isIntersecting || !draw) continue;
      pending.delete(entry.target);
      draw();
    }
  },
  { rootMargin: "600px" },
);

function later(section, draw) {
  pending.set(section, draw);
  observer.unobserve(section);
  observer.observe(section);
}
