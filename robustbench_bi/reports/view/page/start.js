"use strict";
// The page: choices become the address, the address becomes the view.

const form = document.getElementById("choices"), view = document.getElementById("view");
const status = document.getElementById("status"), severities = document.getElementById("severities");
const numbered = about.classes.map((name, number) => [number, name]);
const titleOfPage = document.title;
let state = stateOf(location.hash), images = [], turn = 0;

function fillForm() {
  const several = about.models.length > 1;
  document.body.classList.toggle("single", !several);
  fill(form.elements.model, about.models.map((model, number) => [number, model.name]));
  fill(form.elements.beside, [["", "none"], ...about.models.map((model, number) => [number, model.name])]);
  const groups = about.corruptions.map(group => ({
    label: group.category, options: group.corruptions.map(({ name }) => [name, inWords(name)]),
  }));
  fill(form.elements.corruption, [...(about.clean ? [["none", "clean images"]] : []), ...groups]);
  fill(form.elements.sort, about.orders.map(order => [order.name, order.words]));
  for (const name of ["label", "answer"]) fill(form.elements[name], [["", "any"], ...numbered]);
  document.getElementById("notes").replaceChildren(...about.notes.map(note => make("li", {}, note)));
}

function showChoices() {
  document.body.dataset.view = state.image !== null ? "picture" : state.view;
  fill(form.elements.show, offered(about.filters, state).map(choice => [choice.name, choice.words]));
  for (const name of ["model", "beside", "corruption", "show", "sort", "label", "answer", "name"]) {
    if (form.elements[name] !== document.activeElement || name !== "name") form.elements[name].value = state[name] ?? "";
  }
  const held = severitiesOf[state.corruption];
  const all = state.view === "mistakes" && state.corruption !== "none" ? [0, ...held] : held;
  severities.replaceChildren(...all.map(severity => make("label", {},
    make("input", { type: "radio", name: "severity", value: severity, checked: severity === state.severity }),
    make("span", {}, severity || (state.corruption === "none" ? "clean" : "all")))));
  const pages = { "to-pictures": "pictures", "to-mistakes": "mistakes" };
  for (const [id, name] of Object.entries(pages)) {
    const link = document.getElementById(id);
    link.href = hashOf(state, { view: name, image: null, start: 0 });
    link.ariaCurrent = state.view === name ? "page" : null;
  }
}

async function show() {
  const number = ++turn, before = document.activeElement, severity = before?.name === "severity";
  showChoices();
  if (severity) severities.querySelector(":checked")?.focus();
  // What was counted before is not said of what is chosen now.
  status.textContent = "Loading…";
  status.ariaBusy = view.ariaBusy = "true";
  let shown;
  try {
    shown = await (state.image !== null ? showPicture : state.view === "mistakes" ? showMistakes : showGrid)(state);
  } catch (error) {
    const gone = !(error instanceof RefusedError);
    const words = gone ? `The page has lost its connection to bivo-robust view (${error.message}); start the command again.` : error.message;
    shown = { title: "", status: words, content: [make("p", { className: "none" }, words)], images: [] };
  }
  if (number !== turn) return;
  view.replaceChildren(...shown.content.filter(Boolean));
  status.textContent = shown.status;
  status.ariaBusy = view.ariaBusy = "false";
  document.title = shown.title ? `${shown.title} – ${titleOfPage}` : titleOfPage;
  images = shown.images;
}

/** Change what is shown. A step back undoes it, but not each letter of a name. */
function go(changed, replacing = false) {
  const hash = hashOf(mended({ ...state, ...changed }));
  if (hash === (location.hash || "#")) return;
  history[replacing ? "replaceState" : "pushState"](null, "", hash);
  arrive();
}

function arrive() {
  const before = state;
  state = stateOf(location.hash);
  const done = show();
  if (before.image === state.image && before.view === state.view && before.start === state.start) return;
  // A new page begins at its top, and whoever comes back from a picture is on that picture again.
  done.then(() => {
    const back = state.image === null && before.image !== null
      && view.querySelector(`a[href="${CSS.escape(hashOf(state, { image: before.image }))}"], a[href$="image=${before.image}"]`);
    if (back) back.focus();
    else {
      document.getElementById("main").focus({ preventScroll: true });
      scrollTo({ top: 0 });
    }
  });
}

form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("input", event => {
  const { name, value } = event.target;
  const number = NUMBERS.includes(name);
  go({ [name]: number ? (value === "" ? null : Number(value)) : value, start: 0 }, name === "name");
});
addEventListener("hashchange", arrive);

fillForm();
show();
