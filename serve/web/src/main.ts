/** The page: a model, a scan, and what the one says of the other, all on this device. */
import "./page/style.css";
import type { Judged, Loaded, Member, Scan } from "./messages.ts";
import { answer } from "./page/answer.ts";
import { slicesChart, traceChart } from "./page/charts.ts";
import { byId, element } from "./page/dom.ts";
import { Engine, type Model } from "./page/engine.ts";
import { auditFacts, modelFacts, scanFacts, type Listed } from "./page/facts.ts";
import { fromDrop, fromInput } from "./page/files.ts";
import { guarded, storeAll } from "./page/keeping.ts";
import { result } from "./page/result.ts";
import type { Viewer } from "./page/viewer.ts";
import { about } from "./page/words.ts";
import { Refusal } from "./read/refusal.ts";

const select = byId("model", HTMLSelectElement);
const files = byId("files", HTMLInputElement);
const own = byId("own", HTMLInputElement);
const item = byId("item", HTMLInputElement);
const drop = byId("drop", HTMLElement);
const stop = byId("stop", HTMLButtonElement);
const status = byId("status", HTMLElement);
const message = byId("message", HTMLElement);
const PLACES = ["about", "answer", "examples", "explanation", "facts", "network", "viewer"] as const;
const places = Object.fromEntries(PLACES.map((id) => [id, byId(id, HTMLElement)])) as Record<
  (typeof PLACES)[number],
  HTMLElement
>;

/** A scan of the site to try; models that were trained on `dataset` read such scans. */
interface Example {
  readonly name: string;
  readonly path: string;
  readonly dataset: string;
}

/** A model that is loaded. */
interface Chosen {
  readonly model: Model;
  readonly told: Loaded;
}

/** A scan that was read. */
interface Opened {
  readonly members: readonly Member[];
  readonly selection: string;
  readonly name: string;
  readonly scan: Scan;
  readonly colour: boolean;
  readonly milliseconds: number;
}

const engine = new Engine();
const models = new Map<string, Model>();
let loaded: Chosen | undefined;
let opened: Opened | undefined;
/** The files that were dropped or chosen last, whether they could be read or not. */
let asked: readonly Member[] = [];
let viewer: Promise<Viewer> | undefined;
let shown: Scan | undefined;
let judged: { of: Opened; by: Chosen } | undefined;
/** The address of the result that can be downloaded. */
let download = "";
/** The newest of what was asked for; what was asked before is not shown any more. */
const newest = { model: 0, scan: 0, answer: 0 };
/** How many things of each kind are being done. */
const busy = { model: 0, scan: 0, answer: 0 };

async function start(): Promise<void> {
  await guarded();
  const listed = (await (await fetch("models.json")).json()) as { models: Listed[]; examples: Example[] };
  const contents = await Promise.all(listed.models.map((one) => blobAt(one.path!)));
  listed.models.forEach((one, i) => models.set(one.name, { ...one, file: contents[i]! }));
  for (const [axes, label] of [[3, "Volumes"], [2, "Images"]] as const) {
    const fitting = listed.models.filter((one) => one.axes === axes);
    const options = fitting.map(({ name }) => new Option(name));
    if (options.length) select.append(element("optgroup", { label }, ...options));
  }
  const given = new URLSearchParams(location.search).get("model");
  if (given !== null && models.has(given)) select.value = given;
  select.disabled = false;
  await choose(select.value);
  byId("try", HTMLElement).hidden = !listed.examples.length;
  await Promise.all([import("./page/viewer.ts"), engine.prepare(), ...listed.examples.map((one) => addExample(one).catch(say))]);
  places.network.textContent = (await storeAll())
    ? "Everything is loaded: from here on this page asks the network for nothing, and it opens without one."
    : "Everything is loaded. Whether this page opens without a network is not known.";
  document.documentElement.dataset["ready"] = "all";
}

async function blobAt(path: string): Promise<Blob> {
  const response = await fetch(path);
  if (!response.ok) throw new Refusal(`${path}: this site does not have it.`);
  return response.blob();
}

/** A button that opens the example, with a model that reads such scans if the chosen one does not. */
async function addExample({ name, path, dataset }: Example): Promise<void> {
  const button = element("button", { type: "button", disabled: true }, name);
  places.examples.append(button);
  const file = await blobAt(path);
  button.disabled = false;
  button.addEventListener("click", () => {
    const chosen = models.get(select.value)?.dataset ?? loaded?.told.manifest.provenance.dataset;
    const fitting = [...models.values()].find((model) => model.dataset === dataset);
    if (chosen !== dataset && fitting) {
      select.value = fitting.name;
      void choose(fitting.name);
    }
    item.value = "";
    void open([{ name: path.split("/").at(-1)!, file }]);
  });
}

/** Load a model, and let it judge the scan that is open. */
async function choose(name: string): Promise<void> {
  const model = models.get(name)!;
  newest.answer += 1; // what another model finds is not shown any more
  await task("model", `Loading ${name}`, async (isNewest) => {
    loaded = undefined;
    places.about.replaceChildren();
    showFacts([]);
    try {
      const told = await engine.load(model);
      if (!isNewest()) return;
      loaded = { model, told };
      places.about.replaceChildren(about(told.manifest));
    } catch (error) {
      throw error instanceof Refusal ? new Refusal(`${name}: ${error.message}`) : error;
    }
    showFacts([]);
  });
  await judge();
}

/** Read a scan and let the model judge it. */
async function open(members: readonly Member[]): Promise<void> {
  if (!members.length) return;
  const model = members.length === 1 && members[0]!.name.toLowerCase().endsWith(".onnx") ? members[0] : undefined;
  if (model) return bring(model.name, model.file);
  asked = members;
  const selection = selectedItem();
  const name = (members.length === 1 ? members[0]!.name : `${members.length} files`) + (selection && `#${selection}`);
  let isRead = false;
  await task("scan", `Reading ${name}`, async (isNewest) => {
    const colour = loaded?.told.manifest.input.channels === 3;
    const started = performance.now();
    engine.endReading(); // of what was asked for before, and is not shown any more
    if (busy.answer) {
      newest.answer += 1;
      judged = undefined; // if this scan cannot be read, the one before is judged once more
    }
    const scan = await engine.read(members, selection, colour);
    if (!isNewest()) return;
    opened = { members, selection, name, scan, colour, milliseconds: performance.now() - started };
    isRead = true;
    if (selectedItem() === selection) item.value = ""; // it is not the next file's; unread, it stays for another try
  });
  if (isRead && !loaded && !busy.model && select.value) await choose(select.value); // its loading was stopped or failed
  else await judge();
}

function selectedItem(): string {
  return item.value.trim().replace(/^#/, "");
}

/** A model of the person's own. */
async function bring(title: string, file: Blob): Promise<void> {
  const name = `your own ${title}`;
  if (!models.has(name)) select.append(new Option(name));
  models.set(name, { name, path: null, sha256: null, files: [], axes: null, dataset: null, file });
  select.value = name;
  await choose(name);
}

/** Let the model judge the scan, once both are there, and draw the scan. */
async function judge(): Promise<void> {
  if (!opened || !loaded || (judged?.of === opened && judged.by === loaded)) return;
  const [of, by] = [opened, loaded];
  judged = { of, by };
  await task("answer", `Judging ${of.name}`, async (isNewest) => {
    const colour = by.told.manifest.input.channels === 3;
    if (of.colour === colour) return judgeAndShow(of, by, isNewest);
    const scan = await engine.read(of.members, of.selection, colour);
    if (!isNewest()) return;
    opened = { ...of, colour, scan };
    judged = { of: opened, by };
    await judgeAndShow(opened, by, isNewest);
  });
}

async function judgeAndShow(of: Opened, by: Chosen, isNewest: () => boolean): Promise<void> {
  const { scan, name } = of;
  places.answer.replaceChildren();
  places.explanation.replaceChildren();
  try {
    const found = await engine.predict(by.model, scan, name);
    if (!isNewest()) return;
    showAnswer(found, of, by);
    showFacts(found.prediction.notes);
  } catch (error) {
    if (isNewest()) showFacts([]);
    throw error instanceof Refusal ? new Refusal(error.message + hint(scan, by)) : error;
  } finally {
    if (isNewest()) await show(scan); // after the answer, which takes less time
  }
}

/** Which of the site's models read scans with so many axes. */
function hint(scan: Scan, by: Chosen): string {
  const wanted = scan.shape.length;
  if (by.told.manifest.input.size.length === wanted) return "";
  const fitting = [...models.values()].filter(({ axes }) => axes === wanted).map(({ name }) => name);
  return fitting.length ? ` Choose ${fitting.join(" or ")}.` : "";
}

async function show(scan: Scan): Promise<void> {
  if (shown === scan) return;
  shown = scan;
  await new Promise((resolve) => window.setTimeout(resolve)); // for the answer to be seen
  try {
    viewer ??= import("./page/viewer.ts").then(({ Viewer }) => new Viewer(places.viewer));
    await (await viewer).show(scan);
  } catch (error) {
    console.warn("The scan cannot be drawn:", error);
    if (shown !== scan) return; // a newer one is being drawn
    viewer = shown = undefined;
    const words = "This browser cannot draw the scan: it needs WebGL 2. The answer does not depend on it.";
    places.viewer.replaceChildren(element("p", { class: "small" }, words));
  }
}

function showAnswer(judged: Judged, { scan, name, milliseconds }: Opened, { model, told }: Chosen): void {
  const notes = [...scan.notes, ...judged.prediction.notes];
  const file = new Blob([result(name, model.name, told, scan, judged)], { type: "application/json" });
  URL.revokeObjectURL(download); // the browser keeps its file until then
  download = URL.createObjectURL(file);
  const link = element("a", {
    class: "download",
    href: download,
    download: `liquidlens-${model.name.replace(/[^A-Za-z0-9._-]+/g, "-")}.json`,
  }, "Download result (JSON)");
  places.answer.replaceChildren(...answer(told, model.name, name, judged, milliseconds, notes), link);
  const drawings: Node[] = [];
  if (judged.slices) {
    drawings.push(element("h3", {}, `Each slice's vote for “${judged.slices.label}”`), slicesChart(judged.slices));
  }
  for (const trace of judged.traces) {
    drawings.push(element("h3", {}, `Neurons of the layer ${trace.wiring.layer}`), traceChart(trace));
  }
  places.explanation.replaceChildren(...drawings);
}

function showFacts(notes: readonly string[]): void {
  const parts: [string, Node[]][] = [];
  if (opened) parts.push(["Scan", scanFacts(opened.scan, opened.name, notes)]);
  if (loaded) parts.push(["Model", modelFacts(loaded.model, loaded.told)], ["Audit", auditFacts(loaded.model, loaded.told)]);
  places.facts.replaceChildren(
    ...parts.map(([name, nodes], i) =>
      element("details", { class: "box", open: i === 0 && opened !== undefined }, element("summary", {}, name), ...nodes),
    ),
  );
}

/** Say what is being done, and what went wrong.  isNewest: whether nothing of this kind was asked for since. */
async function task(
  kind: keyof typeof newest,
  words: string,
  work: (isNewest: () => boolean) => Promise<void>,
): Promise<void> {
  const mine = ++newest[kind];
  const isNewest = () => mine === newest[kind];
  busy[kind] += 1;
  status.textContent = words;
  stop.hidden = false;
  if (kind !== "answer") message.hidden = true; // what is wrong with a model or a scan stays beside the answer
  try {
    await work(isNewest);
  } catch (error) {
    if (isNewest()) say(error);
  } finally {
    busy[kind] -= 1;
    if (!busy.model && !busy.scan && !busy.answer) {
      stop.hidden = true;
      status.textContent = loaded ? "Ready" : "No model is loaded";
    }
  }
}

function say(error: unknown): void {
  if (!(error instanceof Refusal)) console.error(error);
  message.textContent = error instanceof Refusal ? error.message : "This browser could not do that; reload the page.";
  message.hidden = false;
}

select.addEventListener("change", () => void choose(select.value));
stop.addEventListener("click", () => engine.stop());
files.addEventListener("change", () => {
  void open(fromInput(files.files!)).finally(() => (files.value = "")); // the same file may be chosen again
});
own.addEventListener("change", () => {
  const [file] = own.files!;
  if (file) void bring(file.name, file).finally(() => (own.value = ""));
});
item.addEventListener("keydown", ({ key }) => key === "Enter" && void open(asked));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer) fromDrop(event.dataTransfer).then(open).catch(say);
});

start().catch((error: unknown) => {
  status.textContent = "The page could not be loaded";
  say(error);
});
