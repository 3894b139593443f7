"use strict";
// A picture's own page: all severities of a corruption, every model's answers, and where these are recorded.

const place = rank => rank === 0 ? "1st" : rank === 1 ? "2nd" : rank === 2 ? "3rd" : `${(rank + 1).toLocaleString("en")}th`;

function figure(state, found, cell) {
  const { corruption, severity } = cell;
  const chosen = corruption === state.corruption && severity === state.severity;
  return make("li", { ariaCurrent: chosen ? "true" : null },
    make("figure", {},
      pictured(state.model, found, corruption, severity, false),
      make("figcaption", {}, corruption === "none" ? "clean" : `severity ${severity}`)),
    make("ul", { className: "answers" }, cell.answers.map((answer, model) => make("li", {},
      about.models.length > 1 && make("span", { className: "model" }, about.models[model].name),
      answered(answer)))));
}

/** The path of a file, which may be broken after the folder of its run only. */
const pathed = (folder, file) => make("code", {}, make("span", {}, `${folder}/`), make("wbr"), make("span", {}, file));

function recordTable(found) {
  const heads = ["model", "cell", "answer", "confidence", "rank of the class", "probability of the class", "loss", "file", "row"];
  const rows = found.cells.flatMap(cell => cell.answers.map((answer, model) => make("tr", {},
    make("th", { scope: "row" }, about.models[model].name),
    [
      cellInWords(cell.corruption, cell.severity), answered(answer, false), percent(answer.confidence), place(answer.rank),
      percent(answer.label_confidence), answer.loss.toFixed(3),
      pathed(about.models[model].folder, answer.file), answer.row.toLocaleString("en"),
    ].map(value => make("td", {}, value)))));
  const label = `What the records say about ${found.name}`;
  return scrolling(label, make("table", { className: "records" },
    captioned(label, ". Rows of files count from 0."),
    make("thead", {}, make("tr", {}, heads.map(head => make("th", { scope: "col" }, head)))),
    make("tbody", {}, rows)));
}

async function showPicture(state) {
  const [found, list] = await Promise.all([source.picture(state.image, state.corruption), source.grid(state)]);
  const images = list.rows.map(row => row.image), at = images.indexOf(state.image);
  const step = (text, to, id) => to === undefined ? null : make("a", { href: hashOf(state, { image: to }), id }, text);
  return {
    title: found.name,
    status: `${found.name}, ${about.classes[found.label]}, ${inWords(state.corruption)}`,
    content: [
      make("nav", { ariaLabel: "Around this image", className: "pages" },
        make("a", { href: hashOf(state, { image: null }), id: "back" }, "↑ All images"),
        step("← Previous", at > 0 ? images[at - 1] : undefined, "picture-before"),
        step("Next →", at >= 0 ? images[at + 1] : undefined, "picture-next")),
      make("h2", {}, found.name),
      make("p", {}, `Class ${found.label}: `, make("strong", {}, about.classes[found.label]), `. Image ${found.image}.`),
      make("ol", { className: "strip" }, found.cells.map(cell => figure(state, found, cell))),
      recordTable(found),
    ],
    images,
  };
}
