"use strict";
// Data, state and the small tools that every part uses. Text enters the page as text nodes alone.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const state = { view: "", filter: "", baseline: "", sort: null, image: 0, patch: null };

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

// A view of the page is one file in views: its section, its style, and a script that calls this.
// shows(table or none): whether it is in view; draw(): fills its section; early: draw before it is
// scrolled to; enter(): another table was chosen; listen(): once; wide: draw anew for another width;
// address: what of its state stands in the address, see address.js.
const VIEWS = [];
const view = (id, parts) => VIEWS.push({ id, shows: (current) => current !== null, ...parts });

const percent = (value, digits = 2) => (value === null ? "" : (100 * value).toFixed(digits));

// Values are printed as their metric says, with fewer decimals where there is little room.
const metric = () => (table() ?? overall()).metric;
const digits = (of, less) => Math.max(0, of.decimals - less);
const amount = (value, of = metric(), less = 0) => (value === null ? "" : (of.scale * value).toFixed(digits(of, less)));
const gain = (difference, of = metric()) => (of.higher ? difference : -difference);
const heading = (of) => (of.unit === "" || of.unit === "%" ? of.title : `${of.title} (${of.unit})`);
const withUnit = (of, title = of.title) => `${title} ${of.unit}`.trim();

function signed(value, of = metric(), less = 0) {
  const text = Math.abs(of.scale * value).toFixed(digits(of, less));
  if (Number(text) === 0) return text;
  return (value < 0 ? "−" : "+") + text;
}

// Whether a difference is a gain or a loss, unless it prints as none.
function direction(value, of = metric()) {
  if (Math.abs(of.scale * value) < 0.5 * 10 ** -of.decimals) return "";
  return gain(value, of) > 0 ? "up" : "down";
}

const change = (value, base) => (value === null || base === null ? null : value - base);
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

// The rows in view, each with a value where it has one: of all tasks, the mean.
const ranked = () => (table() ?? overall()).rows.filter((row) => row.value !== null);

const matches = (label) => label.toLowerCase().includes(state.filter.trim().toLowerCase());
const visible = (rows) => rows.filter((row) => matches(row.label));

// Said to those who do not see what has changed.
function tell(text) {
  byId("told").textContent = text;
}

// The row that differences refer to: the chosen one, or else a base of others, or the last.
function baseline(rows) {
  const chosen = rows.find((row) => row.label === state.baseline);
  if (chosen) return chosen;
  const base = rows.map((row) => row.base).find((found) => found !== null);
  return base === undefined ? rows[rows.length - 1] : rows[base.row];
}

// Parts below the fold are drawn when they come near the window, when there is time, or when the
// page is printed.
const pending = new Map();
const observer = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => drawPending(entry.target)),
  { rootMargin: "600px" },
);
const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 200));
let waiting = false;

function drawPending(section) {
  const draw = pending.get(section);
  pending.delete(section);
  draw?.();
}

function later(section, draw) {
  pending.set(section, draw);
  observer.unobserve(section);
  observer.observe(section);
  if (!waiting) idle(drawNext);
  waiting = true;
}

// One part at a time, so that the page answers meanwhile.
function drawNext() {
  const [section] = pending.keys();
  if (section) drawPending(section);
  waiting = pending.size > 0;
  if (waiting) idle(drawNext);
}

window.addEventListener("beforeprint", () => [...pending.keys()].forEach(drawPending));
