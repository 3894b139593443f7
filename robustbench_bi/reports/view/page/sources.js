"use strict";
// Where the numbers come from: the server of the local page, or what was written into a folder. Both answer alike.

const data = JSON.parse(document.getElementById("data").textContent);
const about = data.about;

class RefusedError extends Error {}

/** The server, which works out every answer. */
const server = {
  async ask(what, asked) {
    const given = Object.entries(asked).filter(([, value]) => value !== null && value !== "");
    const response = await fetch(`api/${what}?${new URLSearchParams(given)}`);
    const answer = await response.json();
    if (!response.ok) throw new RefusedError(answer.error);
    return answer;
  },
  grid: asked => server.ask("grid", asked),
  picture: (image, corruption) => server.ask("picture", { image, corruption }),
  mistakes: (model, corruption, severity) => server.ask("mistakes", { model, corruption, severity }),
  async whyNot(url) {
    const response = await fetch(url);
    return response.ok ? "" : (await response.json()).error;
  },
};

/** A folder, which holds the order of its images, and who passes which filter, for every choice. */
const folder = {
  async grid({ model, beside, corruption, severity, show, sort, label, answer, name, start }) {
    const cell = `${corruption}-${severity}`, rows = data.rows[cell];
    const passing = show === "all" ? null : new Set(data.passing[`${model}/${beside ?? ""}/${cell}/${show}`]);
    const kept = data.orders[`${model}/${cell}/${sort}`].map(image => rows[image]).filter(row =>
      (!passing || passing.has(row.image))
      && (label === null || row.label === label)
      && (answer === null || row.answers[model].answer === answer)
      && row.name.toLowerCase().includes(name.toLowerCase()));
    return { total: kept.length, start, rows: kept.slice(start, start + about.page) };
  },
  async picture(image, corruption) {
    const found = data.images[`${image}/${corruption}`];
    if (!found) throw new RefusedError(`image ${image} is not in this folder`);
    return found;
  },
  mistakes: async (model, corruption, severity) => data.mistakes[`${model}/${corruption}-${severity}`],
  whyNot: async () => "the file is not there",
};

const source = data.live ? server : folder;

/** The address of a picture as the network of a model saw it. */
const pictureUrl = (model, image, corruption, severity) =>
  `pictures/${about.models[model].view}/${image}/${corruption}-${severity}.${about.models[model].suffix}`;

/** A picture; where it cannot be shown, the reason stands in its place. */
function pictured(model, row, corruption, severity, lazily = true) {
  if (!about.pictures) return make("span", { className: "absent" }, "not shown");
  const words = `${row.name}, ${about.classes[row.label]}, ${cellInWords(corruption, severity)}`;
  const url = pictureUrl(model, row.image, corruption, severity);
  const image = make("img", { alt: words, loading: lazily ? "lazy" : "eager", decoding: "async", src: url });
  image.addEventListener("load", () => image.classList.toggle("exact", image.naturalWidth <= 64));
  image.addEventListener("error", async () => {
    image.replaceWith(make("span", { className: "absent" }, `cannot be shown: ${await source.whyNot(url)}`));
  });
  return image;
}
