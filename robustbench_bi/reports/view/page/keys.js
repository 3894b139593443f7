"use strict";
// Keys, beside those that links and controls have by themselves.

/** The picture that lies in a direction from one of the grid: the next in its row, or the nearest above or below. */
function neighbour(links, at, key) {
  if (key === "ArrowRight") return links[at + 1];
  if (key === "ArrowLeft") return links[at - 1];
  const top = links[0].getBoundingClientRect().top;
  const across = links.findIndex(link => link.getBoundingClientRect().top > top + 1);
  const columns = across < 0 ? links.length : across;
  return links[key === "ArrowDown" ? at + columns : at - columns];
}

function ofGrid(event) {
  const links = [...view.querySelectorAll(".grid a.pair")], at = links.indexOf(document.activeElement);
  if (!links.length) return false;
  const next = at < 0 ? (event.key === "ArrowDown" && links[0]) : neighbour(links, at, event.key);
  if (next) next.focus();
  return Boolean(next);
}

function ofPicture(event) {
  const link = document.getElementById({ ArrowLeft: "picture-before", ArrowRight: "picture-next" }[event.key]);
  if (link) location.hash = link.hash;
  return Boolean(link);
}

const KEYS = {
  Escape: () => state.image !== null && (go({ image: null }), true),
  n: () => follow("page-next"),
  p: () => follow("page-before"),
  "/": () => state.image === null && (form.elements.name.focus(), true),
};
for (const severity of [0, 1, 2, 3, 4, 5]) KEYS[severity] = () => chooseSeverity(severity);

function follow(id) {
  const link = document.getElementById(id);
  if (link?.hash) location.hash = link.hash;
  return Boolean(link?.hash);
}

function chooseSeverity(severity) {
  if (severity === 0 && about.clean && state.view === "pictures") return go({ corruption: "none", start: 0 }), true;
  if (!severitiesOf[state.corruption].includes(severity)) return false;
  return go({ severity, start: 0 }), true;
}

addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const typing = event.target.closest?.("input, select, textarea, .scroll");
  if (typing && event.key !== "Escape") return;
  const arrow = event.key.startsWith("Arrow");
  const done = arrow ? (state.image === null ? ofGrid(event) : ofPicture(event)) : KEYS[event.key]?.();
  if (done) event.preventDefault();
});
