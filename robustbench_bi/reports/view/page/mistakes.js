"use strict";
// Which class is mistaken for which: a table of the classes most often involved in a mistake, and the commonest pairs.
// Of many classes most pairs never occur; where the table would be nearly empty, a list of each class's answers stands.

/** Words that lead to the wrong answers that they count; at all severities together they are words alone. */
function leading(state, model, label, answer, words) {
  if (state.severity === 0 && state.corruption !== "none") return words;
  return make("a", { href: hashOf(state, { view: "pictures", model, beside: null, show: "wrong", label, answer, start: 0 }) }, words);
}

function mistakeTable(state, model, found) {
  const most = Math.max(1, ...found.counts.flat()), names = found.classes.map(number => about.classes[number]);
  const count = (value, row, column) => {
    if (!value) return make("td", {}, seen("·"), spoken("0"));
    const cell = make("td", {}, leading(state, model, found.classes[row], found.classes[column], value.toLocaleString("en")));
    cell.style.setProperty("--at", (value / most).toFixed(3));
    return cell;
  };
  const rows = found.classes.map((_, row) => make("tr", {},
    make("th", { scope: "row" }, names[row]),
    found.counts[row].map((value, column) => count(value, row, column)),
    make("td", {}, found.others[row].toLocaleString("en")),
    make("td", {}, found.right[row].toLocaleString("en"))));
  const heads = [...names.map(name => make("th", { scope: "col" }, make("span", {}, name))),
    make("th", { scope: "col" }, make("span", {}, "other answers")), make("th", { scope: "col" }, make("span", {}, "right"))];
  const words = `Wrong answers of ${about.models[model].name} by class (rows) and answer (columns)`;
  return scrolling(words, make("table", { className: "mistakes" },
    captioned(words + (names.length < about.classes.length
      ? `. The ${names.length} classes of ${about.classes.length.toLocaleString("en")} most often involved in a mistake.` : ".")),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "class"), heads)),
    make("tbody", {}, rows)));
}

/** Whether a table of classes and answers says more than it leaves empty. */
function fillsTable(found) {
  const counts = found.counts.flat();
  return found.classes.length === about.classes.length || counts.filter(count => count).length * 4 >= counts.length;
}

function answerLists(state, model, found) {
  const number = value => make("td", {}, value.toLocaleString("en"));
  const rows = found.lists.map(({ label, right, wrong, answers }) => {
    const listed = answers.map(([answer, count]) =>
      make("li", {}, about.classes[answer], " ", leading(state, model, label, answer, count.toLocaleString("en"))));
    const left = wrong - answers.reduce((sum, [, count]) => sum + count, 0);
    if (left) listed.push(make("li", {}, counted(left, "other answer", "other answers")));
    return make("tr", {}, make("th", { scope: "row" }, about.classes[label]), number(wrong), number(right),
      make("td", {}, make("ul", { className: "answers" }, listed)));
  });
  const words = `What ${about.models[model].name} mistakes each class for`;
  return scrolling(words, make("table", { className: "mistakes lists" },
    captioned(`${words}. The ${counted(rows.length, "class", "classes")} of ${about.classes.length.toLocaleString("en")} with the most wrong answers.`),
    make("thead", {}, make("tr", {}, ["class", "wrong", "right", "mistaken for"].map(head => make("th", { scope: "col" }, head)))),
    make("tbody", {}, rows)));
}

function pairList(state, model, found) {
  return make("ol", { className: "pairs" }, found.pairs.map(([label, answer, count]) => make("li", {},
    make("strong", {}, about.classes[label]), " mistaken for ", make("strong", {}, about.classes[answer]),
    ", ", leading(state, model, label, answer, counted(count, "time", "times")))));
}

async function showMistakes(state) {
  const found = await Promise.all(models(state).map(model => source.mistakes(model, state.corruption, state.severity)));
  const cell = state.severity === 0 && state.corruption !== "none"
    ? `${inWords(state.corruption)}, all severities` : cellInWords(state.corruption, state.severity);
  const sentences = models(state).map((model, at) =>
    `${about.models[model].name}: ${counted(found[at].wrong, "wrong answer", "wrong answers")} of ${found[at].answers.toLocaleString("en")}`);
  return {
    title: "Confusions",
    status: `${cell}. ${sentences.join(". ")}.`,
    content: models(state).map((model, at) => make("section", {},
      make("h2", {}, about.models[model].name),
      found[at].wrong === 0 ? make("p", { className: "none" }, "No answer is wrong.") : [
        (fillsTable(found[at]) ? mistakeTable : answerLists)(state, model, found[at]),
        make("h3", {}, "Most common mistakes"),
        pairList(state, model, found[at]),
      ])),
    images: [],
  };
}
