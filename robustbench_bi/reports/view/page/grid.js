"use strict";
// The grid: clean beside corrupted, with the answers of the model and of the one beside it.

const models = state => state.beside === null ? [state.model] : [state.model, state.beside];

/** An answer: the class, whether it is right, and how sure the network was. */
function answered(answer, surely = true) {
  return make("span", { className: answer.right ? "right" : "wrong" },
    seen(answer.right ? "✓\u00a0" : "✗\u00a0"), spoken(answer.right ? "right: " : "wrong: "),
    about.classes[answer.answer], surely && ` ${percent(answer.confidence)}`);
}

function card(state, row) {
  const { corruption, severity } = state, corrupted = corruption !== "none";
  const lines = models(state).map(model => make("li", {},
    about.models.length > 1 && make("span", { className: "model" }, about.models[model].name),
    row.clean && corrupted && [answered(row.clean[model]), seen(" → "), spoken(", then ")],
    answered(row.answers[model]),
    state.sort === "loss" && model === state.model && make("span", { className: "loss" }, `loss ${row.answers[model].loss.toFixed(2)}`)));
  const link = make("a", { href: hashOf(state, { image: row.image }), className: "pair" },
    row.clean && corrupted && pictured(state.model, row, "none", 0),
    pictured(state.model, row, corruption, severity));
  return make("li", { className: "card" }, link,
    make("p", { className: "name" }, row.name),
    make("p", { className: "class" }, about.classes[row.label]),
    make("ul", { className: "answers" }, lines));
}

function turner(state, found) {
  const { total, start } = found, page = about.page;
  const turn = (text, to, name) => make("a", {
    className: "turn", id: name, ...(to === null ? { ariaDisabled: "true", role: "link" } : { href: hashOf(state, { start: to }) }),
  }, text);
  if (total <= page) return null;
  return make("nav", { ariaLabel: "Pages of images", className: "pages" },
    turn("← Previous", start > 0 ? Math.max(0, start - page) : null, "page-before"),
    `${(start + 1).toLocaleString("en")} to ${Math.min(start + page, total).toLocaleString("en")}`,
    turn("Next →", start + page < total ? start + page : null, "page-next"));
}

async function showGrid(state) {
  const found = await source.grid(state);
  return {
    title: "",
    status: `${counted(found.total, "image", "images")} of ${(data.live ? about.images : data.held).toLocaleString("en")}`
      + (data.live ? "" : ` in this folder (of ${about.images.toLocaleString("en")} in the runs)`)
      + (about.clean && state.corruption !== "none" ? "; left clean, right corrupted" : ""),
    content: [
      found.total === 0 ? make("p", { className: "none" }, "No image fits these choices.") : null,
      make("ol", { className: "grid", start: found.start + 1 }, found.rows.map(row => card(state, row))),
      turner(state, found),
    ],
    images: found.rows.map(row => row.image),
  };
}
