"use strict";
// What is chosen stands in the address behind the #, so that it can be sent, kept, and gone back to.

const NUMBERS = ["model", "beside", "severity", "label", "answer", "start", "image"];

const corruptionsShown = about.corruptions.flatMap(group => group.corruptions);
const severitiesOf = Object.fromEntries(corruptionsShown.map(({ name, severities }) => [name, severities]));
const wordsOf = Object.fromEntries([["none", "clean"], ...corruptionsShown.map(({ name, words }) => [name, words])]);
if (about.clean) severitiesOf.none = [0];

const [firstCorruption, firstSeverity] = about.first;
const FIRST = {
  view: "pictures", model: 0, beside: null, corruption: firstCorruption, severity: firstSeverity,
  show: about.clean && firstCorruption !== "none" ? "right-to-wrong" : "all", sort: about.orders[0].name,
  label: null, answer: null, name: "", start: 0, image: null,
};

/** What an address asks for; what it leaves out, or gets wrong, has its first value. */
function stateOf(hash) {
  const state = { ...FIRST }, given = new URLSearchParams(hash.replace(/^#/, ""));
  for (const [name, text] of given) {
    if (!(name in FIRST)) continue;
    if (!NUMBERS.includes(name)) state[name] = text;
    else if (text === "") state[name] = null;
    else if (/^\d{1,15}$/.test(text)) state[name] = Number(text);
  }
  return mended(state);
}

function mended(state) {
  const models = about.models.length, names = list => list.map(choice => choice.name);
  if (!(state.model < models)) state.model = 0;
  if (state.beside !== null && (state.beside >= models || state.beside === state.model)) state.beside = null;
  if (!(state.corruption in severitiesOf)) state.corruption = firstCorruption;
  const held = severitiesOf[state.corruption], all = state.view === "mistakes" && state.severity === 0;
  if (!held.includes(state.severity) && !all) state.severity = held.includes(firstSeverity) ? firstSeverity : held[0];
  if (!names(offered(about.filters, state)).includes(state.show)) state.show = "all";
  if (!names(about.orders).includes(state.sort)) state.sort = FIRST.sort;
  for (const name of ["label", "answer"]) if (state[name] >= about.classes.length) state[name] = null;
  if (state.view !== "mistakes") state.view = "pictures";
  state.start ??= 0;
  return state;
}

/** The filters that can be chosen with a state. */
function offered(choices, state) {
  return choices.filter(choice => (choice.needs !== "beside" || state.beside !== null)
    && (choice.needs !== "clean" || state.corruption !== "none"));
}

/** The address of a state with some of it changed. */
function hashOf(state, changed = {}) {
  const next = { ...state, ...changed }, given = new URLSearchParams();
  for (const [name, value] of Object.entries(next)) if (value !== FIRST[name]) given.set(name, value ?? "");
  return `#${given}`;
}
