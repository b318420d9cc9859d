// The page: sends an image to /predict, paints the class map over it and the confidence beside it. Class ids, and whole
// percents of confidence, come as the grey levels of PNGs.

const at = (id) => document.getElementById(id);

const state = {
  networks: [], // [{model, engine, confidence: whether it gives one}]
  file: null, // the chosen image, a Blob
  ids: null, // Uint8ClampedArray, RGBA of the class map; the id is in R
  percents: null, // the same of the confidence, in percent; null where it was not asked for
  classes: new Map(), // id -> {name, color, share}
  unknown: 0, // share of the pixels that are less sure than the limit
  hidden: new Set(), // ids of the classes that are not shown; kept from image to image
  request: 0, // number of the newest request; older answers are dropped
};

const canvas = at("overlay");
const context = canvas.getContext("2d", { willReadFrequently: true });

// Of confidence 0, 25, 50, 75 and 100 %; page.css has them for the caption.
const COLORS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

const LOST = "The server does not answer. Is python -m tool.demo still running?";

function show(id, visible) {
  at(id).hidden = !visible;
}

function complain(text) {
  at("message").textContent = text;
  show("message", Boolean(text));
}

// The image with its buttons, or the place to drop one.
function showImage(visible) {
  for (const id of ["view", "another", "again"]) show(id, visible);
  show("drop", !visible);
}

// --- menus

function fill(select, values) {
  const before = select.value;
  select.replaceChildren(...values.map((value) => new Option(value, value)));
  if (values.includes(before)) select.value = before;
  select.disabled = values.length < 2;
}

function fillEngines() {
  fill(at("engine"), state.networks.filter((one) => one.model === at("model").value).map((one) => one.engine));
}

// A network that returns class maps alone has no confidence to show.
function offerConfidence() {
  const [model, engine] = [at("model").value, at("engine").value];
  const chosen = state.networks.find((one) => one.model === model && one.engine === engine);
  const given = Boolean(chosen?.confidence);
  at("confidence").disabled = !given;
  if (!given) at("confidence").checked = false;
  at("why-not").textContent = given ? "Show its map" : "Not in this export: see --output_op";
  show("limit", at("confidence").checked);
}

async function loadNetworks() {
  state.networks = await (await fetch("networks")).json();
  fill(at("model"), [...new Set(state.networks.map((one) => one.model))]);
  fillEngines();
  offerConfidence();
}

// --- prediction

async function choose(file) {
  if (!file) return;
  state.file = file;
  state.ids = state.percents = null;
  show("sure", false);
  complain("");
  URL.revokeObjectURL(at("photo").src);
  at("photo").src = URL.createObjectURL(file);
  context.clearRect(0, 0, canvas.width, canvas.height);
  showImage(true);
  await segment();
}

async function segment() {
  if (!state.file) return;
  const request = ++state.request;
  const form = new FormData();
  form.append("image", state.file);
  for (const id of ["model", "engine", "longest"]) form.append(id, at(id).value);
  form.append("confidence", at("confidence").checked);
  show("busy", true);
  at("again").disabled = true;
  try {
    const response = await fetch("predict", { method: "POST", body: form });
    const answer = await response.json();
    if (request !== state.request) return;
    if (!response.ok) throw new Error(answer.error);
    await accept(answer);
    complain("");
  } catch (error) {
    if (request === state.request) reject(error);
  } finally {
    if (request === state.request) {
      show("busy", false);
      at("again").disabled = false;
    }
  }
}

function reject(error) {
  const lost = error instanceof TypeError; // what fetch throws when nobody answers
  complain(lost ? LOST : error.message);
  if (state.ids) return; // the last good answer to this image stays
  for (const id of ["sure", "times", "classes", "save"]) show(id, false);
  showImage(false);
}

async function accept(answer) {
  canvas.width = answer.width;
  canvas.height = answer.height;
  state.ids = await levels(answer.class_map, answer);
  state.percents = answer.confidence ? await levels(answer.confidence, answer) : null;
  state.classes = new Map(answer.classes.map((one) => [one.id, one]));
  at("milliseconds").textContent = `${answer.milliseconds.toFixed(answer.milliseconds < 100 ? 1 : 0)} ms`;
  at("total").textContent = `${answer.total_milliseconds.toFixed(0)} ms`;
  at("size").textContent = `${answer.width} × ${answer.height}`;
  if (state.percents) paintConfidence(answer);
  show("sure", Boolean(state.percents));
  paint();
  drawLegend();
  for (const id of ["times", "classes", "save"]) show(id, true);
  showImage(true); // a first answer may have been refused, and another network chosen
}

// RGBA of a grey PNG in base64; its levels are in R.
async function levels(png, { width, height }) {
  const image = new Image();
  image.src = `data:image/png;base64,${png}`;
  await image.decode();
  const drawing = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  drawing.drawImage(image, 0, 0);
  return drawing.getImageData(0, 0, width, height).data;
}

// --- picture

// One 32-bit colour a level, in the bytes' order; 0 is transparent.
function palette(entries) {
  const colors = new Uint32Array(256);
  const bytes = new Uint8Array(colors.buffer);
  for (const [level, color] of entries) bytes.set([...color, 255], 4 * level);
  return colors;
}

// The classes over the image; pixels less sure than the limit are left as they are. Counts each class anew.
function paint() {
  const picture = context.createImageData(canvas.width, canvas.height);
  const shown = [...state.classes].filter(([id]) => !state.hidden.has(id));
  const colors = palette(shown.map(([id, { color }]) => [id, color]));
  const pixels = new Uint32Array(picture.data.buffer);
  const limit = state.percents ? Number(at("unknown").value) : 0;
  const counts = new Uint32Array(256);
  let unknown = 0;
  for (let index = 0; index < pixels.length; index += 1) {
    if (limit && state.percents[4 * index] < limit) {
      unknown += 1;
    } else {
      const id = state.ids[4 * index];
      pixels[index] = colors[id];
      counts[id] += 1;
    }
  }
  for (const [id, one] of state.classes) one.share = counts[id] / pixels.length;
  state.unknown = unknown / pixels.length;
  context.putImageData(picture, 0, 0);
}

function paintConfidence({ width, height, temperature }) {
  const target = at("confidence-map");
  [target.width, target.height] = [width, height];
  const drawing = target.getContext("2d", { willReadFrequently: true });
  const picture = drawing.createImageData(width, height);
  const colors = palette(Array.from({ length: 101 }, (_, percent) => {
    const place = Math.min(percent / 25, 3.999);
    const [low, high, part] = [COLORS[Math.floor(place)], COLORS[Math.floor(place) + 1], place % 1];
    return [percent, low.map((value, channel) => Math.round(value + part * (high[channel] - value)))];
  }));
  const pixels = new Uint32Array(picture.data.buffer);
  for (let index = 0; index < pixels.length; index += 1) pixels[index] = colors[state.percents[4 * index]];
  drawing.putImageData(picture, 0, 0);
  at("temperature").textContent = temperature === 1 ? "not calibrated" : `temperature ${temperature}`;
}

function percentage(share) {
  if (!share) return "0 %";
  return share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

function drawLegend() {
  const items = [...state.classes.values()].map((one) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.id = one.id;
    button.setAttribute("aria-pressed", String(!state.hidden.has(one.id)));
    button.title = "Show or hide";
    const [swatch, name, share, bar] = ["i", "b", "em", "s"].map((tag) => document.createElement(tag));
    swatch.style.background = `rgb(${one.color.join(" ")})`;
    name.textContent = one.name.replaceAll("_", " ");
    share.textContent = percentage(one.share);
    bar.style.setProperty("--share", `${100 * one.share}%`);
    bar.setAttribute("aria-hidden", "true");
    button.append(swatch, name, share, bar);
    const item = document.createElement("li");
    item.append(button);
    return item;
  });
  if (state.unknown) items.push(unknownItem());
  at("legend").replaceChildren(...items);
  show("all", state.hidden.size > 0);
}

function unknownItem() {
  const item = document.createElement("li");
  item.className = "unknown";
  const [swatch, name, share] = ["i", "b", "em"].map((tag) => document.createElement(tag));
  name.textContent = "unknown";
  share.textContent = percentage(state.unknown);
  item.append(swatch, name, share);
  return item;
}

function toggle(event) {
  const button = event.target.closest("button");
  if (!button) return;
  const id = Number(button.dataset.id);
  if (!state.hidden.delete(id)) state.hidden.add(id);
  button.setAttribute("aria-pressed", String(!state.hidden.has(id)));
  show("all", state.hidden.size > 0);
  paint();
}

// The image is fitted into its box: the part of the box that it covers, in the box's pixels.
function fitted(box) {
  const scale = Math.min(box.width / canvas.width, box.height / canvas.height);
  const [width, height] = [canvas.width * scale, canvas.height * scale];
  return { left: box.left + (box.width - width) / 2, top: box.top + (box.height - height) / 2, scale };
}

function point(event) {
  const { left, top, scale } = fitted(canvas.getBoundingClientRect());
  const x = Math.floor((event.clientX - left) / scale);
  const y = Math.floor((event.clientY - top) / scale);
  const inside = state.ids && x >= 0 && y >= 0 && x < canvas.width && y < canvas.height;
  const place = 4 * (y * canvas.width + x);
  const pointed = inside ? state.classes.get(state.ids[place]) : undefined;
  show("pointed", Boolean(pointed));
  if (!pointed) return;
  const label = at("pointed");
  const frame = at("view").getBoundingClientRect();
  const sure = state.percents ? ` · ${state.percents[place]} %` : "";
  label.textContent = pointed.name.replaceAll("_", " ") + sure;
  label.style.left = `${Math.min(event.clientX - frame.left + 14, frame.width - label.offsetWidth - 6)}px`;
  label.style.top = `${Math.max(6, event.clientY - frame.top - 34)}px`;
}

function setOpacity() {
  at("percent").textContent = `${at("opacity").value} %`;
  canvas.style.opacity = at("opacity").value / 100;
}

function save() {
  const picture = document.createElement("canvas");
  picture.width = canvas.width;
  picture.height = canvas.height;
  const drawing = picture.getContext("2d");
  drawing.drawImage(at("photo"), 0, 0, picture.width, picture.height);
  drawing.globalAlpha = at("opacity").value / 100;
  drawing.drawImage(canvas, 0, 0);
  const link = document.createElement("a");
  link.download = "segmentation.png";
  link.href = picture.toDataURL("image/png");
  link.click();
}

// --- events

at("file").addEventListener("change", (event) => {
  choose(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});
at("sample").addEventListener("click", async () => {
  try {
    const response = await fetch(`sample/${Math.floor(Math.random() * 1e6)}.png`);
    choose(await response.blob());
  } catch {
    complain(LOST);
  }
});
at("model").addEventListener("change", () => {
  fillEngines();
  offerConfidence();
  segment();
});
for (const id of ["engine", "longest", "confidence"]) {
  at(id).addEventListener("change", () => {
    offerConfidence();
    segment();
  });
}
at("unknown").addEventListener("input", () => {
  at("least").textContent = `${at("unknown").value} %`;
  if (!state.ids) return;
  paint();
  drawLegend();
});
at("again").addEventListener("click", segment);
at("save").addEventListener("click", save);
at("opacity").addEventListener("input", setOpacity);
at("legend").addEventListener("click", toggle);
at("all").addEventListener("click", () => {
  state.hidden.clear();
  drawLegend();
  paint();
});
canvas.addEventListener("pointermove", point);
canvas.addEventListener("pointerleave", () => show("pointed", false));

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  choose(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => choose([...event.clipboardData.files][0]));

setOpacity();
loadNetworks().catch(() => complain(LOST));
