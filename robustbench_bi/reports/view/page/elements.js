"use strict";
// Elements from plain values. Text becomes text and never markup, whatever names of files, classes and models hold.

/** An element with properties, and children that are elements or texts; what is null or false is left out. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === false) continue;
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter(child => child !== null && child !== false));
  return element;
}

/** Text for those who listen. */
const spoken = text => make("span", { className: "hidden" }, text);

/** Text for those who look. */
const seen = text => make("span", { ariaHidden: "true" }, text);

/** The options of a select: [value, text] pairs, or {label, options} groups. */
function fill(select, entries) {
  const option = ([value, text]) => make("option", { value }, text);
  select.replaceChildren(...entries.map(entry => Array.isArray(entry)
    ? option(entry)
    : make("optgroup", { label: entry.label }, entry.options.map(option))));
}

const percent = share => `${(+(100 * share).toFixed(9)).toFixed(share > 0 && share < .001 ? 2 : 1)}\u00a0%`;
const counted = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
const inWords = name => wordsOf[name] ?? name;
const cellInWords = (corruption, severity) => corruption === "none" ? "clean" : `${inWords(corruption)}, severity ${severity}`;

/** What a table says of itself; it stays in sight, and breaks its lines, where the table is wider than the screen. */
const captioned = (...words) => make("caption", {}, make("span", {}, ...words));

/** A table in a region of its own that scrolls, for small screens. */
const scrolling = (label, table) => make("div", { className: "scroll", role: "region", ariaLabel: label, tabIndex: 0 }, table);
